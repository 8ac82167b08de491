"""`isamap evaluate`: maps against a truth that covers ground (a product, a label raster or label polygons)."""

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from shapely.geometry.base import BaseGeometry

from isamap.domain.evaluation import Tally, count
from isamap.domain.lattice import Cell, Lattice, lattice_of
from isamap.domain.lonlat import LONLAT
from isamap.engine import local
from isamap.engine.stream import stream
from isamap.errors import InputError
from isamap.io.products import Footprints, Product, footprints, grid_of, parse_product
from isamap.io.views import DENSITY, Eyes, Sight
from isamap.io.zones import Polygons, Units, open_labels, open_units
from isamap.progress import Progress

log = logging.getLogger(__name__)

PICTURE_PX = 1200
LABEL_GSD_M = 1.0
"""Pixels on which polygons are compared."""
RASTERS = (".tif", ".tiff", ".jp2", ".vrt", ".img")


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
    """The first one's rasters say where."""
    truth: Truth
    """What they are held against."""
    strata: str | None = None
    """`density`, or a vector file (FILE or FILE:COLUMN)."""
    units: str | None = None
    """`provinces`, `prefectures`, or a vector file."""
    area: BaseGeometry | None = None
    """Lon/lat polygon outside of which nothing counts."""


@dataclass(frozen=True)
class Part:
    """Windows that are counted together, and the files that lie on them."""

    name: str
    """For messages."""
    lattice: Lattice
    """Of the windows."""
    cells: tuple[Cell, ...]
    """Which windows."""
    files: Mapping[str, tuple[Path, ...]]
    """By product; the truth's under `""`."""
    earlier: tuple[Path, ...]
    """Files of the first product that are counted on another lattice and may lie here too."""
    thin_px: int = 0
    """Thinning of the picture of this part; 0: none is drawn."""


def run(comparison: Comparison, workers: int = 1) -> Tally:
    """Count everything.

    Raises:
        InputError: the truth does not lie on the maps, a product cannot be compared, or some rasters cannot
            be read: the rest would be no whole.
    """
    parts = _parts(comparison)
    tally = Tally()
    faults: dict[str, InputError] = {}
    with Progress(len(parts), "map", "evaluate", show=len(parts) > 1) as bar:
        for outcome in local.run(parts, partial(evaluate_part, comparison), workers):
            if outcome.fault is not None:
                faults.setdefault(str(outcome.fault), InputError(str(outcome.fault)))
            elif outcome.result is not None:
                tally += outcome.result
            bar.advance()
    if len(faults) == 1:
        raise next(iter(faults.values()))
    for text in faults:
        log.error("%s", text)
    if faults:
        raise InputError(f"{len(faults)} rasters could not be read: the log names them")
    _check(comparison, tally)
    return tally


def _check(comparison: Comparison, tally: Tally) -> None:
    """Refuse comparisons of nothing; say what makes figures doubtful."""
    if not tally.coverage.get(""):
        raise InputError("no pixel is known to both map and truth: they lie apart, or all is nodata")
    for product in comparison.products:
        if not tally.coverage.get(product.name):
            raise InputError(
                f"{product.name} knows no pixel of the truth: it lies elsewhere, or all is nodata"
            )
    matrix = tally.confusion.get((comparison.products[0].name, "", ""))
    if matrix is None or not matrix.total:
        raise InputError(
            "no pixel is known to the truth and to all products at once: compare fewer at a time"
        )
    for kind in ("strata", "units"):
        wanted = getattr(comparison, kind)
        if wanted and not any(found == kind for _, found, _ in tally.confusion):
            raise InputError(f"--{kind} {wanted}: none of its polygons lies on the compared ground")


def _parts(comparison: Comparison) -> list[Part]:
    """The windows to be counted, by raster of the first product; windows without truth are left out."""
    products = {product.name: product for product in comparison.products}
    if len(products) < len(comparison.products):
        raise InputError("two products have the same name: give them names (NAME=PATH)")
    truth = comparison.truth.product
    places = {name: footprints(product) for name, product in products.items()}
    finest_m = min([place.gsd_m for place in places.values()])
    finest_m = min(finest_m, LABEL_GSD_M)
    if truth is not None:
        places[""] = footprints(truth)
        finest_m = min(place.gsd_m for place in places.values())
    parts = _cut(comparison.products[0], places, finest_m)
    if not parts:
        raise InputError("the truth lies on none of the maps: check that both are of the same place")
    return parts


def _cut(first: Product, places: Mapping[str, Footprints], finest_m: float) -> list[Part]:
    """Parts of the first product; every window belongs to the first raster that lies on it."""
    parts: list[Part] = []
    taken: defaultdict[Lattice, set[Cell]] = defaultdict(set)
    lattices: dict[Path, Lattice] = {}
    for path in first.files:
        grid = grid_of(path)
        lattice = lattices[path] = lattice_of(grid, finest_m)
        cells = tuple(cell for cell in lattice.cells(grid) if cell not in taken[lattice])
        taken[lattice].update(cells)
        files = {name: place.near(grid, lattice.side_m) for name, place in places.items()}
        if cells and files.get("", (path,)):
            earlier = tuple(p for p in files[first.name] if lattices.get(p, lattice) != lattice)
            side_px = max(grid.shape) * abs(grid.resolution.x) / lattice.gsd_m
            thin_px = 0 if parts else _thinning(side_px, lattice.side_px)
            parts.append(Part(str(path), lattice, cells, files, earlier, thin_px))
    return parts


def _thinning(side_px: float, window_px: int) -> int:
    """The smallest divisor of the window's side that makes a picture of at most `PICTURE_PX`."""
    divisors = (n for n in range(1, window_px + 1) if window_px % n == 0)
    return next((n for n in divisors if side_px <= n * PICTURE_PX), window_px)


def evaluate_part(comparison: Comparison, part: Part) -> Tally:
    """The tally of some windows."""
    tally = Tally()

    def add(found: Tally) -> None:
        nonlocal tally
        tally += found

    with Eyes(_sight(comparison, part)) as eyes:
        stream(part.cells, lambda cell: eyes.view(part.lattice.grid(cell), part.thin_px), count, add)
    return tally


def _sight(comparison: Comparison, part: Part) -> Sight:
    """What there is to see on a part."""
    truth = comparison.truth
    zones: dict[str, Units | None] = {}
    if comparison.strata:
        zones["strata"] = None if comparison.strata == DENSITY else open_zones(comparison.strata)
    if comparison.units:
        zones["units"] = open_zones(comparison.units)
    if truth.product is not None:
        seen = truth.product.near(part.files[""])
        return Sight(_products(comparison, part), seen, zones, _area(comparison), part.earlier)
    assert truth.labels is not None
    labels = open_labels(truth.labels, truth.column)
    return Sight(_products(comparison, part), labels, zones, _area(comparison), part.earlier)


def _products(comparison: Comparison, part: Part) -> tuple[Product, ...]:
    return tuple(product.near(part.files[product.name]) for product in comparison.products)


def _area(comparison: Comparison) -> Polygons | None:
    return None if comparison.area is None else Polygons([comparison.area], [1], LONLAT)


def open_zones(text: str) -> Units:
    """`FILE`, `FILE:COLUMN` or a packaged level."""
    path, colon, column = text.rpartition(":")
    if colon and not Path(text).exists():
        return open_units(path, column)
    return open_units(text)


def parse_truth(reference: str | None, classes: Mapping[str, str], labels: str | None) -> Truth:
    """The truth that the command line names: a product, a label raster, or `FILE[:COLUMN]` of polygons.

    Args:
        reference: `NAME=PATH` or `PATH`.
        classes: ISA codes by product name; those of the reference under `""`.
        labels: raster, folder of rasters, or polygons.
    """
    if reference:
        return Truth(parse_product(reference, classes, default=classes.get("")))
    assert labels is not None
    if Path(labels).is_dir() or Path(labels).suffix.lower() in RASTERS:
        return Truth(parse_product(labels))
    path, colon, column = labels.rpartition(":")
    if not colon or Path(labels).exists():
        path, column = labels, ""
    return Truth(labels=Path(path), column=column or None)
