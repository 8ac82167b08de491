"""A product's ground with every pixel once: where rasters overlap, the first that knows something counts.

Tiles of two UTM zones overlap at the zones' border on purpose: each counts in its own zone alone.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain.grid import Tile, Window, crop, windows
from isamap.domain.lonlat import LONLAT
from isamap.domain.product import NODATA
from isamap.errors import InputError
from isamap.io.classmap import ClassMap
from isamap.io.footprints import Footprints, clipped, footprints, grid_of
from isamap.io.guard import one_line
from isamap.io.products import Product
from isamap.io.same_ground import tell_of_dates
from isamap.io.zones import Polygons

WINDOW_PX = 2048
BESIDE_M = 1.0
"""A raster that reaches further out of a tile is not that tile's."""


@dataclass(frozen=True)
class Look:
    """One window of a product's raster."""

    grid: GeoBox
    """Of the window, without halo."""
    classes: tuple[NDArray[np.uint8], ...]
    """Of every product `(y, x)` with halo: 0, 1, and 255 where it knows nothing."""
    counts: NDArray[np.bool_]
    """Whether a pixel counts here, `(y, x)` without halo: no earlier raster shows it, it is of the zone and the ground."""

    @property
    def own(self) -> NDArray[np.uint8]:
        """Classes of the first product without halo, 255 where a pixel is counted elsewhere."""
        (height, width), rim = self.counts.shape, self.classes[0]
        halo_px = (rim.shape[0] - height) // 2
        inner = rim[halo_px : halo_px + height, halo_px : halo_px + width]
        return np.where(self.counts, inner, np.uint8(NODATA))


def tile_of(path: Path, grid: GeoBox) -> Tile | None:
    """The tile that a raster is by its name up to the first dot, if it lies there and is not rotated."""
    try:
        tile = Tile.parse(path.name.partition(".")[0])
    except InputError:
        return None
    left, bottom, right, top = tile.geobox().boundingbox
    own = grid.boundingbox
    beside = max(left - own.left, bottom - own.bottom, own.right - right, own.top - top)
    there = grid.axis_aligned and grid.crs == f"EPSG:{tile.epsg}" and beside <= BESIDE_M
    return tile if there else None


def places_of(product: Product) -> Footprints:
    """Where the rasters of a product lie.

    Raises:
        InputError: a raster lies at a place that its CRS cannot show.
    """
    places = footprints(product)
    tell_of_dates(product, places)
    for path, box in zip(places.files, places.boxes, strict=True):
        if box.is_empty or not np.isfinite(box.bounds).all():
            raise InputError(
                f"{one_line(path)} lies at a place that its CRS cannot show: mend its geotransform"
            )
    return places


def looks(
    products: Sequence[Product],
    halo_px: int = 0,
    passed: Callable[[int], bool] = lambda _: False,
    ground: BaseGeometry | None = None,
) -> Iterator[Look]:
    """Windows of the first product's rasters, always in the same order, as every product shows them.

    Args:
        products: the first one says where.
        halo_px: rim of neighbours around each window.
        passed: whether the window of that number, from 0, is passed over unread; asked once for each, in order.
        ground: lon/lat polygon outside of which nothing counts; rasters outside of it have no windows.

    Raises:
        InputError: a raster is damaged, or lies nowhere.
    """
    places, windows_before = [places_of(product) for product in products], count()
    for number, (path, box) in enumerate(zip(places[0].files, places[0].boxes, strict=True)):
        near_ground = clipped(ground, box)
        if near_ground is not None and near_ground.is_empty:
            continue
        grid = grid_of(path)
        with ExitStack() as stack:
            reach_m = halo_px * abs(float(grid.resolution.x))
            near = [place.near(grid, reach_m) for place in places]
            near[0] = (path, *(other for other in near[0] if other != path))
            layers = [
                stack.enter_context(product.near(files).classes()) if files else None
                for product, files in zip(products, near, strict=True)
            ]
            earlier = [other for other in places[0].near(grid) if other in places[0].files[:number]]
            share = _Share(stack, products[0], path, grid, earlier, near_ground)
            for window in windows((grid.shape[0], grid.shape[1]), WINDOW_PX):
                if passed(next(windows_before)):
                    continue
                outer = crop(grid, window.padded(halo_px))
                yield Look(
                    crop(grid, window),
                    tuple(_classes(layer, outer) for layer in layers),
                    share.counts(window),
                )


def _classes(layer: ClassMap | None, grid: GeoBox) -> NDArray[np.uint8]:
    return np.full(grid.shape, NODATA, np.uint8) if layer is None else layer.on(grid)


class _Share:
    """What part of a raster is its own."""

    def __init__(
        self,
        stack: ExitStack,
        product: Product,
        path: Path,
        grid: GeoBox,
        earlier: Sequence[Path],
        ground: BaseGeometry | None,
    ) -> None:
        self._grid = grid
        self._ground = None if ground is None else Polygons([ground], [1], LONLAT)
        self._zone = _zone_of(path)
        if self._zone is not None:  # tiles never show the same ground of one zone twice
            earlier = [other for other in earlier if _zone_of(other) is None]
        self._earlier = [
            (stack.enter_context(product.near([other]).classes()), _zone_of(other)) for other in earlier
        ]

    def counts(self, window: Window) -> NDArray[np.bool_]:
        """Pixels of a window that are counted in this raster."""
        grid = crop(self._grid, window)
        mine = np.ones(grid.shape, np.bool_)
        for inside in filter(None, (self._zone, self._ground)):
            mine &= inside.on(grid) > 0
        for layer, zone in self._earlier:
            known = layer.on(grid) != NODATA
            mine &= ~(known if zone is None else known & (zone.on(grid) > 0))
        return mine


def _zone_of(path: Path) -> Polygons | None:
    """The ground of a tile inside its own zone; None for a raster that is no tile."""
    tile = tile_of(path, grid_of(path))
    return None if tile is None else Polygons([tile.footprint()], [1], LONLAT)
