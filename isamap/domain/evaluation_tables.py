"""What was counted, as tables for people and as a document for programs."""

from typing import Any

from isamap.domain.accuracy import Confusion
from isamap.domain.evaluation import Tally
from isamap.domain.report import Cell, Table, is_defined

ACCURACY = (
    ("IoU", "iou"),
    ("F1", "f1"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("two-class mean F1", "mean_f1"),
    ("overall", "overall"),
    ("kappa", "kappa"),
    ("MCC", "mcc"),
    ("ISA share, map", "isa_share"),
    ("ISA share, truth", "reference_share"),
    ("bias", "bias"),
)
"""Column and property of `Confusion`."""
CUT = (
    "Of shares, pixels of at least half count as ISA in the matrix and what follows from it; ISA shares and bias are "
    "those of the shares themselves."
)
COVERED = (
    "Pixels that truth and map know, and others beside them. All labels: of all label rasters, also beside the maps; of "
    "large ones some blocks stand for the others."
)
PROBABLE = "Pixels: those of the compared ones whose probability is known (a `.prob.tif` beside the map); all is of them."
ONLY_RECALL = "The truth knows no pervious ground: recall is all that is defined."


def tables(tally: Tally, *, only_isa: bool = False) -> tuple[Table, ...]:
    """All tables of an evaluation that have rows.

    Args:
        tally: what was counted.
        only_isa: whether the truth knows ISA alone; then only recall is shown.
    """
    made = [_accuracy(tally, only_isa=only_isa), _coverage(tally)]
    made += [_zones(tally, kind, only_isa=only_isa) for kind in ("strata", "units")]
    if not only_isa:
        made += [_fraction(tally), _boundary(tally), _calibration(tally)]
    return tuple(table for table in made if table.rows)


def _figures(matrix: Confusion, *, only_isa: bool) -> tuple[Cell, ...]:
    """The cells of one matrix."""
    if only_isa:
        return tuple(matrix.recall if name == "recall" else None for _, name in ACCURACY)
    return tuple(getattr(matrix, name) for _, name in ACCURACY)


def _accuracy(tally: Tally, *, only_isa: bool) -> Table:
    rows = [
        (product, *_figures(matrix, only_isa=only_isa), int(matrix.total))
        for (product, kind, _), matrix in tally.confusion.items()
        if not kind
    ]
    columns = "product", *(title for title, _ in ACCURACY), "pixels"
    note = ONLY_RECALL if only_isa else "All pixels that the truth and every product know."
    if any(matrix.of_shares for matrix in tally.confusion.values()):
        note = f"{note} {CUT}"
    return Table("accuracy", "Accuracy per pixel", columns, tuple(rows), note)


def _coverage(tally: Tally) -> Table:
    """Ground that truth and product know; as a share of all labels where their ground was counted."""
    (first, most), *others = [(name, pixels) for name, pixels in tally.coverage.items() if name]
    share = tally.covered_m2[first] / tally.truth_m2 if tally.truth_m2 else None
    rows: list[tuple[Cell, ...]] = [(first, most, share)]
    columns: tuple[str, ...] = "product", "pixels", "share of all labels"
    if others:
        rows = [(first, most, share, 1.0), *((name, pixels, None, pixels / most) for name, pixels in others)]
        columns += ("share of those of the first",)
    return Table("coverage", "How much of the truth is mapped", columns, tuple(rows), COVERED)


def _zones(tally: Tally, kind: str, *, only_isa: bool) -> Table:
    rows = [
        (zone, product, *_figures(matrix, only_isa=only_isa), int(matrix.total))
        for (product, found, zone), matrix in sorted(tally.confusion.items(), key=lambda item: item[0][2])
        if found == kind
    ]
    title = {"strata": "Accuracy per stratum", "units": "Accuracy per unit"}[kind]
    columns = kind, "product", *(text for text, _ in ACCURACY), "pixels"
    return Table(f"accuracy-{kind}", title, columns, tuple(rows))


def _fraction(tally: Tally) -> Table:
    rows = [
        (f"{support} m", product, score.mae, score.rmse, score.bias, score.r2, score.slope, score.n)
        for (product, support), score in sorted(tally.fraction.items(), key=lambda item: item[0][1])
    ]
    columns = "support", "product", "MAE", "RMSE", "bias", "R2", "slope", "blocks"
    note = "ISA shares of blocks against the truth's; coarse products are judged fairly from their own pixel size on."
    return Table("shares", "ISA share by support", columns, tuple(rows), note)


def _boundary(tally: Tally) -> Table:
    rows = [
        (
            f"{distance} m",
            product,
            score.iou,
            score.precision,
            score.recall,
            score.f1,
        )
        for (product, distance), score in sorted(tally.boundary.items(), key=lambda item: item[0][1])
    ]
    columns = "distance", "product", "boundary IoU", "relaxed precision", "relaxed recall", "relaxed F1"
    note = "Boundary IoU: Cheng et al. 2021, with a width in metres. Relaxed: hits within the distance count."
    return Table("boundary", "Boundaries", columns, tuple(rows), note)


def _calibration(tally: Tally) -> Table:
    rows = [
        (product, score.ece, score.brier, score.average_precision, score.best_threshold(), score.n)
        for product, score in tally.reliability.items()
    ]
    columns = "product", "ECE", "Brier score", "average precision", "threshold of the best F1", "pixels"
    return Table("calibration", "Calibration of the probability", columns, tuple(rows), PROBABLE)


def partly_probable(tally: Tally) -> tuple[str, ...]:
    """What to say of products whose probability is known on a part of the compared ground alone."""
    compared = {product: int(m.total) for (product, kind, _), m in tally.confusion.items() if not kind}
    return tuple(
        f"The calibration of {product} is that of {score.n} of the {compared[product]} compared pixels: no probability "
        "(.prob.tif) is known of the others."
        for product, score in tally.reliability.items()
        if score.n < compared[product]
    )


def document(tally: Tally, *, only_isa: bool = False) -> dict[str, Any]:
    """The figures as JSON: by product, then by measure; what is not defined is null."""
    products: dict[str, Any] = {}
    for table in tables(tally, only_isa=only_isa):
        at = table.columns.index("product")
        for row in table.rows:
            keys = [str(row[index]) for index in range(at)]
            place = products.setdefault(str(row[at]), {}).setdefault(table.name, {})
            for key in keys:
                place = place.setdefault(key, {})
            place.update(
                {
                    title: _plain(cell)
                    for title, cell in zip(table.columns[at + 1 :], row[at + 1 :], strict=True)
                }
            )
    return products


def _plain(cell: Cell) -> Cell:
    """JSON knows no NaN."""
    return cell if is_defined(cell) else None
