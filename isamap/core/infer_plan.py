"""`isamap infer`: what a run would do, and what of the options given it would pass over. Nobody is asked."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from isamap import digests
from isamap.core.composing import Live, composer
from isamap.core.map_job import Job, Options
from isamap.core.mapping import mapper
from isamap.domain.composite import ASSET
from isamap.domain.standing import Wanted, differing
from isamap.io import store
from isamap.io.finder import Found
from isamap.io.presence import standing

log = logging.getLogger(__name__)

SCHEMA = 1
"""Of `--dry-run --json`."""


def plan(jobs: Sequence[Job], options: Options, *, live: Live | None = None) -> dict[str, Any]:
    """What a run would do, as items tell: `--dry-run`. No pixel is read, and of a raster of the user's no byte.

    Args:
        jobs: the maps.
        options: how to map.
        live: how composites that are missing will be made on the way; None: they are missing.

    Raises:
        ModelError: there are maps to compare with, but the model cannot be loaded.
        ConfigError, MissingInputError: a source is not known.
    """
    without = {job.name for job in jobs if not _has_sources(job)}
    there = [job for job in jobs if live or job.name not in without]
    states = {
        job.name: standing(job.target, partial(_compare, job, options, live), overwrite=options.overwrite)
        for job in there
    }
    counts = {state: list(states.values()).count(state) for state in ("new", "stale", "done")}
    size = sum(path.stat().st_size for job in there for path in job.source.paths if path.is_file())
    return {
        "schema": SCHEMA,
        "command": "infer",
        "requested": len(jobs),
        "new": counts["new"],
        "stale": counts["stale"],
        "mapped_before": counts["done"],
        "missing": len(jobs) - len(there),
        "to_fetch": sum(states[name] != "done" for name in without) if live else 0,
        "read_gb": round(size / 1e9, 3),
    }


def _has_sources(job: Job) -> bool:
    return all(path.is_file() for path in job.source.paths)


def _compare(job: Job, options: Options, live: Live | None, item: dict[str, Any]) -> Literal["stale", "done"]:
    """Whether a map is to be made again or left alone."""
    made = _properties(item).get("isamap:provenance")
    if not isinstance(made, dict):
        return "stale"
    inputs = made.get("inputs")
    if made != mapper(options).provenance(job, str(inputs)):
        return "stale"
    if not _has_sources(job) and live is not None:
        return "done" if _is_wanted(item, live) else "stale"
    return "done" if inputs == _digest(job, inputs) else "stale"


def _digest(job: Job, otherwise: Any) -> Any:
    """Digest of a tile's composite, as its item has it; `otherwise` where that is not known."""
    assets = (_composite_item(job) or {}).get("assets")
    asset = assets.get(ASSET) if isinstance(assets, dict) else None
    checksum = str(asset.get("file:checksum")) if isinstance(asset, dict) else ""
    return checksum.removeprefix(digests.SHA256) if checksum.startswith(digests.SHA256) else otherwise


def _composite_item(job: Job) -> dict[str, Any] | None:
    return store.read_item(job.source.paths[0].with_suffix(".json")) if job.margin_px else None


def _is_wanted(item: Mapping[str, Any], live: Live) -> bool:
    """Whether a map was made of a composite with the same code, settings and source; scenes are not searched."""
    own, properties = composer(live.settings), _properties(item)
    made = properties.get("isamap:composite")
    if not isinstance(made, dict) or own.provenance(Found.nothing()) | {"scenes": made.get("scenes")} != made:
        return False
    return properties.get("isamap:source") in own.source_names


def _properties(item: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = item.get("properties")
    return properties if isinstance(properties, dict) else {}


def warn_of_other_composites(jobs: Sequence[Job], wanted: Wanted, year: int) -> None:
    """Say once that composites on disk were made otherwise than the options given say: they are used as they are.

    Args:
        jobs: maps of grid tiles.
        wanted: what of the composites was given on the command line.
        year: of the composites.
    """
    if wanted == Wanted():
        return
    found = [job for job in jobs if job.margin_px and _has_sources(job)]
    others = [options for job in found if (options := differing(_composite_item(job), wanted, year))]
    if others:
        named = ", ".join(sorted({option for options in others for option in options}))
        log.warning(
            "%d of %d composites on disk were made with another %s and are used as they are: "
            "to make them again, run isamap fetch with these options",
            *(len(others), len(found), named),
        )
