"""`isamap evaluate --sample`: accuracy and areas estimated from a reference sample."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isamap.domain.estimation import SampleAccuracy, Stratum, estimate
from isamap.domain.product import NODATA
from isamap.domain.reference_sample import (
    SAME_DEG,
    SAME_M,
    Strata,
    condition,
    label,
    observed_codes,
    repeated,
    strata_of_table,
)
from isamap.errors import InputError
from isamap.io.cover import looks
from isamap.io.probe import check_support, classes_at
from isamap.io.products import Product
from isamap.io.sample import Sample, in_degrees, read_sample, read_table

log = logging.getLogger(__name__)

SQUARE_KM = 1e6
STRATUM = "stratum"
"""Column whose meaning nobody has to be told."""
NEARLY_ALL = 0.999
"""A product that knows this share of the first map's ground is counted like it."""


@dataclass(frozen=True)
class Survey:
    """A reference sample and how it was drawn."""

    path: Path
    """Points."""
    observed: str = "observed"
    """Column with the observed class: 1 ISA, 0 not; empty where nobody has looked."""
    stratum: str | None = None
    """Column with the stratum; None: a simple random sample."""
    strata: Path | None = None
    """CSV with the columns `stratum` and `size` (or `n_pixels`, `area_km2`); needed with strata."""
    where: str | None = None
    """`COLUMN=VALUE` or `COLUMN!=VALUE`: the points that count."""
    support_m: float = 0
    """Side of the square around a point whose majority is compared; 0: the map's pixel at the point."""


@dataclass(frozen=True)
class Surveyed:
    """What a sample says of one product."""

    accuracy: SampleAccuracy
    """The estimates."""
    used: int
    """Points that they rest on."""
    left_out: int
    """Points on ground that the product does not map."""
    unlabelled: int
    """Points without an observed class."""
    counted: bool
    """Whether `accuracy.mapped_area` was counted on the whole map; if not, it is estimated from the sample."""


@dataclass(frozen=True)
class _Ground:
    """What the points stand for."""

    strata: Sequence[Stratum]
    """With sizes."""
    index: NDArray[np.int64]
    """Stratum of each point."""
    unit: str
    """Of the sizes."""
    mapped_area: Mapping[str, Mapping[int, float]]
    """Counted area of each class, by product; products that nobody has counted are not there."""


def run(products: Sequence[Product], survey: Survey) -> tuple[dict[str, Surveyed], str]:
    """Estimates for every product from the same points, and the unit of the areas.

    Raises:
        InputError: columns, classes or strata do not fit, points are told twice, or none lies on a product.
    """
    check_support(survey.support_m)
    sample = read_sample(survey.path)
    chosen = _chosen(sample, survey)
    observed = _observed(sample, survey)
    rows = chosen & (observed != NODATA)
    if not rows.any():
        raise InputError(f"{survey.path}: no point has an observed class in column {survey.observed!r}")
    _check_repeated(sample, rows, survey.path)
    table = _table(sample, survey)
    mapped = {product.name: classes_at(product, sample, survey.support_m) for product in products}
    for name, classes in mapped.items():
        _check_met(name, rows, classes, survey.path)
    ground = _whole(products, len(sample.rows)) if table is None else _parts(table, sample, survey, rows)
    results = {}
    for name, classes in mapped.items():
        used = rows & (classes != NODATA)
        area = ground.mapped_area.get(name)
        if table is not None and name == products[0].name:
            area = _area_of_table(table, ground.index[used], classes[used].astype(np.int64), survey.support_m)
        if survey.support_m:
            area = None  # a square's majority is no pixel's class
        accuracy = estimate(
            ground.strata,
            ground.index[used],
            classes[used].astype(np.int64),
            observed[used].astype(np.int64),
            mapped_area=area,
        )
        left_out, unlabelled = int((rows & ~used).sum()), int((chosen & ~rows).sum())
        results[name] = Surveyed(accuracy, int(used.sum()), left_out, unlabelled, area is not None)
    return results, ground.unit


def _chosen(sample: Sample, survey: Survey) -> NDArray[np.bool_]:
    """Points that --where lets pass."""
    if survey.where is None:
        return np.ones(len(sample.rows), np.bool_)
    column, differs, value = condition(survey.where)
    same = np.array([label(cell) == value for cell in sample.column(column, survey.path)], np.bool_)
    return ~same if differs else same


def _observed(sample: Sample, survey: Survey) -> NDArray[np.uint8]:
    """1, 0, or 255 where nobody has looked."""
    try:
        return observed_codes(sample.column(survey.observed, survey.path), survey.observed)
    except InputError as error:
        raise InputError(f"{survey.path}: {error}") from error


def _check_repeated(sample: Sample, rows: NDArray[np.bool_], path: Path) -> None:
    """Refuse points that count twice."""
    same = SAME_DEG if in_degrees(sample.crs) else SAME_M
    number, first = repeated(sample.x[rows], sample.y[rows], same)
    if number:
        x, y = sample.x[rows][first], sample.y[rows][first]
        raise InputError(
            f"{path}: {number} points lie where another one does (the first at {x:.10g} {y:.10g}): "
            "keep one of each, or choose with --where"
        )


def _check_met(name: str, rows: NDArray[np.bool_], classes: NDArray[np.uint8], path: Path) -> None:
    """Say how many points a product does not map; refuse it if it maps none."""
    missed = int((rows & (classes == NODATA)).sum())
    if missed == rows.sum():
        raise InputError(f"no point of {path} lies on a pixel that {name} maps")
    if missed:
        log.warning(
            "%s: %d of %d points lie where it maps nothing: the others stand for them",
            name,
            missed,
            int(rows.sum()),
        )


def _table(sample: Sample, survey: Survey) -> Strata | None:
    """The strata with their sizes; None for a simple random sample."""
    if survey.stratum is None:
        if any(name.lower() == STRATUM for row in sample.rows for name in row):
            raise InputError(
                f"{survey.path} has a column {STRATUM!r}: give --stratum {STRATUM} and --strata-sizes, or take the "
                "column out if the points are a simple random sample"
            )
        log.warning("no --stratum: the points are taken for a simple random sample of the whole map")
        return None
    if survey.strata is None:
        raise InputError(
            "strata need their sizes: give --strata-sizes FILE.csv with the columns stratum and size"
        )
    table = read_table(survey.strata)
    try:
        return strata_of_table(table)
    except InputError as error:
        raise InputError(f"{survey.strata}: {error}") from error


def _parts(table: Strata, sample: Sample, survey: Survey, rows: NDArray[np.bool_]) -> _Ground:
    """Ground in strata."""
    names = [label(name) for name in sample.column(str(survey.stratum), survey.path)]
    try:
        index = table.index(names, rows)
    except InputError as error:
        raise InputError(f"{survey.strata} {error}") from error
    return _Ground(table.strata, index, table.unit, {})


def _area_of_table(
    table: Strata, index: NDArray[np.int64], mapped: NDArray[np.int64], support_m: float
) -> dict[int, float] | None:
    """Area of each class on the map that the sample was drawn from; None if this seems to be another one."""
    area = table.mapped_area()
    if area is None or support_m:
        return None
    if not table.agrees(index, mapped):
        log.warning(
            "the strata were counted on another map than this: its own area is estimated, not counted"
        )
        return None
    return area


def _whole(products: Sequence[Product], points: int) -> _Ground:
    """All ground that the first product maps, in one stratum; the classes of every product counted on it."""
    size, areas = 0.0, {product.name: np.zeros(2) for product in products}
    for look in looks(products):
        pixel_km2 = abs(float(look.grid.resolution.x * look.grid.resolution.y)) / SQUARE_KM
        valid = look.own != NODATA
        size += float(np.count_nonzero(valid)) * pixel_km2
        for product, classes in zip(products, look.classes, strict=True):
            there = np.bincount(classes[valid], minlength=NODATA + 1)[:2]
            areas[product.name] += there * pixel_km2
    known = {name: float(area.sum()) for name, area in areas.items()}
    counted = {
        name: {code: float(area[code]) * size / known[name] for code in (0, 1)}
        for name, area in areas.items()
        if known[name] >= NEARLY_ALL * size > 0
    }
    return _Ground([Stratum("all", size)], np.zeros(points, np.int64), "km2", counted)
