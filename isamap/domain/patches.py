"""Connected patches of pixels, as runs of rows, and which of them are too small to be shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.words import WORD_PX

Places = NDArray[np.intp]


def padded(width: int) -> int:
    """Pixels of a row of whole words, behind which comes one that holds no pixel."""
    return (-(-width // WORD_PX) + 1) * WORD_PX


@dataclass(frozen=True)
class Runs:
    """Pixels side by side, row by row, as their beginnings and ends."""

    starts: Places
    """First pixels, as places in a plane of rows of `padded(width)` pixels, ascending."""
    ends: Places
    """Places behind the last pixels."""
    shape: tuple[int, int]
    """Rows, and pixels of a row."""

    @classmethod
    def of_words(cls, places: Places, words: NDArray[np.uint64], shape: tuple[int, int]) -> Self:
        """Runs in the words that hold any.

        Args:
            places: which of the words that make up the rows, ascending.
            words: a byte per pixel, the first one lowest: 1 in a run, else 0.
            shape: rows, and pixels of a row.
        """
        places = places + places // -(-shape[1] // WORD_PX)  # a word more in each row
        joined = places[1:] == places[:-1] + 1
        before, after = words << np.uint64(8), words >> np.uint64(8)
        before[1:] |= (words[:-1] >> np.uint64(56)) * joined
        after[:-1] |= (words[1:] << np.uint64(56)) * joined
        starts, ends = (_pixels_of(places, words & ~beside) for beside in (before, after))
        return cls(starts, ends + 1, shape)

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_]) -> Self:
        """Runs of True in a mask `(y, x)`."""
        height, width = mask.shape
        whole = np.zeros((height, -(-width // WORD_PX) * WORD_PX), np.bool_)
        whole[:, :width] = mask
        words: NDArray[np.uint64] = whole.reshape(-1).view("<u8")
        places = np.flatnonzero(words != 0)
        return cls.of_words(places, words[places], (height, width))

    def rows(self, top: int, bottom: int) -> "Runs":
        """Those of some rows."""
        stride = padded(self.shape[1])
        first, last = np.searchsorted(self.starts, (top * stride, bottom * stride))
        starts, ends = (places[first:last] - top * stride for places in (self.starts, self.ends))
        return Runs(starts, ends, (bottom - top, self.shape[1]))

    def pixels(self) -> tuple[Places, Places]:
        """Row and column of each pixel, ascending."""
        lengths = self.ends - self.starts
        rows, cols = np.divmod(self.starts, padded(self.shape[1]))
        return np.repeat(rows, lengths), spread(cols, lengths)


def _pixels_of(places: Places, words: NDArray[np.uint64]) -> Places:
    """Places of the pixels that are 1, in words that mostly are 0."""
    some = np.flatnonzero(words != 0)
    pixels = np.flatnonzero(words[some].view(np.bool_))
    found: Places = places[some[pixels // WORD_PX]] * WORD_PX + pixels % WORD_PX
    return found


def spread(starts: Places, lengths: Places) -> Places:
    """Each start and the numbers that follow it."""
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places: Places = np.repeat(starts, lengths) + within
    return places


def stacked(parts: Sequence[Runs]) -> Runs:
    """Runs of strips of one width, each below the one before."""
    width = parts[0].shape[1]
    tops = np.cumsum([0, *(part.shape[0] for part in parts)])
    shifts = (tops * padded(width)).tolist()
    starts, ends = (
        np.concatenate([places + shift for places, shift in zip(each, shifts, strict=False)])
        for each in ([part.starts for part in parts], [part.ends for part in parts])
    )
    return Runs(starts, ends, (int(tops[-1]), width))


def small_patches(runs: Runs, min_px: int) -> Runs:
    """Runs of 8-connected patches of fewer than `min_px` pixels; patches at the edge are kept.

    A patch that reaches the edge may go on beyond it. So a window read with a margin of `min_px - 1` pixels gives
    its inner pixels the answer that the whole raster would give: no patch that small reaches across the margin.
    """
    starts, ends, (height, width) = runs.starts, runs.ends, runs.shape
    stride = padded(width)
    patch = _joined(len(starts), *_touching(starts, ends, stride))
    size = np.bincount(patch, ends - starts, minlength=len(starts))
    small = np.flatnonzero(size[patch] < min_px)
    begin, end = starts[small], ends[small]
    at_edge = (
        (begin < stride) | (begin >= (height - 1) * stride) | (begin % stride == 0) | (end % stride == width)
    )
    kept = np.zeros(len(starts), np.bool_)
    kept[patch[small[at_edge]]] = True
    chosen = small[~kept[patch[small]]]
    return Runs(starts[chosen], ends[chosen], runs.shape)


def _touching(starts: Places, ends: Places, stride: int) -> tuple[Places, Places]:
    """Pairs of runs of neighbouring rows that touch, also by a corner."""
    first = np.searchsorted(ends, starts - stride, side="left")
    last = np.searchsorted(starts, ends - stride, side="right")
    count = np.maximum(last - first, 0)
    return spread(first, count), np.repeat(np.arange(len(starts)), count)


def _joined(count: int, one: Places, other: Places) -> Places:
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
