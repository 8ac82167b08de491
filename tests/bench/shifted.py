"""Images moved by a part of a pixel, to lay two dates on each other before they are compared."""

from math import floor

import numpy as np
from numpy.typing import NDArray

CUBIC = -0.5
"""Keys's parameter (1981, IEEE Trans. Acoust. 29, 1153-1160): exact for parabolas."""


def moved(values: NDArray[np.float32], rows: float, cols: float) -> NDArray[np.float32]:
    """An image brought back onto the reference by cubic convolution; NaN where a neighbour is unknown or outside.

    Args:
        values: shape (..., y, x); NaN where unknown.
        rows: shift of the image against the reference, as `isamap.domain.registration.measure` gives it.
        cols: likewise.
    """
    along_rows = _cubic(np.moveaxis(values, -2, -1), rows)
    return _cubic(np.moveaxis(along_rows, -1, -2), cols)


def _cubic(values: NDArray[np.float32], shift: float) -> NDArray[np.float32]:
    """`values[..., x + shift]` between pixels of the last axis."""
    whole = floor(shift)
    part = shift - whole
    if part == 0:
        return _slid(values, whole)
    result = np.zeros_like(values)
    for step in (-1, 0, 1, 2):
        result += np.float32(_keys(abs(part - step))) * _slid(values, whole + step)
    return result


def _keys(distance: float) -> float:
    """Weight of a pixel at a distance."""
    if distance < 1:
        return (CUBIC + 2) * distance**3 - (CUBIC + 3) * distance**2 + 1
    return CUBIC * (distance**3 - 5 * distance**2 + 8 * distance - 4)


def _slid(values: NDArray[np.float32], steps: int) -> NDArray[np.float32]:
    """`values[..., x + steps]`, NaN outside."""
    size = values.shape[-1]
    result = np.full_like(values, np.nan)
    if abs(steps) < size:
        result[..., max(0, -steps) : size - max(0, steps)] = values[..., max(0, steps) : size + min(0, steps)]
    return result
