"""The discriminator of adversarial training: a U-Net with spectral normalisation (Wang et al. 2021, Real-ESRGAN).

It says of every pixel whether it belongs to a real image. Weights of the generator's loss in that lineage: L1 1,
perceptual 1, adversarial 0.1; all of them are keys of the recipe.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from isamap.model.losses import mean_where

SLOPE = 0.2
STRIDE_PX = 8
"""Sides are cut to multiples of this."""


def _conv(channels_in: int, channels_out: int, side: int = 3, stride: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv2d(channels_in, channels_out, side, stride, padding=1, bias=False))


class Discriminator(nn.Module):
    """Logits `(n, 1, y, x)`: above 0 where an image looks real."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        one, two, four, eight = (channels * k for k in (1, 2, 4, 8))
        self.stem = nn.Conv2d(3, one, 3, padding=1)
        self.down = nn.ModuleList(_conv(i, o, 4, 2) for i, o in ((one, two), (two, four), (four, eight)))
        self.up = nn.ModuleList(_conv(i, o) for i, o in ((eight, four), (four, two), (two, one)))
        self.head = nn.Sequential(_conv(one, one), nn.LeakyReLU(SLOPE), _conv(one, one), nn.LeakyReLU(SLOPE))
        self.real = nn.Conv2d(one, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of an image `(n, 3, y, x)` whose sides are multiples of 8."""
        x = functional.leaky_relu(self.stem(x), SLOPE)
        skips = []
        for conv in self.down:
            skips.append(x)
            x = functional.leaky_relu(conv(x), SLOPE)  # (n, c * 2**k, y / 2**k, x / 2**k)
        for conv, skip in zip(self.up, skips[::-1], strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = functional.leaky_relu(conv(x), SLOPE) + skip
        made: Tensor = self.real(self.head(x))
        return made


class Adversary:
    """A discriminator with its optimiser: generator and discriminator take turns.

    Its arithmetic stays float32 (TF32 in the convolutions of a GPU, cuDNN's default): the power iteration of spectral
    normalisation does not bear less.
    """

    def __init__(self, channels: int, rate: float, device: torch.device) -> None:
        self.network = Discriminator(channels).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=rate, betas=(0.9, 0.99))

    def blame(self, fake: Tensor, known: Tensor) -> Tensor:
        """Loss of the generator: how far its image is from passing for real. The discriminator does not learn here.

        Args:
            fake: `(n, 3, y, x)`.
            known: `(n, 1, y, x)`, 1 where there is a real image to compare with.
        """
        fake, known = self._cut(fake, known)
        self.network.requires_grad_(requires_grad=False)
        logits = self.network(fake * known)
        self.network.requires_grad_(requires_grad=True)
        return self._loss(logits, known, real=True)

    def doubt(self, fake: Tensor, real: Tensor, known: Tensor) -> Tensor:
        """Loss of the discriminator: how far it is from telling the two apart."""
        fake, real, known = self._cut(fake.detach(), real, known)
        right = self._loss(self.network(real * known), known, real=True)
        return right + self._loss(self.network(fake * known), known, real=False)

    @staticmethod
    def _cut(*parts: Tensor) -> list[Tensor]:
        height, width = (side // STRIDE_PX * STRIDE_PX for side in parts[0].shape[-2:])
        return [part[..., :height, :width].float() for part in parts]

    @staticmethod
    def _loss(logits: Tensor, known: Tensor, *, real: bool) -> Tensor:
        """Binary cross-entropy (the vanilla GAN's) where there is a real image."""
        truth = torch.full_like(logits.float(), float(real))
        return mean_where(
            functional.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none"), known
        )
