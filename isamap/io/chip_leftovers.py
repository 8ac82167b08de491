"""What lies in the folder of a chip store and is not of it: sources that its manifest does not name, remains of dead runs."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from isamap.domain.audit import Finding
from isamap.domain.chips import HR, LABELS, LR, SPLIT
from isamap.io import store
from isamap.io.leftovers import SWEPT as BY_INFER
from isamap.io.leftovers import leftovers

SWEPT = "the next isamap tile sweeps it"
UNUSED = "remove what is not needed, or name the source in the recipe"


def other_sources(folder: Path, named: Collection[str]) -> dict[str, list[str]]:
    """Sources of earlier recipes in the folder of a store, and the files that their items name.

    Args:
        folder: of the store.
        named: sources that belong to it.

    Raises:
        StorageError: the disk does not give an item.
    """
    paths = [path for path in sorted(folder.glob("*.json")) if path.is_file() and path.stem not in named]
    items = {path.stem: store.read_item(path) or {} for path in paths}
    return {
        stem: [f"{stem}.json", *(name for name in _layers(stem) if (folder / name).is_file())]
        for stem, item in items.items()
        if isinstance(properties := item.get("properties"), Mapping) and "isamap:shard" in properties
    }


def _layers(source: str) -> list[str]:
    """Rasters that a source may have."""
    return [f"{source}.{layer}.tif" for layer in (LR, HR, LABELS, SPLIT)]


def chip_leftovers(folder: Path, named: Collection[str]) -> Iterator[Finding]:
    """Findings for what does not belong in the folder of a store; files that isamap did not write are left out.

    Args:
        folder: of the store.
        named: its sources.

    Raises:
        StorageError: the disk does not give an item.
    """
    for source, files in other_sources(folder, named).items():
        what = f"{', '.join(files)}: of a source that the manifest does not name"
        yield Finding(source, "leftover", what, UNUSED)
    rasters = {path.name.removesuffix(".tif") for path in folder.glob("*.tif")}
    for finding in leftovers(folder, rasters):
        yield replace(finding, todo=SWEPT if finding.todo == BY_INFER else "remove it")
