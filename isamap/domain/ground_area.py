"""Ground area of pixels: UTM pixels are up to 0.1 % larger or smaller than their nominal size, degrees far more."""

from math import ceil
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from isamap.domain.lonlat import EQUAL_AREA, LONLAT, transformer

POINTS_PER_SIDE = 64
EQUATOR_M = 2 * transformer(LONLAT, EQUAL_AREA).transform(180, 0)[0]
"""Width of the world in the equal-area projection."""
SQUARE_KM = 1e6
"""In m2."""
SCALE = 0.01
"""Pixels of a grid in metres are the area that they are called up to this share: UTM pixels are to 0.2 %."""


def pixel_area_m2(geobox: GeoBox) -> float:
    """Mean ground area of the pixels of a grid, m2: the area of its outline on the ellipsoid over their number.

    Args:
        geobox: a window of some kilometres; over larger ones the mean of a grid in degrees says little of its parts.
    """
    height, width = geobox.shape
    corners = [geobox.transform * corner for corner in ((width, height), (width, 0), (0, 0), (0, height))]
    left, bottom, right, top = geobox.boundingbox
    ring = shapely.segmentize(shapely.Polygon(corners), max(right - left, top - bottom) / POINTS_PER_SIDE)
    x, y = transformer(str(geobox.crs), EQUAL_AREA).transform(*shapely.get_coordinates(ring).T)
    x -= EQUATOR_M * np.round((x - x[0]) / EQUATOR_M)  # it goes on beyond 180 degrees
    return float(shapely.Polygon(np.column_stack([x, y])).area) / (height * width)


def fewest_pixels(area_m2: float, geobox: GeoBox) -> int:
    """Pixels of a grid that make up an area; the same everywhere in a UTM zone, whose pixels count as what they are called."""
    crs: Any = geobox.crs
    unit_m = crs.proj.axis_info[0].unit_conversion_factor if crs.projected else 1
    ground_m2, called_m2 = pixel_area_m2(geobox), abs(geobox.resolution.x * geobox.resolution.y) * unit_m**2
    pixel_m2 = called_m2 if abs(called_m2 / ground_m2 - 1) < SCALE else ground_m2
    return ceil(round(area_m2 / pixel_m2, 6))
