"""`isamap change --sample`: what a reference sample says of the change."""

from pathlib import Path

import numpy as np

from isamap.core.differencing import Outcome, units_of
from isamap.domain.change_sample import UNKNOWN, Observed, Sampled, estimates, met, observed_states, rare
from isamap.domain.change_tally import ALL
from isamap.domain.changes import CHANGE, FEW
from isamap.domain.product import NODATA
from isamap.domain.transition import METHODS
from isamap.errors import InputError
from isamap.io.points import units_at, values_at
from isamap.io.sample import check_single, read_sample


def survey(outcome: Outcome, path: Path, directory: Path) -> Sampled:
    """What a reference sample says of the change, everywhere and per unit.

    Args:
        outcome: the run.
        path: of the sample.
        directory: of the rasters.

    Raises:
        InputError: no point lies on the maps, points are told twice, columns do not fit, or a class has too few points.
    """
    sample = read_sample(path)
    years = outcome.options.years
    columns = {name: sample.column(name, path) for name in sample.rows[0]} if sample.rows else {}
    states = observed_states(columns, years, str(path))
    labelled = (states[years[0]] != UNKNOWN) & (states[years[-1]] != UNKNOWN)
    check_single(sample, labelled, path)
    rasters = [directory / f"{stem}{CHANGE.suffix}" for stem in outcome.stems]
    mapped = values_at(rasters, sample.x, sample.y, sample.crs)
    used = labelled & (mapped != NODATA) & (mapped != FEW)
    if not used.any():
        raise InputError(
            f"no point of {path} lies on a pixel of the change maps with enough looks and has been observed in "
            f"{years[0]} and {years[-1]}"
        )
    observed = Observed(mapped[used].astype(np.int64), {year: seen[used] for year, seen in states.items()})
    size = _class_sizes(outcome)
    zones = {ALL: estimates(observed, size, years)}
    units = units_of(outcome.options)
    if units is not None:
        for name, inside in units_at(units, sample).items():
            if inside[used].any():
                zones[name] = estimates(observed, size, years, inside[used])
    points = {
        "used": int(used.sum()),
        f"left out: no label of {years[0]} or {years[-1]}": int((~labelled).sum()),
        "left out: outside the maps": int((labelled & (mapped == NODATA)).sum()),
        "left out: too few looks": int((labelled & (mapped == FEW)).sum()),
        **_labelled_between(observed, years),
    }
    return Sampled(zones, points, met(observed, size), rare(observed, size))


def _labelled_between(observed: Observed, years: tuple[int, ...]) -> dict[str, int]:
    """Points that the figures of a year rest on, where some have no label of it."""
    counts = {year: int((states != UNKNOWN).sum()) for year, states in observed.states.items()}
    return {
        f"used and labelled in {year}": counts[year]
        for year in years[1:-1]
        if year in counts and counts[year] < observed.mapped.size
    }


def _class_sizes(outcome: Outcome) -> dict[int, float]:
    """m2 of every class of the written reading with enough looks."""
    cells = outcome.tally.area_m2[ALL][METHODS.index(outcome.options.method)].sum(axis=0)
    return {code: float(area) for code, area in enumerate(cells[:-1]) if code != FEW}
