"""Values of rasters at points, and the units that points lie in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError

from isamap.domain.grid import Window
from isamap.domain.lonlat import LONLAT, transformer
from isamap.domain.product import NODATA
from isamap.domain.utm import signed_zone_of
from isamap.errors import InputError
from isamap.io.cover import tile_of
from isamap.io.guard import one_line, open_raster, raster_window, reason
from isamap.io.placing import geobox_of
from isamap.io.sample import Sample
from isamap.io.zones import Units

POINT_PX = 1e-6
"""Side of the pixel that stands for a point when its unit is looked up, in units of its CRS."""


def values_at(
    paths: Sequence[Path], x: NDArray[np.float64], y: NDArray[np.float64], crs: str
) -> NDArray[np.uint8]:
    """Value of the pixel under each point, 255 where no raster has any.

    The first raster that knows counts, tiles in their own zone alone, as in `cover`.

    Args:
        paths: one-band uint8 rasters with nodata 255.
        x: of the points, in `crs`.
        y: likewise.
        crs: of the points.

    Raises:
        InputError: a raster is damaged.
    """
    found = np.full(x.shape, NODATA, np.uint8)
    zones = signed_zone_of(*transformer(crs, LONLAT).transform(x, y))
    for path in paths:
        with open_raster(path) as src:
            there = transformer(crs, src.crs.to_wkt()).transform(x, y)
            inverse = ~src.transform
            cols, rows = (np.floor(place) for place in inverse * there)
            inside = (rows >= 0) & (rows < src.height) & (cols >= 0) & (cols < src.width) & (found == NODATA)
            if tile := tile_of(path, geobox_of(src)):
                inside &= zones == tile.signed_zone
            try:
                for point in np.flatnonzero(inside).tolist():
                    pixel = Window(int(rows[point]), int(cols[point]), 1, 1)
                    found[point] = src.read(1, window=raster_window(pixel))[0, 0]
            except RasterioError as error:
                raise InputError(f"{one_line(path)} is damaged: {reason(error)}") from error
    return found


def units_at(units: Units, sample: Sample) -> dict[str, NDArray[np.bool_]]:
    """Which points lie in each unit that has any."""
    codes = []
    for x, y in zip(sample.x, sample.y, strict=True):
        transform = Affine(POINT_PX, 0, x - POINT_PX / 2, 0, -POINT_PX, y + POINT_PX / 2)
        codes.append(int(units.on(GeoBox((1, 1), transform, sample.crs)).codes[0, 0]))
    found = np.array(codes)
    return {units.names[code]: found == code for code in sorted(set(codes)) if code in units.names}
