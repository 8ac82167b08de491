"""The 10 m input that Sentinel-2 would have seen, made from a 1 m image."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

RGB_BANDS = {"B04": 0, "B03": 1, "B02": 2}
"""Which channel of a red, green, blue image stands for which band."""
REFLECTANCE_OF_WHITE = 0.3
"""Display value 255 as reflectance: the usual stretch of a true-colour picture."""


def blur(image: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """`(c, y, x)` float32 image under a Gaussian point-spread function; mirrored at the edges."""
    radius = round(3 * sigma_px)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma_px) ** 2)
    kernel = kernel / kernel.sum()
    planes = functional.pad(image[:, None], (radius,) * 4, mode="reflect")  # (c, 1, y, x)
    planes = functional.conv2d(planes, kernel[None, None, None, :])
    return functional.conv2d(planes, kernel[None, None, :, None])[:, 0]


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
    fine = torch.from_numpy(image.astype(np.float32)) / 255 * REFLECTANCE_OF_WHITE
    coarse = functional.avg_pool2d(blur(fine, float(rng.uniform(3, 5))), scale).numpy()
    coarse = coarse + rng.normal(0, 0.0015, coarse.shape)
    lr = np.zeros((len(bands), *coarse.shape[1:]), np.float32)
    present = np.zeros(lr.shape, np.bool_)
    for index, band in enumerate(bands):
        if band in RGB_BANDS:
            lr[index] = coarse[RGB_BANDS[band]]
            present[index] = True
    return lr, present
