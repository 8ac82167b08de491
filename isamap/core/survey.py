"""`isamap evaluate --sample`: accuracy and areas estimated from a reference sample."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from isamap.domain.block_shares import ShareAccuracy, estimate_shares
from isamap.domain.caution import Rare, cautious
from isamap.domain.estimation import SampleAccuracy, Stratum, estimate
from isamap.domain.estimation_parts import estimate_part
from isamap.domain.lonlat import LONLAT
from isamap.domain.product import NODATA
from isamap.domain.reference_sample import (
    alike,
    condition,
    observed_codes,
    observed_shares,
)
from isamap.errors import InputError
from isamap.io.points import units_at
from isamap.io.probe import check_support, classes_at, shares_at
from isamap.io.products import Product
from isamap.io.sample import Sample, check_single, read_sample
from isamap.io.sample_ground import Ground, check_area, check_unstratified, in_strata, whole
from isamap.io.unit_ground import unit_ground
from isamap.io.zones import Polygons, Units

log = logging.getLogger(__name__)


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
    """Side of the square around a point whose majority, or share, is compared; 0: the map's pixel at the point."""
    layer: str | None = None
    """Of several in the file."""
    units: Units | None = None
    """Areas of which estimates are wanted besides those of everything."""
    plain: bool = False
    """Whether every interval is estimate -+ 1.96 SE, also where errors are rare."""
    ground: BaseGeometry | None = None
    """Lon/lat polygon outside of which nothing counts."""


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
    rare: tuple[Rare, ...] = ()
    """Strata whose errors are so few that intervals mind them."""
    strata: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """Points of each stratum: hits, alarms, misses, and those that are ISA in neither."""
    units: Mapping[str, tuple[int, SampleAccuracy]] = field(default_factory=dict)
    """Points in each unit, and its estimates."""
    sizes: Mapping[str, float] = field(default_factory=dict)
    """Counted size of the units; those that are not there are estimated."""


@dataclass(frozen=True)
class SurveyedShares:
    """What a sample of blocks says of one product."""

    accuracy: ShareAccuracy
    """The estimates."""
    used: int
    """Blocks that they rest on."""
    left_out: int
    """Blocks of which the product maps less than half."""
    unlabelled: int
    """Blocks without an observed share."""
    units: Mapping[str, tuple[int, ShareAccuracy]] = field(default_factory=dict)
    """Blocks whose centre lies in each unit, and its estimates."""
    sizes: Mapping[str, float] = field(default_factory=dict)
    """Counted size of the units; those that are not there are estimated."""


@dataclass(frozen=True)
class _Points:
    """The sample, read and checked."""

    sample: Sample
    chosen: NDArray[np.bool_]
    """Points that --where lets pass."""
    rows: NDArray[np.bool_]
    """Those of them that somebody has looked at."""


def run(products: Sequence[Product], survey: Survey) -> tuple[dict[str, Surveyed], str]:
    """Estimates for every product from the same points, and the unit of the areas.

    Raises:
        InputError: columns, classes or strata do not fit, points are told twice, or none lies on a product.
    """
    sample = _read(survey)
    observed = _observed(sample, survey)
    points = _points(sample, survey, observed != NODATA)
    mapped = {product.name: classes_at(product, sample, survey.support_m) for product in products}
    for name, classes in mapped.items():
        _check_met(name, points.rows, classes == NODATA, survey.path)
    for product in products:
        if product.fractional:
            log.warning(
                "%s holds shares: a pixel of at least half counts as ISA, in mapped areas too (for shares: --shares)",
                product.name,
            )
    ground = _ground(products, points, survey)
    places, sizes = _places(products, sample, survey, ground.strata)
    results = {}
    for product in products:
        name, classes = product.name, mapped[product.name]
        used = points.rows & (classes != NODATA)
        index, m, o = ground.index[used], classes[used].astype(np.int64), observed[used].astype(np.int64)
        area = None  # a square's majority is no pixel's class
        if not survey.support_m:
            area = ground.area(index, m, first=product is products[0], product=product)
        accuracy = estimate(ground.strata, index, m, o, mapped_area=area)
        minded, rare = cautious(accuracy, ground.strata, index, m, o)
        results[name] = Surveyed(
            accuracy if survey.plain else minded,
            *(int(used.sum()), int((points.rows & ~used).sum()), int((points.chosen & ~points.rows).sum())),
            counted=area is not None,
            rare=rare,
            strata=_met(ground, index, m, o),
            units={
                unit: (
                    int(here[used].sum()),
                    estimate_part(ground.strata, index, (m, o), here[used], sizes.get(unit)),
                )
                for unit, here in places.items()
            },
            sizes=sizes,
        )
    return results, ground.unit


def run_shares(products: Sequence[Product], survey: Survey) -> tuple[dict[str, SurveyedShares], str]:
    """The same for blocks whose ISA share was observed.

    Raises:
        InputError: as `run`, or there is no side of the blocks.
    """
    if not survey.support_m:
        raise InputError("shares are those of squares: give their side, --support METRES")
    sample = _read(survey)
    try:
        observed = observed_shares(sample.column(survey.observed, survey.path), survey.observed)
    except InputError as error:
        raise InputError(f"{survey.path}: {error}") from error
    points = _points(sample, survey, ~np.isnan(observed))
    mapped = {product.name: shares_at(product, sample, survey.support_m) for product in products}
    for name, shares in mapped.items():
        _check_met(name, points.rows, np.isnan(shares), survey.path)
    ground = _ground(products, points, survey)
    places, sizes = _places(products, sample, survey, ground.strata)
    results = {}
    for name, shares in mapped.items():
        used = points.rows & ~np.isnan(shares)
        blocks = ground.strata, ground.index[used], shares[used].astype(np.float64), observed[used]
        results[name] = SurveyedShares(
            estimate_shares(*blocks),
            *(int(used.sum()), int((points.rows & ~used).sum()), int((points.chosen & ~points.rows).sum())),
            units={
                unit: (int(here[used].sum()), estimate_shares(*blocks, here[used], sizes.get(unit)))
                for unit, here in places.items()
            },
            sizes=sizes,
        )
    return results, ground.unit


def _read(survey: Survey) -> Sample:
    check_support(survey.support_m)
    return read_sample(survey.path, survey.layer)


def _points(sample: Sample, survey: Survey, looked: NDArray[np.bool_]) -> _Points:
    """The points that count, none of them twice."""
    chosen = np.ones(len(sample.rows), np.bool_)
    if survey.where is not None:
        column, differs, value = condition(survey.where)
        same = np.array([alike(cell, value) for cell in sample.column(column, survey.path)], np.bool_)
        chosen = ~same if differs else same
        if not chosen.any():
            raise InputError(f"{survey.path}: no point passes --where {survey.where}")
        if not same.any():
            log.warning("--where %s: no point has %r in the column %r", survey.where, value, column)
    if survey.ground is not None:
        chosen &= _inside(survey.ground, sample, survey.path)
    rows = chosen & looked
    if not rows.any():
        raise InputError(f"{survey.path}: no point has an observed class in column {survey.observed!r}")
    check_single(sample, rows, survey.path, "keep one of each, or choose with --where")
    return _Points(sample, chosen, rows)


def _inside(ground: BaseGeometry, sample: Sample, path: Path) -> NDArray[np.bool_]:
    """Which points lie in an area."""
    area = Units(Polygons([ground], [1], LONLAT), {1: "area"})
    inside = units_at(area, sample).get("area", np.zeros(len(sample.rows), np.bool_))
    if not inside.any():
        raise InputError(f"no point of {path} lies in the area")
    if not inside.all():
        log.warning(
            "%s: %d of %d points lie outside the area and do not count", path, (~inside).sum(), inside.size
        )
    return inside


def _places(
    products: Sequence[Product], sample: Sample, survey: Survey, strata: Sequence[Stratum]
) -> tuple[dict[str, NDArray[np.bool_]], Mapping[str, float]]:
    """Which points lie in each unit, and the sizes of the units that the first map tells."""
    units = survey.units
    if units is None:
        return {}, {}
    found = units_at(units, sample)
    sizes = unit_ground(products[0], units, survey.ground).sizes(strata)
    if not sizes:
        log.warning(
            "the strata are not the ground that %s maps: the sizes of units are estimated from the points",
            products[0].name,
        )
    nowhere = np.zeros(len(sample.rows), np.bool_)
    wanted = [name for name in units.names.values() if units.listed or name in found or name in sizes]
    return {name: found.get(name, nowhere) for name in wanted}, sizes


def _ground(products: Sequence[Product], points: _Points, survey: Survey) -> Ground:
    """What the points stand for."""
    if survey.stratum is not None:
        ground = in_strata(points.sample, survey.path, survey.stratum, survey.strata, points.rows)
        if survey.ground is not None:
            check_area(ground, products[0], survey.ground)
        return replace(ground, inside=survey.ground)
    check_unstratified(points.sample, survey.path)
    of = "the whole map" if survey.ground is None else "what is mapped of the area"
    log.warning("no --stratum: the points are taken for a simple random sample of %s", of)
    return whole(products, len(points.sample.rows), survey.ground)


def _observed(sample: Sample, survey: Survey) -> NDArray[np.uint8]:
    """1, 0, or 255 where nobody has looked."""
    try:
        return observed_codes(sample.column(survey.observed, survey.path), survey.observed)
    except InputError as error:
        raise InputError(f"{survey.path}: {error}") from error


def _check_met(name: str, rows: NDArray[np.bool_], unmapped: NDArray[np.bool_], path: Path) -> None:
    """Say how many points a product does not map; refuse it if it maps none."""
    missed = int((rows & unmapped).sum())
    if missed == rows.sum():
        raise InputError(f"no point of {path} lies on a pixel that {name} maps")
    if missed:
        log.warning(
            "%s: %d of %d points lie where it maps nothing: the others stand for them",
            name,
            missed,
            int(rows.sum()),
        )


def _met(
    ground: Ground, index: NDArray[np.int64], mapped: NDArray[np.int64], observed: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """Hits, alarms, misses and quiet points of every stratum."""
    kind = np.select([mapped & observed == 1, mapped == 1, observed == 1], [0, 1, 2], 3)
    return {
        one.name: np.bincount(kind[index == number], minlength=4) for number, one in enumerate(ground.strata)
    }
