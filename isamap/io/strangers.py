"""Files that isamap did not make, and products of another kind: no product takes their place.

An item of isamap has properties `isamap:...`, its rasters have tags `isamap_...`, and its pictures say which software
made them. Of its other files only an item or a journal tells, or a raster beside them.
"""

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isamap.errors import InputError

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

SOFTWARE = "isamap"
"""What a picture says under `Software` (PNG specification, 11.3.4.2)."""
MAP, MOSAIC, SHEET = "a map", "a mosaic", "a sheet of a mosaic"
SOURCE, CHIPS, CHANGE = "a source of chips", "a chip store", "a change product"
MARKS = {
    "isamap:tiles": MOSAIC,
    "isamap:shard": SOURCE,
    "isamap:shards": CHIPS,
    "isamap:tally": CHANGE,
    "isamap:looks": "a composite",
    "isamap:product": "a reference product",
    "isamap:model": MAP,
    "isamap:inputs": SHEET,
}
"""What an item describes, by the first of these properties that it has."""


def refuse_strangers(
    item_path: Path, item: Mapping[str, Any] | None, names: Collection[str], known: Collection[str]
) -> None:
    """Refuse to write a product where something else lies.

    Args:
        item_path: where its item goes.
        item: the JSON object that lies there; None for anything else, or nothing.
        names: files that the product will consist of.
        known: files beside the item that an item or a journal of isamap names.

    Raises:
        InputError: a file of somebody else has one of these names.
    """
    paths = [item_path.with_name(name) for name in sorted(set(names) - set(known))]
    unknown = [path for path in paths if path.exists()]
    rasters = [path for path in unknown if path.suffix == ".tif"]
    ours = [path for path in unknown if is_ours(path)]
    is_left = not (item or {}).get("assets") and (bool(known) or any(path in ours for path in rasters))
    if item_path.exists() and not (is_left or is_own_item(item)):
        raise stranger(item_path)
    for path in unknown:
        if path not in ours and (path in rasters or not is_left):
            raise stranger(path)


def stranger(path: Path) -> InputError:
    """What is said of a file of somebody else."""
    return InputError(f"{path} was not made by isamap: choose another folder, or move it away")


def is_own_item(item: Mapping[str, Any] | None) -> bool:
    """Whether a JSON object is an item of isamap, if perhaps a damaged one."""
    properties = (item or {}).get("properties")
    return isinstance(properties, dict) and any(key.startswith("isamap:") for key in properties)


def is_ours(path: Path) -> bool:
    """Whether isamap made a file, as far as the file itself tells; an empty one is nobody's loss."""
    if not path.is_file() or path.stat().st_size == 0:
        return path.is_file()
    return _has_tags(path) if path.suffix == ".tif" else path.suffix == ".png" and _is_signed(path)


def _has_tags(path: Path) -> bool:
    from rasterio.errors import RasterioError

    from isamap.io.guard import open_raster

    try:
        with open_raster(path, "GTiff") as src:
            return any(tag.lower().startswith("isamap_") for tag in src.tags())
    except (InputError, RasterioError):
        return False


def _is_signed(path: Path) -> bool:
    from PIL import Image

    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        try:
            with Image.open(path, formats=("PNG",)) as picture:
                return bool(picture.info.get("Software") == SOFTWARE)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return False  # no picture, or none of that size


def signature() -> "PngInfo":
    """What a picture of ours says of itself."""
    from PIL.PngImagePlugin import PngInfo

    said = PngInfo()
    said.add_text("Software", SOFTWARE)
    return said


def kind_of(item: Mapping[str, Any] | None) -> str:
    """What an item of isamap describes, by its properties; empty if nobody knows."""
    properties = (item or {}).get("properties")
    found = properties if isinstance(properties, dict) else {}
    return next((kind for mark, kind in MARKS.items() if mark in found), "")


def check_kind(item_path: Path, item: Mapping[str, Any] | None, kind: str) -> None:
    """Keep a product from taking the place of one of another kind: its files would be removed as an older version's.

    Args:
        item_path: where its item goes.
        item: the JSON object that lies there; None for anything else, or nothing.
        kind: of the product; empty if nobody knows.

    Raises:
        InputError: the item there is of another kind.
    """
    there = kind_of(item)
    if there and kind and there != kind:
        raise InputError(f"{item_path} describes another product ({there}): choose another folder")
