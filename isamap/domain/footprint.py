"""Outline of a scene from a STAC item's GeoJSON, whatever that holds."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from isamap.domain.lonlat import made_valid, polygon_parts, without_noise
from isamap.errors import InputError

MAX_POINTS = 5000
"""Catalogues publish outlines of 5 to 100 points."""


def footprint_of(item: Mapping[str, Any]) -> BaseGeometry | None:
    """Lon/lat polygons of the item's geometry, else of its bbox, else None.

    An outline that jumps across the 180th meridian is cut there.

    Raises:
        InputError: there is a geometry, but no lon/lat polygons can be made of it.
    """
    geometry = item.get("geometry")
    if geometry is not None:
        return _cut_at_180(_polygons(geometry))
    box = item.get("bbox")
    if box is None:
        return None
    if not isinstance(box, list | tuple) or len(box) not in (4, 6):
        raise InputError("bbox is no list of 4 or 6 numbers")
    (west, south), (east, north) = _points([box[:2], box[len(box) // 2 :][:2]])
    if south >= north:
        raise InputError("bbox has no height")
    if west > east:
        return shapely.union(shapely.box(west, south, 180, north), shapely.box(-180, south, east, north))
    return _polygonal(shapely.box(west, south, east, north))


def _polygons(geometry: object) -> BaseGeometry:
    if not isinstance(geometry, Mapping) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        raise InputError("geometry is no GeoJSON Polygon or MultiPolygon")
    coordinates = geometry.get("coordinates")
    parts = [coordinates] if geometry["type"] == "Polygon" else coordinates
    if not isinstance(parts, list | tuple) or not 1 <= len(parts) <= MAX_POINTS:
        raise InputError("geometry has no coordinates")
    left = MAX_POINTS
    polygons = []
    for part in parts:
        if not isinstance(part, list | tuple) or not part:
            raise InputError("geometry has a polygon without rings")
        rings = []
        for ring in islice(part, MAX_POINTS):
            if not isinstance(ring, list | tuple) or not 4 <= len(ring) <= left:
                raise InputError(f"geometry has a ring without 4 to {MAX_POINTS} points")
            left -= len(ring)
            rings.append(_points(ring))
        polygons.append(shapely.Polygon(rings[0], rings[1:]))
    return shapely.MultiPolygon(polygons)


def _points(pairs: Any) -> list[tuple[float, float]]:
    """Checked longitudes and latitudes."""
    points = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or not 2 <= len(pair) <= 3:
            raise InputError("geometry has a point without longitude and latitude")
        x, y = pair[0], pair[1]
        numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (x, y))
        if not (numeric and -180 <= x <= 180 and -90 <= y <= 90):
            raise InputError("geometry has a point that is no longitude and latitude")
        points.append((float(x), float(y)))
    return points


def _cut_at_180(polygons: BaseGeometry) -> BaseGeometry:
    """No granule is 180 degrees wide: one that seems to be crosses the 180th meridian."""
    whole = []
    for polygon in polygons.geoms:
        west, _, east, _ = polygon.bounds
        if east - west <= 180:
            whole.append(polygon)
            continue
        run_on = made_valid(
            shapely.transform(polygon, lambda xy: np.column_stack([xy[:, 0] % 360, xy[:, 1]]))
        )
        whole.append(shapely.intersection(run_on, shapely.box(0, -90, 180, 90)))
        beyond = shapely.intersection(run_on, shapely.box(180, -90, 360, 90))
        whole.append(shapely.transform(beyond, lambda xy: xy - (360, 0)))
    return _polygonal(shapely.union_all([made_valid(without_noise(polygon)) for polygon in whole]))


def _polygonal(geometry: BaseGeometry) -> BaseGeometry:
    parts = polygon_parts(made_valid(without_noise(geometry)))
    if not parts:
        raise InputError("geometry has no surface")
    return shapely.MultiPolygon(parts)
