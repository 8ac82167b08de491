"""The ground that the points of a reference sample stand for: strata with their sizes, or the whole map."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isamap.domain.estimation import Stratum
from isamap.domain.ground_area import SQUARE_KM, pixel_area_m2
from isamap.domain.product import NODATA
from isamap.domain.reference_sample import Strata, label, strata_of_table
from isamap.errors import InputError
from isamap.io.cover import looks
from isamap.io.products import Product
from isamap.io.sample import Sample, read_table

log = logging.getLogger(__name__)

STRATUM = "stratum"
"""Column whose meaning nobody has to be told."""
NEARLY_ALL = 0.999
"""A product that knows this share of the first map's ground is counted like it."""


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

    def area(
        self, index: NDArray[np.int64], mapped: NDArray[np.int64], *, first: bool, name: str
    ) -> Mapping[int, float] | None:
        """Area of each class in a product, counted; None if nobody has.

        Args:
            index: stratum of each point that counts.
            mapped: its class in the product.
            first: whether it is the product that the strata were made of.
            name: of the product.
        """
        if self.table is None or not first:
            return self.mapped_area.get(name)
        area = self.table.mapped_area()
        if area is not None and not self.table.agrees(index, mapped):
            log.warning(
                "the strata were counted on another map than this: its own area is estimated, not counted"
            )
            return None
        return area


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


def whole(products: Sequence[Product], points: int) -> Ground:
    """All ground that the first product maps, in one stratum; the classes of every product counted on it."""
    size, areas = 0.0, {product.name: np.zeros(2) for product in products}
    for look in looks(products):
        pixel_km2 = pixel_area_m2(look.grid) / SQUARE_KM
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
    return Ground([Stratum("all", size)], np.zeros(points, np.int64), "km2", counted)
