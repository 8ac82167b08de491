"""How an audit tells what is wrong with a file, in its own words and in those of others, without their advice."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isamap import digests
from isamap.io.store import storage_errors

CHANGED_IN_PLACE = "This file used to have optimizations in its layout"
"""GDAL's words at every opening of a COG that was edited."""


def file_fault(path: Path, asset: Mapping[str, Any], *, quick: bool) -> str | None:
    """Why a file is not the one that an item describes, without its name, or None.

    Args:
        path: where the file should be.
        asset: what the item says of it.
        quick: compare sizes alone, and no checksum.

    Raises:
        StorageError: the disk does not give the file.
    """
    if not path.is_file():
        return "is missing"
    with storage_errors(path), path.open("rb"):
        size = path.stat().st_size
        if size != asset.get("file:size"):
            return f"has {size} bytes, not {asset.get('file:size')}"
        same = quick or digests.SHA256 + digests.of_file(path) == asset.get("file:checksum")
        return None if same else "is not the file its item describes (sha256)"


def told(fault: Exception, path: Path) -> str:
    """What a fault says of a file, by its name alone and without its advice: a finding has its own."""
    what = str(fault).rpartition(": ")[0] or str(fault)
    return what.replace(str(path.absolute()), path.name).replace(str(path), path.name)


@contextmanager
def layout_warnings_hushed() -> Iterator[None]:
    """Keep GDAL from warning of a COG that was changed in place each time it is opened: a finding says it once."""
    log = logging.getLogger("rasterio._env")

    def is_other(record: logging.LogRecord) -> bool:
        return CHANGED_IN_PLACE not in record.getMessage()

    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)
