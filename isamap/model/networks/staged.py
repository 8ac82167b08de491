"""`staged`: Prog-ESRGAN, then a segmenter on its image, as Deng et al. (arXiv 2505.05367) are reported to do.

Stage 1 is an ESRGAN generator (Wang et al. 2018) from 10 m to 2.5 m. Stage 2 sees the input upsampled x4 beside the
image of stage 1 and goes on to 1 m, x2.5. A U-Net segments the image at 1 m; it sees nothing else. Widths and depths
of ESRGAN's lineage are 64 channels, growth 32, 23 blocks; the paper's own are not published.
"""

from math import ceil
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from isamap.model.networks.base import Images, Network
from isamap.model.networks.config import NetworkConfig
from isamap.model.networks.layers import RRDB, SLOPE, Rise, crop, resize
from isamap.model.networks.unet import UNet

MIDDLE = 4
"""Pixels of the first image per input pixel and side: 2.5 m from 10 m."""


class Generator(nn.Module):
    """Dense blocks, one way up, an image: what is added to the interpolated input.

    ESRGAN predicts the image itself; the difference is learnt sooner, and what is not learnt costs nothing.
    """

    def __init__(self, inputs: int, config: NetworkConfig, blocks: int, rise: "nn.Module") -> None:
        super().__init__()
        width = config.channels
        self.stem = nn.Conv2d(inputs, width, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(width, config.growth) for _ in range(blocks)))
        self.after = nn.Conv2d(width, width, 3, padding=1)
        self.rise = rise
        self.detail = nn.Conv2d(width, width, 3, padding=1)
        self.image = nn.Conv2d(width, 3, 3, padding=1)
        nn.init.zeros_(self.image.weight)
        nn.init.zeros_(self.image.bias)  # type: ignore[arg-type]  # it has one
        self.radius_px = 2 + RRDB.radius_px * blocks
        """Reach of all before the rise, in pixels of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """`(n, 3, y * rise, x * rise)`."""
        x = self.stem(x)
        x = self.rise(x + self.after(self.body(x)))
        made: Tensor = self.image(functional.leaky_relu_(self.detail(x), SLOPE))
        return made


class Twice(nn.Module):
    """x2 and a convolution, as often as ESRGAN does for x4: twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels, y * 4, x * 4)`."""
        for conv in self.convs:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
            x = functional.leaky_relu_(conv(x), SLOPE)
        return x


class Staged(Network):
    """Two generators and a segmenter that knows only their image."""

    scales: ClassVar[range] = range(5, 21)
    through_images: ClassVar[bool] = True
    segmenter: ClassVar[tuple[str, ...]] = ("segment", "isa")

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if config.visible is None:
            raise ValueError("staged makes images: bands must hold B02, B03 and B04")
        self.config, self.visible = config, config.visible
        inputs = 2 * len(config.bands)
        width, scale = config.channels, config.scale
        self.first = Generator(inputs, config, config.blocks, Twice(width))
        self.second = Generator(inputs + 3, config, config.mid_blocks, Rise(width, width, MIDDLE, scale))
        self.segment = UNet(3, config.fine)
        self.isa = nn.Conv2d(config.fine, config.outputs, 3, padding=1)
        rises = 5 / 4 + 1  # convolutions at 5 m, 2.5 m (three); cells of 2.5 m and what is interpolated
        coarse = self.first.radius_px + self.second.radius_px / MIDDLE + rises
        self.radius_px = ceil(coarse + (UNet.radius_px + 2) / scale)
        self.stride_px = UNet.coarse_stride(config.scale)

    def two_images(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The images at 2.5 m and at 1 m, in deviations of the input."""
        base = torch.sinh(x[:, self.visible])  # undoes `prepare`: (n, 3, y, x)
        middle = resize(base, 1, MIDDLE) + self.first(x)
        seen = torch.cat([resize(x, 1, MIDDLE), torch.asinh(middle)], dim=1)  # (n, inputs + 3, 4 y, 4 x)
        fine = resize(middle, MIDDLE, self.config.scale) + self.second(seen)
        return middle, fine

    def images(self, x: Tensor) -> Images:
        """Logits and both images."""
        middle, fine = self.two_images(x)
        return Images(self.isa(self.segment(torch.asinh(fine))), fine, middle)

    def pictures(self, x: Tensor) -> Images:
        """Both images."""
        middle, fine = self.two_images(x)
        return Images(None, fine, middle)

    def forward(self, x: Tensor, halo_px: int = 0) -> Tensor:
        """Logits of `x` without its halo."""
        fine = self.two_images(x)[1]
        return crop(self.isa(self.segment(torch.asinh(fine))), halo_px * self.config.scale)
