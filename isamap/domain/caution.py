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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import ratio
from isamap.domain.estimation import Design, Estimate, SampleAccuracy, Stratum, Z, design_of

FEW, LARGE = 10, 0.1
"""Errors of a kind, and share of the ground."""

Figure = Callable[[NDArray[np.float64]], float]
"""From estimated totals of every kind of unit."""
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
    kinds = (("misses", MISS, QUIET), ("false alarms", ALARM, HIT))
    doubt = doubt_of(design, cells, [Error(h, *kind) for h in range(design.size.size) for kind in kinds])
    if not doubt.rare:
        return found, ()
    return _judged(found, doubt.totals.sum(axis=1), doubt.judged), doubt.named(strata)


@dataclass(frozen=True)
class Error:
    """A kind of error that units of a stratum may show."""

    stratum: int
    """Index into the strata of the design."""
    kind: str
    """For people."""
    cell: int
    """Kind of unit that it makes."""
    right: int
    """Kind of unit that would stand in its place."""


@dataclass(frozen=True)
class Doubt:
    """What the few errors of a sample leave open."""

    design: Design
    """How it was drawn."""
    cells: NDArray[np.float64]
    """1 for units of a kind, shape (kind, unit)."""
    totals: NDArray[np.float64]
    """Estimated size of every kind, shape (kind, stratum)."""
    moves: tuple[tuple[int, NDArray[np.float64]], ...]
    """Stratum, and change of the totals if an error is as frequent, or as rare, as its score interval allows."""
    rare: tuple[tuple[Error, int], ...]
    """Errors that were hardly met, and how often."""

    def judged(self, one: Estimate, figure: Figure, weight: Sequence[float]) -> Estimate:
        """An estimate with the interval that minds rare errors.

        Args:
            one: with the normal interval.
            figure: the same from the totals of all kinds of units.
            weight: of each kind in the residual whose variance is that of the figure.
        """
        if not math.isfinite(one.value):
            return one
        normal = Z**2 * self.design.variances(np.array(weight) @ self.cells)
        low, high = normal.copy(), normal.copy()
        whole = self.totals.sum(axis=1)
        for h, change in self.moves:
            step = figure(whole + change) - one.value
            side = high if step > 0 else low
            side[h] = max(side[h], step**2)
        if (low <= normal).all() and (high <= normal).all():
            return one
        return replace(one, ends=(one.value - math.sqrt(low.sum()), one.value + math.sqrt(high.sum())))

    def named(self, strata: Sequence[Stratum]) -> tuple[Rare, ...]:
        """The rare errors for people.

        Args:
            strata: those of which the design was made.
        """
        names = [one.name for one in strata if one.size > 0]
        count = self.design.count
        return tuple(
            Rare(names[error.stratum], error.kind, met, int(count[error.stratum])) for error, met in self.rare
        )


def doubt_of(design: Design, cells: NDArray[np.float64], errors: Iterable[Error]) -> Doubt:
    """What a sample leaves open of some kinds of errors.

    Args:
        design: how it was drawn.
        cells: 1 for units of a kind, shape (kind, unit); every unit is of one kind.
        errors: that may be; those of small strata are passed over.
    """
    totals = np.array([design.size * design.means(cell) for cell in cells])
    large = design.size >= LARGE * design.size.sum()
    moves, rare = [], []
    for error in errors:
        h, here = error.stratum, design.stratum == error.stratum
        met = int(cells[error.cell, here].sum())
        if not large[h] or met >= FEW or not (cells[error.cell, here] + cells[error.right, here]).any():
            continue
        rare.append((error, met))
        for end in score_interval(met, int(design.count[h])):
            change = np.zeros(len(cells))
            change[error.cell] = min(design.size[h] * end - totals[error.cell, h], totals[error.right, h])
            change[error.right] = -change[error.cell]
            moves.append((h, change))
    return Doubt(design, cells, totals, tuple(moves), tuple(rare))


def score_interval(met: int, units: int) -> tuple[float, float]:
    """95 % interval of a share of which `met` of `units` were met (Wilson 1927)."""
    share, spread = met / units, Z**2 / units
    middle = share + spread / 2
    half = Z * math.sqrt(share * (1 - share) / units + spread / (4 * units))
    return max(0.0, (middle - half) / (1 + spread)), (middle + half) / (1 + spread)


def _judged(
    found: SampleAccuracy,
    t: NDArray[np.float64],
    judged: Callable[[Estimate, Figure, Sequence[float]], Estimate],
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
