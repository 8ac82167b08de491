"""Imagery of training and validation ground, read whole: it is small, and every chip is cut from it in memory.

Imagery to be mapped goes through `raster.py` in windows; this module serves data sets whose size is known, and reads
their reflectance by the same rules.
"""

import logging
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.bands import canonical, to_reflectance, unit_fault
from isamap.domain.baseline import VISIBLE, keeps_offset, why_lifted
from isamap.domain.grid import GSD_M, Window
from isamap.errors import InputError
from isamap.io.guard import GDAL_ENV, check_bands, one_line, open_raster
from isamap.io.layers import alpha_of, declared_offset
from isamap.io.naming import list_bands, names_in
from isamap.io.placing import check_position, geobox_of, grid_fault, nesting_fault
from isamap.io.plain import read_window
from isamap.io.plate import check_there, place_of

log = logging.getLogger(__name__)


def read_reflectance(
    paths: Sequence[Path],
    bands: Sequence[str],
    optional: Collection[str] = (),
    *,
    gsd_m: float = GSD_M,
    placed: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], GeoBox]:
    """Named bands of one date from several files, coarser ones repeated onto the grid of the finest.

    Args:
        paths: files, one at least with the pixels of the network.
        bands: ESA names, in the order wanted.
        optional: those of them that may be in none of the files.
        gsd_m: pixel of the network.
        placed: whether the files must say where they lie; one alone need not where its place does not matter.

    Returns:
        reflectance `(band, y, x)` with 0 where missing, presence of the same shape, that grid.

    Raises:
        MissingInputError: no such file.
        InputError: a file is damaged, holds no reflectance, lacks a band, or lies on another grid.
    """
    for path in paths:
        check_there(path)
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
            seen = _seen(src, own.values())
            for band, number in own.items():
                values, valid = _read_band(src, number)
                valid &= seen
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
    return lr, present, grid


def warn_of_offset(
    paths: Sequence[Path],
    bands: Sequence[str],
    reflectance: NDArray[np.float32],
    present: NDArray[np.bool_],
) -> None:
    """Say so where imagery is nowhere as dark as shadow and water are, and no name or tag says why; arguments as of `read_reflectance`."""
    visible = [index for index, band in enumerate(bands) if band in VISIBLE and present[index].any()]
    if not (why := why_lifted(reflectance[visible][:, present[visible].all(axis=0)])):
        return
    tags = []
    for path in paths:
        with open_raster(path) as src:
            tags += src.tags().items()
    if keeps_offset([path.absolute() for path in paths], tags) is not False:
        log.warning(
            "%s: %s, take it off, or declare it (gdal_translate -a_scale 0.0001 -a_offset -0.1)",
            *(", ".join(map(one_line, paths)), why),
        )


def _find(files: Sequence[Any], bands: Sequence[str], optional: Collection[str]) -> list[dict[str, int]]:
    """1-based index of the wanted bands in each file."""
    found: list[dict[str, int]] = []
    holders: dict[str, str] = {}
    for src in files:
        names = [canonical(text) for text in names_in(src)]
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
        raise InputError(
            f"{', '.join(one_line(src.name) for src in files)}: {', '.join(missing or bands)} missing, there are "
            f"only {list_bands(files)}: give the file that holds them too, or name its bands (rio edit-info --bidx 1 --description B02)"
        )
    return found


def _grid(files: Sequence[Any], gsd_m: float, *, placed: bool) -> GeoBox:
    """Grid of the first file with the wanted pixels; every other one nests in it."""
    if not placed and len(files) == 1 and files[0].crs is None:
        return place_of(files[0])
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


def _seen(src: Any, used: Collection[int]) -> NDArray[np.bool_]:
    """Where a file does not say that all its bands are missing, `(y, x)`: by alpha, or floats of 0 without nodata."""
    whole = Window(0, 0, *src.shape)
    seen = np.ones(src.shape, np.bool_)
    if alpha := alpha_of(src, used):
        seen &= read_window(src, whole, [alpha])[0] != 0
    if src.dtypes[min(used) - 1].startswith("float") and src.nodata is None:
        seen &= (read_window(src, whole, sorted(used)) != 0).any(axis=0)
    return seen


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
