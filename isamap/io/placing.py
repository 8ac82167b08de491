"""Where rasters lie: the grid of a scene, and how the pixels of each of its files nest in it."""

from collections.abc import Sequence
from math import ceil, floor, inf, sqrt
from typing import Any

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.grid import GSD_M, MAX_LAT, MIN_LAT, is_on_grid
from isamap.domain.lonlat import M_PER_DEGREE, transformer
from isamap.domain.overview import places
from isamap.domain.utm import epsg_of, zone_of
from isamap.errors import InputError
from isamap.io.guard import MAX_SIDE_PX, one_line

MAX_AREA_ERROR = 0.05
"""UTM is within 0.3 % inside its zone; Web Mercator at 30 degrees is off by 33 %."""
GSD_FACTORS = (1, 2, 6)
"""Sentinel-2 pixels of 10, 20 and 60 m in 10 m pixels."""
PIXEL_ERROR_M = 1e-6
"""1 cm over a granule."""
SHIFT_PX = 1e-3
"""Corners further than this (1 cm) from the grid are another grid."""
EDGE_POINTS = 101
"""Points along each side whose UTM position is taken."""


def geobox_of(src: Any) -> GeoBox:
    """Grid of an open dataset, its CRS by EPSG code where there is one."""
    epsg = src.crs.to_epsg()
    return GeoBox(src.shape, src.transform, f"EPSG:{epsg}" if epsg else src.crs)


def check_position(src: Any) -> None:
    """Refuse a raster that does not say where it lies, or says it wrongly: no reprojection helps."""
    if src.crs is None:
        raise InputError(
            f"{one_line(src.name)}: has no CRS, so it cannot be placed or reprojected: "
            "set it if you know it (rio edit-info --crs EPSG:32650)"
        )
    if src.transform.is_identity:
        raise InputError(
            f"{one_line(src.name)}: has a CRS but no position (geotransform): set it with rio edit-info"
        )
    if not (src.crs.is_geographic or src.crs.is_projected):
        raise InputError(
            f"{one_line(src.name)}: has the CRS {name_crs(src.crs)}, which says nothing of the Earth: set the right one "
            "with rio edit-info"
        )
    if not src.crs.is_geographic:
        return
    left, bottom, right, top = geobox_of(src).boundingbox
    if max(abs(left), abs(right)) > 360 or max(abs(bottom), abs(top)) > 90:
        raise InputError(
            f"{one_line(src.name)}: has the CRS {name_crs(src.crs)}, but its coordinates ({left:.0f}, {top:.0f}) "
            "are not degrees: set the right CRS with rio edit-info"
        )


def scene_grid(files: Sequence[Any], *, reproject: bool, gsd_m: float = GSD_M) -> GeoBox:
    """The grid of a scene: that of its first file with such pixels, else, if allowed, of the local UTM zone."""
    faults = [grid_fault(geobox_of(src), gsd_m) for src in files]
    if None in faults:
        return geobox_of(files[faults.index(None)])
    if reproject:
        return utm_grid(min(files, key=lambda src: src.res), gsd_m)
    raise InputError(f"{one_line(files[0].name)}: {faults[0]}: {reprojection(gsd_m)}")


def reprojection(gsd_m: float) -> str:
    """What to do about imagery on another grid than a model of that pixel size needs."""
    return f"--reproject brings it to the UTM {gsd_m:g} m grid"


def nesting_fault(geobox: GeoBox, grid: GeoBox) -> str | None:
    """Why the pixels of a file do not nest with the grid of a scene, or None."""
    gsd_m = abs(float(grid.resolution.x))
    name = f"the {gsd_m:g} m grid"
    if geobox.crs != grid.crs:
        return f"lies in {name_crs(geobox.crs)}, {name} in {name_crs(grid.crs)}"
    a, b, left, d, e, top = geobox.transform[:6]
    factor = round(a / gsd_m)
    size_m = factor * gsd_m
    if factor not in GSD_FACTORS or not np.allclose([a, b, d, e], [size_m, 0, 0, -size_m], 0, PIXEL_ERROR_M):
        return f"has pixels of {a:.9g} x {-e:.9g} m, which do not nest in {name}"
    row_off, col_off = (top - grid.transform.f) / gsd_m, (grid.transform.c - left) / gsd_m
    if max(abs(row_off - round(row_off)), abs(col_off - round(col_off))) > SHIFT_PX:
        return f"is shifted against {name} by {-col_off % 1:.3g} pixels east, {row_off % 1:.3g} north"
    spare_rows = factor * geobox.shape[0] - grid.shape[0] - row_off
    spare_cols = factor * geobox.shape[1] - grid.shape[1] - col_off
    if min(row_off, col_off, spare_rows, spare_cols) < -SHIFT_PX:
        return f"does not cover the whole {gsd_m:g} m grid"
    return None


def grid_fault(geobox: GeoBox, gsd_m: float = GSD_M) -> str | None:
    """Why a grid is not north-up, square, of that pixel size and true to area, or None."""
    crs: Any = geobox.crs
    a, b, _, d, e, _ = geobox.transform[:6]
    if not crs.projected:
        return f"lies in {name_crs(crs)}, which is no projected CRS in metres"
    if b or d or e > 0:
        return "is rotated" if b or d else "is stored south-up"
    if not is_on_grid(geobox, gsd_m):
        return f"has pixels of {a:.9g} x {-e:.9g} ({crs.units[0]}), not {gsd_m:g} m"
    area = pyproj.Proj(crs.proj).get_factors(*_centre(geobox)).areal_scale
    if not abs(area - 1) <= MAX_AREA_ERROR:  # also where it is infinite
        return f"lies in {name_crs(crs)}, where a {gsd_m:g} m pixel covers {gsd_m * gsd_m / area:.0f} m2 of ground"
    return None


def utm_grid(src: Any, gsd_m: float = GSD_M) -> GeoBox:
    """Grid of the local UTM zone, on multiples of its pixel size, that covers a raster."""
    geobox = geobox_of(src)
    lon, lat = _centre(geobox)
    if not MIN_LAT <= lat <= MAX_LAT:  # also where there is none
        raise InputError(
            f"{one_line(src.name)}: lies outside the UTM zones (80 S - 84 N): it cannot be reprojected"
        )
    epsg = epsg_of(int(zone_of(lon)), "N" if lat >= 0 else "S")
    height, width = geobox.shape
    along = np.linspace(0, 1, EDGE_POINTS)
    x, y = _places(
        geobox,
        width * np.concatenate([along, along, np.zeros(EDGE_POINTS), np.ones(EDGE_POINTS)]),
        height * np.concatenate([np.zeros(EDGE_POINTS), np.ones(EDGE_POINTS), along, along]),
        f"EPSG:{epsg}",
    )
    left, top = floor(x.min() / gsd_m), ceil(y.max() / gsd_m)
    shape = (top - floor(y.min() / gsd_m), ceil(x.max() / gsd_m) - left)
    if max(shape) > MAX_SIDE_PX:
        raise InputError(
            f"{one_line(src.name)}: would be {shape[1]} x {shape[0]} pixels of {gsd_m:g} m: cut it"
        )
    return GeoBox(shape, Affine(gsd_m, 0, left * gsd_m, 0, -gsd_m, top * gsd_m), f"EPSG:{epsg}")


def ground_size_m(geobox: GeoBox) -> float | None:
    """Size of a pixel on the ground where the CRS does not show it true (degrees, feet, Web Mercator); else None."""
    crs: Any = geobox.crs
    if not crs.projected:
        return abs(float(geobox.resolution.y)) * M_PER_DEGREE
    unit_m = crs.proj.axis_info[0].unit_conversion_factor
    area = pyproj.Proj(crs.proj).get_factors(*_centre(geobox)).areal_scale
    if unit_m == 1 and abs(area - 1) <= MAX_AREA_ERROR:
        return None
    size_m = abs(float(geobox.resolution.x)) * unit_m / sqrt(area if 0 < area < inf else 1)
    return float(size_m)


def _centre(geobox: GeoBox) -> tuple[float, float]:
    """Longitude and latitude of the middle; infinite where the CRS does not reach."""
    height, width = geobox.shape
    lon, lat = _places(geobox, np.array([width / 2]), np.array([height / 2]), "EPSG:4326")
    return float(lon[0]), float(lat[0])


def _places(geobox: GeoBox, cols: NDArray[Any], rows: NDArray[Any], crs: str) -> tuple[Any, Any]:
    """X and y, in another CRS, of columns and rows."""
    found: tuple[Any, Any] = transformer(str(geobox.crs), crs).transform(
        *places(geobox.transform, cols, rows)
    )
    return found


def name_crs(crs: Any) -> str:
    """`EPSG:32650`, or the beginning of the definition of a CRS without a code."""
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else one_line(crs.to_wkt())[:60]
