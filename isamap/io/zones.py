"""Polygons as pixels: administrative units, strata and labels on the grid that is asked for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from isamap import digests
from isamap.domain.lonlat import LONLAT, as_crs, into_crs, near_longitude, transformer
from isamap.domain.unit_names import WHOLE, filled, name_of, repeated_name, told_apart
from isamap.domain.view import Zones
from isamap.errors import InputError
from isamap.io.vector import Features, file_and_layer, files_of, layer_names, load_gazetteer, read_polygons

log = logging.getLogger(__name__)

UNIT_FIELDS = ("name", "name_en", "NAME", "id")
"""Columns that are tried, in this order, when nobody names one."""
LEVELS = {"provinces": "province", "prefectures": "prefecture"}
"""Packaged units of the Yangtze River Economic Belt, and what their regions are."""
SLIVER = 0.01
"""Share of the smaller of two polygons up to which they may overlap: borders are not drawn to the centimetre."""


@dataclass
class Polygons:
    """Polygons with a code each, burnt onto grids; of overlapping ones the last wins."""

    geometries: Sequence[BaseGeometry]
    """In `crs`."""
    codes: Sequence[int]
    """One per geometry, above 0."""
    crs: str
    """Of the geometries."""
    _trees: dict[str, shapely.STRtree] = field(default_factory=dict)

    def meet(self, grid: GeoBox) -> bool:
        """Whether any of them lies on a grid."""
        return len(self._tree(grid).query(shapely.box(*grid.boundingbox.bbox), predicate="intersects")) > 0

    def on(self, grid: GeoBox) -> NDArray[np.int32]:
        """Code of the polygon over each pixel's centre `(y, x)`, 0 where there is none."""
        tree = self._tree(grid)
        box = shapely.box(*grid.boundingbox.bbox)
        found = sorted(tree.query(box, predicate="intersects").tolist())
        parts = [(tree.geometries[index], int(self.codes[index])) for index in found]
        if len(parts) == 1 and parts[0][0].contains(box):
            return _everywhere(parts[0][1], grid)
        if not parts:
            return _everywhere(0, grid)
        burnt: NDArray[np.int32] = rasterize(parts, grid.shape, transform=grid.transform, dtype="int32")
        return burnt

    def _tree(self, grid: GeoBox) -> shapely.STRtree:
        """The polygons in the grid's CRS, indexed; made once per CRS and part of the world."""
        crs, around = str(grid.crs), self._longitude(grid)
        key = f"{crs} {around}"
        if key not in self._trees:
            near = self.geometries if around is None else near_longitude(self.geometries, around)
            self._trees[key] = shapely.STRtree(into_crs(near, self.crs, crs))
        return self._trees[key]

    @cached_property
    def _in_degrees(self) -> bool:
        return bool(as_crs(self.crs).is_geographic)

    def _longitude(self, grid: GeoBox) -> int | None:
        """Longitude of a projected grid, to 10 degrees; None where lon/lat polygons need not be cut to what is near it."""
        if grid.crs is None or grid.crs.geographic or not self._in_degrees:
            return None
        x, y = (sum(sides) / 2 for sides in (grid.boundingbox.bbox[0::2], grid.boundingbox.bbox[1::2]))
        lon, _ = transformer(str(grid.crs), LONLAT).transform(x, y)
        return 10 * round(lon / 10) if np.isfinite(lon) else None


def _everywhere(code: int, grid: GeoBox) -> NDArray[np.int32]:
    """One code for all pixels, stored once: nobody may write into it."""
    return np.broadcast_to(np.int32(code), (grid.shape[0], grid.shape[1]))


@dataclass
class Units:
    """Named areas: each name is a zone, of one or several polygons."""

    polygons: Polygons
    names: dict[int, str]
    """By code."""
    listed: bool = True
    """Whether tables show every unit, also those without ground; of the packaged ones only those that have some."""

    def on(self, grid: GeoBox) -> Zones:
        """The zones of a grid."""
        return Zones(self.polygons.on(grid), self.names)

    def overlap(self) -> tuple[str, str] | None:
        """Two units that share ground, the later of which gets it all; slivers (`SLIVER`) are drawing errors."""
        shapes = shapely.make_valid(list(self.polygons.geometries))
        codes = self.polygons.codes
        for one, other in shapely.STRtree(shapes).query(shapes, predicate="intersects").T.tolist():
            if one < other and codes[one] != codes[other]:
                shared = shapely.intersection(shapes[one], shapes[other]).area
                if shared > SLIVER * min(shapes[one].area, shapes[other].area):
                    return self.names[codes[one]], self.names[codes[other]]
        return None

    def outlines(self) -> dict[str, BaseGeometry]:
        """The outline of each name, in the CRS of the polygons."""
        parts: dict[str, list[BaseGeometry]] = {}
        for geometry, code in zip(self.polygons.geometries, self.polygons.codes, strict=True):
            parts.setdefault(self.names[code], []).append(geometry)
        return {name: shapely.union_all(shapely.make_valid(shapes)) for name, shapes in parts.items()}


@dataclass(frozen=True)
class Source:
    """Which features of a vector file somebody means."""

    path: Path
    """The file."""
    layer: str | None = None
    """Of several; None: the only one."""
    column: str | None = None
    """That holds classes or names."""

    @property
    def stamp(self) -> tuple[Path, int]:
        """What differs when the file does; 0 where there is none."""
        return self.path.resolve(), self.path.stat().st_mtime_ns if self.path.exists() else 0


def source_of(text: str) -> Source:
    """`FILE[:LAYER][:COLUMN]`; a lone name is a layer if the file has several and one of them is called so."""
    if Path(text).exists() or ":" not in text:
        return Source(Path(text))
    head, _, last = text.rpartition(":")
    path, layer = file_and_layer(head)
    names = layer_names(path) if layer is None and path.exists() else []
    return Source(path, last) if len(names) > 1 and last in names else Source(path, layer, last or None)


def digests_of(source: Source) -> list[str]:
    """Of the files that a vector file consists of; every tile asks, and they are read once."""
    paths = files_of(source.path)
    return list(_read_digests(tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths)))


@lru_cache(maxsize=4)
def _read_digests(stamps: tuple[tuple[Path, int, int], ...]) -> tuple[str, ...]:
    return tuple(digests.of_file(path) for path, _, _ in stamps)


def whole_path(text: str) -> str:
    """The same units, `FILE[:LAYER][:COLUMN]` with the file's whole path, for workers that run in another folder."""
    return text if text in LEVELS else str(Path(text).absolute())


def zones_of(text: str, *, allow_overlap: bool = False) -> Units:
    """Units by name (`provinces`, `prefectures`) or from a vector file, `FILE[:LAYER][:COLUMN]`; read once.

    Raises:
        InputError: as `open_units`; or units share ground, so that it would be counted for one of them alone.
    """
    if text in LEVELS:
        return _kept(text, None, ("", 0), allow_overlap)
    source = source_of(text)
    return _kept(str(source.path), source, source.stamp, allow_overlap)


@lru_cache(maxsize=4)
def _kept(text: str, source: Source | None, stamp: tuple[object, int], allow_overlap: bool) -> Units:  # noqa: FBT001
    """Units of a file as it was when it had this stamp; they are asked for in every tile."""
    del stamp
    units = open_units(text, source.column, source.layer) if source else open_units(text)
    if pair := units.overlap():
        if not allow_overlap:
            raise InputError(
                f"{text}: units {pair[0]} and {pair[1]} overlap: mend them, or count their common ground for the "
                "second with --allow-overlap"
            )
        log.warning("units %s and %s overlap: their common ground counts for the second", *pair)
    return units


def open_units(text: str, column: str | None = None, layer: str | None = None) -> Units:
    """Units by name (`provinces`, `prefectures`) or from a vector file.

    Polygons of one name are parts of one unit, which is said: by mistake they may be two of one name. Where nobody chose
    the column of names, a column of codes tells such apart. Polygons without a name are one unit, and a unit that is
    called as everything is gets another name; both are said.

    Args:
        text: a packaged level, or a path.
        column: that names the units; the first of `UNIT_FIELDS` that is there if left out.
        layer: of several in the file.

    Raises:
        MissingInputError, InputError, ConfigError: as `read_polygons`; or the file names no units.
    """
    if text in LEVELS:
        regions = [region for region in load_gazetteer().regions() if region.kind == LEVELS[text]]
        titles = [region.title for region in regions]
        names = [r.title if titles.count(r.title) == 1 else f"{r.title} ({r.name})" for r in regions]
        return _units([region.geometry for region in regions], names, LONLAT, listed=False)
    path = Path(text)
    features = read_polygons(path, layer)
    names = _names(features, column, path)
    if repeated := repeated_name(names):
        log.warning(
            "%s: %d polygons are named %r and count as one unit%s: if they are several, name the column that tells them "
            "apart, FILE:COLUMN",
            path,
            repeated[1],
            repeated[0],
            f" ({repeated[2]} names are like that)" if repeated[2] > 1 else "",
        )
    return _units(features.geometries, _filled(names, path), features.crs)


def _filled(names: Sequence[str], path: Path) -> list[str]:
    """The names; what polygons are called that have none, or that of everything, is said."""
    called, renamed = filled(names)
    for old, new in renamed.items():
        if old:
            log.warning("%s: tables call everything %r, so the unit %r is called %r", path, WHOLE, old, new)
        else:
            log.warning(
                "%s: %d polygons have no name and count as one unit, %r: name another column, FILE:COLUMN, or fill it in",
                *(path, names.count(old), new),
            )
    return called


def _names(features: Features, column: str | None, path: Path) -> list[str]:
    """The name of each feature, from the column that is given or the one that is found; empty where it has none."""
    if column is not None:
        return [name_of(value) for value in features.column(column, path)]
    there = {key for row in features.attributes for key in row}
    found = next((name for name in UNIT_FIELDS if name in there), None)
    if found is None:
        raise InputError(
            f"{path} has no column {', '.join(UNIT_FIELDS)} to name its polygons: give FILE:COLUMN"
        )
    names = [name_of(value) for value in features.column(found, path)]
    return told_apart(names, features.attributes, found)


def _units(
    geometries: Sequence[BaseGeometry], names: Sequence[str], crs: str, *, listed: bool = True
) -> Units:
    codes = {name: code for code, name in enumerate(dict.fromkeys(names), start=1)}
    polygons = Polygons(geometries, [codes[name] for name in names], crs)
    return Units(polygons, {code: name for name, code in codes.items()}, listed)
