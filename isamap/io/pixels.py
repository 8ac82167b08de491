"""Every pixel of a finished map read once, in windows: do blocks decode, and do the rasters agree with each other?"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from isamap.domain import audit
from isamap.domain.bands import canonical
from isamap.domain.classes import ISA, SCHEMES
from isamap.domain.grid import MARGIN_PX, SCALE, TILE_PX, Tile, Window, windows
from isamap.domain.product import NODATA, PROBABILITY, Layer, class_layer
from isamap.errors import InputError
from isamap.io.composite import check_grid
from isamap.io.guard import GDAL_ENV, open_raster, raster_window, reason
from isamap.io.placing import geobox_of
from isamap.io.telling import layout_warnings_hushed

WINDOW_PX = 2560
"""Whole blocks and whole input pixels; 6.5 MB of each raster are held at a time."""

LAYERS: dict[str, Layer] = {layer.key: layer for layer in (*map(class_layer, SCHEMES.values()), PROBABILITY)}
"""Rasters of maps by asset key; a map has one class raster, of one scheme."""

Validity = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Where some and where every band of a composite is there, without its margin, `(y, x)`."""


@dataclass
class Tally:
    """What a reading has found."""

    valid: int = 0
    """Pixels of the class map that say something."""
    isa: int = 0
    """Those that are ISA."""
    codes: dict[str, set[int]] = field(default_factory=dict)
    """Values that may not be there, by asset key."""
    damage: dict[str, list[str]] = field(default_factory=dict)
    """Windows that do not decode, by asset key."""
    overviews: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """Pixels that do not follow from the finer level, and all, by asset key and level (1-based)."""
    misclassed: int = 0
    """Pixels whose class does not follow from their probability."""
    invented: int = 0
    """Input pixels mapped without any band."""
    lost: int = 0
    """Input pixels left out though every band is there."""

    def add_overview(self, key: str, level: int, wrong: int, size: int) -> None:
        """One more window of an overview."""
        before = self.overviews.get((key, level), (0, 0))
        self.overviews[key, level] = before[0] + wrong, before[1] + size


def validity(path: Path, tile: Tile) -> Validity:
    """Where a tile's composite has data.

    Raises:
        InputError, MissingInputError: it cannot be read, or is not the tile's.
    """
    with rasterio.Env(**GDAL_ENV), open_raster(path) as src:
        check_grid(path, geobox_of(src), tile)
        bands = [index for index, text in enumerate(src.descriptions, start=1) if canonical(text)]
        inner = raster_window(Window(MARGIN_PX, MARGIN_PX, TILE_PX, TILE_PX))
        try:
            seen = src.read_masks(bands or list(src.indexes), window=inner) > 0
        except RasterioError as fault:
            raise InputError(f"{path} is damaged: {reason(fault)}") from fault
    return seen.any(axis=0), seen.all(axis=0)


def read_pixels(files: Mapping[str, Path], threshold: float | None, valid: Validity | None) -> Tally:
    """Read the rasters of a map.

    Args:
        files: rasters by asset key; they open, and are of one shape.
        threshold: of the map; None if it is not known.
        valid: of the composite; None if that is not at hand.
    """
    tally = Tally()
    scheme = next((SCHEMES[key] for key in files if key in SCHEMES), ISA)
    with ExitStack() as stack:
        stack.enter_context(rasterio.Env(**GDAL_ENV))
        levels = {key: _levels(path, stack) for key, path in files.items()}
        shape = next(iter(levels.values()))[0].shape
        for window in windows(shape, WINDOW_PX):
            found = _read_window(levels, window, tally)
            classes, percent = found.get(scheme.name), found.get(PROBABILITY.key)
            if classes is None:
                continue
            tally.valid += int(np.count_nonzero(classes != NODATA))
            tally.isa += scheme.count_isa(classes)
            if percent is not None and threshold is not None and scheme is ISA:
                tally.misclassed += audit.wrong_classes(classes, percent, threshold)
            if valid is not None:
                _add_input(tally, classes, window, valid)
        for key, sources in levels.items():
            for level in range(1, len(sources) - 1):
                _read_level(sources, level, LAYERS[key], tally)
    return tally


def _levels(path: Path, stack: ExitStack) -> list[Any]:
    """A raster and its overviews, open, finest first."""
    sources = [stack.enter_context(open_raster(path))]
    for level in range(len(sources[0].overviews(1))):
        source = rasterio.open(path.absolute(), driver="GTiff", overview_level=level, sharing=False)
        sources.append(stack.enter_context(source))
    return sources


def _read_window(
    levels: Mapping[str, list[Any]], window: Window, tally: Tally
) -> dict[str, NDArray[np.uint8]]:
    """Pixels of a window from every raster, checked each by itself and against the first overview."""
    found = {}
    for key, sources in levels.items():
        layer = LAYERS[key]
        values = _read(sources[0], window, layer, tally)
        if values is None:
            continue
        found[key] = values
        if codes := audit.wrong_codes(values, layer):
            tally.codes.setdefault(key, set()).update(codes)
        _check_overview(values, sources, window, 1, layer, tally)
    return found


def _read_level(sources: list[Any], level: int, layer: Layer, tally: Tally) -> None:
    """One overview against the next."""
    for window in windows(sources[level].shape, WINDOW_PX):
        values = _read(sources[level], window, layer, tally)
        if values is not None:
            _check_overview(values, sources, window, level + 1, layer, tally)


def _check_overview(
    fine: NDArray[np.uint8], sources: list[Any], window: Window, level: int, layer: Layer, tally: Tally
) -> None:
    """Pixels of a level against those of the overview above; odd sides do not nest, so they are only read."""
    if level >= len(sources):
        return
    height, width = sources[level].shape
    top, left = window.row_off // 2, window.col_off // 2
    half = Window(top, left, (window.height + 1) // 2, (window.width + 1) // 2).clip((height, width))
    coarse = _read(sources[level], half, layer, tally)
    if coarse is not None and sources[level - 1].shape == (2 * height, 2 * width):
        tally.add_overview(layer.key, level, audit.wrong_overview(fine, coarse, layer), coarse.size)


def _read(src: Any, window: Window, layer: Layer, tally: Tally) -> NDArray[np.uint8] | None:
    """Pixels of a window, None (and a note) if they do not decode."""
    try:
        values: NDArray[np.uint8] = src.read(1, window=raster_window(window))
    except RasterioError as fault:
        place = f"row {window.row_off}, column {window.col_off} of {src.width} x {src.height}"
        tally.damage.setdefault(layer.key, []).append(f"{place}: {reason(fault)}")
        return None
    return values


def _add_input(tally: Tally, classes: NDArray[np.uint8], window: Window, valid: Validity) -> None:
    """Compare nodata with the composite's."""
    coarse = Window(*(number // SCALE for number in (window.row_off, window.col_off, *window.shape)))
    some, every = (layer[coarse.slices] for layer in valid)
    invented, lost = audit.unlike_input(classes, some, every, SCALE)
    tally.invented += invented
    tally.lost += lost


def read_strips(path: Path, side: str, depth_px: int) -> Iterator[NDArray[np.uint8]]:
    """The outermost pixels of a class map on one side, in pieces along it, each `(length, depth)`.

    Args:
        path: of the raster.
        side: left, right, top or bottom; the columns of a piece run left to right, or top to bottom.
        depth_px: how far it reaches inward.

    Raises:
        InputError: it does not decode there.
    """
    with layout_warnings_hushed(), rasterio.Env(**GDAL_ENV), open_raster(path) as src:
        height, width = src.shape
        upright = side in {"left", "right"}
        start = {"right": width - depth_px, "bottom": height - depth_px}.get(side, 0)
        for along in range(0, height if upright else width, WINDOW_PX):
            length = min(WINDOW_PX, (height if upright else width) - along)
            strip = (
                Window(along, start, length, depth_px) if upright else Window(start, along, depth_px, length)
            )
            try:
                values = src.read(1, window=raster_window(strip))
            except RasterioError as fault:
                raise InputError(f"{path} is damaged at its {side} edge: {reason(fault)}") from fault
            yield values if upright else values.T
