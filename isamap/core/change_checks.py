"""What is known of the maps of `isamap change` before any is read: made alike, each of its own year, ground shown once."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import shapely

from isamap.core.differencing import Job
from isamap.domain.grid import Tile
from isamap.errors import InputError
from isamap.io import store
from isamap.io.frames import Frame, Lineage
from isamap.io.products import Product
from isamap.io.same_ground import SAME_GROUND, boxes_of, pairs_of

log = logging.getLogger(__name__)

BEYOND = 0.001
"""Share of a map beyond the first one from which it is said."""


@dataclass(frozen=True)
class Maps:
    """What items and headers say of the maps."""

    lineages: tuple[str, ...]
    """Recipe of each year's maps, in words."""
    versions: bool
    """Whether the recipes differ."""
    remarks: tuple[str, ...]
    """What makes their comparison doubtful."""


def check(jobs: Sequence[Job], years: Sequence[int], *, force: bool) -> Maps:
    """Look at the maps, of whose pixels none is read.

    Raises:
        InputError: recipes differ and nobody said to go on, two years have the same file, maps hold shares, two maps of
            a year show the same ground, or two tiles would be written as one product.
    """
    _check_targets(jobs)
    lineages, versions = check_lineages(jobs, years, force=force)
    own = [job for job in jobs if not _is_tile(job.name)]  # whose ground a tile is, is known
    _check_ground(own, years)
    remarks = (*_of_dates(jobs, years), *_of_ground(own, years))
    for remark in remarks:
        log.warning("%s", remark)
    return Maps(lineages, versions, remarks)


def check_lineages(jobs: Sequence[Job], years: Sequence[int], *, force: bool) -> tuple[tuple[str, ...], bool]:
    """The recipe of each year's maps in words, and whether they differ.

    Raises:
        InputError: they differ and nobody said to go on, two years have the same file, or maps hold shares.
    """
    found: dict[str, tuple[Lineage, int]] = {}
    texts = ["no map"] * len(years)
    for job in jobs:
        _check_files(job, years)
        for index, frame in enumerate(job.frames):
            if frame is not None:
                lineage = frame.lineage()
                found.setdefault(lineage.key, (lineage, years[index]))
                texts[index] = lineage.text
    if set(found) == {""}:
        log.warning("no map has an item beside it: whether they were made alike is unknown")
    if len(found) > 1:
        (one, year), (other, later) = list(found.values())[:2]
        fault = f"{year} is {one.text}, {later} is {other.text}: their difference is a version change"
        if not force:
            raise InputError(f"{fault}, not change on the ground; map all years alike, or say --force")
        log.warning("%s", fault)
    return tuple(texts), len(found) > 1


def _check_files(job: Job, years: Sequence[int]) -> None:
    """No map is that of two years, unless it shows many, and none holds shares."""
    known: dict[tuple[int, int], int] = {}
    for year, frame in zip(years, job.frames, strict=True):
        if frame is None:
            continue
        if Product(frame.path.name, (frame.path,), frame.kind).fractional:
            raise InputError(
                f"{frame.kind} holds shares of its pixels, and change compares classes: evaluate reads shares"
            )
        if frame.of_many_years:
            continue
        with store.storage_errors(frame.path):
            status = frame.path.stat()
        other = known.setdefault((status.st_dev, status.st_ino), year)
        if other != year:
            raise InputError(f"{frame.path} is given for {other} and for {year}: give each year its own map")


def _check_targets(jobs: Sequence[Job]) -> None:
    """No two tiles may be written as one product."""
    for stem, same in groupby(sorted(jobs, key=lambda job: job.target.stem), lambda job: job.target.stem):
        names = [job.name for job in same]
        if len(names) > 1:
            raise InputError(f"{names[0]!r} and {names[1]!r} would both be written as {stem}: rename one")


def _is_tile(name: str) -> bool:
    """Whether a map is called like a tile of the grid."""
    try:
        Tile.parse(name.partition(".")[0])
    except InputError:
        return False
    return True


def _check_ground(jobs: Sequence[Job], years: Sequence[int]) -> None:
    """No ground may be shown, and counted, by two tiles."""
    if len(jobs) < 2:
        return
    for index, year in enumerate(years):
        frames = [job.frames[index] for job in jobs]
        for one, other in pairs_of(boxes_of([frame.path for frame in frames if frame])):
            raise InputError(
                f"{one} and {other.name} show the same ground in {year}, by more than {SAME_GROUND:.0%} of one of them, "
                "which would be counted twice: cut them, or give one"
            )


def _of_dates(jobs: Sequence[Job], years: Sequence[int]) -> Iterator[str]:
    """Maps that are of another year by their items."""
    found = [
        f"{frame.path.name} is given for {year} and is of {_span(*dates)} by its item"
        for job in jobs
        for year, frame in zip(years, job.frames, strict=True)
        if frame and (dates := _years_of(frame)) and not dates[0] <= year <= dates[1]
    ]
    if found:
        more = f", and so {len(found) - 1} more" if len(found) > 1 else ""
        yield f"{found[0]}{more}: are the maps in the order of --years?"


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _years_of(frame: Frame) -> tuple[int, int] | None:
    """First and last year of what a map shows, by its item; None where nothing says it."""
    item = frame.item()
    ends = [item.get(f"{end}_datetime") or item.get("datetime") for end in ("start", "end")]
    years = [int(text[:4]) for text in ends if isinstance(text, str) and text[:4].isdecimal()]
    return (years[0], years[1]) if len(years) == 2 else None  # two ends


def _of_ground(jobs: Sequence[Job], years: Sequence[int]) -> Iterator[str]:
    """Ground that the first map of a tile does not show, and that is therefore not compared."""
    for job in jobs:
        of_year = {frame.path: year for year, frame in zip(years, job.frames, strict=True) if frame}
        boxes = boxes_of(list(of_year))
        for path, box in boxes.items():
            first = next(iter(boxes))  # its grid is that of the tile
            share = shapely.area(shapely.difference(box, boxes[first])) / (shapely.area(box) or 1)
            if share > BEYOND:
                yield (
                    f"{share:.1%} of {path.name} ({of_year[path]}) lies beyond {first.name} ({of_year[first]}), whose ground "
                    "alone is compared."
                )
                return
