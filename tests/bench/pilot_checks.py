"""What the pilot's mosaic must be, worked out pixel by pixel without isamap's own mosaic code.

Tiles are read by GDAL and put side by side in memory, one array for each zone. Where a pixel's centre lies in another
CRS is PROJ's answer every 64 pixels, and between them on a straight line (off by less than 0.2 mm). A pixel counts in
the zone in which its centre lies. In EPSG:6933 that is a matter of x alone: meridians are upright lines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.windows import Window

NODATA = 255
STEP_PX = 64
SIDE_PX = 1024
"""Of the windows that are looked at one after the other."""
TIE_M = 0.01
"""A centre this close to the edge of a pixel may fall on either side of it."""
TIE_PERCENT = 0.05
"""Of a cell's pixels, at most, lie so close to its edge that they may count beyond it."""


@dataclass(frozen=True)
class Zone:
    """All maps of one zone as one raster."""

    epsg: int
    """Of its CRS."""
    transform: Affine
    """Of its pixels, north up."""
    classes: NDArray[np.uint8]
    """0, 1 and 255, (y, x)."""
    lon: tuple[float, float]
    """Its meridians, west and east."""


def zone_of(paths: Sequence[Path], number: int) -> Zone:
    """Maps of one northern zone put side by side; ground without map is nodata."""
    bounds, epsg = [], 32600 + number
    for path in paths:
        with rasterio.open(path) as src:
            assert src.crs.to_epsg() == epsg
            bounds.append(src.bounds)
            gsd = src.transform.a
    left, top = min(b.left for b in bounds), max(b.top for b in bounds)
    right, bottom = max(b.right for b in bounds), min(b.bottom for b in bounds)
    classes = np.full((round((top - bottom) / gsd), round((right - left) / gsd)), NODATA, np.uint8)
    for path, box in zip(paths, bounds, strict=True):
        with rasterio.open(path) as src:
            row, col = round((top - box.top) / gsd), round((box.left - left) / gsd)
            classes[row : row + src.height, col : col + src.width] = src.read(1)
    west = 6.0 * number - 186
    return Zone(epsg, Affine(gsd, 0, left, 0, -gsd, top), classes, (west, west + 6))


def pieces(shape: tuple[int, int], side: int = SIDE_PX) -> Iterator[Window]:
    """Windows that cover a raster once."""
    for row in range(0, shape[0], side):
        for col in range(0, shape[1], side):
            yield Window(col, row, min(side, shape[1] - col), min(side, shape[0] - row))


def centres(
    transform: Affine, window: Window, there: Transformer
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the centres of a window's pixels lie in another CRS: x and y, (y, x)."""
    rows, row_weights = _hats(int(window.height))
    cols, col_weights = _hats(int(window.width))
    x, y = transform * tuple(np.meshgrid(window.col_off + cols, window.row_off + rows))
    return tuple(row_weights @ nodes @ col_weights.T for nodes in there.transform(x, y))


def _hats(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes along a side of pixels, and the weight of each node at each pixel's centre, (pixel, node)."""
    nodes = np.unique([*range(0, size, STEP_PX), size]).astype(np.float64)
    middle = np.arange(size) + 0.5
    return nodes, np.stack([np.interp(middle, nodes, unit) for unit in np.eye(len(nodes))], axis=1)


def between(zone: Zone, epsg: int) -> tuple[float, float]:
    """X of a zone's meridians in a CRS whose meridians are upright lines."""
    x, _ = Transformer.from_crs(4326, epsg, always_xy=True).transform(zone.lon, (0, 0))
    return x[0], x[1]


def counted(
    zones: Sequence[Zone], src: rasterio.DatasetReader
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Impervious and mapped pixels in each cell of an overview, each pixel counted by itself."""
    isa, valid = np.zeros(src.height * src.width, np.int64), np.zeros(src.height * src.width, np.int64)
    for zone in zones:
        there = Transformer.from_crs(zone.epsg, src.crs, always_xy=True)
        west, east = between(zone, src.crs.to_epsg())
        for window in pieces(zone.classes.shape):
            classes = zone.classes[window.toslices()]
            x, y = centres(zone.transform, window, there)
            cols, rows = ~src.transform * (x, y)
            cells = np.floor(rows).astype(np.int64) * src.width + np.floor(cols).astype(np.int64)
            mine = (x >= west) & (x < east) & (classes != NODATA)
            valid += np.bincount(cells[mine], minlength=valid.size)
            isa += np.bincount(cells[mine & (classes == 1)], minlength=isa.size)
    return isa.reshape(src.shape), valid.reshape(src.shape)


def overview_faults(zones: Sequence[Zone], isa_path: Path, mapped_path: Path) -> tuple[int, int]:
    """Cells of an overview with data, and those that do not show the share of their pixels."""
    with rasterio.open(isa_path) as src, rasterio.open(mapped_path) as mapped:
        isa, valid = counted(zones, src)
        share, covered = src.read(1), mapped.read(1)
    known = valid > 0
    off = np.abs(share[known] - 100 * isa[known] / valid[known]) > 0.5 + TIE_PERCENT * 1e4 / valid[known]
    wrong = np.count_nonzero((share == NODATA) != ~known) + np.count_nonzero(off)
    full = valid.max()
    wrong += np.count_nonzero(np.abs(covered - 100 * valid / full) > 1.0)
    return int(known.sum()), int(wrong)


def vrt_faults(zone: Zone, path: Path) -> tuple[int, int]:
    """Pixels of a zone's VRT as GDAL reads it, and those that are not the maps' own."""
    with rasterio.open(path) as src:
        if (
            src.transform != zone.transform
            or src.shape != zone.classes.shape
            or src.crs.to_epsg() != zone.epsg
        ):
            return 0, zone.classes.size
        wrong = sum(
            np.count_nonzero(src.read(1, window=window) != zone.classes[window.toslices()])
            for window in pieces(src.shape)
        )
    return zone.classes.size, int(wrong)


def sheet_faults(zones: Sequence[Zone], path: Path) -> tuple[int, int]:
    """Pixels of a sheet with data, and those that show another pixel than the one in which their centre lies."""
    pixels = wrong = 0
    with rasterio.open(path) as src:
        for window in pieces(src.shape):
            found = src.read(1, window=window)
            truth, edge_m = seen(zones, src, window)
            pixels += np.count_nonzero(truth != NODATA)
            wrong += np.count_nonzero((found != truth) & (edge_m > TIE_M))
    return pixels, wrong


def seen(
    zones: Sequence[Zone], src: rasterio.DatasetReader, window: Window
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Class of the map pixel in which each centre of a window lies, and how far the nearest edge is, in m."""
    shape = int(window.height), int(window.width)
    truth, edge_m = np.full(shape, NODATA, np.uint8), np.full(shape, np.inf, np.float32)
    x = src.transform.c + (window.col_off + np.arange(shape[1]) + 0.5) * src.transform.a
    for zone in zones:
        west, east = between(zone, src.crs.to_epsg())
        first, last = np.searchsorted(x, [west, east])
        edge_m[:, (np.abs(x - west) < TIE_M) | (np.abs(x - east) < TIE_M)] = 0
        if first == last:
            continue
        part = Window(window.col_off + first, window.row_off, last - first, window.height)
        there = Transformer.from_crs(src.crs, zone.epsg, always_xy=True)
        cols, rows = ~zone.transform * centres(src.transform, part, there)
        truth[:, first:last] = looked_up(zone, rows, cols)
        near = np.minimum(np.abs(rows - np.rint(rows)), np.abs(cols - np.rint(cols)))
        edge_m[:, first:last] = np.minimum(edge_m[:, first:last], near * zone.transform.a)
    return truth, edge_m


def looked_up(zone: Zone, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Classes at fractional rows and columns; nodata beyond the maps."""
    row, col = np.floor(rows).astype(np.int64), np.floor(cols).astype(np.int64)
    height, width = zone.classes.shape
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    return np.where(inside, zone.classes[row.clip(0, height - 1), col.clip(0, width - 1)], NODATA)


def index_faults(zones: Sequence[Zone], path: Path, windows: int = 6) -> tuple[int, int]:
    """Pixels of a tile index read by GDAL alone along the border, and those that no map pixel within one explains.

    Where maps of two zones overlap the index shows either.
    """
    pixels = wrong = 0
    with rasterio.open(path) as src:
        border = between(zones[0], src.crs.to_epsg())[1]
        col = int((~src.transform * (border, 0))[0]) - SIDE_PX // 2
        for row in np.linspace(SIDE_PX, src.height - 2 * SIDE_PX, windows).astype(int).tolist():
            window = Window(col, row, SIDE_PX, SIDE_PX)
            found, explained = src.read(1, window=window), np.zeros((SIDE_PX, SIDE_PX), bool)
            for zone in zones:
                there = Transformer.from_crs(src.crs, zone.epsg, always_xy=True)
                cols, rows = ~zone.transform * centres(src.transform, window, there)
                near = [
                    looked_up(zone, rows + down, cols + right) for down in (-1, 0, 1) for right in (-1, 0, 1)
                ]
                explained |= (np.stack(near) == found).any(0)
            pixels, wrong = pixels + found.size, wrong + np.count_nonzero(~explained)
    return pixels, wrong
