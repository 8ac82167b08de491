"""Scenes as ESA ships them: one .SAFE folder is one raw STAC item."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from isamap.domain.scene_items import FAULT
from isamap.domain.sources import SCL
from isamap.errors import InputError

METADATA = "MTD_MSIL2A.xml"
MAX_METADATA_BYTES = 16 << 20
"""Products have 50 kB."""
FILES = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), "R10m/*_{band}_10m.jp2"),
    **dict.fromkeys(("B11", "B12", SCL), "R20m/*_{band}_20m.jp2"),
}
"""Where a granule keeps its bands, below IMG_DATA."""


def product_item(metadata: Path, root: Path) -> dict[str, Any]:
    """Raw item of one product; a band whose file is not there says so.

    Args:
        metadata: its MTD_MSIL2A.xml.
        root: the folder that hrefs are relative to, and that nothing is taken from outside of.

    Raises:
        InputError: its metadata cannot be read, or it has not one granule.
    """
    product = metadata.parent
    facts = _facts(_safe_xml(metadata))
    granules = sorted(one for one in (product / "GRANULE").glob("L2A_*") if one.is_dir())
    if len(granules) != 1:
        raise InputError(f"has {len(granules)} granules instead of one")
    assets = {
        band: {**_file(granules[0] / "IMG_DATA", pattern.format(band=band), root), **_offset(facts, band)}
        for band, pattern in FILES.items()
    }
    name = facts.get("PRODUCT_URI", "").removesuffix(".SAFE") or product.name.removesuffix(".SAFE")
    tile = re.search(r"_T(\d{2}[A-Z]{3})_", name) or re.search(r"_T(\d{2}[A-Z]{3})_", granules[0].name)
    properties = {
        "datetime": facts.get("PRODUCT_START_TIME"),
        "platform": facts.get("SPACECRAFT_NAME", "").lower() or None,
        "s2:product_uri": f"{name}.SAFE",
        "s2:processing_baseline": facts.get("PROCESSING_BASELINE"),
        "s2:mgrs_tile": tile[1] if tile else None,
        "sat:relative_orbit": _number(facts.get("SENSING_ORBIT_NUMBER")),
        "eo:cloud_cover": _number(facts.get("Cloud_Coverage_Assessment")),
    }
    item = {"type": "Feature", "stac_version": "1.0.0", "id": name, "collection": "sentinel-2-l2a"}
    known = {key: value for key, value in properties.items() if value is not None}
    return {
        **item,
        "geometry": _footprint(facts.get("EXT_POS_LIST", "")),
        "properties": known,
        "assets": assets,
    }


def _file(images: Path, pattern: str, root: Path) -> dict[str, Any]:
    """Asset of the one file that the pattern names, or what is wrong with it."""
    files = sorted(images.glob(pattern))
    if len(files) != 1:
        return {FAULT: f"{len(files)} files {pattern} in IMG_DATA instead of one"}
    place = files[0].resolve()
    if not place.is_relative_to(root):
        return {FAULT: f"{files[0].name!a} is a link to a file outside the folder"}
    return {"href": place.relative_to(root).as_posix(), "type": "image/jp2"}


def _safe_xml(path: Path) -> Element:
    """Root of an XML file that declares no entities: they could name files, or grow without end.

    Raises:
        InputError: it is not there, too large, declares entities, or is no XML.
    """
    if not path.is_file():
        raise InputError(f"has no {path.name}")
    if path.stat().st_size > MAX_METADATA_BYTES:
        raise InputError(f"has a {path.name} of more than {MAX_METADATA_BYTES >> 20} MB")
    parser = XMLParser(target=_Plain())  # noqa: S314  # _Plain refuses what is dangerous before it is read
    try:
        parser.feed(path.read_bytes())
        root: Element = parser.close()
    except (ParseError, ValueError) as error:
        raise InputError(f"has a {path.name} that is no plain XML ({error})") from error
    return root


class _Plain(TreeBuilder):
    """Builds a tree, but not from a document with a DTD."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002  # as Python calls it
        """Refuse it."""
        raise ValueError(f"it has a document type {name[:40]!r}")


def _facts(root: Element) -> dict[str, str]:
    """First text of every element by its name without namespace; offsets as `offset:<band id>`."""
    facts: dict[str, str] = {}
    for element in root.iter():
        name = element.tag.rpartition("}")[2]
        text = (element.text or "").strip()[:100_000]
        if name == "BOA_ADD_OFFSET":
            facts[f"offset:{element.get('band_id')}"] = text
        elif name == "DATATAKE" and "datatakeIdentifier" in element.attrib:
            facts.setdefault("DATATAKE", element.attrib["datatakeIdentifier"])
        elif text:
            facts.setdefault(name, text)
    return facts


_BAND_IDS = {"B02": "1", "B03": "2", "B04": "3", "B08": "7", "B11": "11", "B12": "12"}
"""As the metadata count bands: 0 is B01, 8 is B8A, 10 is B10."""


def _offset(facts: Mapping[str, str], band: str) -> dict[str, Any]:
    """`raster:bands` of a band: what the product says must be added, in reflectance; 0 before baseline 04.00."""
    if band not in _BAND_IDS:
        return {}
    value = _number(facts.get(f"offset:{_BAND_IDS[band]}", "0"))
    quantification = _number(facts.get("BOA_QUANTIFICATION_VALUE")) or 10_000
    return {} if value is None else {"raster:bands": [{"offset": value / quantification}]}


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is None or abs(value) < 1e9 else None


def _footprint(text: str) -> dict[str, Any] | None:
    """Polygon of `lat lon lat lon ...`."""
    numbers = [_number(part) for part in text.split()[:20_000]]
    if len(numbers) < 8 or len(numbers) % 2 or None in numbers:
        return None
    ring = [[lon, lat] for lat, lon in zip(numbers[::2], numbers[1::2], strict=True)]
    return {"type": "Polygon", "coordinates": [ring if ring[0] == ring[-1] else [*ring, ring[0]]]}
