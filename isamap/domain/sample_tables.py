"""Estimates from a reference sample as tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isamap.domain.block_shares import ShareAccuracy
from isamap.domain.caution import Rare
from isamap.domain.estimation import Estimate, SampleAccuracy
from isamap.domain.report import Cell, Table

INTERVAL = "estimate", "SE", "95 % from", "95 % to", "interval"
STRATIFIED = (
    "Stratified estimator (Olofsson et al. 2014; Stehman 2014 where strata are not the map's classes)."
)
INTERVALS = "Intervals: normal is 1.96 standard errors either way, score minds rare errors (Wilson 1927)."


@dataclass(frozen=True)
class Points:
    """What became of the points of a sample."""

    used: int
    """Points that were compared."""
    left_out: int
    """Points that the product does not map."""
    unlabelled: int
    """Points without an observed class."""
    counted: bool = False
    """Whether the mapped areas were counted in the map; else they are estimated from the points."""
    rare: tuple[Rare, ...] = ()
    """Strata whose errors are so few that intervals mind them."""
    strata: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """Hits, alarms, misses and quiet points of each stratum."""
    units: Mapping[str, tuple[int, SampleAccuracy | ShareAccuracy]] = field(default_factory=dict)
    """Points in each unit, and its estimates."""
    sizes: Mapping[str, float] = field(default_factory=dict)
    """Counted size of the units; those that are not there are estimated with the areas."""
    plain: bool = False
    """Whether intervals do without those strata."""


def sample_tables(
    results: Mapping[str, SampleAccuracy], points: Mapping[str, Points], unit: str
) -> tuple[Table, ...]:
    """Tables of estimates from a sample.

    Args:
        results: by product.
        points: what became of them, by product.
        unit: of the areas: `km2`, or `pixels`.
    """
    rows = [
        (name, title, *_interval(estimate))
        for name, result in results.items()
        for title, estimate in estimates_of(result)
    ]
    estimates = Table(
        "estimates",
        "Accuracy, estimated from the sample",
        ("product", "measure", *INTERVAL),
        tuple(rows),
        _note(points),
    )
    made = (estimates, _areas(results, points, unit), _matrix(results), _strata(points), _units(points, unit))
    return tuple(table for table in made if table.rows)


def share_tables(
    results: Mapping[str, ShareAccuracy], points: Mapping[str, Points], unit: str
) -> tuple[Table, ...]:
    """The same of blocks whose ISA share was observed."""
    rows = [
        (name, title, *_interval(estimate))
        for name, result in results.items()
        for title, estimate in estimates_of(result)
    ]
    areas = [(name, "ISA", *_interval(result.area)) for name, result in results.items()]
    made = (
        Table(
            "estimates",
            "ISA shares, estimated from the sample",
            ("product", "measure", *INTERVAL),
            tuple(rows),
            _note(points),
        ),
        Table(
            "areas",
            f"Area, {unit}: error-adjusted",
            ("product", "class", *INTERVAL),
            tuple(areas),
            STRATIFIED,
        ),
        _units(points, unit),
    )
    return tuple(table for table in made if table.rows)


def _note(points: Mapping[str, Points]) -> str:
    said = "; ".join(
        f"{name}: {p.used} points, {p.left_out} without map and {p.unlabelled} without observed class left out."
        for name, p in points.items()
    )
    return f"{said} {INTERVALS}"


def _areas(results: Mapping[str, SampleAccuracy], points: Mapping[str, Points], unit: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, result in results.items():
        for code in result.classes:
            source = "counted" if points[name].counted else "from the sample"
            rows.append((name, _label(code), result.mapped_area[code], source, *_interval(result.area[code])))
    columns = "product", "class", "mapped", "which is", *INTERVAL
    return Table("areas", f"Area, {unit}: mapped, and error-adjusted", columns, tuple(rows), STRATIFIED)


def _matrix(results: Mapping[str, SampleAccuracy]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, result in results.items():
        for code, counts in zip(result.classes, result.counts.tolist(), strict=True):
            rows.append((name, f"mapped {_label(code)}", *counts))
    classes: Sequence[int] = next(iter(results.values())).classes if results else ()
    columns = "product", "class", *(f"observed {_label(code)}" for code in classes)
    return Table("matrix", "Sample counts", columns, tuple(rows))


def _strata(points: Mapping[str, Points]) -> Table:
    """Errors met per stratum; a lone stratum is what the sample counts say already."""
    rows: list[tuple[Cell, ...]] = []
    for name, one in points.items():
        for stratum, counts in one.strata.items() if len(one.strata) > 1 else ():
            hit, alarm, miss, quiet = counts.tolist()
            units = hit + alarm + miss + quiet
            right = (hit + quiet) / units if units else None
            rows.append((stratum, name, units, hit, alarm, miss, quiet, right))
    columns = "stratum", "product", "points", "hits", "false alarms", "misses", "neither", "right"
    note = "Points, not shares of the ground: strata are sampled at different rates."
    return Table("sample-strata", "Sample counts per stratum", columns, tuple(rows), note)


def _units(points: Mapping[str, Points], unit: str) -> Table:
    """Estimates of every unit."""
    rows: list[tuple[Cell, ...]] = []
    for name, one in points.items():
        for place, (count, found) in one.units.items():
            area = found.area if isinstance(found, ShareAccuracy) else found.area[1]
            measures = (*estimates_of(found), (f"ISA area, {unit}", area))
            rows += [
                (place, name, title, *_interval(e), one.sizes.get(place), count) for title, e in measures
            ]
    columns = "units", "product", "measure", *INTERVAL, f"size, {unit}", "points"
    note = (
        "The strata stay those of everything. The area of a unit is its size, counted in the map, times its estimated "
        "share (Cochran 1977, 5A.14); where no size is shown it is estimated, too. No interval minds rare errors here."
    )
    return Table("sample-units", "Estimates per unit", columns, tuple(rows), note)


def _label(code: int) -> str:
    return "ISA" if code == 1 else "not ISA"


def _interval(estimate: Estimate) -> tuple[Cell, ...]:
    return estimate.value, estimate.se, estimate.low, estimate.high, estimate.interval


def estimates_of(result: SampleAccuracy | ShareAccuracy) -> Iterable[tuple[str, Estimate]]:
    """Name and value of every accuracy measure of a sample."""
    if isinstance(result, ShareAccuracy):
        return result.measures()
    return (
        ("F1", result.f1),
        ("IoU", result.iou),
        ("user's accuracy (precision)", result.users[1]),
        ("producer's accuracy (recall)", result.producers[1]),
        ("overall", result.overall),
    )
