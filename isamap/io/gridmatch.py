"""How the pixels of one grid lie on another: the same, evenly parted, or to be warped."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio.enums import Resampling
from rasterio.warp import reproject

from isamap.domain.bits import UNKNOWN, Bits, unpacked
from isamap.domain.grid import Window
from isamap.domain.lonlat import transformer
from isamap.domain.nearest import Corners, nearest
from isamap.domain.overview import places

ALIGNED_PX = 0.01
WARP_ERROR_PX = 0.01
"""GDAL's default, an eighth of a pixel, would be more than 1 m of Sentinel-2."""
EDGE_POINTS = 21
CORNER_STEPS_PX, BEND_PX = (64, 16, 4), 1e-3
"""Pixels of a raster between nodes, 0.6 km for one of 10 m; fewer where the projection bends more between them."""


def aligned_offset(source: GeoBox, grid: GeoBox) -> tuple[int, int] | None:
    """Row and column of `source` at which `grid` begins, or None if its pixels are not those of `source`."""
    if source.crs != grid.crs:
        return None
    a, b, c, d, e, f = (~source.transform * grid.transform)[:6]
    size = max(grid.shape)
    if max(abs(a - 1), abs(e - 1), abs(b), abs(d)) * size > ALIGNED_PX:
        return None
    row, col = round(f), round(c)
    return (row, col) if max(abs(f - row), abs(c - col)) <= ALIGNED_PX else None


def coarse_place(source: GeoBox, grid: GeoBox) -> tuple[int, int, int] | None:
    """Where `grid` begins in a coarser `source`, in its own pixels (row, column), and how many part one of the source.

    None unless the pixels of `grid` part those of `source` evenly.
    """
    if source.crs != grid.crs:
        return None
    a, b, c, d, e, f = (~source.transform * grid.transform)[:6]
    if a <= 0 or (factor := round(1 / a)) < 2:
        return None
    size = max(grid.shape)
    if max(abs(a * factor - 1), abs(e * factor - 1), abs(b) * factor, abs(d) * factor) * size > ALIGNED_PX:
        return None
    row, col = round(f * factor), round(c * factor)
    return (row, col, factor) if max(abs(f * factor - row), abs(c * factor - col)) <= ALIGNED_PX else None


def covering(source: GeoBox, grid: GeoBox) -> Window | None:
    """Pixels of `source` that a grid needs; None if there are none."""
    left, bottom, right, top = grid.boundingbox
    to_source = transformer(str(grid.crs), str(source.crs))
    with suppress(ProjError):  # a place the other projection cannot show is elsewhere
        west, south, east, north = to_source.transform_bounds(
            left, bottom, right, top, densify_pts=EDGE_POINTS
        )
        if not np.isfinite([west, south, east, north]).all():
            return None
        turns = (-360, 0, 360) if source.crs is not None and source.crs.geographic else (0,)
        if west > east:  # across 180 degrees
            east += 360
        found = [_window(source, (west + turn, south, east + turn, north)) for turn in turns]
        return _around([window for window in found if window.height and window.width])
    return None


def _window(source: GeoBox, box: tuple[float, float, float, float]) -> Window:
    """Pixels of a raster under a box in its CRS, with a rim; none where it lies beside."""
    corners = [~source.transform * (x, y) for x in box[0::2] for y in box[1::2]]
    cols, rows = zip(*corners, strict=True)
    row, col = int(np.floor(min(rows))) - 2, int(np.floor(min(cols))) - 2
    window = Window(row, col, int(np.ceil(max(rows))) + 2 - row, int(np.ceil(max(cols))) + 2 - col)
    return window.clip((source.shape[0], source.shape[1]))


def _around(windows: Sequence[Window]) -> Window | None:
    """The smallest window around some, of which a raster round the Earth has two; None around none."""
    if not windows:
        return None
    top, left = min(w.row_off for w in windows), min(w.col_off for w in windows)
    bottom, right = max(w.row_off + w.height for w in windows), max(w.col_off + w.width for w in windows)
    return Window(top, left, bottom - top, right - left)


def warped(values: NDArray[Any], source: GeoBox, part: Window, grid: GeoBox, fill: Any) -> NDArray[Any]:
    """Pixels on another grid: classes and other bytes to the nearest pixel, shares by area average.

    Args:
        values: shape (y, x).
        source: the grid of the whole raster.
        part: which of its pixels they are.
        grid: where to.
        fill: value of what nobody knows.
    """
    if (bits := warped_bits(values, source, part, grid)) is not None:
        return unpacked(bits, slice(0, grid.shape[0]), slice(0, grid.shape[1]))
    result = np.full(grid.shape, fill, values.dtype)
    place = source.transform * Affine.translation(part.col_off, part.row_off)
    if source.crs is not None and source.crs.geographic:  # GDAL looks within 180 degrees alone
        east = (place * (part.width / 2, part.height / 2))[0]
        place = Affine.translation(-360 * round(east / 360), 0) * place
    reproject(
        values,
        result,
        src_transform=place,
        src_crs=str(source.crs),
        src_nodata=fill,
        dst_transform=grid.transform,
        dst_crs=str(grid.crs),
        dst_nodata=fill,
        resampling=Resampling.average if values.dtype.kind == "f" else Resampling.nearest,
        tolerance=WARP_ERROR_PX,
    )
    return result


def warped_bits(classes: NDArray[Any], source: GeoBox, part: Window, grid: GeoBox) -> Bits | None:
    """The same of classes 0, 1 and 255 as bits; None where GDAL has to do it: other values, and projections that bend."""
    if not _are_classes(classes) or (corners := _corners(source, part, grid)) is None:
        return None
    return nearest(classes, corners, (grid.shape[0], grid.shape[1]))


def _are_classes(values: NDArray[Any]) -> bool:
    return values.dtype == np.uint8 and bool(
        (values + np.uint8(1)).max(initial=0) <= UNKNOWN
    )  # 255 wraps round to 0


def _corners(source: GeoBox, part: Window, grid: GeoBox) -> Corners | None:
    """Where the corners of some pixels of a raster lie on a grid; None if the projection bends too much between nodes.

    Nodes are counted from the corner of the raster, so that the same pixel lies in the same place in every window.
    """
    for step in CORNER_STEPS_PX:
        first = [start // step * step for start in (part.row_off, part.col_off)]
        ends = part.row_off + part.height + 1, part.col_off + part.width + 1
        row, col = (
            start + step / 2 * np.arange(2 * -(-(end - start) // step) + 1)
            for start, end in zip(first, ends, strict=True)
        )
        there = places(source.transform, *np.meshgrid(col, row))
        x, y = places(~grid.transform, *transformer(str(source.crs), str(grid.crs)).transform(*there))
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            return None
        pixel = np.hypot(np.diff(x, axis=1), np.diff(y, axis=1)).min() / (step / 2)
        if max(_bend(x), _bend(y)) <= BEND_PX * pixel:
            ahead = part.row_off - first[0], part.col_off - first[1]
            return Corners(x[::2, ::2], y[::2, ::2], step, ahead)
    return None


def _bend(fine: NDArray[np.float64]) -> float:
    """How far positions halfway between nodes are from what the nodes say of them."""
    coarse = fine[::2, ::2]
    beside = (coarse[:, :-1] + coarse[:, 1:]) / 2
    between = fine[::2, 1::2] - beside, fine[1::2, ::2] - (coarse[:-1] + coarse[1:]) / 2
    middle = fine[1::2, 1::2] - (beside[:-1] + beside[1:]) / 2
    return max(float(np.abs(one).max()) for one in (*between, middle))
