"""The ground that the points of a reference sample stand for: strata with their sizes, or the whole map."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain.estimation import Stratum
from isamap.domain.ground_area import SQUARE_KM, pixel_area_m2
from isamap.domain.product import NODATA
from isamap.domain.reference_sample import Strata, label, strata_of_table
from isamap.errors import InputError
from isamap.io.cover import looks
from isamap.io.products import Product
from isamap.io.sample import Sample, read_table
from isamap.io.store import read_item

log = logging.getLogger(__name__)

STRATUM = "stratum"
"""Column whose meaning nobody has to be told."""
NEARLY_ALL = 0.999
"""A product that knows this share of the first map's ground is counted like it."""
SAME_GROUND, SAME_ISA = 0.01, 0.005
"""Totals of ground and of ISA that differ by less, relatively, are taken for one map's: tiles of two zones overlap."""


@dataclass(frozen=True)
class Ground:
    """What the points stand for."""

    strata: Sequence[Stratum]
    """With sizes."""
    index: NDArray[np.int64]
    """Stratum of each point."""
    unit: str
    """Of the sizes."""
    mapped_area: Mapping[str, Mapping[int, float]]
    """Counted area of each class, by product; products that nobody has counted are not there."""
    table: Strata | None = None
    """The strata as their table tells them; None: all ground is one stratum."""
    inside: BaseGeometry | None = None
    """Lon/lat polygon outside of which nothing counts."""

    def area(
        self, index: NDArray[np.int64], mapped: NDArray[np.int64], *, first: bool, product: Product
    ) -> Mapping[int, float] | None:
        """Area of each class in a product, counted; None if nobody has.

        Args:
            index: stratum of each point that counts.
            mapped: its class in the product.
            first: whether it is the product that the strata were made of.
            product: the product itself.
        """
        if self.table is None or not first:
            return self.mapped_area.get(product.name)
        area = self.table.mapped_area()
        if area is not None and not (
            self.table.agrees(index, mapped) and _may_be_of(area, product, self.inside)
        ):
            log.warning(
                "the strata were counted on another map than this: its own area is estimated, not counted"
            )
            return None
        return area


def _may_be_of(area: Mapping[int, float], product: Product, inside: BaseGeometry | None) -> bool:
    """Whether a product may be the map whose classes were counted, by what its own items or pixels say.

    What is more or less ground than the product shows, as that of some units, tells nothing.
    """
    told = _of_items(product) if inside is None else None
    pixels, shown_km2 = told or _of_pixels(product, inside)
    total = area[0] + area[1]
    near = [shown for shown in (pixels, shown_km2) if abs(shown.sum() - total) <= SAME_GROUND * total]
    return not near or any(abs(shown[1] - area[1]) <= SAME_ISA * area[1] for shown in near)


def _of_items(product: Product) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Pixels and km2 of both classes by the items of isamap's maps; None where one has no such item."""
    pixels, km2 = np.zeros(2), np.zeros(2)
    for path in product.files:
        item = read_item(path.with_suffix(".json")) or {}
        try:
            facts = item["properties"]
            share, valid = float(facts["isamap:isa_share"]), float(facts["isamap:valid_share"])
            shape, transform = facts["proj:shape"], Affine(*facts["proj:transform"][:6])
            grid = GeoBox((int(shape[0]), int(shape[1])), transform, facts["proj:code"])
        except (KeyError, IndexError, TypeError, ValueError):
            return None
        shown = valid * shape[0] * shape[1] * np.array([1 - share, share])
        pixels += shown
        km2 += shown * pixel_area_m2(grid) / SQUARE_KM
    return pixels, km2


def _of_pixels(
    product: Product, inside: BaseGeometry | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same, counted."""
    pixels, km2 = np.zeros(2), np.zeros(2)
    for look in looks([product], ground=inside):
        shown = np.bincount(look.own.ravel(), minlength=2)[:2]
        pixels += shown
        km2 += shown * pixel_area_m2(look.grid) / SQUARE_KM
    return pixels, km2


def in_strata(sample: Sample, path: Path, column: str, sizes: Path | None, rows: NDArray[np.bool_]) -> Ground:
    """Ground in strata.

    Args:
        sample: the points.
        path: their file, for messages.
        column: that names the stratum of each.
        sizes: CSV with their sizes.
        rows: points that count; the strata of others do not matter.

    Raises:
        InputError: there are no sizes, they cannot be read, or one is missing.
    """
    if sizes is None:
        raise InputError(
            "strata need their sizes: give --strata-sizes FILE.csv with the columns stratum and size"
        )
    lines = read_table(sizes)
    try:
        table = strata_of_table(lines)
    except InputError as error:
        raise InputError(f"{sizes}: {error}") from error
    names = [label(name) for name in sample.column(column, path)]
    try:
        index = table.index(names, rows)
    except InputError as error:
        raise InputError(f"{sizes} {error}") from error
    return Ground(table.strata, index, table.unit, {}, table)


def check_unstratified(sample: Sample, path: Path, drawn: str = "are a simple random sample") -> None:
    """Refuse a sample that was drawn in strata where nothing says what to do with them.

    Args:
        sample: the points.
        path: their file, for the message.
        drawn: what its points are taken for.

    Raises:
        InputError: it has a column of that name.
    """
    if any(name.lower() == STRATUM for row in sample.rows for name in row):
        raise InputError(
            f"{path} has a column {STRATUM!r}: give --stratum {STRATUM} and --strata-sizes, or take the "
            f"column out if the points {drawn}"
        )


def check_area(ground: Ground, product: Product, inside: BaseGeometry) -> None:
    """Refuse strata of more ground than the rasters of a map have in an area, a lon/lat polygon; of unknown units none.

    Raises:
        InputError: together they are larger.
    """
    pixels = km2 = 0.0
    for look in looks([product], ground=inside):
        found = np.count_nonzero(look.counts)
        pixels += found
        km2 += found * pixel_area_m2(look.grid) / SQUARE_KM
    total = sum(one.size for one in ground.strata)
    there = {"pixels": pixels, "km2": km2}.get(ground.unit, total)
    if total > (1 + SAME_GROUND) * there:
        raise InputError(
            f"the strata are {total:g} {ground.unit}, but {product.name} has {there:g} in the area: leave the area out and "
            "tell it as a unit (--units FILE), or draw a sample of it"
        )


def whole(products: Sequence[Product], points: int, inside: BaseGeometry | None = None) -> Ground:
    """All ground that the first product maps, in one stratum; the classes of every product counted on it.

    Args:
        products: the first one says where.
        points: of the sample.
        inside: lon/lat polygon outside of which nothing counts.
    """
    size, areas = 0.0, {product.name: np.zeros(2) for product in products}
    for look in looks(products, ground=inside):
        pixel_km2 = pixel_area_m2(look.grid) / SQUARE_KM
        valid = look.own != NODATA
        size += float(np.count_nonzero(valid)) * pixel_km2
        for product, classes in zip(products, look.classes, strict=True):
            there = np.bincount(classes[valid], minlength=NODATA + 1)[:2]
            areas[product.name] += there * pixel_km2
    if not size:
        raise InputError(f"{products[0].name} maps nothing{' of the area' if inside is not None else ''}")
    known = {name: float(area.sum()) for name, area in areas.items()}
    counted = {
        name: {code: float(area[code]) * size / known[name] for code in (0, 1)}
        for name, area in areas.items()
        if known[name] >= NEARLY_ALL * size > 0
    }
    return Ground([Stratum("all", size)], np.zeros(points, np.int64), "km2", counted)
