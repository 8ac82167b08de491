"""Classes on a finer grid of another projection, as bits: the same pixels as `nearest` shows, eight to a byte.

A block of 8 x 8 pixels lies in four neighbouring source pixels at most. Where these say the same, so do all 64 of the
block: most ground needs one look. Only the other blocks, along the outlines of the source's classes, are looked up
word by word.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bits import UNKNOWN, Bits, from_octets
from isamap.domain.nearest import FIRST, NODE_PX, RIM, WORD, Nodes, place_of

SAFE_PX = np.float32(1e-3)
"""How much further a block is taken to reach than it does: more than positions are off by rounding."""
PIXELS = np.arange(WORD, dtype=np.float32)
FULL = 0xFF
FOURS = np.arange(256)
"""What four neighbours may say: the low bits ISA of a pixel, of the one to its right, and of the two below; the high
bits whether they are known."""
UNIFORM = np.isin(FOURS, (0x00, 0xF0, 0xFF))
"""Whether all four say the same."""
ALL_KNOWN = 0xF0
"""From here on all four are known."""


def _words(bit: int) -> NDArray[np.uint8]:
    """What a word shows, `(four neighbours, pixels that lie in the first)`; the rest lie in the one to its right."""
    one, other = (-(FOURS >> place & 1) & FULL for place in (bit, bit + 1))
    left = (1 << np.arange(WORD + 1)) - 1
    words: NDArray[np.uint8] = (one[:, None] & left | other[:, None] & ~left).astype(np.uint8)
    return words


BITS = 0, 4
WORDS = tuple(map(_words, BITS))
"""Of ISA, and of what is known."""


@dataclass(frozen=True)
class _Band:
    """Rows between two nodes, eight to a block: positions on the source and steps, shape (block row, node, row)."""

    col: NDArray[np.float32]
    row: NDArray[np.float32]
    across: NDArray[np.float32]
    tilt: NDArray[np.float32]

    @classmethod
    def of(cls, nodes: Nodes, part: slice) -> Self:
        """Of whole blocks of rows."""
        lines = (one.reshape(-1, WORD, one.shape[1]) for one in nodes.lines(part))
        return cls(*(np.ascontiguousarray(one.transpose(0, 2, 1)) for one in lines))

    def lowest(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Lowest column and row of the first word of each stretch between nodes, and their step to the next pixel."""
        found = []
        for at, step in ((self.col, self.across), (self.row, self.tilt)):
            start = np.minimum(at[..., 0], at[..., -1])  # rows of a block lie in line
            start += np.minimum(step[..., 0] * (WORD - 1), 0) - SAFE_PX
            found.append((start, step[..., 0]))
        return found

    def places(self, shape: tuple[int, ...]) -> NDArray[np.intp]:
        """Where the first of the four pixels of each block lies in the flattened source: its lowest column and row."""
        col, row = (np.floor(start[..., None] + step[..., None] * FIRST) for start, step in self.lowest())
        return place_of(col, row, shape)

    def seconds(
        self, block: NDArray[np.intp], first: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Column and row at which the second of the two that some blocks lie in begin, `(block, 1)`."""
        col, row = (
            np.floor(start.reshape(-1).take(block) + step.reshape(-1).take(block) * first) + 1
            for start, step in self.lowest()
        )
        return col[:, None], row[:, None]

    def rows(
        self, block: NDArray[np.intp], first: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Column, row and their steps at the first pixel of the words of some blocks, `(block, row)`."""
        col, row, across, tilt = (
            one.reshape(-1, WORD).take(block, axis=0) for one in (self.col, self.row, self.across, self.tilt)
        )
        return col + across * first[:, None], row + tilt * first[:, None], across, tilt


def blocks_fit(nodes: Nodes) -> bool:
    """Whether no block can lie in more than four pixels of the source, and its rows lie in line."""
    for along in (nodes.cols, nodes.rows):
        steps = sum(float(np.abs(np.diff(along, axis=axis)).max()) for axis in (0, 1)) / NODE_PX
        twist = float(np.abs(np.diff(np.diff(along, axis=0), axis=1)).max()) / NODE_PX
        if (WORD - 1) * steps + 2 * SAFE_PX > 1 or WORD * twist > SAFE_PX / 2:
            return False
    return nodes.fit()


def nearest_bits(classes: NDArray[np.uint8], nodes: Nodes, shape: tuple[int, int]) -> Bits:
    """Classes on a finer grid; nothing is known beyond the source.

    Args:
        classes: the source `(y, x)`, 1 ISA, 0 not, anything above unknown.
        nodes: where the grid lies on it; they must `blocks_fit`.
        shape: rows and columns of the grid.
    """
    fours = _fours(classes)
    rows = -(-shape[0] // WORD) * WORD
    bands = [_Band.of(nodes, slice(top, min(top + NODE_PX, rows))) for top in range(0, rows, NODE_PX)]
    seen = [fours.reshape(-1).take(band.places(fours.shape)) for band in bands]
    shown = -(-shape[1] // WORD)
    kinds = 2 if min(int(one.reshape(len(one), -1)[:, :shown].min()) for one in seen) < ALL_KNOWN else 1
    planes = [np.empty((rows, nodes.words), np.uint8) for _ in range(kinds)]
    for index, (band, blocks) in enumerate(zip(bands, seen, strict=True)):
        part = slice(index * NODE_PX, (index + 1) * NODE_PX)
        _fill([plane[part] for plane in planes], band, blocks)
    isa, *known = (from_octets(plane[: shape[0]], shape[1]) for plane in planes)
    return Bits(isa, known[0] if known else None)


def _fours(classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What every pixel of the source, with its rim, and its neighbours to the right and below say."""
    rim = np.pad(classes, RIM, constant_values=UNKNOWN)
    bits = (rim == 1).view(np.uint8) | (rim < UNKNOWN).view(np.uint8) << 4
    fours: NDArray[np.uint8] = bits.copy()
    fours[:, :-1] |= bits[:, 1:] << 1
    fours[:-1] |= bits[1:] << 2
    fours[:-1, :-1] |= bits[1:, 1:] << 3
    return fours


def _fill(planes: list[NDArray[np.uint8]], band: _Band, seen: NDArray[np.uint8]) -> None:
    """The rows of a band, of ISA and, if there are two planes, of what is known."""
    blocks = seen.reshape(len(seen), -1)  # (block row, word)
    mixed = np.flatnonzero(~UNIFORM.take(blocks))
    line, word = mixed // blocks.shape[1], mixed % len(FIRST)
    fours = blocks.reshape(-1).take(mixed)
    found = _looked_up(fours, len(planes), band, mixed // len(FIRST), FIRST.take(word))
    for plane, words, rows in zip(planes, WORDS, found, strict=False):
        part = plane.reshape(len(blocks), WORD, -1)
        part[:] = words[:, WORD].take(blocks)[:, None]
        part[line, :, mixed - line * blocks.shape[1]] = rows


def _looked_up(
    fours: NDArray[np.uint8], kinds: int, band: _Band, block: NDArray[np.intp], first: NDArray[np.float32]
) -> list[NDArray[np.uint8]]:
    """What the words of some blocks show, `(block, row)`, of what their four pixels say: ISA, and what is known."""
    x, y, across, tilt = band.rows(block, first)
    right, below = band.seconds(block, first)
    ends = (right - x) / across  # pixels of the word, as a number, before the second column begins
    count = np.clip(np.ceil(ends, out=ends), 0, WORD, out=ends).astype(np.intp)
    lower = y >= below
    count += (fours[:, None] >> 2 * lower.view(np.uint8)).astype(np.intp) * (WORD + 1)
    found = [words.reshape(-1).take(count) for words in WORDS[:kinds]]
    cut = np.flatnonzero((y + (WORD - 1) * tilt >= below) != lower)
    whose = cut // WORD
    beside, beneath = (
        one.take(cut)[:, None] + step.take(cut)[:, None] * PIXELS >= edge.take(whose)[:, None]
        for one, step, edge in ((x, across, right), (y, tilt, below))
    )
    single = fours.take(whose)[:, None] >> (beside.view(np.uint8) + 2 * beneath.view(np.uint8))
    for plane, bit in zip(found, BITS, strict=False):
        plane.reshape(-1)[cut] = np.packbits(single & 1 << bit, axis=1, bitorder="little")[:, 0]
    return found
