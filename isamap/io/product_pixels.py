"""A piece of a published product around one tile, read from its sheets in the product's own grid: nothing resampled."""

import logging
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.grid import Tile, Window
from isamap.domain.reference_sheets import SHEET, Published, sheets_of, tile_bounds
from isamap.domain.sources import Source
from isamap.errors import BusyError, InputError, IsamapError, MissingInputError, RemoteError
from isamap.io.classmap import aligned_offset
from isamap.io.hosts import shown
from isamap.io.remote import Raster, ScenePixels
from isamap.io.stamps import Digests

log = logging.getLogger(__name__)

MARGIN_PX = 4
"""Pixels of the product around the tile and its margin, so that the piece can be warped up to the edge."""
MAX_PIXELS = 1 << 28


@dataclass(frozen=True)
class Piece:
    """Pixels of a product around a tile."""

    pixels: NDArray[Any]
    """(y, x), as published; nodata where there is no sheet."""
    geobox: GeoBox
    """Their grid: the product's own."""
    nodata: int | None
    """Value that says nothing, if there is one."""
    place: str
    """Address the sheets came from, `{ll}` for their names; of the user's own files the name."""
    missing: tuple[str, ...]
    """Sheets that do not exist there: open sea."""


class ProductReader:
    """Reads pieces; one per process."""

    def __init__(self, product: Published, side_by_side: int = 1, allowed: tuple[str, ...] = ()) -> None:
        self.product = product
        rows = [source for _, source in product.places]
        self.pixels = ScenePixels(rows, share=side_by_side, named=allowed)

    def close(self) -> None:
        """Stop what is on its way."""
        self.pixels.close()

    def read(self, tile: Tile) -> Piece:
        """The piece of a tile, from the first place that has it.

        Raises:
            RemoteError, BusyError: no place answers.
            MissingInputError: no place has a sheet of this ground.
            InputError: the sheets of a place do not fit each other.
        """
        faults: list[IsamapError] = []
        for url, source in self.product.places:
            try:
                return self._from(url, source, tile)
            except (RemoteError, BusyError, MissingInputError) as fault:
                log.info("%s: %s: %s", tile, self.product.name, str(fault).removeprefix(f"{tile}: "))
                faults.append(fault)
        raise next((fault for fault in faults if not isinstance(fault, MissingInputError)), faults[-1])

    def _from(self, url: str, source: Source, tile: Tile) -> Piece:
        """The piece from one place."""
        canvas: _Canvas | None = None
        missing = []
        for name, href in sheets_of(url, tile).items():
            try:
                sheet = self.pixels.raster(source, href, next(iter(source.collections), ""))
            except MissingInputError:
                missing.append(name)
                continue
            canvas = canvas or _Canvas(sheet, tile, self.product)
            canvas.paste(sheet, href)
        if canvas is None or not canvas.painted:
            lacking = f": no sheet {', '.join(missing)}" if any(missing) else ""
            place = str(Path(source.root, url)) if source.root else url
            raise MissingInputError(f"{tile}: {place} has nothing of this ground{lacking}")
        return Piece(canvas.pixels, canvas.geobox, canvas.nodata, url, tuple(missing))


class _Canvas:
    """The piece being put together, on the lattice of its first sheet."""

    def __init__(self, first: Raster, tile: Tile, product: Published) -> None:
        codes = product.reference.nodata
        self.nodata = codes[0] if codes else (None if first.nodata is None else int(first.nodata))
        self.geobox = _around(first.geobox, tile)
        height, width = self.geobox.shape
        if height * width > MAX_PIXELS:
            raise InputError(f"{tile}: {width} x {height} pixels of {product.name} are too many for one tile")
        self.pixels: NDArray[Any] = np.full((height, width), self.nodata or 0, first.dtype)
        self.painted = False

    def paste(self, sheet: Raster, href: str) -> None:
        """Put what a sheet has of this ground where it belongs."""
        offset = aligned_offset(sheet.geobox, self.geobox)
        if offset is None or sheet.dtype != self.pixels.dtype:
            raise InputError(
                f"{shown(href)}: differs from its neighbour in grid or type: fetch from another place"
            )
        wanted = Window(*offset, *self.pixels.shape)
        inside = wanted.clip((sheet.geobox.shape[0], sheet.geobox.shape[1]))
        if inside.height and inside.width:
            row, col = inside.row_off - wanted.row_off, inside.col_off - wanted.col_off
            self.pixels[row : row + inside.height, col : col + inside.width] = sheet.read(inside)
            self.painted = True


def _around(grid: GeoBox, tile: Tile) -> GeoBox:
    """The lattice of a sheet around a tile, beyond the sheet's edges too."""
    left, bottom, right, top = tile_bounds(tile, grid.crs)
    cols, rows = zip(*(~grid.transform * corner for corner in ((left, top), (right, bottom))), strict=True)
    col, row = floor(min(cols)) - MARGIN_PX, floor(min(rows)) - MARGIN_PX
    width, height = ceil(max(cols)) + MARGIN_PX - col, ceil(max(rows)) + MARGIN_PX - row
    return GeoBox((height, width), grid.transform * Affine.translation(col, row), grid.crs)


def place_of(text: str) -> tuple[str, Source]:
    """Address template and source of a place that the user names: an address or a file, with or without `{ll}`."""
    if text.startswith(("http://", "https://")):
        root = "/".join(text.split("/", 3)[:3])
        return text, Source(root, root, ())
    path = Path(text).absolute()
    above = next((folder for folder in reversed(path.parents) if SHEET in folder.name), path)
    return str(path.relative_to(above.parent)), Source("folder", "", (), root=str(above.parent))


def own_files(product: Published, tile: Tile, cache: Path, *, read: bool) -> dict[str, str | None]:
    """Digests of the user's own files that a tile's piece is cut from, by name; none of what servers have.

    Args:
        product: with the places it is fetched from.
        tile: of the piece.
        cache: folder that keeps digests.
        read: whether files are read; else the digest is None where a file is not the one that was read before.

    Raises:
        InputError: a file cannot be read.
        StorageError: digests cannot be kept.
    """
    found: dict[str, str | None] = {}
    for url, source in product.places:
        kept = Digests(Path(source.root), cache)
        for name in sheets_of(url, tile).values() if source.root else ():
            if Path(source.root, name).is_file():
                found[name] = (kept.of if read else kept.kept)(product.name, [name])[0]
    return found
