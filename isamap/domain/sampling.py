"""Stratified random samples of map pixels, drawn from windows that are read twice and never held together.

A map of 2e12 pixels fits into no memory, but its strata can be counted window by window (`Census`). Pixels of a
stratum are numbered as they come, ranks are drawn from the numbers, and a second pass over the same windows in
the same order meets the drawn pixels (`Picker`). The order of windows is part of the design: with the same
windows, order and seed the sample is the same.

Strata follow the errors of impervious-surface (ISA) maps: edges, small things beside ISA and places where
products disagree hold most. Distances are chessboard: the greater of the two distances in rows and columns.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isamap.errors import InputError

CORE, EDGE, NEAR, FAR, DISAGREE, OUTSIDE = 1, 2, 3, 4, 5, 255
STRATA = {
    CORE: "ISA core",
    EDGE: "ISA edge",
    NEAR: "near ISA",
    FAR: "far from ISA",
    DISAGREE: "products disagree",
    OUTSIDE: "outside",
}
"""Stratum of each code; OUTSIDE, where the map has nodata, is never sampled."""
Counts = Mapping[int, int]
"""Pixels or units per stratum code."""


def strata_of(
    isa: NDArray[np.uint8],
    halo_px: int,
    *,
    edge_px: int = 3,
    near_px: int = 30,
    others: Sequence[NDArray[np.uint8]] = (),
) -> NDArray[np.uint8]:
    """Stratum code of each pixel of a window, its halo removed.

    Nodata is neither ISA nor pervious: an ISA pixel beside it is no edge for that. Beyond the map's border fill
    the halo with 255.

    Args:
        isa: map classes with halo, uint8, shape (y, x): 0 pervious, 1 ISA, 255 nodata.
        halo_px: pixels beyond the window on each side, at least `edge_px` and `near_px`.
        edge_px: ISA this near to pervious ground is edge.
        near_px: pervious ground this near to ISA is near.
        others: other products on the same pixels, coded alike; 255 says nothing. One of another class is
            enough for DISAGREE, whatever else a pixel would be.

    Raises:
        InputError: too small a halo, arrays of different shapes, or codes other than 0, 1 and 255.
    """
    if not 0 <= max(edge_px, near_px) <= halo_px or min(isa.shape) <= 2 * halo_px:
        raise InputError(
            f"a halo of {halo_px} px in {isa.shape} px hides what is {near_px} px away: widen it"
        )
    for raster in (isa, *others):
        if raster.shape != isa.shape or ((raster > 1) & (raster != OUTSIDE)).any():
            raise InputError("a product has another shape than the map, or codes beside 0, 1, 255: recode it")
    window = (slice(halo_px, isa.shape[0] - halo_px), slice(halo_px, isa.shape[1] - halo_px))
    mapped = isa[window] == 1
    codes = np.full(mapped.shape, FAR, np.uint8)
    codes[_within(isa == 1, halo_px, near_px)] = NEAR
    codes[mapped] = CORE
    codes[mapped & _within(isa == 0, halo_px, edge_px)] = EDGE
    for other in others:
        codes[(other[window] != OUTSIDE) & (other[window] != isa[window])] = DISAGREE
    codes[isa[window] == OUTSIDE] = OUTSIDE
    return codes


def _within(mask: NDArray[np.bool_], halo_px: int, reach_px: int) -> NDArray[np.bool_]:
    """Where any pixel up to `reach_px` away in row and column is True; the halo removed."""
    spare = halo_px - reach_px
    mask = mask[spare : mask.shape[0] - spare, spare : mask.shape[1] - spare]
    return _running_any(_running_any(mask, 2 * reach_px + 1).T, 2 * reach_px + 1).T


def _running_any(rows: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    """Whether any of `length` successive rows is True, by doubling the reach: log2(length) passes."""
    reach = 1
    while reach < length:
        step = min(reach, length - reach)
        rows = rows[:-step] | rows[step:]
        reach += step
    return rows


def in_region(codes: NDArray[np.uint8], region: int) -> NDArray[np.uint8]:
    """Stratum codes of region 0 to 24, told from those of others: code + 10 region; OUTSIDE stays."""
    if not 0 <= region < 25:
        raise InputError(f"region {region} has no codes: a sample tells 25 regions apart, 0 to 24")
    return np.where(codes == OUTSIDE, codes, codes + np.uint8(10 * region))


def count(codes: NDArray[np.uint8]) -> dict[int, int]:
    """Pixels per stratum of one window, without OUTSIDE, in the order of the codes."""
    if codes.dtype != np.uint8:
        raise InputError(f"stratum codes are {codes.dtype}, which may exceed {OUTSIDE}: make them uint8")
    pixels = np.bincount(codes.ravel(), minlength=OUTSIDE + 1)[:OUTSIDE]
    return {int(code): int(pixels[code]) for code in np.flatnonzero(pixels)}


class Census:
    """Pixels per stratum of all windows: the first pass."""

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}

    def add(self, codes: NDArray[np.uint8]) -> dict[int, int]:
        """Count a window; its own counts come back, with which `Picker.skip` can save reading it again."""
        found = count(codes)
        for code, pixels in found.items():
            self.counts[code] = self.counts.get(code, 0) + pixels
        return found


class Picks(NamedTuple):
    """Drawn pixels of one window, by stratum and rank. Each array has shape (pixel,)."""

    rows: NDArray[np.int64]
    """Row in the window."""
    cols: NDArray[np.int64]
    """Column in the window."""
    stratum: NDArray[np.uint8]
    """Stratum code."""
    rank: NDArray[np.int64]
    """Number among the pixels of its stratum, as the windows came, from 0."""


class Picker:
    """The second pass: a simple random sample without replacement of each stratum.

    Args:
        counts: of the census.
        wanted: sample size per stratum.
        rng: e.g. `numpy.random.Generator(numpy.random.PCG64(seed))`; strata draw from it in order of codes.

    Raises:
        InputError: more pixels wanted than there are.
    """

    def __init__(self, counts: Counts, wanted: Counts, rng: np.random.Generator) -> None:
        self._counts = dict(counts)
        self._seen = dict.fromkeys(counts, 0)
        self._ranks: dict[int, NDArray[np.int64]] = {}
        for code, units in sorted(wanted.items()):
            pixels = counts.get(code, 0)
            if not 0 <= units <= pixels:
                raise InputError(f"stratum {code} has {pixels} pixels, not the {units} wanted: want fewer")
            self._ranks[code] = np.sort(rng.choice(pixels, units, replace=False, shuffle=False))

    def _drawn(self, code: int, pixels: int) -> NDArray[np.int64]:
        """Drawn ranks among the next `pixels` of a stratum."""
        ranks, seen = self._ranks.get(code, np.empty(0, np.int64)), self._seen.get(code, 0)
        first, last = np.searchsorted(ranks, (seen, seen + pixels))
        return ranks[first:last]

    def _pass(self, counts: Counts) -> None:
        for code, pixels in counts.items():
            self._seen[code] = self._seen.get(code, 0) + pixels
            if self._seen[code] > self._counts.get(code, 0):
                raise InputError(f"stratum {code} has pixels the census did not count: feed its windows")

    def skip(self, counts: Counts) -> bool:
        """Pass a window over by its own counts if nothing was drawn there; False if it has to be taken."""
        if any(self._drawn(code, pixels).size for code, pixels in counts.items()):
            return False
        self._pass(counts)
        return True

    def take(self, codes: NDArray[np.uint8]) -> Picks:
        """Drawn pixels of the next window; InputError if it has more of a stratum than the census counted."""
        found = count(codes)
        drawn = {code: self._drawn(code, pixels) for code, pixels in found.items()}
        flat = [np.empty(0, np.int64)]
        for code, ranks in drawn.items():
            if ranks.size:
                flat.append(np.flatnonzero(codes.ravel() == code)[ranks - self._seen[code]])
        self._pass(found)
        rows, cols = np.divmod(np.concatenate(flat), codes.shape[1])
        stratum = np.repeat(np.array(list(drawn), np.uint8), [ranks.size for ranks in drawn.values()])
        return Picks(rows, cols, stratum, np.concatenate([flat[0], *drawn.values()]))

    def finish(self) -> None:
        """Raise InputError unless all pixels of the census came by: the sample would not be the drawn one."""
        for code, pixels in self._counts.items():
            if self._seen[code] != pixels:
                raise InputError(
                    f"stratum {code}: {self._seen[code]} of {pixels} pixels came: feed all windows"
                )


def thin(
    x_m: NDArray[np.float64],
    y_m: NDArray[np.float64],
    stratum: NDArray[np.uint8],
    spacing_m: float,
    order: NDArray[np.int64],
    wanted: Counts | None = None,
) -> NDArray[np.bool_]:
    """Which units stay so that no two are nearer than the spacing: each in turn, unless near to one that stays.

    Draw more than needed, then thin. Units in a crowd go more often than lone ones: inclusion probabilities in
    a stratum are then equal only nearly, and variances approximate. Keep the share that goes small.

    Args:
        x_m: easting of each unit, shape (unit,).
        y_m: northing.
        stratum: code.
        spacing_m: least distance, 0 or more.
        order: unit numbers in random order, e.g. `rng.permutation(x_m.size)`.
        wanted: sample size per stratum; units beyond it go and block nobody. All that fit if left out.

    Raises:
        InputError: coordinates that are not finite, or no spacing of 0 or more.
    """
    if not (0 <= spacing_m < math.inf and np.isfinite(x_m).all() and np.isfinite(y_m).all()):
        raise InputError(f"spacing {spacing_m} m, or a coordinate, is not a finite distance: correct it")
    side_m = 1.001 * spacing_m or 1.0  # rounding then hides no neighbour beyond the next cell
    cells: dict[tuple[int, int], list[tuple[float, float]]] = {}
    left = dict(wanted) if wanted is not None else dict.fromkeys(np.unique(stratum).tolist(), x_m.size)
    stays = np.zeros(x_m.size, np.bool_)
    for unit in order.tolist():
        x, y, code = float(x_m[unit]), float(y_m[unit]), int(stratum[unit])
        ix, iy = math.floor(x / side_m), math.floor(y / side_m)
        block = [(i, j) for i in (ix - 1, ix, ix + 1) for j in (iy - 1, iy, iy + 1)]
        near = (at for cell in block for at in cells.get(cell, ()))
        if left.get(code, 0) > 0 and all(math.dist((x, y), at) >= spacing_m for at in near):
            cells.setdefault((ix, iy), []).append((x, y))
            left[code] -= 1
            stays[unit] = True
    return stays


def sample_size(weights: Sequence[float], users: Sequence[float], target_se: float) -> int:
    """Units for a standard error of overall accuracy: n = (sum_h W_h S_h / target)^2 (Cochran 1977, 5.25).

    S_h = sqrt(U_h (1 - U_h)), as Olofsson et al. (2014, equation 13) use it. The least n there is: it holds
    for Neyman allocation; other allocations reach the target with more.

    Args:
        weights: size of each stratum, in any unit.
        users: share mapped right that is expected there, 0-1.
        target_se: standard error to be reached, above 0.

    Raises:
        InputError: a figure out of its range, or lists of different lengths.
    """
    size, right = np.array(weights, np.float64), np.array(users, np.float64)
    sound = size.shape == right.shape and (size >= 0).all() and 0 < size.sum() < math.inf
    if not (sound and ((right >= 0) & (right <= 1)).all() and target_se > 0):
        raise InputError("sample size needs a weight and an accuracy of 0-1 per stratum, and a target SE > 0")
    spread = float(size @ np.sqrt(right * (1 - right)) / size.sum())
    return math.ceil(round((spread / target_se) ** 2, 6))


def allocate(
    sizes: Counts,
    n: int,
    minimum_per_stratum: int = 2,
    method: Literal["proportional", "neyman", "equal"] = "proportional",
    deviations: Mapping[int, float] | None = None,
) -> dict[int, int]:
    """Share n units out among strata, so many each; strata of size 0 get none.

    After the minimum, unit by unit to the stratum of the greatest score / sqrt(a (a + 1)), a what it has: equal
    proportions, for Neyman's score N_h S_h the exact optimum in whole numbers (Wright 2012, Am. Stat. 66, 217).

    Args:
        sizes: pixels per stratum.
        n: units in all.
        minimum_per_stratum: for each stratum, or all its pixels; two, for a variance.
        method: score by size, by size times deviation, or alike for all.
        deviations: expected standard deviation per stratum, for "neyman".

    Raises:
        InputError: n below the minima or above the pixels there are, or no deviation for a stratum.
    """
    taken = {code: min(minimum_per_stratum, size) for code, size in sorted(sizes.items())}
    if minimum_per_stratum < 1 or not sum(taken.values()) <= n <= sum(sizes.values()):
        raise InputError(f"{n} units, at least {minimum_per_stratum} each, do not fit into {sizes}: change n")
    scores: Mapping[int, float] = dict.fromkeys(sizes, 1.0) if method == "equal" else sizes
    if method == "neyman":
        if deviations is None or not all(deviations.get(code, -1) >= 0 for code in sizes):
            raise InputError("Neyman allocation needs a deviation >= 0 of each stratum: give all of them")
        scores = {code: size * deviations[code] for code, size in sizes.items()}
    for _ in range(n - sum(taken.values())):
        able = [code for code in taken if taken[code] < sizes[code]]
        taken[max(able, key=lambda code: scores[code] / math.sqrt(taken[code] * (taken[code] + 1)))] += 1
    return taken
