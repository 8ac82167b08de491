"""`isamap change --sample`: what a reference sample says of the change."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isamap.core.differencing import Outcome, units_of
from isamap.domain.change_sample import UNKNOWN, Observed, Sampled, estimates, met, observed_states, rare
from isamap.domain.change_strata import M2, Part, Plan, plan_of_classes, strata_on_ground
from isamap.domain.change_tally import ALL
from isamap.domain.changes import CHANGE, FEW
from isamap.domain.product import NODATA
from isamap.domain.transition import METHODS
from isamap.errors import InputError
from isamap.io.points import units_at, values_at
from isamap.io.sample import Sample, check_single, read_sample
from isamap.io.sample_ground import Ground, check_unstratified, in_strata


@dataclass(frozen=True)
class Survey:
    """A reference sample and how it was drawn."""

    path: Path
    """Points."""
    layer: str | None = None
    """Of several in the file."""
    stratum: str | None = None
    """Column with the stratum; None: drawn at random over the whole, or within the classes of the change map."""
    strata: Path | None = None
    """CSV with the columns `stratum` and `area_km2` (or `n_pixels`, `size`); needed with strata."""


@dataclass(frozen=True)
class Points:
    """A sample, read and checked before any map is."""

    asked: Survey
    """Where it is, and how it was drawn."""
    years: tuple[int, ...]
    """Of the series."""
    sample: Sample
    """All points."""
    states: Mapping[int, NDArray[np.int64]]
    """Observed state of each, by year."""
    labelled: NDArray[np.bool_]
    """Those observed in the first and the last year, shape (point,)."""
    ground: Ground | None
    """The strata in which they were drawn; None: none are told."""


def read_points(asked: Survey, years: tuple[int, ...]) -> Points:
    """The points of a reference sample, so that a bad one is refused before hours of work.

    Raises:
        MissingInputError, ConfigError: as `read_sample`.
        InputError: that too; points are told twice, or columns or strata do not fit.
    """
    sample = read_sample(asked.path, asked.layer)
    columns = {name: sample.column(name, asked.path) for name in sample.rows[0]} if sample.rows else {}
    states = observed_states(columns, years, str(asked.path))
    labelled = (states[years[0]] != UNKNOWN) & (states[years[-1]] != UNKNOWN)
    if asked.stratum is None:
        check_unstratified(
            sample, asked.path, "were drawn at random over the whole, or within the classes of the change map"
        )
    check_single(sample, labelled, asked.path)
    ground = in_strata(sample, asked.path, asked.stratum, asked.strata, labelled) if asked.stratum else None
    return Points(asked, years, sample, states, labelled, ground)


def survey(outcome: Outcome, points: Points, directory: Path) -> Sampled:
    """What a reference sample says of the change, everywhere and per unit.

    Args:
        outcome: the run.
        points: the sample.
        directory: of the rasters.

    Raises:
        InputError: no point lies on the maps, strata do not fit them, or a stratum has too few points.
    """
    sample, asked, labelled, years = points.sample, points.asked, points.labelled, points.years
    rasters = [directory / f"{stem}{CHANGE.suffix}" for stem in outcome.stems]
    mapped = values_at(rasters, sample.x, sample.y, sample.crs)
    counted = (mapped != NODATA) & (mapped != FEW)
    if not (labelled & counted).any():
        raise InputError(
            f"no point of {asked.path} lies on a pixel of the change maps with enough looks and has been observed in "
            f"{years[0]} and {years[-1]}"
        )
    if points.ground:
        rows = labelled
        plan, sizes = _plan_of_file(outcome, asked, points.ground, rows, counted)
    else:
        rows = labelled & counted
        plan, sizes = plan_of_classes(mapped[rows].astype(np.int64), _class_sizes(outcome)), _sizes(outcome)
    observed = Observed(plan, {year: seen[rows] for year, seen in points.states.items()})
    zones = {ALL: estimates(observed, years)}
    units = units_of(outcome.options)
    for name, here in units_at(units, sample).items() if units is not None else ():
        inside = (here & counted)[rows]
        if inside.any():
            zones[name] = estimates(observed, years, Part(inside, sizes.get(name)))
    found = {
        "used": int((labelled & counted).sum()),
        f"left out: no label of {years[0]} or {years[-1]}": int((~labelled).sum()),
        "left out: outside the maps": int((labelled & (mapped == NODATA)).sum()),
        "left out: too few looks": int((labelled & (mapped == FEW)).sum()),
        **_labelled_between(observed, years),
    }
    same = plan.ground.size_m2 is not None
    other = None if same else (plan.size_m2 / M2, _sizes(outcome)[ALL] / M2)
    return Sampled(zones, found, met(observed), rare(observed), plan.joined, asked.stratum, other)


def _plan_of_file(
    outcome: Outcome, asked: Survey, ground: Ground, rows: NDArray[np.bool_], counted: NDArray[np.bool_]
) -> tuple[Plan, dict[str, float]]:
    """The strata in which points were drawn, and m2 of the zones whose ground they are.

    Args:
        outcome: the run.
        asked: where their strata are told.
        ground: those strata.
        rows: points with labels.
        counted: points on the ground that the counts are of.
    """
    try:
        strata, sizes = strata_on_ground(ground.strata, ground.unit, outcome.tally, outcome.options.method)
    except InputError as error:
        raise InputError(f"{asked.strata}: {error}") from error
    return Plan(strata, ground.index[rows], Part(counted[rows], sizes.get(ALL))), sizes


def _labelled_between(observed: Observed, years: tuple[int, ...]) -> dict[str, int]:
    """Points that the figures of a year rest on, where some have no label of it."""
    here = observed.plan.ground.inside
    counts = {year: int((states[here] != UNKNOWN).sum()) for year, states in observed.states.items()}
    return {
        f"used and labelled in {year}": counts[year]
        for year in years[1:-1]
        if year in counts and counts[year] < here.sum()
    }


def _class_sizes(outcome: Outcome) -> dict[int, float]:
    """m2 of every class of the written reading with enough looks."""
    cells = outcome.tally.area_m2[ALL][METHODS.index(outcome.options.method)].sum(axis=0)
    return {code: float(area) for code, area in enumerate(cells[:-1]) if code != FEW}


def _sizes(outcome: Outcome) -> dict[str, float]:
    """m2 with enough looks of every zone."""
    tally, method = outcome.tally, outcome.options.method
    return {zone: tally.figures(zone, method).mapped_km2 * M2 for zone in tally.area_m2}
