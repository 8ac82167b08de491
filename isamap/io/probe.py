"""Classes of a product at points, and around them."""

import logging
from math import floor
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.evaluation import mean_shares
from isamap.domain.lonlat import LONLAT, transformer
from isamap.domain.product import NODATA
from isamap.errors import InputError
from isamap.io.class_bits import HALF, codes_of
from isamap.io.cover import places_of, tile_of
from isamap.io.footprints import grid_of
from isamap.io.products import Product
from isamap.io.sample import Sample

log = logging.getLogger(__name__)

MAX_SUPPORT_M = 1000.0
NEARLY = 0.01
"""Share by which a square may be wider than asked without a word."""


def check_support(support_m: float) -> None:
    """Refuse a support that is no length of a square on the ground.

    Raises:
        InputError: it is not finite, negative, or longer than a kilometre.
    """
    if not 0 <= support_m <= MAX_SUPPORT_M:
        raise InputError(f"a support of {support_m:g} m: give 0 to {MAX_SUPPORT_M:g}")


def classes_at(product: Product, sample: Sample, support_m: float) -> NDArray[np.uint8]:
    """Class of a product at each point, or of a square around it: 1 where at least half is ISA, 255 where it maps nothing."""
    return codes_of(shares_at(product, sample, support_m))


def shares_at(product: Product, sample: Sample, support_m: float) -> NDArray[np.float32]:
    """ISA share of a product in a square around each point, or of its pixel; NaN where it maps less than half of that.

    The first raster that knows something counts, tiles in their own zone alone, as in `cover`.
    """
    check_support(support_m)
    _tell_of_pixels(product, support_m)
    mapped = np.full(len(sample.rows), np.nan, np.float32)
    places = places_of(product)
    lon, lat = transformer(sample.crs, LONLAT).transform(sample.x, sample.y)
    for path, box in zip(places.files, places.boxes, strict=True):
        inside = shapely.intersects_xy(box, lon, lat) & np.isnan(mapped)
        if not inside.any():
            continue
        grid = grid_of(path)
        tile = tile_of(path, grid)
        if tile is not None:
            inside &= shapely.intersects_xy(tile.footprint(), lon, lat)
        if not inside.any():
            continue
        if support_m:
            near = (path, *(other for other in places.near(grid, support_m) if other != path))
            mapped[inside] = _read_at(product.near(near), sample, inside, (grid, support_m))
        else:
            mapped[inside] = _read_at(product.near([path]), sample, inside, None)
    return mapped


def _tell_of_pixels(product: Product, support_m: float) -> None:
    """Say where squares are not as wide as asked: they are made of whole pixels."""
    for gsd_m in sorted(
        {abs(float(grid_of(path).resolution.x)) for path in product.files} if support_m else ()
    ):
        side_m = max(1, floor(support_m / gsd_m + 0.5)) * gsd_m
        if abs(side_m - support_m) > NEARLY * support_m:
            log.warning(
                "%s: squares of %g m are %g m wide, of whole pixels of %g m",
                product.name,
                support_m,
                side_m,
                gsd_m,
            )


def _read_at(
    product: Product, sample: Sample, inside: NDArray[np.bool_], squares: tuple[GeoBox, float] | None
) -> NDArray[np.float32]:
    """Shares at the points `inside`: of squares of a grid in metres, or of the first raster's own pixels."""
    with product.shares() if product.fractional else product.classes() as layer:
        grid, side_m = squares or (layer.sheets[0].geobox, 0.0)
        to_map = transformer(sample.crs, str(grid.crs))
        x, y = to_map.transform(sample.x[inside], sample.y[inside])
        side = max(1, floor(side_m / abs(float(grid.resolution.x)) + 0.5))
        found = [_share(layer.on(_square(grid, px, py, side))) for px, py in zip(x, y, strict=True)]
    return np.array(found, np.float32)


def _square(grid: GeoBox, x: float, y: float, side: int) -> GeoBox:
    """Whole pixels of a grid around a point: the one it lies in, or the square nearest to being centred on it."""
    col, row = ~grid.transform * (x, y)
    shift = (side - 1) / 2
    left, top = int(np.floor(col - shift + 1e-6)), int(np.floor(row - shift + 1e-6))
    return GeoBox((side, side), grid.transform * Affine.translation(left, top), grid.crs)


def _share(values: NDArray[Any]) -> float:
    """Mean of the known pixels of a square."""
    share = values if values.dtype.kind == "f" else np.where(values == NODATA, np.nan, values)
    mean, valid = mean_shares(share.astype(np.float32), max(share.shape))
    return float(mean[0, 0]) if valid[0, 0] >= HALF else np.nan
