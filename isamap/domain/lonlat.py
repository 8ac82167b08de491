"""Polygons from one CRS into another; in lon/lat valid, cut at the 180th meridian, and measured."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from isamap.errors import InputError

LONLAT = "EPSG:4326"

# A straight lon/lat edge bends by at most 1.2 cm in UTM between points this close.
_SEGMENT_DEG = 0.01
_EQUAL_AREA = "EPSG:6933"
# Straight lon/lat edges cut into pieces of this length stay straight enough for areas right to 1 m2 per km2.
_AREA_SEGMENT_DEG = 0.1
# A straight edge in another CRS bends by a few millimetres in lon/lat between points this close.
_SEGMENT_M = 250
# Farther from the origin than any map projection reaches.
_MAX_M = 1e8
_HALF_TURN = 180
_QUARTER_TURN = 90


def polygon_parts(geometry: BaseGeometry) -> list[BaseGeometry]:
    """Polygons of any geometry; points and lines are left out."""
    if geometry.geom_type == "Polygon":
        return [] if geometry.is_empty else [geometry]
    if not hasattr(geometry, "geoms"):
        return []
    return [polygon for part in geometry.geoms for polygon in polygon_parts(part)]


def made_valid(geometry: BaseGeometry) -> BaseGeometry:
    """The geometry, repaired if it crosses itself; what collapses to lines or points comes back as such."""
    return geometry if geometry.is_valid else shapely.make_valid(geometry)


def without_noise(geometry: BaseGeometry) -> BaseGeometry:
    """The lon/lat geometry rounded to 0.1 mm: GEOS clips wrongly near coordinates such as 5e-324."""
    return shapely.transform(geometry, lambda points: np.round(points, 9))


def geodesic_area_km2(geometry: BaseGeometry) -> float:
    """Area of lon/lat polygons on the WGS84 ellipsoid, in km2; however wide, unlike with `pyproj.Geod`."""
    to_equal_area = Transformer.from_crs(LONLAT, _EQUAL_AREA, always_xy=True)
    flat = shapely.transform(
        shapely.segmentize(geometry, _AREA_SEGMENT_DEG),
        lambda points: np.column_stack(to_equal_area.transform(points[:, 0], points[:, 1])),
    )
    return float(flat.area) / 1e6


def into_crs(shapes: Iterable[BaseGeometry], source: str, target: str) -> list[BaseGeometry]:
    """Geometries in another CRS, x before y, valid; straight edges stay straight within 2 cm.

    Repaired before points are put between theirs: a polygon that crosses itself loses a lobe otherwise.
    """
    valid, own = [made_valid(shape) for shape in shapes], CRS.from_user_input(source)
    if own == CRS.from_user_input(target):
        return valid
    step = _SEGMENT_DEG if own.is_geographic else 1000 * _SEGMENT_DEG
    project = Transformer.from_crs(source, target, always_xy=True)
    return [
        made_valid(
            shapely.transform(
                shapely.segmentize(shape, step),
                lambda points: np.column_stack(project.transform(points[:, 0], points[:, 1])),
            )
        )
        for shape in valid
    ]


def as_crs(crs: Any) -> CRS:
    """Two-dimensional CRS of anything pyproj understands, or an InputError."""
    try:
        found = CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(f"unknown CRS {str(crs)[:80]!r}: give an EPSG code such as EPSG:32650") from error
    if not (found.is_geographic or found.is_projected):
        raise InputError(
            f"CRS {found.name!r} is neither geographic nor projected: its place on Earth is unknown"
        )
    return found.to_2d()


def into_lonlat(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """Polygons in lon/lat, cut at 180 degrees; straight edges stay straight in their own CRS.

    Raises:
        InputError: the polygons lie outside the CRS or the globe, or hold a pole.
    """
    to_lonlat = Transformer.from_crs(crs, LONLAT, always_xy=True)
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    if crs.is_projected:
        if np.abs(geometry.bounds).max() * unit > _MAX_M:
            raise InputError(f"coordinates {numbers(geometry.bounds)} lie outside the CRS {crs.name!r}")
        _check_no_pole(geometry, to_lonlat)
        geometry = shapely.segmentize(made_valid(geometry), _SEGMENT_M / unit)

    def moved_points(points: np.ndarray) -> np.ndarray:
        lon, lat = to_lonlat.transform(points[:, 0], points[:, 1])
        if crs.is_geographic:  # PROJ wraps at 180; a change of datum never moves anything that far
            lon = lon + 360 * np.round((np.degrees(points[:, 0] * unit) - lon) / 360)
        return np.column_stack([lon, lat])

    moved = shapely.transform(geometry, moved_points)
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        raise InputError(f"the area lies outside the CRS {crs.name!r}: are its coordinates in that CRS?")
    return _split_at_180(made_valid(without_noise(_unwrapped(moved) if crs.is_projected else moved)))


def _check_no_pole(geometry: BaseGeometry, to_lonlat: Transformer) -> None:
    """Polygons round a pole have no outline in lon/lat."""
    x, y = to_lonlat.transform([0, 0], [_QUARTER_TURN, -_QUARTER_TURN], direction="INVERSE")
    poles = [(px, py) for px, py in zip(x, y, strict=True) if math.isfinite(px) and math.isfinite(py)]
    if any(shapely.intersects_xy(geometry, px, py) for px, py in poles):
        raise InputError("the area holds a pole: the UTM grids end at 80 S and 84 N, cut it there")


def _unwrapped(geometry: BaseGeometry) -> BaseGeometry:
    """Densified polygons whose longitudes run on beyond 180 degrees instead of jumping."""

    def run_on(points: np.ndarray) -> np.ndarray:
        return np.column_stack([points[:, 0] % 360, points[:, 1]])

    parts = polygon_parts(geometry)
    jumps = [np.abs(np.diff(part.exterior.xy[0])).max() > _HALF_TURN for part in parts]
    return shapely.MultiPolygon(
        [shapely.transform(part, run_on) if jump else part for part, jump in zip(parts, jumps, strict=True)]
    )


def _split_at_180(geometry: BaseGeometry) -> BaseGeometry:
    """Polygons cut at the 180th meridian, all longitudes within +-180 degrees."""
    west, south, east, north = geometry.bounds
    if max(-south, north) > _QUARTER_TURN or west < -3 * _HALF_TURN or east > 3 * _HALF_TURN:
        raise InputError(
            f"coordinates {numbers((west, south, east, north))} are no longitudes and latitudes: is the CRS right?"
        )
    if west >= -_HALF_TURN and east <= _HALF_TURN:
        return geometry
    pieces = [
        shapely.transform(
            shapely.intersection(geometry, shapely.box(turn - 180, -90, turn + 180, 90)),
            lambda xy, turn=turn: xy - (turn, 0),
        )
        for turn in (-360, 0, 360)
    ]
    return shapely.union_all([polygon for piece in pieces for polygon in polygon_parts(piece)])


def numbers(values: Sequence[float], separator: str = ",") -> str:
    """Coordinates as text, safe in a path: to 0.1 m in degrees, to 1 mm in UTM."""
    return separator.join(f"{float(value):.10g}".replace("+", "") for value in values)


def checked_bbox(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    """Four finite numbers with YMIN < YMAX, or an InputError."""
    try:
        xmin, ymin, xmax, ymax = (float(value) for value in bbox)
    except (TypeError, ValueError) as error:
        raise InputError(f"bbox {bbox!r} is not four numbers XMIN,YMIN,XMAX,YMAX") from error
    if not all(map(math.isfinite, (xmin, ymin, xmax, ymax))):
        raise InputError(f"bbox {numbers(bbox)} has numbers that are not finite")
    if ymin >= ymax:
        raise InputError(f"bbox {numbers(bbox)} has no height: give XMIN,YMIN,XMAX,YMAX with YMIN < YMAX")
    return xmin, ymin, xmax, ymax


def check_lonlat_bbox(xmin: float, ymin: float, xmax: float, ymax: float) -> None:
    """Raise an InputError unless the box can be degrees; XMIN > XMAX crosses the 180th meridian."""
    box = numbers((xmin, ymin, xmax, ymax))
    if max(abs(ymin), abs(ymax)) > _QUARTER_TURN:
        swapped = max(abs(xmin), abs(xmax)) <= _QUARTER_TURN and max(abs(ymin), abs(ymax)) <= _HALF_TURN
        hint = "longitude comes first" if swapped else "is it in metres? name its CRS (--bbox-crs)"
        raise InputError(f"bbox {box} has latitudes beyond 90 degrees: {hint}")
    if max(abs(xmin), abs(xmax)) > _HALF_TURN:
        raise InputError(f"bbox {box} has longitudes beyond 180 degrees")
    if xmin == xmax:
        raise InputError(f"bbox {box} has no width")
    if 0 < xmin - xmax < _HALF_TURN:
        raise InputError(
            f"bbox {box} has XMIN > XMAX, which is for boxes across the 180th meridian: exchange them"
        )
