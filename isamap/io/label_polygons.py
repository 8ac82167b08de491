"""Polygons that somebody has labelled as a truth."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.lonlat import polygon_parts
from isamap.domain.product import NODATA
from isamap.errors import InputError
from isamap.io.vector import Features, read_polygons
from isamap.io.zones import Polygons, Source


@dataclass
class LabelPolygons:
    """Label polygons as a truth: 1 and 0 inside polygons, unknown elsewhere."""

    polygons: Polygons
    unlabelled: int = 0
    """Polygons of the file that have no label: nothing is known there."""

    def on(self, grid: GeoBox) -> NDArray[np.uint8]:
        """uint8 `(y, x)`: 1 ISA, 0 not, 255 unknown."""
        return np.array([NODATA, 0, 1], np.uint8)[self.polygons.on(grid)]


def labels_of(source: Source) -> LabelPolygons:
    """The labels of a source; read once.

    Raises:
        InputError: as `open_labels`.
    """
    return _kept(source, source.stamp)


@lru_cache(maxsize=2)
def _kept(source: Source, stamp: tuple[Path, int]) -> LabelPolygons:
    """The labels of a source as it was when it had this stamp; they are asked for in every tile."""
    del stamp
    return open_labels(source.path, source.column, source.layer)


def open_labels(path: Path, column: str | None, layer: str | None = None) -> LabelPolygons:
    """Labels from a vector file; where polygons overlap, the smaller one counts: a yard in its block, a house in a yard.

    Parts of a multipolygon are polygons of their own here: many small yards drawn as one feature are small.

    Args:
        path: polygons.
        column: with 1 for ISA and 0 for the rest; without it every polygon is ISA, and nothing is known elsewhere.
        layer: of several in the file.

    Raises:
        InputError: as `read_polygons`; no polygon has a label; or other values than 0 and 1.
    """
    features = read_polygons(path, layer)
    values = [_label(value) for value in features.column(column, path)] if column else []
    if not column:
        if known := _label_columns(features):
            raise InputError(f"{path} has the column {known[0]!r} with 0 and 1: give {path}:{known[0]}")
        values = [1] * len(features.geometries)
    labelled = [(g, v) for g, v in zip(features.geometries, values, strict=True) if v is not None]
    if not labelled:
        raise InputError(f"{path} has no labelled polygon: labels are polygons, 1 ISA and 0 not")
    if odd := sorted({str(value) for _, value in labelled if value not in (0, 1)}):
        raise InputError(f"{path}: column {column} has the values {', '.join(odd[:5])}: labels are 0 and 1")
    parts = [(part, 1 + int(value)) for geometry, value in labelled for part in polygon_parts(geometry)]
    parts.sort(key=lambda one: -one[0].area)  # the last is burnt over the others
    polygons = Polygons([part for part, _ in parts], [code for _, code in parts], features.crs)
    return LabelPolygons(polygons, len(values) - len(labelled))


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
