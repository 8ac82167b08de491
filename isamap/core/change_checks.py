"""What is known of the maps of `isamap change` before the work: made alike, each of its own year, ground shown once."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from isamap.core.differencing import Job
from isamap.domain.grid import Tile
from isamap.domain.lonlat import LONLAT
from isamap.domain.product import NODATA
from isamap.errors import InputError
from isamap.io import store
from isamap.io.frames import Frame, Lineage
from isamap.io.probe import classes_at
from isamap.io.products import Product
from isamap.io.same_ground import SAME_GROUND, boxes_of, pairs_of
from isamap.io.sample import Sample

log = logging.getLogger(__name__)

BEYOND = 0.001
"""Share of a map beyond the first one from which it is said."""
LOOKS = 8
"""Points in each direction at which two maps of the same outlines are asked whether both know the ground."""
Boxes = dict[Path, BaseGeometry]
"""Lon/lat polygon of each map."""


@dataclass(frozen=True)
class Maps:
    """What is known of the maps."""

    lineages: tuple[str, ...]
    """Recipe of each year's maps, in words."""
    versions: bool
    """Whether the recipes differ."""
    remarks: tuple[str, ...]
    """What makes their comparison doubtful."""


def check(jobs: Sequence[Job], years: Sequence[int], *, force: bool) -> Maps:
    """Look at items and headers, and at a few pixels where outlines of maps lie on each other.

    Raises:
        InputError: recipes differ and nobody said to go on, two years have the same file, maps hold shares, two maps of
            a year show the same ground, or two tiles would be written as one product.
    """
    _check_targets(jobs)
    lineages, versions = check_lineages(jobs, years, force=force)
    own = [job for job in jobs if _tile(job) is None]  # the ground of tiles is known
    boxes = boxes_of({frame.path: None for job in own for frame in job.frames if frame})
    if own:
        _check_ground(jobs, years, boxes)
    remarks = (*_of_dates(jobs, years), *_of_ground(own, years, boxes))
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


def _tile(job: Job) -> Tile | None:
    """The tile of the grid that a map is called like."""
    try:
        return Tile.parse(job.name.partition(".")[0])
    except InputError:
        return None


def _check_ground(jobs: Sequence[Job], years: Sequence[int], boxes: Boxes) -> None:
    """No ground may be shown, and counted, by two maps of a year; tiles know by themselves which of them counts."""
    tiles = {job.name: tile for job in jobs if (tile := _tile(job))}
    for index, year in enumerate(years):
        there: Boxes = {}
        frames = {frame.path: frame for job in jobs if (frame := job.frames[index])}
        for job in jobs:
            frame = job.frames[index]
            if frame and job.name in tiles:
                there[frame.path] = tiles[job.name].footprint()
            elif frame and frame.path in boxes:
                there[frame.path] = boxes[frame.path]
        for one, other in pairs_of(there):
            own = one in boxes or other in boxes
            if own and _both_know(frames[one], frames[other], shapely.intersection(there[one], there[other])):
                raise InputError(
                    f"{one} and {other.name} show the same ground in {year}, by more than {SAME_GROUND:.0%} of one of "
                    "them, which would be counted twice: cut them, or give one"
                )


def _both_know(one: Frame, other: Frame, shared: BaseGeometry) -> bool:
    """Whether two maps know the same ground somewhere on what their outlines share, as some points tell."""
    left, bottom, right, top = shapely.bounds(shared)
    along = (np.arange(LOOKS) + 0.5) / LOOKS
    lon, lat = np.meshgrid(left + along * (right - left), bottom + along * (top - bottom))
    inside = shapely.contains_xy(shared, lon, lat)
    sample = Sample(lon[inside], lat[inside], LONLAT, [{}] * int(inside.sum()))
    known = [
        classes_at(Product(frame.path.name, (frame.path,), frame.kind), sample, 0) != NODATA
        for frame in (one, other)
    ]
    return bool((known[0] & known[1]).any())


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


def _of_ground(jobs: Sequence[Job], years: Sequence[int], boxes: Boxes) -> Iterator[str]:
    """Ground that the first map of a tile does not show, and that is therefore not compared."""
    found = [text for job in jobs if (text := _beyond(job, years, boxes))]
    if found:
        more = f", and so of {len(found) - 1} more tiles" if len(found) > 1 else ""
        yield f"{found[0]}{more}: the ground of the first map alone is compared."


def _beyond(job: Job, years: Sequence[int], boxes: Boxes) -> str:
    """What lies beyond the first map of a tile, in words; empty where nothing does."""
    of_year = {frame.path: year for year, frame in zip(years, job.frames, strict=True) if frame}
    there = [path for path in of_year if path in boxes]
    for path in there[1:]:
        first, box = there[0], boxes[path]
        share = shapely.area(shapely.difference(box, boxes[first])) / (shapely.area(box) or 1)
        if share > BEYOND:
            return f"{share:.1%} of {path.name} ({of_year[path]}) lies beyond {first.name} ({of_year[first]})"
    return ""
