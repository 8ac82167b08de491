"""`isamap evaluate`: maps against a truth that covers ground (a product, a label raster or label polygons)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product as pairs
from pathlib import Path

from shapely.geometry.base import BaseGeometry

from isamap.domain.accuracy import Confusion
from isamap.domain.evaluation import CONFUSION, MEASURES, Tally, count
from isamap.domain.lonlat import LONLAT
from isamap.engine import LOCAL, Engine, local
from isamap.engine.order import run_in_order
from isamap.engine.pages import keep_pages
from isamap.engine.stream import stream
from isamap.errors import ConfigError, InputError, IsamapError
from isamap.io.footprints import Footprints, footprints, tell_of_offset
from isamap.io.label_area import known_m2
from isamap.io.label_polygons import LabelPolygons, labels_of
from isamap.io.partition import Part, squares, strips
from isamap.io.products import Product, check_local, parse_product
from isamap.io.raster_zones import RASTERS, ZoneLayer, strata_layer
from isamap.io.same_ground import tell_of_dates
from isamap.io.views import DENSITY, Eyes, Sight
from isamap.io.zones import Polygons, Source, source_of, whole_path, zones_of
from isamap.progress import Progress

log = logging.getLogger(__name__)

LABEL_GSD_M = 1.0
"""Pixels on which polygons are compared."""


@dataclass(frozen=True)
class Truth:
    """What the maps are held against: one of the two."""

    product: Product | None = None
    """A raster."""
    labels: Source | None = None
    """Polygons, with 1 for ISA and 0 in a column; without a column they are ISA, and nothing else is known."""
    published: bool = False
    """Whether the raster is a product of its own, of which the maps are expected to show a part."""


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where it is told apart."""

    products: tuple[Product, ...]
    """The first one's rasters say where."""
    truth: Truth
    """What they are held against."""
    strata: str | None = None
    """`density`, a vector file (FILE[:LAYER][:COLUMN]), or a raster of codes."""
    units: str | None = None
    """`provinces`, `prefectures`, or a vector file."""
    area: BaseGeometry | None = None
    """Lon/lat polygon outside of which nothing counts."""
    measures: tuple[str, ...] = MEASURES
    """What is counted."""
    overlap: bool = False
    """Whether zones may share ground."""

    @property
    def matrices_alone(self) -> bool:
        """Whether windows may be those of the rasters: nothing needs blocks that are anchored to round coordinates."""
        return not set(self.measures) - {CONFUSION} and self.strata != DENSITY

    def anywhere(self) -> "Comparison":
        """The same with whole paths, for workers that run in another folder."""
        truth = Truth(
            self.truth.product and _anywhere(self.truth.product),
            self.truth.labels and replace(self.truth.labels, path=self.truth.labels.path.absolute()),
            self.truth.published,
        )
        products = tuple(map(_anywhere, self.products))
        strata = self.strata if self.strata == DENSITY else self.strata and whole_path(self.strata)
        units = self.units and whole_path(self.units)
        return replace(self, products=products, truth=truth, strata=strata, units=units)

    def without_ground(self) -> "Comparison":
        """The same without files and area: every part has its own, and the whole would be sent with each."""
        truth = replace(self.truth, product=self.truth.product and self.truth.product.near(()))
        products = tuple(product.near(()) for product in self.products)
        return replace(self, products=products, truth=truth, area=None)


def _anywhere(product: Product) -> Product:
    return product.near([path.absolute() for path in product.files])


def run(comparison: Comparison, how: Engine = LOCAL) -> Tally:
    """Count everything; rasters are counted by themselves, and added up in their order.

    Raises:
        InputError: the truth does not lie on the maps, a product cannot be compared, or some rasters cannot
            be read: the rest would be no whole.
        IsamapError: a raster has killed its workers.
    """
    if how.kind != "local":
        comparison = comparison.anywhere()
    places = _places(comparison)
    parts = _parts(comparison, places)
    work = partial(evaluate_part, comparison.without_ground())
    tally = Tally()
    faults: dict[str, IsamapError] = {}
    with Progress(len(parts), "map", "evaluate", show=len(parts) > 1) as bar:
        for outcome in run_in_order(parts, work, how):
            if outcome.result is not None:
                tally += outcome.result
            else:
                fault = _fault(outcome)
                faults.setdefault(str(fault), fault)
            bar.advance()
    _raise(list(faults.values()))
    _check(comparison, tally)
    _list_zones(comparison, tally)
    tally.truth_m2 = _truth_m2(comparison, tally, places, parts)
    return tally


def _truth_m2(
    comparison: Comparison, tally: Tally, places: Mapping[str, Footprints], parts: Sequence[Part]
) -> float | None:
    """Ground that all label rasters know. Where they lie on the map as a whole, it has been counted already: once, where
    no part leaves ground to another.
    """
    truth, maps = comparison.truth, places[comparison.products[0].name]
    if truth.product is None or truth.published:
        return None
    apart = not any(part.earlier for part in parts)
    if apart and comparison.area is None and places[""].within(maps):
        return tally.covered_m2[""]
    return known_m2(truth.product)


def _fault(outcome: local.Outcome[Part, Tally]) -> IsamapError:
    """Why a raster was not counted; what a reader says of it has its name already."""
    fault = outcome.fault or IsamapError("ended without a result")
    return IsamapError(f"{outcome.job}: {fault}") if type(fault) is IsamapError else fault


def _raise(faults: Sequence[IsamapError]) -> None:
    """One fault as it is; of several the kind of the first, after the log has named them all."""
    if len(faults) > 1:
        for fault in faults:
            log.error("%s", fault)
        raise type(faults[0])(f"{len(faults)} rasters could not be read: the log names them")
    if faults:
        raise faults[0]


def _check(comparison: Comparison, tally: Tally) -> None:
    """Refuse comparisons of nothing; say what makes figures doubtful."""
    if not tally.coverage.get(""):
        raise InputError("no pixel is known to both map and truth: they lie apart, or all is nodata")
    for product in comparison.products:
        if not tally.coverage.get(product.name):
            raise InputError(
                f"{product.name} knows no pixel of the truth on the maps: it lies elsewhere, or all is nodata"
            )
    matrix = tally.confusion.get((comparison.products[0].name, "", ""))
    if matrix is None or not matrix.total:
        raise InputError(
            "no pixel is known to the truth and to all products at once: compare fewer at a time"
        )
    for kind in ("strata", "units"):
        wanted = getattr(comparison, kind)
        if wanted and not any(found == kind for _, found, _ in tally.confusion):
            raise InputError(f"--{kind} {wanted}: nothing of it lies on the compared ground")


def _list_zones(comparison: Comparison, tally: Tally) -> None:
    """Zones of a file that nothing was counted in, without figures."""
    for kind, text in (("strata", comparison.strata), ("units", comparison.units)):
        if (
            text
            and text != DENSITY
            and (zones := strata_layer(text, allow_overlap=comparison.overlap)).listed
        ):
            for name, product in pairs(zones.names.values(), comparison.products):
                tally.confusion.setdefault((product.name, kind, name), Confusion())


def _places(comparison: Comparison) -> dict[str, Footprints]:
    """Where the rasters of every product lie, by name, and those of the truth under `""`."""
    products = {product.name: product for product in comparison.products}
    if len(products) < len(comparison.products):
        raise InputError("two products have the same name: give them names (NAME=PATH)")
    places = {name: footprints(product) for name, product in products.items()}
    for name, product in products.items():
        tell_of_dates(product, places[name])
    if comparison.truth.product is not None:
        places[""] = footprints(comparison.truth.product)
        tell_of_offset(places[""], places[comparison.products[0].name])
    return places


def _parts(comparison: Comparison, places: dict[str, Footprints]) -> list[Part]:
    """The windows to be counted, by raster of the first product; windows without truth are left out."""
    finest_m = min(place.gsd_m for place in places.values())
    if "" not in places:
        finest_m = min(finest_m, LABEL_GSD_M)
    cut = strips if comparison.matrices_alone else squares
    first = comparison.products[0].name
    parts = cut(first, places, finest_m, comparison.area)
    if not parts and comparison.area is not None and cut(first, places, finest_m):
        raise InputError("the maps that the truth lies on are outside the area")
    if not parts:
        raise InputError("the truth lies on none of the maps: check that both are of the same place")
    return parts


def evaluate_part(comparison: Comparison, part: Part) -> Tally:
    """The tally of some windows."""
    keep_pages()
    tally = Tally()

    def add(found: Tally) -> None:
        nonlocal tally
        tally += found

    with Eyes(_sight(comparison, part)) as eyes:
        if comparison.matrices_alone:
            for grid in part.windows:  # one thread: decoding is most of the work
                add(count(eyes.view(grid), comparison.measures))
        else:
            read, compute = (
                partial(eyes.view, thin_px=part.thin_px),
                partial(count, measures=comparison.measures),
            )
            stream(part.windows, read, compute, add)
    return tally


def _sight(comparison: Comparison, part: Part) -> Sight:
    """What there is to see on a part."""
    truth = comparison.truth
    zones: dict[str, ZoneLayer | None] = {}
    if comparison.strata:
        density = comparison.strata == DENSITY
        zones["strata"] = (
            None if density else strata_layer(comparison.strata, allow_overlap=comparison.overlap)
        )
    if comparison.units:
        zones["units"] = zones_of(comparison.units, allow_overlap=comparison.overlap)
    if truth.product is None:
        assert truth.labels is not None
        seen: Product | LabelPolygons = labels_of(truth.labels)
    else:
        seen = truth.product.near(part.files[""])
    products = tuple(product.near(part.files[product.name]) for product in comparison.products)
    area = None if part.area is None else Polygons([part.area], [1], LONLAT)
    return Sight(products, seen, zones, area, part.earlier, comparison.measures)


def parse_truth(reference: str | None, classes: Mapping[str, str], labels: str | None) -> Truth:
    """The truth that the command line names: a product, a label raster, or `FILE[:LAYER][:COLUMN]` of polygons.

    Args:
        reference: `NAME=PATH` or `PATH`.
        classes: ISA codes by product name; those of the truth under `""`.
        labels: raster, folder of rasters, or polygons.
    """
    if reference:
        return Truth(parse_product(reference, classes, default=classes.get("")), published=True)
    assert labels is not None
    check_local(labels)
    if Path(labels).is_dir() or Path(labels).suffix.lower() in RASTERS:
        return Truth(parse_product(labels, default=classes.get("")))
    if "" in classes:
        raise ConfigError(
            f"{labels} are polygons, and --classes is about rasters: name a column, FILE:COLUMN"
        )
    return Truth(labels=source_of(labels))
