"""Vector labels as pixels: buildings, roads with the width of their class, polygons of either kind."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain.classes import UNLABELLED
from isamap.domain.lonlat import into_crs, polygon_parts
from isamap.domain.roads import CLASS_FIELDS, is_unbuilt, road_width, tags_of
from isamap.errors import InputError
from isamap.io.vector import Features, read_features
from isamap.io.zones import Polygons

log = logging.getLogger(__name__)

PERVIOUS, IMPERVIOUS, UNKNOWN = 1, 2, 3
"""In the order in which they are laid over each other."""
QUARTER_SEGMENTS = 16
"""Of the round ends of roads: off by 2 cm at a radius of 4 m."""


@dataclass(frozen=True)
class VectorLayer:
    """One layer of a vector file and what it is."""

    path: Path
    """The file."""
    kind: str
    """buildings, roads, impervious, pervious or unknown."""
    layer: str | None = None
    """If the file has several."""

    def __str__(self) -> str:
        return f"{self.path}:{self.layer}" if self.layer else str(self.path)


class VectorLabels:
    """Layers of vector labels, burnt onto any grid of one CRS: the class over each pixel's centre.

    Args:
        layers: what there is.
        crs: of the grids.
        background: code of ground that no layer covers.
        area: file and layer of polygons outside of which nothing is known.
    """

    def __init__(
        self,
        layers: Sequence[VectorLayer],
        crs: str,
        background: int = 0,
        area: tuple[Path, str | None] | None = None,
    ) -> None:
        found = [labelled_shapes(layer, crs) for layer in layers]
        self._layers = [(layer, _polygons(shapes, crs)) for layer, shapes in zip(layers, found, strict=True)]
        self._shapes = _polygons(sorted(chain(*found), key=lambda one: one[0]), crs)
        self._table = np.array([background, 0, 1, UNLABELLED], np.uint8)
        self._area: Polygons | None = None
        if area is not None:
            features = read_features(*area)
            inside = _in_crs(features, crs)
            self._area = Polygons(inside, [1] * len(inside), crs)

    def check_meet(self, grid: GeoBox, name: str) -> None:
        """Say which layers lie beside a grid of the same CRS.

        Raises:
            InputError: all of them.
        """
        beside = [layer for layer, polygons in self._layers if not polygons.meet(grid)]
        if len(beside) == len(self._layers):
            raise InputError(
                f"{name}: no feature of {', '.join(map(str, beside))} meets the imagery, and all of it "
                "would be background; if that is right, say where labels are complete (`area` of a recipe)"
            )
        for layer in beside:
            log.warning(
                "%s: no feature of %s (%s) meets the imagery, and labels are made without it: is it the right file, "
                "with the right CRS?",
                name,
                layer,
                layer.kind,
            )

    def on(self, grid: GeoBox) -> NDArray[np.uint8]:
        """ISA labels on a grid `(y, x)`: 0, 1, 255."""
        labels = self._table[self._shapes.on(grid)]
        if self._area is not None:
            labels[self._area.on(grid) == 0] = UNLABELLED
        return labels


def _polygons(shapes: Sequence[tuple[int, BaseGeometry]], crs: str) -> Polygons:
    return Polygons([shape for _, shape in shapes], [code for code, _ in shapes], crs)


def labelled_shapes(layer: VectorLayer, crs: str) -> list[tuple[int, BaseGeometry]]:
    """Polygons of a layer in a projected CRS, each with its code.

    Raises:
        InputError: the layer has no geometry of the kind that is asked for, or roads have no class.
    """
    features = read_features(layer.path, layer.layer)
    shapes = _in_crs(features, crs)
    if layer.kind == "roads":
        return [(IMPERVIOUS, shape) for shape in _roads(layer, features, shapes)]
    code = {"pervious": PERVIOUS, "unknown": UNKNOWN}.get(layer.kind, IMPERVIOUS)
    found = [
        (UNKNOWN if layer.kind == "buildings" and is_unbuilt(attributes) else code, part)
        for shape, attributes in zip(shapes, features.attributes, strict=True)
        for part in polygon_parts(shape)
    ]
    if shapes and not found:
        raise InputError(f"{layer.path}: {layer.kind} are polygons, but there are only {_kinds(shapes)}")
    return found


def _roads(layer: VectorLayer, features: Features, lines: Sequence[BaseGeometry]) -> list[BaseGeometry]:
    """Lines as wide as their roads; areas of pedestrians and the like as they are."""
    shapes: list[BaseGeometry] = []
    for line, attributes in zip(lines, features.attributes, strict=True):
        width_m = road_width(attributes)
        if width_m is None or line.geom_type.endswith("Point"):
            continue
        buffered = shapely.buffer(line, width_m / 2, quad_segs=QUARTER_SEGMENTS)
        shapes += polygon_parts(line) or [buffered]
    if lines and not shapes:
        raise _no_roads(layer, features)
    return shapes


def _no_roads(layer: VectorLayer, features: Features) -> InputError:
    """Why there is none."""
    columns = {name for row in features.attributes for name in row}
    said = {name.lower() for name in columns}.union(*(tags_of(row) for row in features.attributes))
    if said & set(CLASS_FIELDS):
        return InputError(
            f"{layer.path}: none of its {len(features.attributes)} features is a paved road with a known class"
        )
    return InputError(
        f"{layer.path}: roads need a column {', '.join(CLASS_FIELDS)} with their class, there are "
        f"{', '.join(sorted(columns)) or 'none'}"
    )


def _in_crs(features: Features, crs: str) -> list[BaseGeometry]:
    """Geometries in another CRS."""
    return into_crs([shapely.force_2d(shape) for shape in features.geometries], features.crs, crs)


def _kinds(shapes: Sequence[BaseGeometry]) -> str:
    return ", ".join(sorted({shape.geom_type for shape in shapes}))
