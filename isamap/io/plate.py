"""Rasters held in memory as a whole, labels and fine images of training ground, and where they lie on each other."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from isamap.errors import InputError, MissingInputError
from isamap.io.guard import one_line, reason
from isamap.io.placing import geobox_of, name_crs

WHOLE_PX = 1e-3
"""A fine raster whose corner lies further than this from a corner of the canvas has other pixels."""


@dataclass(frozen=True)
class Plate:
    """A raster held in memory."""

    values: NDArray[np.generic]
    """`(band, y, x)`, as in the file."""
    names: tuple[str, ...]
    """Band descriptions, '' where there is none."""
    grid: GeoBox
    """Where it lies; no CRS, and the identity as transform, where the file says nothing."""
    nodata: float | None
    """Value that stands for nothing."""


def read_plate(path: Path) -> Plate:
    """The whole GeoTIFF at `path`.

    Raises:
        MissingInputError: no such file.
        InputError: not a readable GeoTIFF.
    """
    check_there(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # patches of data sets need no position
            src = rasterio.open(path, driver="GTiff")
        with src:
            names = tuple(d or "" for d in src.descriptions)
            return Plate(src.read(), names, place_of(src), src.nodata)
    except RasterioError as fault:
        raise InputError(f"{one_line(path)} cannot be read as GeoTIFF: {reason(fault)}") from fault


def read_bytes(path: Path) -> tuple[NDArray[np.uint8], GeoBox]:
    """Labels or an image at `path`: uint8 `(band, y, x)`, and where it lies.

    Raises:
        MissingInputError: no such file.
        InputError: not a readable GeoTIFF, or one of another type.
    """
    plate = read_plate(path)
    if plate.values.dtype != np.uint8:
        raise InputError(
            f"{one_line(path)}: is {plate.values.dtype}: labels and 1 m images are read from uint8"
        )
    return plate.values.astype(np.uint8, copy=False), plate.grid


def place_of(src: Any) -> GeoBox:
    """Where an open raster lies, with or without CRS."""
    return geobox_of(src) if src.crs else GeoBox(src.shape, src.transform, None)


def check_there(path: Path) -> None:
    """Refuse a file that is not there."""
    if not path.is_file():
        raise MissingInputError(f"{one_line(path)} does not exist: check --data and the recipe")


def check_on(path: Path, own: GeoBox, other: Path, grid: GeoBox) -> None:
    """Refuse a raster that has not the very pixels of another one.

    Raises:
        InputError: CRS, place or size differ.
    """
    if own.shape != grid.shape or _corner(own, grid, path) != (0, 0):
        raise InputError(f"{one_line(path)} is not on the grid of {one_line(other)}")


def lay(paths: Sequence[Path], grid: GeoBox, fill: int) -> NDArray[np.uint8]:
    """Several rasters of bytes laid on one canvas, the first one on top.

    Args:
        paths: rasters whose pixels are those of the canvas.
        grid: of the canvas.
        fill: value where no raster lies; pixels of this value are transparent.

    Returns:
        uint8 `(band, Y, X)`.

    Raises:
        InputError: no raster, one of another type, or one in another CRS or with other pixels.
    """
    canvas: NDArray[np.uint8] | None = None
    shape = grid.shape
    for path in reversed(paths):
        values, own = read_bytes(path)
        if canvas is None:
            canvas = np.full((values.shape[0], *shape), fill, np.uint8)
        col, row = _corner(own, grid, path)
        top, left = max(row, 0), max(col, 0)
        bottom = max(min(row + values.shape[1], shape[0]), top)
        right = max(min(col + values.shape[2], shape[1]), left)
        part = values[:, top - row : bottom - row, left - col : right - col]
        window = canvas[:, top:bottom, left:right]
        window[...] = np.where((part != fill).any(axis=0), part, window)
    if canvas is None:
        raise InputError("no raster to lay: the recipe names none")
    return canvas


def _corner(own: GeoBox, grid: GeoBox, path: Path) -> tuple[int, int]:
    """Column and row of a grid at which a raster begins."""
    mine, canvas = own.transform, grid.transform
    col, row = (mine.c - canvas.c) / canvas.a, (mine.f - canvas.f) / canvas.e
    if own.crs is None and grid.crs is not None:
        raise InputError(
            f"{one_line(path)}: has no CRS, so it cannot be placed: set it (rio edit-info --crs)"
        )
    if own.crs != grid.crs:
        fault = f"lies in {_named(own)}, what it goes with in {_named(grid)}"
    elif not np.allclose([mine.a, mine.b, mine.d, mine.e], [canvas.a, canvas.b, canvas.d, canvas.e], 0, 1e-6):
        fault = f"has pixels of {mine.a:g} x {-mine.e:g} m, not {canvas.a:g} m"
    elif max(abs(col - round(col)), abs(row - round(row))) > WHOLE_PX:
        fault = f"is shifted against the imagery by {col % 1:.3g} of its pixels east, {-row % 1:.3g} north"
    else:
        return round(col), round(row)
    raise InputError(
        f"{one_line(path)}: {fault}: warp it first (gdalwarp -te, -tr {canvas.a:g} {canvas.a:g})"
    )


def _named(grid: GeoBox) -> str:
    return name_crs(grid.crs) if grid.crs else "no CRS"
