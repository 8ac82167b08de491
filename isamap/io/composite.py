"""Composites as files, on disk or on their way to a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.audit import grid_fault
from isamap.domain.composite import BAND_NAMES, NODATA, cog_profile
from isamap.domain.grid import MARGIN_PX, Tile
from isamap.errors import InputError
from isamap.io.encode import encode
from isamap.io.guard import one_line, open_raster
from isamap.io.placing import check_position, geobox_of
from isamap.io.store import read_item


@dataclass(frozen=True)
class Made:
    """A composite that is not on disk; small enough to be sent to another process."""

    content: bytes
    """Of the file it would be."""
    digest: str
    """sha256 of the content."""
    item: dict[str, Any]
    """The STAC item that would lie beside it, without checksums."""


def encode_composite(
    values: NDArray[np.uint16], looks: NDArray[np.uint16], geobox: GeoBox, tags: Mapping[str, str]
) -> bytes:
    """The file of a composite; its bytes depend on the arguments alone.

    Args:
        values: uint16, (6, y, x) in the order of `sources.BANDS`.
        looks: clear looks, uint16, (y, x).
        geobox: their grid.
        tags: for the header.
    """
    pixels = np.concatenate([values, looks[None]])
    return encode(pixels, geobox, BAND_NAMES, NODATA, cog_profile(), tags)


def read_composite(path: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Values uint16 (6, y, x) and clear looks uint16 (y, x) of a composite on disk.

    Raises:
        InputError, MissingInputError: it is none, or is not there.
    """
    with open_raster(path) as src:
        if src.descriptions != BAND_NAMES:
            raise InputError(f"{one_line(path)} is no composite: its bands are {src.descriptions}")
        pixels: NDArray[np.uint16] = src.read()
    return pixels[:-1], pixels[-1]


def check_grid(path: Path, geobox: GeoBox, tile: Tile) -> None:
    """Refuse a composite that is not exactly its tile with the margin: the map would not be that of the tile.

    Raises:
        InputError: it lies on another grid.
    """
    if fault := grid_fault(geobox, tile.geobox(margin_px=MARGIN_PX)):
        raise InputError(
            f"{one_line(path)} {fault} (with its margin): remove it and run isamap fetch, "
            "or put one on the grid of the tile there"
        )


def check_place(path: Path, tile: Tile) -> None:
    """The same of a file.

    Raises:
        InputError: it lies on another grid, or cannot be read.
    """
    with open_raster(path) as src:
        check_position(src)
        check_grid(path, geobox_of(src), tile)


def is_off_grid(path: Path | None, tile: Tile | None) -> bool:
    """Whether a raster lies where the composite of a tile belongs, but is none: nothing is mapped from it."""
    if path is None or tile is None or not path.is_file():
        return False
    try:
        with open_raster(path) as src:
            check_position(src)
            grid = geobox_of(src)
    except InputError:
        return False
    return grid_fault(grid, tile.geobox(margin_px=MARGIN_PX)) is not None


def item_beside(path: Path) -> dict[str, Any] | None:
    """The STAC item beside a composite; None if there is none.

    Raises:
        InputError: it cannot be read, so nobody knows whether the composite is whole.
        StorageError: the disk refuses to give it.
    """
    place = path.with_suffix(".json")
    item = read_item(place)
    if item is None and place.exists():
        raise InputError(
            f"{place}: is no STAC item, so whether {path.name} is whole is not known: fetch it again"
        )
    return item
