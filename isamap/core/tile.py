"""`isamap tile`: from imagery, fine images and labels to a chip store with spatial splits."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from isamap import __version__
from isamap.domain import chips
from isamap.domain.classes import scheme_of
from isamap.domain.product import PREVIEW_KEY
from isamap.domain.tiling import Source, TileRecipe
from isamap.engine import local
from isamap.errors import InputError, IsamapError, StorageError
from isamap.io import store
from isamap.io.chip_leftovers import other_sources
from isamap.io.chipindex import Index
from isamap.io.chipstore import ChipStore, checksums
from isamap.io.contact import write_contact
from isamap.io.holders import RUN_LOCK
from isamap.io.shards import Made, ShardJob, digest, make_shard
from isamap.io.site import jobs_of
from isamap.io.strangers import CHIPS, SOURCE
from isamap.io.sweeping import sweep
from isamap.progress import Progress

log = logging.getLogger(__name__)

SCHEMA = 1
"""Of the report and of `--json`."""


@dataclass(frozen=True)
class Request:
    """What to make, and where."""

    recipe: TileRecipe
    """Checked."""
    data: Path
    """Folder that the recipe's paths start from."""
    out: Path
    """Folder of the store."""
    preview: bool = False
    """Whether to draw a contact sheet; one that is there is kept up to date anyway."""
    overwrite: bool = False
    """Redo what is done."""

    def jobs(self) -> list[ShardJob]:
        """The shards of all sources.

        Raises:
            MissingInputError, InputError: a folder is not there, or not complete.
        """
        recipe, scheme = self.recipe, scheme_of(self.recipe.scheme)
        found = []
        for source in recipe.sources:
            limit_m = recipe.max_shift_m if source.max_shift_m is None else source.max_shift_m
            found += [
                ShardJob(site, self.out, recipe.chip_px, limit_m, recipe.align, self.overwrite)
                for site in jobs_of(source, scheme, self.data)
            ]
        return found


@dataclass
class Report:
    """What became of a store."""

    request: Request
    shards: list[Made] = field(default_factory=list)
    """In the order of the recipe."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Splits, distances and counts, as the manifest has them."""
    skipped: bool = False
    """The index was done already."""

    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {
            "schema": SCHEMA,
            "command": "tile",
            "index": str(self.request.out / f"{chips.STEM}.geojson"),
            "shards": [
                {
                    "name": one.shard.name,
                    "new": one.new,
                    "shifts": list(one.shard.shifts),
                    "moved_px": list(one.shard.shift_px),
                    "labels": dict(one.shard.counts),
                }
                for one in self.shards
            ],
            "skipped": self.skipped,
            **self.facts,
        }


def write_report(report: Report, path: Path) -> None:
    """Keep the report as JSON."""
    store.write_json(path, report.document())


def describe(request: Request) -> dict[str, Any]:
    """What a run would do: `--dry-run`."""
    jobs = request.jobs()
    _check_places(request, jobs)
    missing = [str(path) for job in jobs for path in job.site.inputs if not path.is_file()]
    return {
        "schema": SCHEMA,
        "command": "tile",
        "shards": len(jobs),
        "made_before": sum(job.target.item_path.is_file() for job in jobs),
        "missing": missing,
        "read_gb": round(
            sum(path.stat().st_size for job in jobs for path in job.site.inputs if path.is_file()) / 1e9, 3
        ),
    }


def run(request: Request, *, workers: int = 1, wait: bool = False) -> Report:
    """Make the store; what is done is left alone, leftovers of dead runs are swept.

    Raises:
        BusyError: another run holds the folder.
        InputError, MissingInputError: a source is refused; no index is written then.
        StorageError: the disk refuses.
    """
    jobs = request.jobs()
    report = Report(request)
    with store.lock(request.out / RUN_LOCK, wait=wait, what=str(request.out)):
        sweep(request.out)
        _check_places(request, jobs)
        report.shards = _make_shards(jobs, workers)
        _warn_of_others(request.out, report.shards)
        _publish(report, {job.site.name: job.site.source for job in jobs})
    return report


def _check_places(request: Request, jobs: Sequence[ShardJob]) -> None:
    """Refuse, before anything is made, to write where files of others lie, or those that the store is made of.

    Raises:
        InputError: one of them has the name of a file of the store.
    """
    splits = {job.site.source.split for job in jobs} - {None}
    inputs = {path for job in jobs for path in job.site.inputs} | {request.data / str(one) for one in splits}
    taken = {path.resolve(): path for path in inputs}
    manifest = store.Target(request.out, chips.STEM)
    products = [(job.target, list(job.names.values()), SOURCE) for job in jobs]
    products.append((manifest, list(_file_names(request, [job.site.name for job in jobs]).values()), CHIPS))
    for target, names, kind in products:
        store.check_place(target, names, kind)
        for path in (target.item_path, *(target.directory / name for name in names)):
            if path.resolve() in taken:
                raise InputError(
                    f"{taken[path.resolve()]} would be replaced by the chips: choose another folder"
                )


def _file_names(request: Request, sources: Sequence[str]) -> dict[str, str]:
    """Index, split rasters and picture, by asset key; a picture that is there stays, or follows."""
    assets = (store.read_item(store.Target(request.out, chips.STEM).item_path) or {}).get("assets")
    pictured = request.preview or (isinstance(assets, dict) and PREVIEW_KEY in assets)
    picture = {PREVIEW_KEY: f"{chips.STEM}.png"} if pictured else {}
    return {
        "index": f"{chips.STEM}.geojson",
        **{name: f"{name}.{chips.SPLIT}.tif" for name in sources},
        **picture,
    }


def _make_shards(jobs: Sequence[ShardJob], workers: int) -> list[Made]:
    """All shards, in the order of the recipe; every fault is said before one is raised, that of a full disk first."""
    made: dict[str, Made] = {}
    faults: list[IsamapError] = []
    with Progress(len(jobs), "source", "tile", show=len(jobs) > 1) as bar:
        for outcome in local.run(jobs, make_shard, workers):
            if outcome.result is not None:
                made[outcome.job.site.name] = outcome.result
                for shift in outcome.result.shard.shifts:
                    log.debug("%s: %s", outcome.job.site.name, shift)
            else:
                faults.append(
                    outcome.fault or IsamapError(f"{outcome.job.site.name}: ended without a result")
                )
            bar.advance()
    if len(faults) == 1:
        raise faults[0]
    for fault in faults:
        log.error("%s", fault)
    if full := next((fault for fault in faults if isinstance(fault, StorageError)), None):
        raise full
    if faults:
        raise type(faults[0])(f"{len(faults)} of {len(jobs)} sources are refused, the first: {faults[0]}")
    return [made[job.site.name] for job in jobs]


def _warn_of_others(folder: Path, shards: Sequence[Made]) -> None:
    """Say which sources of earlier runs are not in the index."""
    old = list(other_sources(folder, {one.shard.name for one in shards}))
    if old:
        log.warning(
            "%s holds sources that this recipe does not name: %s (isamap verify --chips lists their files)",
            folder,
            ", ".join(old[:5]) + (", ..." if len(old) > 5 else ""),
        )


def _publish(report: Report, sources: Mapping[str, Source]) -> None:
    """Splits, index and manifest as one product, unless it is done."""
    request, folder = report.request, report.request.out
    items = {
        one.shard.name: store.read_item(folder / f"{one.shard.name}.json") or {} for one in report.shards
    }
    sums = {name: checksums(item) for name, item in items.items()}
    target, provenance = store.Target(folder, chips.STEM), _provenance(request, sums, sources)
    there = store.read_item(target.item_path) or {}
    names = _file_names(request, list(sums))
    assets = there.get("assets")
    complete = isinstance(assets, dict) and names.keys() <= assets.keys()
    if complete and not request.overwrite and store.state(target, provenance) is store.State.DONE:
        report.skipped = True
        report.facts = there["properties"]["isamap:facts"]
        return
    shards = {one.shard.name: (one.shard, sources[one.shard.name]) for one in report.shards}
    index = Index(folder, request.data, request.recipe, shards)
    with store.publish(target, names.values(), CHIPS) as publication:
        index.write(publication, request.recipe.split.seed)
        if not index.rows:
            raise InputError(
                "no chip has enough labels: lower min_labelled, or check that labels and imagery meet"
            )
        document = {"type": "FeatureCollection", "features": index.features(sums)}
        store.write_atomic(publication.path(names["index"]), (json.dumps(document) + "\n").encode())
        if PREVIEW_KEY in names:
            opened = ChipStore(folder, "", {k: v[0] for k, v in shards.items()}, tuple(index.rows), {})
            with replace(opened, splits=publication.directory) as draft:
                write_contact(publication.path(names[PREVIEW_KEY]), draft)
        report.facts = index.facts
        _warn_of_nearness(index.facts)
        publication.commit(chips.item(chips.STEM, names, _properties(report, provenance, sums), None))


def _warn_of_nearness(facts: Mapping[str, Any]) -> None:
    """Say where splits lie nearer to each other than was asked, or nobody knows."""
    if facts["unplaced"]:
        log.warning(
            "%d images have no position: how far apart they lie, and their splits with them, is unknown",
            len(facts["unplaced"]),
        )
    wanted_m = facts["buffer_m"]["wanted"]
    for pair, metres in facts["distance_m"].items():
        if metres is not None and metres < wanted_m:
            log.warning(
                "%s lie %g m apart, not %g m: the ground allows no more, or a split was given",
                pair,
                metres,
                wanted_m,
            )


def _properties(
    report: Report, provenance: Mapping[str, Any], sums: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    """What the manifest says."""
    rows = [one.shard for one in report.shards]
    return {
        "isamap:provenance": provenance,
        "isamap:shards": sums,
        "isamap:settings": report.request.recipe.model_dump(mode="json"),
        "isamap:facts": report.facts,
        "isamap:licences": {row.name: row.licence for row in rows},
        "isamap:attribution": sorted({text for row in rows for text in row.attribution}),
    }


def _provenance(
    request: Request, sums: Mapping[str, Mapping[str, str]], sources: Mapping[str, Source]
) -> dict[str, Any]:
    """Everything that index and splits depend on."""
    recipe = request.recipe
    own = {"split", "split_values", "only", "unit"}
    rasters = {source.split for source in sources.values() if source.split is not None}
    return {
        "format": chips.FORMAT,
        "code": __version__,
        "shards": sums,
        "sources": {name: source.model_dump(mode="json", include=own) for name, source in sources.items()},
        "splits": {name: digest(request.data / name) for name in sorted(rasters)},
        "rules": asdict(recipe.split),
        "settings": recipe.model_dump(mode="json", include={"chip_px", "min_labelled", "units", "block_m"}),
    }
