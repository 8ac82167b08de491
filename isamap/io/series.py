"""The maps of one tile over the years: opened together, checked to fit, read in windows as digits and evidence."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain import registration
from isamap.domain.bits import Bits, packed
from isamap.domain.grid import Window
from isamap.domain.ground_steps import nominal_sizes_m
from isamap.domain.product import NODATA
from isamap.domain.registration import Shift, Spectrum
from isamap.domain.shift_places import further_places, places
from isamap.domain.transition import Chances, digits_of, is_map
from isamap.errors import InputError
from isamap.io.classmap import ClassMap, Decode, Sheet
from isamap.io.frames import Frame, as_stored, decoding
from isamap.io.gridmatch import aligned_offset
from isamap.io.guard import one_line
from isamap.io.placing import name_crs
from isamap.io.year_layer import Layer, Probability

REACH_M = 40
"""Shifts are looked for up to here; Sentinel-2 dates lie within 12 m of each other."""
SOURCE_GSD_M = 10
"""Detail finer than this is the network's, not the image's: the shift does not listen to it."""


class Series:
    """The maps of a tile, on the grid of the first. Use it in `with`; one thread at a time may read.

    Args:
        frames: a map per year, None where the tile is missing.
        chances: error rates of classes.
        probability: whether probability rasters are read where they are.
    """

    def __init__(self, frames: Sequence[Frame | None], chances: Chances, *, probability: bool) -> None:
        self.frames, self.chances = tuple(frames), chances
        self._with_probability = probability
        self._open = ExitStack()
        self._classes: list[Layer | None] = []
        self._percent: list[Probability | None] = []
        self.shifts: list[Shift | None] = [None] * len(frames)
        """Of each year against the first one there, once measured."""
        self.aligned = False
        """Whether reading moves the years by their shifts."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for frame in self.frames:
                self._classes.append(
                    None if frame is None else self._layer(stack, frame.path, decoding(frame))
                )
                probable = frame if frame and self._with_probability and frame.is_probable else None
                self._percent.append(
                    Probability(self._layer(stack, probable.probability, as_stored), probable.threshold())
                    if probable
                    else None
                )
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _layer(self, stack: ExitStack, path: Path, source: Decode) -> Layer:
        """An open raster, checked to lie on the grid of the first."""
        opened = stack.enter_context(ClassMap((path,), source))
        sheet = opened.sheets[0]
        first = next((layer for layer in self._classes if layer), None)
        grid = first.sheet.geobox if first else sheet.geobox
        offset = aligned_offset(sheet.geobox, grid)
        if offset is None or first is None:
            if first is not None:
                raise InputError(grid_fault(sheet, first.sheet))
            offset = (0, 0)
        inside = Window(*offset, grid.shape[0], grid.shape[1]).clip((sheet.src.height, sheet.src.width))
        if not inside.height or not inside.width:
            raise InputError(f"{sheet.name} and {one_line(self._first.path)} have no ground in common")
        return Layer(opened, sheet, *offset, source is as_stored)

    @property
    def _first(self) -> Frame:
        return next(frame for frame in self.frames if frame is not None)

    @property
    def geobox(self) -> GeoBox:
        """Grid of the first map there."""
        return next(layer for layer in self._classes if layer is not None).sheet.geobox

    @property
    def probable(self) -> bool:
        """Whether any year has probabilities."""
        return any(layer is not None for layer in self._percent)

    def measure(self) -> list[Shift | None]:
        """Shift of every year against the first one there; None for it, missing years, and where none is found."""
        first = next(index for index, layer in enumerate(self._classes) if layer)
        limits = _limits(self.geobox)
        known: dict[Window, Spectrum | None] = {}
        for index, layer in enumerate(self._classes):
            if layer is not None and index != first:
                self.shifts[index] = self._shift(first, layer, limits, known)
        return self.shifts

    def _shift(
        self, first: int, layer: Layer, limits: "_Limits", known: dict[Window, Spectrum | None]
    ) -> Shift | None:
        """Shift of a year, from more places where the first ones show none; `known` keeps the spectra of the first year."""
        common = layer.ground.clip((self.geobox.shape[0], self.geobox.shape[1]))
        pairs: list[tuple[Spectrum | None, Spectrum | None]] = []
        found: Shift | None = None
        for windows in (places(common), further_places(common)):
            for window in windows:
                if window not in known:
                    known[window] = _spectrum(self._classes[first], window, limits.lowpass)
                if known[window]:  # else there is nothing to compare it with
                    pairs.append((known[window], _spectrum(layer, window, limits.lowpass)))
            shift = registration.between(pairs, limits.reach_px, limits.lowpass)
            if shift is None or shift.at_edge:
                continue
            if shift.peak >= registration.MIN_PEAK:
                return shift
            found = found or shift
        return found

    def classes(self, window: Window) -> Iterator[Bits]:
        """Classes of one year after the other, as bits.

        Raises:
            InputError: a map has other values than its kind allows, or is damaged.
        """
        for layer, shift in zip(self._classes, self.shifts, strict=True):
            bits = packed(self._seen(layer, window, shift))
            if bits.strange:
                raise _strange(layer)
            yield bits

    def evidence(self, window: Window) -> tuple[list[NDArray[np.uint8]], NDArray[np.float32]]:
        """Digits of each year `(y, x)`, and evidence `(year, y, x)` from probabilities, or from digits where there are none.

        Raises:
            InputError: as `classes`; a probability raster has values that are no percentages.
        """
        stack, evidence = [], np.empty((len(self._classes), *window.shape), np.float32)
        of_classes = self.chances.of_classes()
        for index, (layer, shift) in enumerate(zip(self._classes, self.shifts, strict=True)):
            stored = self._stored(layer, window, shift)
            percent: NDArray[np.uint8] | None = None
            if probability := self._percent[index]:
                percent = self._stored(probability.layer, window, shift)
                probability.look(stored, percent)
            digits = digits_of(self._placed(stored, shift))
            if not is_map(digits):
                raise _strange(layer)
            stack.append(digits)
            evidence[index] = of_classes[digits]
            if probability is not None and percent is not None:
                evidence[index] = probability.evidence(evidence[index], digits, self._placed(percent, shift))
        return stack, evidence

    def check_probabilities(self) -> None:
        """Say what the probability rasters do not know, once all is read.

        Raises:
            InputError: one is not that of the map beside it.
        """
        for probability in filter(None, self._percent):
            probability.check()

    def _seen(self, layer: Layer | None, window: Window, shift: Shift | None) -> NDArray[np.uint8]:
        """Classes of a year, nodata where there is no map."""
        return self._placed(self._stored(layer, window, shift), shift)

    def _stored(self, layer: Layer | None, window: Window, shift: Shift | None) -> NDArray[np.uint8]:
        """Values of a window and of what around it is needed to move them, nodata where there is no map."""
        window = window.padded(self._margin_px(shift))
        return np.full(window.shape, NODATA, np.uint8) if layer is None else layer.read(window)

    def _placed(self, values: NDArray[np.uint8], shift: Shift | None) -> NDArray[np.uint8]:
        """Such values where they belong."""
        margin = self._margin_px(shift)
        if shift is None or not margin:
            return values
        return registration.moved_classes(values, shift.rows, shift.cols, margin)

    def _margin_px(self, shift: Shift | None) -> int:
        """Pixels around a window that a year needs to be moved; 0 where it is not."""
        if not self.aligned or shift is None or shift.peak < registration.MIN_PEAK:
            return 0
        return registration.margin_px(shift.rows, shift.cols)


def _strange(layer: Layer | None) -> InputError:
    """A map with values that are no classes."""
    assert layer is not None  # a map that is not there has no values
    return InputError(
        f"{layer.sheet.name} has values beside 0, 1 and 255: name its product (worldcover-v200=FILE)"
    )


def grid_fault(sheet: Sheet, first: Sheet) -> str:
    """How the grid of a map differs from that of the first."""
    a, b = sheet.geobox, first.geobox
    how = "are not on the same pixels"
    if a.crs != b.crs:
        how = f"lie in {name_crs(sheet.src.crs)} and {name_crs(first.src.crs)}"
    elif abs(a.resolution.x - b.resolution.x) > 1e-9 * abs(b.resolution.x):
        how = f"have pixels of {abs(a.resolution.x):.9g} and {abs(b.resolution.x):.9g}"
    return f"{sheet.name} and {first.name} {how}: change needs maps on one grid, make them from imagery on one grid"


@dataclass(frozen=True)
class _Limits:
    """What shifts are looked for, each for rows and columns."""

    lowpass: tuple[float, float]
    """Cycles per pixel."""
    reach_px: tuple[int, int]
    """The largest."""


def _limits(grid: GeoBox) -> _Limits:
    """What shifts are looked for on a grid."""
    down_m, right_m = nominal_sizes_m(grid)
    return _Limits(
        (min(0.25, 0.5 * down_m / SOURCE_GSD_M), min(0.25, 0.5 * right_m / SOURCE_GSD_M)),
        (max(3, ceil(REACH_M / down_m)), max(3, ceil(REACH_M / right_m))),
    )


def _spectrum(layer: Layer | None, window: Window, lowpass: tuple[float, float]) -> Spectrum | None:
    """A window of a map as an image that can be compared."""
    assert layer is not None  # the caller chose layers that are there
    values = layer.read(window)
    image = values.astype(np.float32)
    image[values == NODATA] = np.nan
    return registration.spectrum(image, lowpass)
