"""Reflectance of one scene in windows with a halo: the only way imagery to be mapped is read.

A scene is one date and place, in one file or several (10 m and 20 m bands, or one band each). It is checked when
it is opened (headers) and by `check_scene` (a sample of pixels); what remains is found when a window is read.
Missing pixels come back as not valid, blocks that do not decode as InputError: none is made up. (A flipped byte that
still decodes is not seen: TIFF blocks have no checksum that libtiff looks at. Only `SceneInput.digest` tells.)
"""

import hashlib
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.bands import QUANTIFICATION, to_reflectance, unit_doubt, unit_fault
from isamap.domain.baseline import VISIBLE, keeps_offset, why_lifted
from isamap.domain.grid import GSD_M, Window, windows
from isamap.errors import InputError
from isamap.io.guard import GDAL_ENV, check_bands, check_file, one_line, open_raster
from isamap.io.layers import Layer, LayerFile, declared_offset, lay_out, open_layer
from isamap.io.naming import find_bands
from isamap.io.placing import check_position, scene_grid

__all__ = ["GDAL_ENV", "Scene", "SceneInput", "check_scene", "checked", "open_scene"]

log = logging.getLogger(__name__)
Job = TypeVar("Job")

PANEL_PX, PANEL_BLOCKS = 4096, 8
"""Wider scenes are read in panels of about so many pixels and no fewer blocks: the cache need not grow with the width,
and at most a quarter of the blocks are decoded twice."""
MAX_CACHE_BYTES = 1 << 30
"""However wide and deep the files are, GDAL keeps no more decoded blocks than this."""
SAMPLE_PX, SAMPLE_COUNT = 128, 6
"""check_scene looks at 6 x 6 windows of 128 pixels: rasters up to 768 pixels are seen whole."""


@dataclass(frozen=True)
class SceneInput:
    """What the user gives as one scene."""

    paths: tuple[Path, ...]
    """Files of one date and place."""
    bands: tuple[str | None, ...] | None = None
    """Band names in place of the files' own: all bands of all files in order, None to skip one."""
    offset: int | None = None
    """Added to integer DN before scaling, -1000 for baseline 04.00 where it was not removed; None: as the files say."""
    reproject: bool = False
    """Whether files on other grids are warped to the UTM 10 m grid."""

    def digest(self) -> str:
        """Hex sha256 of the files' bytes, one after another (`cat FILES | sha256sum`).

        Raises:
            MissingInputError: a file is not there.
            InputError: it is no file, is empty, or cannot be read.
        """
        total = hashlib.sha256()
        for path in self.paths:
            check_file(path)
            try:
                with path.open("rb") as file:
                    while chunk := file.read(1 << 20):
                        total.update(chunk)
            except OSError as error:
                raise InputError(f"{one_line(path)}: cannot be read ({error.strerror})") from error
        return total.hexdigest()


class Scene:
    """Open files of one date and place. Use it in `with`; any thread may read, each through handles of its own."""

    def __init__(
        self,
        source: SceneInput,
        bands: tuple[str, ...],
        geobox: GeoBox,
        layers: Sequence[Layer],
        *,
        lifted: bool | None = None,
    ) -> None:
        self.geobox = geobox
        """The 10 m grid: of the input itself, or the UTM grid it is warped to."""
        self.bands = bands
        """ESA names, in the order `read` returns them."""
        self.paths = source.paths
        """The input files."""
        self.offset = source.offset or 0
        """Added to integer DN."""
        self.lifted = lifted
        """Whether the +1000 of baseline 04.00 is left in, as far as user, names and tags say; None: they do not."""
        self._layers = tuple(layers)
        self._env = ExitStack()
        self._opened = ExitStack()
        self._thread = threading.local()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        wanted = sum(layer.cache_bytes(self.panel_px) for layer in self._layers)
        cache = min(max(int(GDAL_ENV["GDAL_CACHEMAX"]), wanted), MAX_CACHE_BYTES)
        self._env.enter_context(rasterio.Env(**{**GDAL_ENV, "GDAL_CACHEMAX": cache}))
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the handles of all threads, none of which may be reading."""
        self.rest()
        self._env.close()

    def rest(self) -> None:
        """Give back the memory of decoded blocks; no thread may be reading. The next read opens the files again."""
        self._opened.close()
        self._thread = threading.local()

    @property
    def panel_px(self) -> int:
        """Columns to be read from top to bottom before the next ones are."""
        width: int = self.geobox.shape[1]
        if any(layer.warp for layer in self._layers):
            return width
        widest = max(layer.blocks[1] for layer in self._layers)
        return -(-width // max(1, round(width / max(PANEL_PX, PANEL_BLOCKS * widest))))

    def read(self, window: Window, halo_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Reflectance and validity of a window with a halo of real neighbour pixels.

        Where window or halo leave the raster, its pixels are mirrored at the edge (numpy's `reflect`), with their
        validity.

        Args:
            window: in 10 m pixels of `geobox`.
            halo_px: pixels added on every side.

        Returns:
            reflectance: float32, shape (band, y, x), at most 2.0, 0 where not valid and in bands the scene lacks.
            valid: shape (y, x), True where every band it has was seen.

        Raises:
            InputError: the file is damaged here, or the values are no reflectance.
        """
        padded, (height, width) = window.padded(halo_px), self.geobox.shape
        rows = _mirrored(padded.row_off, padded.height, height)
        cols = _mirrored(padded.col_off, padded.width, width)
        valid, seen = np.ones(padded.shape, np.bool_), np.zeros(padded.shape, np.bool_)
        stacks = [file.read(rows, cols, valid, seen) for file in self._files()]
        if any(layer.undeclared for layer in self._layers):
            valid &= seen
        reflectance = np.zeros((len(self.bands), *padded.shape), np.float32)
        for layer, stack in zip(self._layers, stacks, strict=True):
            for band, values in zip(layer.bands, stack, strict=True):
                if fault := unit_fault(values, valid, self.offset):
                    raise InputError(f"{one_line(layer.path)}: {band}: {fault}")
                reflectance[self.bands.index(band)] = to_reflectance(values, self.offset)
        reflectance[:, ~valid] = 0
        return reflectance, valid

    @property
    def has_dn(self) -> bool:
        """Whether a file stores integer DN, to which an offset may belong."""
        return any(layer.integer for layer in self._layers)

    def _files(self) -> list[LayerFile]:
        """This thread's open files."""
        if not hasattr(self._thread, "files"):
            with self._lock:
                self._thread.files = [open_layer(layer, self._opened) for layer in self._layers]
        files: list[LayerFile] = self._thread.files
        return files


def open_scene(
    source: SceneInput, wanted: Sequence[str], optional: Sequence[str] = (), gsd_m: float = GSD_M
) -> Scene:
    """Scene with the wanted bands, after every check that file headers allow.

    Args:
        source: the files.
        wanted: ESA band names, in the order `Scene.read` shall return them.
        optional: those of them that it may lack.
        gsd_m: pixel of its grid.

    Raises:
        MissingInputError: a file is not there.
        InputError: a file is no imagery, is cut off, lacks a band, or lies on another grid.
    """
    with ExitStack() as stack:
        files = [stack.enter_context(open_raster(path)) for path in source.paths]
        for src in files:
            check_position(src)
        found = find_bands(files, tuple(wanted), source.bands, optional)
        used = {src: bands for src, bands in zip(files, found, strict=True) if bands}
        for src, bands in used.items():
            check_bands(src, bands.values())
            if source.offset and src.dtypes[0].startswith("float"):
                raise InputError(
                    f"{one_line(src.name)}: holds reflectance as floats: --offset is for integer DN"
                )
        offset = declared_offset(used) if source.offset is None else source.offset
        geobox = scene_grid(list(used), reproject=source.reproject, gsd_m=gsd_m)
        layers = [lay_out(src, bands, geobox, reproject=source.reproject) for src, bands in used.items()]
        if warped := [one_line(layer.path) for layer in layers if layer.warp]:
            log.warning(
                "%s: resampled to the UTM %g m grid, which takes contrast, and up to half the ISA from a map (docs/infer.md): "
                "if there is imagery on the grid of its delivery, give that",
                *(", ".join(warped), gsd_m),
            )
        told = source.offset is not None or any(scale != 1 for src in used for scale in src.scales)
        tags = [tag for src in used for tag in src.tags().items()]
        lifted = False if told else keeps_offset([path.absolute() for path in source.paths], tags)
    return Scene(replace(source, offset=offset), tuple(wanted), geobox, layers, lifted=lifted)


def check_scene(scene: Scene) -> None:
    """Refuse what a sample of the pixels shows to be no imagery; warn of a left-over baseline offset, and of odd units.

    Raises:
        InputError: no pixel is valid, the values are no reflectance, or a sampled part is damaged.
    """
    visible = [index for index, band in enumerate(scene.bands) if band in VISIBLE]
    samples = []
    for window in _sample_windows(_shape(scene)):
        reflectance, valid = scene.read(window, 0)
        samples.append(reflectance[visible][:, valid])
    files = ", ".join(one_line(path) for path in scene.paths)
    if not any(sample.shape[1] for sample in samples) and not _any_valid(scene):
        raise InputError(f"{files}: no pixel is valid (all nodata, NaN or 0): nothing to map")
    values = np.concatenate(samples, axis=1)
    if values.size and (remark := _remark(scene, values)):
        log.warning("%s: %s", files, remark)


def _remark(scene: Scene, visible: NDArray[np.float32]) -> str:
    """What looks wrong in the values of a scene that can be mapped; empty if nothing does."""
    if scene.has_dn and not scene.offset and (doubt := unit_doubt(visible)):
        return (
            f"{doubt}, and integers are read as reflectance x {QUANTIFICATION}: give the imagery as delivered"
        )
    if scene.offset < 0 and np.percentile(visible, 5, axis=1).min() < 0:
        return f"5 % of the pixels are below 0: --offset {scene.offset} seems removed already"
    why = why_lifted(visible, keeps=scene.lifted)
    if not why:
        return ""
    if not scene.has_dn:
        return f"{why}, take 0.1 off the values (--offset is for integer DN)"
    return (
        f"{why}, give --offset -1000 (a source of a recipe: offset = -1000); --offset 0 says that it is gone"
    )


def checked(scene: Scene, jobs: Iterator[Job]) -> Iterator[Job]:
    """The jobs; the scene is checked after the first has been handed out, by whoever then asks for the second.

    So the check need not keep what works on the first waiting, and blocks that it decoded serve the thread that
    reads on.

    Raises:
        InputError: as `check_scene` does.
    """
    yield from islice(jobs, 1)
    check_scene(scene)
    yield from jobs


def _any_valid(scene: Scene) -> bool:
    return any(scene.read(window, 0)[1].any() for window in windows(_shape(scene), 1024))


def _shape(scene: Scene) -> tuple[int, int]:
    height, width = scene.geobox.shape
    return height, width


def _sample_windows(shape: tuple[int, int]) -> Iterator[Window]:
    rows, cols = (
        np.unique(np.linspace(0, max(0, size - SAMPLE_PX), SAMPLE_COUNT).astype(int)).tolist()
        for size in shape
    )
    for row in rows:
        for col in cols:
            yield Window(row, col, SAMPLE_PX, SAMPLE_PX).clip(shape)


def _mirrored(start: int, count: int, size: int) -> NDArray[np.intp]:
    """Pixel numbers start, start + 1, ... reflected into 0 ... size - 1 without repeating the edge."""
    period = max(1, 2 * (size - 1))
    folded = np.abs(np.arange(start, start + count)) % period
    return np.where(folded < size, folded, period - folded)
