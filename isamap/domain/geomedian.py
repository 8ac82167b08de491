"""Geometric median of multi-band looks: the spectrum with the smallest sum of distances to all clear looks.

Weiszfeld's iteration in float64 with the step of Vardi and Zhang (2000, doi 10.1073/pnas.97.4.1423) where the estimate
meets a look. The rule is fixed: start at the mean, stop when a step is shorter than STEP, after MAX_STEPS at the latest.
"""

import numpy as np
from numpy.typing import NDArray

STEP = 0.01
"""DN; rounding to whole DN hides what is left."""
MAX_STEPS = 200
MEETS = 1e-6
"""DN; a look nearer than this to the estimate is met."""


def geometric_median(looks: NDArray[np.uint16], clear: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Geometric median of each pixel, rounded, 1 to 65534; 0 where there is no clear look.

    Args:
        looks: uint16, (n, band, pixel).
        clear: (n, pixel).
    """
    points, weight = _gathered(looks, clear)
    count = clear.sum(axis=0)
    estimate = points.sum(axis=0) / np.maximum(count, 1)  # absent looks are 0
    where = np.flatnonzero(count > 2)  # the mean of one or two looks is their geometric median
    points, weight, going = points[..., where], weight[:, where], np.ones(where.size, bool)
    for _ in range(MAX_STEPS):
        if not where.size:
            break
        before = estimate[:, where]
        after = np.where(going, _step(points, weight, before), before)
        estimate[:, where] = after
        going &= np.sqrt(((after - before) ** 2).sum(axis=0)) >= STEP
        if 2 * np.count_nonzero(going) < going.size:  # copying the rest costs a step: only when half are done
            where, points, weight, going = where[going], points[..., going], weight[:, going], going[going]
    rounded = np.clip(np.floor(estimate + 0.5), 1, np.iinfo(np.uint16).max - 1).astype(np.uint16)
    return np.where(count > 0, rounded, np.uint16(0))


def _gathered(
    looks: NDArray[np.uint16], clear: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Clear looks of each pixel first, in order of the scenes, the rest cut off; absent ones 0 with weight 0."""
    most = int(clear.sum(axis=0).max(initial=0))
    order = np.argsort(~clear, axis=0, kind="stable")[:most]
    there = np.take_along_axis(clear, order, axis=0)
    points = np.take_along_axis(looks, order[:, None], axis=0).astype(np.float64)
    points *= there[:, None]
    return points, there.astype(np.float64)


def _step(
    points: NDArray[np.float64], weight: NDArray[np.float64], estimate: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The next estimate.

    Args:
        points: (n, band, pixel).
        weight: 1 for a look, 0 for none, (n, pixel).
        estimate: (band, pixel).
    """
    distance = np.zeros_like(weight)
    for band, value in enumerate(estimate):
        distance += (points[:, band] - value) ** 2
    np.sqrt(distance, out=distance)
    met = distance < MEETS
    pull = np.divide(weight, distance, out=np.zeros_like(weight), where=~met)
    total = pull.sum(axis=0)
    weighted = np.stack([(pull * points[:, band]).sum(axis=0) for band in range(estimate.shape[0])])
    target: NDArray[np.float64] = np.divide(weighted, total, out=estimate.copy(), where=total > 0)
    multiplicity = (met * weight).sum(axis=0)
    if not multiplicity.any():
        return target
    force = total * np.sqrt(((target - estimate) ** 2).sum(axis=0))
    held: NDArray[np.float64] = np.divide(
        multiplicity, force, out=np.ones_like(force), where=force > multiplicity
    )
    held[multiplicity == 0] = 0
    target += held * (estimate - target)
    return target
