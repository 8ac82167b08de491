"""Polygons as pixels: administrative units, strata and labels on the grid that is asked for."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from isamap.domain.evaluation import Zones
from isamap.domain.lonlat import LONLAT
from isamap.domain.product import NODATA
from isamap.errors import InputError
from isamap.io.vector import Features, load_gazetteer, read_features

log = logging.getLogger(__name__)

UNIT_FIELDS = ("name", "name_en", "NAME", "id")
"""Columns that are tried, in this order, when nobody names one."""
LEVELS = {"provinces": "province", "prefectures": "prefecture"}
"""Packaged units of the Yangtze River Economic Belt, and what their regions are."""
SLIVER = 0.01
"""Share of the smaller unit."""
SEGMENT_DEG = 0.01
"""A straight lon/lat edge bends by at most 1.2 cm in UTM between points this close."""


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

    def on(self, grid: GeoBox) -> NDArray[np.int32]:
        """Code of the polygon over each pixel's centre `(y, x)`, 0 where there is none."""
        tree = self._tree(grid)
        box = shapely.box(*grid.boundingbox.bbox)
        found = sorted(tree.query(box, predicate="intersects").tolist())
        parts = [(tree.geometries[index], int(self.codes[index])) for index in found]
        if len(parts) == 1 and parts[0][0].contains(box):
            return np.full(grid.shape, parts[0][1], np.int32)
        if not parts:
            return np.zeros(grid.shape, np.int32)
        burnt: NDArray[np.int32] = rasterize(parts, grid.shape, transform=grid.transform, dtype="int32")
        return burnt

    def _tree(self, grid: GeoBox) -> shapely.STRtree:
        """The polygons in the grid's CRS, indexed; made once per CRS."""
        key = str(grid.crs)
        if key not in self._trees:
            source = CRS.from_user_input(self.crs)
            shapes: Sequence[BaseGeometry] = list(self.geometries)
            if source != CRS.from_user_input(key):
                step = SEGMENT_DEG if source.is_geographic else 1000 * SEGMENT_DEG
                project = Transformer.from_crs(source, key, always_xy=True)
                shapes = [
                    shapely.transform(
                        shapely.segmentize(shape, step),
                        lambda points: np.column_stack(project.transform(points[:, 0], points[:, 1])),
                    )
                    for shape in shapes
                ]
            self._trees[key] = shapely.STRtree(shapely.make_valid(shapes))
        return self._trees[key]


@dataclass
class Units:
    """Named areas: each name is a zone, of one or several polygons."""

    polygons: Polygons
    names: dict[int, str]
    """By code."""

    def on(self, grid: GeoBox) -> Zones:
        """The zones of a grid."""
        return Zones(self.polygons.on(grid), self.names)

    def outlines(self) -> dict[str, BaseGeometry]:
        """The outline of each name, in the CRS of the polygons."""
        parts: dict[str, list[BaseGeometry]] = {}
        for geometry, code in zip(self.polygons.geometries, self.polygons.codes, strict=True):
            parts.setdefault(self.names[code], []).append(geometry)
        return {name: shapely.union_all(shapely.make_valid(shapes)) for name, shapes in parts.items()}


def open_units(text: str, column: str | None = None) -> Units:
    """Units by name (`provinces`, `prefectures`) or from a vector file.

    Args:
        text: a packaged level, or a path.
        column: that names the units; the first of `UNIT_FIELDS` that is there if left out.

    Raises:
        MissingInputError, InputError, ConfigError: as `read_features`; or the file names no units.
    """
    if text in LEVELS:
        regions = [region for region in load_gazetteer().regions() if region.kind == LEVELS[text]]
        titles = [region.title for region in regions]
        names = [r.title if titles.count(r.title) == 1 else f"{r.title} ({r.name})" for r in regions]
        return _units([region.geometry for region in regions], names, LONLAT)
    path = Path(text)
    features = read_features(path)
    if column is None:
        there = {key for row in features.attributes for key in row}
        column = next((name for name in UNIT_FIELDS if name in there), None)
    if column is None:
        raise InputError(
            f"{path} has no column {', '.join(UNIT_FIELDS)} to name its polygons: give FILE:COLUMN"
        )
    return _units(features.geometries, [str(name) for name in features.column(column, path)], features.crs)


def _units(geometries: Sequence[BaseGeometry], names: Sequence[str], crs: str) -> Units:
    codes = {name: code for code, name in enumerate(dict.fromkeys(names), start=1)}
    kept = [(g, codes[n]) for g, n in zip(geometries, names, strict=True) if g.geom_type.endswith("Polygon")]
    polygons = Polygons([g for g, _ in kept], [code for _, code in kept], crs)
    _warn_of_overlaps(polygons, list(codes))
    return Units(polygons, {code: name for name, code in codes.items()})


def _warn_of_overlaps(polygons: Polygons, names: Sequence[str]) -> None:
    """Say which units share ground: the later one gets it all. Slivers along borders are drawing errors."""
    shapes = shapely.make_valid(list(polygons.geometries))
    tree = shapely.STRtree(shapes)
    for one, other in tree.query(shapes, predicate="intersects").T.tolist():
        if one < other and polygons.codes[one] != polygons.codes[other]:
            shared = shapely.intersection(shapes[one], shapes[other]).area
            if shared > SLIVER * min(shapes[one].area, shapes[other].area):
                pair = names[polygons.codes[one] - 1], names[polygons.codes[other] - 1]
                log.warning("units %s and %s overlap: their common ground counts for the second", *pair)
                return


@dataclass
class LabelPolygons:
    """Label polygons as a truth: 1 and 0 inside polygons, unknown elsewhere."""

    polygons: Polygons

    def on(self, grid: GeoBox) -> NDArray[np.uint8]:
        """uint8 `(y, x)`: 1 ISA, 0 not, 255 unknown."""
        return np.array([NODATA, 0, 1], np.uint8)[self.polygons.on(grid)]


def open_labels(path: Path, column: str | None) -> LabelPolygons:
    """Labels from a vector file.

    Args:
        path: polygons.
        column: with 1 for ISA and 0 for the rest; without it every polygon is ISA, and nothing is known elsewhere.

    Raises:
        InputError: no polygon, or other values than 0 and 1.
    """
    features = read_features(path)
    values = [_label(value) for value in features.column(column, path)] if column else []
    if not column:
        if known := _label_columns(features):
            raise InputError(f"{path} has the column {known[0]!r} with 0 and 1: give {path}:{known[0]}")
        values = [1] * len(features.geometries)
    kept = [
        (geometry, value)
        for geometry, value in zip(features.geometries, values, strict=True)
        if geometry.geom_type.endswith("Polygon") and value is not None
    ]
    if not kept:
        raise InputError(f"{path} has no labelled polygon: labels are polygons, 1 ISA and 0 not")
    if odd := sorted({str(value) for _, value in kept if value not in (0, 1)}):
        raise InputError(f"{path}: column {column} has the values {', '.join(odd[:5])}: labels are 0 and 1")
    codes = [1 + int(value) for _, value in kept]
    order = np.argsort([-geometry.area for geometry, _ in kept], kind="stable").tolist()
    return LabelPolygons(
        Polygons([kept[index][0] for index in order], [codes[index] for index in order], features.crs)
    )


def _label(value: Any) -> Any:
    """0 or 1 from a number or its text, None where there is none; anything else as it is."""
    text = "" if value is None else str(value).strip().lower()
    known = {"": None, "nan": None, "none": None, "0": 0, "0.0": 0, "1": 1, "1.0": 1, "false": 0, "true": 1}
    return known.get(text, value)


def _label_columns(features: Features) -> list[str]:
    """Columns that hold both 0 and 1 and nothing else: labels that nobody named."""
    names = sorted({name for row in features.attributes for name in row})
    found = {name: {_label(row.get(name)) for row in features.attributes} - {None} for name in names}
    return [name for name, values in found.items() if values == {0, 1}]
