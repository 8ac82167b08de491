"""What probabilities are worth: calibration, ranking, and the threshold that would have been best.

All figures come from one histogram of probability (whole percent, as on disk) by reference class, which adds up
over windows and loses nothing but what rounding to percent took.
"""

import math
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import as_classes, blocks, ratio
from isamap.domain.classes import UNLABELLED
from isamap.errors import InputError

PERCENTS = np.arange(101)
NOT_SCORED = 127
BINS = 10


@dataclass(frozen=True, eq=False)
class Curve:
    """Reliability curve: what was predicted and what was found, bin by bin."""

    predicted: NDArray[np.float64]
    """Mean probability; the middle of an empty bin."""
    observed: NDArray[np.float64]
    """Share that is ISA in the reference, NaN in an empty bin."""
    count: NDArray[np.int64]
    """Pixels."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """Probabilities against a reference; add histograms of parts to get that of the whole."""

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 101), np.int64))
    """(2, 101): pixels that are not ISA and that are ISA in the reference, by percent."""

    @classmethod
    def count(cls, probability: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Self:
        """Compare two arrays of one shape.

        Args:
            probability: percent, 0-100; 255 nodata.
            reference: 1 ISA, 0 not, 255 not to be scored.

        Raises:
            InputError: a probability between 101 and 254.
            ValueError: the shapes differ.
        """
        counts = np.zeros((2, 128), np.int64)
        for percent, truth in blocks(probability, as_classes(reference)):
            if ((percent > 100) & (percent < UNLABELLED)).any():
                above = int(percent[percent < UNLABELLED].max())
                raise InputError(f"{above} is no probability: expected percent, 0-100, or 255 for nodata")
            counts += _histogram(percent, truth)
        return cls(counts[:, :101])

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(self.counts + other.counts)

    @property
    def n(self) -> int:
        """Pixels that were scored."""
        return int(self.counts.sum())

    @property
    def brier(self) -> float:
        """Mean squared difference of probability and outcome (Brier 1950)."""
        off = (PERCENTS / 100) ** 2, (1 - PERCENTS / 100) ** 2
        return ratio(float(self.counts[0] @ off[0] + self.counts[1] @ off[1]), self.n)

    def curve(self, bins: int = BINS) -> Curve:
        """Reliability curve over bins of equal width; each holds its upper end, the first one 0 as well."""
        which = np.maximum(0, -(-PERCENTS * bins // 100) - 1)
        totals = self.counts.sum(axis=0)
        promised, found, count = (
            np.bincount(which, weights=weights, minlength=bins)
            for weights in (totals * PERCENTS / 100, self.counts[1], totals)
        )
        filled = count > 0
        predicted, observed = (np.arange(bins) + 0.5) / bins, np.full(bins, np.nan)
        np.divide(promised, count, out=predicted, where=filled)
        np.divide(found, count, out=observed, where=filled)
        return Curve(predicted, observed, count.astype(np.int64))

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of predicted and observed, weighted by pixels.

        Of the probability of ISA, in ten bins of equal width (Naeini et al. 2015, Guo et al. 2017).
        """
        curve = self.curve()
        return ratio(float(np.nansum(curve.count * np.abs(curve.predicted - curve.observed))), self.n)

    @property
    def average_precision(self) -> float:
        """Area under the precision-recall curve as the sum of precision x step of recall over the thresholds.

        NaN unless the reference has both classes. The figure of a map that knows nothing is the share of ISA.
        """
        isa, rest = self._at_least(1), self._at_least(0)
        if not (isa[0] and rest[0]):
            return math.nan
        flagged = isa + rest
        precision = np.divide(isa, flagged, out=np.zeros(101), where=flagged > 0)
        return float(precision @ self.counts[1] / isa[0])

    def best_threshold(self) -> float:
        """Probability from which calling ISA gives the best F1, and thereby the best IoU (F1 = 2 IoU / (1 + IoU)).

        The lowest of equals; NaN if the reference has no ISA.
        """
        isa, rest = self._at_least(1), self._at_least(0)
        return float(np.argmax(2 * isa / (isa[0] + isa + rest))) / 100 if isa[0] else math.nan

    def _at_least(self, truth: int) -> NDArray[np.int64]:
        """Pixels of one class of the reference with at least 0, 1, ... 100 percent."""
        return np.cumsum(self.counts[truth, ::-1])[::-1]


def _histogram(percent: NDArray[np.uint8], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(2, 128): pixels by class and percent, at 127 those not to be scored.

    Pixels are counted two at a time, as 16-bit numbers: half as many increments.
    """
    codes = np.full(percent.size + percent.size % 2, NOT_SCORED, np.uint8)
    np.bitwise_or(percent, truth << 7, out=codes[: percent.size])
    codes[: percent.size][(percent > 100) | (truth > 1)] = NOT_SCORED
    pairs = np.bincount(codes.view(np.uint16), minlength=1 << 16).reshape(256, 256)
    histogram: NDArray[np.int64] = (pairs.sum(axis=0) + pairs.sum(axis=1)).reshape(2, 128)
    return histogram
