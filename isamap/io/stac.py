"""Searches of STAC APIs: raw items as the catalogue has them, fetched once for a group of tiles and kept on disk.

Clouds, dates and zones are filtered here later, not by the server: some servers ignore `query`, `sortby` and `limit`
without a word, and one answers `query` with an empty list. What a catalogue sends is bounded in pages, items and bytes,
and a search that goes in circles is refused: part of an answer is none.
"""

import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import ceil, floor, inf
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from isamap import digests
from isamap.domain.grid import GSD_M, MARGIN_PX, TILE_M, Tile
from isamap.domain.sources import Source
from isamap.domain.utm import near_zone
from isamap.errors import BusyError
from isamap.io.http import Client, Unanswered
from isamap.io.stac_pages import Pages, SearchLimits
from isamap.io.store import read_item, write_atomic

log = logging.getLogger(__name__)

GROUP = 4
"""Tiles of a group along one side: 41 km, a fifth of a granule's area."""
MARGIN_M = MARGIN_PX * GSD_M
EDGE_POINTS = 9
KEPT_VERSION = 1
OPEN_S = 24 * 3600
"""How long an answer about a time that was not over (or whose scenes may still be published) is kept."""
LATE_S = 30 * 24 * 3600
"""Scenes are published up to so long after they were seen."""
FIELDS = ("type", "stac_version", "id", "collection", "geometry", "bbox", "properties")

Bounds = tuple[float, float, float, float]
"""West, south, east, north in degrees; west > east crosses 180 degrees."""


LIMITS = SearchLimits()


def search(
    source: Source,
    bounds: Bounds,
    start: str,
    end: str,
    client: Client,
    limits: SearchLimits = LIMITS,
) -> list[dict[str, Any]]:
    """Raw items of all collections of a source, each once, by (collection, id); with what is read of them.

    Args:
        source: the catalogue.
        bounds: ground that the items meet.
        start: RFC 3339.
        end: RFC 3339.
        client: of the source.
        limits: what the catalogue may send.

    Raises:
        RemoteError: it refuses, goes in circles, or sends too much, or no items.
        Unanswered: it sends nothing.
        BusyError: it does not answer properly.
    """
    found: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    pages = Pages(source, client, limits)
    for collection in source.collections:
        for box in _boxes(bounds):
            asked = {"collections": [collection], "bbox": list(box), "datetime": f"{start}/{end}"}
            for item in _items(pages, asked, limits):
                slim = _slim(item, source)
                text = json.dumps(slim, sort_keys=True)
                key = (str(slim["collection"])[:200], str(slim["id"])[:200])
                # The same id with other contents: whichever came first is chance.
                if key not in found or text < found[key][0]:
                    found[key] = text, slim
    return [found[key][1] for key in sorted(found)]


def _boxes(bounds: Bounds) -> list[Bounds]:
    west, south, east, north = bounds
    if west <= east:
        return [bounds]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def _items(pages: Pages, asked: Mapping[str, Any], limits: SearchLimits) -> list[dict[str, Any]]:
    """Items of one search; asked for in small pages where a catalogue breaks down under large ones."""
    try:
        return list(pages.items(asked, limits.page_items))
    except Unanswered:
        raise
    except BusyError as fault:
        if not pages.left_s > 0:
            raise
        log.info("%s: once more, in small pages", fault)
    return list(pages.items(asked, limits.small_page_items))


def _slim(item: Mapping[str, Any], source: Source) -> dict[str, Any]:
    """What is read of an item: a tenth of what catalogues send."""
    slim = {name: item.get(name) for name in FIELDS}
    assets = item.get("assets")
    if isinstance(assets, Mapping):
        wanted = {key for keys in source.assets.values() for key in keys}
        slim["assets"] = {key: assets[key] for key in sorted(wanted & set(assets))}
    else:
        slim["assets"] = assets
    return slim


@dataclass(frozen=True)
class _Kept:
    """One search and the file its answer is kept in."""

    asked: dict[str, Any]
    """Everything the answer depends on."""
    path: Path
    """The file."""

    def read(self) -> list[dict[str, Any]] | None:
        """The answer, if there is one that still holds."""
        document = read_item(self.path) or {}
        items, searched = document.get("items"), document.get("searched")
        if document.get("asked") != self.asked or not isinstance(items, list):
            return None
        age_s = time.time() - searched if isinstance(searched, int | float) else inf
        was_over = datetime.fromisoformat(self.asked["end"]).timestamp() + LATE_S < time.time() - age_s
        return items if was_over or 0 <= age_s < OPEN_S else None

    def write(self, items: list[dict[str, Any]]) -> None:
        """Keep an answer."""
        document = {"asked": self.asked, "searched": time.time(), "items": items}
        write_atomic(self.path, json.dumps(document).encode())


def _kept(source: Source, tile: Tile, start: str, end: str, directory: Path) -> _Kept:
    asked = {
        "version": KEPT_VERSION,
        "url": source.url,
        "collections": list(source.collections),
        "assets": {band: list(keys) for band, keys in sorted(source.assets.items())},
        "bounds": list(group_bounds(tile)),
        "start": start,
        "end": end,
    }
    digest = digests.of_json(asked)
    name = re.sub(r"[^A-Za-z0-9]+", "-", source.name.partition("://")[2] or source.name).strip("-")[:60]
    return _Kept(asked, directory / f"{name}-{digest[:20]}.json")


def kept_search(
    source: Source, tile: Tile, start: str, end: str, directory: Path
) -> list[dict[str, Any]] | None:
    """Raw items of a tile's group from an earlier search, or None; nothing is asked."""
    return _kept(source, tile, start, end, directory).read()


def fresh_search(
    source: Source,
    tile: Tile,
    start: str,
    end: str,
    client: Client,
    directory: Path,
    limits: SearchLimits = LIMITS,
) -> list[dict[str, Any]]:
    """Raw items of the group of tiles that a tile belongs to: one search for 16 tiles, kept on disk for `kept_search`.

    An answer about a time that is over is kept for good; one about a time that is not, or was over for less than a
    month when it was asked, for a day.

    Args:
        source: the catalogue.
        tile: any of the group.
        start: RFC 3339.
        end: RFC 3339.
        client: of the source.
        directory: where answers are kept; created if need be.
        limits: what the catalogue may send, and how long it may take.

    Raises:
        RemoteError, BusyError: as `search`.
        StorageError: the disk refuses.
    """
    items = search(source, group_bounds(tile), start, end, client, limits)
    _kept(source, tile, start, end, directory).write(items)
    return items


def group_bounds(tile: Tile) -> Bounds:
    """Ground of a tile's group with its margin, rounded outwards so that no release of PROJ changes it."""
    left, bottom = (index // GROUP * GROUP * TILE_M - MARGIN_M for index in (tile.ix, tile.iy))
    along = np.linspace(0, GROUP * TILE_M + 2 * MARGIN_M, EDGE_POINTS)
    east, north = (grid.ravel() for grid in np.meshgrid(left + along, bottom + along))
    lon, lat = pyproj.Transformer.from_crs(tile.epsg, 4326, always_xy=True).transform(east, north)
    lon = near_zone(lon, tile.zone)
    west, south = (floor(values.min() * 1000) / 1000 for values in (lon, lat))
    east_deg, north_deg = (ceil(values.max() * 1000) / 1000 for values in (lon, lat))
    return (
        west + 360 if west < -180 else west,
        south,
        east_deg - 360 if east_deg > 180 else east_deg,
        north_deg,
    )
