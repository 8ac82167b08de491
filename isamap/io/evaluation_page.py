"""Sections of the page on which `isamap evaluate` says what it found."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from isamap.domain.disagreement import PICTURE_M, stitched
from isamap.domain.estimation import Estimate
from isamap.domain.evaluation import Tally
from isamap.domain.evaluation_tables import CUT
from isamap.domain.product import NODATA
from isamap.domain.report import Figure, Section, Table
from isamap.io import plots

AGREEMENT = (
    "Counted on every pixel that both know. Against a product this is agreement, not accuracy; and areas counted "
    "from a map are biased: for areas with confidence intervals draw a sample (--design) and label it."
)


def sample_section(
    measures: Mapping[str, Iterable[tuple[str, Estimate]]], made: Mapping[str, Table]
) -> Section:
    """Estimates with their intervals.

    Args:
        measures: name and estimate of each measure, by product.
        made: all tables by name.
    """
    found = {name: list(pairs) for name, pairs in measures.items()}
    titles = [title for title, _ in next(iter(found.values()))]
    series = []
    for name, pairs in found.items():
        values = [estimate for _, estimate in pairs]
        series.append(
            plots.Series(name, [e.value for e in values], [e.low for e in values], [e.high for e in values])
        )
    heading = plots.Heading("estimates", "Estimates with 95 % confidence intervals")
    figure = plots.bars(heading, titles, series, "share")
    text = "Design-based: the sample alone decides, whatever the map says of the ground between its points."
    wanted = ("estimates", "areas", "matrix", "sample-strata", "sample-units")
    return Section(
        "Estimates from the reference sample",
        text,
        tuple(made[name] for name in wanted if name in made),
        (figure,),
    )


def tally_sections(tally: Tally, made: Mapping[str, Table]) -> list[Section]:
    """Everything counted on the ground that the truth covers."""
    everywhere = [(name, matrix) for (name, kind, _), matrix in tally.confusion.items() if not kind]
    matrices = [
        plots.confusion_matrix(
            plots.Heading(
                f"confusion-{number}",
                f"Confusion matrix: {name}",
                f"Parts of all pixels. {CUT}" if matrix.of_shares else "Parts of all pixels.",
            ),
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
    rows, cols = _compared(truth)
    mapped, truth = mapped[rows, cols], truth[rows, cols]
    size_m = tally.pieces[0].size_m
    left = (min(p.col for p in tally.pieces) + cols.start) * size_m
    top = -(min(p.row for p in tally.pieces) + rows.start) * size_m
    height, width = mapped.shape
    extent = plots.Extent((left, top - height * size_m, left + width * size_m, top))
    name = next(iter(tally.confusion))[0]
    heading = plots.Heading("agreement", f"Map against truth: {name}", "The first raster, thinned.")
    return (plots.agreement_map(heading, mapped, truth, extent, north_arrow=True),)


def _compared(truth: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns that hold everything the truth knows; windows reach further than rasters."""
    known = truth != NODATA
    if not known.any():
        return slice(0, truth.shape[0]), slice(0, truth.shape[1])
    rows, cols = (np.flatnonzero(known.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


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
