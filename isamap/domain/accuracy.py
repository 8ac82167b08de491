"""Accuracy of a two-class map against a reference, from one confusion matrix.

Definitions as in Congalton and Green (2019); ISA is the positive class. Percentages nowhere, fractions always.
A figure that divides by nothing is NaN, never a silent number: a map without ISA has no precision.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import compress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.classes import UNLABELLED

WORD_BYTES = 8
GROUP_PX, BLOCK_PX = 1 << 20, 1 << 18
"""Elements that are counted together, and packed at a time: so many that numpy's calls cost nothing beside the work,
so few that their scratch memory stays in the processor's cache (measured: `tests/bench/confusion.py`)."""


def ratio(part: float, whole: float) -> float:
    """Part / whole, NaN where the whole is nothing."""
    return part / whole if whole else math.nan


def blocks(*arrays: NDArray[Any], size: int = BLOCK_PX) -> Iterator[tuple[NDArray[Any], ...]]:
    """Arrays of one shape, flattened, about `size` elements at a time; cut along the first axis.

    Raises:
        ValueError: the shapes differ.
    """
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        raise ValueError(f"arrays of different shapes cannot be compared: {sorted(shapes)}")
    flat = tuple(np.atleast_1d(array) for array in arrays)
    if not flat[0].size:
        return
    step = max(1, size * len(flat[0]) // flat[0].size)
    for top in range(0, len(flat[0]), step):
        yield tuple(array[top : top + step].reshape(-1) for array in flat)


def as_classes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of any integer or boolean type as uint8: 0, 1, and 2 or above for what is not to be scored."""
    if values.dtype == np.bool_:
        return values.view(np.uint8)
    if values.dtype == np.uint8:
        return values
    return np.where((values == 0) | (values == 1), values, UNLABELLED).astype(np.uint8)


@dataclass(frozen=True)
class Confusion:
    """Counts (or weights) of map against reference; add matrices of parts to get the matrix of the whole."""

    hit: float = 0
    """ISA in map and reference."""
    alarm: float = 0
    """ISA in the map only."""
    miss: float = 0
    """ISA in the reference only."""
    quiet: float = 0
    """ISA in neither."""
    map_excess: float = 0
    """ISA in elements that the shares of the map hold beyond its ISA elements: shares are cut at a half to be counted."""
    reference_excess: float = 0
    """The same of the reference; both are 0 where classes are compared."""

    @classmethod
    def count(
        cls,
        mapped: NDArray[np.bool_] | NDArray[np.uint8],
        reference: NDArray[np.uint8],
        weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Compare two arrays of one shape.

        Args:
            mapped: True or 1 where the map says ISA, 255 where it says nothing.
            reference: 1 ISA, 0 not, 255 not to be scored. An element where either array is neither 0 nor 1
                does not count.
            weight: of each element, e.g. the inverse of its inclusion probability; 1 if left out.

        Raises:
            ValueError: the shapes differ.
        """
        mapped, reference = as_classes(mapped), as_classes(reference)
        if weight is None:
            tally = _Tally()
            for part in blocks(mapped, reference, size=GROUP_PX):
                tally.add(*part)
            return cls(*tally.cells())
        if not mapped.shape == reference.shape == weight.shape:
            raise ValueError(f"shapes differ: {mapped.shape}, {reference.shape}, {weight.shape}")
        pairs = ((1, 1), (1, 0), (0, 1), (0, 0))
        return cls(*(float(weight[(mapped == m) & (reference == r)].sum()) for m, r in pairs))

    @classmethod
    def of_bits(
        cls,
        mapped: NDArray[np.unsignedinteger[Any]],
        reference: NDArray[np.unsignedinteger[Any]],
        pixels: int,
    ) -> Self:
        """Compare bits, set where there is ISA, of ground that counts; others are not set.

        Args:
            mapped: of the map.
            reference: of the reference, shaped likewise.
            pixels: how many count.
        """
        n_isa, n_true, hit = set_bits(mapped), set_bits(reference), set_bits(mapped & reference)
        quiet = pixels - n_isa - n_true + hit
        return cls(float(hit), float(n_isa - hit), float(n_true - hit), float(quiet))

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(
            self.hit + other.hit,
            self.alarm + other.alarm,
            self.miss + other.miss,
            self.quiet + other.quiet,
            self.map_excess + other.map_excess,
            self.reference_excess + other.reference_excess,
        )

    @property
    def total(self) -> float:
        """All that was scored."""
        return self.hit + self.alarm + self.miss + self.quiet

    @property
    def precision(self) -> float:
        """Share of the mapped ISA that is ISA (user's accuracy)."""
        return ratio(self.hit, self.hit + self.alarm)

    @property
    def recall(self) -> float:
        """Share of the ISA that is mapped (producer's accuracy)."""
        return ratio(self.hit, self.hit + self.miss)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall of ISA; 0 where ISA was mapped or missed, but never hit."""
        return ratio(2 * self.hit, 2 * self.hit + self.alarm + self.miss)

    @property
    def iou(self) -> float:
        """Intersection over union of ISA (Jaccard index); 0 where ISA was mapped or missed, but never hit."""
        return ratio(self.hit, self.hit + self.alarm + self.miss)

    @property
    def mean_f1(self) -> float:
        """Mean of the F1 of ISA and the F1 of the rest: the figure papers like to quote."""
        return (self.f1 + ratio(2 * self.quiet, 2 * self.quiet + self.alarm + self.miss)) / 2

    @property
    def overall(self) -> float:
        """Share of what is mapped right."""
        return ratio(self.hit + self.quiet, self.total)

    @property
    def kappa(self) -> float:
        """Agreement beyond chance (Cohen 1960); NaN where map and reference are all of one class."""
        chance = (self.hit + self.alarm) * (self.alarm + self.quiet)
        chance += (self.hit + self.miss) * (self.miss + self.quiet)
        return ratio(2 * (self.hit * self.quiet - self.alarm * self.miss), chance)

    @property
    def mcc(self) -> float:
        """Correlation of map and reference (Matthews 1975); NaN where either is all of one class."""
        spread = math.sqrt((self.hit + self.alarm) * (self.miss + self.quiet))
        spread *= math.sqrt((self.hit + self.miss) * (self.alarm + self.quiet))
        return ratio(self.hit * self.quiet - self.alarm * self.miss, spread)

    @property
    def isa_share(self) -> float:
        """Share of the ground that is ISA in the map, of its shares where it has some."""
        return ratio(self.hit + self.alarm + self.map_excess, self.total)

    @property
    def reference_share(self) -> float:
        """Share of the ground that is ISA in the reference, of its shares where it has some."""
        return ratio(self.hit + self.miss + self.reference_excess, self.total)

    @property
    def bias(self) -> float:
        """Share of ISA in the map minus share in the reference."""
        return ratio(self.alarm - self.miss + self.map_excess - self.reference_excess, self.total)

    @property
    def of_shares(self) -> bool:
        """Whether a side has shares that were cut."""
        return bool(self.map_excess or self.reference_excess)

    def metrics(self) -> dict[str, float]:
        """Every figure under its name, always in this order; NaN where undefined."""
        names = ("total", "precision", "recall", "f1", "iou", "mean_f1", "overall", "kappa", "mcc")
        return {name: getattr(self, name) for name in (*names, "isa_share", "reference_share", "bias")}


class _Tally:
    """Counts elements on one bit each, in scratch memory that is taken once.

    Two planes of bits hold whatever is not 0 in the map and in the reference, a third one what is not to be
    scored. Packing reads each block while it is in the cache; counting then touches an eighth of the memory.
    """

    def __init__(self) -> None:
        self._scored = self._mapped = self._truth = self._hit = 0
        self._planes = np.empty((3, 0), np.uint8)
        self._above = np.empty(0, np.uint8)
        self._gappy = [False, False]
        """Whether map and reference had gaps in the last block: then nobody looks whether this one has any."""

    def add(self, mapped: NDArray[np.uint8], reference: NDArray[np.uint8]) -> None:
        """Count two flat arrays: 0, 1, and 2 or above for what is not to be scored."""
        used = -(-mapped.size // 64) * 8
        if self._planes.shape[1] < used:
            self._planes, self._above = np.empty((3, used), np.uint8), np.empty(BLOCK_PX, np.uint8)
        planes, start, gaps = self._planes[:, :used], 0, False
        planes[:2, -8:] = 0
        for x, y in blocks(mapped, reference):
            at = slice(start, start := start + -(-x.size // 8))
            planes[0, at], planes[1, at] = np.packbits(x), np.packbits(y)
            self._gappy = [had or values.max() > 1 for had, values in zip(self._gappy, (x, y), strict=True)]
            if any(self._gappy):
                if not gaps:
                    planes[2], gaps = 0, True
                bits = self._unscored(*compress((x, y), self._gappy))
                planes[2, at] = bits
                if not bits.any():
                    self._gappy = [False, False]
        isa, truth, unscored = planes.view(np.uint64)
        self._scored += mapped.size
        if gaps:
            self._scored -= set_bits(unscored)
            planes[:2] &= np.invert(planes[2], out=planes[2])
        self._mapped, self._truth = self._mapped + set_bits(isa), self._truth + set_bits(truth)
        self._hit += set_bits(np.bitwise_and(isa, truth, out=isa))

    def _unscored(self, *gappy: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Packed bits of the elements where one array, or either of two, is above 1."""
        above = self._above[: gappy[0].size]
        either = np.bitwise_or(*gappy, out=above) if len(gappy) == 2 else gappy[0]
        return np.packbits(np.bitwise_and(either, 0b11111110, out=above))

    def cells(self) -> tuple[float, float, float, float]:
        """Hits, alarms, misses and quiet elements."""
        alarm, miss = self._mapped - self._hit, self._truth - self._hit
        return float(self._hit), float(alarm), float(miss), float(self._scored - self._hit - alarm - miss)


def set_bits(words: NDArray[np.unsignedinteger[Any]]) -> int:
    """Number of bits that are 1, of at most 2^32 of them: sums of 32 bits take half the time of others."""
    if words.itemsize == 1 and words.size % WORD_BYTES == 0 and words.flags.c_contiguous:
        words = words.reshape(-1).view(np.uint64)
    return int(np.bitwise_count(words).sum(dtype=np.uint32))
