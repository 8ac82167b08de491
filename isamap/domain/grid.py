"""The tile grid: 10.24 km squares of the Sentinel-2 UTM grids, their geoboxes and windows.

A tile belongs to an area if the tile's part inside its own 6-degree zone and hemisphere meets the area, so
zones neither overlap nor leave gaps.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from shapely.geometry.base import BaseGeometry

from isamap.domain.lonlat import M_PER_DEGREE, made_valid, polygon_parts, without_noise
from isamap.domain.utm import ZONE_DEG, ZONES, epsg_of, near_zone, west_edge, zone_of
from isamap.errors import InputError

GSD_M = 10
SCALE = 10
TILE_PX = 1024
TILE_M = TILE_PX * GSD_M
MARGIN_PX = 32

MAX_LAT = 84.0
MIN_LAT = -80.0

# UTM is 166 021 to 833 979 m wide (at the equator); rows run from 0 to 84 degrees north and from 80 south to 0.
_COLUMNS = range(16, 82)
_ROWS = {"N": range(912), "S": range(108, 977)}
_LATITUDES = {"N": (0.0, MAX_LAT), "S": (MIN_LAT, 0.0)}
_TILE_ID = re.compile(r"(\d{2})([NS])-(\d{4})-(\d{4})", re.ASCII)

# An area that reaches less than this into a tile or zone is rounding: the centre of a 1 m pixel lies 0.5 m from
# the edge of its tile, so no pixel of the area is lost.
_EDGE_M = 0.25
_EDGE_DEG = _EDGE_M / M_PER_DEGREE
# A straight lon/lat edge bends by at most 1.2 cm in UTM between points this close.
_SEGMENT_DEG = 0.01
_POINTS_PER_SIDE = 32


@dataclass(frozen=True, order=True)
class Tile:
    """A 10.24 km square of a UTM grid, written `51N-0027-0339`."""

    zone: int
    """UTM zone, 1-60."""
    hemisphere: str
    """`N` (EPSG:326xx) or `S` (EPSG:327xx, northings with the false 10 000 km)."""
    ix: int
    """Column: easting of the left edge / 10 240 m."""
    iy: int
    """Row: northing of the lower edge / 10 240 m."""

    def __post_init__(self) -> None:
        known = 1 <= self.zone <= ZONES and self.hemisphere in _ROWS
        if not known or self.ix not in _COLUMNS or self.iy not in _ROWS[self.hemisphere]:
            raise InputError(
                f"tile {self} is not on the grid: zone 01-60, N or S, column {_COLUMNS[0]}-{_COLUMNS[-1]}, "
                f"row 0-{_ROWS['N'][-1]} (N) or {_ROWS['S'][0]}-{_ROWS['S'][-1]} (S)"
            )

    def __str__(self) -> str:
        return f"{self.zone:02d}{self.hemisphere}-{self.ix:04d}-{self.iy:04d}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Tile with the id `text`.

        Raises:
            InputError: `text` is not an id, or lies outside the grid.
        """
        match = _TILE_ID.fullmatch(text)
        if match is None:
            raise InputError(f"{text[:80]!r} is no tile id: write zone, column and row like 51N-0027-0339")
        zone, hemisphere, ix, iy = match.groups()
        return cls(int(zone), hemisphere, int(ix), int(iy))

    @property
    def epsg(self) -> int:
        """EPSG code of the tile's CRS."""
        return epsg_of(self.zone, self.hemisphere)

    @property
    def signed_zone(self) -> int:
        """UTM zone, negative in the south."""
        return self.zone if self.hemisphere == "N" else -self.zone

    def geobox(self, gsd_m: int = GSD_M, margin_px: int = 0) -> GeoBox:
        """Pixel grid of the tile.

        Args:
            gsd_m: pixel size in metres, a divisor of 10 240.
            margin_px: extra pixels of that size on every side.
        """
        if gsd_m < 1 or TILE_M % gsd_m or margin_px < 0:
            raise ValueError(f"no tile grid with {gsd_m} m pixels and a margin of {margin_px}")
        margin_m = margin_px * gsd_m
        left, top = self.ix * TILE_M - margin_m, (self.iy + 1) * TILE_M + margin_m
        size = TILE_M // gsd_m + 2 * margin_px
        return GeoBox((size, size), Affine(gsd_m, 0, left, 0, -gsd_m, top), f"EPSG:{self.epsg}")

    def footprint(self) -> BaseGeometry:
        """Lon/lat polygon of the part inside the tile's own zone and hemisphere; empty if there is none."""
        left, bottom = self.ix * TILE_M, self.iy * TILE_M
        square = shapely.box(left, bottom, left + TILE_M, bottom + TILE_M)
        square = shapely.segmentize(square, TILE_M / _POINTS_PER_SIDE)
        project = to_utm(self.epsg)

        def to_lonlat(points: np.ndarray) -> np.ndarray:
            lon, lat = project.transform(points[:, 0], points[:, 1], direction="INVERSE")
            return np.column_stack([near_zone(lon, self.zone), lat])

        return shapely.intersection(
            shapely.transform(square, to_lonlat), _zone_box(self.zone, self.hemisphere)
        )


def tiles_over(area: BaseGeometry) -> list[Tile]:
    """Tiles whose part inside their own zone meets the area, sorted.

    Args:
        area: polygon or multipolygon, lon/lat (EPSG:4326), split at 180 degrees if it crosses them.

    Raises:
        InputError: the area is empty, has no surface, or lies outside +-180 degrees or 80 S - 84 N.
    """
    area = _checked(area)
    # An area that lies altogether on a tile's edge is narrower than the tolerance: it is still someone's.
    return sorted(_search(area, _EDGE_M, _EDGE_DEG) or _search(area, 0.0, 0.0))


def _checked(area: BaseGeometry) -> BaseGeometry:
    """The area's polygons, valid and within the UTM zones."""
    if not np.isfinite(shapely.get_coordinates(area)).all():
        raise InputError("the area has coordinates that are not finite")
    parts = polygon_parts(made_valid(without_noise(area)))
    if not parts:
        raise InputError(f"the area has no surface ({area.geom_type}): give polygons")
    polygons = shapely.MultiPolygon(parts)
    west, south, east, north = polygons.bounds
    if south < MIN_LAT or north > MAX_LAT:
        raise InputError(
            f"the area reaches from latitude {south:.3f} to {north:.3f}: the UTM grids end at 80 S and 84 N, cut it there"
        )
    if west < -180 or east > 180:
        raise InputError(
            f"the area reaches from longitude {west:.3f} to {east:.3f}: split it at the 180th meridian"
        )
    return polygons


def _search(area: BaseGeometry, edge_m: float, edge_deg: float) -> list[Tile]:
    west, south, east, north = area.bounds
    hemispheres = [name for name, (low, high) in _LATITUDES.items() if south < high and north > low]
    first, last = int(zone_of(west)), ZONES if east == 180 else int(zone_of(east))
    return [
        tile
        for zone in range(first, last + 1)
        for hemisphere in hemispheres
        for tile in _search_zone(area, zone, hemisphere, edge_m, edge_deg)
    ]


def _search_zone(
    area: BaseGeometry, zone: int, hemisphere: str, edge_m: float, edge_deg: float
) -> Iterator[Tile]:
    parts = polygon_parts(shapely.intersection(area, _zone_box(zone, hemisphere, edge_deg)))
    if not parts:
        return
    project = to_utm(epsg_of(zone, hemisphere))
    inside = shapely.transform(
        shapely.segmentize(shapely.MultiPolygon(parts), _SEGMENT_DEG),
        lambda points: np.column_stack(project.transform(points[:, 0], points[:, 1])),
    )
    shapely.prepare(inside)
    ix, iy = _candidates(inside.bounds, hemisphere)
    left, bottom = ix * TILE_M + edge_m, iy * TILE_M + edge_m
    side = TILE_M - 2 * edge_m
    hit = shapely.intersects(inside, shapely.box(left, bottom, left + side, bottom + side))
    for column, row in zip(ix[hit].tolist(), iy[hit].tolist(), strict=True):
        yield Tile(zone, hemisphere, column, row)


def _candidates(bounds: tuple[float, float, float, float], hemisphere: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of all grid tiles that meet UTM bounds."""
    left, bottom, right, top = (int(value // TILE_M) for value in bounds)
    rows = _ROWS[hemisphere]
    ix, iy = np.meshgrid(
        np.arange(max(left, _COLUMNS[0]), min(right, _COLUMNS[-1]) + 1),
        np.arange(max(bottom, rows[0]), min(top, rows[-1]) + 1),
    )
    return ix.ravel(), iy.ravel()


def _zone_box(zone: int, hemisphere: str, edge_deg: float = 0.0) -> BaseGeometry:
    west, (south, north) = west_edge(zone), _LATITUDES[hemisphere]
    return shapely.box(west + edge_deg, south + edge_deg, west + ZONE_DEG - edge_deg, north - edge_deg)


@cache
def to_utm(epsg: int) -> Transformer:
    """From lon/lat to a UTM zone, x before y."""
    return Transformer.from_crs(4326, epsg, always_xy=True)


def refine(geobox: GeoBox, scale: int = SCALE) -> GeoBox:
    """HR grid of an LR grid: the same corners, `scale` times the pixels."""
    if scale < 1:
        raise ValueError(f"scale is {scale}: it must be at least 1")
    a, b, c, d, e, f = geobox.transform[:6]
    height, width = geobox.shape
    transform = Affine(a / scale, b / scale, c, d / scale, e / scale, f)
    return GeoBox((height * scale, width * scale), transform, geobox.crs)


def is_on_grid(geobox: GeoBox, gsd_m: float = GSD_M) -> bool:
    """Whether a grid is north-up with square pixels of `gsd_m` in a projected CRS in metres."""
    if geobox.crs is None or not geobox.crs.projected:
        return False
    metric = all(axis.unit_conversion_factor == 1 for axis in geobox.crs.proj.axis_info[:2])
    a, b, _, d, e, _ = geobox.transform[:6]
    return metric and bool(np.allclose([a, b, d, e], [gsd_m, 0, 0, -gsd_m], rtol=0, atol=1e-6))


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels; it may reach over the raster's edges."""

    row_off: int
    """First row."""
    col_off: int
    """First column."""
    height: int
    """Rows."""
    width: int
    """Columns."""

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns as slices of a (y, x) array; the window must not begin before the array."""
        if self.row_off < 0 or self.col_off < 0:
            raise ValueError(f"{self} begins outside the raster: clip it first")
        return (
            slice(self.row_off, self.row_off + self.height),
            slice(self.col_off, self.col_off + self.width),
        )

    def padded(self, halo_px: int) -> "Window":
        """The window with `halo_px` more pixels on every side."""
        return Window(
            self.row_off - halo_px,
            self.col_off - halo_px,
            self.height + 2 * halo_px,
            self.width + 2 * halo_px,
        )

    def clip(self, shape: tuple[int, int]) -> "Window":
        """The part inside a raster of that (height, width); height or width is 0 if there is none."""
        top, bottom = (min(max(row, 0), shape[0]) for row in (self.row_off, self.row_off + self.height))
        left, right = (min(max(col, 0), shape[1]) for col in (self.col_off, self.col_off + self.width))
        return Window(top, left, bottom - top, right - left)

    def moved(self, px: int) -> "Window":
        """The window as far down as to the right."""
        return Window(self.row_off + px, self.col_off + px, self.height, self.width)

    def scaled(self, scale: int) -> "Window":
        """The same ground in pixels `scale` times finer."""
        return Window(self.row_off * scale, self.col_off * scale, self.height * scale, self.width * scale)


def windows(shape: tuple[int, int], step: int) -> Iterator[Window]:
    """Windows of `step` pixels that cover a (height, width) raster once, row by row; the last ones are smaller."""
    if step < 1:
        raise ValueError(f"step is {step}: it must be at least 1")
    height, width = shape
    for row in range(0, height, step):
        for col in range(0, width, step):
            yield Window(row, col, min(step, height - row), min(step, width - col))


def crop(geobox: GeoBox, window: Window) -> GeoBox:
    """Grid of a window, which may reach over the edges."""
    transform = geobox.transform * Affine.translation(window.col_off, window.row_off)
    return GeoBox(window.shape, transform, geobox.crs)
