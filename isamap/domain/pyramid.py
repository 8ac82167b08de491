"""Overviews: what a level of half the size holds, and which blocks of the finer level a block of it is made from.

A pixel of a level covers two rows and columns of the finer one. Where that has an odd number n, the level has
m = (n + 1) / 2 of n / m finer pixels each: pixel i then touches three, 2i - 1 to 2i + 1, the outer two in part. So
every level covers the same ground. Both methods leave nodata out; where nothing is left, the pixel is nodata.
"""

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from isamap.domain.product import BLOCK_PX, NODATA

Pixels = NDArray[np.uint8]
Pairs = NDArray[np.uint16]
"""Neighbours in a row as one number, the left one in the lower byte."""
Shape = tuple[int, int]
"""Height and width of a level."""
Place = tuple[int, int]
"""Row and column of a block."""


class Pyramid:
    """Levels of a raster whose blocks come in any order; a block of a level is made as soon as it can be.

    Blocks wait only for their neighbours under the same coarser block: a few rows of blocks when they come row by row.
    """

    def __init__(self, shape: tuple[int, int], levels: int, method: str) -> None:
        """Nothing yet.

        Args:
            shape: of the raster.
            levels: how many, the raster itself included.
            method: MODE or AVERAGE, see `halve`.
        """
        self.shapes, self._method = [shape], method
        for _ in range(levels - 1):
            self.shapes.append((-(-self.shapes[-1][0] // 2), -(-self.shapes[-1][1] // 2)))
        self._waiting: list[dict[Place, tuple[Pixels, set[Place]]]] = [{} for _ in self.shapes]
        """What coarser blocks are still to be made from, and which: blocks, halved already where they nest."""

    def places(self, level: int) -> list[Place]:
        """Rows and columns of the blocks of a level, in reading order."""
        height, width = self.shapes[level]
        return list(product(range(-(-height // BLOCK_PX)), range(-(-width // BLOCK_PX))))

    def add(self, at: Place, block: Pixels, level: int = 0) -> Iterator[tuple[int, Place, Pixels]]:
        """The block and all those of overviews that can be made now, each as level, place and pixels.

        Args:
            at: row and column of the block; each comes once.
            block: BLOCK_PX on a side, nodata beyond the edge of the raster; it may be kept.
            level: of the block.
        """
        yield level, at, block
        if level + 1 == len(self.shapes):
            return
        shape, waiting = self.shapes[level], self._waiting[level]
        over = [(row, col) for row in _coarser(at[0], shape[0]) for col in _coarser(at[1], shape[1])]
        waiting[at] = halve(block, self._method) if _nests(shape) else block, set(over)
        for place in over:
            under = [(row, col) for row in _finer(place[0], shape[0]) for col in _finer(place[1], shape[1])]
            if all(one in waiting for one in under):
                yield from self.add(place, self._coarse(place, under, level), level + 1)

    def _coarse(self, at: Place, under: Sequence[Place], level: int) -> Pixels:
        """A block of the next level, from blocks that need not wait for it any more."""
        shape, waiting = self.shapes[level], self._waiting[level]
        side = BLOCK_PX // 2 if _nests(shape) else BLOCK_PX
        before = shape[0] % 2, shape[1] % 2
        pixels = np.full((2 * side + before[0], 2 * side + before[1]), NODATA, np.uint8)
        for place in under:
            part, wanted = waiting[place]
            rows, cols = (
                _placed(fine, coarse, side, first)
                for fine, coarse, first in zip(place, at, before, strict=True)
            )
            pixels[rows[1], cols[1]] = part[rows[0], cols[0]]
            wanted.discard(at)
            if not wanted:
                del waiting[place]
        return pixels if _nests(shape) else halve_odd(pixels, at, shape, self._method)


def _coarser(block: int, side: int) -> list[int]:
    """Block rows (or columns) of the next level that need this one of a level with `side` pixels."""
    last_goes_on = side % 2 and block % 2 and (block + 1) * BLOCK_PX < side
    return [block // 2, block // 2 + 1] if last_goes_on else [block // 2]


def _finer(block: int, side: int) -> range:
    """Block rows (or columns) of a level with `side` pixels from which one of the next level is made."""
    first = 2 * block - 1 if side % 2 and block else 2 * block
    return range(first, min(2 * block + 2, -(-side // BLOCK_PX)))


def _nests(shape: Shape) -> bool:
    """Whether every pixel of the next level covers four whole ones of this."""
    return shape[0] % 2 == 0 and shape[1] % 2 == 0


def _placed(fine: int, coarse: int, side: int, before: int) -> tuple[slice, slice]:
    """Which rows of a part `side` px high are used for a coarser block, and where they go in the pixels under it."""
    at = (fine - 2 * coarse) * side + before
    return (slice(-at if at < 0 else 0, None), slice(max(at, 0), at + side))


def halve(pixels: Pixels, method: str) -> Pixels:
    """Pixels of the next level where each covers four whole ones.

    Args:
        pixels: the finer ones, in an even number of rows and columns without gaps in memory.
        method: MODE (the value that is first, in reading order, to reach the highest count) or AVERAGE (half up).
    """
    return _mode_of_four(pixels) if method == "MODE" else _mean_of_four(pixels)


def halve_odd(pixels: Pixels, at: Place, shape: Shape, method: str) -> Pixels:
    """One block of the next level where a side of the finer one is odd.

    Args:
        pixels: the finer pixels under it, with the one row and column before where the finer level is odd;
            nodata beyond its edge.
        at: row and column of the block.
        shape: of the finer level.
        method: as for `halve`.
    """
    slots = [
        [
            pixels[row : row + 2 * BLOCK_PX - 1 : 2, col : col + 2 * BLOCK_PX - 1 : 2]
            for col in _slots(shape[1])
        ]
        for row in _slots(shape[0])
    ]
    if method == "MODE":
        return _mode([slot.ravel() for row in slots for slot in row]).reshape(BLOCK_PX, BLOCK_PX)
    return _weighted(slots, [_weights(n, block) for n, block in zip(shape, at, strict=True)])


def _slots(side: int) -> range:
    """Where the finer pixels of the first coarse one lie."""
    return range(3) if side % 2 else range(2)


def _mode_of_four(pixels: Pixels) -> Pixels:
    """Most quads hold one value: only the others are counted."""
    pairs = pixels.view("<u2")
    upper, lower = pairs[0::2], pairs[1::2]
    left = upper & 255
    other = upper >> 8
    other ^= left
    other |= upper ^ lower
    result = left.astype(np.uint8)
    mixed = np.flatnonzero(other != 0)  # on booleans it is ten times as fast
    if mixed.size:
        slots = [half.ravel()[mixed] for half in (upper, lower)]
        result.ravel()[mixed] = _mode([part for pair in slots for part in _split(pair)])
    return result


def _mean_of_four(pixels: Pixels) -> Pixels:
    """All four count alike, and four of nodata give nodata; quads with some of it are looked at one by one."""
    upper, lower = (half.view("<u2") for half in (pixels[0::2], pixels[1::2]))
    total = _sum_of_four(upper, lower)
    result = ((total + 2) >> 2).astype(np.uint8)
    if pixels.max() == NODATA:
        some = (np.maximum(pixels[0::2], pixels[1::2]) == NODATA).view("<u2") != 0
        mixed = np.divmod(np.flatnonzero(some & (total != 4 * NODATA)), total.shape[1])
        slots = [part for half in (upper, lower) for part in _split(half[mixed])]
        values = np.stack(slots).astype(np.int64)
        known = values != NODATA
        result[mixed] = _mean((values * known).sum(axis=0), known.sum(axis=0))
    return result


def _sum_of_four(upper: Pairs, lower: Pairs) -> NDArray[np.uint16]:
    """Sums of 2 x 2 pixels, in place: temporary arrays cost more than the sums."""
    total = upper >> np.uint16(8)
    total += upper & 255
    total += lower >> np.uint16(8)
    total += lower & 255
    return total


def _split(pairs: Pairs) -> tuple[Pixels, Pixels]:
    """Left and right pixels of pairs."""
    return pairs.astype(np.uint8), (pairs >> 8).astype(np.uint8)


def _mode(slots: Sequence[Pixels]) -> Pixels:
    """The value of each column of slots that is first to reach the highest count."""
    best = np.zeros(slots[0].shape, np.uint8)
    result = np.full(slots[0].shape, NODATA, np.uint8)
    for index, slot in enumerate(slots):
        count = np.ones(slot.shape, np.uint8)
        for earlier in slots[:index]:
            count += earlier == slot
        count *= slot != NODATA
        np.copyto(result, slot, where=count > best)
        np.maximum(best, count, out=best)
    return result


def _weights(side: int, block: int) -> NDArray[np.int64]:
    """Part of each finer pixel that lies in the coarse ones of a block, times m: shape (slots, BLOCK_PX)."""
    if side % 2 == 0:
        return np.ones((2, BLOCK_PX), np.int64)
    m = (side + 1) // 2
    i = np.minimum(np.arange(block * BLOCK_PX, (block + 1) * BLOCK_PX), m - 1)
    return np.stack([i, np.full_like(i, m), m - 1 - i])


def _weighted(slots: Sequence[Sequence[Pixels]], weights: Sequence[NDArray[np.int64]]) -> Pixels:
    """Mean with weights of rows and columns, in whole numbers: the same on every machine."""
    shape = slots[0][0].shape
    total, weight = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, down in zip(slots, weights[0], strict=True):
        for slot, across in zip(row, weights[1], strict=True):
            part = down[:, None] * across[None, :] * (slot != NODATA)
            total += part * slot
            weight += part
    return _mean(total, weight)


def _mean(total: NDArray[np.int64], weight: NDArray[np.int64]) -> Pixels:
    """`total / weight`, halves upwards; nodata where there is no weight."""
    mean = (2 * total + weight) // np.maximum(2 * weight, 1)
    return np.where(weight > 0, mean, NODATA).astype(np.uint8)
