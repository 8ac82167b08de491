"""The 10 m input that Sentinel-2 would have seen, made from a 1 m image."""

import numpy as np
from numpy.typing import NDArray

from isamap.domain.sensors import REFLECTANCE_OF_WHITE, observe

RGB_BANDS = {"B04": 0, "B03": 1, "B02": 2}
"""Which channel of a red, green, blue image stands for which band."""


def simulate(
    image: NDArray[np.uint8], bands: tuple[str, ...], scale: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pseudo-reflectance as the coarse sensor sees it: blurred, averaged, noisy.

    Args:
        image: red, green, blue display values, `(3, y * scale, x * scale)`.
        bands: bands wanted; those an RGB image lacks come back missing.
        scale: fine pixels per coarse pixel and side.
        rng: draws the point spread (3 to 5 fine pixels) and the noise.

    Returns:
        reflectance and presence, both `(band, y, x)`.
    """
    fine = image.astype(np.float32) * np.float32(REFLECTANCE_OF_WHITE / 255)
    seen = observe(fine, float(rng.uniform(3, 5)), scale)
    coarse = seen + rng.normal(0, 0.0015, seen.shape)
    lr = np.zeros((len(bands), *coarse.shape[1:]), np.float32)
    present = np.zeros(lr.shape, np.bool_)
    for index, band in enumerate(bands):
        if band in RGB_BANDS:
            lr[index] = coarse[RGB_BANDS[band]]
            present[index] = True
    return lr, present
