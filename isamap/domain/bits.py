"""Classes of a window as bits, eight pixels to a byte: comparing and counting them then costs little beside decoding."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import Confusion, set_bits
from isamap.domain.evaluation import Tally, Zones

UNKNOWN = 2
"""Classes from here on say nothing."""
CACHED_PX = 1 << 18
Packed = NDArray[np.uint8]
"""A bit per pixel, the first one highest; rows begin on whole bytes."""


@dataclass(frozen=True)
class Bits:
    """What a layer says of each pixel of a window."""

    isa: Packed
    """ISA, `(y, byte)`."""
    known: Packed | None
    """Where it says anything; None: everywhere."""
    strange: bool = False
    """Whether a class was neither 0 nor 1 nor 255."""


def packed(classes: NDArray[np.uint8]) -> Bits:
    """Classes `(y, x)`, 1 ISA, 0 not, anything above unknown, as bits; a few rows at a time, which stay in the cache."""
    height, width = classes.shape
    step = max(1, CACHED_PX // max(1, width))
    return packed_strips((classes[top : top + step] for top in range(0, height, step)), (height, width))


def packed_strips(strips: Iterable[NDArray[np.uint8]], shape: tuple[int, int]) -> Bits:
    """The same of strips that follow each other and make up a window of that shape; none is needed any longer then."""
    height, width = shape
    isa, known, strange = np.empty((height, -(-width // 8)), np.uint8), None, False
    top = 0
    for part in strips:
        here, top = slice(top, top + len(part)), top + len(part)
        isa[here] = np.packbits(part, axis=1)
        if part.max(initial=0) >= UNKNOWN:
            if known is None:
                known = np.packbits(np.ones((1, width), np.bool_), axis=1).repeat(height, axis=0)
            known[here] = np.packbits(part < UNKNOWN, axis=1)
            isa[here] &= known[here]
            strange |= bool((part + np.uint8(1)).max() > UNKNOWN)  # 255 wraps round to 0
    return Bits(isa, known, strange)


def without(bits: Bits, gone: NDArray[np.bool_]) -> Bits:
    """The same with nothing known where `gone` `(y, x)` is True."""
    if not gone.any():
        return bits
    known = np.packbits(~gone, axis=1)
    if bits.known is not None:
        known &= bits.known
    return Bits(bits.isa & known, known)


def repeated(bits: Bits, factor: int, width: int) -> Bits:
    """Every pixel as a square of `factor` x `factor`, in rows of `width` pixels."""
    octets = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    table = np.packbits(octets.repeat(factor, axis=1), axis=1)  # what becomes of each byte

    def finer(plane: Packed) -> Packed:
        rows = np.take(table, plane, axis=0).reshape(len(plane), -1)
        return rows[:, : -(-width // 8)].repeat(factor, axis=0)

    return Bits(finer(bits.isa), None if bits.known is None else finer(bits.known))


@dataclass(frozen=True)
class BitView:
    """One window of ground as every product and the truth see it, without halo."""

    shape: tuple[int, int]
    """Rows and columns."""
    truth: Bits
    """What the products are held against."""
    classes: Mapping[str, Bits]
    """Of each product."""
    zones: Mapping[str, Zones] = field(default_factory=dict)
    """By kind: `strata`, `units`."""


def count_bits(view: BitView) -> Tally:
    """Coverage and confusion matrices of one window; ground counts where the truth and all products know it."""
    pixels = view.shape[0] * view.shape[1]
    truth = view.truth
    tally = Tally()
    whole = _pixels(truth.known, pixels)
    if not whole:
        return tally
    tally.coverage[""] = whole
    known, shared = truth.known, whole
    for name, bits in view.classes.items():
        there = _both(truth.known, bits.known)
        tally.coverage[name] = whole if there is truth.known else _pixels(there, pixels)
        known = there if known is truth.known else _both(known, bits.known)
    if known is not truth.known:
        shared = tally.coverage[name] if known is there else _pixels(known, pixels)
    for name, bits in view.classes.items():
        tally.confusion[name, "", ""] = _confusion(bits, truth, known, shared)
        for kind, zones in view.zones.items():
            for zone, inside in _zones_of(zones):
                here = _both(known, inside)
                matrix = _confusion(bits, truth, here, shared if inside is None else _pixels(here, pixels))
                place = name, kind, zone
                if matrix.total:
                    tally.confusion[place] = tally.confusion.get(place, Confusion()) + matrix
    return tally


def _zones_of(zones: Zones) -> list[tuple[str, Packed | None]]:
    """Name and bits (None: everywhere) of every zone of a window that has a name."""
    there = zones.there()
    named = [code for code in there if code in zones.names]
    if len(there) == 1:
        return [(zones.names[code], None) for code in named]
    return [(zones.names[code], np.packbits(zones.codes == code, axis=1)) for code in named]


def _both(one: Packed | None, other: Packed | None) -> Packed | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _confusion(mapped: Bits, truth: Bits, known: Packed | None, pixels: int) -> Confusion:
    """Of the `pixels` that are known."""
    if known is None:
        return Confusion.of_bits(mapped.isa, truth.isa, pixels)
    return Confusion.of_bits(mapped.isa & known, truth.isa & known, pixels)


def _pixels(known: Packed | None, pixels: int) -> int:
    return pixels if known is None else set_bits(known)
