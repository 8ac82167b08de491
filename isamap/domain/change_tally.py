"""Counts of change that add up over windows and tiles, and the figures that follow from them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.changes import FEW, SLOTS, UNSEEN
from isamap.domain.decoded import Decoded
from isamap.domain.transition import COUNTED, LOOKS, SHOWN, states
from isamap.domain.view import Zones

ALL = ""
"""Zone of everything."""


@dataclass
class Tally:
    """Pixels and ground area per zone, thing counted (a reading, looks, maps), path and class."""

    years: tuple[int, ...]
    """Ascending."""
    pixels: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """By zone, shape (5, 2^years, 9), in the order of `COUNTED`."""
    area_m2: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    """Likewise."""

    def add(self, zone: str, counts: NDArray[np.int64], pixel_area_m2: float) -> None:
        """Take in a window.

        Args:
            zone: name; "" for everything.
            counts: pixels, shape (5, 2^years, 9).
            pixel_area_m2: ground area of a pixel.
        """
        shape = len(COUNTED), 2 ** len(self.years), SLOTS
        self.pixels.setdefault(zone, np.zeros(shape, np.int64))
        self.area_m2.setdefault(zone, np.zeros(shape))
        self.pixels[zone] += counts
        self.area_m2[zone] += counts * pixel_area_m2

    def count(
        self, decoded: Decoded, zones: Zones, own: NDArray[np.bool_] | None, pixel_area_m2: float
    ) -> None:
        """Take in a reading, for everything and for each zone that has a name.

        Args:
            decoded: the reading of a window.
            zones: of its pixels, codes from 0.
            own: pixels that count, `(y, x)`; None: all.
            pixel_area_m2: ground area of a pixel.
        """
        if own is not None:
            beyond = int(zones.codes.max()) + 1
            found = decoded.tallies(np.where(own, zones.codes, beyond))
            found.pop(beyond, None)
        elif len(there := zones.there()) == 1:
            found = {there[0]: decoded.tally()}
        else:
            found = decoded.tallies(zones.codes)
        self.add(ALL, sum(found.values(), np.zeros(1, np.int64)), pixel_area_m2)
        for code, counts in found.items():
            if code in zones.names:
                self.add(zones.names[code], counts, pixel_area_m2)

    def __iadd__(self, other: "Tally") -> Self:
        for zone, counts in other.pixels.items():
            self.add(zone, counts, 0)
            self.area_m2[zone] += other.area_m2[zone]
        return self

    def figures(self, zone: str, method: str) -> "Figures":
        """What the counts of one zone say by one method."""
        return Figures(self.years, self.area_m2[zone][COUNTED.index(method)] / 1e6)

    def mapped_km2(self, zone: str) -> tuple[float, ...]:
        """Ground with enough looks that each year's map knows."""
        return self.figures(zone, LOOKS).isa_km2

    def shown_km2(self, zone: str) -> tuple[float, ...]:
        """ISA that each year's map shows on it."""
        return self.figures(zone, SHOWN).isa_km2

    def filled_km2(self, zone: str, first: int, last: int) -> float:
        """Ground with enough looks that has no map in one of two years, given by index: its state there is a guess."""
        looks = self.figures(zone, LOOKS)
        return looks.mapped_km2 - float(looks.matrix_km2(first, last)[1, 1])

    def as_json(self) -> dict[str, list[list[float]]]:
        """Zone -> rows of thing counted, path, class, pixels, m2; cells without pixels left out."""
        document = {}
        for zone, counts in sorted(self.pixels.items()):
            cells = np.argwhere(counts)
            document[zone] = [
                [*cell, int(counts[tuple(cell)]), float(self.area_m2[zone][tuple(cell)])]
                for cell in cells.tolist()
            ]
        return document

    @classmethod
    def from_json(cls, years: Sequence[int], document: Mapping[str, Iterable[Sequence[float]]]) -> Self:
        """The tally that `as_json` wrote."""
        tally = cls(tuple(years))
        for zone, rows in document.items():
            tally.add(zone, np.zeros((len(COUNTED), 2 ** len(years), SLOTS), np.int64), 0)
            for thing, path, kind, pixels, area in rows:
                cell = int(thing), int(path), int(kind)
                tally.pixels[zone][cell], tally.area_m2[zone][cell] = int(pixels), float(area)
        return tally


@dataclass(frozen=True)
class Figures:
    """Areas, transitions and rates of one zone by one method; only pixels with enough looks take part."""

    years: tuple[int, ...]
    """Ascending."""
    cells: NDArray[np.float64]
    """km2 per path and class, shape (2^years, 9)."""

    @property
    def _paths(self) -> NDArray[np.float64]:
        """km2 per path, of pixels with enough looks."""
        known = [code for code in range(SLOTS) if code not in (FEW, UNSEEN)]
        areas: NDArray[np.float64] = self.cells[:, known].sum(axis=1)
        return areas

    @property
    def _states(self) -> NDArray[np.bool_]:
        """Shape (year, path)."""
        return states(np.arange(len(self.cells), dtype=np.uint16), len(self.years))

    @property
    def mapped_km2(self) -> float:
        """Ground with enough looks: what all shares and rates refer to."""
        return float(self._paths.sum())

    @property
    def isa_km2(self) -> tuple[float, ...]:
        """Impervious area of each year."""
        return tuple((self._states @ self._paths).tolist())

    def class_km2(self, code: int) -> float:
        """Area of a change class."""
        return float(self.cells[:, code].sum())

    def matrix_km2(self, first: int, last: int) -> NDArray[np.float64]:
        """Area per state (0, 1) in one year (row) and in another (column); years by their index."""
        a, b = self._states[first], self._states[last]
        paths = self._paths
        return np.array([[paths[(a == i) & (b == j)].sum() for j in (False, True)] for i in (False, True)])

    def steps(self) -> list[tuple[int, int]]:
        """Pairs of year indices: consecutive ones, then the first and the last."""
        pairs = list(pairwise(range(len(self.years))))
        return pairs if len(pairs) == 1 else [*pairs, (0, len(self.years) - 1)]


def growth(before: float, after: float) -> float:
    """(A2 - A1) / A1; NaN from nothing."""
    return after / before - 1 if before > 0 else math.nan


def annual_rate(before: float, after: float, years: float) -> float:
    """(A2 / A1)^(1 / years) - 1: growth a year, compounded; NaN from nothing."""
    return (after / before) ** (1 / years) - 1 if before > 0 else math.nan


def expansion_intensity(before: float, after: float, whole: float, years: float) -> float:
    """(A2 - A1) / (A_unit years) x 100: percent of the unit's ground sealed a year; NaN for no ground."""
    return (after - before) / (whole * years) * 100 if whole > 0 else math.nan
