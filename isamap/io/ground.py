"""Training and validation ground, read whole: it is small, and every chip is cut from it in memory.

Imagery to be mapped goes through `raster.py` in windows; this module serves data sets whose size is known, and reads
their reflectance by the same rules.
"""

import warnings
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from isamap.domain.bands import canonical, name_from_stem, to_reflectance, unit_fault
from isamap.domain.grid import GSD_M, Window
from isamap.errors import InputError, MissingInputError
from isamap.io.guard import GDAL_ENV, check_bands, one_line, open_raster, reason
from isamap.io.layers import declared_offset
from isamap.io.placing import check_position, geobox_of, grid_fault, nesting_fault
from isamap.io.plain import read_window

WHOLE_PX = 1e-3
"""A fine raster whose corner lies further than this from a corner of the canvas has other pixels."""


@dataclass(frozen=True)
class Plate:
    """A raster held in memory."""

    values: NDArray[np.generic]
    """`(band, y, x)`, as in the file."""
    names: tuple[str, ...]
    """Band descriptions, '' where there is none."""
    transform: Affine
    """Pixel to CRS; the identity where the file has no position."""
    nodata: float | None
    """Value that stands for nothing."""


def read_plate(path: Path) -> Plate:
    """The whole GeoTIFF at `path`.

    Raises:
        MissingInputError: no such file.
        InputError: not a readable GeoTIFF.
    """
    _check_there(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # patches of data sets need no position
            src = rasterio.open(path, driver="GTiff")
        with src:
            names = tuple(d or "" for d in src.descriptions)
            return Plate(src.read(), names, src.transform, src.nodata)
    except RasterioError as fault:
        raise InputError(f"{one_line(path)} cannot be read as GeoTIFF: {reason(fault)}") from fault


def read_bytes(path: Path) -> tuple[NDArray[np.uint8], Affine]:
    """Labels or an image at `path`: uint8 `(band, y, x)`, and its transform.

    Raises:
        MissingInputError: no such file.
        InputError: not a readable GeoTIFF, or one of another type.
    """
    plate = read_plate(path)
    if plate.values.dtype != np.uint8:
        raise InputError(
            f"{one_line(path)}: is {plate.values.dtype}: labels and 1 m images are read from uint8"
        )
    return plate.values.astype(np.uint8, copy=False), plate.transform


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise MissingInputError(f"{one_line(path)} does not exist: check --data and the recipe")


def read_reflectance(
    paths: Sequence[Path],
    bands: Sequence[str],
    optional: Collection[str] = (),
    *,
    gsd_m: float = GSD_M,
    placed: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Affine]:
    """Named bands of one date from several files, coarser ones repeated onto the grid of the finest.

    Args:
        paths: files, one at least with the pixels of the network.
        bands: ESA names, in the order wanted.
        optional: those of them that may be in none of the files.
        gsd_m: pixel of the network.
        placed: whether the files must say where they lie; one alone need not where its place does not matter.

    Returns:
        reflectance `(band, y, x)` with 0 where missing, presence of the same shape, transform of that grid.

    Raises:
        MissingInputError: no such file.
        InputError: a file is damaged, holds no reflectance, lacks a band, or lies on another grid.
    """
    for path in paths:
        _check_there(path)
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**GDAL_ENV))
        files = [stack.enter_context(open_raster(path)) for path in paths]
        used = {src: own for src, own in zip(files, _find(files, bands, optional), strict=True) if own}
        for src, own in used.items():
            check_bands(src, own.values())
        grid = _grid(files, gsd_m, placed=placed)
        offset = declared_offset(used)
        lr = np.zeros((len(bands), *grid.shape), np.float32)
        present = np.zeros(lr.shape, np.bool_)
        for src, own in used.items():
            for band, number in own.items():
                values, valid = _read_band(src, number)
                if fault := unit_fault(values, valid, offset):
                    raise InputError(f"{one_line(src.name)}: {band}: {fault}")
                index = bands.index(band)
                reflectance = to_reflectance(
                    values, offset, highest=inf
                )  # training sees roofs as bright as they are
                lr[index] = _onto(grid, src, np.where(valid, reflectance, 0))
                present[index] = _onto(grid, src, valid)
    if not present.any():
        raise InputError(f"{one_line(paths[0])}: no pixel is valid (all nodata, NaN or 0)")
    return lr, present, grid.transform


def _find(files: Sequence[Any], bands: Sequence[str], optional: Collection[str]) -> list[dict[str, int]]:
    """1-based index of the wanted bands in each file."""
    found: list[dict[str, int]] = []
    holders: dict[str, str] = {}
    for src in files:
        alone = src.count == 1 and not src.descriptions[0]
        names = [name_from_stem(Path(src.name).stem)] if alone else [canonical(n) for n in src.descriptions]
        own: dict[str, int] = {}
        for number, name in enumerate(names, start=1):
            if name is None or name not in bands:
                continue
            if name in holders:
                raise InputError(
                    f"{one_line(src.name)}: {name} is band {number}, and also {holders[name]}: keep one of them"
                )
            own[name], holders[name] = number, f"band {number} of {one_line(src.name)}"
        found.append(own)
    missing = [band for band in bands if band not in holders and band not in optional]
    if missing or not holders:
        there = ", ".join(name or "unnamed" for src in files for name in src.descriptions)
        raise InputError(
            f"{', '.join(one_line(src.name) for src in files)}: {', '.join(missing or bands)} missing, there are "
            f"only {there}: give the file that holds them too, or name its bands (rio edit-info --bidx 1 --description B02)"
        )
    return found


def _grid(files: Sequence[Any], gsd_m: float, *, placed: bool) -> GeoBox:
    """Grid of the first file with the wanted pixels; every other one nests in it."""
    if not placed and len(files) == 1 and files[0].crs is None:
        return GeoBox(files[0].shape, files[0].transform, None)
    for src in files:
        check_position(src)
    boxes = [geobox_of(src) for src in files]
    faults = [grid_fault(box, gsd_m) for box in boxes]
    if None not in faults:
        raise _misplaced(files[0], faults[0], gsd_m)
    grid = boxes[faults.index(None)]
    for src, box in zip(files, boxes, strict=True):
        if fault := nesting_fault(box, grid):
            raise _misplaced(src, fault, gsd_m)
    return grid


def _misplaced(src: Any, fault: str | None, gsd_m: float) -> InputError:
    return InputError(f"{one_line(src.name)}: {fault}: warp it first (gdalwarp -tap -tr {gsd_m:g} {gsd_m:g})")


def _read_band(src: Any, number: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One band as stored, and where it was seen, `(y, x)`: not nodata, not masked, finite; without nodata no DN of 0."""
    values = read_window(src, Window(0, 0, *src.shape), [number])[0]
    valid: NDArray[np.bool_] = src.read_masks(number) != 0
    if values.dtype.kind == "f":
        valid &= np.isfinite(values)
    elif src.nodata is None:
        valid &= values != 0
    return values, valid


def _onto(grid: GeoBox, src: Any, values: NDArray[Any]) -> NDArray[Any]:
    """Pixels of a file, repeated, on the grid that they nest in."""
    if grid.crs is None:
        return values
    own = geobox_of(src)
    side = grid.resolution.x
    factor = round(own.resolution.x / side)
    row = round((own.boundingbox.top - grid.boundingbox.top) / side)
    col = round((grid.boundingbox.left - own.boundingbox.left) / side)
    height, width = grid.shape
    return values.repeat(factor, 0).repeat(factor, 1)[row : row + height, col : col + width]


def lay(paths: Sequence[Path], transform: Affine, shape: tuple[int, int], fill: int) -> NDArray[np.uint8]:
    """Several rasters of bytes laid on one canvas, the first one on top.

    Args:
        paths: rasters whose pixels are those of the canvas.
        transform: of the canvas.
        shape: of the canvas, `(Y, X)`.
        fill: value where no raster lies; pixels of this value are transparent.

    Returns:
        uint8 `(band, Y, X)`.

    Raises:
        InputError: no raster, one of another type, or one with other pixels.
    """
    canvas: NDArray[np.uint8] | None = None
    for path in reversed(paths):
        values, own = read_bytes(path)
        if canvas is None:
            canvas = np.full((values.shape[0], *shape), fill, np.uint8)
        col, row = _corner(own, transform, path)
        top, left = max(row, 0), max(col, 0)
        bottom = max(min(row + values.shape[1], shape[0]), top)
        right = max(min(col + values.shape[2], shape[1]), left)
        part = values[:, top - row : bottom - row, left - col : right - col]
        window = canvas[:, top:bottom, left:right]
        window[...] = np.where((part != fill).any(axis=0), part, window)
    if canvas is None:
        raise InputError("no raster to lay: the recipe names none")
    return canvas


def _corner(own: Affine, canvas: Affine, path: Path) -> tuple[int, int]:
    """Column and row of the canvas at which a raster begins."""
    col, row = (own.c - canvas.c) / canvas.a, (own.f - canvas.f) / canvas.e
    if not np.allclose([own.a, own.b, own.d, own.e], [canvas.a, canvas.b, canvas.d, canvas.e], 0, 1e-6):
        fault = f"has pixels of {own.a:g} x {-own.e:g} m, not {canvas.a:g} m"
    elif max(abs(col - round(col)), abs(row - round(row))) > WHOLE_PX:
        fault = f"is shifted against the imagery by {col % 1:.3g} of its pixels east, {-row % 1:.3g} north"
    else:
        return round(col), round(row)
    raise InputError(
        f"{one_line(path)}: {fault}: warp it first (gdalwarp -te, -tr {canvas.a:g} {canvas.a:g})"
    )
