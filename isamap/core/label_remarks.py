"""What a reader of an evaluation should know of its labels."""

from typing import TYPE_CHECKING

from isamap.domain.evaluation import Tally
from isamap.io.footprints import footprints
from isamap.io.label_area import polygons_beside
from isamap.io.label_polygons import labels_of

if TYPE_CHECKING:
    from isamap.core.evaluate import Comparison, Truth

MUCH = 0.99
"""Less of the labels than this, compared, is said."""


def remarks(comparison: "Comparison", tally: Tally) -> tuple[str, ...]:
    """What a reader of the figures should know of the labels."""
    return *_unlabelled(comparison.truth), *_beside(comparison, tally)


def _beside(comparison: "Comparison", tally: Tally) -> tuple[str, ...]:
    """Labels that lie beside the maps; with an area that is what was asked for."""
    truth, first = comparison.truth, comparison.products[0]
    if comparison.area is not None:
        return ()
    if tally.truth_m2:
        share = tally.covered_m2.get(first.name, 0.0) / tally.truth_m2
        if share < MUCH:
            return (
                f"{1 - share:.0%} of the labels lie where {first.name} maps nothing: they were not compared.",
            )
    if truth.labels is not None:
        polygons = labels_of(truth.labels)
        beside, number = polygons_beside(polygons, footprints(first).boxes)
        if beside:
            return (f"{beside} of {number} label polygons lie beside {first.name}: they were not compared.",)
    return ()


def _unlabelled(truth: "Truth") -> tuple[str, ...]:
    """Polygons without a label."""
    if truth.labels is None:
        return ()
    unlabelled = labels_of(truth.labels).unlabelled
    column = truth.labels.column
    return (f"{unlabelled} polygons have no label in column {column}: nothing is known there.",) * (
        unlabelled > 0
    )
