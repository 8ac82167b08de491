"""The files of one scene: how their pixels lie on the scene's 10 m grid and are read."""

from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil, hypot, isclose, isnan
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp, Interleaving, MaskFlags, Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from isamap.domain.bands import QUANTIFICATION
from isamap.domain.lonlat import transformer
from isamap.domain.overview import places
from isamap.errors import InputError
from isamap.io.gridmatch import WARP_ERROR_PX
from isamap.io.guard import one_line, open_raster, reason
from isamap.io.placing import geobox_of, nesting_fault, reprojection


@dataclass(frozen=True)
class Layer:
    """One file of a scene and how its pixels lie on the scene's 10 m grid."""

    path: Path
    """The file."""
    bands: dict[str, int]
    """1-based index of each wanted band it holds."""
    factor: int
    """10 m pixels in one of its pixels, along one side."""
    row_off: int
    """First row of the scene, counted from the file's first row in 10 m pixels."""
    col_off: int
    """First column of the scene, counted likewise."""
    warp: GeoBox | None
    """Grid it is warped to, or None: its own pixels are read."""
    nodata: float | None
    """Declared nodata."""
    integer: bool
    """Whether it stores DN."""
    undeclared: bool
    """Whether it declares no nodata: 0 in every band then means nothing was seen."""
    masked: bool
    """Whether a mask says which pixels count."""
    alpha: int
    """1-based index of the alpha band that says so, 0 without one."""
    blocks: tuple[int, int]
    """Columns of blocks, and how many pixels of the scene one is wide."""
    block_bytes: int
    """Of one block in all bands that are decoded with it."""

    def cache_bytes(self, width_px: int) -> int:
        """Three rows of its blocks under and beside so many pixels: with less, the halo is decoded again and again."""
        columns, block_px = self.blocks
        return 3 * self.block_bytes * (columns if self.warp else min(columns, -(-width_px // block_px) + 2))


def lay_out(src: Any, bands: dict[str, int], grid: GeoBox, *, reproject: bool) -> Layer:
    """How one open file lies on a scene's grid; warped to it, if allowed, where it does not nest.

    Raises:
        InputError: it lies on another grid.
    """
    geobox, warp = geobox_of(src), None
    if fault := nesting_fault(geobox, grid):
        if not reproject:
            raise InputError(f"{one_line(src.name)}: {fault}: {reprojection(grid.resolution.x)}")
        geobox = warp = grid
    first = next(iter(bands.values())) - 1
    alpha = alpha_of(src, bands.values())
    flags = src.mask_flag_enums[first]
    masked = MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags
    if warp and (masked or alpha):
        kind = "a mask" if masked else "an alpha"
        raise InputError(
            f"{one_line(src.name)}: has {kind} band, which is not reprojected: write it into nodata"
        )
    height, width = src.block_shapes[first]
    dtype = src.dtypes[first]
    depth = src.count if src.interleaving == Interleaving.pixel else len(bands) + (alpha > 0)
    factor = round(geobox.resolution.x / grid.resolution.x)
    nodata, integer = _nodata(src, first), not dtype.startswith("float")
    return Layer(
        path=Path(src.name),
        bands=bands,
        factor=factor,
        row_off=round((geobox.boundingbox.top - grid.boundingbox.top) / grid.resolution.x),
        col_off=round((grid.boundingbox.left - geobox.boundingbox.left) / grid.resolution.x),
        warp=warp,
        nodata=nodata,
        integer=integer,
        undeclared=nodata is None and (integer or src.nodatavals[first] is None),  # NaN of floats is declared
        masked=masked,
        alpha=alpha,
        blocks=(ceil(src.width / width), width * factor),
        block_bytes=width * height * depth * np.dtype(dtype).itemsize,
    )


def alpha_of(src: Any, used: Collection[int]) -> int:
    """1-based index of the alpha band of an open file, 0 without one; GDAL makes masks of those of 2 or 4 bands alone.

    Args:
        src: the file.
        used: indexes of its bands that hold reflectance, however they are to be shown.
    """
    alphas = (index for index, shown in enumerate(src.colorinterp, start=1) if shown == ColorInterp.alpha)
    return next((index for index in alphas if index not in used), 0)


def _nodata(src: Any, band: int) -> float | None:
    """Declared nodata that a stored value can equal."""
    nodata: float | None = src.nodatavals[band]
    if nodata is None or isnan(nodata):  # pixels that are not finite are never valid
        return None
    limits = None if src.dtypes[band].startswith("float") else np.iinfo(src.dtypes[band])
    possible = limits is None or (limits.min <= nodata <= limits.max and nodata.is_integer())
    return nodata if possible else None


@dataclass(frozen=True)
class LayerFile:
    """One file of a scene, open in one thread."""

    layer: Layer
    """How it lies on the scene's grid."""
    values: Any
    """Dataset its values are read from."""
    nearest: Any
    """The same dataset, or if it is warped, its warp without interpolation: what is missing stays missing."""
    unfilled: Any = None
    """Of warped floats that may be NaN, or 0 in every band, where they are missing: the warp that leaves 0 out."""

    def read(
        self,
        rows: NDArray[np.intp],
        cols: NDArray[np.intp],
        valid: NDArray[np.bool_],
        seen: NDArray[np.bool_],
    ) -> NDArray[Any]:
        """Values as stored, (band, y, x), at rows and columns of the scene.

        Args:
            rows: may repeat and turn back.
            cols: likewise.
            valid: (y, x), made False where a band is missing.
            seen: (y, x), made True where a band is not 0.
        """
        layer = self.layer
        at = (rows + layer.row_off) // layer.factor, (cols + layer.col_off) // layer.factor
        indexes = list(layer.bands.values())
        values = self._pick(self.values.read, indexes, *at)
        stored = values if layer.warp is None else self._pick(self.nearest.read, indexes, *at)
        if self.unfilled is not None:
            without = self._pick(self.unfilled.read, indexes, *at)
            values = np.where(np.isfinite(without), without, values)
        for stack in (values, stored) if layer.warp else (values,):
            if not layer.integer:
                valid &= np.isfinite(stack).all(axis=0)
        for band in stored:
            if layer.nodata is not None:
                valid &= band != band.dtype.type(layer.nodata)
            seen |= band != 0
        if layer.masked:
            valid &= self._pick(self.values.read_masks, indexes[:1], *at)[0] != 0
        if layer.alpha:
            valid &= self._pick(self.values.read, [layer.alpha], *at)[0] != 0
        return values

    def _pick(
        self, read: Callable[..., Any], indexes: list[int], rows: NDArray[np.intp], cols: NDArray[np.intp]
    ) -> NDArray[Any]:
        top, bottom, left, right = int(rows.min()), int(rows.max()) + 1, int(cols.min()), int(cols.max()) + 1
        try:
            block: NDArray[Any] = read(indexes, window=((top, bottom), (left, right)))
        except RasterioError as error:
            raise InputError(
                f"{one_line(self.layer.path)}: rows {top}-{bottom}, columns {left}-{right} cannot be read "
                f"({reason(error)}): the file is damaged, fetch it again"
            ) from error
        for axis, (numbers, start) in enumerate(((rows, top), (cols, left)), start=1):
            if not np.array_equal(numbers, np.arange(start, start + block.shape[axis])):
                block = block.take(numbers - start, axis=axis)
        return block


def open_layer(layer: Layer, opened: ExitStack) -> LayerFile:
    """The layer's file, opened (and warped) for one thread; `opened` closes it."""
    # Not entered as context: that would begin an Env in this thread and end it in the one that closes the scene.
    src = open_raster(layer.path)
    opened.callback(src.close)
    if layer.warp is None:
        return LayerFile(layer, src, src)
    missing = layer.nodata
    if missing is None:
        missing = 0 if layer.integer else float("nan")
    hows = [(Resampling.bilinear, missing), (Resampling.nearest, missing)]
    if layer.undeclared and not layer.integer:
        hows.append((Resampling.bilinear, 0))
    warps = [_warped(src, layer, layer.warp, how, nodata) for how, nodata in hows]
    for warp in warps:
        opened.callback(warp.close)
    return LayerFile(layer, *warps)


def _warped(src: Any, layer: Layer, grid: GeoBox, how: Resampling, nodata: float) -> Any:
    """An open file on the scene's grid."""
    return WarpedVRT(
        src,
        resampling=how,
        crs=str(grid.crs),
        transform=grid.transform,
        height=grid.shape[0],
        width=grid.shape[1],
        nodata=nodata,
        src_nodata=nodata,
        tolerance=WARP_ERROR_PX,
        # Undeclared 0 is nodata only where every band is 0.
        UNIFIED_SRC_NODATA="YES" if layer.undeclared and nodata == 0 else "NO",
        **_scales(geobox_of(src), grid),
    )


def _scales(source: GeoBox, grid: GeoBox) -> dict[str, str]:
    """Pixels of a grid per pixel of a file, along the rows and columns of the grid, in the middle of the file.

    GDAL would take them from the sides of each window, which blurs turned rasters, and every window otherwise.
    """
    there, crs = str(grid.crs), str(source.crs)
    middle = source.transform * (source.shape[1] / 2, source.shape[0] / 2)
    col, row = ~grid.transform * transformer(crs, there).transform(*middle)
    x, y = places(grid.transform, np.array([col, col + 1, col]), np.array([row, row, row + 1]))
    cols, rows = places(~source.transform, *transformer(there, crs).transform(x, y))
    right, down = (hypot(cols[k] - cols[0], rows[k] - rows[0]) for k in (1, 2))
    return {"XSCALE": f"{1 / right:.6g}", "YSCALE": f"{1 / down:.6g}"}


def declared_offset(used: Mapping[Any, Mapping[str, int]]) -> int:
    """What is added to integer DN, as the files say in GDAL's scale and offset; 0 where they say nothing.

    Args:
        used: open files and the indexes of their bands.

    Raises:
        InputError: their unit is another than reflectance x 10000, or bands have offsets of their own.
    """
    offsets: set[int] = set()
    for src, bands in used.items():
        for index in bands.values():
            scale, offset = src.scales[index - 1], src.offsets[index - 1]
            is_dn = not src.dtypes[index - 1].startswith("float") and isclose(
                scale * QUANTIFICATION, 1, rel_tol=1e-6
            )
            if (scale, offset) != (1, 0) and not is_dn:
                raise InputError(
                    f"{one_line(src.name)}: says that reflectance is its values x {scale:g} + {offset:g}; isamap reads "
                    "integers as reflectance x 10000: write them so, or give --offset, which passes over what it says"
                )
            offsets.add(round(offset / scale))
    if len(offsets) > 1:
        named = ", ".join(one_line(src.name) for src in used)
        raise InputError(f"{named}: their bands say different offsets ({sorted(offsets)}): give --offset")
    return offsets.pop()
