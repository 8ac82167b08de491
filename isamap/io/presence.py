"""Whether the files of a product are there; their bytes are not read."""

from collections.abc import Mapping
from typing import Any

from isamap.io.store import Target


def files_there(target: Target, item: Mapping[str, Any]) -> bool:
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
