"""How many bits of a plane are set in each square cell.

Rows of a cell are added as bits, 64 columns at a time, into planes of binary digits; only those become bytes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bits import Plane, ones

MAX_ROWS = 15
"""Rows that are added as bits: four digits hold their number."""
FEW_COLUMNS = 16
"""Up to so many the columns of cells are added one by one, all cells at once."""


def cell_sums(plane: Plane, window: tuple[slice, slice], factor: int) -> NDArray[np.int64]:
    """Bits that are set in each cell of `factor` x `factor` of some rows and columns; cells at the edges may be cut short."""
    rows, cols = window
    few = max(
        n for n in range(1, min(factor, MAX_ROWS) + 1) if factor % n == 0
    )  # rows that are added as bits
    part = _filled(plane[rows], factor, 1)
    counts = _filled(_numbers(_added_rows(part.reshape(-1, few, part.shape[1])), cols), 1, factor)
    columns = counts.reshape(-1, factor // few, counts.shape[1]).sum(axis=1, dtype=np.min_scalar_type(factor))
    cells = columns.reshape(len(columns), -1, factor)
    if factor > FEW_COLUMNS:
        sums = cells.sum(axis=2)
    else:
        sums = cells[..., 0].astype(np.min_scalar_type(factor**2))
        for column in range(1, factor):
            sums += cells[..., column]
    whole: NDArray[np.int64] = sums.astype(np.int64)
    return whole


def joined(sums: NDArray[np.int64], factor: int) -> NDArray[np.int64]:
    """Sums of square groups of cells `(..., y, x)`, those at the edges cut short."""
    whole = _filled(sums, factor, factor)
    rows = sum((whole[..., first::factor, :] for first in range(1, factor)), whole[..., ::factor, :])
    added: NDArray[np.int64] = sum(
        (rows[..., first::factor] for first in range(1, factor)), rows[..., ::factor]
    )
    return added


def _added_rows(lines: NDArray[np.uint64]) -> list[Plane]:
    """Binary digits, the lowest first, of how many of some rows `(group, row, word)` have a bit set: planes of groups."""
    digits: list[Plane] = []
    equal = [lines[:, row] for row in range(lines.shape[1])]  # what is to be added to one digit
    while equal:
        carried: list[Plane] = []
        while len(equal) > 2:  # a full adder for all columns at once
            one, other, third, *equal = equal
            odd = one ^ other
            carried.append(one & other | odd & third)
            equal.append(odd ^ third)
        if len(equal) == 2:
            one, other = equal
            carried.append(one & other)
            equal = [one ^ other]
        digits.append(equal[0])
        equal = carried
    return digits


def _numbers(digits: list[Plane], cols: slice) -> NDArray[np.uint8]:
    """Digits of some columns as numbers `(y, x)`."""
    rows = slice(0, len(digits[0]))
    numbers = ones(digits[-1], rows, cols)
    for digit in digits[-2::-1]:
        numbers += numbers
        numbers += ones(digit, rows, cols)
    return numbers


def _filled(values: NDArray[Any], rows: int, cols: int) -> NDArray[Any]:
    """Zeros at the lower and right edge until both sides `(..., y, x)` are multiples of these."""
    cut = [(0, -values.shape[-2] % rows), (0, -values.shape[-1] % cols)]
    if not any(after for _, after in cut):
        return values
    return np.pad(values, [(0, 0)] * (values.ndim - 2) + cut)
