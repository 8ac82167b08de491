"""Connected patches of pixels, as runs of rows, and which of them are too small to be shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bits import BYTE_PX, WORD_BYTES, WORD_PX, Plane

Places = NDArray[np.intp]


def stride_of(width: int) -> int:
    """Places to a row of so many pixels: whole words of bits, and one that holds no pixel."""
    return (-(-width // WORD_PX) + 1) * WORD_PX


@dataclass(frozen=True)
class Runs:
    """Pixels side by side, row by row, as their beginnings and ends."""

    starts: Places
    """First pixels, as places in rows of `stride_of(width)`, ascending."""
    ends: Places
    """Places behind the last pixels."""
    shape: tuple[int, int]
    """Rows, and pixels of a row."""

    def rows(self, top: int, bottom: int) -> "Runs":
        """Those of some rows."""
        stride = stride_of(self.shape[1])
        first, last = np.searchsorted(self.starts, (top * stride, bottom * stride))
        starts, ends = (places[first:last] - top * stride for places in (self.starts, self.ends))
        return Runs(starts, ends, (bottom - top, self.shape[1]))

    def pixels(self) -> tuple[Places, Places]:
        """Row and column of each pixel, ascending."""
        lengths = self.ends - self.starts
        rows, cols = np.divmod(self.starts, stride_of(self.shape[1]))
        return np.repeat(rows, lengths), spread(cols, lengths)


def spread(starts: Places, lengths: Places) -> Places:
    """Each start and the numbers that follow it."""
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places: Places = np.repeat(starts, lengths) + within
    return places


def small_patches(plane: Plane, width: int, min_px: int, longest_px: int | None = None) -> Runs:
    """Runs of 8-connected patches of fewer than `min_px` pixels; long patches and those at the edge are kept.

    A patch that reaches the edge may go on beyond it. So a window read with a margin of `longest_px` or `min_px - 1`
    pixels gives its inner pixels the answer that the whole raster would give: no patch that counts as small reaches
    across the margin.

    Args:
        plane: a bit for each pixel of a patch.
        width: its columns.
        min_px: pixels of the smallest patch that is not small.
        longest_px: rows and columns from the first to the last of the longest patch that may be small; None: however long.
    """
    height, stride = len(plane), stride_of(width)
    turns = _turns(plane)
    places = _places(turns) - stride
    starts, ends = places[0::2].copy(), places[1::2].copy()
    patch = _joined(len(starts), *_touching(starts, ends, turns))
    size = np.bincount(patch, ends - starts, minlength=len(starts))
    small = np.flatnonzero(size[patch] < min_px)
    begin, end = starts[small], ends[small]
    at_edge = (
        (begin < stride) | (begin >= (height - 1) * stride) | (begin % stride == 0) | (end % stride == width)
    )
    kept = np.zeros(len(starts), np.bool_)
    kept[patch[small[at_edge]]] = True
    if longest_px is not None and min_px - 1 > longest_px:  # others have not the pixels to be that long
        kept[patch[small]] |= _long(patch[small], (begin, end), stride, longest_px)
    chosen = small[~kept[patch[small]]]
    return Runs(starts[chosen], ends[chosen], (height, width))


def _long(patch: Places, runs: tuple[Places, Places], stride: int, longest_px: int) -> NDArray[np.bool_]:
    """Whether the patch of each run, all of whose runs are given, reaches over more than so many rows or columns."""
    starts, ends = runs
    rows, far = starts // stride, np.iinfo(np.intp).max
    long, count = np.zeros(len(patch), np.bool_), patch.max(initial=-1) + 1
    for first, last in ((rows, rows), (starts % stride, (ends - 1) % stride)):
        begin, end = np.full(count, far), np.full(count, -1)
        np.minimum.at(begin, patch, first)
        np.maximum.at(end, patch, last)
        long |= (end - begin >= longest_px)[patch]
    return long


def _turns(plane: Plane) -> NDArray[np.uint64]:
    """Words of bits where a pixel differs from the one before it, in rows of `stride_of(width)`, below a row of none."""
    words = np.pad(plane, ((1, 0), (0, 1))).reshape(-1)
    turns = words << np.uint64(1)
    turns ^= words
    turns[1:] ^= words[:-1] >> np.uint64(WORD_PX - 1)
    return turns


def _places(words: NDArray[np.uint64]) -> Places:
    """Places of the bits that are 1, where most words are 0."""
    some = np.flatnonzero(words != 0)
    octets = words[some].view(np.uint8)
    busy = np.flatnonzero(octets != 0)
    # masks, for % takes ten times as long
    first = some[busy // WORD_BYTES] * WORD_PX + (busy & WORD_BYTES - 1) * BYTE_PX
    bits = np.flatnonzero(np.unpackbits(octets[busy], bitorder="little").view(np.bool_))
    found: Places = first[bits // BYTE_PX] + (bits & BYTE_PX - 1)
    return found


def _touching(starts: Places, ends: Places, turns: NDArray[np.uint64]) -> tuple[Places, Places]:
    """Pairs of runs of neighbouring rows that touch, also by a corner.

    Beginnings and ends take turns: half of those before a place are ends. A place among the turns is one row above the
    pixel that has it.
    """
    behind = np.cumsum(np.bitwise_count(turns), dtype=np.intp)

    def before(places: Places) -> Places:
        word, bit = places // WORD_PX, (places & WORD_PX - 1).view(np.uint64)
        count: Places = behind[word] - np.bitwise_count(turns[word] >> bit)
        return count

    first, last = before(starts) // 2, (before(ends + 1) + 1) // 2
    count = np.maximum(last - first, 0)
    return spread(first, count), np.repeat(np.arange(len(starts)), count)


def _joined(count: int, one: Places, other: Places) -> Places:
    """A run of the patch of each run, the same for all of them.

    A run takes the name of its first neighbour above, which takes that of its own, and so on. What touches and has
    different names then is joined in the same way, by its names.

    Args:
        count: runs.
        one: of each pair that touches, the one that comes first.
        other: the one that follows.
    """
    name = np.arange(count)
    name[other[::-1]] = one[::-1]
    while not np.array_equal(shorter := name[name], name):
        name = shorter
    a, b = name[one], name[other]
    apart = np.flatnonzero(a != b)
    if not apart.size:
        return name
    patches, numbers = np.unique(np.stack([a[apart], b[apart]]), return_inverse=True)
    numbers = numbers.reshape(2, -1)
    name[patches] = patches[_joined(len(patches), numbers.min(axis=0), numbers.max(axis=0))]
    return name[name]
