"""How far apart neighbouring pixels of a grid lie on the ground, and in which direction: pixels may be of degrees."""

from dataclasses import dataclass
from math import hypot
from typing import Any

from odc.geo.geobox import GeoBox
from pyproj import Geod

from isamap.domain.ground_area import pixel_area_m2
from isamap.domain.lonlat import LONLAT, transformer

TRUE = 0.05
"""A projection whose metres are those of the ground to this part shows it true to scale: UTM is, to 0.1 %."""
SHAPE_DIGITS = 6
"""Of the ratio of the two directions: what comes after them is rounding, and UTM shows shapes true."""


@dataclass(frozen=True)
class Steps:
    """The ground between a pixel and the next, in metres, at the middle of a grid; north is up in its projection."""

    col_east_m: float
    """How far east the next column lies; negative where columns run west."""
    col_north_m: float
    """How far north; 0 unless the grid is rotated."""
    row_east_m: float
    """How far east the next row lies; 0 unless the grid is rotated."""
    row_north_m: float
    """How far north; negative unless the raster is stored south-up."""

    @property
    def sizes_m(self) -> tuple[float, float]:
        """Height and width of a pixel."""
        return hypot(self.row_east_m, self.row_north_m), hypot(self.col_east_m, self.col_north_m)

    def metres(self, rows: float, cols: float) -> tuple[float, float]:
        """How far east and north something lies that lies so many rows down and columns to the right."""
        east = rows * self.row_east_m + cols * self.col_east_m
        return east, rows * self.row_north_m + cols * self.col_north_m


def ground_steps(geobox: GeoBox) -> Steps:
    """Steps of a grid on the ellipsoid.

    Args:
        geobox: of some kilometres; in degrees those of a larger one differ from row to row.
    """
    a, b, _, d, e, _ = geobox.transform[:6]
    unit_m2 = pixel_area_m2(geobox) / abs(a * e - b * d)
    shape = _shape(geobox)
    east, north = (unit_m2 * shape) ** 0.5, (unit_m2 / shape) ** 0.5
    return Steps(a * east, d * north, b * east, e * north)


def nominal_sizes_m(geobox: GeoBox) -> tuple[float, float]:
    """Height and width of a pixel as its projection has them, on the ground where that does not show it true to scale."""
    sizes = ground_steps(geobox).sizes_m
    a, b, _, d, e, _ = geobox.transform[:6]
    said = hypot(b, e), hypot(a, d)
    true = all(abs(size / one - 1) <= TRUE for size, one in zip(sizes, said, strict=True))
    return said if true else sizes


def _shape(geobox: GeoBox) -> float:
    """Metres to a unit of x over metres to a unit of y, at the middle of a grid."""
    crs: Any = geobox.crs
    x, y = geobox.transform * (geobox.shape[1] / 2, geobox.shape[0] / 2)
    step_x, step_y = (abs(float(one)) / 2 for one in (geobox.resolution.x, geobox.resolution.y))
    (west, east, *lon), (left, right, *lat) = transformer(str(crs), LONLAT).transform(
        [x - step_x, x + step_x, x, x], [y, y, y - step_y, y + step_y]
    )
    globe = Geod(ellps="WGS84")
    across, along = globe.inv([west, lon[0]], [left, lat[0]], [east, lon[1]], [right, lat[1]])[2]
    return round(float(across / step_x / (along / step_y)), SHAPE_DIGITS)
