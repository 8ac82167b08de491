"""Products that are compared: maps of this program, published products, label rasters. Names, files and codes."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import cos, log, radians
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain import references
from isamap.domain.lonlat import LONLAT, M_PER_DEGREE, cut_at_180, transformer
from isamap.domain.overview import places
from isamap.domain.product import NODATA
from isamap.domain.reference import Reference, from_classes
from isamap.errors import InputError, MissingInputError
from isamap.io.classmap import ClassMap, map_files
from isamap.io.guard import one_line, open_raster
from isamap.io.placing import check_position, geobox_of, ground_size_m, utm_grid

logger = logging.getLogger(__name__)

ROUND_GSD_M = (1, 2, 5, 10, 30, 100, 250, 500, 1000)
SQUARE = 1e-6
EDGE_POINTS, WIDER_DEG = 16, 1e-4
WIDER = 1.5
"""A corner lies further off than a side."""
MOST_NORTH = 89.0
"""Nearer to a pole than this, degrees of longitude are no measure."""
NAME_IT = "name the product (worldcover-v200=FILE), or say which codes are ISA with --classes"
"""What helps where products are given by name."""
REMOTE = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
"""Beginning of an address; a path library may have made one slash of two."""
OFFSET_PX = 0.01
"""Grids that differ by less are the same."""
ISA = "isa"
"""Kind of a map coded as ours are: 0, 1, 255."""


@dataclass(frozen=True)
class Product:
    """A classified product; small enough to be sent to a worker."""

    name: str
    """In tables; unique in a comparison."""
    files: tuple[Path, ...]
    """Its rasters."""
    kind: str = ISA
    """`isa`, a row of `references.REFERENCES`, or the codes given with --classes."""

    def reference(self) -> Reference | None:
        """Its row in the table of references."""
        if self.kind == ISA:
            return None
        known = references.REFERENCES.get(self.kind)
        return known or from_classes(self.kind)

    @property
    def fractional(self) -> bool:
        """Whether its values are impervious shares."""
        row = self.reference()
        return row is not None and row.fractional

    def classes(self) -> ClassMap:
        """Its classes: uint8 0, 1, 255. Enter it before reading."""
        row = self.reference()
        if row is None:
            return ClassMap(self.files, partial(isa_codes, self.name), coded=True)
        return ClassMap(self.files, partial(table_codes, row), unknown=row.nodata)

    def shares(self) -> ClassMap:
        """Its shares: float32, NaN where unknown."""
        row = self.reference()
        assert row is not None
        return ClassMap(self.files, row.share, unknown=row.nodata)

    def near(self, files: Sequence[Path]) -> "Product":
        """The product with some of its files only."""
        return Product(self.name, tuple(files), self.kind)


def table_codes(row: Reference, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of a product of the table; codes that it does not define are unknown, and said to be."""
    classes = row.isa(values)
    if np.isnan(row.others):
        there = _codes_in(values[classes == NODATA])
        odd = [code for code in there if code not in (*row.share_of, *row.nodata, NODATA)]
        if odd:
            _warn_of_codes(row.name, tuple(odd[:5]))
    return classes


def _codes_in(values: NDArray[Any]) -> list[Any]:
    """Every value that occurs, ascending, NaN left out."""
    if values.dtype == np.uint8:
        return list(np.flatnonzero(np.bincount(values, minlength=256)).tolist())
    return list(np.unique(values[~np.isnan(values)]).tolist())


@cache
def _warn_of_codes(name: str, codes: tuple[float, ...]) -> None:
    logger.warning(
        "%s does not define the codes %s: taken as unknown", name, ", ".join(f"{c:g}" for c in codes)
    )


def isa_codes(name: str, values: NDArray[Any], advice: str = NAME_IT) -> NDArray[np.uint8]:
    """Values of a map coded as ours.

    Args:
        name: for messages.
        values: of any type.
        advice: what the user can do about other codes.

    Raises:
        InputError: it has other values than 0, 1 and 255.
    """
    if values.dtype == np.uint8:
        if values.max(initial=0) < 2 or (values + np.uint8(1)).max() <= 2:  # 255 wraps round to 0
            return values
        odd = values + np.uint8(1) > 2
    else:
        odd = (values != 0) & (values != 1) & (values != NODATA)
    if odd.any():
        found = ", ".join(str(value) for value in np.unique(values[odd])[:5])
        raise InputError(f"{name} has the values {found}, but ISA maps have 0, 1 and 255: {advice}")
    return values.astype(np.uint8, copy=False)


def check_local(text: str) -> None:
    """Refuse addresses.

    Raises:
        MissingInputError: it is one, and no file here is called so.
    """
    if REMOTE.match(text) and not Path(text).exists():
        raise MissingInputError(f"{text} is an address: remote files are not read, download it first")


def parse_product(text: str, classes: Mapping[str, str] | None = None, default: str | None = None) -> Product:
    """`NAME=PATH` or `PATH`. A name from the table of references says how the values are coded.

    Args:
        text: what the user wrote.
        classes: codes that are ISA, by name, for products that are not in the table.
        default: such codes for this one.

    Raises:
        MissingInputError: there is nothing at the path, or it is an address.
        ConfigError: the classes cannot be read.
    """
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        name, path = "", text
    check_local(path)
    folder = Path(path)
    files = map_files(folder)
    kind = (classes or {}).get(name or folder.stem, default)
    if kind is not None:
        from_classes(kind)  # refuses what it cannot read
        return Product(name or folder.stem, files, kind)
    if name in references.REFERENCES:
        if not references.REFERENCES[name].verified:
            logger.warning("%s: %s", name, references.REFERENCES[name].note)
        return Product(name, files, name)
    return Product(name or folder.stem, files)


@dataclass(frozen=True)
class Footprints:
    """Where the rasters of a product lie."""

    files: tuple[Path, ...]
    """In their order."""
    boxes: tuple[Any, ...]
    """Lon/lat polygon of each file."""
    grids: tuple[GeoBox, ...]
    """`grid_of` each file."""

    @property
    def gsd_m(self) -> float:
        """The smallest pixel size."""
        return min(abs(float(grid.resolution.x)) for grid in self.grids)

    def within(self, other: "Footprints") -> bool:
        """Whether all of it lies where another product has rasters, to a metre."""
        own, others = (shapely.union_all(one.boxes) for one in (self, other))
        return bool(shapely.covers(shapely.buffer(others, -0.9 * WIDER_DEG), shapely.buffer(own, -WIDER_DEG)))

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.boxes)

    def near(self, grid: GeoBox, reach_m: float = 0) -> tuple[Path, ...]:
        """Files that may have pixels on a grid, or as far as this beside it, in their order."""
        return self.touching(outline(grid), reach_m)

    def touching(self, area: Any, reach_m: float = 0) -> tuple[Path, ...]:
        """The same of a lon/lat polygon."""
        found = sorted(self._tree.query(widened(area, reach_m), predicate="intersects").tolist())
        return tuple(self.files[index] for index in found)


def widened(area: Any, reach_m: float) -> Any:
    """A lon/lat polygon, at least so much wider to all sides, corners of squares included."""
    if not reach_m or shapely.is_empty(area):
        return area
    reach_deg = WIDER * reach_m / M_PER_DEGREE
    _, south, _, north = shapely.bounds(area)
    furthest = min(max(-south, north) + reach_deg, MOST_NORTH)
    return shapely.buffer(
        area, reach_deg / cos(radians(furthest))
    )  # degrees of longitude are the shorter ones


def clipped(ground: BaseGeometry | None, box: Any, reach_m: float = 0) -> BaseGeometry | None:
    """What lies of a lon/lat polygon over a raster's box and as far as this around it: a region's outline is long."""
    if ground is None:
        return None
    return shapely.make_valid(shapely.clip_by_rect(ground, *shapely.bounds(widened(box, reach_m))))


def outline(grid: GeoBox) -> Any:
    """Lon/lat polygon of a grid, a little wider than it is; empty where its CRS cannot show the place."""
    height, width = grid.shape
    along, zeros = np.arange(EDGE_POINTS) / EDGE_POINTS, np.zeros(EDGE_POINTS)
    cols = width * np.concatenate([along, zeros + 1, 1 - along, zeros])
    rows = height * np.concatenate([zeros, along, zeros + 1, 1 - along])
    x, y = places(grid.transform, cols, rows)
    ring = np.stack(transformer(str(grid.crs), LONLAT).transform(x, y), axis=1)
    if not np.isfinite(ring).all():
        return shapely.Polygon()
    return shapely.buffer(cut_at_180(shapely.polygons(ring), jumps=grid.crs != LONLAT), WIDER_DEG)


def footprints(product: Product) -> Footprints:
    """Read the headers of all files of a product."""
    boxes, grids = [], []
    for path in product.files:
        with open_raster(path) as src:
            check_position(src)
            own = geobox_of(src)
            grids.append(_true_grid(src, own))
            boxes.append(outline(own))
    return Footprints(product.files, tuple(boxes), tuple(grids))


def grid_of(path: Path) -> GeoBox:
    """Square pixels in true metres on which a map is compared: its own, or those of the local UTM zone.

    Raises:
        InputError: it has a CRS in metres, but no square pixels.
    """
    with open_raster(path) as src:
        check_position(src)
        return _true_grid(src, geobox_of(src))


def _true_grid(src: Any, grid: GeoBox) -> GeoBox:
    """Such pixels of an open raster whose own grid is given."""
    size_m = ground_size_m(grid)
    if size_m is not None:
        gsd_m = min(ROUND_GSD_M, key=lambda gsd: abs(log(gsd / size_m)))
        logger.info("%s is compared on UTM pixels of %d m", one_line(src.name), gsd_m)
        return utm_grid(src, gsd_m)
    x, y = abs(grid.resolution.x), abs(grid.resolution.y)
    if abs(x - y) > SQUARE * x:
        raise InputError(
            f"{one_line(src.name)} has pixels of {x:g} x {y:g}: reproject it to square ones first"
        )
    return grid


def tell_of_offset(mine: Footprints, map_places: Footprints) -> None:
    """Say in the log that a raster lies a part of a pixel beside the map's, so that it is warped."""
    for path, own in zip(mine.files, mine.grids, strict=True):
        for grid in map_places.grids:
            a, _, c, _, e, f = (~own.transform * grid.transform)[:6]
            off = abs(c - round(c)), abs(f - round(f))
            if own.crs == grid.crs and abs(a - 1) + abs(e - 1) < SQUARE and max(off) > OFFSET_PX:
                logger.info(
                    "%s lies %.2f and %.2f of a pixel beside the map's pixels: it is brought to them",
                    *(one_line(path), *off),
                )
                return
