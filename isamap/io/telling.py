"""How an audit tells what others say of a file: without their advice, and without what it says itself."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHANGED_IN_PLACE = "This file used to have optimizations in its layout"
"""GDAL's words at every opening of a COG that was edited."""


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
