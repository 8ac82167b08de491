"""Settings and recipes: frozen pydantic models read from TOML, in which an unknown key is an error."""

import dataclasses
import difflib
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from isamap.errors import ConfigError, MissingInputError


class Settings(BaseModel):
    """Base of everything read from TOML."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _number_or_auto(value: object) -> object:
    """What `--workers` takes."""
    if value != "auto" and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError("a number or auto")
    return value


def _as_text(value: object) -> object:
    """A whole number as the command line would have it, anything else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _named(value: object) -> object:
    """A path that is none would be the current folder."""
    if value == "":
        raise ValueError("an empty word")
    return value


class Config(Settings):
    """`isamap.toml`: defaults for the command line, under the names of the options."""

    workspace: Annotated[Path | None, BeforeValidator(_named)] = None
    model: Annotated[str | None, BeforeValidator(_named)] = None
    threshold: float | None = None
    probability: bool | None = None
    device: str | None = None
    window: Annotated[Literal["256", "512", "768", "1024"] | None, BeforeValidator(_as_text)] = None
    batch_size: Annotated[str | None, BeforeValidator(_as_text)] = None
    workers: Annotated[int | str | None, BeforeValidator(_number_or_auto)] = None
    memory: str | None = None
    engine: Literal["local", "dask"] | None = None
    scheduler_address: str | None = None
    on_error: Literal["stop", "continue"] | None = None
    log_format: Literal["text", "json"] | None = None
    data: Annotated[Path | None, BeforeValidator(_named)] = None
    source: tuple[Annotated[str, BeforeValidator(_named)], ...] | None = None
    months: str | None = None
    method: Literal["median", "geomedian", "best"] | None = None
    max_cloud: float | None = None
    max_scenes: int | None = None
    allow_host: tuple[str, ...] | None = None
    mask_snow: bool | None = None


AnySettings = TypeVar("AnySettings", bound=BaseModel)


def read_toml(path: Path, kind: type[AnySettings]) -> AnySettings:
    """The file at `path` as a `kind`.

    Raises:
        MissingInputError: no such file.
        ConfigError: not TOML, an unknown key (the nearest known one is named) or a wrong value.
    """
    return as_settings(read_tables(path), path, kind)


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of the file at `path`, not yet checked.

    Raises:
        MissingInputError: no such file.
        ConfigError: not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        link = f" (a link to {path.readlink()})" if path.is_symlink() else ""
        raise MissingInputError(f"{path}{link} cannot be read: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise ConfigError(f"{path} is not UTF-8 text") from fault
    except tomllib.TOMLDecodeError as fault:
        raise ConfigError(f"{path} is not valid TOML: {fault}") from fault


def as_settings(tables: dict[str, Any], path: Path, kind: type[AnySettings]) -> AnySettings:
    """The tables that `path` gave as a `kind`.

    Raises:
        ConfigError: an unknown key (the nearest known one is named) or a wrong value.
    """
    try:
        read = kind.model_validate(tables)
    except ValidationError as fault:
        raise ConfigError(f"{path}: {first_fault(fault, kind)}") from fault
    if where := next(_flags_as_numbers(tables, read), None):
        raise ConfigError(f"{path}: {'.'.join(where)}: true and false are no numbers")
    return read


def _flags_as_numbers(given: object, read: object) -> Iterator[tuple[str, ...]]:
    """Keys of all values that are true or false and were read as 1 or 0."""
    if isinstance(given, bool):
        if not isinstance(read, bool):
            yield ()
    elif isinstance(given, dict):
        own = read if isinstance(read, dict) else vars(read)
        for key, value in given.items():
            yield from ((key, *where) for where in _flags_as_numbers(value, own[key]))
    elif isinstance(given, list) and isinstance(read, tuple):
        for k, pair in enumerate(zip(given, read, strict=True)):
            yield from ((str(k), *where) for where in _flags_as_numbers(*pair))


def first_fault(fault: ValidationError, kind: type[BaseModel]) -> str:
    """One line about the first thing that is wrong."""
    first = fault.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] not in ("extra_forbidden", "unexpected_keyword_argument"):  # of a model, of a dataclass
        return f"{where}: {first['msg']}" if where else first["msg"]
    near = difflib.get_close_matches(str(first["loc"][-1]), sorted(_keys(kind)), 1)
    return f"unknown key {where}" + (f": did you mean {near[0]}?" if near else "")


def _keys(kind: type[BaseModel]) -> set[str]:
    """Every key that may stand in a document of this kind, at any depth."""
    keys: set[str] = set()
    for name, field in kind.model_fields.items():
        keys.add(name)
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                keys |= _keys(part)
            elif dataclasses.is_dataclass(part):
                keys |= {own.name for own in dataclasses.fields(part)}
    return keys
