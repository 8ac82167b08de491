"""The super-resolved images of models against the 1 m image, beside bicubic interpolation.

All images are compared in reflectance, red, green and blue, piece by piece. Each one, the reference too, is first given
the mean and the deviation that the input has at 10 m: display values know neither sun nor air, and what is asked is
which detail is right. Hallucination, omission and improvement follow opensr-test (Aybar et al. 2024): distances
(normalised difference, by pixel) of the image to the reference and to the interpolated input, in units of the distance
between these two, where one of the three is large; shares are a soft minimum. Not done here: its histogram matching
(moments are matched instead) and its spatial alignment.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import tables
import torch
from accuracy_ground import SCALE, Area
from accuracy_models import Model
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from isamap.domain.sensors import REFLECTANCE_OF_WHITE
from isamap.model.losses import matched
from isamap.model.networks.config import VISIBLE

PIECE_PX = 48
"""Side of a piece in 10 m pixels, as that of a training chip."""
AROUND_PX = 16
"""Real neighbours that a network sees around it."""
RIM_PX = 16
"""1 m pixels at the edge of a piece that are not compared."""
PEAK = REFLECTANCE_OF_WHITE
SSIM_SIGMA_PX, SSIM_TRUNCATE = 1.5, 3.5
"""Window of 11 pixels (Wang et al. 2004)."""
GAMMA, TEMPERATURE = 0.05, 0.25
"""opensr-test's defaults."""
LOUD = 0.75
"""Quantile of the distance between reference and interpolated input from which a pixel is looked at."""


@dataclass
class Image:
    """What was found of one kind of image, piece by piece."""

    psnr: list[float]
    ssim: list[float]
    consistency: list[float]
    """Mean absolute difference between 10 m means and input, reflectance."""
    correctness: list[tuple[float, float, float]]
    """Shares of hallucination, omission, improvement."""

    def row(self) -> tuple[float | str, ...]:
        """Means over all pieces; consistency in thousandths of reflectance."""
        shares = np.mean(self.correctness, axis=0)
        means = float(np.mean(self.psnr)), float(np.mean(self.ssim))
        return f"{means[0]:.2f}", means[1], f"{1000 * np.mean(self.consistency):.2f}", *map(float, shares)


def image_table(area: Area, models: Sequence[Model]) -> Iterator[str]:
    """One row for bicubic interpolation, one for each model that makes an image."""
    makers = [model for model in models if makes_image(model)]
    found = {"bicubic": Image([], [], [], [])} | {f"**{m.name}**": Image([], [], [], []) for m in makers}
    for rows, cols in pieces(area):
        wide = tuple(slice(part.start - AROUND_PX, part.stop + AROUND_PX) for part in (rows, cols))
        near, own = area.crop(*wide), area.crop(rows, cols)
        base = torch.from_numpy(own.of(VISIBLE)[0])[None]
        known = torch.from_numpy(own.image.any(axis=0)).float()[None, None]
        reference = in_units(torch.from_numpy(own.image.astype(np.float32))[None], base, known)
        made = {
            "bicubic": functional.interpolate(base, scale_factor=SCALE, mode="bicubic", align_corners=False)
        }
        made |= {f"**{model.name}**": image_of(model, near) for model in makers}
        for name, image in made.items():
            judge(found[name], in_units(image, base, known), reference, base[0].numpy())
    heads = (
        "image",
        "PSNR, dB",
        "SSIM",
        "10 m consistency, 1e-3",
        "hallucination",
        "omission",
        "improvement",
    )
    yield from tables.table(heads, ((name, *image.row()) for name, image in found.items()))
    without = [model.name for model in models if not makes_image(model)]
    if without:
        yield f"\nTrained without an image, and therefore without a row: {', '.join(without)}."


def makes_image(model: Model) -> bool:
    """Whether the model makes an image, and some stage of its training looked at one."""
    stage: dict[str, Any] | None = model.card.training
    while stage is not None:
        if stage.get("images", True):  # cards did not always say so; all recipes of then had an image loss
            return set(VISIBLE) <= set(model.bands)
        stage = stage.get("start")
    return False


def pieces(area: Area) -> Iterator[tuple[slice, slice]]:
    """Pieces whose image is complete, far enough from the edge of the raster, and labelled in part.

    Labels bound what a piece may show: elsewhere the image may have been learnt from.
    """
    height, width = area.lr.shape[1:]
    for top, left in product(
        range(AROUND_PX, height - PIECE_PX - AROUND_PX + 1, PIECE_PX),
        range(AROUND_PX, width - PIECE_PX - AROUND_PX + 1, PIECE_PX),
    ):
        rows, cols = slice(top, top + PIECE_PX), slice(left, left + PIECE_PX)
        own = area.crop(rows, cols)
        if own.image.any(axis=0).mean() > 0.99 and (own.isa != 255).mean() > 0.99 and own.present.all():
            yield rows, cols


def image_of(model: Model, near: Area) -> torch.Tensor:
    """The model's image of a piece, `(1, 3, Y, X)` in units of its own."""
    lr, present = (torch.from_numpy(part)[None] for part in near.of(model.bands))
    stride = model.network.stride_px
    x = functional.pad(
        model.card.network.prepare(lr, present), (0, -lr.shape[-1] % stride, 0, -lr.shape[-2] % stride)
    )
    with torch.inference_mode():
        image = model.network.pictures(x).image.float()
    rim, side = AROUND_PX * SCALE, PIECE_PX * SCALE
    return image[..., rim : rim + side, rim : rim + side]


def in_units(image: torch.Tensor, base: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """The image with mean and deviation of the input at 10 m."""
    return matched(image, base, known)[0]


def judge(found: Image, image: torch.Tensor, reference: torch.Tensor, base: np.ndarray) -> None:
    """Add one piece; images `(1, 3, Y, X)`, input `(3, y, x)`, all in reflectance."""
    coarse = functional.avg_pool2d(image, SCALE)[0].numpy()
    found.consistency.append(float(np.abs(coarse - base).mean()))
    plain = functional.interpolate(
        torch.from_numpy(base)[None], scale_factor=SCALE, mode="bilinear", align_corners=False
    )
    inner = slice(RIM_PX, -RIM_PX)
    sr, hr, up = (one[0, :, inner, inner].numpy().astype(np.float64) for one in (image, reference, plain))
    found.psnr.append(psnr(sr, hr))
    found.ssim.append(ssim(sr, hr))
    found.correctness.append(correctness(sr, hr, up))


def psnr(image: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio, dB; the peak is the reflectance of display white."""
    error = float(((image - reference) ** 2).mean())
    return float("inf") if error == 0 else 10 * np.log10(PEAK**2 / error)


def ssim(image: np.ndarray, reference: np.ndarray) -> float:
    """Structural similarity of `(3, Y, X)`, mean over pixels and channels."""
    return float(ssim_map(image, reference).mean())


def ssim_map(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Structural similarity of each pixel and channel."""

    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (0, SSIM_SIGMA_PX, SSIM_SIGMA_PX), truncate=SSIM_TRUNCATE)

    a, b = mean(image), mean(reference)
    var_a, var_b, both = mean(image**2) - a * a, mean(reference**2) - b * b, mean(image * reference) - a * b
    low, high = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    return (2 * a * b + low) * (2 * both + high) / ((a * a + b * b + low) * (var_a + var_b + high))


def correctness(image: np.ndarray, reference: np.ndarray, plain: np.ndarray) -> tuple[float, float, float]:
    """Shares of hallucination, omission and improvement, which sum to 1.

    Args:
        image: `(3, Y, X)`.
        reference: the 1 m image.
        plain: the input, interpolated.
    """

    def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (np.abs(one - other) / np.maximum(np.abs(one) + np.abs(other), 1e-6)).mean(axis=0)

    known, right, new = apart(plain, reference), apart(image, reference), apart(image, plain)
    limit = np.quantile(known, LOUD)
    loud = (known > limit) | (right > limit) | (new > limit)
    unit = np.maximum(known[loud], 1e-6)
    wrong, added = right[loud] / unit, new[loud] / unit
    fade = 1 - np.exp(-GAMMA * (wrong + added - 1))
    scores = np.stack([np.exp(-GAMMA * wrong * added), added + wrong * fade, wrong + added * fade])
    weight = np.exp(-(scores - scores.min(axis=0)) / TEMPERATURE)
    return tuple(float(share) for share in (weight / weight.sum(axis=0)).mean(axis=1))
