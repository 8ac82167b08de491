"""Sentinel-2 bands: their names, their order in a file, and reflectance from what is stored.

The only place for band aliases, and the only place where scale and offset are applied.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isamap.errors import InputError

QUANTIFICATION = 10_000
"""Integer imagery stores reflectance times this (ESA's QUANTIFICATION_VALUE)."""
MIN_REFLECTANCE = -0.2
"""Atmospheric correction over dark water goes a little below zero; nothing real goes below this."""
MAX_REFLECTANCE = 2.0
"""Roofs and clouds reach 1.6 and more; everything above is saturated and clipped here."""
MAX_ABOVE_SHARE = 0.01
"""Floats above MAX_REFLECTANCE in more than this share of a window are percent or DN, not reflectance."""
STRETCHED_SHARE = 0.2
"""More DN at MAX_REFLECTANCE than cloud and saturation make."""
NEARLY_BYTE, BYTE, BYTE_SPREAD = 250, 255, 50
"""Where the highest value lies, and the least spread from the 1st to the 99th percentile, of bytes in wider integers; lakes
spread less."""


@dataclass(frozen=True)
class Band:
    """One Sentinel-2 band."""

    name: str
    """ESA's name, `B02`."""
    common_name: str
    """The name STAC catalogues use for its asset, `blue`."""
    wavelength_um: float
    """Centre wavelength of Sentinel-2A."""
    gsd_m: int
    """Native ground sampling distance: 10, 20 or 60."""


BANDS: dict[str, Band] = {
    band.name: band
    for band in (
        Band("B01", "coastal", 0.4427, 60),
        Band("B02", "blue", 0.4924, 10),
        Band("B03", "green", 0.5598, 10),
        Band("B04", "red", 0.6646, 10),
        Band("B05", "rededge1", 0.7041, 20),
        Band("B06", "rededge2", 0.7405, 20),
        Band("B07", "rededge3", 0.7828, 20),
        Band("B08", "nir", 0.8328, 10),
        Band("B8A", "nir08", 0.8647, 20),
        Band("B09", "nir09", 0.9451, 60),
        Band("B10", "cirrus", 1.3735, 60),
        Band("B11", "swir16", 1.6137, 20),
        Band("B12", "swir22", 2.2024, 20),
    )
}
"""Every band of the Multi-Spectral Instrument by ESA's name."""

_ALIASES = {band.common_name: band.name for band in BANDS.values()} | {
    "red edge 1": "B05",
    "red edge 2": "B06",
    "red edge 3": "B07",
    "narrow nir": "B8A",
    "nir2": "B8A",
    "swir1": "B11",
    "swir2": "B12",
}
_NUMBERED = re.compile(r"b(?:and)?[ _]?0?([1-9]a?|1[0-2])")  # b2, B02, band_2, B8A
_COUNTED = re.compile(r"band[ _-]?0*([1-9]\d*)")  # Band 1, Band_2: GDAL's and QGIS's words, too
_RESOLUTION = re.compile(r"_(?:10|20|60)m$")  # B02_10m
_STEM = re.compile(r"(?:^|_)(B\d[\dA])(?:_[126]0m)?$")  # T32TPS_20220613T101041_B02_10m


def canonical(name: str | None) -> str | None:
    """ESA's name for any spelling of a band (`b2`, `blue`, `B02_10m`, `B2, central wavelength 490 nm`), or None."""
    if name is None:
        return None
    text = _RESOLUTION.sub("", name.split(",")[0].strip().lower())
    if text in _ALIASES:
        return _ALIASES[text]
    match = _NUMBERED.fullmatch(text)
    esa = f"B{match[1].upper():0>2}" if match else ""
    return esa if esa in BANDS else None


def given_names(descriptions: Sequence[str | None]) -> list[str | None]:
    """Descriptions of a file's bands, None in place of those that only count: `Band_1`, `Band_2` ... are no names.

    A stack of any bands is counted so, and ESA's own first bands are not told from it: the user must say.
    """
    counted = [_COUNTED.fullmatch((text or "").strip().lower()) for text in descriptions]
    places = [int(match[1]) if match else 0 for match in counted]
    counts = places[:1] == [1] and all(place in (0, number) for number, place in enumerate(places, start=1))
    return [None if counts and place else text for text, place in zip(descriptions, places, strict=True)]


def name_from_stem(stem: str) -> str | None:
    """The band that ESA's file name ends in (`..._B02_10m`), or None: JP2 files carry no band names."""
    match = _STEM.search(stem)
    return canonical(match[1]) if match else None


def parse_bands(text: str) -> tuple[str | None, ...]:
    """Bands of a file in order, from `B04,B03,-,B08`; None where `-` skips a band.

    Raises:
        InputError: a name is unknown (the nearest is named).
    """
    return tuple(None if name.strip() == "-" else _known(name) for name in text.split(","))


def _known(name: str) -> str:
    band = canonical(name)
    if band:
        return band
    near = difflib.get_close_matches(name.strip().upper(), BANDS, n=1, cutoff=0.3)
    near += difflib.get_close_matches(name.strip().lower(), _ALIASES, n=1)
    hint = f"did you mean {near[-1]}?" if near else f"known are {', '.join(BANDS)}"
    raise InputError(
        f"--bands: {name.strip()!r} is no Sentinel-2 band ({hint}); '-' skips a band of the file"
    )


def band_index(
    descriptions: Sequence[str | None], wanted: Sequence[str], override: Sequence[str | None] | None
) -> dict[str, int]:
    """1-based index of each wanted band that one file holds.

    Args:
        descriptions: band names as the file gives them.
        wanted: ESA names; those the file does not hold are left out of the result.
        override: names by the user, one per band of the file, None to skip; they replace the descriptions.

    Raises:
        InputError: a wanted band occurs twice, or the override does not fit the number of bands.
    """
    if override is not None and len(override) != len(descriptions):
        raise InputError(
            f"--bands names {len(override)} bands, but there are {len(descriptions)}: "
            "name every band in order, '-' skips one"
        )
    index: dict[str, int] = {}
    for number, text in enumerate(descriptions if override is None else override, start=1):
        name = canonical(text)
        if name is None or name not in wanted:
            continue
        if name in index:
            raise InputError(
                f"band {name} is there twice (bands {index[name]} and {number}): "
                "say with --bands which one to use ('-' skips a band)"
            )
        index[name] = number
    return index


def to_reflectance(
    values: NDArray[Any], offset: int = 0, highest: float = MAX_REFLECTANCE
) -> NDArray[np.float32]:
    """Reflectance, float32.

    Args:
        values: integer digital numbers (DN), or floats that are reflectance already.
        offset: added to DN before scaling; -1000 for processing baseline 04.00 and later.
        highest: what is brighter is given this value.
    """
    if values.dtype.kind == "f":
        clipped: NDArray[np.float32] = np.clip(values, MIN_REFLECTANCE, highest).astype(np.float32)
        return clipped
    reflectance = values.astype(np.float32)
    if offset:
        reflectance += offset
    reflectance /= QUANTIFICATION
    np.minimum(reflectance, highest, out=reflectance)
    return reflectance


def unit_doubt(visible: NDArray[np.float32]) -> str:
    """What DN look like that are allowed but hardly reflectance x 10000, as those of no real scene do; empty if they are.

    Args:
        visible: reflectance of visible bands without any offset, shape (band, pixel), without pixels that are missing.
    """
    if not visible.size:
        return ""
    above = float((visible >= MAX_REFLECTANCE).mean())
    if above > STRETCHED_SHARE:
        return f"{above:.0%} of the values mean reflectance {MAX_REFLECTANCE:g} and more: they seem stretched for display"
    if (
        not NEARLY_BYTE <= round(float(visible.max()) * QUANTIFICATION) <= BYTE
    ):  # bytes for display fill their range
        return ""
    low, high = np.percentile(visible, (1, 99), axis=1)
    if (high - low).max() >= BYTE_SPREAD / QUANTIFICATION:
        return f"no value is above {BYTE}: they seem to be bytes made for display"
    return ""


def unit_fault(values: NDArray[Any], valid: NDArray[np.bool_], offset: int = 0) -> str | None:
    """Why stored values of one band cannot be Sentinel-2 reflectance, or None.

    Args:
        values: as stored, shape (y, x).
        valid: True where the value counts, shape (y, x).
        offset: as for `to_reflectance`.
    """
    if values.dtype.kind == "f":
        return _float_fault(values, valid)
    if values.dtype.kind == "u" and offset >= MIN_REFLECTANCE * QUANTIFICATION:
        return None
    lowest = int(values.min(where=valid, initial=np.iinfo(values.dtype).max))
    if lowest + offset >= MIN_REFLECTANCE * QUANTIFICATION:
        return None
    return (
        f"value {lowest} is reflectance {(lowest + offset) / QUANTIFICATION:.2f}, which no surface has: "
        "declare it as nodata in the file, or check --offset"
    )


def _float_fault(values: NDArray[Any], valid: NDArray[np.bool_]) -> str | None:
    lowest = float(values.min(where=valid, initial=0))
    if lowest < MIN_REFLECTANCE:
        return (
            f"value {lowest:g} is no reflectance (0-1): declare it as nodata in the file, or check its unit"
        )
    above = np.count_nonzero((values > MAX_REFLECTANCE) & valid)
    if above <= MAX_ABOVE_SHARE * np.count_nonzero(valid):
        return None
    highest = float(values.max(where=valid, initial=0))
    return (
        f"value {highest:g} is no reflectance (0-1), though the file holds floats: "
        f"divide it by {100 if highest <= 250 else QUANTIFICATION}, or store DN as uint16"
    )
