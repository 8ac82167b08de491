"""How well outlines are mapped: boundary IoU, and precision and recall with a tolerance.

Distances are chessboard distances in pixels (metres at 1 m): within d pixels means within the square of
2 d + 1 pixels around one. d-fold erosion by a 3 x 3 square is one erosion by that square.

Masks are planes of bits, 64 pixels to a word: growing a mask and counting it touch an eighth of the bytes that
pixels have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import ratio, set_bits
from isamap.domain.bits import UNKNOWN, WORD_PX, Plane, plane_of

STRIP_ROWS = 512
"""Rows that are compared at a time: planes of so many stay in the processor's cache."""


def grown(plane: Plane, reach_px: int, further_px: int) -> Plane:
    """A plane whose bits have grown to squares of `2 reach_px + 1`, grown by `further_px` more on every side.

    Rows are one string of bits: what grows over the end of one appears in the next, no further in than it grew in
    all. Nor is anything known beyond the first and the last row. So a rim of that width means nothing.
    """
    while further_px > 0:
        step = min(further_px, 2 * reach_px + 1, WORD_PX - 1)  # three copies of a square then leave no gap
        plane = _widened(plane.reshape(-1), step, plane.shape[1]).reshape(plane.shape)
        reach_px, further_px = reach_px + step, further_px - step
    return plane


def _widened(bits: Plane, step: int, stride: int) -> Plane:
    """Bits OR those `step` pixels beside them, then OR those as many rows, of `stride` words, above and below."""
    back = np.uint64(WORD_PX - step)
    beside = bits << np.uint64(step)
    scratch = bits >> np.uint64(step)
    beside |= scratch
    beside |= bits
    beside[1:] |= np.right_shift(bits[:-1], back, out=scratch[:-1])
    beside[:-1] |= np.left_shift(bits[1:], back, out=scratch[:-1])
    rows = step * stride
    if rows >= beside.size:
        return beside
    above = np.empty_like(beside)
    np.bitwise_or(beside[:-rows], beside[rows:], out=above[:-rows])
    above[-rows:] = beside[-rows:]
    above[rows:] |= beside[:-rows]
    return above


@dataclass(frozen=True)
class Ground:
    """The pixels of a window that count."""

    shape: tuple[int, int]
    """Rows and columns, halo included."""
    halo_px: int
    """Rim of neighbours, which are seen, but not counted."""
    known: Plane
    """What map and reference know, halo included."""

    @classmethod
    def of(cls, known: NDArray[np.bool_], halo_px: int) -> Self:
        """From a mask of what is known, halo included."""
        return cls((known.shape[0], known.shape[1]), halo_px, plane_of(known))

    def isa(self, classes: NDArray[np.uint8]) -> Plane:
        """ISA on this ground of classes `(y, x)`, 1 ISA, 0 not; whatever they are elsewhere does not matter."""
        return plane_of(classes) & self.known

    def inner(self, plane: Plane) -> Plane:
        """A plane of these rows, or of some of them, without halo: rows fall away, columns are not set."""
        return self.rows(plane) & self._columns

    def rows(self, plane: Plane) -> Plane:
        """The same without rows of halo alone."""
        return plane[self.halo_px : plane.shape[0] - self.halo_px]

    @cached_property
    def _columns(self) -> Plane:
        """One row, set where the halo is not."""
        inside = np.zeros((1, self.shape[1]), np.uint8)
        inside[:, self.halo_px : self.shape[1] - self.halo_px] = 1
        return plane_of(inside)


class Outlines:
    """One side of a comparison: its ISA, its other ground, and what lies near either.

    Args:
        isa: some rows of `Ground.isa`, halo included.
        known: the same rows of what is known.
        ground: what they are part of.
    """

    def __init__(self, isa: Plane, known: Plane, ground: Ground) -> None:
        self._ground = ground
        self._near = {0: (isa, ~isa & known)}
        self.isa = ground.inner(isa)
        """Without the halo."""
        self.pixels = set_bits(self.isa)

    def near(self, distance_px: int) -> tuple[Plane, Plane]:
        """What has ISA within a distance, and what other known ground; ask for small distances first.

        Without rows of halo; columns of halo mean nothing.
        """
        if distance_px not in self._near:
            reach_px = max(self._near)
            isa, rest = (grown(one, reach_px, distance_px - reach_px) for one in self._near[reach_px])
            self._near = {distance_px: (isa, rest)}
        isa, rest = self._near[distance_px]
        return self._ground.rows(isa), self._ground.rows(rest)


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
    ) -> "BoundaryScore":
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
        ground = Ground.of((mapped < UNKNOWN) & (reference < UNKNOWN), halo_px)
        return cls.compare(ground.isa(mapped), ground.isa(reference), ground, (distance_px,))[distance_px]

    @classmethod
    def compare(
        cls, mapped: Plane, reference: Plane, ground: Ground, distances_px: Sequence[int]
    ) -> dict[int, "BoundaryScore"]:
        """Scores of a window at several distances, none wider than its halo; some rows at a time, for the cache.

        Args:
            mapped: `ground.isa` of the map.
            reference: the same of the reference.
            ground: what counts.
            distances_px: each at least 1.
        """
        scores = {distance: BoundaryScore(distance) for distance in sorted(distances_px)}
        for top in range(0, ground.shape[0] - 2 * ground.halo_px, STRIP_ROWS):
            rows = slice(top, top + STRIP_ROWS + 2 * ground.halo_px)
            if not (mapped[rows].any() or reference[rows].any()):
                continue  # no ISA, no outline
            sides = [Outlines(one[rows], ground.known[rows], ground) for one in (mapped, reference)]
            for distance in scores:
                scores[distance] += cls._between(sides[0], sides[1], distance)
        return scores

    @classmethod
    def _between(cls, mapped: Outlines, reference: Outlines, distance_px: int) -> "BoundaryScore":
        """Compare two sides of the same rows."""
        (map_isa, map_rest), (true_isa, true_rest) = (side.near(distance_px) for side in (mapped, reference))
        map_edge, true_edge = mapped.isa & map_rest, reference.isa & true_rest
        return BoundaryScore(
            distance_px,
            shared=set_bits(map_edge & true_edge),
            either=set_bits(map_edge | true_edge),
            mapped=mapped.pixels,
            mapped_near=set_bits(mapped.isa & true_isa),
            reference=reference.pixels,
            reference_near=set_bits(reference.isa & map_isa),
        )

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
