"""Where the rasters of a product lie, and the square pixels in metres on which each is compared."""

import logging
from dataclasses import dataclass
from functools import cached_property
from math import cos, log, radians
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain.lattice import Lattice, lattice_of
from isamap.domain.lonlat import LONLAT, M_PER_DEGREE, cut_at_180, transformer
from isamap.domain.overview import places
from isamap.errors import InputError
from isamap.io.guard import one_line, open_raster
from isamap.io.placing import check_position, geobox_of, ground_size_m, utm_grid
from isamap.io.products import Product

logger = logging.getLogger(__name__)

ROUND_GSD_M = (1, 2, 5, 10, 30, 100, 250, 500, 1000)
SQUARE = 1e-6
EDGE_POINTS, WIDER_DEG = 16, 1e-4
WIDER = 1.5
"""A corner lies further off than a side."""
MOST_NORTH = 89.0
"""Nearer to a pole than this, degrees of longitude are no measure."""
OFFSET_PX = 0.01
"""Grids that differ by less are the same."""


@dataclass(frozen=True)
class Footprints:
    """Where the rasters of a product lie."""

    files: tuple[Path, ...]
    """Those of one lattice follow each other, for windows are those of a lattice; else in the order of the product."""
    boxes: tuple[Any, ...]
    """Lon/lat polygon of each file."""
    grids: tuple[GeoBox, ...]
    """`grid_of` each file."""

    @property
    def gsd_m(self) -> float:
        """The smallest pixel size."""
        return min(abs(float(grid.resolution.x)) for grid in self.grids)

    def within(self, other: "Footprints") -> bool:
        """Whether all of it lies where another product has rasters, to a metre."""
        own, others = (shapely.union_all(one.boxes) for one in (self, other))
        return bool(shapely.covers(shapely.buffer(others, -0.9 * WIDER_DEG), shapely.buffer(own, -WIDER_DEG)))

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.boxes)

    def near(self, grid: GeoBox, reach_m: float = 0) -> tuple[Path, ...]:
        """Files that may have pixels on a grid, or as far as this beside it, in their order."""
        return self.touching(outline(grid), reach_m)

    def touching(self, area: Any, reach_m: float = 0) -> tuple[Path, ...]:
        """The same of a lon/lat polygon."""
        found = sorted(self._tree.query(widened(area, reach_m), predicate="intersects").tolist())
        return tuple(self.files[index] for index in found)


def widened(area: Any, reach_m: float) -> Any:
    """A lon/lat polygon, at least so much wider to all sides, corners of squares included."""
    if not reach_m or shapely.is_empty(area):
        return area
    reach_deg = WIDER * reach_m / M_PER_DEGREE
    _, south, _, north = shapely.bounds(area)
    furthest = min(max(-south, north) + reach_deg, MOST_NORTH)
    wide = shapely.buffer(area, reach_deg / cos(radians(furthest)))  # as many metres east and west
    return cut_at_180(wide, jumps=False)


def clipped(ground: BaseGeometry | None, box: Any, reach_m: float = 0) -> BaseGeometry | None:
    """What lies of a lon/lat polygon over a raster's box and as far as this around it: a region's outline is long."""
    if ground is None:
        return None
    return shapely.make_valid(shapely.clip_by_rect(ground, *shapely.bounds(widened(box, reach_m))))


def outline(grid: GeoBox) -> Any:
    """Lon/lat polygon of a grid, a little wider than it is; empty where its CRS cannot show the place."""
    height, width = grid.shape
    along, zeros = np.arange(EDGE_POINTS) / EDGE_POINTS, np.zeros(EDGE_POINTS)
    cols = width * np.concatenate([along, zeros + 1, 1 - along, zeros])
    rows = height * np.concatenate([zeros, along, zeros + 1, 1 - along])
    x, y = places(grid.transform, cols, rows)
    ring = np.stack(transformer(str(grid.crs), LONLAT).transform(x, y), axis=1)
    if not np.isfinite(ring).all():
        return shapely.Polygon()
    return shapely.buffer(cut_at_180(shapely.polygons(ring), jumps=grid.crs != LONLAT), WIDER_DEG)


def footprints(product: Product) -> Footprints:
    """Read the headers of all files of a product."""
    boxes, grids = [], []
    for path in product.files:
        with open_raster(path) as src:
            check_position(src)
            own = geobox_of(src)
            grids.append(_true_grid(src, own))
            boxes.append(outline(own))
    finest_m = min(abs(float(grid.resolution.x)) for grid in grids)
    groups: dict[Lattice, list[int]] = {}
    for number, grid in enumerate(grids):
        groups.setdefault(lattice_of(grid, finest_m), []).append(number)
    order = [number for group in groups.values() for number in group]
    return Footprints(
        tuple(product.files[number] for number in order),
        tuple(boxes[number] for number in order),
        tuple(grids[number] for number in order),
    )


def grid_of(path: Path) -> GeoBox:
    """Square pixels in true metres on which a map is compared: its own, or those of the local UTM zone.

    Raises:
        InputError: it has a CRS in metres, but no square pixels.
    """
    with open_raster(path) as src:
        check_position(src)
        return _true_grid(src, geobox_of(src))


def _true_grid(src: Any, grid: GeoBox) -> GeoBox:
    """Such pixels of an open raster whose own grid is given."""
    size_m = ground_size_m(grid)
    if size_m is not None:
        gsd_m = min(ROUND_GSD_M, key=lambda gsd: abs(log(gsd / size_m)))
        logger.info("%s is compared on UTM pixels of %d m", one_line(src.name), gsd_m)
        return utm_grid(src, gsd_m)
    x, y = abs(grid.resolution.x), abs(grid.resolution.y)
    if abs(x - y) > SQUARE * x:
        raise InputError(
            f"{one_line(src.name)} has pixels of {x:g} x {y:g}: reproject it to square ones first"
        )
    return grid


def tell_of_offset(mine: Footprints, map_places: Footprints) -> None:
    """Say in the log that a raster lies a part of a pixel beside the map's, so that it is warped."""
    for path, own in zip(mine.files, mine.grids, strict=True):
        for grid in map_places.grids:
            a, _, c, _, e, f = (~own.transform * grid.transform)[:6]
            off = abs(c - round(c)), abs(f - round(f))
            if own.crs == grid.crs and abs(a - 1) + abs(e - 1) < SQUARE and max(off) > OFFSET_PX:
                logger.info(
                    "%s lies %.2f and %.2f of a pixel beside the map's pixels: it is brought to them",
                    *(one_line(path), *off),
                )
                return
