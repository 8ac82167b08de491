"""The guarded opening of one raster file: nothing but GeoTIFF and JPEG 2000, nothing beside the file, nothing huge.

A VRT renamed to .tif reads any file or address it names, a 46 kB TIFF can declare 10^6 x 10^6 pixels, and a
GeoTIFF cut off in the middle opens without complaint; each is refused here, before a pixel is read.
"""

import logging
import os
import re
import threading
import warnings
from collections.abc import Collection
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import Interleaving
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from isamap.domain.grid import Window
from isamap.errors import InputError, MissingInputError
from isamap.io.names import check_utf8

log = logging.getLogger(__name__)

# With several threads GDAL's JPEG 2000 reader loses the error of a block that does not decode and gives zeros, which
# are nodata. Read at every call, and whatever the user has set: several files are read at once anyway.
os.environ["GDAL_NUM_THREADS"] = "1"

GDAL_ENV: dict[str, str | int] = {
    # BYTES: rasterio hands an integer to GDALSetCacheMax64, so 64 would be 64 bytes and reads 6 times slower.
    # A scene asks for three rows of its blocks if that is more; whatever is beyond only makes memory grow with rasters.
    "GDAL_CACHEMAX": 64 << 20,
    # No .ovr, .msk, .aux.xml or world file beside the raster is looked for: only the named file is input.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    # Nor is one written.
    "GDAL_PAM_ENABLED": "NO",
    # The position comes from inside the file.
    "GDAL_GEOREF_SOURCES": "INTERNAL",
}
"""GDAL options for reading imagery. They are process-wide and in force while a Scene is entered."""

MAX_SIDE_PX = 200_000
"""2000 km of 10 m pixels; a Sentinel-2 granule has 10 980."""
MAX_BANDS = 64
MAX_BLOCK_BYTES = 256 << 20
"""GDAL decodes whole blocks: a granule kept as one strip per band (241 MB) passes."""
DTYPES = ("uint16", "int16", "float32", "float64")
_PSEUDO_PATH = re.compile(r"/vsi|<|[A-Za-z][A-Za-z0-9_+.]+:", re.ASCII)
_OPEN_LOCK = threading.Lock()


def open_raster(path: Path, driver: str = "") -> Any:
    """Open dataset of a GeoTIFF or JPEG 2000 file whose size is within the limits.

    Args:
        path: the file.
        driver: GDAL's, where the file's name does not tell: `GTiff` or `JP2OpenJPEG`.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is something else, or larger than the limits.
    """
    check_file(path)
    driver = driver or ("JP2OpenJPEG" if path.suffix.lower() == ".jp2" else "GTiff")
    try:
        # Options are process-wide: without the lock another thread's exit would switch ours off.
        with _OPEN_LOCK, rasterio.Env(**GDAL_ENV), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            src = rasterio.open(path.absolute(), driver=driver, sharing=False)
    except RasterioError as error:
        raise InputError(
            f"{one_line(path)}: cannot be opened as {driver} ({reason(error)}): fetch it again, or convert it"
        ) from error
    _check_size(src, path)
    if path.with_name(f"{path.name}.msk").exists():
        _warn_of_mask(path)
    return src


@cache
def _warn_of_mask(path: Path) -> None:
    """Say once per process that a mask beside a raster is no part of it."""
    log.warning(
        "%s.msk is not read, only the raster itself is input: put the mask inside (gdal_translate --config "
        "GDAL_TIFF_INTERNAL_MASK YES %s masked.tif)",
        *(one_line(path), one_line(path)),
    )


def raster_window(window: Window) -> RasterWindow:
    """The same window for reading and writing with rasterio, which counts columns first."""
    return RasterWindow(window.col_off, window.row_off, window.width, window.height)


def check_file(path: Path) -> None:
    """Refuse what is no file with something in it for this user, before anything of it is read.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is something else, closed to this user, or empty, or its name is not UTF-8.
    """
    is_virtual = str(path.absolute()).startswith("/vsi")  # to GDAL, even where a folder is called so
    if is_virtual or (_PSEUDO_PATH.match(str(path)) and not os.path.lexists(path)):
        raise InputError(
            f"{one_line(path)}: names a GDAL virtual file, not a file on disk: give a plain path"
        )
    if not path.exists():
        raise MissingInputError(f"{one_line(path)}: no such file")
    check_utf8(path)
    if not path.is_file():
        raise InputError(f"{one_line(path)}: is no regular file: give a GeoTIFF (or .jp2)")
    if not os.access(path, os.R_OK):
        raise InputError(f"{one_line(path)}: may not be read: make it readable for this user")
    if path.stat().st_size == 0:
        raise InputError(f"{one_line(path)}: is empty (0 bytes): fetch it again")


def _check_size(src: Any, path: Path) -> None:
    height, width = src.shape
    block_bytes = max(h * w for h, w in src.block_shapes) * _item_bytes(src.dtypes[0])
    block_bytes *= src.count if src.interleaving == Interleaving.pixel else 1
    fault = ""
    if max(height, width) > MAX_SIDE_PX:
        fault = f"declares {width} x {height} pixels, more than {MAX_SIDE_PX} a side: cut it"
    elif src.count > MAX_BANDS:
        fault = f"has {src.count} bands, more than {MAX_BANDS}: keep the Sentinel-2 bands"
    elif block_bytes > MAX_BLOCK_BYTES:
        fault = f"has blocks of {block_bytes >> 20} MB, more than {MAX_BLOCK_BYTES >> 20}: write it tiled"
    if fault:
        src.close()
        raise InputError(f"{one_line(path)}: {fault}")


def _item_bytes(dtype: str) -> int:
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 16


def check_bands(src: Any, indexes: Collection[int]) -> None:
    """Refuse bands of a type that no reflectance is stored in, and files shorter than their own directory says."""
    for index in indexes:
        if src.dtypes[index - 1] not in DTYPES:
            raise InputError(
                f"{one_line(src.name)}: band {index} is {src.dtypes[index - 1]}: "
                f"reflectance is read from {', '.join(DTYPES)}"
            )
    if src.driver == "GTiff":
        for index in indexes if src.interleaving == Interleaving.band else (1,):
            check_complete(src, index)


def check_complete(src: Any, index: int) -> None:
    """Refuse an open GeoTIFF that ends before a block of one band does (1-based; band 1 stands for all if pixel-interleaved).

    Raises:
        InputError: the file is cut off.
    """
    height, width = src.block_shapes[index - 1]
    size_bytes = Path(src.name).stat().st_size
    for y in range(ceil(src.height / height)):
        for x in range(ceil(src.width / width)):
            offset = src.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=index)
            length = src.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=index)
            if offset and int(offset) + int(length) > size_bytes:
                raise InputError(
                    f"{one_line(src.name)}: is cut off: it ends at byte {size_bytes}, "
                    f"but block ({x}, {y}) ends at byte {int(offset) + int(length)}: fetch it again"
                )


def one_line(text: object) -> str:
    """Text on one line: file names and GDAL's messages may hold line breaks."""
    return " ".join(str(text).split("\n"))


def reason(error: BaseException) -> str:
    """GDAL's own words for a failed read."""
    return one_line(error.__cause__ or error).strip()
