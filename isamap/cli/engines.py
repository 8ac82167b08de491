"""Options that say where tiles are worked on: this machine, a Dask cluster, a part of an array job."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli.options import option

if TYPE_CHECKING:
    from isamap.engine import Engine
    from isamap.engine.shard import Shard

PATHS = {"model": Path.is_file, "source": Path.is_dir}
"""Options whose text is a name, or the path of such a thing."""
MAX_WORKERS = 256
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _workers(_: click.Context, __: click.Parameter, text: str) -> int | str:
    """A number, or auto."""
    if text == "auto":
        return text
    if not text.isdigit() or not 1 <= int(text) <= MAX_WORKERS:
        raise click.BadParameter(f"{text!r} is neither auto nor a number from 1 to {MAX_WORKERS}")
    return int(text)


def _memory(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    """Bytes of `16G`."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,12})([KMGT]?)B?", text.upper())
    if match is None or not int(match[1]):
        raise click.BadParameter(f"{text!r} is no size: write 16G")
    return int(match[1]) * UNITS[match[2]]


def _shard(_: click.Context, __: click.Parameter, text: str | None) -> "Shard | None":
    """Part of the work."""
    from isamap.engine.shard import Shard
    from isamap.errors import ConfigError

    try:
        return None if text is None else Shard.parse(text)
    except ConfigError as fault:
        raise click.BadParameter(str(fault)) from fault


PLACE = (
    option(
        "-j",
        "--workers",
        metavar="auto|N",
        default="1",
        callback=_workers,
        help="Tiles worked on at the same time; auto: what cores and memory carry. With --scheduler-address: workers "
        "that share a machine.",
    ),
    option(
        "--memory",
        metavar="SIZE",
        callback=_memory,
        help="Memory for --workers auto, such as 16G [default: what is free].",
        show_default=False,
    ),
    option(
        "--engine",
        type=click.Choice(["local", "dask"]),
        default="local",
        help="Processes of this machine, or Dask workers.",
    ),
    option(
        "--scheduler-address",
        metavar="ADDRESS",
        help="Dask scheduler, such as tcp://10.0.0.5:8786 [default: a cluster on this machine].",
        show_default=False,
    ),
)
shard = option(
    "--shard",
    metavar="I/N",
    callback=_shard,
    help="Only every N-th tile, from the I-th on: N runs share the work, at the same time if you like.",
    show_default=False,
)
ENGINE = (*PLACE, shard)


def settle(given: dict[str, Any], *, gpu: bool = False) -> "Engine":
    """The engine that the options ask for; `workers` becomes a number, and paths absolute where they travel.

    Args:
        given: options of the command, changed in place.
        gpu: whether a job may use a GPU.
    """
    from isamap.engine import Engine

    if given["scheduler_address"] and given["engine"] != "dask":
        raise click.UsageError("--scheduler-address goes with --engine dask")
    if given["workers"] == "auto":
        given["workers"] = 1 if given["scheduler_address"] else _carried(given, gpu=gpu)
    if given["engine"] == "dask":
        given.update({name: _absolute(value, PATHS.get(name)) for name, value in given.items()})
    return Engine(given["engine"], given["workers"], given["scheduler_address"], gpu, given.get("shard"))


def _carried(given: dict[str, Any], *, gpu: bool) -> int:
    """As many as this machine carries."""
    from isamap.engine import machine

    if not gpu:
        return machine.workers(given["memory"])
    from isamap.model.device import gpu_bytes

    return machine.workers(given["memory"], gpu_bytes(given["device"]))


def _absolute(value: Any, is_path: Callable[[Path], bool] | None) -> Any:
    """Paths as workers elsewhere must know them, texts only if they are paths."""
    if isinstance(value, tuple):
        return tuple(_absolute(one, is_path) for one in value)
    if isinstance(value, Path):
        return value.absolute()
    if is_path and isinstance(value, str) and is_path(Path(value)):
        return str(Path(value).absolute())
    return value


def report_name(stem: str, shard: "Shard | None") -> str:
    """Name of a report in <workspace>/runs."""
    return f"{stem}.json" if shard is None else f"{stem}.shard-{shard}.json"
