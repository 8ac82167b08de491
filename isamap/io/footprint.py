"""Where rasters lie on Earth, for the cards of models."""

from collections.abc import Sequence
from pathlib import Path

from isamap.domain.lonlat import polygon_parts
from isamap.domain.product import footprint
from isamap.io.guard import open_raster
from isamap.io.placing import geobox_of

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


def lonlat_boxes(paths: Sequence[Path]) -> list[Box]:
    """The box around each raster that has a position, each once, in the order of the paths; two at the 180th meridian.

    Raises:
        MissingInputError, InputError: one is not there, or cannot be read.
    """
    return list(dict.fromkeys(box for path in paths for box in _boxes(path)))


def _boxes(path: Path) -> list[Box]:
    with open_raster(path) as src:
        if src.crs is None or src.transform.is_identity:
            return []
        outline = footprint(geobox_of(src))
    boxes = []
    for part in polygon_parts(outline):
        west, south, east, north = part.bounds
        boxes.append((round(west, 5), round(south, 5), round(east, 5), round(north, 5)))
    return boxes
