"""Rasters of one product that show the same ground."""

import logging
from pathlib import Path

import numpy as np
import shapely

from isamap.io.products import Footprints, Product
from isamap.io.store import read_item

logger = logging.getLogger(__name__)

SAME_GROUND = 0.05
"""Share of a raster that another one shows, too; tiles of one grid share less but at the borders of zones."""


def tell_of_dates(product: Product, places: Footprints) -> None:
    """Warn of rasters of one product that show the same ground on other dates: only the first one counts there."""
    tree = shapely.STRtree(places.boxes)
    one, other = tree.query(places.boxes, predicate="intersects")
    boxes = np.array(places.boxes, dtype=object)
    shared = shapely.area(shapely.intersection(boxes[one], boxes[other]))
    much = (one < other) & (
        shared > SAME_GROUND * np.minimum(shapely.area(boxes[one]), shapely.area(boxes[other]))
    )
    pairs = [(places.files[a], places.files[b]) for a, b in zip(one[much], other[much], strict=True)]
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
