"""The report of `isamap change`: tables, figures, JSON, and estimates where there is a reference sample."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isamap import __version__
from isamap.core.differencing import Options, Outcome, units_of
from isamap.domain import change_tables as tables
from isamap.domain.change_sample import Sampled
from isamap.domain.change_tally import ALL
from isamap.domain.change_warnings import of_evidence, of_sample
from isamap.domain.changes import CHANGE
from isamap.domain.estimation import Estimate
from isamap.domain.report import Cell, Figure, Report, Section, Table, is_defined
from isamap.domain.transition import METHODS
from isamap.io.zones import Units

COMMAND, SCHEMA = "change", 1
"""Of `--json` and `report.json`."""
MANY_LOOKS_MISSING = 0.05
"""Share of flagged ground from which a report warns."""


def warnings_of(outcome: Outcome, sampled: Sampled | None) -> tuple[str, ...]:
    """What makes the figures doubtful."""
    options = outcome.options
    found = [
        *_of_maps(outcome),
        *of_evidence(options.years, probability=options.probability),
        *_of_classes(outcome),
        *_of_shifts(outcome),
    ]
    if sampled is None:
        found.append(
            f"All areas are counts of the {options.method} reading, unadjusted: they carry the errors of maps and "
            "reading. Give --sample to correct them."
        )
    else:
        found += of_sample(sampled)
    return (*found, *_of_tiles(outcome), *_of_ground(outcome))


def _of_maps(outcome: Outcome) -> list[str]:
    """How the maps were made."""
    found = list(outcome.remarks)
    if outcome.options.versions:
        found.append(
            "Version change: the maps of different years were made by different recipes. The differences below are "
            "those of the recipes as much as those of the ground."
        )
    if any("unknown" in text for text in outcome.lineages):
        found.append("Maps without an item beside them: whether all years were made alike is unknown.")
    if alike := {name: made.alike for name, made in outcome.made.items() if made.alike}:
        name, ((first, second), *_) = min(alike.items())
        found.append(
            f"The same bytes are the maps of two years in {len(alike)} tiles ({name}: {first} and {second}): is one a copy?"
        )
    return found


def _of_classes(outcome: Outcome) -> list[str]:
    """Years without the probabilities that were asked for."""
    lacking = {name: made.as_classes for name, made in outcome.made.items() if made.as_classes}
    if not lacking:
        return []
    years = ", ".join(map(str, sorted({year for some in lacking.values() for year in some})))
    tiles = f"{len(lacking)} of {len(outcome.made)} tiles ({_some_of(lacking)})"
    text = f"Without probabilities, and read as classes: maps of {years} in {tiles}. isamap infer --probability makes them."
    return [text]


def _of_shifts(outcome: Outcome) -> list[str]:
    """Maps that were to be moved, and were not."""
    left = [f"{row[0]} {row[1]}" for row in _shifts(outcome).rows if row[-1] != tables.MOVED]
    if not outcome.options.align or not left:
        return []
    return [
        f"Not brought onto the first year, for no shift was measured that can be trusted: {len(left)} maps ({_some_of(left)})."
    ]


def _shifts(outcome: Outcome) -> Table:
    """Shifts between years of all tiles."""
    by_tile = {name: made.shifts for name, made in outcome.made.items()}
    return tables.shifts(outcome.options.years, by_tile, outcome.gaps, aligned=outcome.options.align)


def _some_of(names: Iterable[str]) -> str:
    """The first names of many."""
    ordered = sorted(names)
    return ", ".join(ordered[:3]) + (", ..." if len(ordered) > 3 else "")


def _of_tiles(outcome: Outcome) -> list[str]:
    """Tiles that are not as the others."""
    found = []
    if outcome.gaps:
        found.append(
            f"{len(outcome.gaps)} tiles lack a map of some year, which counts as a year without a look."
        )
    if outcome.faults:
        found.append(f"{len(outcome.faults)} tiles failed and are in no figure.")
    if outcome.others:
        found.append(
            f"{len(outcome.others)} products of other runs lie in the folder and are in no figure "
            f"({_some_of(outcome.others)})."
        )
    return found


def _of_ground(outcome: Outcome) -> list[str]:
    """Ground that is not seen enough, or not read evenly."""
    tally, method = outcome.tally, outcome.options.method
    if ALL not in tally.area_m2:
        return []
    found = []
    if tables.looks(tally, method) > MANY_LOOKS_MISSING:
        found.append("More than 5 % of the ground has too few looks; it is flagged and in no figure.")
    if (text := tables.one_sided(tally, method)) is not None:
        found.append(text)
    return found


def all_tables(outcome: Outcome, sampled: Sampled | None) -> list[Table]:
    """Every table that has rows, the most asked for first."""
    tally, method = outcome.tally, outcome.options.method
    found = [*tables.sample(sampled, tally, method)] if sampled else []
    found += [tables.methods(tally, method, outcome.options.min_area_m2), tables.areas(tally, method)]
    found.append(tables.rates(tally, method))
    found += [tables.transitions(tally, method), tables.classes(tally, method)]
    found.append(_shifts(outcome))
    failed = tuple((name, str(fault)) for name, fault in sorted(outcome.faults.items()))
    found.append(Table("failures", "Tiles that failed", ("tile", "why"), failed))
    return [table for table in found if table.rows]


def document(outcome: Outcome, sampled: Sampled | None) -> dict[str, Any]:
    """The outcome as a JSON document; the same whoever made the tiles, and when."""
    options = outcome.options
    return {
        "schema": SCHEMA,
        "command": COMMAND,
        "years": list(options.years),
        "method": options.method,
        "version_change": options.versions,
        "settings": settings(options),
        "maps": dict(zip(map(str, options.years), outcome.lineages, strict=True)),
        "requested": len(outcome.made) + len(outcome.faults),
        "failed": {name: str(fault) for name, fault in sorted(outcome.faults.items())},
        "gaps": {name: list(years) for name, years in sorted(outcome.gaps.items())},
        "warnings": list(warnings_of(outcome, sampled)),
        "tables": {
            table.name: [dict(zip(table.columns, map(_known, row), strict=True)) for row in table.rows]
            for table in all_tables(outcome, sampled)
        },
    }


def settings(options: Options) -> dict[str, Any]:
    """What was asked of the run, by the names of its options; `min_area` in m2."""
    chances = options.chances
    return {
        "probability": options.probability,
        "false_alarm": chances.false_alarm,
        "miss": chances.miss,
        "gain_rate": chances.gain,
        "loss_rate": chances.loss,
        "start_share": chances.start,
        "min_area": options.min_area_m2,
        "min_looks": options.min_looks,
        "align": options.align,
        "units": options.units,
        "allow_overlap": options.allow_overlap,
    }


def progress(outcome: Outcome) -> dict[str, int]:
    """What this run had to do: for `--json`, beside the document."""
    states = [made.state for made in outcome.made.values()]
    return {"made": states.count("made"), "skipped": states.count("skipped")}


def _known(cell: Cell) -> Cell:
    """A cell for JSON, which knows no NaN."""
    return cell if is_defined(cell) else None


def report(outcome: Outcome, sampled: Sampled | None, folder: Path) -> Report:
    """The outcome as a page; the rasters lie in `folder`."""
    options = outcome.options
    years = f"{options.years[0]} to {options.years[-1]}"
    found = {table.name: table for table in all_tables(outcome, sampled)}
    facts = [
        ("years", ", ".join(map(str, options.years))),
        ("method", options.method),
        ("evidence", "probabilities where they are" if options.probability else "classes"),
        ("error rates", f"false alarm {options.chances.false_alarm:g}, miss {options.chances.miss:g}"),
        ("rates a year", f"gain {options.chances.gain:g}, loss {options.chances.loss:g}"),
        ("ISA share at the start", f"{options.chances.start:g}"),
        ("smallest patch", f"{options.min_area_m2:g} m²"),
        ("fewest looks", str(options.min_looks)),
        ("shifts", "years are brought onto the first" if options.align else "as they are"),
        ("units", options.units or "none"),
        *((f"maps of {year}", text) for year, text in zip(options.years, outcome.lineages, strict=True)),
        ("tiles", str(len(outcome.made))),
        ("isamap", __version__),
    ]
    sections = [
        Section(
            "Change",
            "",
            _some(found, "estimates", "points", "strata", "methods", "classes"),
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


def _figure(outcome: Outcome, sampled: Sampled | None) -> Any:
    """ISA area over the years by every reading, and the sample's estimates with their intervals."""
    from isamap.io.plots import Series, time_series
    from isamap.io.sheet import Heading

    years = outcome.options.years
    lines = [Series(f"{name}, unadjusted", outcome.tally.figures(ALL, name).isa_km2) for name in METHODS]
    if sampled:
        missing = Estimate(float("nan"), float("nan"))
        seen = [sampled.zones[ALL].get(f"ISA {year} (km²)", missing) for year in years]
        low, high = [one.low for one in seen], [one.high for one in seen]
        lines.append(Series("estimate from the sample", [one.value for one in seen], low, high))
    heading = Heading(
        "isa-area", "Impervious area", "Counts of the readings are unadjusted; whiskers are 95 % intervals."
    )
    return time_series(heading, years, lines, "ISA (km²)")


def write(outcome: Outcome, sampled: Sampled | None, folder: Path) -> tuple[Path, ...]:
    """Page, tables as CSV, figures, `report.json`, and with units their outlines and figures as GeoParquet.

    What an earlier report left in the folder and this one does not have goes.

    Raises:
        InputError: one of them would replace what is no report's.
    """
    from isamap.io.report import UNITS, write_report

    units = units_of(outcome.options)
    more = {} if units is None else {UNITS: _units_table(outcome, sampled, units)}
    return write_report(report(outcome, sampled, folder), folder, document(outcome, sampled), more)


def _units_table(outcome: Outcome, sampled: Sampled | None, units: Units) -> bytes:
    """Outlines and figures of the units that have any, as GeoParquet."""
    from isamap.io.report import geoparquet

    columns = tables.unit_columns(outcome.tally, outcome.options.method, sampled)
    outlines = units.outlines()
    geometries = [outlines[str(unit)] for unit in columns["unit"]]
    return geoparquet(geometries, columns, units.polygons.crs)
