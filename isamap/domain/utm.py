"""UTM zones: which one a place lies in, its meridians, its CRS. The plain ones, without the Norway and Svalbard exceptions."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

ZONES, ZONE_DEG = 60, 6
EQUATOR_M = 10_000_000
"""Northing of the equator on southern grids."""
_EPSG_BASE = {"N": 32600, "S": 32700}


def epsg_of(zone: int, hemisphere: str) -> int:
    """EPSG code of a zone, 1-60, in the hemisphere `N` or `S`."""
    return _EPSG_BASE[hemisphere] + zone


def west_edge(zone: int) -> int:
    """Longitude at which a zone begins."""
    return zone * ZONE_DEG - 186


def zone_of(lon: ArrayLike) -> NDArray[np.int64]:
    """Zone of each longitude; 180 E begins the first one."""
    zones: NDArray[np.int64] = ((np.asarray(lon) + 180) // ZONE_DEG).astype(np.int64) % ZONES + 1
    return zones


def signed_zone_of(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.int64]:
    """Zone of each place, negative in the south."""
    zones = zone_of(lon)
    return np.where(np.asarray(lat) >= 0, zones, -zones)


def near_zone(lon: NDArray[Any], zone: int) -> NDArray[Any]:
    """The same longitudes, less than half a turn from the middle of a zone: they run on beyond the 180th meridian."""
    middle = west_edge(zone) + ZONE_DEG / 2
    found: NDArray[Any] = middle + (lon - middle + 180) % 360 - 180
    return found
