"""Change areas from a reference sample: the map's own counts say how large the strata are, the sample what they hold.

The strata are the classes of the change map; ground with too few looks is none of them, for no figure is of it. Within
them every point stands for the same ground, so the sample must have been drawn at random within them, or at random over
the whole map. Intervals mind strata in which hardly any error was met (`caution`): a stratum's points are pervious or
impervious throughout, gained or lost, and the kind met most often is the one that an unseen error would replace.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import ratio as over
from isamap.domain.caution import Error, Rare, doubt_of
from isamap.domain.changes import ENDPOINT, FLICKER, GAIN, IMPERVIOUS, LOSS, NAMES, PERVIOUS, REVERSAL
from isamap.domain.estimation import Design, Estimate, Stratum, design_of, ratio
from isamap.domain.reference_sample import label
from isamap.errors import InputError

UNSETTLED = (ENDPOINT, FLICKER, REVERSAL)
"""Rare classes that share one stratum."""
CODES = {PERVIOUS: (0, 0), IMPERVIOUS: (1, 1), GAIN: (0, 1), LOSS: (1, 0)}
"""State in the first and the last year of an observed change class."""
KINDS = ("pervious points", "impervious points", "gains", "losses")
"""What points of these classes are called."""
UNKNOWN = -1
"""State of a point that nobody has labelled."""


@dataclass(frozen=True)
class Observed:
    """What was seen at the points of a sample."""

    mapped: NDArray[np.int64]
    """Change class of the map, shape (point,); none has too few looks."""
    states: Mapping[int, NDArray[np.int64]]
    """Observed state, 0 or 1, by year; shape (point,); all points have one in the first and the last year."""

    def kinds(self) -> NDArray[np.float64]:
        """1 for points that are pervious, impervious, gained or lost between the first and the last year, (4, point)."""
        first, last = self.states[min(self.states)], self.states[max(self.states)]
        return np.array([(first == a) & (last == b) for a, b in CODES.values()], np.float64)


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


def strata_of(
    mapped: NDArray[np.int64], size_m2: Mapping[int, float]
) -> tuple[list[Stratum], NDArray[np.int64]]:
    """Strata of the map classes, the rare ones together, and the stratum of each point."""
    groups = [(PERVIOUS,), (IMPERVIOUS,), (GAIN,), (LOSS,), UNSETTLED]
    strata: list[Stratum] = []
    index = np.full(mapped.shape, -1)
    for group in groups:
        area = sum(size_m2.get(code, 0.0) for code in group)
        inside = np.isin(mapped, group)
        if area > 0 or inside.any():
            index[inside] = len(strata)
            strata.append(Stratum(NAMES[group[0]] if len(group) == 1 else "unsettled", area))
    return strata, index


def met(observed: Observed, size_m2: Mapping[int, float]) -> dict[str, tuple[float, NDArray[np.int64]]]:
    """Size and observed classes of the points of each stratum: `Sampled.strata`."""
    strata, index = strata_of(observed.mapped, size_m2)
    kinds = observed.kinds().astype(np.int64)
    return {one.name: (one.size, kinds[:, index == number].sum(axis=1)) for number, one in enumerate(strata)}


def rare(observed: Observed, size_m2: Mapping[int, float]) -> tuple[Rare, ...]:
    """Strata in which some history was hardly met: `Sampled.rare`."""
    strata, index = strata_of(observed.mapped, size_m2)
    design, kinds = design_of(strata, index), observed.kinds()
    return doubt_of(design, kinds, _errors(design, kinds)).named(strata)


def estimates(
    observed: Observed,
    size_m2: Mapping[int, float],
    years: Sequence[int],
    inside: NDArray[np.bool_] | None = None,
) -> dict[str, Estimate]:
    """Areas in km2 and rates with standard errors, of everything or of a part of it.

    A year between the first and the last rests on the points with a label of it.

    Args:
        observed: the sample.
        size_m2: area of each map class over everything.
        years: first and last of the series and those between.
        inside: points in the part; all if left out. The strata stay those of everything, and intervals are normal.

    Raises:
        InputError: a stratum has fewer than two points.
    """
    strata, index = strata_of(observed.mapped, size_m2)
    whole_km2 = sum(stratum.size for stratum in strata) / 1e6
    here = np.ones(index.shape, np.bool_) if inside is None else inside
    kinds = observed.kinds()

    def per(y: Sequence[int], x: Sequence[int]) -> Estimate:
        """A ratio of sums of histories."""
        top, bottom = ((np.array(part) @ kinds) * here for part in (y, x))
        if not bottom.any():
            return Estimate(math.nan, math.nan)
        found = ratio(strata, index, top, bottom)
        return found if inside is not None else _minded(found, strata, index, kinds, (y, x))

    def area(where: NDArray[np.bool_], rows: NDArray[np.bool_] | None = None) -> Estimate:
        known = np.ones(index.shape, np.bool_) if rows is None else rows
        if not _every_stratum_twice(strata, index[known]):
            return Estimate(math.nan, math.nan)
        is_so = (where & here)[known].astype(np.float64)
        found = ratio(strata, index[known], is_so).as_share()
        if inside is None:
            found = _minded(found, strata, index[known], np.array([is_so, 1 - is_so]), ((1, 0), (1, 1)))
        return found.times(whole_km2)

    design_of(strata, index)  # every stratum must be sampled in the years that all figures need
    found = {
        f"ISA {year} (km²)": area(states == 1, states != UNKNOWN)
        for year, states in sorted(observed.states.items())
    }
    found["gain (km²)"] = area(kinds[GAIN] > 0)
    found["loss (km²)"] = area(kinds[LOSS] > 0)
    return found | _rates(per((0, 1, 1, 0), (0, 1, 0, 1)), per((0, 0, 1, -1), (1, 1, 1, 1)), years)


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


def _every_stratum_twice(strata: Sequence[Stratum], index: NDArray[np.int64]) -> bool:
    counts = np.bincount(index, minlength=len(strata)).tolist()
    return all(count > 1 for one, count in zip(strata, counts, strict=True) if one.size)


def _errors(design: Design, kinds: NDArray[np.float64]) -> Iterator[Error]:
    """All kinds of points that a stratum may show but the one that it shows most."""
    for h in range(design.size.size):
        counts = kinds[:, design.stratum == h].sum(axis=1)
        right = int(counts.argmax())
        yield from (Error(h, KINDS[kind], kind, right) for kind in range(len(kinds)) if kind != right)


def _minded(
    found: Estimate,
    strata: Sequence[Stratum],
    index: NDArray[np.int64],
    kinds: NDArray[np.float64],
    parts: tuple[Sequence[int], Sequence[int]],
) -> Estimate:
    """An estimate with an interval that minds rare errors.

    Args:
        found: y / x.
        strata: what was sampled.
        index: stratum of each point.
        kinds: 1 for points of a kind, shape (kind, point).
        parts: what a point of each kind adds to y, and to x.
    """
    y, x = (np.array(part, np.float64) for part in parts)
    design = design_of(strata, index)
    doubt = doubt_of(design, kinds, _errors(design, kinds))
    weight = (y - found.value * x) / float(x @ doubt.totals.sum(axis=1))
    return doubt.judged(found, lambda totals: over(float(y @ totals), float(x @ totals)), weight.tolist())


def observed_states(
    columns: Mapping[str, Sequence[object]], years: Sequence[int], path: str
) -> dict[int, NDArray[np.int64]]:
    """Observed states by year from the columns of a sample: `isa_<year>` (0, 1), or `change` (0-3); -1 where empty.

    Raises:
        InputError: neither is there, or other values.
    """
    by_year = {year: columns[f"isa_{year}"] for year in years if f"isa_{year}" in columns}
    if {years[0], years[-1]} <= set(by_year):
        return {year: _codes(cells, (0, 1), f"{path}: isa_{year}") for year, cells in by_year.items()}
    if "change" not in columns:
        raise InputError(
            f"{path} has neither a column change (0 stable pervious, 1 stable impervious, 2 gain, 3 loss) nor "
            f"isa_{years[0]} and isa_{years[-1]} (0, 1)"
        )
    codes = _codes(columns["change"], tuple(CODES), f"{path}: change")
    table = np.array([*(CODES[code] for code in sorted(CODES)), (UNKNOWN, UNKNOWN)])
    return {years[0]: table[codes, 0], years[-1]: table[codes, 1]}


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
