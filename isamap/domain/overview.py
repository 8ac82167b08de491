"""Cells of a coarse grid: how much of each is impervious, and how much of it was mapped, counted pixel by pixel.

Overviews of a class map hold the most frequent class of each cell, and a narrow road loses every vote: averaging
them underestimates sparse ground (design record 10). So cells are counted from the pixels themselves, each pixel
in the cell in which its centre lies.
"""

from dataclasses import dataclass
from math import ceil, floor

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from isamap.domain.grid import Window, crop, windows
from isamap.domain.ground_area import pixel_area_m2
from isamap.domain.lonlat import M_PER_DEGREE, transformer
from isamap.domain.product import NODATA
from isamap.errors import InputError

COUNT_PX, LEAST_PX = 512, 64
"""Sides of the windows in which pixels of 1 m and of 60 m or more are laid on cells by an affine transform."""
ROOM_M = 10_000
"""Side of the blocks of cells that have room for as many pixels each."""
NODES = np.linspace(0, 1, 5)
MAX_CELLS = 200_000


def cell_size(crs: str, res_m: float) -> float:
    """Side of a cell in units of the CRS; in degrees a whole number of cells makes a degree."""
    found = CRS.from_user_input(crs)
    if found.is_geographic:
        return 1 / max(1, round(M_PER_DEGREE / res_m))
    return res_m / float(found.axis_info[0].unit_conversion_factor)


def aligned_grid(bounds: tuple[float, float, float, float], crs: str, cell: float) -> GeoBox:
    """Grid of square cells over bounds; edges lie on multiples of the cell, so overviews of neighbours agree.

    Raises:
        InputError: it would have too many cells.
    """
    left, bottom, right, top = bounds
    west, north = floor(left / cell + 1e-9), ceil(top / cell - 1e-9)
    shape = (max(1, north - floor(bottom / cell + 1e-9)), max(1, ceil(right / cell - 1e-9) - west))
    if max(shape) > MAX_CELLS:
        raise InputError(
            f"the overview would have {shape[1]} x {shape[0]} cells: give a coarser --overview-res"
        )
    return GeoBox(shape, Affine(cell, 0, west * cell, 0, -cell, north * cell), crs)


def cells_over(grid: GeoBox, outline: BaseGeometry) -> Window:
    """Cells that an area in the grid's CRS may touch, one more on every side."""
    inverse = ~grid.transform
    left, bottom, right, top = outline.bounds
    (col, row), (last_col, last_row) = inverse * (left, top), inverse * (right, bottom)
    first = floor(row) - 1, floor(col) - 1
    window = Window(*first, ceil(last_row) + 1 - first[0], ceil(last_col) + 1 - first[1])
    return window.clip((grid.shape[0], grid.shape[1]))


@dataclass
class Counts:
    """Pixels in the cells of a grid."""

    grid: GeoBox
    """The cells."""
    isa: NDArray[np.int64]
    """Impervious pixels, shape (y, x)."""
    valid: NDArray[np.int64]
    """Pixels that are not nodata, likewise."""
    valid_m2: float = 0.0
    """Their ground."""

    @classmethod
    def over(cls, grid: GeoBox, window: Window) -> "Counts":
        """No pixel yet, in a window of a grid."""
        return cls(crop(grid, window), np.zeros(window.shape, np.int64), np.zeros(window.shape, np.int64))

    def add(self, classes: NDArray[np.uint8], pixels: GeoBox, owned: NDArray[np.int64] | None = None) -> None:
        """Count the pixels of a window.

        Args:
            classes: 0, 1 and 255, shape (y, x).
            pixels: their grid, at most `COUNT_PX` a side.
            owned: first column and column behind the last that count, shape (y, 2); all if left out.
        """
        pixel_m2 = pixel_area_m2(pixels)
        for part in windows((pixels.shape[0], pixels.shape[1]), _side_px(pixel_m2)):
            rows = None if owned is None else owned[part.slices[0]] - part.col_off
            self.valid_m2 += pixel_m2 * self._add(classes[part.slices], crop(pixels, part), rows)

    def _add(self, classes: NDArray[np.uint8], pixels: GeoBox, owned: NDArray[np.int64] | None) -> int:
        """The same of one that an affine transform lays on the cells; how many of its pixels are not nodata."""
        to_cells = cell_transform(pixels, self.grid)
        height, width = classes.shape
        spans = np.array([[0, width]]) if owned is None else np.clip(owned, 0, width)
        starts = _starts(to_cells, (height, width), np.broadcast_to(spans, (height, 2)))
        cells = self._cells(to_cells, starts)
        blank = classes == NODATA
        valid = _sums(~blank, starts) if blank.any() else starts[:, 1:] - starts[:, :-1]
        isa = classes == 1
        known = self._tally(cells, valid)
        self.valid += known
        if isa.any():
            self.isa += self._tally(cells, _sums(isa, starts))
        return int(known.sum())

    def _tally(self, cells: NDArray[np.int64], sums: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sums of stretches as sums of cells."""
        total = np.bincount(cells, sums.ravel(), self.isa.size)[: self.isa.size]
        tallied: NDArray[np.int64] = np.rint(total).astype(np.int64).reshape(self.isa.shape)
        return tallied

    def _cells(self, to_cells: Affine, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of the cell of each stretch of pixels; of those outside and of empty ones, one too many."""
        cols = (starts[:, 1:] + starts[:, :-1]) / 2
        rows = np.arange(len(starts), dtype=np.float64)[:, None] + 0.5
        x, y = places(to_cells, cols, rows)
        u, v = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        height, width = self.isa.shape
        inside = (u >= 0) & (u < width) & (v >= 0) & (v < height) & (starts[:, 1:] > starts[:, :-1])
        found: NDArray[np.int64] = np.where(inside, v * width + u, height * width).ravel()
        return found


def _side_px(pixel_m2: float) -> int:
    """Side of windows in which an affine transform is off by a fiftieth of a pixel at most: errors grow with its square."""
    return int(max(LEAST_PX, COUNT_PX / max(pixel_m2, 1) ** 0.25))


def room_px(cells: GeoBox, pixels: GeoBox) -> NDArray[np.float64]:
    """Pixels of a map that each cell of a grid has room for, shape (y, x)."""
    room = np.ones((cells.shape[0], cells.shape[1]))
    for part in windows(room.shape, max(1, round(ROOM_M / pixel_area_m2(cells) ** 0.5))):
        room[part.slices] = abs(cell_transform(crop(cells, part), pixels).determinant)
    return room


def cell_transform(pixels: GeoBox, grid: GeoBox) -> Affine:
    """From columns and rows of a small grid to those of another, in any CRS: the best affine transform."""
    height, width = pixels.shape
    cols, rows = (axis.ravel() for axis in np.meshgrid(NODES * width, NODES * height))
    x, y = places(pixels.transform, cols, rows)
    if pixels.crs != grid.crs:
        x, y = transformer(str(pixels.crs), str(grid.crs)).transform(x, y)
    u, v = places(~grid.transform, np.asarray(x), np.asarray(y))
    terms = np.column_stack([cols, rows, np.ones_like(cols)])
    (a, d), (b, e), (c, f) = np.linalg.lstsq(terms, np.column_stack([u, v]), rcond=None)[0]
    return Affine(a, b, c, d, e, f)


def places(
    transform: Affine, cols: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X and y of columns and rows; by the inverse, columns and rows of x and y."""
    a, b, c, d, e, f = transform[:6]
    return a * cols + b * rows + c, d * cols + e * rows + f


def _starts(to_cells: Affine, shape: tuple[int, int], spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Columns at which each row of pixels enters another cell, with the row's first and last; shape (y, n)."""
    height, width = shape
    rows = np.arange(height)[:, None] + 0.5
    edges = [spans[:, :1], spans[:, 1:]]
    for slope, turn, offset in (to_cells[:3], to_cells[3:6]):
        corners = [offset + turn * row + slope * col for row in (0, height) for col in (0, width)]
        lines = np.arange(ceil(min(corners)), floor(max(corners)) + 1)
        if len(lines) and abs(slope) * width > 1e-9:
            crossing = np.ceil((lines - offset - turn * rows) / slope - 0.5)
            edges.append(np.clip(crossing, spans[:, :1], spans[:, 1:]).astype(np.int64))
    return np.sort(np.concatenate(edges, axis=1), axis=1)


def _sums(marked: NDArray[np.bool_], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Marked pixels between neighbouring starts of each row."""
    running = np.zeros(
        (marked.shape[0], marked.shape[1] + 1), np.int16 if marked.shape[1] < 1 << 15 else np.int64
    )
    np.cumsum(marked, axis=1, dtype=running.dtype, out=running[:, 1:])
    at = np.take_along_axis(running, starts, axis=1).astype(np.int64)
    return at[:, 1:] - at[:, :-1]


def isa_percent(isa: NDArray[np.int64], valid: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Impervious share of the mapped pixels, percent rounded half up; 255 where none is mapped."""
    share = (200 * isa + valid) // np.maximum(2 * valid, 1)
    return np.where(valid > 0, share, NODATA).astype(np.uint8)


def valid_percent(valid: NDArray[np.int64], room: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Mapped share of cells with room for so many pixels, percent, at least 1 where a pixel is mapped."""
    share = np.clip(np.floor(100 * valid / room + 0.5), np.where(valid > 0, 1, 0), 100)
    return share.astype(np.uint8)
