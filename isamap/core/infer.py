"""`isamap infer`: which maps to make, from what, and what became of them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from isamap import engine
from isamap.core.composing import Errand, Live, composer, prepare, release
from isamap.core.map_job import Job, Mapped, Options
from isamap.core.mapping import map_job, mapper, published
from isamap.core.outcomes import collect, failure
from isamap.domain import product
from isamap.domain.grid import MARGIN_PX, Tile
from isamap.engine import LOCAL, Engine, local
from isamap.errors import IsamapError, MissingInputError, ModelError, PartialError, StorageError
from isamap.io import store
from isamap.io.occupy import occupy
from isamap.io.raster import SceneInput
from isamap.model.checkpoint import filed_as

log = logging.getLogger(__name__)

SCHEMA = 1
"""Of the report and of `--json`."""


@dataclass(frozen=True)
class Row:
    """One line of the report."""

    name: str
    """Tile id or stem."""
    state: Literal["mapped", "skipped", "failed", "missing"]
    """What became of it."""
    paths: tuple[str, ...] = ()
    """Published files, class map first."""
    isa_share: float | None = None
    """ISA share of the valid pixels of a new map."""
    error: str | None = None
    """Why it failed."""


@dataclass
class Report:
    """Every map that was asked for."""

    requested: int = 0
    """Maps; after a stop there are fewer rows."""
    rows: list[Row] = field(default_factory=list)
    """One for each map that was worked on."""
    faults: list[IsamapError] = field(default_factory=list)
    """Of those that failed, as they came."""
    stopped: IsamapError | None = None
    """Fault that the run did not go on after."""

    def count(self, state: str) -> int:
        """Rows in one state."""
        return sum(row.state == state for row in self.rows)

    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        counts = {state: self.count(state) for state in ("mapped", "skipped", "failed", "missing")}
        rows = [{k: v for k, v in asdict(row).items() if v not in (None, ())} for row in self.rows]
        return {"schema": SCHEMA, "command": "infer", "requested": self.requested, **counts, "maps": rows}

    def raise_for_failures(self) -> None:
        """A lone map and a run that was stopped fail with their own error, several maps with PartialError."""
        bad = self.count("failed") + self.count("missing")
        if self.stopped is not None:
            raise self.stopped
        if bad and self.requested == 1:
            raise self.faults[0]
        if bad:
            raise PartialError(
                f"{bad} of {self.requested} maps are not made: the report names them, rerun to resume"
            )


def raster_job(source: SceneInput, out: Path) -> Job:
    """The map of a user's own raster."""
    first = source.paths[0]
    target = store.Target(out, product.map_stem(first))
    return Job(target.stem, source, target, product.acquisition(first))


def tile_jobs(tiles: Sequence[Tile], year: int, workspace: Path, out: Path | None, model: str) -> list[Job]:
    """The maps of grid tiles from their annual composites.

    Raises:
        MissingInputError, ModelError: there is no such model.
        ConfigError: maps for the workspace of weights that are called like another model.
    """
    directory = out or product.map_directory(workspace, filed_as(model), year)
    return [
        Job(
            name=str(tile),
            source=SceneInput((product.composite_path(workspace, year, tile),)),
            target=store.Target(directory, str(tile)),
            span=product.year_span(year),
            margin_px=MARGIN_PX,
        )
        for tile in tiles
    ]


def run(
    jobs: Sequence[Job],
    options: Options,
    *,
    how: Engine = LOCAL,
    wait: bool = False,
    stop_at_failure: bool = False,
    live: Live | None = None,
) -> Report:
    """Make the maps; finished ones are skipped, leftovers of dead runs are swept.

    Args:
        jobs: maps into one directory.
        options: how to map.
        how: where they are made.
        wait: wait for another run on the same directory instead of refusing.
        stop_at_failure: stop at the first failure instead of going on.
        live: how to make composites of grid tiles that have none; None: such tiles are missing.

    Returns:
        Every map that was worked on, also where nothing could go on after one of them.

    Raises:
        BusyError: another run holds the directory.
        IsamapError: the run could not begin.
    """
    report = Report(len(jobs))
    if not jobs:  # a shard of few tiles may be empty
        return report
    if live is None and len(jobs) == 1 and (fault := _lacks_input(jobs[0])):
        report.rows.append(_row(local.Outcome(jobs[0], None, fault)))
        report.faults.append(fault)
        return report
    if live is not None and not _all_there(jobs):
        composer(live.settings)  # a wrong source is no fault of a tile
    directories = [jobs[0].target.directory]
    if live is not None and live.keep:
        directories.append(live.settings.directory)
    with ExitStack() as held:
        held.callback(release)
        for directory in directories:
            held.enter_context(occupy(directory, shard=how.shard_name, wait=wait))
        collect(
            report,
            _outcomes(jobs, options, how, live),
            _row,
            count=len(jobs),
            unit="map",
            label="infer",
            stop_on=IsamapError if stop_at_failure else (StorageError, ModelError),
        )
    return report


def _lacks_input(job: Job) -> MissingInputError | None:
    """Why the only map of a run cannot be made, without a folder or a model for it."""
    if any(path.is_file() for path in job.source.paths):
        return None
    first = job.source.paths[0]
    fault = "is a folder, not a raster" if first.is_dir() else "does not exist"
    todo = ": run isamap fetch, or leave out --no-fetch" if job.margin_px else ""
    return MissingInputError(f"{first} {fault}{todo}")


def _all_there(jobs: Sequence[Job]) -> bool:
    """Whether no composite is to be made."""
    return all(path.is_file() for job in jobs for path in job.source.paths)


def _outcomes(
    jobs: Sequence[Job], options: Options, how: Engine, live: Live | None
) -> Iterator[local.Outcome[Job, Mapped]]:
    """Every map as it ends; with one worker the next composite is made while a map is."""
    if live is None or _all_there(jobs):
        yield from engine.run(jobs, partial(map_job, options), how)
    elif how.kind != "local" or how.workers > 1 or len(jobs) == 1:
        yield from engine.run(jobs, partial(map_live, options, live), how)
    else:
        by_name = {job.name: job for job in jobs}
        ahead = partial(prepare, live, _expected(options, jobs[0]))
        for ready in local.run([_errand(job) for job in jobs], ahead, apart=True):
            job = by_name[str(ready.job.tile)]
            if ready.result is None:
                yield local.Outcome(job, None, ready.fault)
            elif ready.result.done:
                yield local.Outcome(job, Mapped("skipped", published(job, options)), None)
            else:
                yield local.attempt(job, partial(mapper(options).map, made=ready.result.made))


def map_live(options: Options, live: Live, job: Job) -> Mapped:
    """Make one map, and the composite that it needs if there is none."""
    ready = prepare(live, _expected(options, job), _errand(job))
    if ready.done:
        return Mapped("skipped", published(job, options))
    return mapper(options).map(job, ready.made)


def _errand(job: Job) -> Errand:
    return Errand(Tile.parse(job.name), job.target)


def _expected(options: Options, job: Job) -> dict[str, Any] | None:
    """Provenance of a finished map but for its input; None if it is to be made anyway."""
    return None if options.overwrite else mapper(options).provenance(job, "")


def write_report(report: Report, path: Path) -> None:
    """Keep the report as JSON."""
    store.write_json(path, report.document())


def _row(outcome: local.Outcome[Job, Mapped]) -> Row:
    """An outcome as a line of the report."""
    name = outcome.job.name
    if outcome.result is not None:
        paths = tuple(str(path) for path in outcome.result.paths)
        log.info("%s %s", outcome.result.state, name)
        return Row(name, outcome.result.state, paths, outcome.result.isa_share)
    state, error = failure(name, outcome)
    return Row(name, state, error=error)
