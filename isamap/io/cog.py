"""Cloud-Optimized GeoTIFFs: every block encoded once as windows arrive, checked before anyone may see them."""

import os
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rio_cogeo.cogeo import cog_validate
from zstandard import ZstdCompressor

from isamap.domain.grid import Window
from isamap.domain.product import BLOCK_PX, NODATA, ZSTD_LEVEL, Layer, overview_factors
from isamap.domain.pyramid import Pixels, Place, Pyramid
from isamap.errors import InputError, StorageError
from isamap.io import tiff
from isamap.io.guard import check_complete, open_raster
from isamap.io.store import storage_errors

WRITE_FAULTS = (OSError, RasterioError, CPLE_BaseError)
SPOOL_SUFFIX = ".spool"
"""Of the encoded blocks while the file is being made."""
READERS = 2
"""Threads that read a finished file back: nothing else is left to do by then."""


class CogWriter:
    """A one-band uint8 COG being written. Use it in `with`; leaving normally finishes and checks the file.

    Windows may come in any order. A block is encoded as soon as it is there, and one of an overview as soon as
    those under it are; the encoded blocks wait in a spool, because a COG begins with its overviews. So the bytes
    depend on the pixels alone. The checksum of every block is kept on the way in and compared with what the
    finished file gives back: a damaged ZSTD block may decode without an error.
    """

    def __init__(self, path: Path, geobox: GeoBox, layer: Layer, tags: Mapping[str, str]) -> None:
        self.path, self.geobox, self.layer = path, geobox, layer
        shape = geobox.shape[0], geobox.shape[1]
        self._pyramid = Pyramid(shape, 1 + len(overview_factors(shape)), layer.overview)
        self._tags = tags
        self._common: dict[int, tiff.Tag] = {}
        self._encoder = ZstdCompressor(level=ZSTD_LEVEL)
        self._spool = _Spool(path.with_name(path.name + SPOOL_SUFFIX))
        self._checksums: dict[Place, int] = {}
        self._is_assembled = False

    def __enter__(self) -> Self:
        with self._guard():
            self._common = tiff.template(self.geobox, self.layer, self._tags)
            self._spool.open()
        return self

    def write(self, window: Window, values: Pixels) -> None:
        """Put `values` `(y, x)` into `window` of the output grid, which must be made of whole blocks."""
        if window.row_off % BLOCK_PX or window.col_off % BLOCK_PX:
            raise ValueError(f"{window} does not begin on a block of {BLOCK_PX} px")
        for top in range(0, window.height, BLOCK_PX):
            for left in range(0, window.width, BLOCK_PX):
                place = (window.row_off + top) // BLOCK_PX, (window.col_off + left) // BLOCK_PX
                self._add(place, values[top : top + BLOCK_PX, left : left + BLOCK_PX])

    def _add(self, place: Place, pixels: Pixels) -> None:
        """Encode a block, and those of overviews that wait for nothing else."""
        if place in self._checksums:
            raise ValueError(f"{self.path}: block {place} is written twice")
        whole = _whole(pixels)
        self._checksums[place] = _checksum(whole[: pixels.shape[0], : pixels.shape[1]])
        for level, at, block in self._pyramid.add(place, whole):
            encoded = self._encoder.compress(block.data)
            with self._guard():
                self._spool.keep(level, at, encoded)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._guard(), self._spool:
            if kind is None:
                self.assemble()
            else:
                self.path.unlink(missing_ok=True)
        if kind is None:
            verify(self.path, self.geobox, self._checksums)

    def assemble(self) -> None:
        """Make the file: its head, then the blocks from the smallest overview to the full raster.

        Leaving the `with` does it for those who need not look at the file while it is being checked.
        """
        if self._is_assembled:
            return
        with self._guard():
            self._assemble()
        self._is_assembled = True

    def _assemble(self) -> None:
        levels = []
        for level, shape in enumerate(self._pyramid.shapes):
            places = self._pyramid.places(level)
            missing = [place for place in places if (level, place) not in self._spool.kept]
            if missing:
                row, col = missing[0]
                raise StorageError(f"{self.path} lacks block ({col}, {row})")
            levels.append(tiff.Blocks(shape, [self._spool.kept[level, place][1] for place in places]))
        try:
            with self.path.open("wb") as file:
                file.write(tiff.head(self._common, levels))
                for level in reversed(range(len(levels))):
                    for place in self._pyramid.places(level):
                        file.writelines(tiff.framed(self._spool.read(level, place)))
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise

    def _guard(self) -> Any:
        """Whatever fails while writing is the disk's doing."""
        return storage_errors(self.path, WRITE_FAULTS)


class _Spool:
    """Encoded blocks in the order in which they came; the file is gone when the `with` ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept: dict[tuple[int, Place], tuple[int, int]] = {}
        """Offset and size of each block, by level and place."""
        self._descriptor: int | None = None
        self._end = 0

    def open(self) -> None:
        """Begin; what a dead writer left under that name is gone."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)

    def keep(self, level: int, place: Place, encoded: bytes) -> None:
        """Put a block at the end."""
        assert self._descriptor is not None
        self.kept[level, place] = self._end, len(encoded)
        rest = memoryview(encoded)
        while rest:  # a disk that fills up takes a part first
            rest = rest[os.pwrite(self._descriptor, rest, self._end) :]
            self._end = sum(self.kept[level, place]) - len(rest)

    def read(self, level: int, place: Place) -> bytes:
        """A block again; shorter if the disk lost a part, which the check of the finished file finds."""
        assert self._descriptor is not None
        offset, size = self.kept[level, place]
        return os.pread(self._descriptor, size, offset)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self.path.unlink(missing_ok=True)


def _whole(pixels: Pixels) -> Pixels:
    """A block of full size of its own, nodata beyond the edge of the raster."""
    if pixels.shape == (BLOCK_PX, BLOCK_PX):
        return pixels.copy()
    block = np.full((BLOCK_PX, BLOCK_PX), NODATA, np.uint8)
    block[: pixels.shape[0], : pixels.shape[1]] = pixels
    return block


def _checksum(block: Pixels) -> int:
    """Of the pixels of one block."""
    return zlib.crc32(np.ascontiguousarray(block).data)


def layout_faults(path: Path) -> list[str]:
    """What makes a GeoTIFF no COG; nothing where it is one.

    rio-cogeo takes any level as wide as its blocks for one of strips: square blocks are none.

    Raises:
        rasterio.errors.RasterioError: it cannot be opened.
    """
    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    if valid:
        return []
    with rasterio.open(path, driver="GTiff") as src:
        height, width = src.block_shapes[0]
    return [fault for fault in errors + warnings if height != width or "not tiled" not in fault]


def verify(path: Path, geobox: GeoBox, checksums: Mapping[Place, int]) -> None:
    """Read a finished COG back: layout, georeference, and every block, pixel for pixel.

    Args:
        path: the COG.
        geobox: that it must have.
        checksums: crc32 of every block's pixels by block row and column.

    Raises:
        StorageError: it is not what was written: a full or broken disk, or a bug.
    """
    try:
        faults = layout_faults(path)
        if faults:
            raise StorageError(f"{path} is no valid COG: {'; '.join(faults)}")
        with open_raster(path) as src:
            check_complete(src, 1)
            if src.shape != tuple(geobox.shape) or not src.transform.almost_equals(geobox.transform):
                raise StorageError(f"{path} has lost its georeference")
            places = [place for place, _ in src.block_windows(1)]
        share = -(-len(places) // READERS)
        shares = [places[begin : begin + share] for begin in range(0, len(places), share)]
        with ThreadPoolExecutor(READERS) as readers:
            for _ in readers.map(lambda each: _compare(path, each, checksums), shares):
                pass  # the first fault, in the order of blocks
    except (RasterioError, InputError) as fault:
        raise StorageError(f"{path} cannot be read back: {fault}") from fault


def _compare(path: Path, places: Sequence[Place], checksums: Mapping[Place, int]) -> None:
    """Read some blocks back.

    Raises:
        StorageError: one is not what was written.
    """
    with open_raster(path) as src:
        for row, col in places:
            if not src.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1):
                raise StorageError(f"{path} lacks block ({col}, {row})")
            if _checksum(src.read(1, window=src.block_window(1, row, col))) != checksums.get((row, col)):
                raise StorageError(f"{path}: block ({col}, {row}) is not what was written")
