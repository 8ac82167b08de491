"""`isamap mosaic`: one product of a region from its finished maps: index, overview, collection, sheets on request."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isamap import __version__
from isamap.core.assembly import Request, span_of
from isamap.domain import catalogue, product
from isamap.domain.lonlat import LONLAT
from isamap.domain.mosaic import Make, Member, check_alike, check_apart
from isamap.domain.mosaic_item import INDEX_KEY, LAYERS, TILES_KEY, add_files, by_crs, file_names, vrt_key
from isamap.engine import LOCAL, Engine
from isamap.engine.order import run_in_order
from isamap.errors import InputError, IsamapError, PartialError, StorageError
from isamap.io import index, store
from isamap.io.counts import Counted, count, write_overview
from isamap.io.mosaic_folder import COLLECTION, SHEETS, check_folder, few, tell_of_older
from isamap.io.occupy import occupy
from isamap.io.quicklook import write_quicklook
from isamap.io.report import check_report_libraries, write_geoparquet
from isamap.io.strangers import MOSAIC
from isamap.io.sweeping import sweep
from isamap.io.warped import make_sheet
from isamap.progress import Progress

log = logging.getLogger(__name__)

SCHEMA = 1
"""Of the report and of `--json`."""


@dataclass
class Report:
    """What became of a mosaic."""

    request: Request
    differ: str | None = None
    """How the maps differ in make, if they do and nobody minds."""
    counted: dict[Path, Counted] = field(default_factory=dict)
    """By raster."""
    sheets: dict[str, bool] = field(default_factory=dict)
    """Path of each sheet, and whether it is new."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why a member or sheet was not done."""
    paths: list[Path] = field(default_factory=list)
    """The mosaic's own files."""
    skipped: bool = False
    """The overview was done already."""

    @property
    def members(self) -> list[Member]:
        """Maps that are in the mosaic."""
        return [member for member in self.request.members if member.path in self.counted]

    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        isa, valid = (sum(getattr(one, key) for one in self.counted.values()) for key in ("isa", "valid"))
        return {
            "schema": SCHEMA,
            "command": "mosaic",
            "requested": _requested(self.request),
            "mapped": len(self.request.members),
            "missing": list(self.request.missing),
            "failed": self.failed,
            "counted": sum(one.new for one in self.counted.values()),
            "skipped": self.skipped,
            "sheets": {
                "new": sum(self.sheets.values()),
                "skipped": len(self.sheets) - sum(self.sheets.values()),
            },
            "isa_share": round(isa / valid, 6) if valid else None,
            "mapped_km2": round(self._mapped_m2() / 1e6, 3),
            "differ": self.differ,
            "paths": [str(path) for path in [*self.paths, *map(Path, self.sheets)]],
        }

    def _mapped_m2(self) -> float:
        return sum(self.counted[one.path].valid_m2 for one in self.members)

    def raise_for_failures(self) -> None:
        """Exit 3 if a tile has no map, or a map or sheet failed."""
        bad = len(self.request.missing) + len(self.failed)
        if bad:
            name, why = next(iter({**self.failed, **dict.fromkeys(self.request.missing, "no map")}.items()))
            others = f" and {bad - 1} others" * (bad > 1)
            raise PartialError(
                f"{name} ({why}){others} are not in the mosaic: rerun when they are mapped; it holds the rest"
            )


def check_libraries() -> None:
    """Fail before the long work, not after it.

    Raises:
        ConfigError: a library that index, table or picture need is not installed.
    """
    check_report_libraries()
    index.check_index_libraries()


def write_report(report: Report, path: Path) -> None:
    """Keep the report as JSON."""
    store.write_json(path, report.document())


def check(request: Request, *, force: bool) -> str | None:
    """Whether the maps may stand side by side; what differs in their make, if that is forced.

    Raises:
        InputError: makes differ, rasters overlap, sheets would have pixels wider than all of them, or the folder is that
            of the maps or has a collection of somebody else.
    """
    check_folder(request.folder, request.name, [member.path for member in request.members])
    request.check_resolution()
    check_apart(request.members)
    differ = check_alike(request.members, force=force)
    if differ:
        log.warning("%s", differ)
    elif not Make.of(request.members[0].properties).model:
        log.warning("no map has an item beside it: whether they were made alike is unknown")
    return differ


def plan(request: Request) -> dict[str, Any]:
    """What a run would do, from file names alone: `--dry-run`."""
    sheets = request.sheet_jobs()
    counted = sum(job.path.is_file() for job in request.count_jobs)
    return {
        "schema": SCHEMA,
        "command": "mosaic",
        "requested": _requested(request),
        "mapped": len(request.members),
        "missing": len(request.missing),
        "refused": len(request.refused),
        "counted_before": counted,
        "overview_cells": list(request.grid.shape),
        "sheets": len(sheets),
        "sheets_made_before": sum(job.target.item_path.is_file() for job in sheets),
        "read_gb": round(sum(member.path.stat().st_size for member in request.members) / 1e9, 3),
    }


def _requested(request: Request) -> int:
    return len(request.members) + len(request.missing) + len(request.refused)


def run(request: Request, differ: str | None = None, *, how: Engine = LOCAL, wait: bool = False) -> Report:
    """Make the mosaic; what is done is left alone, leftovers of dead runs are swept.

    Args:
        request: what is put together.
        differ: how the maps differ in make, if nobody minds.
        how: where maps are counted and sheets made.
        wait: wait for another run on the same folder instead of refusing.

    Raises:
        BusyError: another run holds the folder.
        StorageError: nothing could go on.
    """
    report = Report(request, differ, failed=dict(request.refused))
    for name, why in request.refused.items():
        log.error("%s: %s", name, why)
    with occupy(request.folder, wait=wait):
        store.check_place(request.target, file_names(request.name, request.members).values(), MOSAIC)
        _count(report, how)
        _warn_of_nothing(report)
        _publish(report)
        _make_sheets(report, how)
        _write_collection(report)
    return report


def _count(report: Report, how: Engine) -> None:
    """Pixels of every member in the cells of the overview."""
    jobs = report.request.count_jobs
    fault: IsamapError | None = None
    with Progress(len(jobs), "map", "count", show=len(jobs) > 1) as bar:
        for outcome in run_in_order(jobs, count, how):
            member = outcome.job.member
            if outcome.result is None:
                fault = _note(report, member.name, outcome.fault)
            else:
                report.counted[member.path] = outcome.result
            bar.advance()
    if fault is not None and not report.counted:
        raise fault


def _warn_of_nothing(report: Report) -> None:
    """Say in the log that not one pixel counts, which is no pervious ground."""
    if not any(one.valid for one in report.counted.values()):
        where = "of the maps" if report.request.cutline is None else "within the cutline"
        log.warning("no pixel %s is mapped: overview and sheets are empty", where)


def _note(report: Report, name: str, fault: IsamapError | None) -> IsamapError:
    """Keep a failure, unless nothing could go on after it."""
    found = fault or IsamapError("ended without a result")
    if isinstance(found, StorageError):
        raise found
    log.error("%s: %s", name, found)
    report.failed[name] = str(found)
    return found


def _publish(report: Report) -> None:
    """Overview, index, table and picture as one product, unless it is done."""
    request, members = report.request, report.members
    target = request.target
    provenance = request.provenance(members)
    names = file_names(request.name, members)
    report.paths = [request.folder / name for name in (*names.values(), target.item_path.name)]
    found = store.state(target, provenance)
    if not request.options.overwrite and found is store.State.DONE:
        report.skipped = True
        return
    if found is store.State.STALE:
        tell_of_older(target, span_of(members))
    model, facts = str(Make.of(members[0].properties)), report.document()
    tags = {"isamap_version": __version__, "isamap_model": model}
    jobs = [job for job in request.count_jobs if job.member.path in report.counted]
    with store.publish(target, names.values(), MOSAIC) as publication:
        overview = publication.path(names["isa"])
        write_overview(jobs, request.grid, publication.directory, request.name, tags)
        for crs, own in by_crs(members).items():
            text = index.vrt_text(own, request.folder)
            store.write_atomic(publication.path(names[vrt_key(crs)]), text.encode())
        crs = index.gti_crs(members, request.options.crs)
        index.write_gti(publication.path(names[INDEX_KEY]), members, crs, request.folder)
        rows = _rows(request, members)
        shapes = [member.footprint for member in members]
        write_geoparquet(publication.path(names[TILES_KEY]), shapes, catalogue.table(rows), LONLAT)
        write_quicklook(publication.path(names[product.PREVIEW_KEY]), overview, request.title)
        properties = {
            "title": request.title,
            "isamap:provenance": provenance,
            "isamap:model": model,
            "isamap:differ": report.differ,
            "isamap:tiles": len(members),
            "isamap:missing": [*request.missing, *report.failed],
            **{f"isamap:{key}": facts[key] for key in ("isa_share", "mapped_km2")},
        }
        item = product.map_item(request.name, request.grid, span_of(members), LAYERS, properties)
        publication.commit(add_files(item, names))


def _rows(request: Request, members: Sequence[Member]) -> list[tuple[Member, str]]:
    """Members and how their rasters are called from the mosaic."""
    return [(member, index.href(member.path, request.folder)) for member in members]


def _make_sheets(report: Report, how: Engine) -> None:
    """Sheets that are asked for and not done."""
    lost, jobs = set(report.failed), []
    for job in report.request.sheet_jobs():
        if needed := sorted(lost & {member.name for member in job.members}):
            _note(report, job.target.stem, InputError(f"needs {needed[0]}"))
        else:
            jobs.append(job)
    if not jobs:
        return
    folder = jobs[0].target.directory
    sweep(folder)
    with Progress(len(jobs), "sheet", "sheets", show=len(jobs) > 1) as bar:
        for outcome in run_in_order(jobs, make_sheet, how):
            if outcome.result is None:
                _note(report, outcome.job.target.stem, outcome.fault)
            else:
                report.sheets[str(outcome.job.path)] = outcome.result
            bar.advance()


def _earlier_sheets(report: Report) -> list[str]:
    """Sheets of earlier runs that show the same maps as this one; what else lies there is told."""
    done = {*(Path(path).stem for path in report.sheets), *report.failed}
    right, wrong = report.request.earlier_sheets(done)
    if right and report.sheets:
        log.warning("sheets of another grid lie beside those of this run: %s", few(right))
    if wrong:
        log.warning("sheets of earlier runs show other maps or settings, and are not linked: %s", few(wrong))
    return right


def _write_collection(report: Report) -> None:
    """The collection, last: it links nothing that is not there."""
    request, members = report.request, report.members
    sheets = sorted([*(Path(path).stem for path in report.sheets), *_earlier_sheets(report)])
    items = [f"./{request.name}.json", *(f"./{SHEETS}/{stem}.json" for stem in sheets)]
    document = catalogue.collection(request.name, request.title, _rows(request, members), items)
    path = request.folder / COLLECTION
    store.write_atomic(path, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())
    report.paths.append(path)
