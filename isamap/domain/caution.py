"""Intervals that do not trust a stratum in which hardly any error was met.

The normal interval of a share of which the sample met none has no width, whatever the stratum's size (decision 8). So
where a large stratum shows fewer than `FEW` misses, or alarms, it counts as no more certain than the score interval
(Wilson 1927, J. Am. Stat. Assoc. 22, 209-212) of their share says. Strata are joined as the variances of independent
parts are, each end by itself (Zou and Donner 2008, Stat. Med. 27, 1693-1702):

    low = R - sqrt(sum_h max(z^2 V_h, (R - R_h)^2)),

V_h what stratum h adds to the variance of R, and R_h the figure with the share of errors of h at the end of its score
interval that lowers it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import ratio
from isamap.domain.estimation import Design, Estimate, SampleAccuracy, Stratum, Z, design_of

FEW, LARGE = 10, 0.1
"""Errors of a kind, and share of the ground."""

Figure = Callable[[NDArray[np.float64]], float]
"""From estimated totals of hits, alarms, misses and the rest."""
HIT, ALARM, MISS, QUIET = range(4)


@dataclass(frozen=True)
class Rare:
    """A stratum that met few errors of one kind."""

    stratum: str
    """Its name."""
    kind: str
    """`misses`, or `false alarms`."""
    met: int
    """How many."""
    units: int
    """Of so many units."""


def cautious(
    found: SampleAccuracy,
    strata: Sequence[Stratum],
    stratum: NDArray[np.int64],
    mapped: NDArray[np.int64],
    observed: NDArray[np.int64],
) -> tuple[SampleAccuracy, tuple[Rare, ...]]:
    """Estimates of two classes with intervals that mind rare errors, and the strata they mind.

    Args:
        found: what `estimate` made of the same sample.
        strata: what was sampled.
        stratum: index into `strata` of each unit.
        mapped: 1 or 0.
        observed: 1 or 0.
    """
    design = design_of(strata, stratum)
    cells = np.array(
        [(mapped == m) & (observed == o) for m, o in ((1, 1), (1, 0), (0, 1), (0, 0))], np.float64
    )
    totals = np.array([design.size * design.means(cell) for cell in cells])  # (cell, stratum)
    moves, rare = _moves(design, cells, totals)
    if not moves:
        return found, ()
    names = [one.name for one in strata if one.size > 0]
    said = tuple(Rare(names[h], kind, met, int(design.count[h])) for h, kind, met in rare)

    def judged(one: Estimate, figure: Figure, weight: tuple[float, ...]) -> Estimate:
        """`weight`: of each kind of unit in the residual whose variance is that of the figure."""
        if not math.isfinite(one.value):
            return one
        normal = Z**2 * design.variances(np.array(weight) @ cells)
        low, high = normal.copy(), normal.copy()
        whole = totals.sum(axis=1)
        for h, change in moves:
            step = figure(whole + change) - one.value
            side = high if step > 0 else low
            side[h] = max(side[h], step**2)
        return replace(one, ends=(one.value - math.sqrt(low.sum()), one.value + math.sqrt(high.sum())))

    return _judged(found, totals.sum(axis=1), judged), said


def _moves(
    design: Design, cells: NDArray[np.float64], totals: NDArray[np.float64]
) -> tuple[list[tuple[int, NDArray[np.float64]]], list[tuple[int, str, int]]]:
    """Stratum and change of the totals if a rare error is as frequent, or as rare, as its score interval allows."""
    moves, rare = [], []
    for h in np.flatnonzero(design.size >= LARGE * design.size.sum()).tolist():
        n, here = int(design.count[h]), design.stratum == h
        for kind, error, right in (("misses", MISS, QUIET), ("false alarms", ALARM, HIT)):
            met = int(cells[error, here].sum())
            if met >= FEW or not (cells[error, here] + cells[right, here]).any():
                continue
            rare.append((h, kind, met))
            for end in score_interval(met, n):
                change = np.zeros(4)
                change[error] = min(design.size[h] * end - totals[error, h], totals[right, h])
                change[right] = -change[error]
                moves.append((h, change))
    return moves, rare


def score_interval(met: int, units: int) -> tuple[float, float]:
    """95 % interval of a share of which `met` of `units` were met (Wilson 1927)."""
    share, spread = met / units, Z**2 / units
    middle = share + spread / 2
    half = Z * math.sqrt(share * (1 - share) / units + spread / (4 * units))
    return max(0.0, (middle - half) / (1 + spread)), (middle + half) / (1 + spread)


def _judged(
    found: SampleAccuracy,
    t: NDArray[np.float64],
    judged: Callable[[Estimate, Figure, tuple[float, ...]], Estimate],
) -> SampleAccuracy:
    """All figures of two classes; residuals y - R x over X, by kind of unit."""
    hit, alarm, miss, quiet = t.tolist()
    whole = hit + alarm + miss + quiet

    def part(one: Estimate, right: tuple[int, ...], wrong: tuple[int, ...], twice: int = 1) -> Estimate:
        """Share of the right in the right and the wrong, the right ones counted `twice`."""
        x = twice * sum(t[k] for k in right) + sum(t[k] for k in wrong)

        def figure(s: NDArray[np.float64]) -> float:
            good = twice * sum(float(s[k]) for k in right)
            return ratio(good, good + sum(float(s[k]) for k in wrong))

        weight = tuple(
            (twice * (1 - one.value) if k in right else -one.value if k in wrong else 0.0) / x if x else 0.0
            for k in range(4)
        )
        return judged(one, figure, weight)

    area1 = judged(found.area[1], lambda s: float(s[HIT] + s[MISS]), (1.0, 0.0, 1.0, 0.0))
    area0 = judged(found.area[0], lambda s: float(s[ALARM] + s[QUIET]), (0.0, 1.0, 0.0, 1.0))
    return replace(
        found,
        overall=part(found.overall, (HIT, QUIET), (ALARM, MISS)) if whole else found.overall,
        users={1: part(found.users[1], (HIT,), (ALARM,)), 0: part(found.users[0], (QUIET,), (MISS,))},
        producers={
            1: part(found.producers[1], (HIT,), (MISS,)),
            0: part(found.producers[0], (QUIET,), (ALARM,)),
        },
        area={0: area0, 1: area1},
        f1=part(found.f1, (HIT,), (ALARM, MISS), twice=2),
        iou=part(found.iou, (HIT,), (ALARM, MISS)),
    )
