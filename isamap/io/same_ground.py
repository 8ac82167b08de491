"""Rasters of one product that show the same ground."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from isamap.errors import InputError
from isamap.io.footprints import WIDER_DEG, Footprints, outline
from isamap.io.guard import open_raster
from isamap.io.placing import check_position, geobox_of
from isamap.io.products import Product
from isamap.io.store import read_item

logger = logging.getLogger(__name__)

SAME_GROUND = 0.05
"""Share of a raster that another one shows, too; tiles of one grid share less but at the borders of zones."""


def boxes_of(paths: Iterable[Path]) -> dict[Path, BaseGeometry]:
    """Lon/lat polygon of each raster; those that nothing can be read from are left out: whoever reads them says why."""
    boxes = {}
    for path in paths:
        with suppress(InputError), open_raster(path) as src:
            check_position(src)
            boxes[path] = shapely.buffer(outline(geobox_of(src)), -WIDER_DEG)
    return boxes


def pairs_of(rasters: Mapping[Path, BaseGeometry]) -> list[tuple[Path, Path]]:
    """Rasters that show the same ground, by more than `SAME_GROUND` of one of them; their lon/lat polygons are given."""
    files, boxes = list(rasters), np.array(list(rasters.values()), dtype=object)
    one, other = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    shared = shapely.area(shapely.intersection(boxes[one], boxes[other]))
    much = (one < other) & (
        shared > SAME_GROUND * np.minimum(shapely.area(boxes[one]), shapely.area(boxes[other]))
    )
    return [(files[a], files[b]) for a, b in zip(one[much], other[much], strict=True)]


def tell_of_dates(product: Product, places: Footprints) -> None:
    """Warn of rasters of one product that show the same ground on other dates: only the first one counts there."""
    pairs = pairs_of(dict(zip(places.files, places.boxes, strict=True)))
    dates = {path: _date(path) for pair in pairs for path in pair}
    unlike = [pair for pair in pairs if dates[pair[0]] != dates[pair[1]] and None not in map(dates.get, pair)]
    if unlike:
        first, second = unlike[0]
        logger.warning(
            "%s: %s (%s) and %s (%s) show the same ground%s: only the first counts there, name one date",
            *(product.name, first.name, dates[first], second.name, dates[second]),
            f", and so do {len(unlike) - 1} more pairs" if len(unlike) > 1 else "",
        )


def _date(path: Path) -> str | None:
    """First day of what a map shows, by its item; None where nothing says it."""
    properties = (read_item(path.with_suffix(".json")) or {}).get("properties")
    if not isinstance(properties, dict):
        return None
    found = properties.get("start_datetime") or properties.get("datetime")
    return found[:10] if isinstance(found, str) else None
