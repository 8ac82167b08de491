"""What `isamap evaluate` found, as one page, tables, pictures and a document for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from isamap import __version__
from isamap.domain import evaluation_tables as tables
from isamap.domain.accuracy import Confusion
from isamap.domain.estimation import SampleAccuracy
from isamap.domain.evaluation import PICTURE_M, Tally, stitched
from isamap.domain.report import Figure, Report, Section, Table, shown
from isamap.errors import CheckError, StorageError
from isamap.io import plots
from isamap.io.report import PAGE, check_report_libraries, write_geoparquet, write_report
from isamap.io.zones import Units

SCHEMA = 1
UNITS = "units.parquet"
LITTLE = 0.9
"""Less of the truth than this, compared, is worth a warning."""
AGREEMENT = (
    "Counted on every pixel that both know. Against a product this is agreement, not accuracy; and areas counted "
    "from a map are biased: for areas with confidence intervals draw a sample (--design) and label it."
)


@dataclass(frozen=True)
class Evaluation:
    """Everything that one run found; either of the two may be missing."""

    tally: Tally | None = None
    """Against a truth that covers ground."""
    samples: Mapping[str, SampleAccuracy] | None = None
    """Estimates from a reference sample, by product."""
    points: Mapping[str, tables.Points] = field(default_factory=dict)
    """What became of the sample's points, by product."""
    unit: str = "km2"
    """Of the sample's areas."""

    @property
    def only_isa(self) -> bool:
        """Whether the truth has no pervious pixel, so that recall is all that is defined."""
        matrices = [] if self.tally is None else self.tally.confusion.values()
        return bool(matrices) and not any(matrix.alarm + matrix.quiet for matrix in matrices)

    def warnings(self) -> tuple[str, ...]:
        """What makes the figures doubtful."""
        found = []
        if self.tally is not None:
            if self.only_isa:
                found.append("The truth has no pervious pixel: only recall is defined.")
            elif not any(matrix.hit + matrix.miss for matrix in self.tally.confusion.values()):
                found.append("The truth has no impervious pixel: recall is not defined, and F1 says nothing.")
            whole = self.tally.coverage.get("", 0)
            used = max(
                (int(m.total) for (_, kind, _), m in self.tally.confusion.items() if not kind), default=0
            )
            if used < whole * LITTLE:
                found.append(
                    f"{used} of {whole} pixels of the truth are known to all products: only they were compared."
                )
        for name, points in self.points.items():
            if points.left_out:
                found.append(
                    f"{points.left_out} points lie where {name} maps nothing: "
                    "the others of their stratum stand for them."
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
            made += tables.sample_tables(self.samples, self.points, self.unit)
        return made

    def document(self) -> dict[str, Any]:
        """The figures as JSON."""
        document: dict[str, Any] = {"schema": SCHEMA, "command": "evaluate", "version": __version__}
        if self.tally is not None:
            document["products"] = tables.document(self.tally, only_isa=self.only_isa)
        if self.samples is not None:
            document["sample"] = {
                name: {
                    "unit": self.unit,
                    "used": self.points[name].used,
                    "left_out": self.points[name].left_out,
                    "unlabelled": self.points[name].unlabelled,
                    "mapped_area_from": "map" if self.points[name].counted else "sample",
                    **{title: estimate.as_json() for title, estimate in tables.estimates_of(found)},
                    "area": {str(code): estimate.as_json() for code, estimate in found.area.items()},
                    "mapped_area": {str(code): area for code, area in found.mapped_area.items()},
                }
                for name, found in self.samples.items()
            }
        return document


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
    """
    check_report_libraries()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{out} cannot be made: {error.strerror}") from error


def write(evaluation: Evaluation, facts: Sequence[tuple[str, str]], out: Path) -> tuple[Path, ...]:
    """The page, its tables and pictures in a folder; returns their paths, the page first.

    What an earlier report left there and this one does not have goes.
    """
    before = [*out.glob("*.csv"), *out.glob("*.png"), out / UNITS] if (out / PAGE).is_file() else []
    sections = []
    made = {table.name: table for table in evaluation.tables()}
    if evaluation.samples is not None:
        sections.append(_sample_section(evaluation, made))
    if evaluation.tally is not None:
        sections += _tally_sections(evaluation.tally, made)
    names = ", ".join(dict.fromkeys(_names(evaluation)))
    report = Report(
        title="Accuracy of impervious-surface maps",
        subtitle=names,
        facts=(*facts, ("isamap", __version__)),
        warnings=evaluation.warnings(),
        sections=tuple(section for section in sections if section.tables or section.figures),
    )
    paths = write_report(report, out, evaluation.document())
    for path in before:
        if path not in paths:
            path.unlink(missing_ok=True)
    return paths


def write_units(evaluation: Evaluation, units: Units, out: Path) -> Path:
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
    return write_geoparquet(out / UNITS, geometries, columns, units.polygons.crs)


def _names(evaluation: Evaluation) -> list[str]:
    found = list(evaluation.samples or {})
    if evaluation.tally is not None:
        found += [name for name, _, _ in evaluation.tally.confusion]
    return found


def _sample_section(evaluation: Evaluation, made: Mapping[str, Table]) -> Section:
    """Estimates with their intervals."""
    samples = evaluation.samples or {}
    series = []
    titles = [title for title, _ in tables.estimates_of(next(iter(samples.values())))]
    for name, found in samples.items():
        estimates = [estimate for _, estimate in tables.estimates_of(found)]
        series.append(
            plots.Series(
                name, [e.value for e in estimates], [e.low for e in estimates], [e.high for e in estimates]
            )
        )
    heading = plots.Heading("estimates", "Estimates with 95 % confidence intervals")
    figure = plots.bars(heading, titles, series, "share")
    text = "Design-based: the sample alone decides, whatever the map says of the ground between its points."
    return Section(
        "Estimates from the reference sample",
        text,
        tuple(made[name] for name in ("estimates", "areas", "matrix")),
        (figure,),
    )


def _tally_sections(tally: Tally, made: Mapping[str, Table]) -> list[Section]:
    """Everything counted on the ground that the truth covers."""
    everywhere = [(name, matrix) for (name, kind, _), matrix in tally.confusion.items() if not kind]
    matrices = [
        plots.confusion_matrix(
            plots.Heading(f"confusion-{number}", f"Confusion matrix: {name}", "Shares of all pixels."),
            ("not ISA", "ISA"),
            [
                [matrix.quiet / matrix.total, matrix.miss / matrix.total],
                [matrix.alarm / matrix.total, matrix.hit / matrix.total],
            ],
            ("map", "truth"),
        )
        for number, (name, matrix) in enumerate(everywhere, start=1)
        if matrix.total
    ]

    def pick(*names: str) -> tuple[Table, ...]:
        return tuple(made[name] for name in names if name in made)

    return [
        Section("Accuracy", AGREEMENT, pick("accuracy", "coverage"), (*_picture(tally), *matrices)),
        Section("Where", "", pick("accuracy-strata", "accuracy-units")),
        Section("On coarser support", "", pick("shares")),
        Section("Boundaries", "", pick("boundary")),
        Section("Probability", "", pick("calibration"), _reliability(tally)),
        Section("Worst disagreements", "", (), _worst(tally)),
    ]


def _picture(tally: Tally) -> tuple[Figure, ...]:
    """Map against truth on the first raster."""
    if not tally.pieces:
        return ()
    mapped, truth = stitched(tally.pieces)
    first = tally.pieces[0]
    size_m = first.size_m
    left, top = min(p.col for p in tally.pieces) * size_m, -min(p.row for p in tally.pieces) * size_m
    height, width = mapped.shape
    extent = plots.Extent((left, top - height * size_m, left + width * size_m, top))
    name = next(iter(tally.confusion))[0]
    heading = plots.Heading("agreement", f"Map against truth: {name}", "The first raster, thinned.")
    return (plots.agreement_map(heading, mapped, truth, extent, north_arrow=True),)


def _reliability(tally: Tally) -> tuple[Figure, ...]:
    """One curve per product with probabilities."""
    figures = []
    for number, (name, found) in enumerate(tally.reliability.items(), start=1):
        heading = plots.Heading(f"reliability-{number}", f"Reliability: {name}")
        curve = found.curve()
        figures.append(plots.reliability_curve(heading, curve.predicted, curve.observed, curve.count))
    return tuple(figures)


def _worst(tally: Tally) -> tuple[Figure, ...]:
    """The blocks on which the first product is most often wrong."""
    if not tally.worst:
        return ()
    pictures = [
        plots.Chip(f"{100 * d.difference:.0f} % wrong, at {d.x:.0f} {d.y:.0f}", d.mapped, d.truth)
        for d in tally.worst
    ]
    heading = plots.Heading(
        "worst", f"Worst disagreements: {tally.worst[0].product}", f"Squares of {PICTURE_M} m, north up."
    )
    return (plots.chips(heading, pictures),)
