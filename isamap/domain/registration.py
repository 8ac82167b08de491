"""How far two images of the same ground lie apart, and moving a map by it, both to a part of a pixel.

The shift is the peak of the phase correlation (Kuglin and Hines 1975, Proc. IEEE Int. Conf. Cybernetics and Society,
163-165): the cross-power spectrum of the two images, each frequency scaled to the same size. A Gaussian low pass
keeps out the frequencies that hold noise only and makes the peak a Gaussian, so that three points of its logarithm
give the top exactly. The spectra of several windows are added before they are scaled: windows with much structure
count more, empty ones not at all.

Shifts are (rows, cols): what lies at (r, c) in the reference lies at (r + rows, c + cols) in the other image.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isamap.domain.product import NODATA

MIN_PEAK = 0.3
"""Height of the peak below which a shift of maps is not trusted: docs/design/0009-change.md has the figures."""
MIN_SPREAD = 1e-3
"""Standard deviation below which a window shows nothing to hold on to: 1 pixel in 10^6."""

MIN_SIDE_PX = 4
"""Smaller windows have no room for a shift."""
Pair = tuple[float, float]
"""Of rows and columns."""

PASSED = 5
"""Standard deviations up to which the low pass is looked at: 4 in a million are left there."""


@dataclass(frozen=True)
class Shift:
    """Where the other image lies against the reference."""

    rows: float
    """Pixels down."""
    cols: float
    """Pixels to the right."""
    peak: float
    """Height of the correlation peak over that of an image with itself, 0-1: not trusted below `MIN_PEAK`."""
    at_edge: bool = False
    """Whether it is the largest that was looked for, in rows or columns: the peak may lie beyond."""


def measure(
    pairs: Iterable[tuple[NDArray[np.float32], NDArray[np.float32]]],
    reach_px: int | tuple[int, int] = 30,
    lowpass: float | Pair = 0.25,
) -> Shift | None:
    """Shift of the other image against the reference.

    Args:
        pairs: windows (reference, other) of the same place and of one shape (y, x); NaN where unknown.
        reach_px: largest shift looked for, in rows and columns; a pair where pixels are not square.
        lowpass: standard deviation of the low pass, cycles per pixel; likewise.

    Returns:
        None if no pair has structure in both images.
    """
    spectra = [(spectrum(reference, lowpass), spectrum(other, lowpass)) for reference, other in pairs]
    return between(spectra, reach_px, lowpass)


@dataclass(frozen=True)
class Spectrum:
    """A window, ready to be compared with others of its place."""

    values: NDArray[np.complexfloating[Any, Any]]
    """Its Fourier transform at the frequencies that the low pass leaves, shape (column frequency, row frequency)."""
    shape: tuple[int, int]
    """Of the window."""


def spectrum(values: NDArray[np.float32], lowpass: float | Pair) -> Spectrum | None:
    """Spectrum of a window (y, x), NaN where unknown, for a low pass; None without structure."""
    shape = values.shape[0], values.shape[1]
    unknown = np.isnan(values)
    hidden = bool(unknown.any())
    known = values[~unknown] if hidden else values
    if not known.size:
        return None
    centred = values - known.mean()
    if hidden:
        centred[unknown] = 0
    if min(shape) < MIN_SIDE_PX or float(np.linalg.norm(centred)) < MIN_SPREAD * known.size**0.5:
        return None
    rows, cols = _kept(shape, _pair(lowpass))
    along_rows = np.fft.rfft(centred * _taper(shape))[:, :cols]
    return Spectrum(np.fft.fft(np.ascontiguousarray(along_rows.T))[:, rows], shape)


def between(
    pairs: Iterable[tuple[Spectrum | None, Spectrum | None]],
    reach_px: int | tuple[int, int],
    lowpass: float | Pair,
) -> Shift | None:
    """As `measure`, from spectra for the same low pass."""
    total: NDArray[np.complexfloating[Any, Any]] | None = None
    shape = (0, 0)
    for reference, other in pairs:
        if reference is not None and other is not None:
            cross = other.values * np.conj(reference.values)
            total = cross if total is None else total + cross
            shape = reference.shape
    if total is None:
        return None
    sigma = _pair(lowpass)
    weight = _gaussian(shape, sigma)
    surface = _surface(total / np.maximum(np.abs(total), np.finfo(np.float32).tiny) * weight, shape, sigma)
    own = float(_surface(weight, shape, sigma)[0, 0])
    rows, cols = reach_px if isinstance(reach_px, tuple) else (reach_px, reach_px)
    return _top(surface, (min(rows, shape[0] // 2 - 1), min(cols, shape[1] // 2 - 1)), own)


def _pair(lowpass: float | Pair) -> Pair:
    """Rows and columns alike, unless they are given apart."""
    return lowpass if isinstance(lowpass, tuple) else (lowpass, lowpass)


def _kept(shape: tuple[int, int], lowpass: Pair) -> tuple[NDArray[np.intp], int]:
    """Row frequencies, and how many column frequencies from 0, that a low pass leaves."""
    rows, cols = np.abs(np.fft.fftfreq(shape[0])), np.fft.rfftfreq(shape[1])
    return np.flatnonzero(rows <= PASSED * lowpass[0]), int((cols <= PASSED * lowpass[1]).sum())


@lru_cache(maxsize=4)
def _taper(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Weight that falls to 0 at the edges of a window: the Fourier transform knows no edges."""
    rows, cols = (np.hanning(side + 2)[1:-1].astype(np.float32) for side in shape)
    weight: NDArray[np.float32] = rows[:, None] * cols
    return weight


def _surface(
    values: NDArray[np.number[Any]], shape: tuple[int, int], lowpass: Pair
) -> NDArray[np.floating[Any]]:
    """What a spectrum of kept frequencies is the transform of `(y, x)`."""
    rows, cols = _kept(shape, lowpass)
    whole = np.zeros((cols, shape[0]), np.complex64)
    whole[:, rows] = values
    surface: NDArray[np.floating[Any]] = np.fft.irfft(np.fft.ifft(whole).T, shape[1])
    return surface


def _gaussian(shape: tuple[int, int], sigma: Pair) -> NDArray[np.float32]:
    """Low pass on the frequencies it leaves, as in a `Spectrum`."""
    kept, count = _kept(shape, sigma)
    rows, cols = np.fft.fftfreq(shape[0])[kept], np.fft.rfftfreq(shape[1])[:count]
    cols *= sigma[0] / sigma[1]  # in those of rows
    weight: NDArray[np.float32] = np.exp(-(cols[:, None] ** 2 + rows**2) / (2 * sigma[0] ** 2)).astype(
        np.float32
    )
    return weight


def _top(surface: NDArray[np.floating[Any]], reach: tuple[int, int], own: float) -> Shift:
    """The highest point near the origin, between pixels."""
    down, right = (np.arange(-one, one + 1) for one in reach)
    near = surface[np.ix_(down, right)]
    row, col = np.unravel_index(int(near.argmax()), near.shape)
    at = [int(down[row]), int(right[col])]
    rows = at[0] + _vertex([float(surface[at[0] + k, at[1]]) for k in (-1, 0, 1)])
    cols = at[1] + _vertex([float(surface[at[0], at[1] + k]) for k in (-1, 0, 1)])
    at_edge = abs(at[0]) == reach[0] or abs(at[1]) == reach[1]
    return Shift(rows, cols, max(0.0, float(near[row, col]) / own), at_edge)


def _vertex(three: list[float]) -> float:
    """Top of the Gaussian through three neighbours, from the middle one, within half a pixel."""
    if min(three) <= 0:
        return 0.0
    before, here, after = np.log(three)
    bend = before - 2 * here + after
    return float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < 0 else 0.0


def margin_px(rows: float, cols: float) -> int:
    """Pixels around a window that `moved_classes` needs for a shift."""
    return ceil(max(abs(rows), abs(cols))) + 1


def moved_classes(values: NDArray[np.uint8], rows: float, cols: float, margin: int) -> NDArray[np.uint8]:
    """Map values or percentages brought back onto the reference by linear interpolation.

    Classes 0 and 1 become the class of more than half of the pixel's area. A pixel is nodata where at least half of
    what it is made of is.

    Args:
        values: classes 0, 1 or percentages 0-100, 255 nodata, shape (y + 2 margin, x + 2 margin).
        rows: shift of the values against the reference, as `measure` gives it.
        cols: likewise.
        margin: at least `margin_px`.

    Returns:
        Shape (y, x).
    """
    height, width = (side - 2 * margin for side in values.shape)
    total, weight = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    for row, row_part in _between(rows):
        for col, col_part in _between(cols):
            top, left = margin + row, margin + col
            part = values[top : top + height, left : left + width]
            known = (part != NODATA) * np.float32(row_part * col_part)
            total += known * part
            weight += known
    result = np.full((height, width), NODATA, np.uint8)
    np.divide(total, weight, out=total, where=weight > 0.5)
    result[weight > 0.5] = np.ceil(total[weight > 0.5] - 0.5).astype(np.uint8)
    return result


def _between(shift: float) -> list[tuple[int, float]]:
    """The two pixels a shift falls between, and their weights."""
    whole = floor(shift)
    part = shift - whole
    return [(whole, 1 - part), (whole + 1, part)] if part else [(whole, 1.0)]
