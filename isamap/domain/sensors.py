"""Sensors that are mapped or learnt from: pixel size, pass bands, sharpness; and what one of them would have seen.

A sensor sees the ground through its point spread, which is taken as Gaussian, and averages it over its pixel. The
width of the Gaussian follows from the modulation transfer function (MTF) at the Nyquist frequency, the figure that
operators publish: MTF = sinc(1/2) exp(-(pi s)^2 / 2) with s the standard deviation in pixels, sinc(1/2) = 2 / pi the
pixel's own part.

Sources: pass bands of Sentinel-2A by ESA's spectral response document (centre and width at half maximum), of Gaofen-1
and -2 and PlanetScope (PS2) by their operators' product specifications. MTF at Nyquist: Sentinel-2 requires
0.15 to 0.30 at 10 m, and 0.25 gives the 4 to 5 m of point spread that fit real images. For the others no published
figure was at hand: 0.20 is an assumption, the sharpness that push-broom imagers usually keep.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bands import QUANTIFICATION
from isamap.errors import ConfigError

Float = NDArray[np.float32]

REFLECTANCE_OF_WHITE = 0.3
"""Display value 255 as reflectance: the usual stretch of a true-colour picture."""
REACH = 4
"""Standard deviations after which a point spread is over."""


@dataclass(frozen=True)
class SensorBand:
    """One band as it is delivered."""

    name: str
    """ESA's name of the Sentinel-2 band that is alike, for every sensor: recipes name bands one way."""
    low_um: float
    """Pass band, from."""
    high_um: float
    """To."""
    gsd_m: float
    """Native pixel."""
    mtf: float
    """Modulation transfer at the Nyquist frequency of that pixel, point spread and pixel together."""

    @property
    def psf_sigma_m(self) -> float:
        """Standard deviation of the point spread in front of the pixel."""
        return self.gsd_m * math.sqrt(-2 * math.log(self.mtf * math.pi / 2)) / math.pi


@dataclass(frozen=True)
class Sensor:
    """An imager."""

    name: str
    """As recipes and cards call it."""
    gsd_m: float
    """Pixel of the grid that is mapped from."""
    bands: tuple[SensorBand, ...]
    """Those of use here."""
    orders: Mapping[int, tuple[str, ...]]
    """Band order of files that carry no band names, by number of bands."""
    quantification: int = QUANTIFICATION
    """Integers of 16 bits are reflectance times this."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the bands."""
        return tuple(band.name for band in self.bands)

    def scale(self, fine_m: float = 1.0) -> int:
        """Fine pixels along the side of one of its pixels."""
        return max(1, round(self.gsd_m / fine_m))


def _centred(name: str, centre_nm: float, width_nm: float, gsd_m: float, mtf: float) -> SensorBand:
    return SensorBand(name, (centre_nm - width_nm / 2) / 1000, (centre_nm + width_nm / 2) / 1000, gsd_m, mtf)


def _four(gsd_m: float, mtf: float, *limits_um: tuple[float, float]) -> tuple[SensorBand, ...]:
    """Blue, green, red and near infrared of an imager."""
    pairs = zip(("B02", "B03", "B04", "B08"), limits_um, strict=True)
    return tuple(SensorBand(name, low, high, gsd_m, mtf) for name, (low, high) in pairs)


BGRN, NRGB = ("B02", "B03", "B04", "B08"), ("B08", "B04", "B03", "B02")
GAOFEN_UM = ((0.45, 0.52), (0.52, 0.59), (0.63, 0.69), (0.77, 0.89))
SENSORS = {
    sensor.name: sensor
    for sensor in (
        Sensor(
            "sentinel-2",
            10,
            (
                _centred("B02", 492.4, 66, 10, 0.25),
                _centred("B03", 559.8, 36, 10, 0.25),
                _centred("B04", 664.6, 31, 10, 0.25),
                _centred("B05", 704.1, 15, 20, 0.25),
                _centred("B06", 740.5, 15, 20, 0.25),
                _centred("B07", 782.8, 20, 20, 0.25),
                _centred("B08", 832.8, 106, 10, 0.25),
                _centred("B8A", 864.7, 21, 20, 0.25),
                _centred("B11", 1613.7, 91, 20, 0.25),
                _centred("B12", 2202.4, 175, 20, 0.25),
            ),
            {4: BGRN},
        ),
        Sensor("gaofen-1", 8, _four(8, 0.20, *GAOFEN_UM), {4: BGRN}),
        Sensor("gaofen-2", 4, _four(4, 0.20, *GAOFEN_UM), {4: NRGB}),
        Sensor(
            "planetscope",
            3,
            _four(3, 0.20, (0.455, 0.515), (0.500, 0.590), (0.590, 0.670), (0.780, 0.860)),
            {4: BGRN},
        ),
    )
}
"""By name. Five-Billion-Pixels has its 8-bit Gaofen-2 images in the order near infrared, red, green, blue."""

CAMERAS: Mapping[int, Mapping[int, tuple[float, float]]] = {
    3: {0: (0.63, 0.69), 1: (0.51, 0.58), 2: (0.45, 0.51)},
    4: {0: (0.63, 0.69), 1: (0.51, 0.58), 2: (0.45, 0.51), 3: (0.77, 0.895)},
}
"""Pass bands of a fine image by number of channels: red, green, blue (and near infrared) of WorldView-2's kind."""
LEAST_OVERLAP = 0.2
"""Share of a sensor's pass band that the channels of an image must see, or the band stays missing."""


def sensor_of(name: str) -> Sensor:
    """The sensor called so.

    Raises:
        ConfigError: there is none; the message has those there are.
    """
    if name not in SENSORS:
        raise ConfigError(f"no sensor is called {name!r}: there are {', '.join(SENSORS)}")
    return SENSORS[name]


def response(sensor: Sensor, channels: int) -> dict[str, dict[int, float]]:
    """How the channels of a fine image make up each band of a sensor: weights that sum to 1.

    Weights are the parts of the band's pass band that each channel sees. A band of which they see next to nothing
    (the short-wave infrared), or whose native pixel is not the grid's (the red edge), is left out: it stays missing.
    """
    weights = {}
    for band in sensor.bands:
        if band.gsd_m != sensor.gsd_m:
            continue
        seen = {
            channel: max(0.0, min(high, band.high_um) - max(low, band.low_um))
            for channel, (low, high) in CAMERAS[channels].items()
        }
        total = sum(seen.values())
        if total > LEAST_OVERLAP * (band.high_um - band.low_um):
            weights[band.name] = {channel: part / total for channel, part in seen.items() if part}
    return weights


def observe(image: Float, sigma_px: float, scale: int) -> Float:
    """A fine image under a Gaussian point spread, averaged over coarse pixels; mirrored at the edges.

    Both steps are linear and separable, so they are one small matrix for the rows and one for the columns.

    Args:
        image: float32 `(..., y * scale, x * scale)`.
        sigma_px: standard deviation in fine pixels; 0 averages only.
        scale: fine pixels per coarse pixel and side.

    Returns:
        float32 `(..., y, x)`.
    """
    height, width = image.shape[-2] // scale, image.shape[-1] // scale
    seen = _rows(height, sigma_px, scale) @ image @ _rows(width, sigma_px, scale).T
    return seen.astype(np.float32, copy=False)


@lru_cache(maxsize=64)
def _kernel(sigma_px: float, scale: int) -> tuple[int, Float]:
    """Weights of the fine pixels around one coarse pixel, and how far before its first one they begin."""
    if sigma_px <= 0:
        return 0, np.full(scale, 1 / scale, np.float32)
    reach = math.ceil(REACH * sigma_px)
    point = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    weights = np.convolve(point / point.sum(), np.full(scale, 1 / scale))
    return reach, weights.astype(np.float32)


def _rows(count: int, sigma_px: float, scale: int) -> Float:
    """Matrix `(count, count * scale)` that blurs and averages a row."""
    reach, weights = _kernel(sigma_px, scale)
    fine = count * scale
    at = np.arange(count)[:, None] * scale + np.arange(len(weights)) - reach
    at %= 2 * fine
    at = np.minimum(at, 2 * fine - 1 - at)
    matrix = np.zeros((count, fine), np.float32)
    np.add.at(matrix, (np.arange(count)[:, None], at), weights)
    return matrix


def simulate(image: Float, sensor: Sensor, scale: int, fine_m: float) -> tuple[tuple[str, ...], Float]:
    """What a sensor would have seen of a fine image: each band with its own response and point spread.

    Args:
        image: reflectance, float32 `(channel, y * scale, x * scale)`: red, green, blue (and near infrared).
        sensor: whose bands.
        scale: fine pixels per pixel of its grid.
        fine_m: fine pixel.

    Returns:
        Names of the bands that the image has light for, and their reflectance `(band, y, x)`.
    """
    weights = response(sensor, image.shape[0])
    bands = [band for band in sensor.bands if band.name in weights]
    seen = []
    for band in bands:
        mixed = sum(np.float32(part) * image[channel] for channel, part in weights[band.name].items())
        seen.append(observe(np.asarray(mixed, np.float32), band.psf_sigma_m / fine_m, scale))
    return tuple(band.name for band in bands), np.stack(seen)
