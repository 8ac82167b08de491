"""Polygons from one CRS into another; in lon/lat valid, cut at the 180th meridian, and measured."""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from isamap.errors import InputError

LONLAT = "EPSG:4326"
EQUAL_AREA = "EPSG:6933"
"""Equal-area cylindrical on the ellipsoid, true to scale at 30 degrees: areas in it are ground areas."""
M_PER_DEGREE = 111_320.0
"""Of a parallel at the equator; of a meridian 0.3 % more or up to 0.7 % less."""

# A straight lon/lat edge bends by at most 1.2 cm in UTM between points this close.
_SEGMENT_DEG = 0.01
# Straight lon/lat edges cut into pieces of this length stay straight enough for areas right to 1 m2 per km2.
_AREA_SEGMENT_DEG = 0.1
# A straight edge in another CRS bends by a few millimetres in lon/lat between points this close.
_SEGMENT_M = 250
# Farther from the origin than any map projection reaches.
_MAX_M = 1e8
_EARTH_M, _ROUND = 6_371_000, 0.01  # every ellipsoid and sphere of the Earth is that near
_HALF_TURN = 180
_QUARTER_TURN = 90
_NEAR = 60


@lru_cache(maxsize=64)
def transformer(source: str, target: str) -> Transformer:
    """From one CRS to another, x before y."""
    return Transformer.from_crs(source, target, always_xy=True)


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
    to_equal_area = transformer(LONLAT, EQUAL_AREA)
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
    project = transformer(source, target)
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
    if found.ellipsoid is not None and abs(found.ellipsoid.semi_major_metre / _EARTH_M - 1) > _ROUND:
        raise InputError(f"CRS {found.name!r} is of another body than the Earth")
    return found.to_2d()


def check_bounds(bounds: Sequence[float], crs: CRS) -> None:
    """Refuse coordinates that are no place on Earth; GEOS fails on the largest of them.

    Args:
        bounds: left, bottom, right and top, finite.
        crs: theirs.

    Raises:
        InputError: they are too large for a place in that CRS.
    """
    largest = max(map(abs, bounds)) * (crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0)
    if crs.is_projected and largest > _MAX_M:
        raise InputError(f"coordinates {numbers(bounds)} lie outside the CRS {crs.name!r}")
    if crs.is_geographic and math.degrees(largest) > 3 * _HALF_TURN:
        raise _no_lonlat(bounds)


def near_longitude(shapes: Sequence[BaseGeometry], lon: float) -> list[BaseGeometry]:
    """Lon/lat polygons cut to what lies within 60 degrees of a longitude; nothing is left of others, which keep their place.

    Map projections show what lies a quarter turn away anywhere, and as anything.
    """
    found = []
    for shape in map(made_valid, shapes):
        west, _, east, _ = shape.bounds if not shape.is_empty else (lon, 0, lon, 0)
        if lon - _NEAR <= west and east <= lon + _NEAR:
            found.append(shape)
            continue
        bands = [shapely.box(lon + turn - _NEAR, -90, lon + turn + _NEAR, 90) for turn in (-360, 0, 360)]
        found.append(shapely.intersection(shape, shapely.union_all(bands)))
    return found


def into_lonlat(geometry: BaseGeometry, crs: CRS) -> BaseGeometry:
    """Polygons in lon/lat, cut at 180 degrees; straight edges stay straight in their own CRS.

    Raises:
        InputError: the polygons lie outside the CRS or the globe, or hold a pole.
    """
    to_lonlat = Transformer.from_crs(crs, LONLAT, always_xy=True)
    unit = crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0
    check_bounds(geometry.bounds, crs)
    if crs.is_projected:
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
    whole = made_valid(without_noise(_unwrapped(moved) if crs.is_projected else moved))
    _check_lonlat(whole)
    return _split_at_180(whole)


def cut_at_180(outline: BaseGeometry, *, jumps: bool) -> BaseGeometry:
    """A lon/lat outline cut at the 180th meridian if it crosses it, else as it is.

    Args:
        outline: polygons.
        jumps: whether neighbouring points lie close together, and jump from one side to the other.
    """
    if jumps and any(map(leaps_over_180, polygon_parts(outline))):
        outline = made_valid(without_noise(_unwrapped(outline)))
    return _split_at_180(outline)


def bbox_of(shapes: Iterable[BaseGeometry]) -> list[float]:
    """West, south, east and north of lon/lat geometries that are cut at the 180th meridian.

    West is the larger one where they lie on both sides of it (RFC 7946, 5.2).
    """
    parts = shapely.get_parts(np.array(list(shapes), dtype=object))
    west, south, east, north = (float(side) for side in shapely.total_bounds(parts))
    if (west, east) == (-_HALF_TURN, _HALF_TURN):
        sides = shapely.bounds(parts)
        sides = sides[np.argsort(sides[:, 0])]
        reach = np.maximum.accumulate(sides[:, 2])
        gaps = sides[1:, 0] - reach[:-1]
        if gaps.size and gaps.max() > 0:
            widest = int(gaps.argmax())
            west, east = float(sides[widest + 1, 0]), float(reach[widest])
    return [west, south, east, north]


def _check_no_pole(geometry: BaseGeometry, to_lonlat: Transformer) -> None:
    """Polygons round a pole have no outline in lon/lat."""
    x, y = to_lonlat.transform([0, 0], [_QUARTER_TURN, -_QUARTER_TURN], direction="INVERSE")
    poles = [(px, py) for px, py in zip(x, y, strict=True) if math.isfinite(px) and math.isfinite(py)]
    if any(shapely.intersects_xy(geometry, px, py) for px, py in poles):
        raise InputError("the area holds a pole: the UTM grids end at 80 S and 84 N, cut it there")


def _unwrapped(geometry: BaseGeometry) -> BaseGeometry:
    """Densified polygons whose longitudes run on beyond 180 degrees instead of jumping."""

    def run_on(points: np.ndarray) -> np.ndarray:
        return np.column_stack([points[:, 0] + 360 * _turns(points[:, 0]), points[:, 1]])

    parts = polygon_parts(geometry)
    return shapely.MultiPolygon(
        [shapely.transform(part, run_on) if leaps_over_180(part) else part for part in parts]
    )


def leaps_over_180(polygon: BaseGeometry) -> bool:
    """Whether neighbouring points lie on either side of the 180th meridian; not of a ring round a pole."""
    turns = _turns(np.asarray(polygon.exterior.xy[0]))
    return bool(turns.any() and turns[-1] == 0)


def _turns(lon: np.ndarray) -> np.ndarray:
    """Times that the 180th meridian was crossed eastwards before each point of a ring, whole numbers."""
    return -np.cumsum(np.round(np.diff(lon, prepend=lon[:1]) / 360))


def _check_lonlat(geometry: BaseGeometry) -> None:
    """Refuse what are no degrees."""
    west, south, east, north = geometry.bounds
    if max(-south, north) > _QUARTER_TURN or west < -3 * _HALF_TURN or east > 3 * _HALF_TURN:
        raise _no_lonlat((west, south, east, north))


def _no_lonlat(bounds: Sequence[float]) -> InputError:
    return InputError(f"coordinates {numbers(bounds)} are no longitudes and latitudes: is the CRS right?")


def _split_at_180(geometry: BaseGeometry) -> BaseGeometry:
    """Polygons cut at the 180th meridian, all longitudes within +-180 degrees."""
    west, _, east, _ = geometry.bounds
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
