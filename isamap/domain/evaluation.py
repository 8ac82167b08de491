"""What is counted when maps are held against a truth: accumulators that add up over windows, tiles and workers.

Every product is seen on the pixels of the first map. At 1 m its classes are compared as they are, as bits; block means
over 10, 30 and 100 m compare impervious shares, so that a coarse product is judged on its own support.
"""

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from isamap.domain.accuracy import Confusion, set_bits
from isamap.domain.bits import Bits, Plane, both, unpacked
from isamap.domain.boundary import BoundaryScore
from isamap.domain.disagreement import PICTURES as WORST
from isamap.domain.disagreement import Disagreement, Piece, Scene, piece_of, worst_of
from isamap.domain.fraction import FractionScore, shares
from isamap.domain.product import NODATA
from isamap.domain.reliability import Reliability
from isamap.domain.view import View, Zones

SUPPORTS_M = (10, 30, 100)
"""Block sizes at which shares are compared."""
DISTANCES_M = (2, 5, 10)
"""Boundary widths and buffers."""
CONFUSION, FRACTION, BOUNDARY, CALIBRATION = "confusion", "fraction", "boundary", "calibration"
PICTURES = "pictures"
MEASURES = (CONFUSION, FRACTION, BOUNDARY, CALIBRATION, PICTURES)
"""What can be asked for; the confusion matrix is always counted."""
DENSITY_M = 1000
DENSITY_STRATA = {1: "rural", 2: "peri-urban", 3: "dense urban"}
"""By the truth's ISA share in blocks of 1 km: below 0.1, below 0.4, and above."""
DENSITY_LIMITS = (0.1, 0.4)


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
    """Pixels that truth, first product and product know, by product; those the truth knows in the windows under `""`."""
    covered_m2: dict[str, float] = field(default_factory=dict)
    """Ground of these pixels, by product."""
    truth_m2: float | None = None
    """Ground that label rasters know, on the maps or not; None: nobody asked."""

    def __iadd__(self, other: "Tally") -> Self:
        _add(self.confusion, other.confusion)
        _add(self.fraction, other.fraction)
        _add(self.boundary, other.boundary)
        _add(self.reliability, other.reliability)
        self.worst = heapq.nlargest(WORST, [*self.worst, *other.worst])
        self.pieces += other.pieces
        for name, pixels in other.coverage.items():
            self.coverage[name] = self.coverage.get(name, 0) + pixels
        for name, area_m2 in other.covered_m2.items():
            self.covered_m2[name] = self.covered_m2.get(name, 0.0) + area_m2
        return self


Score = TypeVar("Score", Confusion, FractionScore, BoundaryScore, Reliability)


def _add(mine: dict[Any, Score], theirs: Mapping[Any, Score]) -> None:
    """Add scores key by key."""
    for key, score in theirs.items():
        mine[key] = mine[key] + score if key in mine else score


def count(view: View, measures: Collection[str] = MEASURES) -> Tally:
    """The tally of one window; ground counts where the truth and all products know it."""
    coverage = _coverage(view)
    tally = Tally(coverage=coverage, covered_m2={name: n * view.gsd_m**2 for name, n in coverage.items()})
    if not tally.coverage:
        return tally
    same = view.known is view.truth.known  # every product knows all that the truth knows
    if not (pixels := tally.coverage[""] if same else view.pixels(view.known)):
        return tally
    for ground in _grounds(view, pixels):
        _count_matrices(tally, view, *ground)
    _add_excess(tally, view)
    truth = view.truth.on(view.known)
    for name in view.classes:
        if FRACTION in measures:
            _count_fractions(tally, view, name, truth)
        if BOUNDARY in measures:
            _count_boundaries(tally, view, name, truth)
    if CALIBRATION in measures:
        for name, percent in view.percent.items():
            tally.reliability[name] = Reliability.count(percent, unpacked(truth, *view.window))
    if PICTURES in measures:
        _draw(tally, view, truth)
    return tally


def _coverage(view: View) -> dict[str, int]:
    """Pixels that the truth knows, under `""`, and those of them that the first product knows, and others beside it.

    Empty where the truth knows none. Ground without the first product may lie in several windows.
    """
    coverage = {"": view.pixels(view.truth.known)}
    if not coverage[""]:
        return {}
    known, pixels = view.truth.known, coverage[""]
    for number, (name, bits) in enumerate(view.classes.items()):
        shared = both(known, bits.known)
        coverage[name] = pixels if bits.known is None else view.pixels(shared)
        if not number:
            known, pixels = shared, coverage[name]
    return coverage


def _grounds(view: View, pixels: int) -> Iterator[tuple[tuple[str, str], Plane | None, int]]:
    """The ground that all know, with so many pixels, and each zone of it that has a name: kind, name, plane and pixels."""
    known = view.inside(view.known)
    yield ("", ""), known, pixels
    for kind, zones in view.zones.items():
        there = zones.there()
        for code in there:
            if code not in zones.names:
                continue
            if len(there) == 1:
                yield (kind, zones.names[code]), known, pixels
            else:
                zone = view.placed(zones.codes == code)
                zone = zone if known is None else zone & known
                yield (kind, zones.names[code]), zone, set_bits(zone)


def _count_matrices(
    tally: Tally, view: View, zone: tuple[str, str], inside: Plane | None, pixels: int
) -> None:
    """The confusion matrix of every product on some ground; none where there is no pixel."""
    for name, bits in view.classes.items():
        if pixels:
            matrix = view.confusion(bits, inside, pixels)
            tally.confusion[name, *zone] = tally.confusion.get((name, *zone), Confusion()) + matrix


def _add_excess(tally: Tally, view: View) -> None:
    """What shares hold beyond the pixels of at least half, on the ground of every matrix."""
    if not view.share and view.truth_share is None:
        return
    known = unpacked(view.truth.on(view.known), *view.window) != NODATA
    grounds = {("", ""): known} | {
        (kind, zones.names[code]): known & (zones.codes == code)
        for kind, zones in view.zones.items()
        for code in zones.there()
        if code in zones.names
    }
    truth = _excess(view, view.truth, view.truth_share)
    for name, bits in view.classes.items():
        mapped = _excess(view, bits, view.share.get(name))
        for zone, inside in grounds.items():
            if (name, *zone) in tally.confusion:
                more = Confusion(
                    map_excess=float(mapped.sum(where=inside)),
                    reference_excess=float(truth.sum(where=inside)),
                )
                tally.confusion[name, *zone] += more


def _excess(view: View, bits: Bits, share: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """Share minus class of each pixel `(y, x)`; nothing where there are no shares."""
    if share is None:
        return np.zeros(view.shape)
    excess: NDArray[np.float64] = share.astype(np.float64) - (unpacked(bits, *view.window) == 1)
    return excess


def _draw(tally: Tally, view: View, truth: Bits) -> None:
    """What pictures show of the first product."""
    name = next(iter(view.classes))
    scene = Scene(name, view.classes[name], truth, view.window, view.origin, view.gsd_m)
    tally.worst = worst_of(scene)
    if view.thin_px:
        tally.pieces = [piece_of(scene, view.thin_px)]


def _count_boundaries(tally: Tally, view: View, name: str, truth: Bits) -> None:
    """One product's outlines against the truth's, on the ground that the truth and all products know."""
    reaches = {distance: _pixels(distance, view.gsd_m) for distance in DISTANCES_M}
    reaches = {distance: reach for distance, reach in reaches.items() if 0 < reach <= view.halo_px}
    mapped = view.classes[name].on(view.known)
    scores = BoundaryScore.compare(mapped.isa, truth.isa, view.ground(), tuple(reaches.values()))
    for distance, reach in reaches.items():
        tally.boundary[name, distance] = scores[reach]


def _count_fractions(tally: Tally, view: View, name: str, truth: Bits) -> None:
    """One product's shares against the truth's."""
    factors = {support: _pixels(support, view.gsd_m) for support in SUPPORTS_M}
    factors = {support: factor for support, factor in factors.items() if factor}
    if name in view.share or view.truth_share is not None:
        found = {factor: _fraction(view, name, truth, factor) for factor in factors.values()}
    else:
        mapped = view.classes[name].on(view.known)
        found = FractionScore.compare_bits(mapped, truth, view.window, tuple(factors.values()))
    for support, factor in factors.items():
        tally.fraction[name, support] = found[factor]


def _pixels(size_m: float, gsd_m: float) -> int:
    """Whole pixels in a length; 0 where it is none."""
    pixels = round(size_m / gsd_m)
    return pixels if abs(pixels * gsd_m - size_m) < 1e-6 * size_m else 0


def _fraction(view: View, name: str, known_truth: Bits, factor: int) -> FractionScore:
    """Shares of one product against the truth's over blocks, on the ground that both know."""
    mapped, truth = (unpacked(bits, *view.window) for bits in (view.classes[name], known_truth))
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
