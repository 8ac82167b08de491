"""Checked scenes from raw STAC items: Earth Search, Planetary Computer, CDSE, and what else speaks like them.

A catalogue is not trusted: every field may be missing, of another type, of any length, or an attack.
Each fault is one InputError in one line.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from isamap.domain.footprint import footprint_of
from isamap.domain.scene import Asset, SceneItem
from isamap.domain.sources import BANDS, SCL, Source
from isamap.domain.utm import epsg_of
from isamap.errors import InputError

MAX_TEXT = 2048
FAULT = "isamap:fault"
"""Field of an asset of a folder: why there is no file."""

_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}", re.ASCII)
_PRODUCT = re.compile(
    r"(S2[A-Z])_MSIL2A_\d{8}T\d{6}_(?:N(\d{2})(\d{2})_)?R(\d{3})_T(\d{2}[C-X][A-Z]{2})(?:_|$|\.)", re.ASCII
)
_SHORT_ID = re.compile(r"(S2[A-Z])_T?(\d{1,2}[C-X][A-Z]{2})_\d{8}", re.ASCII)
_PLATFORM = re.compile(r"s(?:entinel)?-?2([a-z])", re.ASCII)
_MGRS = re.compile(r"(?:MGRS-|T)?(\d{1,2})([C-HJ-NP-X])([A-HJ-NP-Z]{2})", re.ASCII)
_BASELINE = re.compile(r"N?(\d{2})\.?(\d{2})", re.ASCII)
_DATATAKE = re.compile(r"GS2[A-Z]_\d{8}T\d{6}_\d{6}_N(\d{2})\.(\d{2})", re.ASCII)
_EPSG = re.compile(r"(?:EPSG:)?(32[67]\d{2})", re.ASCII)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_HTTP = re.compile(r"https?://[A-Za-z0-9.\[\]:_-]+/[^\s\\#]+", re.ASCII)
_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,62}/[^\s\\?#]+", re.ASCII)
_SYNTHETIC = ("00.00", "00.01", "99.99")
"""Baselines of test and user processing: they say nothing of the offset."""


def scene_of(item: Mapping[str, Any], source: Source) -> SceneItem:
    """Checked scene of a raw STAC item, whatever the item holds.

    Raises:
        InputError: `<id>: reason`; the item is malformed, hostile, or lacks a band.
    """
    name = item_id(item)
    if _ID.fullmatch(name) is None:
        raise InputError(f"{name!a}: is no item id: 1 to 120 of A-Z a-z 0-9 . _ -, no dot first")
    try:
        return _scene(name, item, source)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def item_id(item: Any) -> str:
    """What to call a raw item in a message: its id, shortened."""
    found = item.get("id") if isinstance(item, Mapping) else None
    return found[:130] if isinstance(found, str) else f"item without id ({type(found).__name__})"


def _scene(name: str, item: Mapping[str, Any], source: Source) -> SceneItem:
    if fault := _text(item, FAULT):
        raise InputError(fault)
    properties = _mapping(item, "properties")
    names = [_text(properties, key) for key in ("s2:product_uri", "s2:product_id", "sentinel:product_id")]
    product = next(filter(None, (_PRODUCT.match(text) for text in (*names, name))), None)
    short = _SHORT_ID.match(name)
    assets = _mapping(item, "assets")
    found = {band: _asset(assets, band, source) for band in (*BANDS, SCL)}
    baseline = _baseline(properties, product)
    declared, declaration = _declared(properties, [assets[found[band].key] for band in BANDS])
    mgrs = _mgrs(properties) or (product[5] if product else "") or (short[2].zfill(5) if short else "")
    return SceneItem(
        id=name,
        source=source.name,
        collection=_text(item, "collection") or (source.collections[0] if source.collections else ""),
        platform=_platform(properties) or (product or short or ("", ""))[1],
        orbit=_orbit(properties) or (int(product[4]) if product else None),
        mgrs=mgrs,
        datetime=_sensed(properties),
        baseline=baseline,
        cloud_cover=_percent(properties, "eo:cloud_cover"),
        epsg=_epsg([properties, *(assets[asset.key] for asset in found.values())]) or _zone(mgrs),
        footprint=footprint_of(item),
        assets=found,
        declared_offset=declared,
        declaration=declaration,
        product=next(filter(None, names), "").removesuffix(".SAFE"),
    )


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    if not isinstance(value, Mapping):
        raise InputError(f"{key} is {_kind(value)}, not an object")
    return value


def _text(parent: Mapping[str, Any], key: str) -> str:
    """A short printable text, empty if there is none."""
    value = parent.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError(f"{key} is {_kind(value)}, not text")
    if len(value) > MAX_TEXT or not value.isprintable():
        raise InputError(f"{key} is no plain text of at most {MAX_TEXT} characters")
    return value


def _number(parent: Mapping[str, Any], key: str) -> float | None:
    value = parent.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{key} is {_kind(value)}, not a number")
    if not -1e9 < value < 1e9:  # NaN, infinity, and integers no float can hold fail here, too
        raise InputError(f"{key} is out of range")
    return float(value)


def _kind(value: object) -> str:
    return "missing" if value is None else type(value).__name__[:40]


def _percent(properties: Mapping[str, Any], key: str) -> float | None:
    value = _number(properties, key)
    if value is not None and not 0 <= value <= 100:
        raise InputError(f"{key} is {value:g}, not percent")
    return value


def _sensed(properties: Mapping[str, Any]) -> str:
    """Sensing time in UTC, whole seconds."""
    text = _text(properties, "datetime") or _text(properties, "start_datetime")
    if not text:
        raise InputError("datetime is missing")
    if _TIME.fullmatch(text) is None:
        raise InputError(f"datetime {text[:40]!a} is no RFC 3339 time with a zone")
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(f"datetime {text[:40]!a} is no time") from error
    if not 2015 <= moment.year < 2100:
        raise InputError(f"datetime {text[:40]!a} is not of the years of Sentinel-2 (from 2015)")
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _platform(properties: Mapping[str, Any]) -> str:
    match = _PLATFORM.fullmatch(_text(properties, "platform").lower())
    return f"S2{match[1].upper()}" if match else ""


def _orbit(properties: Mapping[str, Any]) -> int | None:
    value = _number(properties, "sat:relative_orbit")
    if value is not None and (value % 1 or not 1 <= value <= 143):
        raise InputError(f"sat:relative_orbit is {value:g}, not 1 to 143")
    return None if value is None else int(value)


def _mgrs(properties: Mapping[str, Any]) -> str:
    zone = _number(properties, "mgrs:utm_zone")
    parts = [_text(properties, key) for key in ("mgrs:latitude_band", "mgrs:grid_square")]
    texts = [_text(properties, "grid:code"), _text(properties, "s2:mgrs_tile")]
    if zone is not None:
        texts.append("".join([f"{zone:g}", *parts]))
    for text in texts:
        if match := _MGRS.fullmatch(text):
            return match[1].zfill(2) + match[2] + match[3]
    return ""


def _zone(mgrs: str) -> int | None:
    """EPSG code of the UTM zone of an MGRS tile."""
    if not mgrs or not 1 <= int(mgrs[:2]) <= 60:
        return None
    return epsg_of(int(mgrs[:2]), "N" if mgrs[2] >= "N" else "S")


def _epsg(holders: list[Mapping[str, Any]]) -> int | None:
    """UTM zone that the item or its assets name; they must agree."""
    codes = {code for holder in holders for code in _codes(holder)}
    if len(codes) > 1:
        raise InputError(f"names several projections: {', '.join(map(str, sorted(codes)))}")
    return next(iter(codes), None)


def _codes(holder: Mapping[str, Any]) -> Iterator[int]:
    number = _number(holder, "proj:epsg")
    for text in (_text(holder, "proj:code"), "" if number is None else f"{number:.0f}"):
        if not text:
            continue
        match = _EPSG.fullmatch(text)
        if match is None or not 1 <= int(match[1][3:]) <= 60:
            raise InputError(f"projection {text[:40]!a} is no UTM zone on WGS 84")
        yield int(match[1])


def _baseline(properties: Mapping[str, Any], product: re.Match[str] | None) -> str:
    """Processing baseline, empty if nothing tells or the item contradicts itself: then only pixels can tell."""
    found = set()
    for key in ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline"):
        text = _text(properties, key)
        if match := _BASELINE.fullmatch(text):
            found.add(f"{match[1]}.{match[2]}")
        elif text and key.startswith("s2"):
            raise InputError(f"{key} {text[:40]!a} is no baseline like 05.10")
    for key in ("s2:datatake_id", "eopf:datatake_id"):
        if match := _DATATAKE.fullmatch(_text(properties, key)):
            found.add(f"{match[1]}.{match[2]}")
    if product and product[2]:
        found.add(f"{product[2]}.{product[3]}")
    return next(iter(found)) if len(found) == 1 else ""


def _asset(assets: Mapping[str, Any], band: str, source: Source) -> Asset:
    """File of a band under the first key that the item has."""
    for key in source.assets[band]:
        if assets.get(key) is None:
            continue
        asset = _mapping(assets, key)
        try:
            fault, href = _text(asset, FAULT), _text(asset, "href")
        except InputError as error:
            raise InputError(f"asset {key}: {error}") from error
        if fault:
            raise InputError(f"asset {key}: {fault}")
        return Asset(key, _checked_href(href, key, source))
    raise InputError(f"has no asset for {band} ({', '.join(source.assets[band])})")


def _checked_href(href: str, key: str, source: Source) -> str:
    """Unsigned address; whether its host is allowed is checked again whenever it is opened."""
    if not source.url:
        if not href or href.startswith("/") or _SCHEME.match(href) or ".." in href.split("/"):
            raise InputError(f"asset {key}: {href[:80]!a} is no path below the folder")
        return href
    if href.startswith("s3://") and source.signing != "s3":
        raise InputError(f"asset {key}: is on s3://, which {source.name} is not read from")
    if _HTTP.fullmatch(href) is None and _S3.fullmatch(href) is None:
        raise InputError(f"asset {key}: {href[:80]!a} is no address: https:// or s3:// is wanted")
    return href.partition("?")[0] if source.signing == "planetary-computer" else href


def _declared(properties: Mapping[str, Any], assets: list[Mapping[str, Any]]) -> tuple[int | None, str]:
    """What the item says must be added to DN, and the fields that say so; None if it says nothing clear."""
    for key in ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied"):
        applied = properties.get(key)
        if applied is not None and not isinstance(applied, bool):
            raise InputError(f"{key} is {_kind(applied)}, not true or false")
        if applied:  # raster:bands keeps its -0.1 all the same
            return 0, f"{key} true"
    offsets = {_offset(asset) for asset in assets}
    if len(offsets) != 1 or None in offsets:
        return None, "bands differ in their offset" if len(offsets) > 1 else ""
    value = offsets.pop()
    for number, meaning in ((0.0, 0), (-0.1, -1000), (-1000.0, -1000)):
        if value is not None and math.isclose(value, number, abs_tol=1e-9):
            return meaning, f"offset {value:g} in its assets"
    return None, f"offset {value:g} in its assets, which no baseline has"


def _offset(asset: Mapping[str, Any]) -> float | None:
    """Offset of one asset: raster:offset (raster 2.0), or that of its only band (raster 1.1, STAC 1.1)."""
    holders = [asset]
    for key in ("raster:bands", "bands"):
        bands = asset.get(key)
        if isinstance(bands, list) and len(bands) == 1 and isinstance(bands[0], Mapping):
            holders.append(bands[0])
    found = (_number(holder, key) for holder in holders for key in ("raster:offset", "offset"))
    return next((value for value in found if value is not None), None)


def is_synthetic(baseline: str) -> bool:
    """Whether a baseline stands for test or user processing."""
    return baseline in _SYNTHETIC
