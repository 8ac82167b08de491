"""What `isamap evaluate` found, as one page, tables, pictures and a document for programs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from isamap import __version__
from isamap.domain import evaluation_tables as tables
from isamap.domain import sample_tables
from isamap.domain.accuracy import Confusion
from isamap.domain.block_shares import ShareAccuracy
from isamap.domain.estimation import Estimate, SampleAccuracy
from isamap.domain.evaluation import Tally
from isamap.domain.report import Report, Table, shown
from isamap.errors import CheckError, StorageError
from isamap.io.evaluation_page import sample_section, tally_sections
from isamap.io.report import UNITS, check_place, check_report_libraries, geoparquet, write_report
from isamap.io.zones import Units

COMMAND, SCHEMA = "evaluate", 1
LITTLE = 0.9
"""Less of what truth and first map know than this, compared, is worth a warning."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that one run found, in one of three ways."""

    tally: Tally | None = None
    """Against a truth that covers ground."""
    samples: Mapping[str, SampleAccuracy] | None = None
    """Estimates from a reference sample, by product."""
    shares: Mapping[str, ShareAccuracy] | None = None
    """Estimates from blocks of observed shares, by product."""
    points: Mapping[str, sample_tables.Points] = field(default_factory=dict)
    """What became of the sample's points, by product."""
    unit: str = "km2"
    """Of the sample's areas."""
    remarks: tuple[str, ...] = ()
    """What else makes the figures doubtful."""

    @property
    def only_isa(self) -> bool:
        """Whether the truth has no pervious pixel, so that recall is all that is defined."""
        matrices = [] if self.tally is None else self.tally.confusion.values()
        return bool(matrices) and not any(matrix.alarm + matrix.quiet for matrix in matrices)

    def warnings(self) -> tuple[str, ...]:
        """What makes the figures doubtful."""
        found = [*self.remarks]
        if self.tally is not None:
            found += [
                f"{name} shows no impervious pixel on the compared ground: are the codes of --classes right?"
                for (name, kind, _), matrix in self.tally.confusion.items()
                if not kind and matrix.hit + matrix.alarm == 0
            ]
            if self.only_isa:
                found.append("The truth has no pervious pixel: only recall is defined.")
            elif not any(matrix.hit + matrix.miss for matrix in self.tally.confusion.values()):
                found.append("The truth has no impervious pixel: recall is not defined, and F1 says nothing.")
            found += () if self.only_isa else tables.partly_probable(self.tally)
            first = next(iter(self.tally.confusion))[0]
            seen = self.tally.coverage.get(first, 0)
            used = max(
                (int(m.total) for (_, kind, _), m in self.tally.confusion.items() if not kind), default=0
            )
            if used < seen * LITTLE:
                found.append(
                    f"{used} of the {seen} pixels that the truth and {first} know are known to all products: only they "
                    "were compared."
                )
        for name, points in self.points.items():
            if points.left_out:
                found.append(
                    f"{points.left_out} points lie where {name} maps nothing: "
                    "the others of their stratum stand for them."
                )
            if points.rare:
                met = ", ".join(
                    f"{rare.met} {rare.kind} among the {rare.units} points of {rare.stratum}"
                    for rare in points.rare
                )
                found.append(
                    f"{name}: {met}, which is much of the ground: 95 % intervals that hang on so few are "
                    + ("too short." if points.plain else "score intervals (Wilson 1927), and wide.")
                )
        unlabelled = max((points.unlabelled for points in self.points.values()), default=0)
        if unlabelled:
            found.append(f"{unlabelled} points have no observed class: those left stand for them.")
        return tuple(found)

    def tables(self) -> tuple[Table, ...]:
        """All tables."""
        made: tuple[Table, ...] = ()
        if self.tally is not None:
            made += tables.tables(self.tally, only_isa=self.only_isa)
        if self.samples is not None:
            made += sample_tables.sample_tables(self.samples, self.points, self.unit)
        if self.shares is not None:
            made += sample_tables.share_tables(self.shares, self.points, self.unit)
        return made

    def document(self) -> dict[str, Any]:
        """The figures as JSON."""
        document: dict[str, Any] = {"schema": SCHEMA, "command": COMMAND, "version": __version__}
        document["warnings"] = list(self.warnings())
        if self.tally is not None:
            document["products"] = tables.document(self.tally, only_isa=self.only_isa)
        if self.samples is not None:
            document["sample"] = {name: self._sampled(name, found) for name, found in self.samples.items()}
        if self.shares is not None:
            document["sample"] = {
                name: {**self._basis(name), **_figures(found), "units": self._units(name)}
                for name, found in self.shares.items()
            }
        return document

    def _basis(self, name: str) -> dict[str, Any]:
        """What the estimates of a product rest on."""
        points = self.points[name]
        return {
            "unit": self.unit,
            "used": points.used,
            "left_out": points.left_out,
            "unlabelled": points.unlabelled,
        }

    def _sampled(self, name: str, found: SampleAccuracy) -> dict[str, Any]:
        """Estimates of a product, everywhere and per unit."""
        points = self.points[name]
        return {
            **self._basis(name),
            "mapped_area_from": "map" if points.counted else "sample",
            **_figures(found),
            "mapped_area": {str(code): area for code, area in found.mapped_area.items()},
            "strata": {stratum: counts.tolist() for stratum, counts in points.strata.items()},
            "units": self._units(name),
        }

    def _units(self, name: str) -> dict[str, Any]:
        """Estimates of a product in every unit."""
        points = self.points[name]
        return {
            unit: {"points": n, "size": points.sizes.get(unit), **_figures(one)}
            for unit, (n, one) in points.units.items()
        }


def _figures(found: SampleAccuracy | ShareAccuracy) -> dict[str, Any]:
    areas = (
        {1: found.area} if isinstance(found, ShareAccuracy) else {code: found.area[code] for code in (0, 1)}
    )
    return {
        **{title: estimate.as_json() for title, estimate in sample_tables.estimates_of(found)},
        "area": {str(code): area.as_json() for code, area in areas.items()},
    }


def check(evaluation: Evaluation, min_f1: float | None, max_bias: float | None) -> None:
    """Compare the first product with what was asked for.

    Raises:
        CheckError: it falls short.
    """
    name, f1, bias = _headline(evaluation)
    if evaluation.only_isa:
        f1 = bias = nan
    if min_f1 is not None and not f1 >= min_f1:  # NaN is no pass
        raise CheckError(f"{name}: F1 is {shown(f1)}, less than {min_f1}")
    if max_bias is not None and not abs(bias) <= max_bias:
        raise CheckError(f"{name}: the ISA share is off by {shown(bias)}, more than {max_bias}")


def _headline(evaluation: Evaluation) -> tuple[str, float, float]:
    """Name, F1 and bias of the ISA share of the first product."""
    if evaluation.shares is not None:
        name, blocks = next(iter(evaluation.shares.items()))
        return name, nan, blocks.bias.value
    if evaluation.samples is not None:
        name, found = next(iter(evaluation.samples.items()))
        total = sum(found.mapped_area.values())
        bias = (found.mapped_area[1] - found.area[1].value) / total if total else nan
        return name, found.f1.value, bias
    assert evaluation.tally is not None
    (name, _, _), matrix = next(iter(evaluation.tally.confusion.items()))
    return name, matrix.f1, matrix.bias


def prepare(out: Path) -> None:
    """Make the folder of the report, and find out before the long work whether it can be written.

    Raises:
        StorageError, ConfigError: it cannot.
        InputError: the report of another command lies there.
    """
    check_report_libraries()
    check_place(out, COMMAND)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out} cannot be made: {error.strerror}") from error


def write(
    evaluation: Evaluation, facts: Sequence[tuple[str, str]], out: Path, units: Units | None = None
) -> tuple[Path, ...]:
    """The page, its tables and pictures in a folder, and the figures of units; returns their paths, the page first.

    What an earlier report left there and this one does not have goes.

    Raises:
        InputError: one of them would replace what is no report's.
    """
    sections = []
    made = {table.name: table for table in evaluation.tables()}
    if evaluation.samples is not None or evaluation.shares is not None:
        sections.append(sample_section(_measures(evaluation), made))
    if evaluation.tally is not None:
        sections += tally_sections(evaluation.tally, made)
    names = ", ".join(dict.fromkeys(_names(evaluation)))
    report = Report(
        title="Accuracy of impervious-surface maps",
        subtitle=names,
        facts=(*facts, ("isamap", __version__)),
        warnings=evaluation.warnings(),
        sections=tuple(section for section in sections if section.tables or section.figures),
    )
    more = {} if units is None else {UNITS: _units_table(evaluation, units)}
    return write_report(report, out, evaluation.document(), more)


def _units_table(evaluation: Evaluation, units: Units) -> bytes:
    """The figures of every unit and product with the unit's outline, as GeoParquet."""
    outlines = units.outlines()
    rows = [
        (unit, product, matrix)
        for (product, kind, unit), matrix in sorted((evaluation.tally or Tally()).confusion.items())
        if kind == "units"
    ]
    columns: dict[str, list[Any]] = {
        "unit": [unit for unit, _, _ in rows],
        "product": [product for _, product, _ in rows],
    }
    for key in Confusion().metrics():
        columns[key] = [matrix.metrics()[key] for _, _, matrix in rows]
    columns["pixels"] = [int(matrix.total) for _, _, matrix in rows]
    geometries = [outlines[unit] for unit, _, _ in rows]
    return geoparquet(geometries, columns, units.polygons.crs)


def _measures(evaluation: Evaluation) -> dict[str, Iterable[tuple[str, Estimate]]]:
    """Estimates by product, whatever was sampled."""
    sampled: dict[str, SampleAccuracy | ShareAccuracy] = {
        **(evaluation.samples or {}),
        **(evaluation.shares or {}),
    }
    return {name: sample_tables.estimates_of(one) for name, one in sampled.items()}


def _names(evaluation: Evaluation) -> list[str]:
    found = [*(evaluation.samples or {}), *(evaluation.shares or {})]
    if evaluation.tally is not None:
        found += [name for name, _, _ in evaluation.tally.confusion]
    return found
