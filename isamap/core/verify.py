"""`isamap verify`: are the maps of an area all there, undamaged, of one kind, and do they meet without a seam?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from isamap.domain import product
from isamap.domain.audit import AFRESH, Check, Finding
from isamap.domain.census import Census
from isamap.domain.grid import Tile
from isamap.domain.seams import STRIP_PX, compare
from isamap.engine import LOCAL, Engine, local
from isamap.engine.order import run_in_order
from isamap.errors import CheckError, InputError, IsamapError, MissingInputError, StorageError
from isamap.io import store
from isamap.io.audit import Audited, Subject, audit
from isamap.io.audit_composite import AFRESH as REFETCH
from isamap.io.audit_composite import Candidate, audit_composite
from isamap.io.holders import RUN_LOCK, holder
from isamap.io.leftovers import is_half, leftovers
from isamap.io.names import check_utf8
from isamap.io.pixels import read_strips
from isamap.io.report import DOCUMENT
from isamap.progress import Progress

SCHEMA = 1
"""Of `--json`."""
ALONE = "verify it alone and read the log"
"""What to do about a map whose audit did not end."""
UNREAD = "make it readable, then verify again"
"""What to do about a map that the disk did not give."""


@dataclass(frozen=True)
class Edge:
    """Two maps side by side, or one above the other."""

    first: Path
    """The left or upper map."""
    second: Path
    """The right or lower map."""
    upright: bool
    """Whether the edge runs north-south."""

    def __str__(self) -> str:
        """As logs name it."""
        return f"{self.first.stem} {self.second.stem}"


@dataclass
class Report:
    """What a run of `verify` has looked at so far."""

    maps: int = 0
    """Maps that were asked for."""
    composites: int = 0
    """Composites of those maps that were looked at."""
    edges: int = 0
    """Shared edges that were compared."""
    problems: int = 0
    """Findings that make the check fail."""
    warnings: int = 0
    """Findings that may well be right."""
    findings: list[Finding] = field(default_factory=list)
    """All of them, if they are kept."""

    def add(self, finding: Finding, *, keep: bool) -> None:
        """One more finding."""
        self.problems += finding.level == "problem"
        self.warnings += finding.level == "warning"
        if keep:
            self.findings.append(finding)

    def document(self) -> dict[str, object]:
        """The outcome as a JSON document."""
        return {
            "schema": SCHEMA,
            "command": "verify",
            "maps": self.maps,
            "composites": self.composites,
            "edges": self.edges,
            "problems": self.problems,
            "warnings": self.warnings,
            "findings": [finding.document() for finding in sorted(self.findings)],
        }

    def check(self, *, strict: bool = False) -> None:
        """Raise if anything is off.

        Raises:
            CheckError: there are problems, or with `strict` warnings.
        """
        if self.problems or (strict and self.warnings):
            raise CheckError(
                f"{self.maps} maps and {self.edges} edges: {self.problems} problems, {self.warnings} warnings"
            )


def tile_subjects(
    tiles: Sequence[Tile], year: int, workspace: Path, model: str, *, quick: bool = False
) -> list[Subject]:
    """The maps that an area must have."""
    directory = product.map_directory(workspace, Path(model).stem, year)
    return [
        Subject(
            store.Target(directory, str(tile)), year, product.composite_path(workspace, year, tile), quick
        )
        for tile in tiles
    ]


def path_subjects(paths: Sequence[Path], *, quick: bool = False) -> list[Subject]:
    """The maps in folders, and single ones by their raster or item.

    Raises:
        MissingInputError: a path does not exist, or a folder holds no map.
    """
    targets: set[tuple[Path, str]] = set()
    for path in paths:
        if path.is_dir():
            found = {(path, _stem(file)) for file in path.iterdir() if _is_map(file)}
            if not found:
                raise MissingInputError(f"{path} holds no map (*.tif, *.json): run isamap infer first")
            targets |= found
        elif path.exists():
            targets.add((path.parent, _stem(path)))
        else:
            raise MissingInputError(f"{path} does not exist")
    return [Subject(store.Target(*target), quick=quick) for target in sorted(targets)]


def _is_map(path: Path) -> bool:
    name = path.name
    return (
        path.suffix in {".tif", ".json"}
        and name != DOCUMENT
        and not name.startswith(".")
        and not is_half(name)
    )


def _stem(path: Path) -> str:
    return path.name.removesuffix(product.PROBABILITY.suffix).removesuffix(path.suffix)


def run(subjects: Sequence[Subject], report: Report, how: Engine = LOCAL) -> Iterator[Finding]:
    """Everything that is off, in the order of the maps: single ones, then what shows only between maps.

    Args:
        subjects: maps to look at.
        report: counts what was looked at.
        how: where they are looked at.

    Raises:
        InputError: a folder has a name that nothing in it can be read by.
    """
    report.maps = len(subjects)
    census, readable = Census(), set()
    directories = sorted({subject.target.directory for subject in subjects})
    for directory in directories:
        check_utf8(directory)
    running = {directory for directory in directories if holder(directory / RUN_LOCK) is not None}
    for directory in sorted(running):
        yield Finding("-", "running", f"a run holds {directory}", "verify again when it has ended", "warning")
    with Progress(len(subjects), "map", "verify", show=len(subjects) > 1) as bar:
        for outcome in run_in_order(subjects, audit, how):
            target = outcome.job.target
            yield from _findings(outcome)
            if outcome.result is not None and outcome.result.traits:
                census.add(target.stem, outcome.result.traits)
            if outcome.result is not None and outcome.result.readable:
                readable.add(target)
            bar.advance()
    named = {subject.target for subject in subjects}
    for directory in directories:
        yield from leftovers(directory, {target.stem for target in named if target.directory == directory})
    yield from census.findings()
    yield from _composites(subjects, report, how)
    if not all(subject.quick for subject in subjects):
        yield from _seams(readable, report, how)


def _composites(subjects: Sequence[Subject], report: Report, how: Engine) -> Iterator[Finding]:
    """What is off with the composites that are there."""
    candidates = [
        Candidate(subject.composite, subject.tile, subject.quick)
        for subject in subjects
        if subject.composite is not None and subject.tile is not None
    ]
    there = [one for one in candidates if one.path.exists() or one.path.with_suffix(".json").exists()]
    report.composites = len(there)
    directories = sorted({one.path.parent for one in there})
    for directory in directories:
        if holder(directory / RUN_LOCK) is None:
            continue
        yield Finding("-", "running", f"a run holds {directory}", "verify again when it has ended", "warning")
    with Progress(len(there), "composite", "verify", show=len(there) > 1) as bar:
        for outcome in run_in_order(there, audit_composite, how):
            yield from outcome.result or ()
            if outcome.fault is not None:
                yield _failed(str(outcome.job.tile), "file", outcome.fault, REFETCH)
            bar.advance()


def _findings(outcome: local.Outcome[Subject, Audited]) -> Iterator[Finding]:
    """What an audit says, or that it failed."""
    if outcome.result is not None:
        yield from outcome.result.findings
    else:
        yield _failed(outcome.job.target.stem, "file", outcome.fault, AFRESH)


def _failed(name: str, check: Check, fault: IsamapError | None, todo: str) -> Finding:
    """An audit that did not end: the disk is to blame, it killed the workers, or (`todo`) the file is.

    A disk's fault comes with the advice of somebody who wants to write.
    """
    if isinstance(fault, StorageError):
        return Finding(name, check, str(fault).rpartition(": ")[0] or str(fault), UNREAD)
    return Finding(name, check, str(fault), ALONE if type(fault) is IsamapError else todo)


def edges_between(targets: set[store.Target]) -> Iterator[Edge]:
    """Shared edges of neighbouring tiles of one zone and folder."""
    for target in sorted(targets, key=lambda target: (target.directory, target.stem)):
        try:
            tile = Tile.parse(target.stem)
        except InputError:
            continue
        for step, upright in (((1, 0), True), ((0, -1), False)):
            try:
                beside = Tile(tile.zone, tile.hemisphere, tile.ix + step[0], tile.iy + step[1])
            except InputError:  # the grid ends here
                continue
            other = store.Target(target.directory, str(beside))
            if other in targets:
                yield Edge(_raster(target), _raster(other), upright)


def _raster(target: store.Target) -> Path:
    return target.directory / f"{target.stem}{product.CLASSES.suffix}"


def _seams(readable: set[store.Target], report: Report, how: Engine) -> Iterator[Finding]:
    """Edges at which two maps do not belong together."""
    edges = list(edges_between(readable))
    report.edges = len(edges)
    with Progress(len(edges), "edge", "seams", show=len(edges) > 1) as bar:
        for outcome in run_in_order(edges, look_at_edge, how):
            if outcome.fault is not None:
                name = outcome.job.first.stem
                yield _failed(name, "pixels", outcome.fault, AFRESH)
            elif outcome.result is not None:
                yield outcome.result
            bar.advance()


def look_at_edge(edge: Edge) -> Finding | None:
    """The seam between two maps, if one shows.

    Raises:
        InputError: a map does not decode there.
    """
    sides = ("right", "left") if edge.upright else ("bottom", "top")
    strips = []
    for path, side in zip((edge.first, edge.second), sides, strict=True):
        strips.append(np.concatenate(list(read_strips(path, side, STRIP_PX))))
    if strips[0].shape != strips[1].shape:
        return None  # a finding of the grid check already
    seam = compare(*strips)
    if not seam.is_visible:
        return None
    return Finding(
        f"{edge.first.stem} {edge.second.stem}",
        "seam",
        f"classes change {seam.excess:.1f} times as often across the edge as beside it "
        f"(z {seam.rank_z:.1f}, {seam.segments} segments)",
        "compare inputs and model of both tiles, and map both again with --overwrite",
    )
