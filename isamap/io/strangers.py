"""Files that isamap did not make: no product takes their place.

An item of isamap has properties `isamap:...`, its rasters have tags `isamap_...`, and its pictures a size of their own.
"""

import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from isamap.errors import InputError


def refuse_strangers(
    item_path: Path, item: Mapping[str, Any] | None, names: Collection[str], known: Collection[str]
) -> None:
    """Refuse to write a map where something else lies.

    Args:
        item_path: where its item goes.
        item: the JSON object that lies there; None for anything else, or nothing.
        names: files that the map will consist of.
        known: files beside the item that an item or a journal of isamap names.

    Raises:
        InputError: a file of somebody else has one of these names.
    """
    unknown = [item_path.with_name(name) for name in sorted(set(names) - set(known))]
    ours = [path for path in unknown if path.exists() and is_ours(path)]
    damaged = item is None and (bool(known) or any(path.suffix == ".tif" for path in ours))
    if item_path.exists() and not (damaged or is_own_item(item)):
        raise _stranger(item_path)
    for path in unknown:
        if path.exists() and path not in ours:
            raise _stranger(path)


def _stranger(path: Path) -> InputError:
    return InputError(f"{path} is no map of isamap: choose another -o, or move it away")


def is_own_item(item: Mapping[str, Any] | None) -> bool:
    """Whether a JSON object is an item of isamap, if perhaps a damaged one."""
    properties = (item or {}).get("properties")
    return isinstance(properties, dict) and any(key.startswith("isamap:") for key in properties)


def is_ours(path: Path) -> bool:
    """Whether isamap made a raster or a picture, as far as the file itself tells; an empty file is nobody's loss."""
    if not path.is_file() or path.stat().st_size == 0:
        return path.is_file()
    return _has_panels(path) if path.suffix == ".png" else _has_tags(path)


def _has_tags(path: Path) -> bool:
    from rasterio.errors import RasterioError

    from isamap.io.guard import open_raster

    try:
        with open_raster(path, "GTiff") as src:
            return any(tag.lower().startswith("isamap_") for tag in src.tags())
    except (InputError, RasterioError):
        return False


def _has_panels(path: Path) -> bool:
    """Whether the head of a PNG is that of input beside map: 8-bit RGB, two panels of the one longer side."""
    from isamap.io.preview import BAR_PX, GAP_PX, PANEL_PX

    with path.open("rb") as file:
        head = file.read(26)
    if len(head) < 26 or head[:8] != b"\x89PNG\r\n\x1a\n":
        return False
    width, height, depth, kind = struct.unpack(">IIBB", head[16:])
    return (depth, kind) == (8, 2) and max((width - GAP_PX) / 2, height - BAR_PX) == PANEL_PX


def check_kind(item_path: Path, item: Mapping[str, Any] | None, assets: Collection[str]) -> None:
    """Keep a product from taking the place of one of another kind: its files would be removed as an older version's.

    Args:
        item_path: where its item goes.
        item: the JSON object that lies there; None for anything else, or nothing.
        assets: keys of its assets.

    Raises:
        InputError: the item there has none of them.
    """
    said = (item or {}).get("assets")
    there = (
        {key for key, asset in said.items() if isinstance(asset, dict)} if isinstance(said, dict) else set()
    )
    if there and not there & set(assets):
        raise InputError(
            f"{item_path} describes another product ({', '.join(sorted(there))}): choose another folder"
        )
