"""Accuracy of impervious shares from a random sample of blocks whose share somebody has observed.

Nothing is called right or wrong: a block that is 40 % impervious and mapped as 35 % is 5 points off. All figures are
the ratio estimators of `estimation`, of shares instead of classes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isamap.domain.estimation import Estimate, Stratum, ratio


@dataclass(frozen=True)
class ShareAccuracy:
    """What a sample of blocks says about a map."""

    observed: Estimate
    """ISA share of the ground."""
    mapped: Estimate
    """ISA share that the map shows there."""
    bias: Estimate
    """Mapped minus observed."""
    mae: Estimate
    """Mean absolute difference of the shares of blocks."""
    rmse: Estimate
    """Root of their mean squared difference."""
    area: Estimate
    """Error-adjusted area of ISA, in the unit of the strata."""

    def measures(self) -> tuple[tuple[str, Estimate], ...]:
        """Name and value of every measure of agreement."""
        return (
            ("ISA share, observed", self.observed),
            ("ISA share, map", self.mapped),
            ("bias", self.bias),
            ("MAE", self.mae),
            ("RMSE", self.rmse),
        )


def estimate_shares(
    strata: Sequence[Stratum],
    stratum: NDArray[np.int64],
    mapped: NDArray[np.float64],
    observed: NDArray[np.float64],
    inside: NDArray[np.bool_] | None = None,
    size: float | None = None,
) -> ShareAccuracy:
    """Accuracy of shares and area of ISA, from blocks drawn at random within strata.

    A part of the ground is estimated as a domain (`estimation_parts`).

    Args:
        strata: what was sampled, with sizes.
        stratum: index into `strata` of each block, shape (block,).
        mapped: ISA share of each block in the map, 0-1.
        observed: the same by the reference.
        inside: the blocks of the part that is asked for; None: the whole.
        size: of that part, in the unit of the strata; None: it is estimated with the area.

    Raises:
        InputError: as `estimation.estimate`.
    """
    here = np.ones(len(observed)) if inside is None else inside.astype(np.float64)

    def mean(values: NDArray[np.float64]) -> Estimate:
        return ratio(strata, stratum, values * here, here)

    off = mapped - observed
    square = mean(off**2)
    share = mean(observed).as_share()
    rmse = math.sqrt(square.value)
    if not here.any():
        area = Estimate(math.nan, math.nan)
    elif size is None:
        area = ratio(strata, stratum, observed * here).as_share().times(sum(one.size for one in strata))
    else:
        area = share.times(size)
    return ShareAccuracy(
        observed=share,
        mapped=mean(mapped).as_share(),
        bias=replace(mean(off), limits=(-1.0, 1.0)),
        mae=mean(np.abs(off)).as_share(),
        rmse=Estimate(rmse, square.se / (2 * rmse) if rmse else 0.0).as_share(),  # delta method
        area=area,
    )
