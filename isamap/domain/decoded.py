"""The reading of one window: what is drawn of it, what is counted, where it changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import set_bits
from isamap.domain.bits import Bits
from isamap.domain.changes import SLOTS
from isamap.domain.patches import Places, Runs, padded, spread
from isamap.domain.transition import METHODS, sequences
from isamap.domain.words import WORD_PX, Lookup, Numbers, count_by_zone

if TYPE_CHECKING:
    from isamap.domain.decoder import Decoder


class Decoded(Protocol):
    """The reading of one window."""

    def changed(self) -> Runs:
        """Where the chosen path changes."""

    def undo(self, runs: Runs) -> None:
        """Give pixels that change the likelier of the two paths without change."""

    def crop(self, cols: slice) -> Self:
        """The reading of some columns."""

    def rasters(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First-year and change raster."""

    def tally(self) -> NDArray[np.int64]:
        """Pixels per method, path and class, shape (3, 2^years, 9)."""

    def tallies(self, zones: NDArray[np.integer[Any]]) -> dict[int, NDArray[np.int64]]:
        """The same by the code of a zone; codes (y, x)."""


@dataclass
class ByClass:
    """A window of sequences. Ground that all maps show alike is one of two; only other words are read as numbers."""

    decoder: "Decoder"
    shape: tuple[int, int]
    """Rows and columns."""
    isa: NDArray[np.uint8]
    """ISA of the first map as bits, `(y, byte)`."""
    places: Places
    """Words, as places in `isa`, that are read as numbers, ascending."""
    numbers: Numbers
    """Their sequence numbers."""

    @classmethod
    def of(cls, decoder: "Decoder", stack: Sequence[Bits], shape: tuple[int, int]) -> Self:
        """The window that the classes of each year show."""
        octets = -(-shape[1] // WORD_PX)

        def bytes_of(plane: NDArray[np.uint64]) -> NDArray[np.uint8]:
            return np.ascontiguousarray(plane.view(np.uint8)[:, :octets])

        planes = [(bytes_of(b.isa), None if b.known is None else bytes_of(b.known)) for b in stack]
        isa = planes[0][0]
        unlike = np.full(isa.shape, decoder.steady_moves, np.uint8)
        for other, known in planes:
            unlike |= other ^ isa
            if known is not None:
                unlike |= ~known
        places = np.flatnonzero(unlike != 0)
        digits = (_digits(other, known, places) for other, known in planes)
        code = sequences(digits, len(stack)).reshape(-1, WORD_PX)
        if shape[1] % WORD_PX:
            code[places % octets == octets - 1, shape[1] % WORD_PX :] = 0
        return cls(decoder, shape, isa, places, Numbers(code))

    def changed(self) -> Runs:
        """Where the chosen path changes."""
        moves = self.numbers.look(self.decoder.moving_codes)
        there = np.flatnonzero(moves != 0)
        return Runs.of_words(self.places[there], moves[there], self.shape)

    def undo(self, runs: Runs) -> None:
        """Give pixels that change the likelier of the two paths without change."""
        rows, cols = np.divmod(runs.starts, padded(self.shape[1]))
        words = np.searchsorted(self.places, rows * self.isa.shape[1] + cols // WORD_PX)
        # all words of a run are there: none of them shows ground that is alike in all maps
        pixels = spread(words * WORD_PX + cols % WORD_PX, runs.ends - runs.starts)
        self.numbers.raise_by(pixels, 3**self.decoder.count)

    def crop(self, cols: slice) -> "ByClass":
        """The reading of some columns, the first of which begins a word."""
        if cols.stop - cols.start == self.shape[1]:
            return self
        rows, at = np.divmod(self.places, self.isa.shape[1])
        isa = self.isa[:, cols.start // WORD_PX : -(-cols.stop // WORD_PX)]
        at -= cols.start // WORD_PX
        inside = (at >= 0) & (at < isa.shape[1])
        places = rows[inside] * isa.shape[1] + at[inside]
        return ByClass(
            self.decoder,
            (self.shape[0], cols.stop - cols.start),
            isa,
            places,
            Numbers(self.numbers.code[inside]),
        )

    def rasters(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First-year and change raster."""
        first, change = (self._drawn(lookup) for lookup in self.decoder.drawing)
        return first, change

    def _drawn(self, lookup: Lookup) -> NDArray[np.uint8]:
        """What a table says of every pixel."""
        values = np.unpackbits(self.isa, axis=1, bitorder="little")
        steady = lookup.table[list(self.decoder.steady)]
        if steady.tolist() != [0, 1]:
            values = steady[values]
        values.reshape(-1).view("<u8")[self.places] = self.numbers.look(lookup)
        return values[:, : self.shape[1]]

    def tally(self) -> NDArray[np.int64]:
        """Pixels per method, path and class, shape (3, 2^years, 9)."""
        (height, width), octets = self.shape, self.isa.shape[1]
        counts = self.numbers.count(2 * 3**self.decoder.count)
        beyond, ends = octets * WORD_PX - width, 0  # no pixels
        if beyond:
            ends = int(np.count_nonzero(self.places % octets == octets - 1))
            counts[0] -= ends * beyond
        impervious = set_bits(self.isa) - set_bits(self.isa.reshape(-1)[self.places])
        steady = self.isa.size - len(self.places)
        pervious = steady * WORD_PX - (height - ends) * beyond - impervious
        for sequence, pixels in zip(self.decoder.steady, (pervious, impervious), strict=True):
            counts[sequence] += pixels
        return self._tally(counts)

    def tallies(self, zones: NDArray[np.integer[Any]]) -> dict[int, NDArray[np.int64]]:
        """The same by the code of a zone; codes (y, x)."""
        steady = np.array(self.decoder.steady, self.numbers.code.dtype)
        code = steady[np.unpackbits(self.isa, axis=1, bitorder="little")]
        code.reshape(-1, WORD_PX)[self.places] = self.numbers.code
        counts = count_by_zone(code[:, : self.shape[1]], zones, 2 * 3**self.decoder.count)
        return {zone: self._tally(one) for zone, one in counts.items()}

    def _tally(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pixels of every sequence as those of slots."""
        size = 2**self.decoder.count * SLOTS
        tallies = [np.bincount(self.decoder.tables[name], counts, size) for name in METHODS]
        return np.array(tallies).astype(np.int64).reshape(len(METHODS), -1, SLOTS)


def _digits(isa: NDArray[np.uint8], known: NDArray[np.uint8] | None, places: Places) -> NDArray[np.uint8]:
    """Digits of the pixels of some bytes of bits."""
    digits = np.unpackbits(isa.reshape(-1)[places], bitorder="little")
    digits += 1 if known is None else np.unpackbits(known.reshape(-1)[places], bitorder="little")
    return digits


@dataclass
class ByEvidence:
    """A window of slots per method."""

    decoder: "Decoder"
    slots: dict[str, NDArray[np.uint16]]
    still: NDArray[np.uint16]
    """Slot without change."""

    def changed(self) -> Runs:
        """Where the chosen path changes."""
        return Runs.of_mask(self.decoder.moving[self.slots[self.decoder.method]])

    def undo(self, runs: Runs) -> None:
        """Give pixels that change the likelier of the two paths without change."""
        where = runs.pixels()
        self.slots[self.decoder.method][where] = self.still[where]

    def crop(self, cols: slice) -> "ByEvidence":
        """The reading of some columns."""
        slots = {name: values[:, cols] for name, values in self.slots.items()}
        return ByEvidence(self.decoder, slots, self.still[:, cols])

    def rasters(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First-year and change raster."""
        first, change = (values[self.slots[self.decoder.method]] for values in self.decoder.looks)
        return first, change

    def tally(self) -> NDArray[np.int64]:
        """Pixels per method, path and class, shape (3, 2^years, 9)."""
        size = 2**self.decoder.count * SLOTS
        counts = [np.bincount(self.slots[name].reshape(-1), minlength=size) for name in METHODS]
        return np.array(counts).reshape(len(METHODS), -1, SLOTS)

    def tallies(self, zones: NDArray[np.integer[Any]]) -> dict[int, NDArray[np.int64]]:
        """The same by the code of a zone; codes (y, x)."""
        size = 2**self.decoder.count * SLOTS
        counts = [count_by_zone(self.slots[name], zones, size) for name in METHODS]
        return {
            zone: np.array([one[zone] for one in counts]).reshape(len(METHODS), -1, SLOTS)
            for zone in counts[0]
        }
