"""Tables of ground with 1 m labels: pixels, outlines, shares of coarser cells, and what probabilities are worth."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tables
import torch
from accuracy_ground import OUTSIDE, Area
from accuracy_models import Forest, Linear, Model, majority

from isamap.domain.accuracy import Confusion
from isamap.domain.boundary import BoundaryScore
from isamap.domain.calibration import fit
from isamap.domain.fraction import FractionScore
from isamap.domain.reliability import Reliability
from isamap.model.settling import calibrated

DISTANCES_PX = (2, 5, 10)
SUPPORTS_PX = (10, 30, 100)


@dataclass(frozen=True)
class Scores:
    """One map against its reference."""

    confusion: Confusion
    boundaries: tuple[BoundaryScore, ...]
    """At each of `DISTANCES_PX`."""
    fractions: tuple[FractionScore, ...]
    """At each of `SUPPORTS_PX`."""

    @classmethod
    def count(cls, mapped: np.ndarray, reference: np.ndarray) -> "Scores":
        """Compare a map `(Y, X)`, bool or 0 and 1, with labels that have 255 where nothing is known."""
        mapped = mapped.astype(np.uint8)
        halo = max(DISTANCES_PX)
        around = [np.pad(one, halo, constant_values=OUTSIDE) for one in (mapped, reference)]
        fractions = FractionScore.compare_all(mapped, reference, SUPPORTS_PX)
        return cls(
            Confusion.count(mapped, reference),
            tuple(BoundaryScore.count(*around, distance, halo) for distance in DISTANCES_PX),
            tuple(fractions[support] for support in SUPPORTS_PX),
        )

    @property
    def pixels(self) -> tuple[float, ...]:
        """IoU, F1, precision, recall, two-class mean F1."""
        c = self.confusion
        return float(c.iou), float(c.f1), float(c.precision), float(c.recall), float(c.mean_f1)

    @property
    def outlines_and_shares(self) -> tuple[float, ...]:
        """Boundary IoU by distance, then MAE and bias of the ISA share by support."""
        return (
            *(float(score.iou) for score in self.boundaries),
            *(float(score.mae) for score in self.fractions),
            *(float(score.bias) for score in self.fractions),
        )


def maps_of(
    area: Area, models: list[Model], linear: Linear, forest: Forest | None
) -> Iterator[tuple[str, np.ndarray]]:
    """Every map of an area by name: yardsticks, models, the best that any 10 m map could be."""
    yield "everything ISA", np.ones(area.isa.shape, np.bool_)
    yield linear.name, linear.map(area)
    if forest is not None:
        yield forest.name, forest.map(area)
    for model in models:
        mapped = model.map(area)
        yield f"**{model.name}**", mapped
        yield f"{model.name}, as a 10 m product", majority(mapped.astype(np.uint8))
    yield "true 10 m majority (bound of any 10 m map)", majority(area.isa)


def labelled_table(
    area: Area, models: list[Model], linear: Linear, forest: Forest | None = None
) -> Iterator[str]:
    """Two tables of one area with 1 m labels."""
    share = float((area.isa == 1).sum() / (area.isa != OUTSIDE).sum())
    yield f"\n### {area.name}, ISA share {share:.3f}\n"
    found = [(name, Scores.count(mapped, area.isa)) for name, mapped in maps_of(area, models, linear, forest)]
    yield from tables.table(
        ("map", "IoU", "F1", "precision", "recall", "two-class mean F1"),
        ((name, *scores.pixels) for name, scores in found),
    )
    yield "\nOutlines (boundary IoU by distance) and ISA share by size of cell (mean absolute error, bias):\n"
    heads = [f"BIoU {distance} m" for distance in DISTANCES_PX]
    heads += [f"{figure} {support} m" for figure in ("MAE", "bias") for support in SUPPORTS_PX]
    yield from tables.table(("map", *heads), ((name, *scores.outlines_and_shares) for name, scores in found))


def percent(probability: np.ndarray) -> np.ndarray:
    """Probabilities as maps hold them."""
    return np.rint(probability * 100).astype(np.uint8)


def halves(area: Area) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the left and of the right half, about as many in each, 255 elsewhere."""
    known = (area.isa != OUTSIDE).sum(axis=0).cumsum()
    middle = int(np.searchsorted(known, known[-1] / 2)) + 1
    left, right = area.isa.copy(), area.isa.copy()
    left[:, middle:], right[:, :middle] = OUTSIDE, OUTSIDE
    return left, right


def reliability_table(val: Area, others: list[Area], models: list[Model]) -> Iterator[str]:
    """Expected calibration error and Brier score, before and after calibration on ground that is not scored."""
    rows = []
    for model in models:
        sides = halves(val)
        raw = model.on(val)
        counted = [Reliability.count(percent(raw), side) for side in sides]
        after = Reliability()
        for own, other in zip(sides, reversed(counted), strict=True):
            after += Reliability.count(percent(_calibrated(raw, fit(other))), own)
        rows.append(
            (f"**{model.name}**", f"{val.name}, each half by the other", counted[0] + counted[1], after)
        )
        numbers = model.card.calibration or fit(counted[0] + counted[1])
        for area in others:
            raw = model.on(area)
            pair = [Reliability.count(percent(p), area.isa) for p in (raw, _calibrated(raw, numbers))]
            rows.append((f"**{model.name}**", f"{area.name}, by {val.name}", *pair))
    yield from tables.table(
        ("model", "ground", "ECE, own", "ECE, calibrated", "Brier, own", "Brier, calibrated"),
        (
            (
                name,
                ground,
                *(float(getattr(one, figure)) for figure in ("ece", "brier") for one in (raw, after)),
            )
            for name, ground, raw, after in rows
        ),
    )


def _calibrated(probability: np.ndarray, calibration: object) -> np.ndarray:
    return calibrated(torch.from_numpy(probability), calibration).numpy()
