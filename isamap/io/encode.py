"""COGs of the size of a tile, made in memory and read back before anyone may see them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio._err import CPLE_BaseError
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rio_cogeo.cogeo import cog_validate

from isamap.domain.product import BLOCK_PX
from isamap.errors import StorageError
from isamap.io.locks import storage_errors

WRITE_ENV = {
    "GDAL_CACHEMAX": 64 << 20,  # bytes
    "GDAL_TIFF_INTERNAL_MASK": True,  # no .msk file beside ours
    "GDAL_PAM_ENABLED": "NO",  # no .aux.xml either
}
GDAL_FAULTS = (RasterioError, CPLE_BaseError)


def encode(
    pixels: NDArray[Any],
    geobox: GeoBox,
    names: Sequence[str],
    nodata: float | None,
    profile: Mapping[str, Any],
    tags: Mapping[str, str],
) -> bytes:
    """The bytes of a COG; they depend on the arguments alone.

    Args:
        pixels: (band, y, x).
        geobox: their grid.
        names: of the bands.
        nodata: value that says nothing, if there is one.
        profile: creation options of the COG driver.
        tags: for the header.

    Raises:
        StorageError: what was made does not give back what went in.
    """
    with storage_errors(Path("memory"), GDAL_FAULTS), rasterio.Env(**WRITE_ENV), MemoryFile() as draft:
        with draft.open(
            driver="GTiff",
            dtype=pixels.dtype,
            count=len(pixels),
            height=geobox.shape[0],
            width=geobox.shape[1],
            crs=geobox.crs.to_wkt() if geobox.crs else None,
            transform=geobox.transform,
            nodata=nodata,
            tiled=True,
            blockxsize=BLOCK_PX,
            blockysize=BLOCK_PX,
        ) as dst:
            dst.write(pixels)
            dst.update_tags(**tags)
            for index, name in enumerate(names, start=1):
                dst.set_band_description(index, name)
        with MemoryFile() as final:
            rasterio.shutil.copy(draft.name, final.name, driver="COG", **profile)
            content = bytes(final.read())
    _check(content, pixels, geobox)
    return content


def _check(content: bytes, pixels: NDArray[Any], geobox: GeoBox) -> None:
    """Read the file back: layout, georeference, every pixel."""
    try:
        with MemoryFile(content) as file:
            valid, errors, warnings = cog_validate(file.name, strict=True, quiet=True)
            with file.open(driver="GTiff") as src:
                same = np.array_equal(src.read(), pixels)
                there = src.shape == tuple(geobox.shape) and src.transform.almost_equals(geobox.transform)
    except RasterioError as fault:
        raise StorageError(f"a COG cannot be read back from memory: {fault}") from fault
    if not (valid and same and there):
        raise StorageError(f"a COG is not what was written: {'; '.join(errors + warnings) or 'pixels'}")
