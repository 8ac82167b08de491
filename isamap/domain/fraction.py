"""Agreement of ISA shares at a coarse support, so that 10 to 100 m products are judged on their own ground.

Aggregation also takes away most of the effect of a shift of a pixel or two. Figures as in percent-cover
assessments (mean deviation, mean absolute deviation, RMSE, regression); shares are fractions, 0 to 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import ratio
from isamap.domain.bits import UNKNOWN, Bits, both, packed, plane_of
from isamap.domain.cell_sums import cell_sums, joined

CONSTANT = 1e-20
"""Variance of shares that all are the same but for rounding: there is nothing to correlate with."""


def shares(isa: NDArray[np.uint8], factor: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """ISA share of square cells, and how much of each cell is known.

    Cells at the lower and right edge may be cut short; what is missing of them counts as unknown. Windows of one
    raster have to begin on multiples of `factor`.

    Args:
        isa: (Y, X), 1 ISA, 0 not, anything above unknown.
        factor: pixels on a side of a cell, e.g. 10, 30 or 100 at 1 m.

    Returns:
        share of the known pixels that is ISA, NaN where none is known; and share of the cell that is known.
        Both (ceil(Y / factor), ceil(X / factor)).

    Raises:
        ValueError: `factor` is less than 1.
    """
    if factor < 1:
        raise ValueError(f"a cell has at least one pixel on a side, not {factor}")
    window = slice(0, isa.shape[0]), slice(0, isa.shape[1])
    known = cell_sums(plane_of(isa < UNKNOWN), window, factor)
    return _share(cell_sums(plane_of(isa == 1), window, factor), known), (known / factor**2).astype(
        np.float32
    )


def _share(isa: NDArray[np.int64], known: NDArray[np.int64]) -> NDArray[np.float32]:
    """Share of the known pixels of each cell, NaN where none is known."""
    with np.errstate(invalid="ignore"):
        share: NDArray[np.float32] = (isa / known).astype(np.float32)
    return share


def _paired_sums(
    mapped: Bits, reference: Bits, window: tuple[slice, slice], factor: int
) -> NDArray[np.int64]:
    """ISA of the map, ISA of the reference and pixels that both know, per cell: shape (3, y, x)."""
    shape = window[0].stop - window[0].start, window[1].stop - window[1].start
    planes = mapped.isa, reference.isa, reference.known
    return np.stack(
        [_full(shape, factor) if plane is None else cell_sums(plane, window, factor) for plane in planes]
    )


def _full(shape: tuple[int, int], factor: int) -> NDArray[np.int64]:
    """Pixels of every cell of a window."""
    sides = (np.minimum(factor, side - np.arange(0, side, factor)) for side in shape)
    return np.multiply.outer(*sides)


def _weighted(weight: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Weighted sum, the same on any number of cores; BLAS would also keep them all spinning."""
    return float((weight * values).sum())


@dataclass(frozen=True)
class FractionScore:
    """Paired ISA shares of map and reference; add scores of parts to get the score of the whole.

    Means and second moments are kept about the mean, and joined as in Chan, Golub and LeVeque (1983): raw sums
    of squares would lose the variance of nearly constant shares in rounding.
    """

    n: int = 0
    """Cells that were scored."""
    weight: float = 0
    """Sum of their weights."""
    mean_map: float = 0
    """Weighted mean of the map's shares; 0 before anything was counted."""
    mean_reference: float = 0
    """Weighted mean of the reference's shares."""
    spread_reference: float = 0
    """Weighted sum of squares of the reference about its mean."""
    joint: float = 0
    """Weighted sum of products of both about their means."""
    absolute: float = 0
    """Weighted sum of absolute differences."""
    squared: float = 0
    """Weighted sum of squared differences."""

    @classmethod
    def count(
        cls, mapped: NDArray[Any], reference: NDArray[Any], weight: NDArray[np.floating[Any]] | None = None
    ) -> Self:
        """Compare shares of one shape.

        Args:
            mapped: shares of the map, 0-1; NaN where unknown.
            reference: shares of the reference, 0-1; NaN where unknown.
            weight: of each cell, its valid share for example; 1 if left out. A cell without weight is not scored.

        Raises:
            ValueError: the shapes differ.
        """
        weight = np.ones(mapped.shape) if weight is None else weight
        if not mapped.shape == reference.shape == weight.shape:
            raise ValueError(f"shapes differ: {mapped.shape}, {reference.shape}, {weight.shape}")
        scored = np.isfinite(mapped) & np.isfinite(reference) & (weight > 0)
        m, r, w = (array[scored].astype(np.float64) for array in (mapped, reference, weight))
        if not w.size:
            return cls()
        total = float(w.sum())
        mean_map, mean_reference = _weighted(w, m) / total, _weighted(w, r) / total
        off_map, off_reference, difference = m - mean_map, r - mean_reference, m - r
        return cls(
            n=w.size,
            weight=total,
            mean_map=mean_map,
            mean_reference=mean_reference,
            spread_reference=_weighted(w, off_reference**2),
            joint=_weighted(w, off_map * off_reference),
            absolute=_weighted(w, np.abs(difference)),
            squared=_weighted(w, difference**2),
        )

    @classmethod
    def compare_all(
        cls, mapped: NDArray[np.uint8], reference: NDArray[np.uint8], factors: Sequence[int]
    ) -> dict[int, Self]:
        """Compare two class rasters by the shares of their cells, on the ground that both know.

        Args:
            mapped: (Y, X), 1 ISA, 0 not, anything above unknown.
            reference: the same ground in the same terms.
            factors: pixels on a side of a cell, ascending.

        Raises:
            ValueError: the shapes differ.
        """
        if mapped.shape != reference.shape:
            raise ValueError(f"shapes differ: {mapped.shape}, {reference.shape}")
        one, other = packed(mapped), packed(reference)
        known = both(one.known, other.known)
        window = slice(0, mapped.shape[0]), slice(0, mapped.shape[1])
        return cls.compare_bits(one.on(known), other.on(known), window, factors)

    @classmethod
    def compare_bits(
        cls, mapped: Bits, reference: Bits, window: tuple[slice, slice], factors: Sequence[int]
    ) -> dict[int, Self]:
        """The same of bits; cells that are multiples of smaller ones are added up from their sums.

        Args:
            mapped: what the map says, on ground that both know.
            reference: what the reference says there.
            window: rows and columns that count.
            factors: pixels on a side of a cell, ascending.
        """
        sums: dict[int, NDArray[np.int64]] = {}
        for factor in factors:
            finer = max((done for done in sums if factor % done == 0), default=0)
            sums[factor] = (
                joined(sums[finer], factor // finer)
                if finer
                else _paired_sums(mapped, reference, window, factor)
            )
        return {
            factor: cls.count(_share(m, whole), _share(r, whole), (whole / factor**2).astype(np.float32))
            for factor, (m, r, whole) in sums.items()
        }

    def __add__(self, other: "FractionScore") -> "FractionScore":
        weight = self.weight + other.weight
        part = other.weight / weight if weight else 0.0
        step_map, step_reference = other.mean_map - self.mean_map, other.mean_reference - self.mean_reference
        between = self.weight * part
        return FractionScore(
            n=self.n + other.n,
            weight=weight,
            mean_map=self.mean_map + part * step_map,
            mean_reference=self.mean_reference + part * step_reference,
            spread_reference=self.spread_reference + other.spread_reference + between * step_reference**2,
            joint=self.joint + other.joint + between * step_map * step_reference,
            absolute=self.absolute + other.absolute,
            squared=self.squared + other.squared,
        )

    @property
    def mae(self) -> float:
        """Mean absolute difference."""
        return ratio(self.absolute, self.weight)

    @property
    def rmse(self) -> float:
        """Root of the mean squared difference."""
        return math.sqrt(ratio(self.squared, self.weight))

    @property
    def bias(self) -> float:
        """Mean of the map minus mean of the reference."""
        return self.mean_map - self.mean_reference if self.weight else math.nan

    @property
    def r2(self) -> float:
        """Share of the reference's variance that the map explains: 1 - squared differences / variance.

        Bias and scale errors count against the map, so it can be negative; it is not the square of the correlation.
        NaN where the reference is the same everywhere.
        """
        return 1 - self.squared / self.spread_reference if self._varies(self.spread_reference) else math.nan

    @property
    def slope(self) -> float:
        """Slope of the least-squares line of the map on the reference; below 1, contrasts are flattened."""
        return self.joint / self.spread_reference if self._varies(self.spread_reference) else math.nan

    def _varies(self, spread: float) -> bool:
        return spread > CONSTANT * self.weight
