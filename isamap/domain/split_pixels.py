"""Splits by pixel: what each block of ground sums up to, what each pixel is for, and how far splits lie apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from isamap.domain.splits import CODES, TRAIN, Box


def block_sums(
    values: NDArray[Any], transform: Sequence[float], side_m: float
) -> dict[tuple[int, int], float]:
    """Sum of a raster `(y, x)` over each block of the lattice, by column and row; the block of a pixel's centre has it.

    Args:
        values: per pixel.
        transform: affine of the grid, at least six figures, north-up.
        side_m: of the lattice.
    """
    a, _, c, _, e, f = transform[:6]
    columns = np.floor((c + a * (np.arange(values.shape[1]) + 0.5)) / side_m).astype(np.int64)
    rows = np.floor((f + e * (np.arange(values.shape[0]) + 0.5)) / side_m).astype(np.int64)
    left, top = (np.flatnonzero(np.diff(index, prepend=index[0] - 1)) for index in (columns, rows))
    bands = zip(
        top, [*top[1:], len(rows)], strict=True
    )  # a band of rows at a time: casting the whole takes memory
    sums = np.add.reduceat(
        np.stack([values[first:last].sum(axis=0, dtype=np.float64) for first, last in bands]), left, axis=1
    )
    return {
        (int(columns[at_col]), int(rows[at_row])): float(sums[i, j])
        for i, at_row in enumerate(top)
        for j, at_col in enumerate(left)
    }


def assign(
    shape: tuple[int, int], transform: Sequence[float], held: Sequence[tuple[str, Box]], buffer_m: float
) -> NDArray[np.uint8]:
    """Split code of each pixel: that of the held-out block it lies in, 0 nearer than the buffer to one, else training.

    A pixel of one split that is near to a block of another belongs to none.

    Args:
        shape: of the raster.
        transform: affine of its grid, north-up.
        held: split and bounds (left, bottom, right, top) of the held-out blocks, in the same coordinates.
        buffer_m: between splits.
    """
    codes = np.full(shape, CODES[TRAIN], np.uint8)
    a, _, c, _, e, f = transform[:6]
    x, y = c + a * np.arange(shape[1] + 1), f + e * np.arange(shape[0] + 1)
    inside = []
    for split, (left, bottom, right, top) in held:
        columns = _span(x[:-1] < right + buffer_m, x[1:] > left - buffer_m)
        rows = _span(y[1:] < top + buffer_m, y[:-1] > bottom - buffer_m)
        if columns.stop <= columns.start or rows.stop <= rows.start:
            continue
        east = np.maximum(np.maximum(left - x[1:][columns], x[:-1][columns] - right), 0)
        north = np.maximum(np.maximum(bottom - y[:-1][rows], y[1:][rows] - top), 0)
        near = np.hypot(north[:, None], east) < max(buffer_m, 1e-6)
        middle_x, middle_y = x[:-1][columns] + a / 2, y[:-1][rows] + e / 2
        inner_x = (left <= middle_x) & (middle_x < right)  # on an edge: as in `block_sums`
        inner_y = (bottom <= middle_y) & (middle_y < top)
        part = codes[rows, columns]
        part[near & (part != CODES[split])] = 0
        inside.append((CODES[split], rows, columns, inner_y[:, None] & inner_x))
    return _fill(codes, inside)


def _fill(
    codes: NDArray[np.uint8], inside: Sequence[tuple[int, slice, slice, NDArray[np.bool_]]]
) -> NDArray[np.uint8]:
    """Put the split of each held-out block where it lies; blocks keep the buffer from each other by their choice."""
    for code, rows, columns, mask in inside:
        codes[rows, columns][mask] = code
    return codes


def _span(below: NDArray[np.bool_], above: NDArray[np.bool_]) -> slice:
    """First and last place where both hold."""
    found = np.flatnonzero(below & above)
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0)


def runs(mask: NDArray[np.bool_], transform: Sequence[float]) -> NDArray[np.object_]:
    """Boxes over the True pixels of a mask `(y, x)`: one for each run of a row and the rows below that are alike.

    Args:
        mask: pixels.
        transform: affine of the grid, at least six figures, north-up.
    """
    first = np.flatnonzero(np.append(True, (mask[1:] != mask[:-1]).any(axis=1)))
    last = np.append(first[1:], mask.shape[0])
    padded = np.zeros((len(first), mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask[first]
    turns = np.diff(padded, axis=1)
    groups, starts = np.nonzero(turns == 1)
    _, ends = np.nonzero(turns == -1)
    a, _, c, _, e, f = transform[:6]
    boxes: NDArray[np.object_] = shapely.box(
        c + a * starts, f + e * last[groups], c + a * ends, f + e * first[groups]
    )
    return boxes


def least_distance(some: NDArray[np.object_], others: NDArray[np.object_]) -> float | None:
    """Distance between the nearest two of two sets of shapes; None if a set is empty."""
    if not len(some) or not len(others):
        return None
    few, many = (some, others) if len(some) < len(others) else (others, some)
    _, distances = shapely.STRtree(many).query_nearest(few, all_matches=False, return_distance=True)
    return float(distances.min())
