"""Estimates of a part of the ground, such as an administrative unit, from the points that lie in it.

A part is a domain: its points stand for what they stand for in the whole, and its shares are ratios of two estimated
totals (Cochran 1977, Sampling Techniques, sections 2.13 and 5A.14). Where its size N is known, its area of a class is

    A = N sum_h N_h mean_h(y in the part) / sum_h N_h mean_h(1 in the part),  SE(A) = N SE(ratio)

(Saerndal et al. 1992, Model Assisted Survey Sampling, section 10.3). Otherwise it is the numerator alone, which also
estimates the size: the more or fewer points happen to lie, or to be labelled, in the part, the larger or smaller it is.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isamap.domain.estimation import Estimate, SampleAccuracy, Stratum, estimate, ratio

ELSEWHERE = 2
"""Class of points outside the part."""


def estimate_part(
    strata: Sequence[Stratum],
    stratum: NDArray[np.int64],
    classes: tuple[NDArray[np.int64], NDArray[np.int64]],
    inside: NDArray[np.bool_],
    size: float | None = None,
) -> SampleAccuracy:
    """Accuracy of a map of two classes, and their areas, in a part of the ground.

    Args:
        strata: what was sampled, with sizes.
        stratum: index into `strata` of each unit, shape (unit,).
        classes: mapped and observed class of each unit, 0 or 1.
        inside: units in the part; without any, all figures are NaN.
        size: of the part, in the unit of the strata; None: it is estimated with the areas.

    Raises:
        InputError: as `estimate`.
    """
    mapped, observed = (np.where(inside, one, ELSEWHERE) for one in classes)
    found = estimate(strata, stratum, mapped, observed, classes=(0, 1, ELSEWHERE))
    here = inside.astype(np.float64)

    def share(units: NDArray[np.bool_]) -> Estimate:
        return ratio(strata, stratum, (units & inside).astype(np.float64), here).as_share()

    if size is not None:
        area = {code: share(observed == code).times(size) for code in (0, 1)}
    elif inside.any():
        area = found.area
    else:
        area = dict.fromkeys((0, 1), Estimate(math.nan, math.nan))
    return replace(found, overall=share(mapped == observed), area=area)
