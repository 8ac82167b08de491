"""Windows of ground as every product and the truth see them, ready to be counted."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.bits import Bits, BitView, packed, packed_strips, repeated, without
from isamap.domain.evaluation import BOUNDARY, CALIBRATION, DISTANCES_M, MEASURES, View, density_zones
from isamap.domain.grid import Window, crop
from isamap.domain.product import CLASSES, NODATA, PROBABILITY
from isamap.io.classmap import ClassMap
from isamap.io.products import Product
from isamap.io.zones import LabelPolygons, Polygons, Units

DENSITY = "density"
PERCENT = 100
HALF = 0.5
Codes = NDArray[np.uint8]


@dataclass(frozen=True)
class Sight:
    """What is to be seen in one place."""

    products: tuple[Product, ...]
    """With the files that lie there; the first is the one that is drawn."""
    truth: Product | LabelPolygons
    """What they are held against, with the files that lie there."""
    zones: Mapping[str, Units | None]
    """Strata and units by kind; None: density strata."""
    area: Polygons | None = None
    """Only ground inside these counts."""
    earlier: tuple[Path, ...] = ()
    """Files of the first product whose ground is counted elsewhere."""
    measures: tuple[str, ...] = MEASURES
    """What is counted: nothing is read for the others."""


class Eyes:
    """Everything that is seen in one place, open. Use it in `with`; one thread at a time may look."""

    def __init__(self, sight: Sight) -> None:
        self.sight = sight
        self._open = ExitStack()

    def __enter__(self) -> Self:
        sight = self.sight
        with ExitStack() as stack:
            self._layers = {one.name: _enter(stack, one) for one in sight.products}
            self._truth = (
                sight.truth if isinstance(sight.truth, LabelPolygons) else _enter(stack, sight.truth)
            )
            first = sight.products[0]
            self._percent = _percent_layer(stack, first) if CALIBRATION in sight.measures else None
            self._earlier = _enter(stack, first.near(sight.earlier))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def view(self, grid: GeoBox, thin_px: int = 0) -> View:
        """One window; ground counts where the truth and all products know it."""
        gsd_m = abs(grid.resolution.x)
        halo = round(max(DISTANCES_M) / gsd_m) if BOUNDARY in self.sight.measures else 0
        outer = crop(grid, Window(0, 0, *grid.shape).padded(halo))
        truth, truth_share = _see(self._truth, outer)
        truth = self._own_ground(truth, outer)
        place = (grid.transform.c, grid.transform.f)
        if not (truth != NODATA).any():
            return View(gsd_m, halo, truth, {}, place)
        seen = {name: _see(layer, outer) for name, layer in self._layers.items()}
        classes = {name: codes for name, (codes, _) in seen.items()}
        inner = slice(halo, halo + grid.shape[0]), slice(halo, halo + grid.shape[1])
        truth, coverage = _common(truth, classes, inner)
        return View(
            gsd_m,
            halo,
            truth,
            classes,
            place,
            share={name: share[inner] for name, (_, share) in seen.items() if share is not None},
            truth_share=None if truth_share is None else truth_share[inner],
            percent={} if self._percent is None else {self.sight.products[0].name: self._percent.on(grid)},
            zones={
                kind: density_zones(truth[inner], gsd_m) if units is None else units.on(grid)
                for kind, units in self.sight.zones.items()
            },
            coverage=coverage,
            thin_px=thin_px,
        )

    def bits(self, grid: GeoBox) -> BitView:
        """One window for the confusion matrix alone; density strata need `view`."""
        truth = _bits(self._truth, grid)
        if self.sight.area is not None:
            truth = without(truth, self.sight.area.on(grid) == 0)
        if self._earlier is not None:
            truth = without(truth, self._earlier.on(grid) != NODATA)
        return BitView(
            (grid.shape[0], grid.shape[1]),
            truth,
            {name: _bits(layer, grid) for name, layer in self._layers.items()},
            {kind: units.on(grid) for kind, units in self.sight.zones.items() if units is not None},
        )

    def _own_ground(self, truth: Codes, grid: GeoBox) -> Codes:
        """The truth without what lies outside the area or is counted with another raster."""
        if self.sight.area is not None:
            truth = np.where(self.sight.area.on(grid) > 0, truth, np.uint8(NODATA))
        if self._earlier is not None:
            truth = np.where(self._earlier.on(grid) == NODATA, truth, np.uint8(NODATA))
        return truth


def _enter(stack: ExitStack, product: Product) -> ClassMap | None:
    """A product's layer, open; None if it has no file here."""
    if not product.files:
        return None
    layer: ClassMap = stack.enter_context(product.shares() if product.fractional else product.classes())
    return layer


def _see(layer: ClassMap | LabelPolygons | None, grid: GeoBox) -> tuple[Codes, NDArray[np.float32] | None]:
    """Classes, and shares where the layer has them."""
    if layer is None:
        return np.full(grid.shape, NODATA, np.uint8), None
    values: NDArray[Any] = layer.on(grid)
    if values.dtype.kind != "f":
        return values, None
    return _codes(values), values


def _codes(values: NDArray[Any]) -> Codes:
    """Classes of classes or shares."""
    if values.dtype.kind != "f":
        return values
    return np.where(np.isnan(values), NODATA, values >= HALF).astype(np.uint8)


def _bits(layer: ClassMap | LabelPolygons | None, grid: GeoBox) -> Bits:
    """The same as bits; pixels of a coarser raster are repeated as bits, not as bytes."""
    if isinstance(layer, ClassMap):
        if (stored := layer.stored(grid)) is not None:
            bits = packed_strips(stored, (grid.shape[0], grid.shape[1]))
            if bits.strange:
                layer.on(grid)  # refuses it
            return bits
        if (found := layer.cells(grid)) is not None:
            values, factor = found
            return repeated(packed(_codes(values)), factor, grid.shape[1])
    return packed(_see(layer, grid)[0])


def _common(
    truth: Codes, classes: Mapping[str, Codes], inner: tuple[slice, slice]
) -> tuple[Codes, dict[str, int]]:
    """The truth on the ground that all products know, and how many pixels each of them knows of it."""
    whole = _known_pixels(truth[inner])
    coverage, common = {"": whole}, truth
    for name, codes in classes.items():
        coverage[name] = whole
        if codes.max(initial=0) == NODATA:
            gaps = (codes.view(np.int8) >> 7).view(np.uint8)  # 255 where it is unknown, else 0
            both = truth | gaps
            coverage[name] = _known_pixels(both[inner])
            common = both if common is truth else common | gaps
    return common, coverage


def _known_pixels(codes: Codes) -> int:
    return int(np.count_nonzero(codes != NODATA)) if codes.max(initial=0) == NODATA else codes.size


def _percent_layer(stack: ExitStack, product: Product) -> ClassMap | None:
    """The probability rasters beside a map, where there are any."""
    beside = [p.with_name(p.name.removesuffix(CLASSES.suffix) + PROBABILITY.suffix) for p in product.files]
    there = [path for path in beside if path.is_file()]
    if not there:
        return None
    layer: ClassMap = stack.enter_context(ClassMap(there, _percent))
    return layer


def _percent(values: NDArray[Any]) -> Codes:
    return np.where(values > PERCENT, NODATA, values).astype(np.uint8)
