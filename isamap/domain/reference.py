"""A product to compare with: what its values say about impervious surface, and whose it is."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import blocks
from isamap.domain.classes import UNLABELLED
from isamap.errors import ConfigError

CODES, MAJORITY = 1 << 16, 0.5
Entry = TypeVar("Entry", bound=np.generic)


@dataclass(frozen=True)
class Reference:
    """A product: how to read it, and how to name its makers."""

    name: str
    """What users type: `worldcover-v200`."""
    title: str
    """What it is, for people."""
    gsd_m: float
    """Pixel size; shares are only fair from there on."""
    version: str
    """Of the algorithm."""
    years: tuple[int, ...] = ()
    """Years there are maps of; empty: every year of a series that goes on, or none in particular."""
    share_of: Mapping[int, float] = field(default_factory=dict)
    """ISA share of every value: 1 for a class that is ISA, 0 for one that is not."""
    others: float = math.nan
    """Share of values that are not listed; NaN: not known, so that a strange code is never silently pervious."""
    nodata: tuple[int, ...] = ()
    """Values that say nothing."""
    since: Mapping[int, int] = field(default_factory=dict)
    """First year in which a value is ISA, where values are years of change."""
    licence: str = ""
    """SPDX name, or the terms in words."""
    attribution: str = ""
    """What the licence wants said."""
    url: str = ""
    """Where it is described."""
    verified: str = ""
    """Where the codes were read; empty: not verified."""
    note: str = ""
    """What a user should know."""

    @property
    def fractional(self) -> bool:
        """Whether values are shares rather than classes."""
        return any(0 < share < 1 for share in self.share_of.values())

    def recipe(self) -> str:
        """What maps that are differenced must share: another algorithm differs on unchanged ground, too."""
        return f"{self.name} {self.version}"

    def at(self, year: int) -> "Reference":
        """The state of one year.

        Raises:
            ConfigError: there is no map of that year.
        """
        if self.years and year not in self.years:
            raise ConfigError(f"{self.name} has no map of {year}, only of {', '.join(map(str, self.years))}")
        share_of = {v: s if self.since.get(v, year) <= year else 0 for v, s in self.share_of.items()}
        return replace(self, share_of=share_of, years=(year,), since={})

    def share(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """ISA share of each pixel, 0-1, NaN where nothing is known; numbers of any type."""
        return _look_up(self._shares, values)

    def isa(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Class of each pixel: 1 where at least half is ISA, 0 where less, 255 where nothing is known."""
        return _look_up(self._classes, values)

    @cached_property
    def _shares(self) -> NDArray[np.float32]:
        """Share of every 16-bit code; one more entry for what is no code at all."""
        table = np.full(CODES + 1, self.others, np.float32)
        table[list(self.share_of)] = list(self.share_of.values())
        table[[*self.nodata, CODES]] = np.nan
        return table

    @cached_property
    def _classes(self) -> NDArray[np.uint8]:
        return np.where(np.isnan(self._shares), UNLABELLED, self._shares >= MAJORITY).astype(np.uint8)


def classes(isa: Iterable[int], pervious: Iterable[int]) -> dict[int, float]:
    """ISA shares of classes that have all or none."""
    return dict.fromkeys(isa, 1.0) | dict.fromkeys(pervious, 0.0)


def _look_up(table: NDArray[Entry], values: NDArray[Any]) -> NDArray[Entry]:
    """Entries of a table of 65537, the last one for what is no 16-bit number; in blocks, for indices are wide."""
    found = [np.take(table, _codes(part), mode="clip") for (part,) in blocks(values)]
    return np.concatenate([table[:0], *found]).reshape(values.shape)


def _codes(values: NDArray[Any]) -> NDArray[Any]:
    """Values as indices of such a table."""
    if values.dtype in (np.uint8, np.uint16):
        return values
    if values.dtype.kind == "f":
        values = np.rint(np.nan_to_num(values, nan=-1, posinf=-1, neginf=-1))
    known = (values >= 0) & (values < CODES)
    return np.where(
        known, np.where(known, values, 0).astype(np.intp), CODES
    )  # narrow types have no room for the last


def from_classes(text: str) -> Reference:
    """A product described by its codes: `50`, or `1,2=0.5,255=nodata`.

    A code alone is ISA, `CODE=SHARE` holds that share (0-1) of ISA, `CODE=nodata` says nothing; all others hold none.

    Raises:
        ConfigError: the text cannot be read, names a code twice, or names no ISA.
    """
    meanings: dict[int, float | None] = {}
    for entry in text.split(","):
        code, equals, meaning = (part.strip().lower() for part in entry.partition("="))
        try:
            number, share = int(code), None if meaning == "nodata" else float(meaning if equals else 1)
        except ValueError:
            number, share = -1, None
        if number in meanings or not (0 <= number < CODES and (share is None or 0 <= share <= 1)):
            raise ConfigError(
                f"--classes {text!r}: {entry.strip()!r} is none of CODE, CODE=SHARE (0-1) and CODE=nodata, "
                "each code (0-65535) once"
            )
        meanings[number] = share
    share_of = {code: share for code, share in meanings.items() if share is not None}
    if not any(share_of.values()):
        raise ConfigError(f"--classes {text!r} names no class that is ISA, e.g. 50")
    nodata = tuple(code for code, share in meanings.items() if share is None)
    return Reference(text, f"raster with the ISA classes {text}", math.nan, "", (), share_of, 0, nodata)
