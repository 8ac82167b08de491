"""Pictures of an evaluation: where map and truth disagree most, and a thinned view of the first raster."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isamap.domain.fraction import cell_sums
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
    mapped: NDArray[np.uint8]
    """Its classes `(y, x)`."""
    truth: NDArray[np.uint8]
    """The truth's, 255 wherever the product knows nothing."""
    origin: tuple[float, float]
    """x and y of the upper left corner."""
    gsd_m: float
    """Pixel size."""


def piece_of(scene: Scene, step: int) -> Piece:
    """The window, every so manyth pixel of it."""
    size_m = step * scene.gsd_m
    row, col = round(-scene.origin[1] / size_m), round(scene.origin[0] / size_m)
    return Piece(row, col, scene.mapped[::step, ::step].copy(), scene.truth[::step, ::step].copy(), size_m)


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
    height, width = (length // side for length in scene.truth.shape)
    if not height or not width:
        return []
    mapped, truth = (values[: height * side, : width * side] for values in (scene.mapped, scene.truth))
    bands = ((mapped[top : top + side], truth[top : top + side]) for top in range(0, height * side, side))
    wrong = [cell_sums((m ^ t) == 1, side) for m, t in bands]  # 0 and 1; with 255 it is 0, 254 or 255
    rate = np.concatenate(wrong) / side**2
    found = []
    for flat in np.argsort(rate, axis=None)[::-1][:PICTURES].tolist():
        row, col = divmod(flat, width)
        if rate[row, col] > 0:
            part = slice(row * side, (row + 1) * side), slice(col * side, (col + 1) * side)
            x = scene.origin[0] + col * side * scene.gsd_m
            y = scene.origin[1] - row * side * scene.gsd_m
            found.append(
                Disagreement(
                    float(rate[row, col]), scene.product, x, y, mapped[part].copy(), truth[part].copy()
                )
            )
    return found
