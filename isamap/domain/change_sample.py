"""Change areas from a reference sample: the map's own counts say how large the strata are, the sample what they hold.

The strata are the classes of the change map. Within them every point stands for the same ground, so the sample must
have been drawn at random within them, or at random over the whole map.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isamap.domain.changes import ENDPOINT, FEW, FLICKER, GAIN, IMPERVIOUS, LOSS, NAMES, PERVIOUS, REVERSAL
from isamap.domain.estimation import Estimate, Stratum, ratio
from isamap.errors import InputError

UNSETTLED = (ENDPOINT, FLICKER, FEW, REVERSAL)
"""Rare classes that share one stratum."""
CODES = {PERVIOUS: (0, 0), IMPERVIOUS: (1, 1), GAIN: (0, 1), LOSS: (1, 0)}
"""State in the first and the last year of an observed change class."""


@dataclass(frozen=True)
class Observed:
    """What was seen at the points of a sample."""

    mapped: NDArray[np.int64]
    """Change class of the map, shape (point,)."""
    states: Mapping[int, NDArray[np.int64]]
    """Observed state, 0 or 1, by year; shape (point,); the first and the last year are there."""


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


def estimates(
    observed: Observed,
    size_m2: Mapping[int, float],
    years: Sequence[int],
    inside: NDArray[np.bool_] | None = None,
) -> dict[str, Estimate]:
    """Areas in km2 and rates with standard errors, of everything or of a part of it.

    Args:
        observed: the sample.
        size_m2: area of each map class over everything.
        years: first and last of the series and those between.
        inside: points in the part; all if left out. The strata stay those of everything.

    Raises:
        InputError: a stratum has fewer than two points.
    """
    first, last = observed.states[years[0]], observed.states[years[-1]]
    here = np.ones(first.shape, np.bool_) if inside is None else inside
    strata, index = strata_of(observed.mapped, size_m2)
    whole_km2 = sum(stratum.size for stratum in strata) / 1e6

    def area(where: NDArray[np.bool_]) -> Estimate:
        mean = ratio(strata, index, (where & here).astype(np.float64))
        return Estimate(mean.value * whole_km2, mean.se * whole_km2)

    def per(y: NDArray[np.bool_], x: NDArray[np.bool_]) -> Estimate:
        if not (x & here).any():
            return Estimate(math.nan, math.nan)
        return ratio(strata, index, (y & here).astype(np.float64), (x & here).astype(np.float64))

    found = {f"ISA {year} (km²)": area(states == 1) for year, states in sorted(observed.states.items())}
    found["gain (km²)"] = area((first == 0) & (last == 1))
    found["loss (km²)"] = area((first == 1) & (last == 0))
    kept = per(last == 1, first == 1)
    found["growth"] = Estimate(kept.value - 1, kept.se)
    span = years[-1] - years[0]
    slope = kept.value ** (1 / span - 1) / span if kept.value > 0 else math.nan  # delta method
    found["annual rate"] = Estimate(
        kept.value ** (1 / span) - 1 if kept.value > 0 else math.nan, slope * kept.se
    )
    net = _net(strata, index, first, last, here)
    found["expansion intensity (% a year)"] = Estimate(net.value / span * 100, net.se / span * 100)
    return found


def _net(
    strata: Sequence[Stratum],
    index: NDArray[np.int64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    here: NDArray[np.bool_],
) -> Estimate:
    """Net gain over the ground of the part."""
    if not here.any():
        return Estimate(math.nan, math.nan)
    return ratio(strata, index, ((last - first) * here).astype(np.float64), here.astype(np.float64))


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
    table = np.array([*(CODES[code] for code in sorted(CODES)), (-1, -1)])
    return {years[0]: table[codes, 0], years[-1]: table[codes, 1]}


def _codes(cells: Sequence[object], allowed: Sequence[int], what: str) -> NDArray[np.int64]:
    found = []
    for number, cell in enumerate(cells, start=1):
        text = "" if cell is None else str(cell).strip().removesuffix(".0")
        if text in ("", "nan", "None"):
            found.append(-1)
        elif text.isdigit() and int(text) in allowed:
            found.append(int(text))
        else:
            raise InputError(
                f"{what} of point {number} is {text!r}, not one of {', '.join(map(str, allowed))}"
            )
    return np.array(found, np.int64)
