"""What the points of a change sample stand for: the classes of the change map, or the strata in which they were drawn.

Classes of the map are strata after the fact, so points drawn at random over the whole may leave one of them without two
points. Such a class is joined with the smallest others, which are those of change. That is right for points drawn over the
whole alone: within classes they stand for different ground, and a class without points was not sampled at all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isamap.domain.change_tally import ALL, Figures, Tally
from isamap.domain.changes import ENDPOINT, FEW, FLICKER, GAIN, IMPERVIOUS, LOSS, NAMES, PERVIOUS, REVERSAL
from isamap.domain.estimation import Stratum
from isamap.domain.transition import COUNTED
from isamap.errors import InputError

GROUPS = (PERVIOUS,), (IMPERVIOUS,), (GAIN,), (LOSS,), (ENDPOINT, FLICKER, REVERSAL)
"""Classes that are a stratum; the rare ones share one."""
UNSETTLED = "unsettled"
"""Name of that one."""
UNLIKELY = 1e-6
"""Chance of so many points in a class, or fewer (more), below which they were not drawn over the whole."""
SAME_GROUND = 0.01
"""Strata that together are this much larger or smaller than the maps' ground stand for other ground."""
M2 = 1e6
"""In a km2."""


@dataclass(frozen=True)
class Part:
    """Ground of which there are estimates."""

    inside: NDArray[np.bool_]
    """Points on it, shape (point,)."""
    size_m2: float | None
    """Counted; None: estimated with the areas, from the points."""


@dataclass(frozen=True)
class Plan:
    """How the points of a sample were drawn."""

    strata: Sequence[Stratum]
    """Sizes in m2."""
    index: NDArray[np.int64]
    """Stratum of each point, shape (point,)."""
    ground: Part
    """What the counts are of: mapped, with enough looks."""
    joined: tuple[str, ...] = ()
    """Classes that share a stratum because one of them has too few points, in words."""

    @property
    def size_m2(self) -> float:
        """Of all strata."""
        return sum(one.size for one in self.strata)


def plan_of_classes(mapped: NDArray[np.int64], size_m2: Mapping[int, float]) -> Plan:
    """Points on the ground that is counted, in the classes of the change map.

    Args:
        mapped: class of each point, none with too few looks, shape (point,).
        size_m2: area of each class.

    Raises:
        InputError: a class has fewer than two points, and the others were not drawn over the whole.
    """
    strata: list[Stratum] = []
    index = np.full(mapped.shape, -1)
    for group in GROUPS:
        area = sum(size_m2.get(code, 0.0) for code in group)
        inside = np.isin(mapped, group)
        if area > 0 or inside.any():
            index[inside] = len(strata)
            strata.append(Stratum(NAMES[group[0]] if len(group) == 1 else UNSETTLED, area))
    everything = Part(np.ones(mapped.shape, np.bool_), sum(one.size for one in strata))
    return _joined(Plan(strata, index, everything))


def _joined(plan: Plan) -> Plan:
    """The plan with at least two points in every stratum, as long as there are two strata."""
    counts = np.bincount(plan.index, minlength=len(plan.strata)).tolist()
    groups = [[number] for number, one in enumerate(plan.strata) if one.size > 0]

    def points(group: Sequence[int]) -> int:
        return sum(counts[number] for number in group)

    def size(group: Sequence[int]) -> float:
        return sum(plan.strata[number].size for number in group)

    if len(groups) < 2 or all(points(group) > 1 for group in groups):
        return plan
    _check_drawn_over_all(plan.strata, counts)
    while len(groups) > 1 and (poor := [group for group in groups if points(group) < 2]):
        one = min(poor, key=size)
        other = min((group for group in groups if group is not one), key=size)
        groups = [group for group in groups if group is not one and group is not other]
        groups.append(sorted(one + other))
    groups = sorted([*groups, *([number] for number, one in enumerate(plan.strata) if not one.size)])
    place = np.zeros(len(plan.strata), np.int64)
    for number, group in enumerate(groups):
        place[group] = number
    names = [" + ".join(plan.strata[number].name for number in group) for group in groups]
    strata = [Stratum(name, size(group)) for name, group in zip(names, groups, strict=True)]
    told = [name for name, group in zip(names, groups, strict=True) if len(group) > 1]
    return replace(plan, strata=strata, index=place[plan.index], joined=tuple(told))


def _check_drawn_over_all(strata: Sequence[Stratum], counts: Sequence[int]) -> None:
    """Refuse to join classes that were sampled at different rates."""
    units, whole = sum(counts), sum(one.size for one in strata)
    poor = next(one.name for one, count in zip(strata, counts, strict=True) if one.size > 0 and count < 2)
    for one, count in zip(strata, counts, strict=True):
        if 0 < one.size < whole and _tail(count, units, one.size / whole) < UNLIKELY:
            raise InputError(
                f"fewer than two points lie on {poor} of the change map, and the sample was not drawn at random over the "
                f"whole ({count} lie on {one.name}, {units * one.size / whole:.3g} would be expected): label two points "
                "there or more, or name the strata in which they were drawn with --stratum and --strata-sizes"
            )


def _tail(met: int, units: int, share: float) -> float:
    """Chance of as many of the units as were met, or still fewer (more, if many were met), in a share of the ground."""
    counts = range(met + 1) if met < units * share else range(met, units + 1)
    logs = (
        math.lgamma(units + 1)
        - math.lgamma(k + 1)
        - math.lgamma(units - k + 1)
        + k * math.log(share)
        + (units - k) * math.log1p(-share)
        for k in counts
    )
    return sum(map(math.exp, logs))


def strata_on_ground(
    strata: Sequence[Stratum], unit: str, tally: Tally, method: str
) -> tuple[list[Stratum], dict[str, float]]:
    """Strata of a file with their sizes in m2, and m2 with enough looks of the zones whose ground they are.

    They are the ground of the maps if they are as large: as that with enough looks or all that was ever seen, everywhere or
    within the units. Then everything, or every unit, has the size that was counted.

    Args:
        strata: with sizes.
        unit: of the sizes: `km2`, `pixels`, or any that nobody has named.
        tally: counts.
        method: reading that is counted.

    Raises:
        InputError: sizes are no areas, and those of other ground than that of the maps.
    """
    total = sum(one.size for one in strata)
    zones = {zone: _ground(tally, zone, method) for zone in tally.area_m2}
    for asked in filter(None, ([ALL], [zone for zone in zones if zone != ALL])):
        known = {zone: zones[zone][0][1] for zone in (zones if asked == [ALL] else asked)}
        for looks in (0, 1):
            pixels, m2 = (sum(zones[zone][looks][part] for zone in asked) for part in (0, 1))
            if unit != "km2" and abs(total - pixels) <= SAME_GROUND * pixels:
                return _in_m2(strata, m2 / pixels), known
            if unit != "pixels" and abs(total * M2 - m2) <= SAME_GROUND * m2:
                return _in_m2(strata, M2), known
    if unit != "km2":
        raise InputError(
            f"its sizes add up to {total:.6g}, which is not the ground of the maps in pixels: give them as area_km2"
        )
    return _in_m2(strata, M2), {}


def _ground(tally: Tally, zone: str, method: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Pixels and m2 of a zone: those with enough looks, and all that were ever seen."""
    found = []
    for counts in (tally.pixels[zone], tally.area_m2[zone]):
        figures = Figures(tally.years, counts[COUNTED.index(method)] / M2)
        known = figures.mapped_km2 * M2
        found.append((known, known + figures.class_km2(FEW) * M2))
    (pixels, seen), (m2, seen_m2) = found
    return (pixels, m2), (seen, seen_m2)


def _in_m2(strata: Sequence[Stratum], each_m2: float) -> list[Stratum]:
    return [Stratum(one.name, one.size * each_m2) for one in strata]
