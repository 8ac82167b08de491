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
    def of_bits(cls, places: Places, bits: NDArray[np.uint8], shape: tuple[int, int]) -> Self:
        """Runs in the words that hold any.

        Args:
            places: which of the words that make up the rows, ascending.
            bits: a bit per pixel, the first one lowest: 1 in a run, else 0.
            shape: rows, and pixels of a row.
        """
        octets = -(-shape[1] // WORD_PX)
        in_rows = np.diff(np.searchsorted(places, np.arange(shape[0] + 1) * octets))
        places = places + np.repeat(np.arange(shape[0]), in_rows)  # a word more in each row
        joined = places[1:] == places[:-1] + 1
        before, after = bits << 1, bits >> 1
        before[1:] |= (bits[:-1] >> 7) * joined
        after[:-1] |= (bits[1:] << 7) * joined
        starts, ends = (_pixels_of(places, bits & ~beside) for beside in (before, after))
        return cls(starts, ends + 1, shape)

    @classmethod
    def of_mask(cls, mask: NDArray[np.bool_]) -> Self:
        """Runs of True in a mask `(y, x)`."""
        bits = np.packbits(mask, axis=1, bitorder="little").reshape(-1)
        places = np.flatnonzero(bits)
        return cls.of_bits(places, bits[places], (mask.shape[0], mask.shape[1]))

    def rows(self, top: int, bottom: int) -> "Runs":
        """Those of some rows."""
        stride = padded(self.shape[1])
        first, last = np.searchsorted(self.starts, (top * stride, bottom * stride))
        starts, ends = (places[first:last] - top * stride for places in (self.starts, self.ends))
        return Runs(starts, ends, (bottom - top, self.shape[1]))

    def chosen(self, which: Places) -> "Runs":
        """Some of them, ascending."""
        return Runs(self.starts[which], self.ends[which], self.shape)

    def pixels(self) -> tuple[Places, Places]:
        """Row and column of each pixel, ascending."""
        lengths = self.ends - self.starts
        rows, cols = np.divmod(self.starts, padded(self.shape[1]))
        return np.repeat(rows, lengths), spread(cols, lengths)


def _pixels_of(places: Places, bits: NDArray[np.uint8]) -> Places:
    """Places of the pixels that are 1, in words that mostly are 0."""
    some = np.flatnonzero(bits != 0)
    pixels = np.flatnonzero(np.unpackbits(bits[some], bitorder="little").view(np.bool_))
    found: Places = places[some[pixels >> 3]] * WORD_PX + (pixels & 7)
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


@dataclass(frozen=True)
class Rim:
    """Runs of a strip that its neighbours may join."""

    runs: Runs
    """All of them."""
    weights: NDArray[np.float64]
    """Pixels that each counts as; one of a patch that is large already counts as a large patch."""


@dataclass(frozen=True)
class Patches:
    """The 8-connected patches that runs make up."""

    runs: Runs
    """All of them."""
    patch: Places
    """Patch that each is part of, named by its first run."""
    size: NDArray[np.float64]
    """Pixels of that patch."""

    @classmethod
    def of(cls, runs: Runs, weights: NDArray[np.float64] | None = None) -> Self:
        """The patches of runs that count as many pixels as they have, or as `weights` says."""
        count = len(runs.starts)
        patch = _joined(count, *_touching(runs.starts, runs.ends, padded(runs.shape[1])))
        weights = runs.ends - runs.starts if weights is None else weights
        return cls(runs, patch, np.bincount(patch, weights, minlength=count)[patch])

    def small(self, min_px: int) -> Runs:
        """Those of fewer than `min_px` pixels, but none at the edge, which may go on beyond it."""
        starts, ends, (height, width) = self.runs.starts, self.runs.ends, self.runs.shape
        stride = padded(width)
        small = np.flatnonzero(self.size < min_px)
        begin, end = starts[small], ends[small]
        at_edge = (
            (begin < stride)
            | (begin >= (height - 1) * stride)
            | (begin % stride == 0)
            | (end % stride == width)
        )
        return self.runs.chosen(small[~self._reached(small[at_edge])[small]])

    def rim(self, min_px: int) -> "Rim":
        """What runs above or below may join: small patches that reach them, and where large ones do."""
        starts, stride = self.runs.starts, padded(self.runs.shape[1])
        at_rim = np.zeros(len(starts), np.bool_)
        at_rim[: np.searchsorted(starts, stride)] = True
        at_rim[np.searchsorted(starts, (self.runs.shape[0] - 1) * stride) :] = True
        large = self.size >= min_px
        chosen = np.flatnonzero(at_rim | ~large & self._reached(np.flatnonzero(at_rim & ~large)))
        runs = self.runs.chosen(chosen)
        return Rim(runs, np.where(large[chosen], float(min_px), runs.ends - runs.starts))

    def _reached(self, some: Places) -> NDArray[np.bool_]:
        """Whether each run is in a patch that some runs are in."""
        named = np.zeros(len(self.patch), np.bool_)
        named[self.patch[some]] = True
        reached: NDArray[np.bool_] = named[self.patch]
        return reached


def small_patches(runs: Runs, min_px: int) -> Runs:
    """Runs of 8-connected patches of fewer than `min_px` pixels; patches at the edge are kept.

    A patch that reaches the edge may go on beyond it. So a window read with a margin of `min_px - 1` pixels gives
    its inner pixels the answer that the whole raster would give: no patch that small reaches across the margin.
    """
    return Patches.of(runs).small(min_px)


def small_at_rim(above: Sequence[Rim], here: Rim, below: Sequence[Rim], min_px: int) -> Runs:
    """Runs of a strip in patches that its neighbours join, and that are small all the same.

    Args:
        above: rim of the strip above, if there is one.
        here: that of the strip.
        below: likewise.
        min_px: pixels of a patch that is not small.
    """
    rims = [*above, here, *below]
    joined = Patches.of(stacked([rim.runs for rim in rims]), np.concatenate([rim.weights for rim in rims]))
    top = sum(rim.runs.shape[0] for rim in above)
    return joined.small(min_px).rows(top, top + here.runs.shape[0])


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
