"""Finished maps and reference products, read in windows on the grid that is asked for.

A map is one GeoTIFF or a folder of tiles; a reference is any classified or fractional GeoTIFF. Where grids agree
to a hundredth of a pixel the pixels are read as they are; elsewhere they are warped, classes to the nearest pixel
and shares by area average, with GDAL's approximation kept below a hundredth of a pixel. No raster is held whole.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import RasterioError, WarpOperationError
from rasterio.warp import reproject, transform_bounds
from rasterio.windows import Window as RasterWindow

from isamap.domain.grid import Window
from isamap.domain.product import NODATA, PROBABILITY
from isamap.errors import InputError, MissingInputError
from isamap.io.guard import GDAL_ENV, check_complete, one_line, open_raster, reason
from isamap.io.placing import check_position, geobox_of

Decode = Callable[[NDArray[Any]], NDArray[Any]]
"""From stored values to uint8 classes (0, 1, 255) or float32 shares (NaN where nothing is known)."""

ALIGNED_PX = 0.01
WARP_ERROR_PX = 0.01
EDGE_POINTS = 21
MAX_SOURCE_BYTES = 1 << 30
"""A window of the target may not need more pixels of the source than this."""


def map_files(path: Path) -> tuple[Path, ...]:
    """The rasters of a map: the file itself, or the class rasters of a folder, sorted by name.

    Raises:
        MissingInputError: nothing is there.
    """
    if path.is_dir():
        found = sorted(p for p in path.glob("*.tif") if not p.name.endswith(PROBABILITY.suffix))
        if not found:
            raise MissingInputError(
                f"{path} holds no map (*.tif): run isamap infer first, or give the right folder"
            )
        return tuple(found)
    if not path.exists():
        raise MissingInputError(f"{path} does not exist")
    return (path,)


@dataclass(frozen=True)
class Sheet:
    """One open raster of a map."""

    src: Any
    """rasterio dataset."""
    geobox: GeoBox
    """Its grid."""

    @property
    def name(self) -> str:
        """Path, on one line."""
        return one_line(self.src.name)


class ClassMap:
    """One or several rasters seen as one layer. Use it in `with`; one thread at a time may read."""

    def __init__(self, files: Sequence[Path], decode: Decode) -> None:
        self.files = tuple(files)
        self._decode = decode
        self._open = ExitStack()
        self.sheets: tuple[Sheet, ...] = ()
        """The open rasters, in the order of the files."""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(rasterio.Env(**GDAL_ENV))
            sheets = []
            for path in self.files:
                src = stack.enter_context(open_raster(path))
                check_position(src)
                if src.count > 1 and src.colorinterp[1] != ColorInterp.alpha:
                    raise InputError(
                        f"{one_line(path)} has {src.count} bands, a class map has one: cut it out"
                    )
                check_complete(src, 1)
                sheets.append(Sheet(src, geobox_of(src)))
            self.sheets = tuple(sheets)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self, sheet: Sheet, window: Window) -> NDArray[Any]:
        """Decoded pixels of one sheet `(y, x)`; what lies beyond its edge is nodata."""
        inside = window.clip((sheet.geobox.shape[0], sheet.geobox.shape[1]))
        if not inside.height or not inside.width:
            return self._blank(window.shape)
        values = self._pixels(sheet, inside)
        if inside == window:
            return values
        whole = self._blank(window.shape)
        top, left = inside.row_off - window.row_off, inside.col_off - window.col_off
        whole[top : top + inside.height, left : left + inside.width] = values
        return whole

    def on(self, grid: GeoBox) -> NDArray[Any]:
        """Decoded pixels on another grid `(y, x)`; where sheets overlap the first that knows something counts."""
        result: NDArray[Any] | None = None
        for sheet in self.sheets:
            part = self._sheet_on(sheet, grid)
            if part is None:
                continue
            result = part if result is None else np.where(_unknown(result), part, result)
            if not _unknown(result).any():
                break
        return self._blank((grid.shape[0], grid.shape[1])) if result is None else result

    def _blank(self, shape: tuple[int, int]) -> NDArray[Any]:
        probe = self._decode(np.zeros((1, 1), self.sheets[0].src.dtypes[0]))
        return np.full(shape, np.nan if probe.dtype.kind == "f" else NODATA, probe.dtype)

    def _pixels(self, sheet: Sheet, window: Window) -> NDArray[Any]:
        """Decoded pixels of a window inside a sheet."""
        area = RasterWindow(window.col_off, window.row_off, window.width, window.height)
        try:
            values = sheet.src.read(1, window=area)
            unseen = _unseen(sheet.src, 1, values, area)
        except RasterioError as error:
            raise InputError(f"{sheet.name} is damaged near row {window.row_off}: {reason(error)}") from error
        if unseen is None:
            return self._decode(values)
        decoded = self._decode(np.where(unseen, values.dtype.type(0), values))
        return np.where(unseen, _nodata_of(decoded), decoded)

    def _sheet_on(self, sheet: Sheet, grid: GeoBox) -> NDArray[Any] | None:
        """One sheet's pixels on a grid, None if they lie elsewhere."""
        offset = aligned_offset(sheet.geobox, grid)
        if offset is not None:
            window = Window(*offset, grid.shape[0], grid.shape[1])
            inside = window.clip((sheet.geobox.shape[0], sheet.geobox.shape[1]))
            return self.read(sheet, window) if inside.height and inside.width else None
        needed = _covering(sheet, grid)
        if needed is None:
            return None
        if needed.height * needed.width * 4 > MAX_SOURCE_BYTES:
            raise InputError(f"{sheet.name} is much finer than the grid it is compared on: average it first")
        return _warp(self._pixels(sheet, needed), sheet, needed, grid)


def _unseen(src: Any, band: int, values: NDArray[Any], area: RasterWindow) -> NDArray[np.bool_] | None:
    """Where a raster says that it knows nothing, None where it knows everything."""
    flags = set(src.mask_flag_enums[band - 1])
    if flags == {MaskFlags.all_valid}:
        return None
    if flags == {MaskFlags.nodata} and src.nodata is not None:
        same: NDArray[np.bool_] = np.isnan(values) if np.isnan(src.nodata) else values == src.nodata
        return same
    masked: NDArray[np.bool_] = src.read_masks(band, window=area) == 0
    return masked


def _unknown(values: NDArray[Any]) -> NDArray[np.bool_]:
    unknown: NDArray[np.bool_] = np.isnan(values) if values.dtype.kind == "f" else values == NODATA
    return unknown


def _nodata_of(values: NDArray[Any]) -> Any:
    return values.dtype.type(np.nan if values.dtype.kind == "f" else NODATA)


def aligned_offset(source: GeoBox, grid: GeoBox) -> tuple[int, int] | None:
    """Row and column of `source` at which `grid` begins, or None if its pixels are not those of `source`."""
    if source.crs != grid.crs:
        return None
    a, b, c, d, e, f = (~source.transform * grid.transform)[:6]
    size = max(grid.shape)
    if max(abs(a - 1), abs(e - 1), abs(b), abs(d)) * size > ALIGNED_PX:
        return None
    row, col = round(f), round(c)
    return (row, col) if max(abs(f - row), abs(c - col)) <= ALIGNED_PX else None


def _covering(sheet: Sheet, grid: GeoBox) -> Window | None:
    """The sheet's pixels that a grid needs, None if there are none."""
    left, bottom, right, top = grid.boundingbox
    with suppress(RasterioError):  # a place the other projection cannot show is elsewhere
        box = transform_bounds(
            str(grid.crs), sheet.src.crs, left, bottom, right, top, densify_pts=EDGE_POINTS
        )
        inverse = ~sheet.geobox.transform
        corners = [inverse * (x, y) for x in (box[0], box[2]) for y in (box[1], box[3])]
        cols, rows = zip(*corners, strict=True)
        if not np.isfinite([*cols, *rows]).all():
            return None
        row, col = int(np.floor(min(rows))) - 2, int(np.floor(min(cols))) - 2
        window = Window(row, col, int(np.ceil(max(rows))) + 2 - row, int(np.ceil(max(cols))) + 2 - col)
        window = window.clip((sheet.geobox.shape[0], sheet.geobox.shape[1]))
        return window if window.height and window.width else None
    return None


def _warp(values: NDArray[Any], sheet: Sheet, window: Window, grid: GeoBox) -> NDArray[Any]:
    """Classes to the nearest pixel, shares by area average."""
    fill = _nodata_of(values)
    result = np.full(grid.shape, fill, values.dtype)
    try:
        reproject(
            values,
            result,
            src_transform=sheet.geobox.transform
            * rasterio.Affine.translation(window.col_off, window.row_off),
            src_crs=sheet.src.crs,
            src_nodata=fill,
            dst_transform=grid.transform,
            dst_crs=str(grid.crs),
            dst_nodata=fill,
            resampling=Resampling.average if values.dtype.kind == "f" else Resampling.nearest,
            tolerance=WARP_ERROR_PX,
        )
    except (RasterioError, WarpOperationError) as error:
        raise InputError(f"{sheet.name} cannot be brought to the map's grid: {reason(error)}") from error
    return result
