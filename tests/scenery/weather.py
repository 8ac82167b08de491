"""Clouds, shadows and haze of real scenes, transplanted with their masks; made ones where the data are absent.

- `cumulus`: s2-cloud-mask (Sentinel-2, six bands, clouds and shadows labelled by hand). A cloud keeps its own
  reflectance; its shadow darkens the ground by the ratio between shaded and lit land of that scene. Its pixels were
  about 30 m: here they are 10 m, so clouds are a third of their size.
- `overcast`: a fully cloudy date of s2-slovenia-5dates, mirrored to fill, over all of the ground.
- `deck`: the same within the outlines of s2-cloud-mask grown until the wanted share is covered: one thick layer.
- `haze`: the veil of s2-boadella-2020, 13 against 28 January: its low-pass difference in blue, added by
  band as it lies over the darkest ground. SCL sees the thick part alone (cirrus).

A cloud ends in a fringe of 3 px in which it grows thin; SCL calls only its core a cloud, as Sen2Cor does.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import rasterio
import realdata
from numpy.typing import NDArray
from scipy import ndimage

KINDS = ("cumulus", "deck", "overcast", "haze")
FRINGE_PX = 3
# medians of s2-cloud-mask by band: cloud, and shaded over lit land
_CLOUD_DN = (4170, 4030, 4230, 5900, 4820, 3670)
_SHADE = (0.82, 0.63, 0.56, 0.33, 0.27, 0.28)
# what the haze of s2-boadella-2020 adds to its darkest ground, by band: differences of the 0.1 percentiles
_VEIL_DN = (580, 495, 460, 385, 410, 380)


@dataclass(frozen=True)
class Weather:
    """What lies between a satellite and the ground, at 10 m."""

    cloud: NDArray[np.float32]
    """How much of a pixel's light is the cloud's, 0-1, (y, x)."""
    light: NDArray[np.float32]
    """Reflectance of the cloud x 10000, (6, y, x)."""
    shade: NDArray[np.float32]
    """What shadow leaves of the ground, 0-1, (6, y, x)."""
    veil: NDArray[np.float32]
    """Haze to be added, DN, (6, y, x)."""
    scl: NDArray[np.uint8]
    """3, 8, 9, 10 where a scene classification sees it, 0 elsewhere; 10 m, (y, x)."""

    @property
    def disturbed(self) -> NDArray[np.bool_]:
        """Pixels that are not the ground's own: cloud, fringe and shadow, and haze of more than 100 DN in blue."""
        return (self.cloud > 0) | (self.shade < 1).any(0) | (self.veil[0] > 100)

    def over(self, ground: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is seen of the ground, reflectance x 10000, (6, y, x)."""
        seen = ground * self.shade + self.veil
        return seen + self.cloud * (self.light - seen)


def clear(shape: tuple[int, int]) -> Weather:
    """A fine day."""
    nothing, six = np.zeros(shape, np.float32), np.zeros((6, *shape), np.float32)
    return Weather(nothing, six, np.ones_like(six), six, np.zeros(shape, np.uint8))


def weather(
    kind: str, share: float, shape: tuple[int, int], rng: np.random.Generator, *, real: bool = True
) -> Weather:
    """Weather over a grid of (height, width).

    Args:
        kind: one of KINDS.
        share: of the ground that clouds cover, 0-1; their shadows come on top. `overcast` covers all.
        shape: (height, width) of the 10 m grid, both even.
        rng: where it lies.
        real: from the real data; False: made, with the same statistics, for suites without them.
    """
    if share <= 0:
        return clear(shape)
    if kind == "haze":
        return _haze(shape, rng, real=real)
    labels, bands = _field(shape, rng, real=real)
    core = np.ones(shape, bool) if kind == "overcast" else _covering(labels == 4, share)
    light = _deck(shape, rng, real=real) if kind in ("overcast", "deck") else _filled(bands, labels == 4)
    shadow = np.zeros(shape, bool) if kind == "overcast" else _shadow(core, rng)
    return _assembled(core, light, shadow & ~core)


def _assembled(core: NDArray[np.bool_], light: NDArray[np.float32], shadow: NDArray[np.bool_]) -> Weather:
    away = ndimage.distance_transform_edt(~core) if not core.all() else np.zeros(core.shape)
    cloud = np.clip(1 - away / (FRINGE_PX + 1), 0, 1).astype(np.float32)
    deep = ndimage.gaussian_filter(shadow.astype(np.float32), 1.0)
    shade = 1 - deep[None] * (1 - np.asarray(_SHADE, np.float32))[:, None, None]
    shade[:, deep < 0.02] = 1
    scl = np.zeros(core.shape, np.uint8)
    scl[shadow] = 3
    scl[core] = 8
    scl[ndimage.binary_erosion(core, iterations=2)] = 9
    return Weather(cloud, light, shade.astype(np.float32), np.zeros_like(light), scl)


def _covering(seeds: NDArray[np.bool_], share: float) -> NDArray[np.bool_]:
    """Clouds grown or shrunk until they cover a share, outlines kept as far as can be."""
    if not seeds.any():
        seeds = seeds.copy()
        seeds[seeds.shape[0] // 2, seeds.shape[1] // 2] = True
    signed = ndimage.distance_transform_edt(~seeds) - ndimage.distance_transform_edt(seeds)
    return signed <= np.quantile(signed, share)


def _shadow(core: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where the clouds' shadows fall: north-west of them, as in the morning of the northern hemisphere."""
    down = int(rng.integers(12, 30))
    moved = np.zeros_like(core)
    moved[:-down, :-down] = core[down:, down:]
    return moved


def _field(
    shape: tuple[int, int], rng: np.random.Generator, *, real: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Labels and six bands of the cloudy scene: turned, moved and mirrored to fill the grid."""
    labels, bands = _labelled() if real else _made(rng)
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))
    begin = [int(value) for value in rng.integers(0, labels.shape[0], 2)]

    def placed(values: NDArray[np.generic]) -> NDArray[np.generic]:
        turned = np.rot90(values, turns, (-2, -1))
        turned = turned[..., ::-1] if flip else turned
        return turned[
            ...,
            _mirrored(begin[0], shape[0], labels.shape[0])[:, None],
            _mirrored(begin[1], shape[1], labels.shape[1]),
        ]

    return placed(labels), placed(bands)


def _mirrored(begin: int, count: int, size: int) -> NDArray[np.int64]:
    """Indices that run to and fro over an axis."""
    index = (begin + np.arange(count)) % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)


def _filled(bands: NDArray[np.float32], cloud: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The nearest cloud's reflectance everywhere: grown clouds need some."""
    if not cloud.any():
        return np.broadcast_to(np.asarray(_CLOUD_DN, np.float32)[:, None, None], bands.shape).copy()
    rows, cols = ndimage.distance_transform_edt(~cloud, return_distances=False, return_indices=True)
    return bands[:, rows, cols]


@cache
def _labelled() -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    image, mask = realdata.real("s2-cloud-mask/s2-reflectance.tif", "s2-cloud-mask/cloud-mask.tif")
    import warnings

    with warnings.catch_warnings():  # the data say themselves that they have no place
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(image) as src, rasterio.open(mask) as labels:
            return labels.read(1), src.read().astype(np.float32)


def _made(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    field = _smooth(rng, 14)
    labels = np.where(field > np.quantile(field, 0.8), 4, 3).astype(np.uint8)
    bands = np.asarray(_CLOUD_DN, np.float32)[:, None, None] * (
        0.8 + 0.25 * np.clip(field / field.std(), 0, 3)
    )
    return labels, bands.astype(np.float32)


@cache
def _decks() -> tuple[NDArray[np.float32], ...]:
    decks = []
    for path in realdata.real(*(f"s2-slovenia-5dates/s2-slovenia-{index}.tif" for index in (0, 1))):
        with rasterio.open(path) as src:
            bands = [src.descriptions.index(band) + 1 for band in ("B02", "B03", "B04", "B08", "B11", "B12")]
            decks.append(src.read(bands).astype(np.float32) * 10_000)
    return tuple(decks)


def _deck(shape: tuple[int, int], rng: np.random.Generator, *, real: bool) -> NDArray[np.float32]:
    return _placed(_decks()[0] if real else _made(rng)[1], shape, rng)


@cache
def _veil() -> NDArray[np.float32]:
    hazy, later = realdata.real(
        "s2-boadella-2020/s2-boadella-2020-01-13.tif", "s2-boadella-2020/s2-boadella-2020-01-28.tif"
    )
    with rasterio.open(hazy) as one, rasterio.open(later) as two:
        low = [
            ndimage.gaussian_filter(src.read(src.descriptions.index("B02") + 1).astype(np.float32), 25)
            for src in (one, two)
        ]
    return _layers(low[0] - low[1])


def _layers(field: NDArray[np.float32]) -> NDArray[np.float32]:
    thick = (field - field.min()) / np.ptp(field)
    return np.stack([thick * top for top in _VEIL_DN]).astype(np.float32)


def _haze(shape: tuple[int, int], rng: np.random.Generator, *, real: bool) -> Weather:
    field = _veil() if real else _layers(_smooth(rng, 30))
    veil = _placed(field, shape, rng)
    fine = clear(shape)
    scl = np.where(veil[0] > 300, 10, 0).astype(np.uint8)
    return Weather(fine.cloud, fine.light, fine.shade, veil, scl)


def _smooth(rng: np.random.Generator, sigma: float) -> NDArray[np.float32]:
    return ndimage.gaussian_filter(rng.standard_normal((512, 512), np.float32), sigma, mode="wrap")


def _placed(
    values: NDArray[np.float32], shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A part of (band, y, x), mirrored to fill the grid."""
    sizes = zip(shape, values.shape[1:], strict=True)
    rows, cols = (_mirrored(int(rng.integers(size)), count, size) for count, size in sizes)
    return values[:, rows[:, None], cols]
