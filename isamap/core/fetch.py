"""`isamap fetch`: which composites to make, what they will cost, and what became of them."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal

from isamap import engine
from isamap.core.composing import (
    Composer,
    Fetched,
    Settings,
    composer,
    fetch_tile,
    release,
    same_settings,
)
from isamap.core.outcomes import collect, failure
from isamap.domain import fetch_plan, product
from isamap.domain.fetch_tables import SCHEMA, Report, Row, row_of_item
from isamap.domain.grid import Tile
from isamap.domain.standing import Wanted, differing
from isamap.engine import LOCAL, Engine, local
from isamap.errors import IsamapError, StorageError
from isamap.io.occupy import occupy
from isamap.io.presence import items_in, standing

log = logging.getLogger(__name__)

SAMPLED, SAMPLE_S = 40, 4.0
"""Tiles, evenly spread, whose kept search results a plan looks at, and for how long at most."""


def run(
    tiles: Sequence[Tile],
    settings: Settings,
    *,
    how: Engine = LOCAL,
    wait: bool = False,
    overwrite: bool = False,
    stop_at_failure: bool = False,
) -> Report:
    """Make the composites; finished ones are skipped, leftovers of dead runs are swept.

    Args:
        tiles: of the area.
        settings: how composites are made.
        how: where they are made.
        wait: wait for another run on the same year instead of refusing.
        overwrite: redo what is done.
        stop_at_failure: stop at the first failure instead of going on.

    Returns:
        Every tile that was worked on, also where nothing could go on after one of them.

    Raises:
        BusyError: another run holds the year.
        ConfigError: a source is not known.
    """
    report = Report({"year": settings.year}, len(tiles))
    composer(settings)  # a wrong source is no fault of a tile
    if not tiles:  # a shard of few tiles may be empty
        return report
    work = partial(fetch_tile, settings, overwrite)
    with ExitStack() as held:
        held.callback(release)
        held.enter_context(occupy(settings.directory, shard=how.shard_name, wait=wait))
        collect(
            report,
            engine.run(tiles, work, how),
            partial(_row, settings),
            count=len(tiles),
            unit="tile",
            label="fetch",
            stop_on=IsamapError if stop_at_failure else StorageError,
        )
    return report


def _row(settings: Settings, outcome: local.Outcome[Tile, Fetched]) -> Row:
    """An outcome as a line of the report."""
    name = str(outcome.job)
    if outcome.result is None:
        state, error = failure(name, outcome)
        return Row(name, state, error=error)
    log.info("%s %s", outcome.result.state, name)
    path = product.composite_path(settings.workspace, settings.year, outcome.job)
    return row_of_item(name, outcome.result.state, str(path), outcome.result.item)


def plan(tiles: Sequence[Tile], settings: Settings, *, overwrite: bool = False) -> dict[str, Any]:
    """What a run would do, from items, kept search results and orbits alone: `--dry-run`. No pixel is read.

    Args:
        tiles: of the area.
        settings: how composites are made.
        overwrite: whether finished ones are redone.

    Raises:
        ConfigError, MissingInputError: a source is not known.
    """
    own, there = composer(settings), items_in(settings.directory)
    made = [tile for tile in tiles if str(tile) in there] if there else []
    states = {
        tile: standing(settings.target(tile), partial(_compare, own, tile), overwrite=overwrite)
        for tile in made
    }
    counts = Counter(states.values())
    cost = estimate([tile for tile in tiles if states.get(tile, "new") in ("new", "stale")], settings)
    return {
        "schema": SCHEMA,
        "command": "fetch",
        "year": settings.year,
        "requested": len(tiles),
        "new": counts["new"] + len(tiles) - len(made),
        "stale": counts["stale"],
        "fetched_before": counts["done"],
        "to_compare": counts["unknown"],
        **cost.document(),
    }


def _compare(own: Composer, tile: Tile, item: dict[str, Any]) -> Literal["stale", "done", "unknown"]:
    """Whether a composite is to be made again or left alone; unknown: files of a folder must be read to tell."""
    selection, made = own.settings.selection, same_settings(item, own)
    if made is None:
        return "stale"
    limits = Wanted(max_cloud=selection.max_cloud, max_scenes=selection.max_scenes)
    if differing(item, limits, own.settings.year):
        return "stale"
    if not any(folder for _, folder in own.finder.sources):
        other = differing(item, Wanted(sources=own.source_names), own.settings.year)
        return "stale" if other else "done"
    found = own.finder.known(tile)
    if found is None:
        return "unknown"
    return "done" if own.provenance(found) == made else "stale"


def estimate(tiles: Sequence[Tile], settings: Settings) -> fetch_plan.Estimate:
    """Scenes, bytes and hours of tiles whose composites are to be made."""
    if not tiles:
        return fetch_plan.estimate(0, 0, "no composite is to be made")
    modelled = {tile: fetch_plan.modelled_scenes(tile, settings.year, settings.selection) for tile in tiles}
    finder = composer(settings).finder
    sample = tiles[:: max(1, len(tiles) // SAMPLED)]
    found: dict[Tile, float] = {}
    until = time.monotonic() + SAMPLE_S
    for tile in sample:
        if time.monotonic() < until and (kept := finder.kept(tile)) is not None:
            found[tile] = float(len(kept.scenes))
    ratio = fetch_plan.scaled(list(found.values()), [modelled[tile] for tile in found])
    total = sum(found.get(tile, ratio * scenes) for tile, scenes in modelled.items())
    if found:
        basis = f"kept search results of {len(found)} tiles, orbits scaled to them for the other {len(tiles) - len(found)}"
    else:
        basis = "modelled from orbits: no search result is kept for them, and no catalogue was asked"
    return fetch_plan.estimate(total, len(tiles), basis)
