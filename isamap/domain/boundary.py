"""How well outlines are mapped: boundary IoU, and precision and recall with a tolerance.

Distances are chessboard distances in pixels (metres at 1 m): within d pixels means within the square of
2 d + 1 pixels around one. d-fold erosion by a 3 x 3 square is one erosion by that square.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import ratio

MAP_REST, MAP_ISA, TRUE_REST, TRUE_ISA = 1, 2, 4, 8
"""Bits of a pixel: what it is in the map and in the reference; none if either does not know."""


def within(bits: NDArray[np.uint8], distance_px: int) -> NDArray[np.uint8]:
    """Bits that occur up to `distance_px` away, each on its own: a dilation of eight masks at once.

    Args:
        bits: (Y, X), one mask per bit.
        distance_px: chessboard distance.

    Returns:
        (Y - 2 d, X - 2 d): pixels whose surroundings are not all there are left out.
    """
    return _running_or(_running_or(bits, 2 * distance_px + 1).T, 2 * distance_px + 1).T


def _running_or(bits: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """OR of `length` consecutive rows, in log2(length) steps: a run of n rows and a later one make up to 2 n."""
    run = 1
    while run < length:
        step = min(run, length - run)
        bits = bits[:-step] | bits[step:]
        run += step
    return bits


@dataclass(frozen=True)
class BoundaryScore:
    """Pixels near outlines; add scores of parts, all of one distance, to get the score of the whole."""

    distance_px: int
    """How far a boundary reaches inwards, and the tolerance of precision and recall."""
    shared: int = 0
    """Boundary in map and reference."""
    either: int = 0
    """Boundary in map or reference."""
    mapped: int = 0
    """ISA in the map."""
    mapped_near: int = 0
    """ISA in the map, with ISA of the reference within the distance."""
    reference: int = 0
    """ISA in the reference."""
    reference_near: int = 0
    """ISA in the reference, with ISA of the map within the distance."""

    @classmethod
    def count(
        cls, mapped: NDArray[np.uint8], reference: NDArray[np.uint8], distance_px: int, halo_px: int
    ) -> Self:
        """Compare a window, seeing the pixels around it.

        A boundary pixel is ISA with known other ground within the distance. So neither the edge of a window nor
        that of the raster is a boundary, nor that of a gap: fill halos outside the raster with 255. The authors'
        program differs there: it pads images with zeros, which makes every image edge a boundary; a halo of zeros
        gives its result.

        Args:
            mapped: (Y + 2 h, X + 2 h), 1 ISA, 0 not, 255 unknown; a halo of h pixels on every side.
            reference: the same ground in the same terms. Where either does not know, neither is looked at.
            distance_px: at least 1.
            halo_px: h, at least `distance_px`; the halo is seen, but not counted.

        Raises:
            ValueError: the halo is narrower than the distance, or the arrays do not fit.
        """
        if not 1 <= distance_px <= halo_px:
            raise ValueError(
                f"a distance of {distance_px} px needs a halo of at least as much, not {halo_px} px"
            )
        if mapped.shape != reference.shape or min(mapped.shape) <= 2 * halo_px:
            raise ValueError(f"{mapped.shape} and {reference.shape} are not one window with its halo")
        spare = halo_px - distance_px
        inner = tuple(slice(spare, side - spare) for side in mapped.shape)
        bits = _bits(mapped[inner], reference[inner])
        near = within(bits, distance_px)
        here = bits[distance_px:-distance_px, distance_px:-distance_px]
        return cls(distance_px, *(int(np.count_nonzero(mask)) for mask in _counted(here, near)))

    def __add__(self, other: "BoundaryScore") -> "BoundaryScore":
        if self.distance_px != other.distance_px:
            raise ValueError(f"scores at {self.distance_px} and {other.distance_px} px do not add up")
        return BoundaryScore(
            self.distance_px,
            self.shared + other.shared,
            self.either + other.either,
            self.mapped + other.mapped,
            self.mapped_near + other.mapped_near,
            self.reference + other.reference,
            self.reference_near + other.reference_near,
        )

    @property
    def iou(self) -> float:
        """Boundary IoU (Cheng et al. 2021): intersection over union of the boundaries; NaN without any."""
        return ratio(self.shared, self.either)

    @property
    def precision(self) -> float:
        """Relaxed precision: share of the mapped ISA that lies within the distance of ISA."""
        return ratio(self.mapped_near, self.mapped)

    @property
    def recall(self) -> float:
        """Relaxed recall: share of the ISA that lies within the distance of mapped ISA."""
        return ratio(self.reference_near, self.reference)

    @property
    def f1(self) -> float:
        """Relaxed F1, their harmonic mean; 0 where only one side has ISA or none is near, NaN where neither has."""
        if not (self.mapped and self.reference):
            return 0.0 if self.mapped or self.reference else math.nan
        precision, recall = self.precision, self.recall
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def metrics(self) -> dict[str, float]:
        """Every figure under its name, always in this order; NaN where undefined."""
        return {
            "boundary_iou": self.iou,
            "relaxed_precision": self.precision,
            "relaxed_recall": self.recall,
            "relaxed_f1": self.f1,
        }


def _bits(mapped: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`MAP_*` and `TRUE_*` of every pixel, 0 where either side does not know."""
    known = (mapped < 2) & (reference < 2)
    isa = np.where(mapped == 1, np.uint8(MAP_ISA), np.uint8(MAP_REST))
    isa |= np.where(reference == 1, np.uint8(TRUE_ISA), np.uint8(TRUE_REST))
    return isa * known.view(np.uint8)


def _counted(here: NDArray[np.uint8], near: NDArray[np.uint8]) -> Iterator[NDArray[np.generic]]:
    """What a `BoundaryScore` counts, in its order, from the bits of each pixel and those within the distance."""
    edges = (
        (here >> 1) & near & (MAP_REST | TRUE_REST)
    )  # ISA here, other ground near: map and reference at once
    yield edges == MAP_REST | TRUE_REST
    yield edges
    yield here & MAP_ISA
    yield (here << 2) & near & TRUE_ISA
    yield here & TRUE_ISA
    yield (here >> 2) & near & MAP_ISA
