"""Change areas from a reference sample: its points, each weighted by the ground that it stands for (`change_strata`).

Everything is a part of what was sampled: points elsewhere are 0 above and below the line, and areas are shares of the
ground that was counted (`estimation_parts`). Intervals mind strata in which hardly any error was met (`caution`): a
stratum's points are pervious or impervious throughout, gained or lost, and the kind met most often is the one that an
unseen error would replace.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import ratio as over
from isamap.domain.caution import Error, Rare, doubt_of
from isamap.domain.change_strata import M2, Part, Plan
from isamap.domain.changes import GAIN, IMPERVIOUS, LOSS, PERVIOUS
from isamap.domain.estimation import Design, Estimate, design_of, ratio
from isamap.domain.reference_sample import label
from isamap.errors import InputError

CODES = {PERVIOUS: (0, 0), IMPERVIOUS: (1, 1), GAIN: (0, 1), LOSS: (1, 0)}
"""State in the first and the last year of an observed change class."""
KINDS = ("pervious points", "impervious points", "gains", "losses")
"""What points of these classes are called."""
UNKNOWN = -1
"""State of a point that nobody has labelled."""


@dataclass(frozen=True)
class Observed:
    """What was seen at the points of a sample."""

    plan: Plan
    """How they were drawn."""
    states: Mapping[int, NDArray[np.int64]]
    """Observed state, 0 or 1, by year; shape (point,); all points have one in the first and the last year."""

    def kinds(self, inside: NDArray[np.bool_]) -> NDArray[np.float64]:
        """1 for points that are pervious, impervious, gained or lost from the first to the last year, or not inside.

        Shape (5, point).
        """
        first, last = self.states[min(self.states)], self.states[max(self.states)]
        met = [(first == a) & (last == b) & inside for a, b in CODES.values()]
        return np.array([*met, ~inside], np.float64)


@dataclass(frozen=True)
class Sampled:
    """What a reference sample says of the change."""

    zones: Mapping[str, Mapping[str, Estimate]]
    """Estimates by zone and quantity."""
    points: Mapping[str, int]
    """What became of its points: used ones, those left out by reason, those with a label of a year between."""
    strata: Mapping[str, tuple[float, NDArray[np.int64]]]
    """Size in m2, and points by what was observed (pervious, impervious, gain, loss)."""
    rare: tuple[Rare, ...]
    """Strata whose errors are so few that intervals mind them."""
    joined: tuple[str, ...] = ()
    """Classes of the map that are one stratum for want of points."""
    column: str | None = None
    """Where the strata are told; None: they are the classes of the change map."""
    other_ground: tuple[float, float] | None = None
    """km2 of the strata and of the ground that is counted, where these are not the same ground."""


def met(observed: Observed) -> dict[str, tuple[float, NDArray[np.int64]]]:
    """Size and observed classes of the points of each stratum: `Sampled.strata`."""
    plan = observed.plan
    kinds = observed.kinds(plan.ground.inside)[: len(KINDS)].astype(np.int64)
    return {
        one.name: (one.size, kinds[:, plan.index == number].sum(axis=1))
        for number, one in enumerate(plan.strata)
    }


def rare(observed: Observed) -> tuple[Rare, ...]:
    """Strata in which some history was hardly met: `Sampled.rare`."""
    plan = observed.plan
    design, cells = design_of(plan.strata, plan.index), observed.kinds(plan.ground.inside)
    return doubt_of(design, cells, _errors(design, cells)).named(plan.strata)


def estimates(observed: Observed, years: Sequence[int], unit: Part | None = None) -> dict[str, Estimate]:
    """Areas in km2 and rates with standard errors, of everything or of a part of it.

    A year between the first and the last rests on the points with a label of it.

    Args:
        observed: the sample.
        years: first and last of the series and those between.
        unit: the part; the strata stay those of everything, and intervals are normal. Everything if left out.

    Raises:
        InputError: a stratum has fewer than two points.
    """
    plan, part = observed.plan, unit or observed.plan.ground
    design_of(plan.strata, plan.index)  # every stratum must be sampled in the years that all figures need
    cells = observed.kinds(part.inside)

    def per(y: Sequence[int], x: Sequence[int]) -> Estimate:
        """A ratio of sums of histories."""
        found = ratio(plan.strata, plan.index, np.array(y) @ cells, np.array(x) @ cells)
        return found if unit else _minded(found, plan, plan.index, cells, (y, x))

    def area(where: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Estimate:
        """Share of the part, or of all strata, times its size."""
        index, inside = plan.index[rows], part.inside[rows]
        if not _every_stratum_twice(plan, index) or not inside.any():
            return Estimate(math.nan, math.nan)
        cells = np.array([where[rows] & inside, ~where[rows] & inside, ~inside], np.float64)
        parts = (1, 0, 0), (1, 1, int(part.size_m2 is None))
        found = ratio(plan.strata, index, *(np.array(weights) @ cells for weights in parts)).as_share()
        if not unit:
            found = _minded(found, plan, index, cells, parts)
        return found.times((plan.size_m2 if part.size_m2 is None else part.size_m2) / M2)

    everyone = np.ones(plan.index.shape, np.bool_)
    found = {
        f"ISA {year} (km²)": area(states == 1, states != UNKNOWN)
        for year, states in sorted(observed.states.items())
    }
    found["gain (km²)"] = area(cells[GAIN] > 0, everyone)
    found["loss (km²)"] = area(cells[LOSS] > 0, everyone)
    kept, net = per((0, 1, 1, 0, 0), (0, 1, 0, 1, 0)), per((0, 0, 1, -1, 0), (1, 1, 1, 1, 0))
    return found | _rates(kept, net, years)


def _rates(kept: Estimate, net: Estimate, years: Sequence[int]) -> dict[str, Estimate]:
    """Growth, annual rate and expansion intensity.

    Args:
        kept: ISA of the last year over that of the first.
        net: gain less loss over all ground.
        years: first and last of the series and those between.
    """
    span = years[-1] - years[0]

    def yearly(ratio: float) -> float:
        return float(max(ratio, 0.0) ** (1 / span)) - 1

    rate = Estimate(math.nan, math.nan)
    if kept.value > 0:
        slope = kept.value ** (1 / span - 1) / span  # delta method
        ends = kept.ends and (yearly(kept.low), yearly(kept.high))
        rate = Estimate(yearly(kept.value), slope * kept.se, ends)
    growth = replace(kept, value=kept.value - 1, ends=kept.ends and (kept.ends[0] - 1, kept.ends[1] - 1))
    return {
        "growth": growth,
        "annual rate": rate,
        "expansion intensity (% a year)": net.times(100 / span),
    }


def _every_stratum_twice(plan: Plan, index: NDArray[np.int64]) -> bool:
    counts = np.bincount(index, minlength=len(plan.strata)).tolist()
    return all(count > 1 for one, count in zip(plan.strata, counts, strict=True) if one.size)


def _errors(design: Design, cells: NDArray[np.float64]) -> Iterator[Error]:
    """All kinds of points that a stratum may show but the one that it shows most; the last kind lies elsewhere."""
    kinds = cells[:-1]
    for h in range(design.size.size):
        counts = kinds[:, design.stratum == h].sum(axis=1)
        right = int(counts.argmax())
        yield from (Error(h, KINDS[kind], kind, right) for kind in range(len(kinds)) if kind != right)


def _minded(
    found: Estimate,
    plan: Plan,
    index: NDArray[np.int64],
    cells: NDArray[np.float64],
    parts: tuple[Sequence[int], Sequence[int]],
) -> Estimate:
    """An estimate with an interval that minds rare errors.

    Args:
        found: y / x.
        plan: what was sampled.
        index: stratum of each point.
        cells: 1 for points of a kind, shape (kind, point); the last kind lies elsewhere.
        parts: what a point of each kind adds to y, and to x.
    """
    if not math.isfinite(found.value):
        return found
    y, x = (np.array(part, np.float64) for part in parts)
    design = design_of(plan.strata, index)
    doubt = doubt_of(design, cells, _errors(design, cells))
    weight = (y - found.value * x) / float(x @ doubt.totals.sum(axis=1))
    return doubt.judged(found, lambda totals: over(float(y @ totals), float(x @ totals)), weight.tolist())


def observed_states(
    columns: Mapping[str, Sequence[object]], years: Sequence[int], path: str
) -> dict[int, NDArray[np.int64]]:
    """Observed states by year from the columns of a sample: `isa_<year>` (0, 1), or `change` (0-3); -1 where empty.

    Raises:
        InputError: neither is there, other values, or both, and they contradict each other.
    """
    by_year = {year: columns[f"isa_{year}"] for year in years if f"isa_{year}" in columns}
    ends, seen = (years[0], years[-1]), {}
    for year, cells in by_year.items():
        try:
            seen[year] = _codes(cells, (0, 1), f"{path}: isa_{year}")
        except InputError:
            if "change" not in columns or set(ends) <= set(by_year):
                raise  # else it may be anything, as nobody needs it
    if "change" in columns:
        codes = _codes(columns["change"], tuple(CODES), f"{path}: change")
        table = np.array([*(CODES[code] for code in sorted(CODES)), (UNKNOWN, UNKNOWN)])
        told = dict(zip(ends, table[codes].T, strict=True))
        _check_alike(told, seen, path)
        return seen if set(ends) <= set(seen) else told
    if not set(ends) <= set(seen):
        raise InputError(
            f"{path} has neither a column change (0 stable pervious, 1 stable impervious, 2 gain, 3 loss) nor "
            f"isa_{years[0]} and isa_{years[-1]} (0, 1)"
        )
    return seen


def _check_alike(
    told: Mapping[int, NDArray[np.int64]], seen: Mapping[int, NDArray[np.int64]], path: str
) -> None:
    """No point may have another change than its states in the first and the last year say."""
    for year in sorted(told.keys() & seen.keys()):
        a, b = told[year], seen[year]
        apart = (a != b) & (a != UNKNOWN) & (b != UNKNOWN)
        if apart.any():
            more = f" (and {apart.sum() - 1} more)" if apart.sum() > 1 else ""
            raise InputError(
                f"{path}: change and isa_{year} contradict each other at point {apart.argmax() + 1}{more}: take out the "
                "column that is wrong"
            )


def _codes(cells: Sequence[object], allowed: Sequence[int], what: str) -> NDArray[np.int64]:
    found = []
    for number, cell in enumerate(cells, start=1):
        text = label(cell)
        if not text:
            found.append(UNKNOWN)
        elif text in map(str, allowed):
            found.append(int(text))
        else:
            raise InputError(
                f"{what} of point {number} is {text!r}, not one of {', '.join(map(str, allowed))}"
            )
    return np.array(found, np.int64)
