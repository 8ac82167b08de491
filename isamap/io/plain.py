"""Rasters as they are: imagery of any sensor, fine images and label pictures, with a position or without one."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from PIL import Image
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from isamap.domain.classes import UNLABELLED, Scheme
from isamap.domain.grid import Window
from isamap.errors import InputError, MissingInputError
from isamap.io.classmap import WARP_ERROR_PX, aligned_offset
from isamap.io.guard import GDAL_ENV, check_complete, one_line, open_raster, raster_window, reason
from isamap.io.placing import check_position, geobox_of, ground_size_m

STRIP_ROWS = 512
"""Rows of a label picture whose colours are decoded at once."""
MAX_PICTURE_PX = 120_000_000
"""Of a label picture that is read whole; an image of Five-Billion-Pixels has 50 million."""


def place_of(src: Any, gsd_m: float) -> GeoBox:
    """Grid of an open raster; one without a position lies at 0, 0 of a CRS that nobody knows, `gsd_m` a pixel."""
    if src.crs is None or src.transform.is_identity:
        height, width = src.shape
        return GeoBox((height, width), Affine(gsd_m, 0, 0, 0, -gsd_m, height * gsd_m), None)
    return geobox_of(src)


def is_metric(geobox: GeoBox) -> bool:
    """Whether a grid is north-up with square pixels in a CRS that shows metres true."""
    a, b, _, d, e, _ = geobox.transform[:6]
    upright = not b and not d and np.isclose(a, -e, rtol=1e-6)
    crs: Any = geobox.crs
    return bool(upright and crs.projected and ground_size_m(geobox) is None)


def read_window(src: Any, window: Window, indexes: Sequence[int] | None = None) -> NDArray[Any]:
    """Values `(band, y, x)` of a window inside a raster.

    Raises:
        InputError: the file is damaged here.
    """
    try:
        values: NDArray[Any] = src.read(list(indexes) if indexes else None, window=raster_window(window))
    except RasterioError as error:
        raise _damaged(src, window, error) from error
    return values


def _damaged(src: Any, window: Window, error: RasterioError) -> InputError:
    return InputError(f"{one_line(src.name)} is damaged near row {window.row_off}: {reason(error)}")


def read_shown(src: Any, window: Window, channels: int) -> NDArray[Any]:
    """Values `(channel, y, x)` of a window inside a raster, 0 where its nodata value, alpha band or mask hides them.

    Raises:
        InputError: the file is damaged here.
    """
    values = read_window(src, window, range(1, channels + 1))
    if src.nodata:  # of one channel alone it is a colour
        values[:, (values == src.nodata).all(axis=0)] = 0
    if isinstance(src, WarpedVRT):  # warping has heeded the others
        return values
    if ColorInterp.alpha in src.colorinterp:
        alpha = read_window(src, window, [src.colorinterp.index(ColorInterp.alpha) + 1])[0]
        values[:, alpha == 0] = 0
    elif MaskFlags.per_dataset in src.mask_flag_enums[0]:
        values[:, _mask(src, window) == 0] = 0
    return values


def _mask(src: Any, window: Window) -> NDArray[np.uint8]:
    try:
        mask: NDArray[np.uint8] = src.read_masks(1, window=raster_window(window))
    except RasterioError as error:
        raise _damaged(src, window, error) from error
    return mask


def open_checked(path: Path) -> Any:
    """Open dataset of a complete GeoTIFF or JPEG 2000 file, with a position or without."""
    src = open_raster(path)
    if src.driver == "GTiff":
        check_complete(src, 1)
    return src


@dataclass(frozen=True)
class Photo:
    """Fine colour images seen as one layer on a fine grid. Enter it before reading."""

    files: tuple[Path, ...]
    """The first that shows something counts."""
    grid: GeoBox
    """The fine grid; without a CRS the only file has it pixel for pixel."""

    def __enter__(self) -> Self:
        stack = ExitStack()
        with stack:
            stack.enter_context(rasterio.Env(**GDAL_ENV))
            sources = [stack.enter_context(open_checked(path)) for path in self.files]
            layers = [self._layer(src, stack) for src in sources]
            object.__setattr__(self, "_layers", layers)
            object.__setattr__(self, "_stack", stack.pop_all())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()  # type: ignore[attr-defined]  # set on entering

    def _layer(self, src: Any, stack: ExitStack) -> tuple[Any, int, int]:
        """A dataset, and the row and column of it at which the grid begins; warped if its pixels are not the grid's."""
        if src.count < 3:
            raise InputError(
                f"{one_line(src.name)}: a fine image has red, green and blue, this file {src.count} band(s)"
            )
        if src.dtypes[0] not in ("uint8", "uint16"):
            raise InputError(f"{one_line(src.name)}: a fine image is uint8 or uint16, not {src.dtypes[0]}")
        if self.grid.crs is None:
            if tuple(src.shape) != tuple(self.grid.shape):
                raise InputError(
                    f"{one_line(src.name)} has {src.width} x {src.height} pixels and no position, "
                    f"the imagery {self.grid.shape[1]} x {self.grid.shape[0]}"
                )
            return src, 0, 0
        check_position(src)
        offset = aligned_offset(geobox_of(src), self.grid)
        if offset is not None:
            return src, *offset
        fine = src.res[0] < 0.75 * abs(self.grid.resolution.x)
        vrt = WarpedVRT(
            src,
            crs=str(self.grid.crs),
            transform=self.grid.transform,
            height=self.grid.shape[0],
            width=self.grid.shape[1],
            resampling=Resampling.average if fine else Resampling.bilinear,
            src_nodata=0 if src.nodata is None else src.nodata,
            nodata=0,
            tolerance=WARP_ERROR_PX,
        )
        return stack.enter_context(vrt), 0, 0

    def read(self, window: Window, channels: int = 3) -> NDArray[Any]:
        """Values `(channel, y, x)` of a window of the grid, which may reach over its edges; 0 where there is nothing."""
        layers: list[tuple[Any, int, int]] = self._layers  # type: ignore[attr-defined]  # set on entering
        result = np.zeros((channels, *window.shape), layers[0][0].dtypes[0])
        for src, row, col in layers:
            missing = np.asarray(~result.any(axis=0))
            if not missing.any():
                break
            there = Window(window.row_off + row, window.col_off + col, *window.shape)
            inside = there.clip((src.shape[0], src.shape[1]))
            if not inside.height or not inside.width:
                continue
            values = read_shown(src, inside, channels)
            top, left = inside.row_off - there.row_off, inside.col_off - there.col_off
            target = (slice(None), slice(top, top + inside.height), slice(left, left + inside.width))
            result[target] = np.where(missing[target[1:]], values, result[target])
        return result


def read_mask(path: Path, scheme: Scheme) -> NDArray[np.uint8]:
    """Codes `(y, x)` of a label picture (GeoTIFF or PNG): indices, 0 unlabelled where the scheme has no 0, or colours.

    Raises:
        MissingInputError: no such file.
        InputError: it cannot be read, or has codes or colours of no class.
    """
    if not path.is_file():
        raise MissingInputError(f"{one_line(path)}: no such file")
    values = _picture(path) if path.suffix.lower() == ".png" else _tiff(path)
    try:
        if values.shape[0] >= 3:
            strips = range(0, values.shape[1], STRIP_ROWS)
            return np.concatenate([scheme.decode_rgb(values[:3, top : top + STRIP_ROWS]) for top in strips])
        codes = values[0]
        if all(one.code for one in scheme.classes):
            codes = np.where(codes == 0, np.uint8(UNLABELLED), codes)
        return scheme.check(codes)
    except InputError as fault:
        raise InputError(f"{one_line(path)}: {fault}") from fault


def _tiff(path: Path) -> NDArray[np.uint8]:
    with open_checked(path) as src:
        if src.dtypes[0] != "uint8" or src.width * src.height > MAX_PICTURE_PX:
            raise InputError(
                f"{one_line(path)}: a label picture is uint8 and has at most {MAX_PICTURE_PX} pixels"
            )
        values: NDArray[np.uint8] = read_window(src, Window(0, 0, *src.shape))
        return values


def _picture(path: Path) -> NDArray[np.uint8]:
    """A PNG as `(band, y, x)`; palette pictures give their indices."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=("PNG",))
        with picture:
            if picture.width * picture.height > MAX_PICTURE_PX:
                raise InputError(f"{one_line(path)}: has more than {MAX_PICTURE_PX} pixels: cut it")
            if picture.mode not in ("L", "P", "RGB", "RGBA"):
                raise InputError(f"{one_line(path)}: is a PNG of mode {picture.mode}, not of bytes")
            values = np.asarray(picture, np.uint8)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{one_line(path)} cannot be read as PNG: {one_line(error)}") from error
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))
