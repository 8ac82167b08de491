"""Names of units: two areas that share a name are two areas, if a column of codes tells them apart."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

CODE = re.compile(r"(code|id)(_?\d+)?$", re.IGNORECASE)
"""Ending of a column of codes: `pcode`, `adcode`, `NUTS_ID`, `GID_2`."""


def told_apart(names: Sequence[str], rows: Sequence[Mapping[str, Any]], column: str) -> list[str]:
    """The names of polygons, with a code behind each that several areas share: `Suzhou (CN034130)`.

    The codes are those of the first column that gives every polygon of a repeated name one, and some of them different
    ones. Polygons of one name and one code are parts of one area. Without such a column names stay as they are.

    Args:
        names: of each polygon.
        rows: its columns.
        column: that the names are from.
    """
    number = Counter(names)
    again = [index for index, name in enumerate(names) if number[name] > 1]
    for key in dict.fromkeys(key for row in rows for key in row if CODE.search(key) and key != column):
        codes = {index: str(rows[index].get(key) or "").strip() for index in again}
        areas = {(names[index], code) for index, code in codes.items()}
        shared = {name for name, count in Counter(name for name, _ in areas).items() if count > 1}
        if shared and all(codes.values()):
            return [
                f"{name} ({codes[index]})" if name in shared else name for index, name in enumerate(names)
            ]
    return list(names)


def repeated_name(names: Sequence[str]) -> tuple[str, int, int] | None:
    """The name that most polygons share, how many they are, and how many names are shared; None: none is."""
    shared = {name: count for name, count in Counter(names).items() if count > 1}
    if not shared:
        return None
    most = max(shared, key=shared.__getitem__)
    return most, shared[most], len(shared)
