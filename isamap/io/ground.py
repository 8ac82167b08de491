"""Training and validation ground, read whole: it is small, and every chip is cut from it in memory.

Imagery to be mapped goes through `raster.py` in windows; this module serves data sets whose size is known.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from isamap.errors import InputError, MissingInputError


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
    if not path.is_file():
        raise MissingInputError(f"{path} does not exist: check --data and the recipe")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # patches of data sets need no position
            src = rasterio.open(path, driver="GTiff")
        with src:
            names = tuple(d or "" for d in src.descriptions)
            return Plate(src.read(), names, src.transform, src.nodata)
    except RasterioError as fault:
        raise InputError(f"{path} cannot be read as GeoTIFF: {fault}") from fault


def read_reflectance(
    paths: Sequence[Path], bands: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Affine]:
    """Named bands of one date from several files, coarser ones repeated onto the grid of the first.

    Returns:
        reflectance `(band, y, x)` with 0 where missing, presence of the same shape, transform of the first file.
    """
    plates = [read_plate(path) for path in paths]
    shape = plates[0].values.shape[1:]
    lr = np.zeros((len(bands), *shape), np.float32)
    for plate, path in zip(plates, paths, strict=True):
        factor = -(-shape[0] // plate.values.shape[1])
        for index, band in enumerate(bands):
            if band in plate.names:
                fine = plate.values[plate.names.index(band)].repeat(factor, 0).repeat(factor, 1)
                if fine.shape[0] < shape[0] or fine.shape[1] < shape[1]:
                    raise InputError(f"{path} does not cover {paths[0]}")
                lr[index] = fine[: shape[0], : shape[1]].astype(np.float32) / 10_000
    return lr, lr != 0, plates[0].transform


def lay(paths: Sequence[Path], transform: Affine, shape: tuple[int, int], fill: int) -> NDArray[np.uint8]:
    """Several 1 m rasters laid on one canvas, the first one on top.

    Args:
        paths: rasters with 1 m pixels, edges on whole pixels of the canvas.
        transform: of the canvas.
        shape: of the canvas, `(Y, X)`.
        fill: value where no raster lies; pixels of this value are transparent.

    Returns:
        uint8 `(band, Y, X)`.
    """
    canvas: NDArray[np.uint8] | None = None
    for path in reversed(paths):
        plate = read_plate(path)
        if canvas is None:
            canvas = np.full((plate.values.shape[0], *shape), fill, np.uint8)
        col = round((plate.transform.c - transform.c) / transform.a)
        row = round((plate.transform.f - transform.f) / transform.e)
        top, left = max(row, 0), max(col, 0)
        bottom = max(min(row + plate.values.shape[1], shape[0]), top)
        right = max(min(col + plate.values.shape[2], shape[1]), left)
        part = plate.values[:, top - row : bottom - row, left - col : right - col].astype(np.uint8)
        window = canvas[:, top:bottom, left:right]
        window[...] = np.where((part != fill).any(axis=0), part, window)
    if canvas is None:
        raise InputError("no raster to lay: the recipe names none")
    return canvas
