"""Whether a product is there, as its item tells; its bytes are not read."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from isamap.io.store import Target, read_item, storage_errors


def items_in(directory: Path) -> frozenset[str]:
    """Names of the products that have an item in a folder: where none has, thousands need not be looked for.

    Raises:
        StorageError: the folder cannot be read.
    """
    with storage_errors(directory):
        paths = list(directory.iterdir()) if directory.is_dir() else []
    return frozenset(path.stem for path in paths if path.suffix == ".json")


def standing(target: Target, compare: Callable[[dict[str, Any]], str], *, overwrite: bool) -> str:
    """`new` without an item; `stale` where it cannot be read, files are missing, or `overwrite` asks for it anew.

    Args:
        target: the product.
        compare: what is to be said of an item whose files are there.
        overwrite: whether finished products are made again.
    """
    if not target.item_path.is_file():
        return "new"
    item = read_item(target.item_path)
    if overwrite or item is None or not _files_there(target, item):
        return "stale"
    return compare(item)


def _files_there(target: Target, item: Mapping[str, Any]) -> bool:
    """Whether every file that an item names lies beside it in the size that it says."""
    assets = item.get("assets")
    if not isinstance(assets, dict) or not assets:
        return False
    return all(_is_there(target, asset) for asset in assets.values())


def _is_there(target: Target, asset: Any) -> bool:
    href = asset.get("href") if isinstance(asset, dict) else None
    if not isinstance(href, str) or not href.startswith("./"):
        return False
    path = target.directory / href[2:]
    return path.is_file() and path.stat().st_size == asset.get("file:size")
