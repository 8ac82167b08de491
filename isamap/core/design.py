"""`isamap evaluate --design`: draw a stratified reference sample, ready to be labelled."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product as combinations
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain import sampling
from isamap.domain.ground_area import SQUARE_KM, pixel_area_m2
from isamap.domain.lonlat import transformer
from isamap.domain.overview import places
from isamap.errors import InputError
from isamap.io.cover import Look, looks, places_of
from isamap.io.drawn_sample import SAMPLE, DrawnPoints, StratumRow, write_drawn
from isamap.io.footprints import grid_of
from isamap.io.products import Product
from isamap.io.raster_zones import ZoneLayer
from isamap.io.sample import check_unlabelled
from isamap.io.sample_chips import ChipImage

log = logging.getLogger(__name__)

EDGE_M, NEAR_M = 3.0, 30.0
"""ISA this near to pervious ground is edge; pervious ground this near to ISA is near it. One pixel at least."""
EXPECTED = {
    sampling.CORE: 0.95,
    sampling.EDGE: 0.70,
    sampling.NEAR: 0.85,
    sampling.FAR: 0.99,
    sampling.DISAGREE: 0.60,
}
"""Share mapped right that is expected per stratum: what decides the size for a target standard error."""
SPARE = 1.5
"""Units drawn for each one wanted where spacing will thin them."""
REGION = 10
"""Codes of a zone's strata begin at so many times its number."""
LEAST = 2
"""Points that a stratum needs for a variance."""
MOST = 1_000_000
"""Points that nobody will label, in a sample that is allocated one by one."""


@dataclass(frozen=True)
class Design:
    """What sample to draw."""

    size: int | None = None
    """Units in all; or"""
    target_se: float | None = None
    """the standard error of the overall accuracy to be reached."""
    minimum: int = 20
    """Units of every stratum."""
    spacing_m: float = 0
    """Least distance between units."""
    seed: int = 1
    """Same maps and seed: same sample."""
    zones: tuple[ZoneLayer, ...] = ()
    """Units and strata of the user's own: ground is sampled by itself in every zone, and in every pair of them."""
    image: Path | None = None
    """What the ground around each point is cut from, for whoever labels it."""
    ground: BaseGeometry | None = None
    """Lon/lat polygon outside of which nothing is sampled."""


@dataclass(frozen=True)
class Plan:
    """What is looked at, and how."""

    products: tuple[Product, ...]
    """The map that is sampled, and others that may disagree."""
    gsd_m: float
    """Pixels of the map."""
    crs: str
    """Of its first raster."""
    zones: tuple[ZoneLayer, ...] = ()
    """Areas that are sampled each by itself; ground in none of them is not sampled."""
    ground: BaseGeometry | None = None
    """Lon/lat polygon outside of which nothing is sampled."""
    regions: dict[str, int] = field(default_factory=dict)
    """Number of each of them, or of each pair, as the windows met them."""

    @property
    def edge_px(self) -> int:
        """Pixels of ISA that are edge."""
        return max(1, round(EDGE_M / self.gsd_m))

    @property
    def near_px(self) -> int:
        """Pixels beside ISA that are near it; also the halo."""
        return max(1, round(NEAR_M / self.gsd_m))

    def windows(
        self, passed: Callable[[int], bool] = lambda _: False
    ) -> Iterator[tuple[NDArray[np.uint8], Look]]:
        """Stratum codes of every window and what was seen there, always in the same order; those passed over left out."""
        for look in looks(self.products, self.near_px, passed, self.ground):
            codes = sampling.strata_of(
                look.classes[0],
                self.near_px,
                edge_px=self.edge_px,
                near_px=self.near_px,
                others=look.classes[1:],
            )
            codes[~look.counts] = sampling.OUTSIDE
            yield self._by_zone(codes, look), look

    def _by_zone(self, codes: NDArray[np.uint8], look: Look) -> NDArray[np.uint8]:
        """Codes that also tell the zone."""
        if not self.zones:
            return codes
        told, layers = np.full_like(codes, sampling.OUTSIDE), [layer.on(look.grid) for layer in self.zones]
        for pair in combinations(*([c for c in zones.there() if c in zones.names] for zones in layers)):
            inside = codes != sampling.OUTSIDE
            for zones, code in zip(layers, pair, strict=True):
                inside &= zones.codes == code
            if inside.any():
                name = ", ".join(zones.names[code] for zones, code in zip(layers, pair, strict=True))
                number = self.regions.setdefault(name, len(self.regions))
                told = np.where(inside, sampling.in_region(codes, number), told)
        return told

    def name(self, code: int) -> str:
        """Of a stratum."""
        kind = sampling.STRATA[code % REGION]
        return f"{list(self.regions)[code // REGION]}: {kind}" if self.regions else kind


@dataclass(frozen=True)
class Count:
    """The first pass."""

    pixels: dict[int, int]
    """Per stratum."""
    isa: dict[int, int]
    """Those of them that the map shows as ISA."""
    km2: dict[int, float]
    """Ground of each stratum."""
    windows: list[dict[int, int]]
    """Pixels per stratum of every window."""


@dataclass(frozen=True)
class Drawn:
    """Units of a sample, shape (unit,)."""

    x: NDArray[np.float64]
    """Of the pixel's centre, in the CRS of the first raster."""
    y: NDArray[np.float64]
    """Likewise."""
    stratum: NDArray[np.uint8]
    """Code in `sampling.STRATA`; with zones, as `sampling.in_region` gives it."""

    def some(self, units: NDArray[np.int64]) -> "Drawn":
        """Some of them, in the order of their numbers."""
        return Drawn(self.x[units], self.y[units], self.stratum[units])


def run(product: Product, others: Sequence[Product], design: Design, out: Path) -> tuple[Path, Path]:
    """Draw the sample; returns the points (GeoPackage) and the strata with their sizes (CSV).

    Raises:
        InputError: the folder holds a sample that somebody has worked on, the maps have no ground to sample or
            pixels of several sizes, or fewer pixels than wanted.
    """
    check_unlabelled(out / SAMPLE)
    if design.image is not None:
        with ChipImage.open(design.image):
            pass  # it can be read: said before the long work
    if design.seed < 0:
        raise InputError(f"--seed is {design.seed}: give 0 or more")
    rng = np.random.Generator(np.random.PCG64(design.seed))
    plan = _plan(product, others, design)
    count = _count(plan)
    if not count.pixels:
        where = "in any unit or stratum" if design.zones else "to sample: all is nodata"
        raise InputError(f"{product.name} has no pixel {'in the area' if design.ground else where}")
    wanted = _allocate(count.pixels, design)
    spare = SPARE if design.spacing_m else 1
    drawn = {code: min(count.pixels[code], round(units * spare)) for code, units in wanted.items()}
    units = _pick(plan, sampling.Picker(count.pixels, drawn, rng), count)
    if design.spacing_m:
        order = rng.permutation(units.x.size)
        stays = sampling.thin(units.x, units.y, units.stratum, design.spacing_m, order, wanted)
        units = units.some(np.flatnonzero(stays))
        _check_thinned(units, wanted, design, plan)
    return _write(plan, units.some(rng.permutation(units.x.size)), count, (out, design.image))


def _plan(product: Product, others: Sequence[Product], design: Design) -> Plan:
    """The pixels of the map: all of one size, or a pixel would not be a pixel."""
    places_of(product)
    sizes: dict[float, Path] = {}
    for path in product.files:
        grid = grid_of(path)
        sizes.setdefault(round(abs(float(grid.resolution.x)), 6), path)
    if len(sizes) > 1:
        (one, first), (two, second) = list(sizes.items())[:2]
        raise InputError(
            f"{first} has pixels of {one:g} m, {second} of {two:g} m: draw a sample from each, or resample one"
        )
    crs = str(grid_of(product.files[0]).crs)
    return Plan((product, *others), next(iter(sizes)), crs, design.zones, design.ground)


def _count(plan: Plan) -> Count:
    """Pixels and mapped ISA of every stratum."""
    census, isa, windows = sampling.Census(), sampling.Census(), []
    km2: dict[int, float] = {}
    for codes, look in plan.windows():
        windows.append(census.add(codes))
        pixel_km2 = pixel_area_m2(look.grid) / SQUARE_KM
        for code, pixels in windows[-1].items():
            km2[code] = km2.get(code, 0.0) + pixels * pixel_km2
        isa.add(np.where(look.own == 1, codes, np.uint8(sampling.OUTSIDE)))
    return Count(census.counts, {code: isa.counts.get(code, 0) for code in census.counts}, km2, windows)


def _check_thinned(units: Drawn, wanted: sampling.Counts, design: Design, plan: Plan) -> None:
    """Say what spacing has cost; a stratum without variance is of no use."""
    for code, number in wanted.items():
        left = int((units.stratum == code).sum())
        if left < min(number, LEAST):
            raise InputError(
                f"{left} of {number} points of {plan.name(code)!r} are {design.spacing_m:g} m apart: "
                "lower --spacing or --size"
            )
        if left < number:
            log.warning("%s: %d points of %d wanted keep the distance", plan.name(code), left, number)


def _allocate(counts: sampling.Counts, design: Design) -> dict[int, int]:
    """Units per stratum."""
    codes = sorted(counts)
    deviations = {code: sqrt(EXPECTED[code % REGION] * (1 - EXPECTED[code % REGION])) for code in codes}
    least = sum(min(design.minimum, pixels) for pixels in counts.values())
    size, source = design.size, "--size"
    if size is None:
        assert design.target_se is not None
        weights = [counts[code] for code in codes]
        size = sampling.sample_size(weights, [EXPECTED[code % REGION] for code in codes], design.target_se)
        size, source = max(size, least), f"--target-se {design.target_se:g}"
        log.info("%d units for a standard error of %g", size, design.target_se)
    if size < least:
        raise InputError(
            f"{size} points cannot give each of {len(codes)} strata "
            f"({', '.join(dict.fromkeys(sampling.STRATA[code % REGION] for code in codes))}) its {design.minimum}: --size at least {least}"
        )
    if size > min(MOST, sum(counts.values())):
        raise InputError(
            f"{source} asks for {size} points, but there are {sum(counts.values())} pixels, and {MOST} points are "
            "more than anybody labels: ask for fewer"
        )
    return sampling.allocate(counts, size, design.minimum, "neyman", deviations)


def _pick(plan: Plan, picker: sampling.Picker, count: Count) -> Drawn:
    """The second pass; windows in which nothing was drawn are not read again."""
    x, y, stratum = [], [], []
    for codes, look in plan.windows(lambda number: picker.skip(count.windows[number])):
        picks = picker.take(codes)
        there = _centres(look.grid, picks, plan.crs)
        x.append(there[0])
        y.append(there[1])
        stratum.append(picks.stratum)
    picker.finish()
    return Drawn(np.concatenate(x), np.concatenate(y), np.concatenate(stratum))


def _centres(
    grid: GeoBox, picks: sampling.Picks, crs: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the drawn pixels lie, in another CRS."""
    cols, rows = (side.astype(np.float64) + 0.5 for side in (picks.cols, picks.rows))
    there = transformer(str(grid.crs), crs).transform(*places(grid.transform, cols, rows))
    found = np.atleast_1d(there[0]), np.atleast_1d(there[1])
    if not all(np.isfinite(axis).all() for axis in found):
        raise InputError(f"a raster in {grid.crs} lies where {crs} cannot show it: draw its sample by itself")
    return found


def _write(plan: Plan, units: Drawn, count: Count, to: tuple[Path, Path | None]) -> tuple[Path, Path]:
    """Points to be labelled, and the strata they stand for, in a folder; with chips of an image."""
    drawn = np.bincount(units.stratum, minlength=max(count.pixels) + 1)
    strata = [
        StratumRow(plan.name(code), pixels, count.km2[code], int(drawn[code]), count.isa[code])
        for code, pixels in sorted(count.pixels.items())
    ]
    names = [plan.name(code) for code in units.stratum.tolist()]
    return write_drawn(DrawnPoints(units.x, units.y, plan.crs, names, plan.gsd_m), strata, *to)
