"""The imagery of a site, window by window, as it is stored in a shard: a scene, a plain raster, or a simulated sensor."""

from collections.abc import Sequence
from contextlib import ExitStack
from math import ceil
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.bands import BANDS, QUANTIFICATION, canonical, given_names
from isamap.domain.grid import Window
from isamap.domain.sensors import REACH, REFLECTANCE_OF_WHITE, Sensor, observe, response, simulate
from isamap.errors import InputError
from isamap.io.guard import GDAL_ENV, one_line, open_raster
from isamap.io.naming import names_in
from isamap.io.plain import Photo, is_metric, open_checked, place_of, read_window
from isamap.io.raster import SceneInput, check_scene, open_scene

GSD_TOLERANCE = 0.25
"""Gaofen-2 is delivered at 3.2 and 4 m."""
SEEN = 0.99
"""Least part of a simulated pixel that the fine image must show."""


class Coarse(Protocol):
    """Imagery on its own grid."""

    geobox: GeoBox
    bands: tuple[str, ...]
    dtype: str
    nodata: float
    gain: float

    def read(self, window: Window) -> NDArray[Any]:
        """Stored values `(band, y, x)`, `nodata` where missing."""
        ...


class SceneBands:
    """A Sentinel-2 scene, read as `infer` reads it."""

    dtype, nodata, gain = "uint16", 0.0, 1 / QUANTIFICATION

    def __init__(self, source: SceneInput, stack: ExitStack) -> None:
        self._scene = stack.enter_context(open_scene(source, _scene_bands(source)))
        check_scene(self._scene)
        self.geobox, self.bands = self._scene.geobox, self._scene.bands

    def read(self, window: Window) -> NDArray[Any]:
        """Stored values `(band, y, x)` of a window, 0 where a band is missing."""
        reflectance, valid = self._scene.read(window, 0)
        dn = np.rint(reflectance * QUANTIFICATION).clip(1, 65_535).astype(np.uint16)
        return np.where(valid, dn, np.uint16(0))


def _scene_bands(source: SceneInput) -> tuple[str, ...]:
    """Every Sentinel-2 band that the files name, in the order of the bands."""
    if source.bands is not None:
        named = set(source.bands)
    else:
        named = set()
        for path in source.paths:
            with open_raster(path) as src:
                named |= {canonical(text) for text in names_in(src)}
    found = tuple(band for band in BANDS if band in named and band not in ("B01", "B09", "B10"))
    if not found:
        files = ", ".join(one_line(path) for path in source.paths)
        raise InputError(f"{files}: no Sentinel-2 band is named: name them with bands (B02,B03,B04,B08)")
    return found


class PlainBands:
    """One raster of any sensor, with its values as they are.

    Args:
        path: the file.
        sensor: that took it.
        bands: names, in place of the file's own and the sensor's order.
        gain: reflectance of one unit; None: 1 / 255 of bytes, 1 / 10 000 of wider integers, 1 of floats.
        stack: closes it.
    """

    def __init__(
        self, path: Path, sensor: Sensor, bands: Sequence[str] | None, gain: float | None, stack: ExitStack
    ) -> None:
        stack.enter_context(rasterio.Env(**GDAL_ENV))
        self._src = stack.enter_context(open_checked(path))
        self.dtype = self._src.dtypes[0]
        usual = {"uint8": 1 / 255, "uint16": 1 / sensor.quantification, "float32": 1.0}
        if self.dtype not in usual:
            raise InputError(f"{one_line(path)}: imagery is {', '.join(usual)}, not {self.dtype}")
        self.gain = usual[self.dtype] if gain is None else gain
        self.bands = _names(self._src, sensor, bands)
        self.geobox = _metric(place_of(self._src, sensor.gsd_m), path, sensor)
        floats = self.dtype == "float32"
        self.nodata = float("nan") if floats else 0.0
        self._own = self._src.nodata

    def read(self, window: Window) -> NDArray[Any]:
        """Values `(band, y, x)` of a window as they are."""
        values = read_window(self._src, window, range(1, len(self.bands) + 1))
        if self._own is not None and not np.isnan(self._own):
            values[values == self._own] = self.nodata
        return values


def _names(src: Any, sensor: Sensor, bands: Sequence[str] | None) -> tuple[str, ...]:
    """Names of the bands of a raster: given, its own, or those of the sensor's usual order."""
    own = [canonical(text) for text in given_names(src.descriptions)]
    names = tuple(bands) if bands else tuple(name for name in own if name)
    if not bands and len(names) < src.count:
        names = sensor.orders.get(src.count, ())
    if len(names) != src.count or len(set(names)) < len(names):
        raise InputError(
            f"{one_line(src.name)}: has {src.count} bands, and {len(names)} different names for them: "
            "name every band in order with bands"
        )
    return names


def _metric(geobox: GeoBox, path: Path, sensor: Sensor) -> GeoBox:
    """The grid, if its pixels are those of the sensor or nobody knows."""
    if geobox.crs is None:
        return geobox
    gsd_m = abs(float(geobox.resolution.x))
    if not is_metric(geobox):
        raise InputError(
            f"{one_line(path)}: lies in a CRS without metres: warp it to UTM first (gdalwarp -t_srs)"
        )
    if abs(gsd_m - sensor.gsd_m) > GSD_TOLERANCE * sensor.gsd_m:
        raise InputError(
            f"{one_line(path)}: has pixels of {gsd_m:g} m, {sensor.name} has {sensor.gsd_m:g} m: name its sensor"
        )
    return geobox


class SimulatedBands:
    """What a sensor would have seen of a fine image, without noise.

    Args:
        photo: the image, entered.
        sensor: to be simulated.
        scale: fine pixels per pixel of its grid.
    """

    dtype, nodata, gain = "uint16", 0.0, 1 / QUANTIFICATION

    def __init__(self, photo: Photo, sensor: Sensor, scale: int) -> None:
        self._photo, self._sensor, self._scale = photo, sensor, scale
        fine = photo.grid
        self._fine_m = abs(float(fine.resolution.x))
        height, width = (side // scale for side in fine.shape)
        self.geobox = GeoBox((height, width), fine.transform * Affine.scale(scale), fine.crs)
        self.bands = tuple(response(sensor, 3))
        widest = max(band.psf_sigma_m for band in sensor.bands if band.name in self.bands)
        self._halo = ceil(REACH * widest / self._fine_m / scale)

    def read(self, window: Window) -> NDArray[Any]:
        """What the sensor would have stored `(band, y, x)`, 0 where the fine image shows nothing."""
        padded = window.padded(self._halo).clip((self.geobox.shape[0], self.geobox.shape[1]))
        image = self._photo.read(padded.scaled(self._scale))
        covered = np.asarray(image.any(axis=0), np.float32)
        there = observe(covered, 0, self._scale) >= SEEN
        white = REFLECTANCE_OF_WHITE / 255 if image.dtype == np.uint8 else 1 / QUANTIFICATION
        _, seen = simulate((image * white).astype(np.float32), self._sensor, self._scale, self._fine_m)
        dn = np.rint(seen * QUANTIFICATION).clip(1, 65_535).astype(np.uint16)
        top, left = window.row_off - padded.row_off, window.col_off - padded.col_off
        inner = slice(top, top + window.height), slice(left, left + window.width)
        return np.where(there, dn, np.uint16(0))[:, *inner]


def photo_grid(path: Path, fine_m: float, *, exact: bool) -> GeoBox:
    """Grid of a fine image that shall be simulated from.

    Raises:
        InputError: its pixels are not `fine_m`, or it is not north-up in metres.
    """
    with open_checked(path) as src:
        grid = place_of(src, fine_m)
    if grid.crs is None:
        return grid
    size_m = abs(float(grid.resolution.x))
    if not is_metric(grid):
        raise InputError(
            f"{one_line(path)}: is not north-up with square pixels in metres: warp it to UTM first"
        )
    if exact and abs(size_m - fine_m) > 0.05 * fine_m:
        raise InputError(
            f"{one_line(path)}: has pixels of {size_m:g} m: bring it to {fine_m:g} m first "
            f"(gdalwarp -tr {fine_m:g} {fine_m:g} -r average)"
        )
    return grid
