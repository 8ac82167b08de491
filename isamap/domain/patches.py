"""Connected patches of a mask, and which of them are too small to be shown."""

import numpy as np
from numpy.typing import NDArray


def small_patches(mask: NDArray[np.bool_], min_px: int) -> NDArray[np.intp]:
    """Places, in the flattened mask, of the pixels of 8-connected patches of fewer than `min_px` pixels; patches at the array's edge are kept.

    A patch that reaches the edge may go on beyond it. So a window read with a margin of `min_px - 1` pixels gives
    its inner pixels the answer that the whole raster would give: no patch that small reaches across the margin.

    Args:
        mask: shape (y, x).
        min_px: smallest patch that stays.

    Returns:
        Ascending, shape (pixel,).
    """
    height, width = mask.shape
    flat = np.zeros(height * (width + 1) + 1, np.bool_)  # a False after each row and before the first
    flat[1:].reshape(height, width + 1)[:, :width] = mask
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    starts, ends = turns[::2], turns[1::2]  # a mask ends with a False
    if not len(starts):
        return np.zeros(0, np.intp)
    patch = _joined(len(starts), *_touching(starts, ends, width + 1))
    size = np.bincount(patch, ends - starts, minlength=len(starts))
    rows, cols = np.divmod(starts, width + 1)
    at_edge = (rows == 0) | (rows == height - 1) | (cols == 0) | (ends % (width + 1) == width)
    size[patch[at_edge]] = np.inf
    chosen = np.flatnonzero(size[patch] < min_px)
    lengths = ends[chosen] - starts[chosen]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    # the False after each row is no pixel
    places: NDArray[np.intp] = np.repeat(starts[chosen] - rows[chosen], lengths) + within
    return places


def _touching(
    starts: NDArray[np.intp], ends: NDArray[np.intp], stride: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of runs of neighbouring rows that touch, also by a corner."""
    first = np.searchsorted(ends, starts - stride, side="left")
    last = np.searchsorted(starts, ends - stride, side="right")
    count = np.maximum(last - first, 0)
    below = np.repeat(np.arange(len(starts)), count)
    within = np.arange(len(below)) - np.repeat(np.cumsum(count) - count, count)
    return first[below] + within, below


def _joined(count: int, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.intp]:
    """Smallest run of the patch of each run: neighbours take the smaller name until all agree."""
    name = np.arange(count)
    name[other[::-1]] = one[::-1]  # a start: the first neighbour above
    while True:
        while not np.array_equal(shorter := name[name], name):
            name = shorter
        a, b = name[one], name[other]
        apart = np.flatnonzero(a != b)
        if not apart.size:
            return name
        one, other, a, b = one[apart], other[apart], a[apart], b[apart]
        np.minimum.at(name, np.maximum(a, b), np.minimum(a, b))
