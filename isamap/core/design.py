"""`isamap evaluate --design`: draw a stratified reference sample, ready to be labelled."""

import csv
import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import sqrt
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from isamap.domain import sampling
from isamap.domain.grid import Window, crop, windows
from isamap.domain.lonlat import LONLAT
from isamap.errors import InputError
from isamap.io.classmap import ClassMap
from isamap.io.products import Product, footprints, grid_of
from isamap.io.sample import write_points
from isamap.io.store import write_atomic

log = logging.getLogger(__name__)

WINDOW_PX = 2048
HALO_PX = 30
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
LEAST = 2
"""Points that a stratum needs for a variance."""
SQUARE_KM = 1e6


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


@dataclass(frozen=True)
class Drawn:
    """Units of a sample, shape (unit,)."""

    x: NDArray[np.float64]
    """Of the pixel's centre, in the CRS of the first raster."""
    y: NDArray[np.float64]
    """Likewise."""
    stratum: NDArray[np.uint8]
    """Code in `sampling.STRATA`."""


def run(product: Product, others: Sequence[Product], design: Design, out: Path) -> tuple[Path, Path]:
    """Draw the sample; returns the points (GeoPackage) and the strata with their sizes (CSV).

    Raises:
        InputError: the maps have no ground to sample, or fewer pixels than wanted.
    """
    rng = np.random.Generator(np.random.PCG64(design.seed))
    census = sampling.Census()
    for codes, _ in _strata(product, others):
        census.add(codes)
    if not census.counts:
        raise InputError(f"{product.name} has no pixel to sample: all is nodata")
    wanted = _allocate(census.counts, design)
    spare = SPARE if design.spacing_m else 1
    drawn = {code: min(census.counts[code], round(units * spare)) for code, units in wanted.items()}
    units = _pick(product, others, sampling.Picker(census.counts, drawn, rng))
    if design.spacing_m:
        order = rng.permutation(units.x.size)
        stays = sampling.thin(units.x, units.y, units.stratum, design.spacing_m, order, wanted)
        units = Drawn(units.x[stays], units.y[stays], units.stratum[stays])
        _check_thinned(units, wanted, design)
    return _write(product, units, census.counts, out)


def _check_thinned(units: Drawn, wanted: sampling.Counts, design: Design) -> None:
    """Say what spacing has cost; a stratum without variance is of no use."""
    for code, number in wanted.items():
        left = int((units.stratum == code).sum())
        if left < min(number, LEAST):
            raise InputError(
                f"{left} of {number} points of {sampling.STRATA[code]!r} are {design.spacing_m:g} m apart: "
                "lower --spacing or --size"
            )
        if left < number:
            log.warning("%s: %d points of %d wanted keep the distance", sampling.STRATA[code], left, number)


def _allocate(counts: sampling.Counts, design: Design) -> dict[int, int]:
    """Units per stratum."""
    codes = sorted(counts)
    deviations = {code: sqrt(EXPECTED[code] * (1 - EXPECTED[code])) for code in codes}
    size = design.size
    if size is None:
        assert design.target_se is not None
        weights = [counts[code] for code in codes]
        size = sampling.sample_size(weights, [EXPECTED[code] for code in codes], design.target_se)
        size = max(size, design.minimum * len(codes))
        log.info("%d units for a standard error of %g", size, design.target_se)
    return sampling.allocate(counts, size, design.minimum, "neyman", deviations)


def _strata(product: Product, others: Sequence[Product]) -> Iterator[tuple[NDArray[np.uint8], GeoBox]]:
    """Stratum codes and grid of every window, always in the same order."""
    places = [footprints(one) for one in (product, *others)]
    for path in product.files:
        grid = grid_of(path)
        with ExitStack() as stack:
            layers: list[ClassMap] = []
            for one, place in zip((product, *others), places, strict=True):
                if files := place.near(grid):
                    layers.append(stack.enter_context(one.near(files).classes()))
            for window in windows((grid.shape[0], grid.shape[1]), WINDOW_PX):
                yield _codes(layers, grid, window), crop(grid, window)


def _codes(layers: Sequence[ClassMap], grid: GeoBox, window: Window) -> NDArray[np.uint8]:
    """Strata of one window; ground beyond this raster is seen, if another one shows it."""
    outer = crop(grid, window.padded(HALO_PX))
    mapped, *others = (layer.on(outer) for layer in layers)
    return sampling.strata_of(mapped, HALO_PX, near_px=HALO_PX, others=others)


def _pick(product: Product, others: Sequence[Product], picker: sampling.Picker) -> Drawn:
    """The second pass."""
    target = str(grid_of(product.files[0]).crs)
    x, y, stratum = [], [], []
    for codes, grid in _strata(product, others):
        picks = picker.take(codes)
        a, _, c, _, e, f = grid.transform[:6]
        here = c + a * (picks.cols + 0.5), f + e * (picks.rows + 0.5)
        there = Transformer.from_crs(str(grid.crs), target, always_xy=True).transform(*here)
        x.append(np.atleast_1d(there[0]))
        y.append(np.atleast_1d(there[1]))
        stratum.append(picks.stratum)
    picker.finish()
    return Drawn(np.concatenate(x), np.concatenate(y), np.concatenate(stratum))


def _write(product: Product, units: Drawn, counts: sampling.Counts, out: Path) -> tuple[Path, Path]:
    """Points to be labelled, and the strata they stand for."""
    grid = grid_of(product.files[0])
    lon, lat = Transformer.from_crs(str(grid.crs), LONLAT, always_xy=True).transform(units.x, units.y)
    pixel_km2 = abs(grid.resolution.x * grid.resolution.y) / SQUARE_KM
    points, table = out / "sample.gpkg", out / "strata.csv"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("stratum", "n_pixels", "area_km2", "n_points"))
    for code, pixels in sorted(counts.items()):
        chosen = int((units.stratum == code).sum())
        writer.writerow((sampling.STRATA[code], pixels, pixels * pixel_km2, chosen))
    write_atomic(table, text.getvalue().encode())
    columns = {
        "id": np.arange(1, units.x.size + 1),
        "stratum": np.array([sampling.STRATA[code] for code in units.stratum.tolist()], object),
        "observed": np.full(units.x.size, np.nan),
        "remark": np.full(units.x.size, "", object),
    }
    write_points(points, lon, lat, LONLAT, columns)
    return points, table
