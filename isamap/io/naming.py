"""Which Sentinel-2 bands the files of one scene hold, and where."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from isamap.domain.bands import band_index, given_names, name_from_stem
from isamap.errors import InputError
from isamap.io.guard import one_line


def find_bands(
    files: Sequence[Any],
    wanted: tuple[str, ...],
    override: tuple[str | None, ...] | None,
    optional: Sequence[str] = (),
) -> list[dict[str, int]]:
    """Index of the wanted bands in each file; those that are optional may be in none."""
    names = [names_in(src) for src in files]
    total = sum(map(len, names))
    if override is not None and len(override) != total:
        raise InputError(
            f"{one_line(files[0].name)}: --bands names {len(override)} bands, but there are {total}: "
            "name every band of every file in order, '-' skips one"
        )
    rest = iter(override or ())
    found: list[dict[str, int]] = []
    for src, own in zip(files, names, strict=True):
        given = None if override is None else [next(rest) for _ in own]
        try:
            found.append(band_index(own, wanted, given))
        except InputError as error:
            raise InputError(f"{one_line(src.name)}: {error}") from error
    _check_found(files, found, names, wanted, optional)
    return found


def names_in(src: Any) -> list[str | None]:
    """What an open file calls its bands, None where it does not; one band alone may be named by its file (`..._B02.jp2`)."""
    names = given_names(src.descriptions)
    return [name_from_stem(Path(src.name).stem)] if len(names) == 1 and not names[0] else names


def list_bands(files: Sequence[Any]) -> str:
    """What open files call their bands, for a message."""
    names = ", ".join(name or "unnamed" for src in files for name in names_in(src))
    counted = next(
        (src.descriptions[0] for src in files if src.descriptions[0] and not names_in(src)[0]), None
    )
    return f"{names} ({one_line(counted)!r} only counts)" if counted else names


def _check_found(
    files: Sequence[Any],
    found: Sequence[dict[str, int]],
    names: Sequence[list[str | None]],
    wanted: Sequence[str],
    optional: Sequence[str],
) -> None:
    holders = {
        band: [src.name for src, bands in zip(files, found, strict=True) if band in bands] for band in wanted
    }
    for band, paths in holders.items():
        if len(paths) > 1:
            raise InputError(
                f"{one_line(paths[1])}: holds {band}, and so does {one_line(paths[0])}: give one of them"
            )
    missing = [band for band, paths in holders.items() if not paths and band not in optional]
    if missing:
        own = list(chain.from_iterable(names))
        advice = "give the file that holds them too"
        if len(own) >= len(wanted):
            advice += f", or name all {len(own)} bands in order ('-' skips one): --bands B04,B03,B02,B08"
        raise InputError(
            f"{', '.join(one_line(src.name) for src in files)}: {', '.join(missing)} missing, "
            f"there are only {list_bands(files)}: {advice}"
        )
