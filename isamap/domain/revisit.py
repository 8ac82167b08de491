"""What a year of scenes costs before anybody has looked: scenes, bytes and hours from orbits and file layout alone.

A model for `--dry-run` where no catalogue answers; a catalogue's own count is better. It counts what the satellites pass
over: before 2017 not all of that was acquired, and no catalogue has all that was acquired.
"""

from calendar import monthrange
from collections.abc import Collection
from math import ceil, cos, radians, sqrt

REPEAT_DAYS, ORBITS = 10, 143
"""A satellite flies over the same ground again after 143 orbits in 10 days (Sentinel-2 User Handbook)."""
SWATH_KM, EQUATOR_KM = 290.0, 40_075.0
TILT_DEG = 12.0
"""Of the ground track against the meridian, the turning Earth included; a swath is that much wider along a parallel."""
MAX_LAT = 82.8
"""Systematic acquisitions end here (Sentinel-2 Mission Requirements: 56 S, 83 N for land and coast)."""
TILE_KM, GRANULE_KM, GRANULE_STEP_KM = 10.24, 109.8, 100.0
"""Granules overlap by 9.8 km, so that one pass often comes as more than one scene."""
SATELLITES = ((2015, 6), (2017, 3))
"""Month of launch of Sentinel-2A and 2B; 2C took the place of 2A in January 2025."""

BYTES_PER_PIXEL, SCL_BYTES_PER_PIXEL = 1.4, 0.1
"""uint16 with deflate and predictor 2, SCL with deflate. Blocks of 1024 x 1024 px of a red band of Earth Search
(10TFR, 2023-12-23) take 1.35-1.56 MB, that is 1.3-1.5 bytes a pixel."""
BLOCK_PX = 1024
"""Blocks of Earth Search's files, 10 m and 20 m ones; a window is read in whole blocks."""
BANDS_10M, BANDS_20M = 4, 2


def expected_scenes(lat: float, year: int, months: Collection[int] = range(1, 13)) -> float:
    """Scenes that meet a tile at that latitude in the given months, cloudy ones among them.

    Args:
        lat: degrees.
        year: of the composite.
        months: 1-12.
    """
    if abs(lat) > MAX_LAT:
        return 0.0
    spacing_km = EQUATOR_KM * cos(radians(lat)) / ORBITS
    swaths = (SWATH_KM / cos(radians(TILT_DEG)) + TILE_KM) / spacing_km
    days = sum(monthrange(year, month)[1] * _satellites(year, month) for month in set(months))
    return days / REPEAT_DAYS * min(swaths, float(ORBITS)) * _granules()


def _satellites(year: int, month: int) -> int:
    """Satellites in orbit in a month."""
    return sum((year, month) >= launched for launched in SATELLITES)


def _granules() -> float:
    """Granules of its zone that a tile meets, on average over its place in the granules' grid."""
    return ((GRANULE_KM + TILE_KM) / GRANULE_STEP_KM) ** 2


def scene_bytes(pixels: int) -> float:
    """Bytes that reading a square window of that many 10 m pixels moves, all bands and SCL.

    A window of s pixels meets (s - 1) / BLOCK_PX + 1 blocks a side on average over its place.

    Args:
        pixels: 1088 x 1088 for a tile with its margin.
    """
    side = ceil(sqrt(pixels))
    fine, coarse = (((size - 1) / BLOCK_PX + 1) ** 2 * BLOCK_PX**2 for size in (side, ceil(side / 2)))
    reflectance = (BANDS_10M * fine + BANDS_20M * coarse) * BYTES_PER_PIXEL
    return reflectance + coarse * SCL_BYTES_PER_PIXEL


def hours(gigabytes: float, megabits_per_s: float) -> float:
    """Hours that a transfer takes."""
    return gigabytes * 8e3 / megabits_per_s / 3600
