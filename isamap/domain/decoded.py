"""The reading of one window: what is drawn of it, what is counted, where it changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import set_bits
from isamap.domain.bits import Bits, Plane, from_octets, plane_of
from isamap.domain.changes import SLOTS
from isamap.domain.patches import Places, Runs, spread, stride_of
from isamap.domain.transition import COUNTED, METHODS
from isamap.domain.words import WORD_PX, Codes, Packed, count_by_zone

if TYPE_CHECKING:
    from isamap.domain.decoder import Decoder, Reading


class Decoded(Protocol):
    """The reading of one window."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    def changed(self) -> Plane:
        """Where the chosen path changes."""

    def undo(self, runs: Runs) -> None:
        """Give pixels that change a path without change; once."""

    def crop(self, cols: slice) -> Self:
        """The reading of some columns."""

    def rasters(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First-year and change raster."""

    def tally(self) -> NDArray[np.int64]:
        """Pixels per thing counted, path and class, shape (5, 2^years, 9)."""

    def tallies(self, zones: NDArray[np.integer[Any]]) -> dict[int, NDArray[np.int64]]:
        """The same by the code of a zone; codes (y, x)."""


@dataclass(frozen=True)
class _Undone:
    """Pixels that have lost their change."""

    places: Places
    """In rows of whole words."""
    sequences: NDArray[np.intp]
    """What the maps showed."""


@dataclass
class ByClass:
    """A window of sequences. Ground that all maps show alike is one of two; only other words are read as numbers."""

    reading: "Reading"
    """Tables for its numbers."""
    shape: tuple[int, int]
    """Rows and columns."""
    isa: NDArray[np.uint8]
    """ISA of the first map as bits, `(y, byte)`."""
    places: Places
    """Words, as places in `isa`, that are read as numbers, ascending."""
    numbers: Packed
    """Their sequences."""
    blank: int
    """Sequence that stands beyond the last column, in words that are read as numbers."""
    undone: _Undone
    """Changes that were taken back."""

    @classmethod
    def of(cls, decoder: "Decoder", stack: Sequence[Bits], shape: tuple[int, int]) -> Self:
        """The window that the classes of each year show."""
        octets = -(-shape[1] // WORD_PX)

        def bytes_of(plane: Plane) -> NDArray[np.uint8]:
            return np.ascontiguousarray(plane.view(np.uint8)[:, :octets])

        planes = [(bytes_of(b.isa), None if b.known is None else bytes_of(b.known)) for b in stack]
        isa = planes[0][0]
        unlike = np.full(isa.shape, decoder.steady_moves, np.uint8)
        for other, _ in planes[1:]:
            unlike |= other ^ isa
        for _, known in planes:
            if known is not None:
                unlike |= ~known
        places = np.flatnonzero(unlike != 0)
        reading = decoder.readings[2 if all(known is None for _, known in planes) else 3]
        words = (
            (_at(other, places), None if known is None else _at(known, places)) for other, known in planes
        )
        blank = int("".join("1" if known is None else "0" for _, known in planes), 3)
        none = np.empty(0, np.intp)
        numbers = reading.packing.packed(words)
        return cls(reading, shape, isa, places, numbers, blank, _Undone(none, none))

    @property
    def decoder(self) -> "Decoder":
        """How sequences are read."""
        return self.reading.decoder

    def changed(self) -> Plane:
        """Where the chosen path changes."""
        octets = np.zeros_like(self.isa)
        moving = self.numbers.look(self.reading.moving)
        octets.reshape(-1)[self.places] = np.packbits(moving, bitorder="little")
        return from_octets(octets, self.shape[1])

    def undo(self, runs: Runs) -> None:
        """Give pixels that change a path without change."""
        rows, cols = np.divmod(runs.starts, stride_of(self.shape[1]))
        lengths, width = runs.ends - runs.starts, self.isa.shape[1] * WORD_PX
        words = np.searchsorted(self.places, rows * self.isa.shape[1] + cols // WORD_PX)
        # all words of a run are there: none of them shows ground that is alike in all maps
        sequences = self.numbers.at(spread(words * WORD_PX + cols % WORD_PX, lengths))
        self.undone = _Undone(spread(rows * width + cols, lengths), sequences)

    def crop(self, cols: slice) -> "ByClass":
        """The reading of some columns, the first of which begins a word."""
        if cols.stop - cols.start == self.shape[1]:
            return self
        words = slice(cols.start // WORD_PX, -(-cols.stop // WORD_PX))
        isa = self.isa[:, words]
        places, inside = _cut(self.places, self.isa.shape[1], words)
        pixels = slice(words.start * WORD_PX, words.stop * WORD_PX)
        undone, among = _cut(self.undone.places, self.isa.shape[1] * WORD_PX, pixels)
        return ByClass(
            self.reading,
            (self.shape[0], cols.stop - cols.start),
            isa,
            places,
            self.numbers[inside],
            self.blank,
            _Undone(undone, self.undone.sequences[among]),
        )

    def rasters(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First-year and change raster."""
        first, change = map(self._drawn, self.decoder.drawing, self.reading.drawing)
        return first, change

    def _drawn(self, table: NDArray[np.uint8], parts: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a table of sequences, and the same of numbers, says of every pixel."""
        values = np.unpackbits(self.isa, axis=1, bitorder="little")
        steady = table[list(self.decoder.steady)]
        if steady.tolist() != [0, 1]:
            values = steady[values]
        values.reshape(-1).view("<u8")[self.places] = self.numbers.look(parts).reshape(-1).view("<u8")
        values.reshape(-1)[self.undone.places] = table[3**self.decoder.count + self.undone.sequences]
        return values[:, : self.shape[1]]

    def tally(self) -> NDArray[np.int64]:
        """Pixels per thing counted, path and class, shape (5, 2^years, 9)."""
        (height, width), octets = self.shape, self.isa.shape[1]
        counts = self.numbers.count()
        beyond, ends = octets * WORD_PX - width, 0  # no pixels
        if beyond:
            ends = int(np.count_nonzero(self.places % octets == octets - 1))
            counts[self.blank] -= ends * beyond
        impervious = set_bits(self.isa) - set_bits(self.isa.reshape(-1)[self.places])
        steady = self.isa.size - len(self.places)
        pervious = steady * WORD_PX - (height - ends) * beyond - impervious
        for sequence, pixels in zip(self.decoder.steady, (pervious, impervious), strict=True):
            counts[sequence] += pixels
        undone = np.bincount(self.undone.sequences, minlength=3**self.decoder.count)
        return self._tally(np.concatenate([counts - undone, undone]))

    def tallies(self, zones: NDArray[np.integer[Any]]) -> dict[int, NDArray[np.int64]]:
        """The same by the code of a zone; codes (y, x)."""
        count = 3**self.decoder.count
        every = np.arange(count).astype(np.min_scalar_type(2 * count))
        code = every[list(self.decoder.steady)][np.unpackbits(self.isa, axis=1, bitorder="little")]
        code.reshape(-1, WORD_PX)[self.places] = self.numbers.look(self.reading.packing.table(every))
        code.reshape(-1)[self.undone.places] += every.dtype.type(count)
        counts = count_by_zone(code[:, : self.shape[1]], zones, 2 * count)
        return {zone: self._tally(one) for zone, one in counts.items()}

    def _tally(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Pixels of every sequence as those of slots."""
        size = 2**self.decoder.count * SLOTS
        tallies = [np.bincount(self.decoder.tables[name], counts, size) for name in COUNTED]
        return np.array(tallies).astype(np.int64).reshape(len(COUNTED), -1, SLOTS)


def _at(octets: NDArray[np.uint8], places: Places) -> NDArray[np.uint8]:
    """Some bytes of rows."""
    found: NDArray[np.uint8] = np.take(octets, places)
    return found


def _cut(places: Places, width: int, cols: slice) -> tuple[Places, NDArray[np.bool_]]:
    """Places in rows of a width, as those in some of their columns, and which of them are there."""
    rows, at = np.divmod(places, width)
    inside = (at >= cols.start) & (at < cols.stop)
    return rows[inside] * (cols.stop - cols.start) + at[inside] - cols.start, inside


@dataclass
class ByEvidence:
    """A window of slots per method."""

    decoder: "Decoder"
    code: Codes
    """Sequence of each pixel."""
    slots: dict[str, NDArray[np.uint16]]
    """By method."""
    still: NDArray[np.uint16]
    """Slot without change."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.still.shape[0], self.still.shape[1]

    def changed(self) -> Plane:
        """Where the chosen path changes."""
        return plane_of(self.decoder.moving[self.slots[self.decoder.method]])

    def undo(self, runs: Runs) -> None:
        """Give pixels that change a path without change."""
        where = runs.pixels()
        self.slots[self.decoder.method][where] = self.still[where]

    def crop(self, cols: slice) -> "ByEvidence":
        """The reading of some columns."""
        slots = {name: values[:, cols] for name, values in self.slots.items()}
        return ByEvidence(self.decoder, self.code[:, cols], slots, self.still[:, cols])

    def rasters(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """First-year and change raster."""
        first, change = (values[self.slots[self.decoder.method]] for values in self.decoder.looks)
        return first, change

    def tally(self) -> NDArray[np.int64]:
        """Pixels per thing counted, path and class, shape (5, 2^years, 9)."""
        size = 2**self.decoder.count * SLOTS
        counts = [np.bincount(self.slots[name].reshape(-1), minlength=size) for name in METHODS]
        return self._joined(counts, np.bincount(self.code.reshape(-1), minlength=3**self.decoder.count))

    def tallies(self, zones: NDArray[np.integer[Any]]) -> dict[int, NDArray[np.int64]]:
        """The same by the code of a zone; codes (y, x)."""
        size = 2**self.decoder.count * SLOTS
        counts = [count_by_zone(self.slots[name], zones, size) for name in METHODS]
        sequences = count_by_zone(self.code, zones, 3**self.decoder.count)
        return {zone: self._joined([one[zone] for one in counts], sequences[zone]) for zone in sequences}

    def _joined(
        self, readings: Sequence[NDArray[np.int64]], sequences: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Counts of slots by method, and those that sequences alone decide."""
        size, whole = 2**self.decoder.count * SLOTS, len(sequences)
        others = [
            np.bincount(self.decoder.tables[name][:whole], sequences, size)
            for name in COUNTED[len(METHODS) :]
        ]
        return np.array([*readings, *others]).astype(np.int64).reshape(len(COUNTED), -1, SLOTS)
