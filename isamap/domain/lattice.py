"""Windows anchored to round coordinates: tiles are cut into the same blocks as the whole map would be."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor

from affine import Affine
from odc.geo.geobox import GeoBox

FINE_GSD_M = 5.0
WINDOW_M, COARSE_WINDOW_M = 3_000, 30_000
"""Sides of windows of fine and of coarse pixels: whole blocks of 10, 30, 100 and 1000 m."""
EDGE_PX = 1e-3
"""A raster that reaches less than this into a window does not lie on it."""

Cell = tuple[int, int]
"""Column and row of a window."""


@dataclass(frozen=True)
class Lattice:
    """Square windows of whole pixels over a CRS in metres."""

    crs: str
    """Of the windows."""
    gsd_m: float
    """Pixel size."""
    x_m: float
    """How far the pixels lie off multiples of their size, 0 to `gsd_m`."""
    y_m: float
    """Likewise."""

    @property
    def side_px(self) -> int:
        """Pixels along a window's side."""
        return max(1, round((WINDOW_M if self.gsd_m < FINE_GSD_M else COARSE_WINDOW_M) / self.gsd_m))

    @property
    def side_m(self) -> float:
        """Side of a window."""
        return self.side_px * self.gsd_m

    def grid(self, cell: Cell) -> GeoBox:
        """Pixels of a window."""
        left, top = self.x_m + cell[0] * self.side_m, self.y_m + (cell[1] + 1) * self.side_m
        return GeoBox(
            (self.side_px, self.side_px), Affine(self.gsd_m, 0, left, 0, -self.gsd_m, top), self.crs
        )

    def cells(self, geobox: GeoBox) -> Iterator[Cell]:
        """Windows that a raster in the lattice's CRS lies on, row by row from the north."""
        left, bottom, right, top = geobox.boundingbox
        edge = EDGE_PX * self.gsd_m
        first_x, last_x = (
            floor((left + edge - self.x_m) / self.side_m),
            ceil((right - edge - self.x_m) / self.side_m),
        )
        first_y, last_y = (
            floor((bottom + edge - self.y_m) / self.side_m),
            ceil((top - edge - self.y_m) / self.side_m),
        )
        for iy in reversed(range(first_y, last_y)):
            for ix in range(first_x, last_x):
                yield ix, iy


def lattice_of(geobox: GeoBox, finest_m: float) -> Lattice:
    """The lattice on which a raster is seen: its own pixels, or such whole parts of them as come nearest to `finest_m`."""
    own_m = abs(float(geobox.resolution.x))
    gsd_m = own_m / max(1, round(own_m / finest_m))
    left, top = geobox.transform.c, geobox.transform.f
    x_m, y_m = (round(edge % gsd_m, 6) for edge in (left, top))
    return Lattice(str(geobox.crs), gsd_m, 0.0 if x_m >= gsd_m else x_m, 0.0 if y_m >= gsd_m else y_m)
