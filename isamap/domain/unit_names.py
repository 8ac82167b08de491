"""Names of units: two areas that share a name are two areas, if a column of codes tells them apart.

Tables need a name for every unit, and one for everything, so units that have none, or that of everything, get one.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np

CODE = re.compile(r"(code|id)(_?\d+)?$", re.IGNORECASE)
"""Ending of a column of codes: `pcode`, `adcode`, `NUTS_ID`, `GID_2`."""
UNNAMED = "unnamed"
"""What polygons without a name are called, all of them one unit."""
WHOLE = "all"
"""What tables call everything; to people, and to spreadsheets, `ALL` is the same."""
_EXACT = 2**53
"""Whole numbers above it are not known to the last digit where a column is of floats."""


def name_of(value: Any) -> str:
    """The name that a cell of a vector file holds; empty where it holds none: null, NaN or blanks.

    A column of whole numbers that has nulls is read as floats, so 32070.0 is called `32070`, as in a full one.
    """
    if isinstance(value, float | np.floating):
        number = float(value)
        whole = number.is_integer() and abs(number) <= _EXACT
        return "" if math.isnan(number) else str(int(number) if whole else value)
    if value is None or (isinstance(value, np.datetime64) and np.isnat(value)):
        return ""
    text = str(value)
    return text if text.strip() else ""


def filled(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The names, none of them empty or that of everything, and what was called otherwise: new names by old.

    Args:
        names: of each polygon; empty where there is none.
    """
    renamed: dict[str, str] = {}
    for name in dict.fromkeys(names):
        if not name:
            renamed[name] = _free(UNNAMED, (*names, *renamed.values()))
        elif name.strip().casefold() == WHOLE:
            renamed[name] = _free(f"{name} (unit)", (*names, *renamed.values()))
    return [renamed.get(name, name) for name in names], renamed


def _free(name: str, taken: Iterable[str]) -> str:
    """The name, with a number behind it where another unit has it, in whatever case."""
    known = {one.strip().casefold() for one in taken}
    if name.casefold() not in known:
        return name
    return next(found for n in count(2) if (found := f"{name} {n}").casefold() not in known)


def told_apart(names: Sequence[str], rows: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    """The names of polygons, with a code behind each that several areas share: `Suzhou (CN034130)`.

    The codes are those of the first column that gives every polygon of a repeated name one, and some of them different
    ones. Polygons of one name and one code are parts of one area. Without such a column names stay as they are, and so
    do empty ones.

    Args:
        names: of each polygon.
        rows: its columns.
        column: that the names are from.
    """
    number = Counter(names)
    again = [index for index, name in enumerate(names) if name and number[name] > 1]
    for key in dict.fromkeys(key for row in rows for key in row if CODE.search(key) and key != column):
        codes = {index: name_of(rows[index].get(key)).strip() for index in again}
        areas = {(names[index], code) for index, code in codes.items()}
        shared = {name for name, times in Counter(name for name, _ in areas).items() if times > 1}
        if shared and all(codes.values()):
            return [
                f"{name} ({codes[index]})" if name in shared else name for index, name in enumerate(names)
            ]
    return list(names)


def repeated_name(names: Sequence[str]) -> tuple[str, int, int] | None:
    """The name that most polygons share, how many they are, and how many names are shared; None: none is.

    Empty names are no names.
    """
    shared = {name: times for name, times in Counter(filter(None, names)).items() if times > 1}
    if not shared:
        return None
    most = max(shared, key=shared.__getitem__)
    return most, shared[most], len(shared)
