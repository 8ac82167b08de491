"""Windows of ground as every product and the truth see them: what is counted when maps are held against a truth."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import Confusion, set_bits
from isamap.domain.bits import BYTE_PX, Bits, Plane, both, from_octets, plane_of
from isamap.domain.boundary import Ground


@dataclass(frozen=True)
class Zones:
    """Which stratum or administrative unit each pixel belongs to."""

    codes: NDArray[np.integer]
    """`(y, x)` without halo; codes that are not in `names` belong nowhere."""
    names: Mapping[int, str]
    """Name of each code."""

    def there(self) -> list[int]:
        """Codes that occur, ascending."""
        if not any(self.codes.strides):  # one code for all, stored once
            return [int(self.codes.flat[0])]
        low, high = int(self.codes.min()), int(self.codes.max())
        if low == high:
            return [low]
        return (low + np.flatnonzero(np.bincount((self.codes - low).ravel()))).tolist()


@dataclass(frozen=True)
class View:
    """One window of ground, seen by every product; planes have a halo, arrays `(y, x)` have none."""

    gsd_m: float
    """Pixel size."""
    shape: tuple[int, int]
    """Rows and columns without halo."""
    truth: Bits
    """What the products are held against."""
    classes: Mapping[str, Bits]
    """What each product says."""
    origin: tuple[float, float] = (0, 0)
    """x and y of the upper left corner without halo."""
    halo_px: int = 0
    """Rim of neighbours that takes no part itself; whole bytes of bits."""
    share: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """ISA share 0-1 of products that know it (NaN: unknown); the others' follows from their classes."""
    truth_share: NDArray[np.float32] | None = None
    """Likewise of the truth."""
    percent: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Probability 0-100 of products that give it, 255 unknown."""
    zones: Mapping[str, Zones] = field(default_factory=dict)
    """By kind: `strata`, `units`."""
    thin_px: int = 0
    """Every so manyth pixel of the first product and the truth is kept for a picture; 0: none."""

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of planes that are not halo."""
        rows, cols = (slice(self.halo_px, self.halo_px + side) for side in self.shape)
        return rows, cols

    @cached_property
    def known(self) -> Plane | None:
        """Ground that the truth and all products know; None: everywhere."""
        return reduce(both, (bits.known for bits in self.classes.values()), self.truth.known)

    def inside(self, plane: Plane | None) -> Plane | None:
        """A plane of known ground without halo: rows fall away, columns are not set; None: every pixel."""
        if not self.halo_px:
            return plane
        return self._columns if plane is None else plane[self.window[0]] & self._columns

    @cached_property
    def _columns(self) -> Plane:
        return self.placed(np.ones((1, self.shape[1]), np.uint8))

    def placed(self, mask: NDArray[np.bool_] | NDArray[np.uint8]) -> Plane:
        """A mask `(y, x)` without halo as a plane with columns of halo, which are not set."""
        octets = np.packbits(mask, axis=1, bitorder="little")
        width = self.shape[1] + 2 * self.halo_px
        return from_octets(np.pad(octets, ((0, 0), (self.halo_px // BYTE_PX, 0))), width)

    def pixels(self, known: Plane | None) -> int:
        """Pixels of known ground without halo."""
        inside = self.inside(known)
        return self.shape[0] * self.shape[1] if known is None or inside is None else set_bits(inside)

    def ground(self) -> Ground:
        """Ground that the truth and all products know, with halo."""
        height, width = (side + 2 * self.halo_px for side in self.shape)
        known = plane_of(np.ones((1, width), np.uint8)) if self.known is None else self.known
        return Ground((height, width), self.halo_px, np.broadcast_to(known, (height, known.shape[1])))

    def confusion(self, bits: Bits, inside: Plane | None, pixels: int) -> Confusion:
        """One product against the truth on some `pixels` without halo."""
        isa, true_isa = (
            one.isa[self.window[0]]
            if inside is None or inside is one.known
            else one.isa[self.window[0]] & inside
            for one in (bits, self.truth)
        )
        return Confusion.of_bits(isa, true_isa, pixels)
