"""Where rasters lie on Earth, for the cards of models."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from isamap.errors import InputError

Box = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


def lonlat_boxes(paths: Sequence[Path]) -> list[Box]:
    """The box around each raster that has a position, each once, in the order of the paths.

    Raises:
        InputError: one cannot be read.
    """
    found = [_box(path) for path in paths]
    return list(dict.fromkeys(box for box in found if box is not None))


def _box(path: Path) -> Box | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            src = rasterio.open(path)
        with src:
            if src.crs is None or src.transform.is_identity:
                return None
            epsg = src.crs.to_epsg()
            geobox = GeoBox(src.shape, src.transform, f"EPSG:{epsg}" if epsg else src.crs)
    except RasterioError as fault:
        raise InputError(f"{path} cannot be read: {fault}") from fault
    west, south, east, north = geobox.footprint("EPSG:4326").boundingbox
    return round(west, 5), round(south, 5), round(east, 5), round(north, 5)
