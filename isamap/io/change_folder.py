"""The folder of change products: what lies there beside those of a run."""

from collections.abc import Collection
from pathlib import Path

from isamap.domain.changes import CHANGE
from isamap.io import store
from isamap.io.strangers import CHANGE as OF_CHANGE
from isamap.io.strangers import kind_of


def others(folder: Path, stems: Collection[str]) -> tuple[str, ...]:
    """Stems of the change products in a folder that are not among some."""
    there = {path.name.removesuffix(CHANGE.suffix) for path in folder.glob(f"*{CHANGE.suffix}")}
    return tuple(sorted(there.difference(stems)))


def withdraw(target: store.Target) -> bool:
    """Remove a change product of earlier maps: the item first, then its rasters.

    Returns:
        Whether there was one; products of another kind stay, and what somebody has put into the item.

    Raises:
        StorageError: the disk refuses.
    """
    item = store.read_item(target.item_path) or {}
    assets = item.get("assets")
    if not isinstance(assets, dict) or CHANGE.key not in assets or kind_of(item) != OF_CHANGE:
        return False
    with store.storage_errors(target.item_path):
        target.item_path.unlink()
        own = [key for key, one in assets.items() if isinstance(one, dict) and "file:checksum" in one]
        for key in own:
            (target.directory / f"{target.stem}.{key}.tif").unlink(missing_ok=True)
    return True
