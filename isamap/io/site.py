"""A site: imagery with the fine image and the labels of the same ground, opened and checked, read window by window."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bands import QUANTIFICATION
from isamap.domain.classes import FBP24, UNLABELLED, Scheme
from isamap.domain.grid import Window, crop, refine
from isamap.domain.sensors import sensor_of
from isamap.domain.tiling import Source
from isamap.errors import InputError
from isamap.io.classmap import ClassMap
from isamap.io.coarse import Coarse, PlainBands, SceneBands, SimulatedBands, photo_grid
from isamap.io.folders import images_of
from isamap.io.guard import one_line, open_raster
from isamap.io.plain import Photo, is_metric, read_mask
from isamap.io.products import isa_codes
from isamap.io.raster import SceneInput
from isamap.io.rasterise import VectorLabels, VectorLayer
from isamap.io.vector import file_and_layer, files_of

SAY_CODES = "say which codes are ISA in a recipe (isa_codes, and unlabelled_codes for those that say nothing)"
FINE_M = 1.0
"""Pixel of the maps, and so of labels."""


@dataclass(frozen=True)
class SiteJob:
    """A site to be opened; small enough to be sent to a worker."""

    name: str
    """Of its shard."""
    source: Source
    """What the recipe says about it."""
    scheme: Scheme
    """Of the labels it shall give."""
    imagery: tuple[Path, ...] = ()
    image: tuple[Path, ...] = ()
    labels: tuple[Path, ...] = ()
    vectors: tuple[VectorLayer, ...] = ()
    area: tuple[Path, str | None] | None = None
    """File and layer of the ground where labels are complete."""
    bands: tuple[str, ...] | None = None
    folder: bool = False
    """Whether the files come from a folder: their labels are those of Five-Billion-Pixels."""

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Every file that the shard depends on."""
        vectors = [layer.path for layer in self.vectors] + ([self.area[0]] if self.area else [])
        return (
            *self.imagery,
            *self.image,
            *self.labels,
            *(file for path in vectors for file in files_of(path)),
        )

    @property
    def simulated(self) -> bool:
        """Whether the imagery is made from the fine image."""
        return not self.imagery

    @property
    def has_labels(self) -> bool:
        """Whether anything says what the ground is."""
        return bool(self.labels or self.vectors)


def jobs_of(source: Source, scheme: Scheme, data: Path) -> list[SiteJob]:
    """The sites of one source: one, or one for each image of a folder."""
    if source.folder is not None:
        found = images_of(data / source.folder)
        return [
            SiteJob(
                name=f"{source.name}-{one.name}",
                source=source,
                scheme=scheme,
                imagery=(one.image,),
                labels=(one.mask,) if one.mask else (),
                bands=source.bands or one.bands,
                folder=True,
            )
            for one in found
        ]
    return [
        SiteJob(
            name=source.name,
            source=source,
            scheme=scheme,
            imagery=tuple(data / p for p in source.imagery),
            image=tuple(data / p for p in source.image),
            labels=tuple(data / p for p in source.labels),
            vectors=tuple(VectorLayer(data / one.path, one.kind, one.layer) for one in source.vectors),
            area=file_and_layer(str(data / source.area)) if source.area else None,
            bands=source.bands,
        )
    ]


@dataclass
class Site:
    """An open site. Use it in `with`; one thread reads."""

    job: SiteJob
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            source, sensor = self.job.source, sensor_of(self.job.source.sensor)
            self.scale = self._scale()
            self._photo: Photo | None = None
            if self.job.simulated:
                grid = photo_grid(self.job.image[0], FINE_M, exact=source.scale is None)
                self._photo = stack.enter_context(Photo(self.job.image[:1], grid))
                self.coarse: Coarse = SimulatedBands(self._photo, sensor, self.scale)
            else:
                self.coarse = self._imagery(stack)
                self._check_scale()
            self.fine = refine(self.coarse.geobox, self.scale)
            if self.job.image and self._photo is None:
                self._photo = stack.enter_context(Photo(self.job.image, self.fine))
            self._mask = self._picture()
            self._rasters = None if self._mask is not None else self._label_rasters(stack)
            self._vectors = self._vector_labels()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def shape(self) -> tuple[int, int]:
        """Of the imagery `(height, width)`."""
        return self.coarse.geobox.shape[0], self.coarse.geobox.shape[1]

    @property
    def gsd_m(self) -> float:
        """Pixel of the imagery."""
        return abs(float(self.coarse.geobox.resolution.x))

    def _scale(self) -> int:
        source = self.job.source
        default = 1 if self.job.folder else sensor_of(source.sensor).scale(FINE_M)
        return default if source.scale is None else source.scale

    def _imagery(self, stack: ExitStack) -> Coarse:
        source, paths = self.job.source, self.job.imagery
        if source.sensor == "sentinel-2" and not self._is_plain():
            bands = self.job.bands
            return SceneBands(SceneInput(paths, bands, source.offset, source.reproject), stack)
        if len(paths) > 1 or source.offset or source.reproject:
            raise InputError(
                f"{one_line(paths[0])}: imagery of {source.sensor} is one file, without offset or reprojection"
            )
        return PlainBands(paths[0], sensor_of(source.sensor), self.job.bands, source.gain, stack)

    def _is_plain(self) -> bool:
        """Whether Sentinel-2 imagery is read as it is: an index such as NDVI, a gain of its own, a data set's image without position."""
        with open_raster(self.job.imagery[0]) as src:
            placed = src.crs is not None
        bands, sensor = self.job.bands, sensor_of("sentinel-2")
        own = bands is not None and not set(bands) <= set(sensor.names)
        return own or (self.job.folder and not placed) or self.job.source.gain is not None

    def _check_scale(self) -> None:
        """Refuse imagery whose pixel is no whole number of metres, unless the recipe says how fine labels are."""
        if self.job.source.scale is None and not self.job.folder and self.coarse.geobox.crs is not None:
            gsd_m = self.gsd_m
            if abs(gsd_m - self.scale * FINE_M) > 1e-6:
                raise InputError(
                    f"{one_line(self.job.imagery[0])}: has pixels of {gsd_m:g} m, in which {self.scale} labels of "
                    f"{FINE_M:g} m do not fit: warp it to {self.scale} m, or give the source a scale"
                )

    def _picture(self) -> NDArray[np.uint8] | None:
        """Labels that lie on the fine grid pixel for pixel, as codes of the scheme; None if they have a position."""
        if len(self.job.labels) != 1 or not self._is_picture(self.job.labels[0]):
            return None
        path = self.job.labels[0]
        own = FBP24 if self.job.folder else self.job.scheme
        codes = read_mask(path, own)
        if tuple(codes.shape) != tuple(self.fine.shape):
            raise InputError(
                f"{one_line(path)} has {codes.shape[1]} x {codes.shape[0]} pixels, its imagery at this scale "
                f"{self.fine.shape[1]} x {self.fine.shape[0]}"
            )
        return own.to_isa(codes) if own is FBP24 and self.job.scheme.name == "isa" else self._coded(codes)

    def _is_picture(self, path: Path) -> bool:
        if self.job.folder or path.suffix.lower() == ".png":
            return True
        with open_raster(path) as src:
            return src.crs is None or src.count >= 3

    def _label_rasters(self, stack: ExitStack) -> ClassMap | None:
        if not self.job.labels:
            return None
        self._need_position("labels that lie by position")
        return stack.enter_context(
            ClassMap(self.job.labels, partial(self._decode, one_line(self.job.labels[0])))
        )

    def _vector_labels(self) -> VectorLabels | None:
        if not self.job.vectors:
            return None
        if self.job.scheme.name != "isa":
            raise InputError(
                f"{self.job.name}: vectors say what is impervious, not the classes of {self.job.scheme.name}"
            )
        self._need_position("vector labels")
        background = 0 if self.job.source.background == "pervious" else UNLABELLED
        labels = VectorLabels(self.job.vectors, str(self.fine.crs), background, self.job.area)
        if self.job.area is None:
            labels.check_meet(self.fine, self.job.name)
        return labels

    def _need_position(self, what: str) -> None:
        if self.fine.crs is None or not is_metric(self.fine):
            files = one_line((self.job.imagery or self.job.image)[0])
            raise InputError(f"{files}: has no position in metres, which {what} need")

    def _decode(self, name: str, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Stored label values as codes of the scheme."""
        if (
            self.job.source.isa_codes is None
            and not self.job.source.unlabelled_codes
            and self.job.scheme.name == "isa"
        ):
            return isa_codes(name, values, SAY_CODES)
        if values.dtype != np.uint8:
            raise InputError(f"{name}: label rasters with codes of their own are uint8, not {values.dtype}")
        return self._coded(values)

    def _coded(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Codes of a label raster as those of the scheme."""
        source, scheme = self.job.source, self.job.scheme
        silent = np.isin(values, [*source.unlabelled_codes, UNLABELLED])
        if source.isa_codes is not None:
            codes = np.isin(values, source.isa_codes).astype(np.uint8)
        else:
            codes = scheme.check(np.where(silent, np.uint8(UNLABELLED), values))
        return np.where(silent, np.uint8(UNLABELLED), codes)

    def lr(self, window: Window) -> NDArray[Any]:
        """Stored imagery `(band, y, x)` of a window of its grid."""
        return self.coarse.read(window)

    def hr(self, window: Window, shift_px: tuple[int, int] = (0, 0)) -> NDArray[np.uint8] | None:
        """Fine image `(3, Y, X)` under a window of the imagery, 0 where there is none; None without any.

        Args:
            window: of the imagery.
            shift_px: fine rows and columns by which the image lies off.
        """
        if self._photo is None:
            return None
        values = self._photo.read(_moved(window.scaled(self.scale), shift_px))
        return values if values.dtype == np.uint8 else display(values)

    def labels(self, window: Window, shift_px: tuple[int, int] = (0, 0)) -> NDArray[np.uint8] | None:
        """Codes `(Y, X)` under a window of the imagery, 255 where unlabelled; None without labels. Args: as for `hr`."""
        if not self.job.has_labels:
            return None
        fine = _moved(window.scaled(self.scale), shift_px)
        if self._mask is not None:
            return _cut(self._mask, fine)
        grid = crop(self.fine, fine)
        codes: NDArray[np.uint8] | None = self._rasters.on(grid) if self._rasters is not None else None
        if self._vectors is not None and (codes is None or (codes == UNLABELLED).any()):
            burnt = self._vectors.on(grid)
            codes = burnt if codes is None else np.where(codes == UNLABELLED, burnt, codes)
        return codes


def _moved(window: Window, shift_px: Sequence[int]) -> Window:
    return Window(window.row_off + shift_px[0], window.col_off + shift_px[1], *window.shape)


def _cut(codes: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """A window of an array, unlabelled beyond its edges."""
    inside = window.clip((codes.shape[0], codes.shape[1]))
    result = np.full(window.shape, UNLABELLED, np.uint8)
    top, left = inside.row_off - window.row_off, inside.col_off - window.col_off
    result[top : top + inside.height, left : left + inside.width] = codes[inside.slices]
    return result


def display(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Reflectance x 10 000 as display values: 0.3 is white, and what is there is never 0."""
    white = 0.3 * QUANTIFICATION
    there = values.any(axis=0)
    shown = np.rint(values.astype(np.float32) * (255 / white)).clip(1, 255).astype(np.uint8)
    return np.where(there, shown, np.uint8(0))
