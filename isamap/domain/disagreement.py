"""Pictures of an evaluation: where map and truth disagree most, and a thinned view of the first raster."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bits import Bits, unpacked
from isamap.domain.cell_sums import cell_sums
from isamap.domain.product import NODATA

PICTURES, PICTURE_M = 6, 300
"""Worst disagreements that are kept, and their side."""


@dataclass(frozen=True, order=True)
class Disagreement:
    """A block on which product and truth differ much."""

    difference: float
    """Mean absolute difference of the classes, 0-1, times the share of the block that is known."""
    product: str
    """Which product."""
    x: float
    """Of the upper left corner."""
    y: float
    """Of the upper left corner."""
    mapped: NDArray[np.uint8] = field(compare=False)
    """Its classes."""
    truth: NDArray[np.uint8] = field(compare=False)
    """The truth's."""


@dataclass(frozen=True)
class Piece:
    """A thinned part of the picture of the first raster."""

    row: int
    """Of the picture, counted from an origin that all pieces share."""
    col: int
    """Likewise."""
    mapped: NDArray[np.uint8]
    """Classes of the first product."""
    truth: NDArray[np.uint8]
    """The truth's."""
    size_m: float
    """Of a pixel of the picture."""


@dataclass(frozen=True)
class Scene:
    """A window of the first product and the truth, as pictures need it."""

    product: str
    """Name of the product."""
    mapped: Bits
    """Its classes."""
    truth: Bits
    """The truth's, unknown wherever the product knows nothing."""
    window: tuple[slice, slice]
    """Rows and columns of both that are shown."""
    origin: tuple[float, float]
    """x and y of the upper left corner."""
    gsd_m: float
    """Pixel size."""

    def shown(self, rows: slice, cols: slice) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Classes of product and truth `(y, x)`, 255 unknown, of some rows and columns of the window."""
        inside = (
            slice(whole.start + part.start, whole.start + part.stop, part.step)
            for whole, part in zip(self.window, (rows, cols), strict=True)
        )
        rows, cols = inside
        return unpacked(self.mapped, rows, cols).copy(), unpacked(self.truth, rows, cols).copy()


def piece_of(scene: Scene, step: int) -> Piece:
    """The window, every so manyth pixel of it."""
    size_m = step * scene.gsd_m
    row, col = round(-scene.origin[1] / size_m), round(scene.origin[0] / size_m)
    height, width = (part.stop - part.start for part in scene.window)
    return Piece(row, col, *scene.shown(slice(0, height, step), slice(0, width, step)), size_m)


def stitched(pieces: Sequence[Piece]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Map and truth of all pieces `(y, x)`, 255 where there is none."""
    top, left = min(p.row for p in pieces), min(p.col for p in pieces)
    height = max(p.row + p.truth.shape[0] for p in pieces) - top
    width = max(p.col + p.truth.shape[1] for p in pieces) - left
    mapped, truth = (np.full((height, width), NODATA, np.uint8) for _ in range(2))
    for p in pieces:
        place = (
            slice(p.row - top, p.row - top + p.truth.shape[0]),
            slice(p.col - left, p.col - left + p.truth.shape[1]),
        )
        mapped[place], truth[place] = p.mapped, p.truth
    return mapped, truth


def worst_of(scene: Scene) -> list[Disagreement]:
    """The blocks of the window on which the product is most often wrong."""
    side = max(1, round(PICTURE_M / scene.gsd_m))
    rows, cols = scene.window
    height, width = ((part.stop - part.start) // side for part in scene.window)
    if not height or not width:
        return []
    cols = slice(cols.start, cols.start + width * side)
    differ = scene.mapped.isa[rows] ^ scene.truth.isa[rows]
    if scene.truth.known is not None:
        differ &= scene.truth.known[rows]
    rate = cell_sums(differ, (slice(0, height * side), cols), side) / side**2
    found = []
    for flat in np.argsort(rate, axis=None)[::-1][:PICTURES].tolist():
        row, col = divmod(flat, width)
        if rate[row, col] > 0:
            classes = scene.shown(slice(row * side, (row + 1) * side), slice(col * side, (col + 1) * side))
            x = scene.origin[0] + col * side * scene.gsd_m
            y = scene.origin[1] - row * side * scene.gsd_m
            found.append(Disagreement(float(rate[row, col]), scene.product, x, y, *classes))
    return found
