"""Classes of a window as bits, 64 pixels to a word: what is counted then costs little beside decoding."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN = 2
"""Classes from this one on say nothing."""
WORD_PX, WORD_BYTES, BYTE_PX = 64, 8, 8
CACHED_PX = 1 << 18
Plane = NDArray[np.uint64]
"""A bit per pixel, the first one lowest; rows begin on whole words, and what is left of the last one is 0: (y, word)."""


@dataclass(frozen=True)
class Bits:
    """What a layer says of each pixel of a window."""

    isa: Plane
    """ISA, nowhere but on known ground."""
    known: Plane | None
    """Where it says anything; None: everywhere."""
    strange: bool = False
    """Whether a class was neither 0 nor 1 nor 255."""

    def on(self, known: Plane | None) -> "Bits":
        """The same on known ground that is part of its own."""
        return self if known is None or known is self.known else Bits(self.isa & known, known)


def octets_of(width: int) -> int:
    """Bytes to a row of so many pixels, of whole words."""
    return -(-width // WORD_PX) * WORD_BYTES


def plane_of(mask: NDArray[np.bool_] | NDArray[np.uint8]) -> Plane:
    """The plane of a mask `(y, x)`: a bit is set where the mask is not 0."""
    return from_octets(np.packbits(mask, axis=1, bitorder="little"), mask.shape[1])


def from_octets(octets: NDArray[np.uint8], width: int) -> Plane:
    """Rows of bytes `(y, byte)`, the first pixel in the lowest bit, as a plane of so many columns."""
    size = octets_of(width)
    if octets.shape[1] < size:
        octets = np.pad(octets, ((0, 0), (0, size - octets.shape[1])))
    plane: Plane = np.ascontiguousarray(octets[:, :size]).view("<u8")
    if width % WORD_PX:
        plane[:, -1] &= np.uint64((1 << width % WORD_PX) - 1)
    return plane


def packed(classes: NDArray[np.uint8]) -> Bits:
    """Classes `(y, x)`, 1 ISA, 0 not, anything above unknown, as bits; a few rows at a time, which stay in the cache."""
    height, width = classes.shape
    step = max(1, CACHED_PX // max(1, width))
    return packed_strips((classes[top : top + step] for top in range(0, height, step)), (height, width))


def packed_strips(strips: Iterable[NDArray[np.uint8]], shape: tuple[int, int]) -> Bits:
    """The same of strips that follow each other and make up a window of that shape; none is needed any longer then."""
    height, width = shape
    isa = np.zeros((height, octets_of(width)), np.uint8)
    known: NDArray[np.uint8] | None = None
    strange, filled, top = False, -(-width // BYTE_PX), 0
    for part in strips:
        here, top = (slice(top, top + len(part)), slice(filled)), top + len(part)
        isa[here] = np.packbits(part, axis=1, bitorder="little")
        if part.max(initial=0) >= UNKNOWN:
            if known is None:
                known = plane_of(np.ones((1, width), np.uint8)).view(np.uint8).repeat(height, axis=0)
            known[here] = np.packbits(part < UNKNOWN, axis=1, bitorder="little")
            isa[here] &= known[here]
            strange |= bool((part + np.uint8(1)).max() > UNKNOWN)  # 255 wraps round to 0
    return Bits(isa.view("<u8"), None if known is None else known.view("<u8"), strange)


def unpacked(bits: Bits, rows: slice, cols: slice) -> NDArray[np.uint8]:
    """Classes of some rows and columns `(y, x)`: 1 ISA, 0 not, 255 unknown."""
    isa = ones(bits.isa, rows, cols)
    if bits.known is not None:
        isa |= ones(bits.known, rows, cols) - np.uint8(1)  # 255 where it is 0
    return isa


def ones(plane: Plane, rows: slice, cols: slice) -> NDArray[np.uint8]:
    """Some rows and columns of a plane as bytes `(y, x)`, 1 where a bit is set."""
    octets = plane[rows].view(np.uint8)
    first = cols.start // BYTE_PX
    part = octets[:, first : -(-cols.stop // BYTE_PX)]
    start = cols.start - first * BYTE_PX
    found: NDArray[np.uint8] = np.unpackbits(part, axis=1, bitorder="little")
    return found[:, start : start + cols.stop - cols.start : cols.step]


def without(bits: Bits, gone: NDArray[np.bool_]) -> Bits:
    """The same with nothing known where `gone` `(y, x)` is True."""
    return bits.on(both(plane_of(~gone), bits.known)) if gone.any() else bits


def framed(bits: Bits, shape: tuple[int, int], corner: tuple[int, int], frame: tuple[int, int]) -> Bits:
    """The same in a larger window, where nothing else is known.

    Args:
        bits: of a window.
        shape: its rows and columns.
        corner: row and column of the larger window at which it begins.
        frame: rows and columns of the larger one.
    """
    known = (
        plane_of(np.ones((1, shape[1]), np.uint8)).repeat(shape[0], axis=0)
        if bits.known is None
        else bits.known
    )
    (first, shift), rows = divmod(corner[1], BYTE_PX), slice(corner[0], corner[0] + shape[0])

    def moved(plane: Plane) -> Plane:
        octets = plane.view(np.uint8)
        found = np.zeros((frame[0], first + octets.shape[1] + 1), np.uint8)
        found[rows, first:-1] = octets << shift if shift else octets
        if shift:
            found[rows, first + 1 :] |= octets >> BYTE_PX - shift
        return from_octets(found, frame[1])

    return Bits(moved(bits.isa), moved(known))


def both(one: Plane | None, other: Plane | None) -> Plane | None:
    """Ground that both know; None: everywhere."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def laid_over(above: Bits, below: Bits) -> Bits:
    """What the first one says, and the second where the first one says nothing."""
    if above.known is None:
        return above
    isa = above.isa | below.isa & ~above.known
    return Bits(isa, None if below.known is None else above.known | below.known)


def repeated(bits: Bits, factor: int, width: int) -> Bits:
    """Every pixel as a square of `factor` x `factor`, in rows of `width` pixels."""
    octets = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    table = np.packbits(octets.repeat(factor, axis=1), axis=1, bitorder="little")  # what becomes of each byte

    def finer(plane: Plane) -> Plane:
        rows = np.take(table, plane.view(np.uint8), axis=0).reshape(len(plane), -1)
        return from_octets(rows, width).repeat(factor, axis=0)

    return Bits(finer(bits.isa), None if bits.known is None else finer(bits.known))
