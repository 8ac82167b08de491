"""What is counted when maps are held against a truth: accumulators that add up over windows, tiles and workers.

Every product is seen on the pixels of the first map. At 1 m its classes are compared as they are; block means
over 10, 30 and 100 m compare impervious shares, so that a coarse product is judged on its own support.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import Confusion
from isamap.domain.boundary import BoundaryScore
from isamap.domain.fraction import FractionScore, shares
from isamap.domain.product import NODATA
from isamap.domain.reliability import Reliability

SUPPORTS_M = (10, 30, 100)
"""Block sizes at which shares are compared."""
DISTANCES_M = (2, 5, 10)
"""Boundary widths and buffers."""
PICTURES, PICTURE_M = 6, 300
"""Worst disagreements that are kept, and their side."""
DENSITY_M = 1000
DENSITY_STRATA = {1: "rural", 2: "peri-urban", 3: "dense urban"}
"""By the truth's ISA share in blocks of 1 km: below 0.1, below 0.4, and above."""
DENSITY_LIMITS = (0.1, 0.4)


@dataclass(frozen=True)
class Zones:
    """Which stratum or administrative unit each pixel belongs to."""

    codes: NDArray[np.integer]
    """`(y, x)` without halo; codes that are not in `names` belong nowhere."""
    names: Mapping[int, str]
    """Name of each code."""


@dataclass(frozen=True)
class View:
    """One window of ground, seen by every product; arrays `(y, x)` on one grid, with halo unless said otherwise."""

    gsd_m: float
    """Pixel size."""
    halo_px: int
    """Rim of neighbours that takes no part itself."""
    truth: NDArray[np.uint8]
    """1 ISA, 0 not, 255 unknown, to the truth or to any product."""
    classes: Mapping[str, NDArray[np.uint8]]
    """The same of each product."""
    origin: tuple[float, float]
    """x and y of the upper left corner without halo."""
    share: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """ISA share 0-1 of products that know it (NaN: unknown), without halo; the others' follows from their classes."""
    truth_share: NDArray[np.float32] | None = None
    """Likewise of the truth."""
    percent: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)
    """Probability 0-100 of products that give it, 255 unknown, without halo."""
    zones: Mapping[str, Zones] = field(default_factory=dict)
    """By kind: `strata`, `units`."""
    coverage: Mapping[str, int] = field(default_factory=dict)
    """Pixels that truth and product know, by product; those the truth knows under `""`."""
    thin_px: int = 0
    """Every so manyth pixel of the first product and the truth is kept for a picture; 0: none."""

    def inner(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Without halo."""
        rim = self.halo_px
        return values[rim : values.shape[0] - rim, rim : values.shape[1] - rim]


@dataclass(frozen=True, order=True)
class Disagreement:
    """A block on which product and truth differ much."""

    difference: float
    """Mean absolute difference of the classes, 0-1, times the share of the block that is known."""
    product: str
    """Which product."""
    x: float
    """Of the upper left corner."""
    y: float
    """Of the upper left corner."""
    mapped: NDArray[np.uint8] = field(compare=False)
    """Its classes."""
    truth: NDArray[np.uint8] = field(compare=False)
    """The truth's."""


@dataclass(frozen=True)
class Piece:
    """A thinned part of the picture of the first raster."""

    row: int
    """Of the picture, counted from an origin that all pieces share."""
    col: int
    """Likewise."""
    mapped: NDArray[np.uint8]
    """Classes of the first product."""
    truth: NDArray[np.uint8]
    """The truth's."""
    size_m: float
    """Of a pixel of the picture."""


@dataclass
class Tally:
    """Everything that was counted; add the tallies of parts to get that of the whole."""

    confusion: dict[tuple[str, str, str], Confusion] = field(default_factory=dict)
    """By product, kind of zone (`""`: everywhere) and zone."""
    fraction: dict[tuple[str, int], FractionScore] = field(default_factory=dict)
    """By product and support in metres."""
    boundary: dict[tuple[str, int], BoundaryScore] = field(default_factory=dict)
    """By product and distance in metres."""
    reliability: dict[str, Reliability] = field(default_factory=dict)
    """By product."""
    worst: list[Disagreement] = field(default_factory=list)
    """The largest differences of the first product."""
    pieces: list[Piece] = field(default_factory=list)
    """Of the picture of one raster."""
    coverage: dict[str, int] = field(default_factory=dict)
    """Pixels that truth and product know, by product; those the truth knows on the maps under `""`."""

    def __iadd__(self, other: "Tally") -> Self:
        _add(self.confusion, other.confusion)
        _add(self.fraction, other.fraction)
        _add(self.boundary, other.boundary)
        _add(self.reliability, other.reliability)
        self.worst = heapq.nlargest(PICTURES, [*self.worst, *other.worst])
        self.pieces += other.pieces
        for name, pixels in other.coverage.items():
            self.coverage[name] = self.coverage.get(name, 0) + pixels
        return self


Score = TypeVar("Score", Confusion, FractionScore, BoundaryScore, Reliability)


def _add(mine: dict[Any, Score], theirs: Mapping[Any, Score]) -> None:
    """Add scores key by key."""
    for key, score in theirs.items():
        mine[key] = mine[key] + score if key in mine else score


def count(view: View) -> Tally:
    """The tally of one window."""
    tally = Tally(coverage=dict(view.coverage))
    truth = view.inner(view.truth)
    if not (truth != NODATA).any():
        return tally
    for name, classes in view.classes.items():
        _count_product(tally, view, name, classes)
    for name, percent in view.percent.items():
        tally.reliability[name] = Reliability.count(percent, truth)
    first = next(iter(view.classes), None)
    if first is not None:
        tally.worst = _worst(view, first, truth)
        if view.thin_px:
            tally.pieces = [_piece(view, first, truth)]
    return tally


def _count_product(tally: Tally, view: View, name: str, classes: NDArray[np.uint8]) -> None:
    """One product on one window."""
    mapped, truth = view.inner(classes), view.inner(view.truth)
    tally.confusion[name, "", ""] = Confusion.count(mapped, truth)
    for kind, zones in view.zones.items():
        _count_zones(tally, (name, kind), mapped, truth, zones)
    for support in SUPPORTS_M:
        if factor := _pixels(support, view.gsd_m):
            tally.fraction[name, support] = _fraction(view, name, truth, factor)
    for distance in DISTANCES_M:
        reach = _pixels(distance, view.gsd_m)
        if 0 < reach <= view.halo_px:
            tally.boundary[name, distance] = BoundaryScore.count(classes, view.truth, reach, view.halo_px)


def _piece(view: View, name: str, truth: NDArray[np.uint8]) -> Piece:
    """The window, thinned."""
    step, size_m = view.thin_px, view.thin_px * view.gsd_m
    row, col = round(-view.origin[1] / size_m), round(view.origin[0] / size_m)
    mapped = view.inner(view.classes[name])
    return Piece(row, col, mapped[::step, ::step].copy(), truth[::step, ::step].copy(), size_m)


def stitched(pieces: Sequence[Piece]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Map and truth of all pieces `(y, x)`, 255 where there is none."""
    top, left = min(p.row for p in pieces), min(p.col for p in pieces)
    height = max(p.row + p.truth.shape[0] for p in pieces) - top
    width = max(p.col + p.truth.shape[1] for p in pieces) - left
    mapped, truth = (np.full((height, width), NODATA, np.uint8) for _ in range(2))
    for p in pieces:
        place = (
            slice(p.row - top, p.row - top + p.truth.shape[0]),
            slice(p.col - left, p.col - left + p.truth.shape[1]),
        )
        mapped[place], truth[place] = p.mapped, p.truth
    return mapped, truth


def _pixels(size_m: float, gsd_m: float) -> int:
    """Whole pixels in a length; 0 where it is none."""
    pixels = round(size_m / gsd_m)
    return pixels if abs(pixels * gsd_m - size_m) < 1e-6 * size_m else 0


def _count_zones(
    tally: Tally,
    key: tuple[str, str],
    mapped: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    zones: Zones,
) -> None:
    """One confusion matrix per zone of the window."""
    there = np.unique(zones.codes).tolist()
    for code in there:
        if code not in zones.names:
            continue
        inside = truth if len(there) == 1 else np.where(zones.codes == code, truth, np.uint8(NODATA))
        matrix = Confusion.count(mapped, inside)
        if matrix.total:
            place = *key, zones.names[code]
            tally.confusion[place] = tally.confusion.get(place, Confusion()) + matrix


def _fraction(view: View, name: str, truth: NDArray[np.uint8], factor: int) -> FractionScore:
    """Shares of one product against the truth's over blocks, on the ground that both know."""
    mapped = view.inner(view.classes[name])
    if name not in view.share and view.truth_share is None:
        return FractionScore.compare(mapped, truth, factor)
    m = view.share.get(name, mapped.astype(np.float32))
    r = truth.astype(np.float32) if view.truth_share is None else view.truth_share
    known = (mapped != NODATA) & (truth != NODATA)
    shares_of, weight = mean_shares(np.where(known, m, np.float32(np.nan)), factor)
    return FractionScore.count(
        shares_of, mean_shares(np.where(known, r, np.float32(np.nan)), factor)[0], weight
    )


def mean_shares(share: NDArray[np.float32], factor: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Block means of shares that leave NaN out, and the share of each block that is known.

    Args:
        share: `(Y, X)`, NaN where unknown.
        factor: pixels per block and side; blocks at the right and lower edge may be smaller.
    """
    rows, cols = (np.arange(0, side, factor) for side in share.shape)

    def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.add.reduceat(np.add.reduceat(values, rows, axis=0), cols, axis=1)

    known = ~np.isnan(share)
    number, size = total(known.astype(np.float64)), total(np.ones(share.shape))
    mean = total(np.where(known, share, 0).astype(np.float64)) / np.maximum(number, 1)
    return mean.astype(np.float32), (number / size).astype(np.float32)


def density_zones(truth: NDArray[np.uint8], gsd_m: float) -> Zones:
    """Strata by how dense the truth's ISA is in blocks of 1 km `(y, x)`; ground without truth belongs nowhere."""
    factor = max(1, round(DENSITY_M / gsd_m))
    share, valid = shares(truth, factor)
    codes = np.where(valid > 0, 1 + np.digitize(share, DENSITY_LIMITS), 0).astype(np.uint8)
    fine = codes.repeat(factor, 0).repeat(factor, 1)[: truth.shape[0], : truth.shape[1]]
    return Zones(fine, DENSITY_STRATA)


def _worst(view: View, name: str, truth: NDArray[np.uint8]) -> list[Disagreement]:
    """The blocks of the window on which the product is most often wrong."""
    side = max(1, round(PICTURE_M / view.gsd_m))
    mapped = view.inner(view.classes[name])
    wrong = ((mapped != truth) & (mapped != NODATA) & (truth != NODATA)).astype(np.uint8)
    height, width = (length // side for length in truth.shape)
    cells = wrong[: height * side, : width * side].reshape(height, side, width, side)
    rate = cells.mean(axis=(1, 3), dtype=np.float64)
    found = []
    for flat in np.argsort(rate, axis=None)[::-1][:PICTURES].tolist():
        row, col = divmod(flat, width)
        if rate[row, col] > 0:
            part = slice(row * side, (row + 1) * side), slice(col * side, (col + 1) * side)
            x = view.origin[0] + col * side * view.gsd_m
            y = view.origin[1] - row * side * view.gsd_m
            found.append(
                Disagreement(float(rate[row, col]), name, x, y, mapped[part].copy(), truth[part].copy())
            )
    return found
