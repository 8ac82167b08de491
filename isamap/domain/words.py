"""Sequences of words of pixels, packed into numbers of 16 bits that are looked up and counted as a whole."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

CACHED = 1 << 18
"""Pixels that are worked on at a time: what is made of them on the way stays in the cache."""
WORD_PX = 8
"""Pixels that are looked at together: a byte of bits, a word of bytes."""
PART_BITS = 16
Codes = NDArray[np.unsignedinteger]
Octets = NDArray[np.uint8]
"""Bits of words, the first pixel lowest."""
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True)
class Packing:
    """How sequences of digits become numbers of 16 bits: those of 1, 2, 4 or 8 pixels, the first one lowest.

    With four maps a number holds four pixels where they know everything, else two: so many fewer are looked up.
    """

    years: int
    """Of a sequence, at most 10."""
    base: int
    """2: every map knows every pixel, and a digit is 1 for ISA; 3: digits are those of sequence numbers."""

    @cached_property
    def pixel_bits(self) -> int:
        """Bits for a pixel."""
        return next(bits for bits in (2, 4, 8, PART_BITS) if self.base**self.years <= 1 << bits)

    @property
    def part_px(self) -> int:
        """Pixels of a number."""
        return PART_BITS // self.pixel_bits

    @cached_property
    def sequences(self) -> NDArray[np.intp]:
        """Sequence number of what stands for one pixel."""
        code = np.arange(self.base**self.years)
        steps = range(self.years)
        digits = (code // self.base**t % self.base + 3 - self.base for t in steps)
        return sum((digit * 3**t for t, digit in zip(steps, digits, strict=True)), np.zeros_like(code))

    @cached_property
    def _digits(self) -> NDArray[np.uint16]:
        """What the digit 1 in the pixels of an octet adds to the numbers of a word, per year: (year, 256, number)."""
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
        within = 1 << self.pixel_bits * np.arange(self.part_px)
        last = (bits.reshape(256, -1, self.part_px) * within).sum(axis=-1)
        return np.array([last * self.base ** (self.years - 1 - t) for t in range(self.years)], np.uint16)

    def packed(self, maps: Iterable[tuple[Octets, Octets | None]]) -> "Packed":
        """Sequences of words.

        Args:
            maps: of each year ISA, and what is known, for each word; None: everything.
        """
        total: NDArray[np.uint16] | None = None
        for table, (isa, known) in zip(self._digits, maps, strict=True):
            digits = np.take(table, isa, axis=0, mode="clip")  # without a check of each octet
            if self.base == 3:
                digits += table[255] if known is None else np.take(table, known, axis=0, mode="clip")
            total = digits if total is None else np.add(total, digits, out=total)
        assert total is not None  # there are maps
        return Packed(self, total)

    def table(self, values: NDArray[Value]) -> NDArray[Value]:
        """A value of each sequence as those of all pixels of each number: (number, pixel)."""
        ours = np.zeros(1 << self.pixel_bits, values.dtype)
        ours[: len(self.sequences)] = values[self.sequences]
        pixels = np.arange(1 << PART_BITS)[:, None] >> self.pixel_bits * np.arange(self.part_px)
        table: NDArray[Value] = ours[pixels & (len(ours) - 1)]
        return table


class Packed:
    """Sequences of words of pixels.

    Args:
        packing: how they are packed.
        numbers: shape (word, number).
    """

    def __init__(self, packing: Packing, numbers: NDArray[np.uint16]) -> None:
        self._packing, self._numbers = packing, numbers
        self._places = numbers.reshape(-1).astype(np.intp)  # converted once, for all lookups

    def __getitem__(self, words: NDArray[np.bool_]) -> "Packed":
        return Packed(self._packing, self._numbers[words])

    def look(self, table: NDArray[Value]) -> NDArray[Value]:
        """What a table of the packing says of each pixel: (word, 8)."""
        return np.take(table, self._places, axis=0, mode="clip").reshape(-1, WORD_PX)

    def at(self, pixels: NDArray[np.intp]) -> NDArray[np.intp]:
        """Sequence number of some pixels, by their place in the words side by side."""
        part, pixel = pixels // self._packing.part_px, pixels & self._packing.part_px - 1
        ours = self._places[part] >> pixel * self._packing.pixel_bits
        found: NDArray[np.intp] = self._packing.sequences[ours & ((1 << self._packing.pixel_bits) - 1)]
        return found

    def count(self) -> NDArray[np.int64]:
        """Pixels of each sequence."""
        counts, bits = np.bincount(self._places, minlength=1 << PART_BITS), PART_BITS
        while bits > self._packing.pixel_bits:
            bits //= 2
            halves = counts.reshape(1 << bits, 1 << bits)
            counts = halves.sum(axis=0) + halves.sum(axis=1)
        found = np.zeros(3**self._packing.years, np.int64)
        found[self._packing.sequences] = counts[: len(self._packing.sequences)]
        return found


def count_by_zone(codes: Codes, zones: NDArray[np.integer[Any]], size: int) -> dict[int, NDArray[np.int64]]:
    """Pixels of each number below `size`, by the code of the zone they lie in.

    Args:
        codes: numbers, shape (y, x).
        zones: code from 0 of each pixel, likewise.
        size: more than any number.
    """
    there = np.flatnonzero(np.bincount(zones.reshape(-1)))
    begin = np.zeros(there[-1] + 1, np.intp)
    begin[there] = np.arange(len(there)) * size
    counts = np.zeros(len(there) * size, np.int64)
    step = max(1, CACHED // max(1, codes.shape[1]))
    for top in range(0, len(codes), step):
        keys = begin[zones[top : top + step]] + codes[top : top + step]
        counts += np.bincount(keys.reshape(-1), minlength=counts.size)
    return dict(zip(there.tolist(), counts.reshape(-1, size), strict=True))
