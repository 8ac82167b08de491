"""`isamap evaluate`: maps against a truth that covers ground (a product, a label raster or label polygons)."""

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.evaluation import DISTANCES_M, Tally, View, count, density_zones
from isamap.domain.grid import Window, crop, windows
from isamap.domain.product import CLASSES, NODATA, PROBABILITY
from isamap.engine import local
from isamap.engine.stream import stream
from isamap.errors import InputError
from isamap.io.classmap import ClassMap
from isamap.io.products import Footprints, Product, footprints, grid_of, parse_product
from isamap.io.zones import LabelPolygons, Units, open_labels, open_units
from isamap.progress import Progress

log = logging.getLogger(__name__)

WINDOW_M = 3000
"""Side of a window: whole blocks of 10, 30, 100 and 1000 m."""
MAX_WINDOW_PX = 3000
DENSITY = "density"
PERCENT = 100
PICTURE_PX = 1200


@dataclass(frozen=True)
class Truth:
    """What the maps are held against: one of the two."""

    product: Product | None = None
    """A raster."""
    labels: Path | None = None
    """Polygons."""
    column: str | None = None
    """Of the polygons, 1 ISA and 0 not; None: polygons are ISA, and nothing else is known."""

    @property
    def only_isa(self) -> bool:
        """Whether the truth knows no pervious ground, so that recall alone is defined."""
        return self.labels is not None and self.column is None


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where it is told apart."""

    products: tuple[Product, ...]
    """The first one's grid is the one all are seen on."""
    truth: Truth
    """What they are held against."""
    strata: str | None = None
    """`density`, or a vector file (FILE or FILE:COLUMN)."""
    units: str | None = None
    """`provinces`, `prefectures`, or a vector file."""


@dataclass(frozen=True)
class Sheet:
    """One raster of the first product, and the files of all others that may lie on it."""

    path: Path
    """The raster."""
    files: Mapping[str, tuple[Path, ...]]
    """By product; the truth's under `""`."""
    drawn: bool = False
    """Whether a picture of it is wanted."""


def run(comparison: Comparison, workers: int = 1) -> Tally:
    """Count everything.

    Raises:
        InputError: the truth does not lie on the maps, a product cannot be compared, or some rasters cannot
            be read: the rest would be no whole.
    """
    sheets = _sheets(comparison)
    tally = Tally()
    faults = []
    with Progress(len(sheets), "map", "evaluate", show=len(sheets) > 1) as bar:
        for outcome in local.run(sheets, partial(evaluate_sheet, comparison), workers):
            if outcome.fault is not None:
                faults.append(outcome.fault)
                if len(sheets) > 1:  # a lone fault is the command's own last word
                    log.error("%s: %s", outcome.job.path, outcome.fault)
            elif outcome.result is not None:
                tally += outcome.result
            bar.advance()
    if len(faults) == 1 and len(sheets) == 1:
        raise faults[0]
    if faults:
        raise InputError(f"{len(faults)} of {len(sheets)} maps could not be evaluated: the log names them")
    if not any(matrix.total for (_, kind, _), matrix in tally.confusion.items() if not kind):
        raise InputError("no pixel is known to both map and truth: they lie apart, or all is nodata")
    return tally


def _sheets(comparison: Comparison) -> list[Sheet]:
    """The rasters of the first product with what else lies there; those without truth are left out."""
    products = {product.name: product for product in comparison.products}
    if len(products) < len(comparison.products):
        raise InputError("two products have the same name: give them names (NAME=PATH)")
    if comparison.truth.product is not None:
        products[""] = comparison.truth.product
    places: dict[str, Footprints] = {name: footprints(product) for name, product in products.items()}
    sheets: list[Sheet] = []
    for path in comparison.products[0].files:
        grid = grid_of(path)
        files = {name: place.near(grid) for name, place in places.items()}
        if "" not in files or files[""]:
            sheets.append(Sheet(path, files, drawn=not sheets))
    if not sheets:
        raise InputError("the truth lies on none of the maps: check that both are of the same place")
    return sheets


def evaluate_sheet(comparison: Comparison, sheet: Sheet) -> Tally:
    """The tally of one raster of the first product."""
    grid = grid_of(sheet.path)
    step = min(MAX_WINDOW_PX, max(1, round(WINDOW_M / abs(grid.resolution.x))))
    thin_px = _thinning(max(grid.shape), step) if sheet.drawn else 0
    tally = Tally()

    def add(part: Tally) -> None:
        nonlocal tally
        tally += part

    with ExitStack() as stack:
        eyes = _Eyes(comparison, sheet, stack)
        shape = grid.shape[0], grid.shape[1]
        stream(windows(shape, step), partial(eyes.view, grid, thin_px), count, add)
    return tally


def _thinning(side_px: int, step: int) -> int:
    """The smallest divisor of the window's side that makes a picture of at most `PICTURE_PX`."""
    return next((n for n in range(1, step + 1) if step % n == 0 and side_px <= n * PICTURE_PX), step)


class _Eyes:
    """Everything that is seen on one raster, open."""

    def __init__(self, comparison: Comparison, sheet: Sheet, stack: ExitStack) -> None:
        def enter(layer: ClassMap) -> ClassMap:
            return stack.enter_context(layer)

        self.shares: dict[str, ClassMap] = {}
        self.classes: dict[str, ClassMap] = {}
        for product in comparison.products:
            files = sheet.files[product.name]
            if files:
                near = product.near(files)
                opened = self.shares if product.fractional else self.classes
                opened[product.name] = enter(near.shares() if product.fractional else near.classes())
        self.truth = self._open_truth(comparison, sheet, enter)
        self.percent = self._open_percent(comparison, sheet, enter)
        self.density = comparison.strata == DENSITY
        self.zones: dict[str, Units] = {}
        if comparison.strata and not self.density:
            self.zones["strata"] = open_zones(comparison.strata)
        if comparison.units:
            self.zones["units"] = open_zones(comparison.units)

    @staticmethod
    def _open_truth(comparison: Comparison, sheet: Sheet, enter: Any) -> ClassMap | LabelPolygons:
        truth = comparison.truth
        if truth.product is not None:
            layer: ClassMap = enter(truth.product.near(sheet.files[""]).classes())
            return layer
        assert truth.labels is not None
        return open_labels(truth.labels, truth.column)

    @staticmethod
    def _open_percent(comparison: Comparison, sheet: Sheet, enter: Any) -> dict[str, ClassMap]:
        """The probability raster beside the map, if there is one."""
        name = sheet.path.name.removesuffix(CLASSES.suffix) + PROBABILITY.suffix
        path = sheet.path.with_name(name)
        return {comparison.products[0].name: enter(ClassMap((path,), _percent))} if path.is_file() else {}

    def view(self, whole: GeoBox, thin_px: int, window: Window) -> View:
        """One window, read."""
        gsd_m = abs(whole.resolution.x)
        halo = round(max(DISTANCES_M) / gsd_m)
        inner, outer = crop(whole, window), crop(whole, window.padded(halo))
        truth = self.truth.on(outer)
        core = truth[halo : truth.shape[0] - halo, halo : truth.shape[1] - halo]
        if not (core != NODATA).any():
            return View(gsd_m, halo, truth, {}, {}, {}, {}, (0, 0))
        share = {name: layer.on(inner) for name, layer in self.shares.items()}
        classes = {name: layer.on(outer) for name, layer in self.classes.items()}
        classes |= {name: as_classes(values, halo) for name, values in share.items()}
        zones = {kind: units.on(inner) for kind, units in self.zones.items()}
        if self.density:
            zones["strata"] = density_zones(core, gsd_m)
        percent = {name: layer.on(inner) for name, layer in self.percent.items()}
        left, top = inner.transform.c, inner.transform.f
        return View(gsd_m, halo, truth, classes, share, percent, zones, (left, top), thin_px)


def _percent(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.where(values > PERCENT, NODATA, values).astype(np.uint8)


def as_classes(share: NDArray[np.float32], halo_px: int) -> NDArray[np.uint8]:
    """ISA where at least half is; the halo unknown."""
    known = np.where(np.isnan(share), NODATA, share >= 0.5).astype(np.uint8)  # majority
    return np.pad(known, halo_px, constant_values=NODATA)


def open_zones(text: str) -> Units:
    """`FILE`, `FILE:COLUMN` or a packaged level."""
    path, colon, column = text.rpartition(":")
    if colon and not Path(text).exists():
        return open_units(path, column)
    return open_units(text)


def parse_truth(reference: str | None, classes: str | None, labels: str | None) -> Truth:
    """The truth that the command line names: a product, a label raster, or `FILE[:COLUMN]` of polygons."""
    if reference:
        return Truth(parse_product(reference, classes))
    assert labels is not None
    path, colon, column = labels.rpartition(":")
    if not colon or Path(labels).exists():
        path, column = labels, ""
    if Path(path).suffix.lower() in (".tif", ".tiff") or Path(path).is_dir():
        return Truth(parse_product(path))
    return Truth(labels=Path(path), column=column or None)
