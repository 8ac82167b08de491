"""Finished maps and reference products, read in windows on the grid that is asked for.

A map is one GeoTIFF or a folder of tiles; a reference is any classified or fractional GeoTIFF. Where grids agree
to a hundredth of a pixel the pixels are read as they are; elsewhere they are warped, classes to the nearest pixel
and shares by area average, positions being right to a hundredth of a pixel. No raster is held whole.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError, WarpOperationError

from isamap.domain.grid import Window
from isamap.domain.product import BLOCK_PX, NODATA, PROBABILITY
from isamap.errors import InputError, MissingInputError
from isamap.io.gridmatch import WARP_ERROR_PX, aligned_offset, coarse_place, covering, warped
from isamap.io.guard import GDAL_ENV, check_complete, one_line, open_raster, raster_window, reason
from isamap.io.placing import check_position, geobox_of

__all__ = ["WARP_ERROR_PX", "ClassMap", "Decode", "Sheet", "aligned_offset", "map_files"]

Decode = Callable[[NDArray[Any]], NDArray[Any]]
"""From stored values to uint8 classes (0, 1, 255) or float32 shares (NaN where nothing is known)."""

ALPHA = 2
"""The only band that a class map may have beside its own; GDAL passes over it in many types and beside a nodata value."""
SUFFIXES = (".tif", ".tiff")
MAX_SOURCE_BYTES = 1 << 30
"""A window of the target may not need more pixels of the source than this."""


def map_files(path: Path) -> tuple[Path, ...]:
    """The rasters of a map: the file itself, or the class rasters of a folder, sorted by name.

    Raises:
        MissingInputError: nothing is there.
    """
    if path.is_dir():
        rasters = (p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        found = sorted(p for p in rasters if not p.name.lower().endswith(PROBABILITY.suffix))
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
    plain: bool = False
    """Whether decoding alone tells what is unknown: no mask, and no nodata value that would have to be looked for."""

    @property
    def name(self) -> str:
        """Path, on one line."""
        return one_line(self.src.name)


class ClassMap:
    """One or several rasters seen as one layer. Use it in `with`; one thread at a time may read.

    Args:
        files: the rasters.
        decode: what their values say.
        coded: whether decoding only refuses values, and changes none.
        unknown: values that decoding takes as unknown by itself: a nodata value among them needs no mask.
    """

    def __init__(
        self, files: Sequence[Path], decode: Decode, *, coded: bool = False, unknown: Sequence[int] = ()
    ) -> None:
        self.files = tuple(files)
        self.decode = decode
        """Stored values as classes or shares."""
        self._coded, self._unknown_values = coded, tuple(unknown)
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
                sheets.append(Sheet(src, geobox_of(src), self._is_plain(src)))
            self.sheets = tuple(sheets)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def fractional(self) -> bool:
        """Whether it holds shares."""
        return bool(self._blank((1, 1)).dtype.kind == "f")

    def _is_plain(self, src: Any) -> bool:
        if src.count > 1:  # the other one is alpha
            return False
        flags = set(src.mask_flag_enums[0])
        if flags != {MaskFlags.nodata} or src.dtypes[0] != "uint8":
            return flags == {MaskFlags.all_valid}
        if src.nodata == NODATA:
            return bool(_unknown(self.decode(np.full((1, 1), NODATA, np.uint8))).all())
        return src.nodata in self._unknown_values

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
            part = self.sheet_on(sheet, grid)
            if part is None:
                continue
            result = part if result is None else np.where(_unknown(result), part, result)
            if sheet is not self.sheets[-1] and _complete(result):
                break
        return self._blank((grid.shape[0], grid.shape[1])) if result is None else result

    def as_stored(self, sheet: Sheet) -> bool:
        """Whether the stored values of a sheet are classes as they are."""
        return bool(self._coded and sheet.plain and sheet.src.dtypes[0] == "uint8")

    def strips(self, sheet: Sheet, window: Window) -> Iterator[NDArray[np.uint8]]:
        """Stored values of a window inside such a sheet, a row of blocks at a time, each overwritten by the next one.

        What is decoded is looked at while it is in the cache.
        """
        buffer = np.empty((min(BLOCK_PX, window.height), window.width), np.uint8)
        top, end = window.row_off, window.row_off + window.height
        while top < end:
            height = min(BLOCK_PX - top % BLOCK_PX, end - top)
            part = Window(top, window.col_off, height, window.width)
            with _named(sheet, part):
                yield sheet.src.read(1, window=raster_window(part), out=buffer[:height])
            top += height

    def _blank(self, shape: tuple[int, int]) -> NDArray[Any]:
        probe = self.decode(np.zeros((0, 0), self.sheets[0].src.dtypes[0]))
        return np.full(shape, np.nan if probe.dtype.kind == "f" else NODATA, probe.dtype)

    def _pixels(self, sheet: Sheet, window: Window) -> NDArray[Any]:
        """Decoded pixels of a window inside a sheet."""
        values = self._values(sheet, window)
        unseen = None if sheet.plain else _unseen(sheet, values, window)
        if unseen is None:
            return self.decode(values)
        if unseen.all():
            return self._blank(values.shape)
        seen = values.flat[unseen.argmin()]  # a value of its own, for decoding minds strange ones
        decoded = self.decode(np.where(unseen, seen, values))
        return np.where(unseen, _nodata_of(decoded), decoded)

    def _values(self, sheet: Sheet, window: Window) -> NDArray[Any]:
        """Stored values of a window inside a sheet."""
        with _named(sheet, window):
            values: NDArray[Any] = sheet.src.read(1, window=raster_window(window))
        return values

    def sheet_on(self, sheet: Sheet, grid: GeoBox) -> NDArray[Any] | None:
        """One sheet's pixels on a grid, None if they lie elsewhere."""
        offset = aligned_offset(sheet.geobox, grid)
        if offset is not None:
            window = Window(*offset, grid.shape[0], grid.shape[1])
            inside = window.clip((sheet.geobox.shape[0], sheet.geobox.shape[1]))
            return self.read(sheet, window) if inside.height and inside.width else None
        place = coarse_place(sheet.geobox, grid)
        if place is not None:
            return self._parted(sheet, grid, *place)
        found = self.around(sheet, grid)
        if found is None:
            return None
        values, part = found
        try:
            return warped(values, sheet.geobox, part, grid, _nodata_of(values))
        except (RasterioError, WarpOperationError) as error:
            raise InputError(f"{sheet.name} cannot be brought to the map's grid: {reason(error)}") from error

    def around(self, sheet: Sheet, grid: GeoBox) -> tuple[NDArray[Any], Window] | None:
        """Decoded pixels of one sheet `(y, x)` that a grid of another projection needs, and which they are; None elsewhere.

        Raises:
            InputError: they are too many.
        """
        needed = covering(sheet.geobox, grid)
        if needed is None:
            return None
        if needed.height * needed.width * 4 > MAX_SOURCE_BYTES:
            raise InputError(f"{sheet.name} is much finer than the grid it is compared on: average it first")
        return self._pixels(sheet, needed), needed

    def _parted(self, sheet: Sheet, grid: GeoBox, row: int, col: int, factor: int) -> NDArray[Any] | None:
        """Pixels of a coarser sheet, each repeated over the pixels of the grid that part it."""
        (height, width), (top, left) = grid.shape, (row // factor, col // factor)
        window = Window(top, left, -(-(row + height) // factor) - top, -(-(col + width) // factor) - left)
        inside = window.clip((sheet.geobox.shape[0], sheet.geobox.shape[1]))
        if not inside.height or not inside.width:
            return None
        values = self.read(sheet, window)
        row, col = row - top * factor, col - left * factor
        rows = values.repeat(factor, axis=1)[:, col : col + width]
        return rows.repeat(factor, axis=0)[row : row + height]


@contextmanager
def _named(sheet: Sheet, window: Window) -> Iterator[None]:
    """Say which raster is damaged, and where."""
    try:
        yield
    except RasterioError as error:
        raise InputError(f"{sheet.name} is damaged near row {window.row_off}: {reason(error)}") from error


def _unseen(sheet: Sheet, values: NDArray[Any], window: Window) -> NDArray[np.bool_] | None:
    """Where a raster says that it knows nothing, None where it knows everything."""
    flags, nodata = set(sheet.src.mask_flag_enums[0]), sheet.src.nodata
    if flags == {MaskFlags.all_valid} and sheet.src.count == 1:
        return None
    with _named(sheet, window):
        if flags == {MaskFlags.nodata} and nodata is not None:
            unseen: NDArray[np.bool_] = np.isnan(values) if np.isnan(nodata) else values == nodata
        else:
            unseen = sheet.src.read_masks(1, window=raster_window(window)) == 0
        if sheet.src.count > 1:
            unseen |= sheet.src.read(ALPHA, window=raster_window(window)) == 0
    return unseen


def _unknown(values: NDArray[Any]) -> NDArray[np.bool_]:
    unknown: NDArray[np.bool_] = np.isnan(values) if values.dtype.kind == "f" else values == NODATA
    return unknown


def _complete(values: NDArray[Any]) -> bool:
    """Whether nothing is unknown."""
    if values.dtype == np.uint8:
        return bool(values.max(initial=0) < NODATA)
    return not _unknown(values).any()


def _nodata_of(values: NDArray[Any]) -> Any:
    return values.dtype.type(np.nan if values.dtype.kind == "f" else NODATA)
