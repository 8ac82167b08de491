"""What the columns of a reference sample say: observed classes, strata and their sizes, points told twice."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isamap.domain.estimation import Stratum
from isamap.domain.product import NODATA
from isamap.errors import InputError

CODES = {"0": 0, "1": 1, "false": 0, "true": 1, "": NODATA}
"""Observed class by what stands in its column, in small letters."""
EMPTY = ("nan", "none", "<na>")
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?")
WHOLE = re.compile(r"([+-]?\d+)\.0+")
SIZES = {"area_km2": "km2", "size": "units of the strata", "n_pixels": "pixels"}
"""Columns that give the size of a stratum, the first that is there counts; and the unit of the areas."""
SAME_M, SAME_DEG = 1e-3, 1e-8
"""Points no further apart are one."""


def label(cell: Any) -> str:
    """A cell as it is compared: 1, 1.0 and " 1" are the same, and what is missing is the empty text."""
    text = "" if cell is None else str(cell).strip()
    if text.lower() in EMPTY:
        return ""
    whole = WHOLE.fullmatch(text)
    return whole[1] if whole else text


def observed_codes(cells: Sequence[Any], column: str) -> NDArray[np.uint8]:
    """1, 0, or 255 where nobody has looked, shape (point,).

    Raises:
        InputError: a cell is neither 0 nor 1, True nor False, nor empty.
    """
    codes = [CODES.get(label(cell).lower()) for cell in cells]
    for number, (code, cell) in enumerate(zip(codes, cells, strict=True), start=1):
        if code is None:
            raise InputError(
                f"point {number}: {column} is {label(cell)!r}, not 0 or 1: write 1 for ISA, 0 for not, "
                "and nothing where it cannot be told"
            )
    return np.array(codes, np.uint8)


def observed_shares(cells: Sequence[Any], column: str) -> NDArray[np.float64]:
    """ISA shares 0-1, NaN where nobody has looked, shape (point,).

    Raises:
        InputError: a cell is no number from 0 to 1, nor empty.
    """
    found = []
    for number, cell in enumerate(cells, start=1):
        text = label(cell)
        try:
            share = float(text) if text else math.nan
        except ValueError:
            share = -1.0
        if text and not 0 <= share <= 1:
            raise InputError(
                f"point {number}: {column} is {text!r}, no share from 0 to 1: divide percent by 100, and write "
                "nothing where it cannot be told"
            )
        found.append(share)
    return np.array(found)


def condition(text: str) -> tuple[str, bool, str]:
    """Column, whether its value must differ, and value of `COLUMN=VALUE` or `COLUMN!=VALUE`.

    Raises:
        InputError: it is neither.
    """
    column, differs, value = text.partition("!=")
    if not differs:
        column, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{text!r} is no condition: write COLUMN=VALUE or COLUMN!=VALUE")
    return column.strip(), bool(differs), label(value)


def alike(cell: Any, value: str) -> bool:
    """Whether a cell holds a value: as text in letters of any size, as a number, or as true (1) and false (0)."""
    own, other = label(cell).lower(), label(value).lower()
    if own == other:
        return True
    if {own, other} & {"true", "false"}:
        return "" not in (own, other) and CODES.get(own, NODATA) == CODES.get(other)
    return bool(NUMBER.fullmatch(own) and NUMBER.fullmatch(other)) and Decimal(own) == Decimal(other)


def repeated(x: NDArray[np.float64], y: NDArray[np.float64], same: float) -> tuple[int, int]:
    """How many points lie where an earlier one lies, to within `same` in x and y, and the first (-1: none).

    Cells of twice that size, also shifted by half a cell: neighbours share one of the four, a little further apart too.
    """
    again = np.zeros(x.size, np.bool_)
    for right, up in ((0, 0), (0, 0.5), (0.5, 0), (0.5, 0.5)):
        cells = np.floor(np.stack([x / (2 * same) + right, y / (2 * same) + up], axis=1))
        _, first, place = np.unique(cells, axis=0, return_index=True, return_inverse=True)
        again |= first[place.ravel()] != np.arange(x.size)
    return int(again.sum()), int(again.argmax()) if again.any() else -1


@dataclass(frozen=True)
class Strata:
    """The strata of a sample, in the order of their table."""

    strata: tuple[Stratum, ...]
    """Names and sizes."""
    unit: str
    """Of the sizes."""
    isa_share: tuple[float, ...] | None = None
    """Share of each that the sampled map shows as ISA, counted; None: nobody counted."""

    def index(self, names: Sequence[str], used: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number of the stratum of each point; 0 for points that are not used, whatever their stratum.

        Raises:
            InputError: a point that is used has a stratum without size.
        """
        place = {stratum.name: number for number, stratum in enumerate(self.strata)}
        if unknown := sorted({names[point] for point in np.flatnonzero(used).tolist()} - set(place)):
            raise InputError(f"gives no size for the stratum {unknown[0]!r}")
        return np.array([place.get(name, 0) for name in names], np.int64)

    def mapped_area(self) -> dict[int, float] | None:
        """Area of either class in the map, counted; None if nobody has."""
        if self.isa_share is None:
            return None
        isa = sum(one.size * share for one, share in zip(self.strata, self.isa_share, strict=True))
        return {0: sum(one.size for one in self.strata) - isa, 1: isa}

    def agrees(self, index: NDArray[np.int64], mapped: NDArray[np.int64]) -> bool:
        """Whether a map may be the one that was counted: where a stratum is all of one class, so are its points."""
        share = np.array(self.isa_share)[index]
        return not (((share == 0) & (mapped == 1)) | ((share == 1) & (mapped == 0))).any()


def strata_of_table(table: Sequence[Mapping[str, str]]) -> Strata:
    """Strata from the rows of a CSV with the columns stratum and size (or area_km2, n_pixels; and n_isa).

    Raises:
        InputError: a column is missing, a figure is none, or a stratum is listed twice.
    """
    column = next((name for name in SIZES if table and name in table[0]), None)
    if column is None or "stratum" not in table[0]:
        raise InputError("it needs the columns stratum and size (or area_km2, n_pixels)")
    strata: dict[str, Stratum] = {}
    for row in table:
        name = label(row["stratum"])
        if name in strata:
            raise InputError(f"stratum {name} is listed twice: add up its sizes, or name the other")
        strata[name] = Stratum(name, _size(row, column))
    shares = None
    if {"n_isa", "n_pixels"} <= set(table[0]):
        shares = tuple(_isa_share(row) for row in table)
    return Strata(tuple(strata.values()), SIZES[column], shares)


def _size(row: Mapping[str, str], column: str) -> float:
    try:
        size = float(row[column])
    except ValueError as error:
        raise InputError(f"a size is no number: {column} of {row['stratum']} is {row[column]!r}") from error
    if not 0 <= size < math.inf:
        raise InputError(f"{column} of {row['stratum']} is {row[column]}: give its area or pixel count")
    return size


def _isa_share(row: Mapping[str, str]) -> float:
    isa, pixels = _size(row, "n_isa"), _size(row, "n_pixels")
    if isa > pixels:
        raise InputError(f"{row['stratum']} has more pixels of ISA ({isa:g}) than pixels ({pixels:g})")
    return isa / pixels if pixels else 0.0
