"""Accuracy of a two-class map against a reference, from one confusion matrix.

Definitions as in Congalton and Green (2019); ISA is the positive class. Percentages nowhere, fractions always.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

UNLABELLED = 255


def _ratio(part: float, whole: float) -> float:
    """Part / whole, 0 where nothing was counted."""
    return part / whole if whole else 0.0


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

    @classmethod
    def count(
        cls,
        mapped: NDArray[np.bool_],
        reference: NDArray[np.uint8],
        weight: NDArray[np.float64] | None = None,
    ) -> Self:
        """Compare two arrays of one shape.

        Args:
            mapped: True where the map says ISA.
            reference: 1 ISA, 0 not, 255 not to be scored.
            weight: of each element, e.g. the inverse of its inclusion probability; 1 if left out.
        """
        cells = [mapped & (reference == 1), mapped & (reference == 0)]
        cells += [~mapped & (reference == 1), ~mapped & (reference == 0)]
        if weight is None:
            return cls(*(float(np.count_nonzero(cell)) for cell in cells))
        return cls(*(float(weight[cell].sum()) for cell in cells))

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(
            self.hit + other.hit, self.alarm + other.alarm, self.miss + other.miss, self.quiet + other.quiet
        )

    @property
    def precision(self) -> float:
        """Share of the mapped ISA that is ISA (user's accuracy)."""
        return _ratio(self.hit, self.hit + self.alarm)

    @property
    def recall(self) -> float:
        """Share of the ISA that is mapped (producer's accuracy)."""
        return _ratio(self.hit, self.hit + self.miss)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall of ISA."""
        return _ratio(2 * self.hit, 2 * self.hit + self.alarm + self.miss)

    @property
    def iou(self) -> float:
        """Intersection over union of ISA (Jaccard index)."""
        return _ratio(self.hit, self.hit + self.alarm + self.miss)

    @property
    def mean_f1(self) -> float:
        """Mean of the F1 of ISA and the F1 of the rest: the figure papers like to quote."""
        return (self.f1 + _ratio(2 * self.quiet, 2 * self.quiet + self.alarm + self.miss)) / 2

    @property
    def overall(self) -> float:
        """Share of what is mapped right."""
        return _ratio(self.hit + self.quiet, self.hit + self.alarm + self.miss + self.quiet)

    @property
    def isa_share(self) -> float:
        """Share of the ground that the map calls ISA."""
        return _ratio(self.hit + self.alarm, self.hit + self.alarm + self.miss + self.quiet)
