"""How a window of map sequences is read: by tables over all sequences, or pixel by pixel where there are probabilities."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bits import Bits
from isamap.domain.changes import (
    ENDPOINT,
    FEW,
    FEW_LOOKS,
    FLICKER,
    GAIN,
    IMPERVIOUS,
    LOSS,
    PERVIOUS,
    REVERSAL,
    SETTLED_LOOKS,
    SLOTS,
    UNSEEN,
)
from isamap.domain.decoded import ByClass, ByEvidence
from isamap.domain.product import NODATA
from isamap.domain.transition import (
    LOOKS,
    SHOWN,
    Chances,
    all_digits,
    first_year,
    monotone,
    path_of,
    raw,
    sequences,
    states,
    viterbi,
)
from isamap.domain.words import Packing

_UNSEEN, _FEW, _STEADY, _APART, _BACK = range(5)
"""Kinds of sequences: no look, too few, all alike, ends differ, ends alike but not all."""
_KINDS = 5


def _kinds(digits: NDArray[np.uint8], min_looks: int) -> NDArray[np.uint8]:
    """Kind of each sequence of digits (year, ...)."""
    looks = (digits > 0).sum(axis=0)
    path = raw(digits)
    seen = states(path, len(digits))
    kind = np.where(seen[0] == seen[-1], _BACK, _APART)
    kind[(seen == seen[0]).all(axis=0)] = _STEADY
    kind[looks < min_looks] = _FEW
    kind[looks == 0] = _UNSEEN
    found: NDArray[np.uint8] = kind.astype(np.uint8)
    return found


def _path_classes(years: int) -> NDArray[np.uint8]:
    """Class of each kind and path, shape (kind, 2^years)."""
    seen = states(np.arange(2**years, dtype=np.uint16), years)
    turns = (seen[1:] != seen[:-1]).sum(axis=0)
    moved = np.where(turns > 1, REVERSAL, np.where(seen[-1], GAIN, LOSS))
    table = np.empty((_KINDS, 2**years), np.uint8)
    table[_UNSEEN], table[_FEW] = UNSEEN, FEW
    for kind, still in (
        (_STEADY, np.where(seen[0], IMPERVIOUS, PERVIOUS)),
        (_APART, ENDPOINT),
        (_BACK, FLICKER),
    ):
        table[kind] = np.where(turns, moved, still)
    return table


def _raw_classes(digits: NDArray[np.uint8], kinds: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Class of each sequence by the maps alone: a sustained change is one turn, seen twice in the new state."""
    years = len(digits)
    seen = states(raw(digits), years)
    turns = (seen[1:] != seen[:-1]).sum(axis=0)
    lasting = ((digits > 0) & (seen == seen[-1])).sum(axis=0) >= SETTLED_LOOKS
    table: NDArray[np.uint8] = _path_classes(years)[kinds, 0]
    steady = kinds == _STEADY
    table[steady] = np.where(seen[-1], IMPERVIOUS, PERVIOUS)[steady]
    gained = (kinds == _APART) & (turns == 1) & lasting
    table[gained] = np.where(seen[-1], GAIN, LOSS)[gained]
    return table


@dataclass(frozen=True)
class Reading:
    """Tables over the numbers that sequences of many pixels are packed into, each made when it is first asked for."""

    decoder: "Decoder"
    """Of sequences."""
    packing: Packing
    """How they become numbers."""

    @cached_property
    def moving(self) -> NDArray[np.uint8]:
        """1 for every pixel whose path changes, 0 for the others."""
        return self.packing.table(self.decoder.moving[self.decoder.chosen].view(np.uint8))

    @cached_property
    def drawing(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First-year and change value of every pixel."""
        first, change = (self.packing.table(values) for values in self.decoder.drawing)
        return first, change


@dataclass(frozen=True)
class Decoder:
    """How sequences are read: tables over all 3^n of them, and the same for probabilities pixel by pixel."""

    years: tuple[int, ...]
    """Ascending."""
    chances: Chances
    """Error rates and transition rates."""
    method: str = "viterbi"
    """Which reading the rasters show."""
    min_looks: int = 2
    """Pixels with fewer years mapped are flagged and take no part in statistics."""

    @property
    def count(self) -> int:
        """Number of years."""
        return len(self.years)

    @cached_property
    def digits(self) -> NDArray[np.uint8]:
        """Of every sequence, shape (year, 3^n)."""
        return all_digits(self.count)

    @cached_property
    def kinds(self) -> NDArray[np.uint8]:
        """Of every sequence."""
        return _kinds(self.digits, self.min_looks)

    @cached_property
    def path_classes(self) -> NDArray[np.uint8]:
        """Class per kind and path."""
        return _path_classes(self.count)

    @cached_property
    def raw_slots(self) -> NDArray[np.uint16]:
        """Slot of the raw reading of every sequence."""
        return self.slots(raw(self.digits), _raw_classes(self.digits, self.kinds))

    def slots(self, paths: NDArray[np.uint16], classes: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """Place in a tally of one method."""
        return paths * np.uint16(SLOTS) + classes

    @cached_property
    def tables(self) -> dict[str, NDArray[np.uint16]]:
        """Slot of every sequence by what is counted; those of undone sequences follow, `3^n` later."""
        evidence = self.chances.of_classes()[self.digits]
        paths = {"monotone": monotone(evidence), "viterbi": viterbi(evidence, self.years, self.chances)}
        tables = {"raw": self.raw_slots}
        paths |= {LOOKS: path_of(self.digits > 0), SHOWN: path_of(self.digits == 2)}
        tables |= {name: self.slots(p, self.path_classes[self.kinds, p]) for name, p in paths.items()}
        tables = {name: np.concatenate([table, table]) for name, table in tables.items()}
        still = self._still(self.digits, evidence)
        tables[self.method][3**self.count :] = self.slots(still, self.path_classes[self.kinds, still])
        return tables

    def _still(
        self, digits: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], evidence: NDArray[np.float32]
    ) -> NDArray[np.uint16]:
        """Paths without change, for what is undone in the chosen reading, of digits and evidence (year, ...)."""
        return (
            most_seen(np.asarray(digits))
            if self.method == "raw"
            else steady_paths(evidence, self.chances.start)
        )

    @property
    def chosen(self) -> NDArray[np.uint16]:
        """Slot of every sequence by the chosen method."""
        return self.tables[self.method]

    @cached_property
    def looks(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First-year and change value of every slot."""
        slot = np.arange(2**self.count * SLOTS)
        path, kind = np.divmod(slot, SLOTS)
        first = first_year(path.astype(np.uint16), self.count)
        first[kind == FEW], first[kind == UNSEEN] = FEW_LOOKS, NODATA
        return first, np.where(kind == UNSEEN, NODATA, kind).astype(np.uint8)

    @cached_property
    def drawing(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First-year and change value of every sequence; those of undone sequences follow."""
        first, change = (values[self.chosen] for values in self.looks)
        return first, change

    @cached_property
    def moving(self) -> NDArray[np.bool_]:
        """Whether the path of a slot changes."""
        path, kind = np.divmod(np.arange(2**self.count * SLOTS), SLOTS)
        moves: NDArray[np.bool_] = (path > 0) & (path < 2**self.count - 1) & ~np.isin(kind, (FEW, UNSEEN))
        return moves

    @property
    def steady(self) -> tuple[int, int]:
        """Sequences of ground that all maps show pervious, and impervious."""
        return (3**self.count - 1) // 2, 3**self.count - 1

    @cached_property
    def steady_moves(self) -> bool:
        """Whether one of them has a path that changes: rates that outweigh what all maps show."""
        return bool(self.moving[self.chosen[list(self.steady)]].any())

    @cached_property
    def readings(self) -> dict[int, Reading]:
        """Of windows that every map knows everywhere, by the base 2, and of others, by 3."""
        return {base: Reading(self, Packing(self.count, base)) for base in (2, 3)}

    def read_classes(self, stack: Iterable[Bits], shape: tuple[int, int]) -> ByClass:
        """Reading of a window (y, x) from the classes of each year."""
        return ByClass.of(self, list(stack), shape)

    def read_evidence(self, stack: Sequence[NDArray[np.uint8]], evidence: NDArray[np.float32]) -> ByEvidence:
        """Reading of digits and evidence (year, y, x); the digits say what the maps showed."""
        code = sequences(stack, self.count)
        kinds = self.kinds[code]
        paths = {"monotone": monotone(evidence), "viterbi": viterbi(evidence, self.years, self.chances)}
        slots = {"raw": self.raw_slots[code]}
        slots |= {name: self.slots(p, self.path_classes[kinds, p]) for name, p in paths.items()}
        still = self._still(stack, evidence)
        return ByEvidence(self, code, slots, self.slots(still, self.path_classes[kinds, still]))


def steady_paths(evidence: NDArray[np.float32], start: float) -> NDArray[np.uint16]:
    """The likelier of the two paths without change; pervious if both are alike.

    Args:
        evidence: shape (year, ...).
        start: share of impervious ground.
    """
    bar = np.log((1 - start) / start)
    return np.where(evidence.sum(axis=0) > bar, np.uint16(2 ** len(evidence) - 1), np.uint16(0))


def most_seen(digits: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The path without change that more looks show than the other; where both do alike, that of the first look.

    Args:
        digits: shape (year, ...).
    """
    more = (digits == 2).sum(axis=0) - (digits == 1).sum(axis=0)
    impervious = np.where(more == 0, raw(digits) & 1, more > 0)
    return np.where(impervious, np.uint16(2 ** len(digits) - 1), np.uint16(0))
