"""Scenes in a local folder: ESA's SAFE products, or STAC items with their files beside them.

Both come back as raw items like those of a search, so that everything after it is the same. Nothing outside the
folder is looked at, whatever an item or a product's metadata name.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from isamap.domain.sources import SCL, Source
from isamap.errors import InputError, MissingInputError
from isamap.io.guard import one_line

log = logging.getLogger(__name__)

METADATA = "MTD_MSIL2A.xml"
MAX_ITEMS = 100_000
MAX_ITEM_BYTES = 4 << 20
MAX_METADATA_BYTES = 16 << 20
"""Products have 50 kB."""
MAX_DEPTH = 6
"""Folders below the one that is named."""
FILES = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), "R10m/*_{band}_10m.jp2"),
    **dict.fromkeys(("B11", "B12", SCL), "R20m/*_{band}_20m.jp2"),
}
"""Where a granule keeps its bands, below IMG_DATA."""
_GEOTIFF = {".tif", ".tiff", ".jp2"}


def folder_source(path: Path) -> Source:
    """Source for the scenes of a folder.

    Raises:
        MissingInputError: there is no such folder.
    """
    if not path.is_dir():
        raise MissingInputError(
            f"{one_line(path)}: no such folder: give one with .SAFE products or STAC items"
        )
    return Source(name="folder", url="", collections=("sentinel-2-l2a",))


def folder_items(path: Path) -> list[dict[str, Any]]:
    """Raw items of all scenes below a folder, by id; their hrefs are absolute paths.

    A product without one of the bands is listed without it, and refused where scenes are checked.

    Raises:
        MissingInputError: there is no such folder, or no scene in it.
    """
    if not path.is_dir():
        raise MissingInputError(
            f"{one_line(path)}: no such folder: give one with .SAFE products or STAC items"
        )
    root = path.resolve()
    items = []
    for found in _walk(root, 0):
        try:
            item = _product_item(found, root) if found.name == METADATA else _stac_item(found, root)
        except InputError as error:
            log.warning("%s", error)
            continue
        if item is not None:
            items.append(item)
        if len(items) > MAX_ITEMS:
            raise InputError(f"{one_line(path)}: more than {MAX_ITEMS} scenes: name a smaller folder")
    if not items:
        raise MissingInputError(
            f"{one_line(path)}: no Sentinel-2 L2A scene in it: expected .SAFE products ({METADATA}) or STAC items (.json)"
        )
    return sorted(items, key=lambda item: (str(item.get("id")), json.dumps(item, sort_keys=True)))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Metadata of products and JSON files, in order; links to elsewhere are not followed."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        log.warning("%s: cannot be listed (%s): left out", one_line(folder), error.strerror)
        return
    if (folder / METADATA).is_file():
        yield folder / METADATA
        return
    for entry in entries:
        if entry.is_symlink() or entry.name.startswith("."):
            continue
        if entry.is_dir() and depth < MAX_DEPTH:
            yield from _walk(entry, depth + 1)
        elif entry.suffix.lower() in (".json", ".geojson") and entry.is_file():
            yield entry


def _stac_item(path: Path, root: Path) -> dict[str, Any] | None:
    """The item in a JSON file with the paths of its files; None if it is something else."""
    if path.stat().st_size > MAX_ITEM_BYTES:
        return None
    try:
        item = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{one_line(path)}: is no JSON: left out") from error
    if (
        not isinstance(item, dict)
        or item.get("type") != "Feature"
        or not isinstance(item.get("assets"), dict)
    ):
        return None
    item["assets"] = {
        key: {**asset, "href": str(place)}
        for key, asset in item["assets"].items()
        if isinstance(asset, dict) and (place := _beside(asset.get("href"), path, root))
    }
    return item


def _beside(href: Any, item: Path, root: Path) -> Path | None:
    """The file an item names, if it is a raster within the folder."""
    if not isinstance(href, str) or len(href) > 2048 or "\0" in href:
        return None
    text = unquote(href.removeprefix("file://")) if href.startswith("file:///") else href
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) or text.startswith("/vsi"):
        return None
    place = (item.parent / text).resolve()
    inside = place.is_relative_to(root) and place.suffix.lower() in _GEOTIFF and place.is_file()
    return place if inside else None


def _product_item(metadata: Path, root: Path) -> dict[str, Any]:
    """Item of one SAFE product."""
    product = metadata.parent
    facts = _facts(_safe_xml(metadata))
    granules = sorted(one for one in (product / "GRANULE").glob("L2A_*") if one.is_dir())
    if len(granules) != 1:
        raise InputError(f"{one_line(product)}: has {len(granules)} granules instead of one: left out")
    assets = {}
    for band, pattern in FILES.items():
        files = sorted((granules[0] / "IMG_DATA").glob(pattern.format(band=band)))
        files = [file for file in files if file.resolve().is_relative_to(root)]
        if len(files) == 1:
            assets[band] = {"href": str(files[0].resolve()), "type": "image/jp2", **_offset(facts, band)}
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


def _safe_xml(path: Path) -> Element:
    """Root of an XML file that declares no entities: they could name files, or grow without end.

    Raises:
        InputError: it is too large, declares entities, or is no XML.
    """
    if path.stat().st_size > MAX_METADATA_BYTES:
        raise InputError(f"{one_line(path)}: is larger than {MAX_METADATA_BYTES >> 20} MB: left out")
    parser = XMLParser(target=_Plain())  # noqa: S314  # _Plain refuses what is dangerous before it is read
    try:
        parser.feed(path.read_bytes())
        root: Element = parser.close()
    except (ParseError, ValueError) as error:
        raise InputError(f"{one_line(path)}: is no plain XML ({error}): left out") from error
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
