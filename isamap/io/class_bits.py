"""Layers as bits on the grid that is asked for: what is decoded is packed while it is in the cache."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.bits import Bits, framed, laid_over, packed, packed_strips, repeated
from isamap.domain.grid import Window
from isamap.domain.product import NODATA
from isamap.io.classmap import ClassMap, Sheet
from isamap.io.gridmatch import aligned_offset, coarse_place, warped_bits

HALF = 0.5


def bits_of(layer: ClassMap, grid: GeoBox) -> Bits:
    """Classes on a grid; of shares, whether at least half is ISA. Where sheets overlap the first that knows something counts.

    Raises:
        InputError: a raster is damaged, or has values that are no classes.
    """
    found: Bits | None = None
    for sheet in layer.sheets:
        part = _sheet_bits(layer, sheet, grid)
        if part is None:
            continue
        found = part if found is None else laid_over(found, part)
        if found.known is None:
            break
    return packed(np.full((grid.shape[0], grid.shape[1]), NODATA, np.uint8)) if found is None else found


def codes_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Classes of classes or shares: 0, 1, 255."""
    if values.dtype.kind != "f":
        return values.astype(np.uint8, copy=False)
    return np.where(np.isnan(values), NODATA, values >= HALF).astype(np.uint8)


def _sheet_bits(layer: ClassMap, sheet: Sheet, grid: GeoBox) -> Bits | None:
    """One sheet on a grid, None if it lies elsewhere."""
    height, width = grid.shape
    if (offset := aligned_offset(sheet.geobox, grid)) is not None:
        window = Window(*offset, height, width)
        inside = window.clip((sheet.geobox.shape[0], sheet.geobox.shape[1]))
        if not all(inside.shape):
            return None
        if layer.as_stored(sheet):
            bits = packed_strips(layer.strips(sheet, inside), inside.shape)
            if bits.strange:
                layer.read(sheet, inside)  # refuses it
            corner = inside.row_off - window.row_off, inside.col_off - window.col_off
            return bits if inside == window else framed(bits, inside.shape, corner, window.shape)
    elif (place := coarse_place(sheet.geobox, grid)) is not None:
        if not any(side % place[2] for side in (*place[:2], height, width)):
            return _parted_bits(layer, sheet, grid, place)
    elif (found := layer.around(sheet, grid)) is not None:
        values, part = found
        placed = warped_bits(values, sheet.geobox, part, grid)
        if placed is not None:
            return placed
    whole = layer.sheet_on(sheet, grid)
    return None if whole is None else packed(codes_of(whole))


def _parted_bits(layer: ClassMap, sheet: Sheet, grid: GeoBox, place: tuple[int, int, int]) -> Bits | None:
    """A coarser sheet on a grid that divides its pixels into whole parts: they are repeated as bits, not as bytes."""
    row, col, factor = place
    window = Window(*(side // factor for side in (row, col, *grid.shape)))
    if not all(window.clip((sheet.geobox.shape[0], sheet.geobox.shape[1])).shape):
        return None
    return repeated(packed(codes_of(layer.read(sheet, window))), factor, grid.shape[1])
