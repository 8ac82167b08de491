"""Cloud-Optimized GeoTIFFs: streamed in windows, given overviews, checked before anyone may see them."""

import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow
from rio_cogeo.cogeo import cog_validate

from isamap.domain.grid import Window
from isamap.domain.product import BLOCK_PX, NODATA, Layer, cog_profile, overview_factors
from isamap.errors import InputError, StorageError
from isamap.io.guard import check_complete, open_raster
from isamap.io.store import storage_errors

WRITE_ENV = {
    "GDAL_CACHEMAX": 64 << 20,  # bytes; blocks are written once, nothing comes back from this cache
    "GDAL_TIFF_INTERNAL_MASK": True,  # no .msk file beside ours
    "GDAL_PAM_ENABLED": "NO",  # no .aux.xml either
    "GDAL_TIFF_OVR_BLOCKSIZE": str(BLOCK_PX),  # overviews in the blocks that the COG will have
}
OVERVIEW_THREADS = 2
"""The model has left the cores by then, and mode over 10^8 pixels takes a second."""
GDAL_FAULTS = (RasterioError, CPLE_BaseError)


class CogWriter:
    """A one-band uint8 COG being written. Use it in `with`; leaving normally finishes and checks the file.

    The windows go to a plain tiled GeoTIFF, so they may come in any order; the COG driver then lays the blocks
    out, and its bytes depend on the pixels alone. The checksum of every block is kept on the way in and
    compared with what the finished file gives back: a damaged ZSTD block may decode without an error.
    """

    def __init__(self, path: Path, geobox: GeoBox, layer: Layer, tags: Mapping[str, str]) -> None:
        self.path, self.geobox, self.layer = path, geobox, layer
        self._draft = path.with_name(f"{path.name}.draft.tif")
        self._open = ExitStack()
        self._tags = tags
        self._dst: Any = None
        self._checksums: dict[tuple[int, int], int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack, self._guard():
            stack.enter_context(rasterio.Env(**WRITE_ENV))
            self._dst = rasterio.open(
                self._draft,
                "w",
                driver="GTiff",
                height=self.geobox.shape[0],
                width=self.geobox.shape[1],
                count=1,
                dtype="uint8",
                crs=self.geobox.crs.to_wkt() if self.geobox.crs else None,
                transform=self.geobox.transform,
                nodata=NODATA,
                tiled=True,
                blockxsize=BLOCK_PX,
                blockysize=BLOCK_PX,
                compress="ZSTD",
                zstd_level=1,
                bigtiff="IF_SAFER",
            )
            self._dst.set_band_description(1, self.layer.description)
            self._dst.update_tags(**self._tags)
            if self.layer.colours:
                self._dst.write_colormap(1, dict(self.layer.colours))
            self._open = stack.pop_all()
        return self

    def write(self, window: Window, values: NDArray[np.uint8]) -> None:
        """Put `values` `(y, x)` into `window` of the output grid, which must be made of whole blocks."""
        if window.row_off % BLOCK_PX or window.col_off % BLOCK_PX:
            raise ValueError(f"{window} does not begin on a block of {BLOCK_PX} px")
        for top in range(0, window.height, BLOCK_PX):
            for left in range(0, window.width, BLOCK_PX):
                index = (window.row_off + top) // BLOCK_PX, (window.col_off + left) // BLOCK_PX
                self._checksums[index] = _checksum(values[top : top + BLOCK_PX, left : left + BLOCK_PX])
        with self._guard():
            self._dst.write(
                values, 1, window=RasterWindow(window.col_off, window.row_off, window.width, window.height)
            )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._guard():
                self._dst.close()
                if kind is None:
                    self._add_overviews()
                    rasterio.shutil.copy(self._draft, self.path, driver="COG", **cog_profile(self.layer))
                self._draft.unlink()
            if kind is None:
                verify(self.path, self.geobox, self._checksums)
        finally:
            self._open.close()

    def _add_overviews(self) -> None:
        """Overviews of the draft, in a second opening: GDAL sees the colour table only then."""
        shape = self.geobox.shape[0], self.geobox.shape[1]
        with (
            rasterio.Env(GDAL_NUM_THREADS=OVERVIEW_THREADS),
            rasterio.open(self._draft, "r+", driver="GTiff") as draft,
        ):
            draft.build_overviews(overview_factors(shape), Resampling[self.layer.overview.lower()])

    def _guard(self) -> Any:
        """GDAL's own failures while writing are the disk's."""
        return storage_errors(self.path, GDAL_FAULTS)


def _checksum(block: NDArray[np.uint8]) -> int:
    """Of the pixels of one block."""
    return zlib.crc32(block.tobytes())


def verify(path: Path, geobox: GeoBox, checksums: Mapping[tuple[int, int], int]) -> None:
    """Read a finished COG back: layout, georeference, and every block, pixel for pixel.

    Args:
        path: the COG.
        geobox: that it must have.
        checksums: crc32 of every block's pixels by block row and column.

    Raises:
        StorageError: it is not what was written: a full or broken disk, or a bug.
    """
    try:
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        if not valid:
            raise StorageError(f"{path} is no valid COG: {'; '.join(errors + warnings)}")
        with open_raster(path) as src:
            check_complete(src, 1)
            if src.shape != tuple(geobox.shape) or not src.transform.almost_equals(geobox.transform):
                raise StorageError(f"{path} has lost its georeference")
            for (row, col), window in src.block_windows(1):
                if not src.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1):
                    raise StorageError(f"{path} lacks block ({col}, {row})")
                if _checksum(src.read(1, window=window)) != checksums.get((row, col)):
                    raise StorageError(f"{path}: block ({col}, {row}) is not what was written")
    except (RasterioError, InputError) as fault:
        raise StorageError(f"{path} cannot be read back: {fault}") from fault
