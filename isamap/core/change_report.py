"""The report of `isamap change`: tables, figures, JSON, and estimates where there is a reference sample."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from isamap import __version__
from isamap.core.differencing import Outcome, units_of
from isamap.domain import change_tables as tables
from isamap.domain.change_sample import Observed, estimates, observed_states
from isamap.domain.change_tally import ALL
from isamap.domain.changes import CHANGE
from isamap.domain.estimation import Estimate
from isamap.domain.product import NODATA
from isamap.domain.report import Cell, Figure, Report, Section, Table, is_defined
from isamap.domain.transition import METHODS
from isamap.errors import InputError
from isamap.io.points import units_at, values_at
from isamap.io.sample import read_sample
from isamap.io.zones import Units

SCHEMA = 1
"""Of `--json` and `report.json`."""
UNITS = "units.parquet"
MANY_LOOKS_MISSING = 0.05
"""Share of flagged ground from which a report warns."""

Estimates = Mapping[str, Mapping[str, Estimate]]


def survey(outcome: Outcome, path: Path, directory: Path) -> Estimates:
    """What a reference sample says of the change, by zone.

    Raises:
        InputError: no point lies on the maps, columns do not fit, or a class has too few points.
    """
    sample = read_sample(path)
    years = outcome.options.years
    columns = {name: sample.column(name, path) for name in sample.rows[0]} if sample.rows else {}
    states = observed_states(columns, years, str(path))
    rasters = [directory / f"{stem}{CHANGE.suffix}" for stem in outcome.stems]
    mapped = values_at(rasters, sample.x, sample.y, sample.crs)
    used = (mapped != NODATA) & np.all([seen >= 0 for seen in states.values()], axis=0)
    if not used.any():
        raise InputError(f"no point of {path} lies on a pixel of the change maps and has been observed")
    observed = Observed(mapped[used].astype(np.int64), {year: seen[used] for year, seen in states.items()})
    size = _class_sizes(outcome)
    found = {ALL: estimates(observed, size, years)}
    units = units_of(outcome.options)
    if units is not None:
        for name, inside in units_at(units, sample).items():
            if inside[used].any():
                found[name] = estimates(observed, size, years, inside[used])
    return found


def _class_sizes(outcome: Outcome) -> dict[int, float]:
    """m2 of every class of the written reading."""
    cells = outcome.tally.area_m2[ALL][METHODS.index(outcome.options.method)].sum(axis=0)
    return {code: float(area) for code, area in enumerate(cells[:-1])}


def warnings_of(outcome: Outcome, sampled: Estimates | None) -> tuple[str, ...]:
    """What makes the figures doubtful."""
    options, found = outcome.options, []
    if options.versions:
        found.append(
            "Version change: the maps of different years were made by different recipes. The differences below are "
            "those of the recipes as much as those of the ground."
        )
    if any("unknown" in text for text in outcome.lineages):
        found.append("Maps without an item beside them: whether all years were made alike is unknown.")
    if sampled is None:
        found.append(
            "All areas are map counts, unadjusted: they carry the maps' errors. Give --sample to correct them."
        )
    if len(options.years) == 2:
        found.append(
            "Two years only: no map confirms a change of the second year. Give more years."
            if options.probability
            else "Two years only: no map confirms a change of the second year, and classes alone are weak evidence for it. "
            "Give --probability, or more years."
        )
    elif not options.probability:
        found.append(
            "Classes alone do not tell maps that see more, or less, ISA from year to year from building and "
            "demolition. Give --probability."
        )
    if outcome.gaps:
        found.append(
            f"{len(outcome.gaps)} tiles lack a map of some year, which counts as a year without a look."
        )
    if outcome.faults:
        found.append(f"{len(outcome.faults)} tiles failed and are in no figure.")
    if ALL in outcome.tally.area_m2 and tables.looks(outcome.tally, options.method) > MANY_LOOKS_MISSING:
        found.append("More than 5 % of the ground has too few looks; it is flagged and in no figure.")
    return tuple(found)


def all_tables(outcome: Outcome, sampled: Estimates | None) -> list[Table]:
    """Every table that has rows, the most asked for first."""
    tally, method = outcome.tally, outcome.options.method
    found = [tables.methods(tally, method), tables.areas(tally, method), tables.rates(tally, method)]
    if sampled:
        found.insert(0, tables.sample(sampled, tables.counted(tally, method)))
    found += [tables.transitions(tally, method), tables.classes(tally, method)]
    by_tile = {name: made.shifts for name, made in outcome.made.items()}
    found.append(tables.shifts(tally.years, by_tile, aligned=outcome.options.align))
    failed = tuple((name, str(fault)) for name, fault in sorted(outcome.faults.items()))
    found.append(Table("failures", "Tiles that failed", ("tile", "why"), failed))
    return [table for table in found if table.rows]


def document(outcome: Outcome, sampled: Estimates | None) -> dict[str, Any]:
    """The outcome as a JSON document."""
    options = outcome.options
    return {
        "schema": SCHEMA,
        "command": "change",
        "years": list(options.years),
        "method": options.method,
        "version_change": options.versions,
        "maps": dict(zip(map(str, options.years), outcome.lineages, strict=True)),
        "requested": len(outcome.made) + len(outcome.faults),
        "made": sum(made.state == "made" for made in outcome.made.values()),
        "skipped": sum(made.state == "skipped" for made in outcome.made.values()),
        "failed": {name: str(fault) for name, fault in sorted(outcome.faults.items())},
        "gaps": {name: list(years) for name, years in sorted(outcome.gaps.items())},
        "warnings": list(warnings_of(outcome, sampled)),
        "tables": {
            table.name: [dict(zip(table.columns, map(_known, row), strict=True)) for row in table.rows]
            for table in all_tables(outcome, sampled)
        },
    }


def _known(cell: Cell) -> Cell:
    """A cell for JSON, which knows no NaN."""
    return cell if is_defined(cell) else None


def report(outcome: Outcome, sampled: Estimates | None, folder: Path) -> Report:
    """The outcome as a page; the rasters lie in `folder`."""
    options = outcome.options
    years = f"{options.years[0]} to {options.years[-1]}"
    found = {table.name: table for table in all_tables(outcome, sampled)}
    facts = [
        ("years", ", ".join(map(str, options.years))),
        ("method", options.method),
        ("error rates", f"false alarm {options.chances.false_alarm:g}, miss {options.chances.miss:g}"),
        ("rates a year", f"gain {options.chances.gain:g}, loss {options.chances.loss:g}"),
        ("smallest patch", f"{options.min_area_m2:g} m²"),
        *((f"maps of {year}", text) for year, text in zip(options.years, outcome.lineages, strict=True)),
        ("tiles", str(len(outcome.made))),
        ("isamap", __version__),
    ]
    sections = [
        Section(
            "Change",
            "",
            _some(found, "estimates", "methods", "classes"),
            (_map(outcome, folder), _figure(outcome, sampled)),
        ),
        Section("Area and growth", "", _some(found, "areas", "rates")),
        Section("Transitions", "", _some(found, "transitions")),
        Section("Registration", "", _some(found, "shifts")),
        Section("Failures", "", _some(found, "failures")),
    ]
    title = "Change of impervious surface"
    kept = tuple(section for section in sections if section.tables)
    return Report(title, years, tuple(facts), warnings_of(outcome, sampled), kept)


def _some(found: Mapping[str, Table], *names: str) -> tuple[Table, ...]:
    return tuple(found[name] for name in names if name in found)


def _map(outcome: Outcome, folder: Path) -> Figure:
    """Where it changed."""
    from isamap.io.change_picture import change_picture

    years = outcome.options.years
    rasters = [folder / f"{stem}{CHANGE.suffix}" for stem in outcome.stems]
    return change_picture(rasters, f"Change {years[0]} to {years[-1]}, {outcome.options.method}")


def _figure(outcome: Outcome, sampled: Estimates | None) -> Any:
    """ISA area over the years by every reading, and the sample's estimates with their intervals."""
    from isamap.io.plots import Series, time_series
    from isamap.io.sheet import Heading

    years = outcome.options.years
    lines = [Series(f"{name}, map count", outcome.tally.figures(ALL, name).isa_km2) for name in METHODS]
    if sampled:
        missing = Estimate(float("nan"), float("nan"))
        seen = [sampled[ALL].get(f"ISA {year} (km²)", missing) for year in years]
        low, high = [one.low for one in seen], [one.high for one in seen]
        lines.append(Series("estimate from the sample", [one.value for one in seen], low, high))
    heading = Heading(
        "isa-area", "Impervious area", "Map counts are unadjusted; whiskers are 95 % intervals."
    )
    return time_series(heading, years, lines, "ISA (km²)")


def write(outcome: Outcome, sampled: Estimates | None, folder: Path) -> tuple[Path, ...]:
    """Page, tables as CSV, figures, `report.json`, and with units their outlines and figures as GeoParquet."""
    from isamap.io.report import write_report

    paths = write_report(report(outcome, sampled, folder), folder, document(outcome, sampled))
    units = units_of(outcome.options)
    if units is None:
        (folder / UNITS).unlink(missing_ok=True)
        return paths
    return *paths, _write_units(outcome, sampled, units, folder)


def _write_units(outcome: Outcome, sampled: Estimates | None, units: Units, folder: Path) -> Path:
    """Outlines and figures of the units that have any."""
    from isamap.io.report import write_geoparquet

    columns = tables.unit_columns(outcome.tally, outcome.options.method, sampled)
    outlines = units.outlines()
    geometries = [outlines[str(unit)] for unit in columns["unit"]]
    return write_geoparquet(folder / UNITS, geometries, columns, units.polygons.crs)
