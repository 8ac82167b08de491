"""`isamap change`: which tiles to compare over which years, and what became of them."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from isamap.core.differencing import Job, Made, Options, Outcome, make, provenance_of, units_of
from isamap.domain.change_tally import Tally
from isamap.domain.grid import Tile
from isamap.domain.product import map_directory, plain_stem
from isamap.engine import LOCAL, Engine, local
from isamap.engine.order import run_in_order
from isamap.errors import BusyError, InputError, IsamapError, MissingInputError, StorageError
from isamap.io import store
from isamap.io.change_folder import others, withdraw
from isamap.io.frames import Frame
from isamap.io.occupy import occupy
from isamap.io.presence import standing
from isamap.io.zones import whole_path
from isamap.progress import Progress

log = logging.getLogger(__name__)


def tile_jobs(
    tiles: Sequence[Tile], years: Sequence[int], workspace: Path, model: str, out: Path
) -> list[Job]:
    """Jobs of grid tiles whose maps lie in a workspace."""
    jobs = []
    for tile in tiles:
        paths = [map_directory(workspace, model, year) / f"{tile}.tif" for year in years]
        frames = tuple(Frame(path) if path.is_file() else None for path in paths)
        jobs.append(Job(str(tile), frames, store.Target(out, str(tile))))
    if not any(any(job.frames) for job in jobs):
        folder = map_directory(workspace, model, years[0]).parent
        raise MissingInputError(f"{folder} holds no map of these years and tiles: run isamap infer first")
    return jobs


def map_jobs(
    series: Sequence[tuple[Sequence[Path], str]], years: Sequence[int], out: Path, *, folders: bool = False
) -> list[Job]:
    """Jobs of the user's own maps.

    Args:
        series: files and kind of each year's map.
        years: as many, one for each.
        out: where products go.
        folders: whether tiles are matched by name; otherwise each year has one file, and they make one job.

    Raises:
        InputError: no tile is there in two years.
    """
    if not folders:
        frames = tuple(Frame(files[0], kind, year) for (files, kind), year in zip(series, years, strict=True))
        return [Job(frames[0].path.stem, frames, store.Target(out, plain_stem(frames[0].path.stem) or "map"))]
    named = [
        {path.stem: Frame(path, kind, year) for path in files}
        for (files, kind), year in zip(series, years, strict=True)
    ]
    names = sorted({name for year in named for name in year})
    jobs = [
        Job(name, tuple(year.get(name) for year in named), store.Target(out, plain_stem(name) or "map"))
        for name in names
    ]
    if not any(len([frame for frame in job.frames if frame]) > 1 for job in jobs):
        raise InputError("no tile lies in two of the folders: tiles are matched by file name")
    return jobs


def plan(jobs: Sequence[Job], options: Options) -> dict[str, Any]:
    """What a run would do, as items tell: `--dry-run`. No map is read, so whether one has changed is not known."""
    states = [standing(job.target, partial(_compare, job, options), overwrite=False) for job in jobs]
    return {
        "schema": 1,
        "command": "change",
        "requested": len(jobs),
        "new": states.count("new"),
        "stale": states.count("stale"),
        "made_before": states.count("done"),
        "incomplete": sum(None in job.frames for job in jobs),
    }


def _compare(job: Job, options: Options, item: dict[str, Any]) -> Literal["stale", "done"]:
    """Whether a product is that of these options."""
    properties = item.get("properties")
    made = properties.get("isamap:provenance") if isinstance(properties, dict) else None
    if not isinstance(made, dict):
        return "stale"
    return "done" if provenance_of(options, job, []) | {"inputs": made.get("inputs")} == made else "stale"


def run(
    jobs: Sequence[Job],
    options: Options,
    lineages: tuple[str, ...],
    remarks: tuple[str, ...] = (),
    *,
    how: Engine = LOCAL,
    wait: bool = False,
) -> Outcome:
    """Make all tiles; finished ones are skipped, leftovers of dead runs are swept.

    Args:
        jobs: tiles into one folder.
        options: how change is found.
        lineages: recipe of each year's maps, in words.
        remarks: what items and headers say against the maps.
        how: where tiles are made.
        wait: wait for another run on the same folder instead of refusing.

    Raises:
        InputError: the units cannot be read, or share ground; the folder is that of the maps.
        BusyError: another run holds the folder.
        StorageError: nothing could go on.
    """
    outcome = Outcome(options, lineages, Tally(options.years), remarks)
    if not jobs:  # a shard of few tiles may be empty
        return outcome
    _check_places(jobs)
    units_of(options)  # what is wrong with them is said once, not for every tile
    if how.kind != "local":
        jobs = [_anywhere(job) for job in jobs]
        options = replace(options, units=options.units and whole_path(options.units))
    folder = jobs[0].target.directory
    with (
        occupy(folder, shard=how.shard_name, wait=wait),
        Progress(len(jobs), "tile", "change", show=len(jobs) > 1) as bar,
    ):
        for one in run_in_order(jobs, partial(make, options), how):
            _take(outcome, one)
            bar.advance()
        if not how.shard_name:
            _clear(outcome, jobs)
    return outcome


def _clear(outcome: Outcome, jobs: Sequence[Job]) -> None:
    """Withdraw what earlier runs made of tiles that failed now, and note the products that this run does not know."""
    if not outcome.made:  # no report is written that they would belie
        return
    for job in jobs:
        fault = outcome.faults.get(job.name)
        if fault is not None and not isinstance(fault, BusyError) and withdraw(job.target):
            log.warning(
                "%s: the product of an earlier run is removed, for this one could not make it", job.name
            )
    outcome.others = others(jobs[0].target.directory, outcome.stems)


def _check_places(jobs: Sequence[Job]) -> None:
    """No item may lie where that of a map lies, or would lie if it had one."""
    for job in jobs:
        taken = {frame.path.with_suffix(".json").resolve(): frame.path for frame in job.frames if frame}
        beside = taken.get(job.target.item_path.resolve())
        if beside is not None:
            raise InputError(
                f"{job.target.item_path} would be taken for the item of {beside}: choose another folder"
            )


def _anywhere(job: Job) -> Job:
    """The job with whole paths, for workers that run in another folder."""
    frames = tuple(frame and replace(frame, path=frame.path.absolute()) for frame in job.frames)
    return replace(job, frames=frames, target=replace(job.target, directory=job.target.directory.absolute()))


def _take(outcome: Outcome, one: local.Outcome[Job, Made]) -> None:
    """A tile's outcome among the others."""
    name = one.job.name
    if one.result is None:
        fault = one.fault or IsamapError("ended without a result")
        if isinstance(fault, StorageError):
            raise fault
        log.error("%s: %s", name, fault)
        outcome.faults[name] = fault
        return
    log.info("%s %s", one.result.row.state, name)
    outcome.made[name] = one.result.row
    outcome.tally += one.result.tally
    missing = [
        year for year, frame in zip(outcome.options.years, one.job.frames, strict=True) if frame is None
    ]
    if missing:
        outcome.gaps[name] = tuple(missing)
        log.warning(
            "%s has no map of %s: counted as a year without a look", name, ", ".join(map(str, missing))
        )
