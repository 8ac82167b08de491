"""Windows of ground as every product and the truth see them, ready to be counted."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.bits import BYTE_PX, Bits, packed, unpacked, without
from isamap.domain.evaluation import BOUNDARY, CALIBRATION, DISTANCES_M, MEASURES, density_zones
from isamap.domain.grid import Window, crop
from isamap.domain.product import CLASSES, NODATA, PROBABILITY
from isamap.domain.view import View
from isamap.io.class_bits import bits_of, codes_of
from isamap.io.classmap import ClassMap
from isamap.io.label_polygons import LabelPolygons
from isamap.io.products import Product
from isamap.io.raster_zones import ZoneLayer
from isamap.io.zones import Polygons

DENSITY = "density"
PERCENT = 100


@dataclass(frozen=True)
class Sight:
    """What is to be seen in one place."""

    products: tuple[Product, ...]
    """With the files that lie there; the first is the one that is drawn."""
    truth: Product | LabelPolygons
    """What they are held against, with the files that lie there."""
    zones: Mapping[str, ZoneLayer | None]
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
        halo = _halo_px(gsd_m) if BOUNDARY in self.sight.measures else 0
        outer = crop(grid, Window(0, 0, *grid.shape).padded(halo))
        truth = self._own_ground(_bits(self._truth, outer), outer)
        shape = (grid.shape[0], grid.shape[1])
        if truth.known is not None and not truth.known.any():
            return View(gsd_m, shape, truth, {})
        shares = {name: self._share(layer, outer) for name, layer in self._layers.items()}
        truth_share = self._share(self._truth, outer)
        inner = slice(halo, halo + shape[0]), slice(halo, halo + shape[1])
        view = View(
            gsd_m,
            shape,
            truth,
            {name: _bits(layer, outer) for name, layer in self._layers.items()},
            (grid.transform.c, grid.transform.f),
            halo,
            share={name: share[inner] for name, share in shares.items() if share is not None},
            truth_share=None if truth_share is None else truth_share[inner],
            percent={} if self._percent is None else {self.sight.products[0].name: self._percent.on(grid)},
            zones={kind: units.on(grid) for kind, units in self.sight.zones.items() if units is not None},
            thin_px=thin_px,
        )
        dense = [kind for kind, units in self.sight.zones.items() if units is None]
        if not dense:
            return view
        density = density_zones(unpacked(truth.on(view.known), *view.window), gsd_m)
        return replace(view, zones={kind: view.zones.get(kind, density) for kind in self.sight.zones})

    def _share(self, layer: ClassMap | LabelPolygons | None, grid: GeoBox) -> NDArray[np.float32] | None:
        """ISA shares of a layer that has them."""
        if not isinstance(layer, ClassMap) or not layer.fractional:
            return None
        return layer.on(grid)

    def _own_ground(self, truth: Bits, grid: GeoBox) -> Bits:
        """The truth without what lies outside the area or is counted with another raster."""
        if self.sight.area is not None:
            truth = without(truth, self.sight.area.on(grid) == 0)
        if self._earlier is not None:
            truth = without(truth, codes_of(self._earlier.on(grid)) != NODATA)
        return truth


def _enter(stack: ExitStack, product: Product) -> ClassMap | None:
    """A product's layer, open; None if it has no file here."""
    if not product.files:
        return None
    layer: ClassMap = stack.enter_context(product.shares() if product.fractional else product.classes())
    return layer


def _bits(layer: ClassMap | LabelPolygons | None, grid: GeoBox) -> Bits:
    """What a layer says; nothing where there is none."""
    if isinstance(layer, ClassMap):
        return bits_of(layer, grid)
    return packed(np.full(grid.shape, NODATA, np.uint8) if layer is None else layer.on(grid))


def _halo_px(gsd_m: float) -> int:
    """Pixels beside a window that its widest boundary sees, in whole bytes of bits."""
    return -(-round(max(DISTANCES_M) / gsd_m) // BYTE_PX) * BYTE_PX


def _percent_layer(stack: ExitStack, product: Product) -> ClassMap | None:
    """The probability rasters beside a map, where there are any."""
    beside = [p.with_name(p.name.removesuffix(CLASSES.suffix) + PROBABILITY.suffix) for p in product.files]
    there = [path for path in beside if path.is_file()]
    if not there:
        return None
    layer: ClassMap = stack.enter_context(ClassMap(there, _percent))
    return layer


def _percent(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.where(values > PERCENT, NODATA, values).astype(np.uint8)
