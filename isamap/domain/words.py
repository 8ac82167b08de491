"""Sequence numbers looked up and counted many at once."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

CACHED = 1 << 18
"""Pixels that are worked on at a time: what is made of them on the way stays in the cache."""
WORD_PX = 8
"""Pixels that are looked at together: a byte of bits, a word of bytes."""
Codes = NDArray[np.unsignedinteger]


class Lookup:
    """A table of bytes by sequence number, for two numbers at a time where they are bytes.

    Args:
        table: value of each number.
        dtype: type of the numbers.
    """

    def __init__(self, table: NDArray[np.uint8], dtype: np.dtype[np.unsignedinteger]) -> None:
        self.table = table
        """Value of each number."""
        self.parts: Codes = table
        """Value of each part of `Numbers`."""
        if dtype == np.uint8:
            whole = np.zeros(256, np.uint8)
            whole[: len(table)] = table[:256]
            pairs = np.stack(np.broadcast_arrays(whole[None, :], whole[:, None]), axis=-1)  # low byte first
            self.parts = pairs.view("<u2").reshape(-1)


class Numbers:
    """Sequence numbers of words of pixels, looked up and counted by twos where they are bytes, else one by one.

    Args:
        code: numbers, shape (word, 8).
    """

    def __init__(self, code: Codes) -> None:
        self.code = code
        """The numbers."""
        self._flat = code.reshape(-1).view("<u2") if code.dtype == np.uint8 else code.reshape(-1)
        self._parts = self._flat.astype(np.intp)  # converted once, for all lookups

    def raise_by(self, pixels: NDArray[np.intp], step: int) -> None:
        """Add a step to the numbers of some pixels, by their place in the flattened numbers, each once."""
        self.code.reshape(-1)[pixels] += self.code.dtype.type(step)
        touched = pixels // (self.code.size // max(1, self._flat.size))
        self._parts[touched] = self._flat[touched]

    def look(self, lookup: Lookup) -> NDArray[np.uint64]:
        """What a table says of each word, a byte per pixel."""
        found = np.take(lookup.parts, self._parts, mode="clip")  # without a check of each number
        words: NDArray[np.uint64] = found.view("<u8")
        return words

    def count(self, size: int) -> NDArray[np.int64]:
        """Pixels of each number below `size`."""
        if self.code.dtype != np.uint8:
            return np.bincount(self._parts, minlength=size).astype(np.int64)
        pairs = np.bincount(self._parts, minlength=1 << 16).reshape(256, 256)
        counts: NDArray[np.int64] = (pairs.sum(0) + pairs.sum(1))[:size].astype(np.int64)
        return counts


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
