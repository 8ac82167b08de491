"""Scenes in a local folder: ESA's SAFE products, or STAC items with their files beside them.

Both come back as raw items like those of a search, so that everything after it is the same; their hrefs are relative to
the folder. Nothing outside the folder is looked at, whatever an item or a product's metadata name.
"""

import json
import logging
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from isamap.domain.scene_items import FAULT
from isamap.domain.sources import Source
from isamap.errors import InputError, MissingInputError
from isamap.io.guard import one_line
from isamap.io.safe import METADATA, product_item

log = logging.getLogger(__name__)

MAX_ITEMS = 100_000
MAX_JSON_BYTES = 32 << 20
"""A search result of 1500 items as Earth Search publishes them."""
MAX_DEPTH = 6
"""Folders below the one that is named."""
_GEOTIFF = {".tif", ".tiff", ".jp2"}


def folder_source(path: Path, taken: Collection[str] = ()) -> Source:
    """Source for the scenes of a folder: `folder:NAME`, numbered where another one has that name already.

    Args:
        path: the folder.
        taken: names of the other sources.

    Raises:
        MissingInputError: there is no such folder.
    """
    _check_folder(path)
    root = path.resolve()
    plain = "".join(sign if sign.isprintable() else "_" for sign in root.name or "/")
    name, number = f"folder:{plain}", 2
    while name in taken:
        name, number = f"folder:{plain}-{number}", number + 1
    return Source(name=name, url="", collections=("sentinel-2-l2a",), root=str(root))


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise MissingInputError(
            f"{one_line(path)}: no such folder: give one with .SAFE products or STAC items"
        )


def folder_items(path: Path) -> list[dict[str, Any]]:
    """Raw items of all scenes below a folder, by id; their hrefs are relative to it.

    An asset whose file is not there, or not in the folder, says so and has no href; a product or JSON file that cannot
    be read is an item that says so and has nothing else: where scenes are checked, both are refused.

    Raises:
        MissingInputError: there is no such folder, or no scene in it.
        InputError: it holds too many.
    """
    _check_folder(path)
    root = path.resolve()
    items: list[dict[str, Any]] = []
    for found in _walk(root, 0):
        is_product = found.name == METADATA
        try:
            items += [product_item(found, root)] if is_product else _stac_items(found, root)
        except InputError as error:
            name = (found.parent if is_product else found).relative_to(root.parent)
            log.warning("%s: %s: left out", one_line(name), error)
            items.append({"id": re.sub(r"[^\w.-]", "_", name.name, flags=re.ASCII), FAULT: one_line(error)})
        if len(items) > MAX_ITEMS:
            raise InputError(f"{one_line(path)}: more than {MAX_ITEMS} scenes: name a smaller folder")
    if all(FAULT in item for item in items):
        broken = f"; {items[0]['id']} {items[0][FAULT]}" if items else ""
        raise MissingInputError(
            f"no Sentinel-2 L2A scene in the folder: expected .SAFE products ({METADATA}), STAC items or item collections "
            f"(.json, .geojson){broken}"
        )
    return sorted(items, key=lambda item: (str(item.get("id")), json.dumps(item, sort_keys=True)))


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    """Metadata of products, also where they should be, and JSON files, in order; links to elsewhere are not followed."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        log.warning("%s: cannot be listed (%s): left out", one_line(folder), error.strerror)
        return
    if (folder / METADATA).is_file() or folder.suffix.upper() == ".SAFE":
        yield folder / METADATA
        return
    for entry in entries:
        if entry.is_symlink() or entry.name.startswith("."):
            continue
        if entry.is_dir() and depth < MAX_DEPTH:
            yield from _walk(entry, depth + 1)
        elif entry.suffix.lower() in (".json", ".geojson") and entry.is_file():
            yield entry


def _stac_items(path: Path, root: Path) -> list[dict[str, Any]]:
    """The items in a JSON file, a single one or a collection of them; none if it is something else.

    Raises:
        InputError: it is no JSON, or too large.
    """
    if path.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"is larger than {MAX_JSON_BYTES >> 20} MB")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError("is no JSON") from error
    if not isinstance(document, dict):
        return []
    features = document.get("features") if document.get("type") == "FeatureCollection" else [document]
    return (
        [_in_folder(one, path, root) for one in features if _is_item(one)]
        if isinstance(features, list)
        else []
    )


def _is_item(document: Any) -> bool:
    is_feature = isinstance(document, dict) and document.get("type") == "Feature"
    return is_feature and isinstance(document.get("assets"), dict)


def _in_folder(item: dict[str, Any], path: Path, root: Path) -> dict[str, Any]:
    """An item whose assets name files of the folder, or what is wrong with them."""
    assets = {}
    for key, asset in item["assets"].items():
        if not isinstance(asset, dict):
            continue
        try:
            assets[key] = {**asset, "href": _beside(asset.get("href"), path, root)}
        except InputError as fault:
            assets[key] = {FAULT: str(fault)}
    return {**item, "assets": assets}


def _beside(href: Any, item: Path, root: Path) -> str:
    """The file that an item names, relative to the folder.

    Raises:
        InputError: it is no raster within the folder; absolute paths are not repeated.
    """
    if not isinstance(href, str) or len(href) > 2048 or "\0" in href:
        raise InputError("its href is no path")
    text = unquote(href.removeprefix("file://")) if href.startswith("file:///") else href
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) or text.startswith("/vsi"):
        raise InputError(f"is at {href.partition('?')[0][:80]!a}: scenes of a folder are files in it")
    named = text[-80:] if not Path(text).is_absolute() else Path(text).name[-80:]
    place = (item.parent / text).resolve()
    if not place.is_relative_to(root):
        raise InputError(f"{named!a} lies outside the folder")
    if place.suffix.lower() not in _GEOTIFF:
        raise InputError(f"{named!a} is no GeoTIFF or JPEG 2000 (.tif, .tiff, .jp2)")
    if not place.is_file():
        raise InputError(f"{named!a} is not there")
    return place.relative_to(root).as_posix()
