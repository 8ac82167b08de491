"""`joint`: one network for image and map, so that segmentation shapes what super-resolution looks for.

The way is that of `staged`, 10 m to 2.5 m to 1 m, but what travels along it are features, not an image: both heads read
them, and gradients of the map reach everything. The image is a by-product; its 10 m means are those of the input
exactly, so that it can add detail and never invent brightness (the constraint of SEN2SR, here with block means).
"""

from math import ceil
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from isamap.model.networks.base import Images, Network, in_strips
from isamap.model.networks.config import NetworkConfig
from isamap.model.networks.layers import LocalAttention, ResidualBlock, Rise, SubPixel, block_mean

MIDDLE = 4
"""Pixels at 2.5 m per input pixel and side."""


def anchor(detail: Tensor, base: Tensor, factor: int) -> Tensor:
    """The image whose means over `factor` x `factor` pixels are `base`, and whose detail is `detail`.

    Args:
        detail: `(n, 3, y * factor, x * factor)`.
        base: `(n, 3, y, x)`.
        factor: pixels of the image per pixel of the base and side.
    """
    image = functional.interpolate(base, scale_factor=factor, mode="bilinear", align_corners=False) + detail
    missing = base - block_mean(image, factor)
    return image + missing.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


class Joint(Network):
    """Trunk with local attention at 10 m, blocks at 2.5 m, light heads at 1 m that read all three resolutions."""

    scales: ClassVar[range] = range(5, 21)
    through_images: ClassVar[bool] = True
    segmenter: ClassVar[tuple[str, ...]] = ("from_10m", "from_2_5m", "join", "isa")
    skip: ClassVar[int] = 8
    """Channels that each coarser resolution lends to the head."""
    strip_px: ClassVar[int] = 48
    """Rows of 10 m pixels whose 1 m features exist at one time in prediction."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        if config.visible is None:
            raise ValueError("joint makes an image: bands must hold B02, B03 and B04")
        self.config, self.visible = config, config.visible
        wide, mid, fine = config.channels, config.mid, config.fine
        self.stem = nn.Conv2d(2 * len(config.bands), wide, 3, padding=1)
        half = config.blocks // 2
        trunk: list[nn.Module] = [ResidualBlock(wide) for _ in range(config.blocks)]
        if config.attention_px:
            trunk.insert(half, LocalAttention(wide, config.attention_px))
        self.trunk = nn.Sequential(*trunk)
        self.to_2_5m = SubPixel(wide, mid, MIDDLE)
        self.at_2_5m = nn.Sequential(*(ResidualBlock(mid) for _ in range(config.mid_blocks)))
        self.to_1m = Rise(mid, fine, MIDDLE, config.scale)
        self.at_1m = ResidualBlock(fine)
        seen = fine
        if config.cross_scale:
            self.from_10m = nn.Conv2d(wide, self.skip, 1)
            self.from_2_5m = Rise(mid, self.skip, MIDDLE, config.scale)
            seen += 2 * self.skip
        self.join = nn.Conv2d(seen, fine, 3, padding=1)
        self.isa = nn.Conv2d(fine, config.outputs, 3, padding=1)
        self.middle = nn.Conv2d(mid, 3, 3, padding=1)
        self.image = nn.Conv2d(fine, 3, 3, padding=1)
        self.head_radius_px = ceil(
            1 + (2 * config.mid_blocks + self.to_1m.radius_px) / MIDDLE + 4 / config.scale
        )
        self.radius_px = 1 + 2 * config.blocks + config.attention_px + self.head_radius_px
        self.stride_px = 1

    def at_10m(self, x: Tensor) -> Tensor:
        """`(n, channels, y, x)` features at 10 m."""
        x = self.stem(x)
        return x + self.trunk(x)  # type: ignore[no-any-return]  # Module.__call__ is untyped

    def finer(self, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Features at 2.5 m `(n, mid, 4 y, 4 x)` and at 1 m `(n, fine, y * scale, x * scale)`."""
        middle = self.at_2_5m(self.to_2_5m(coarse))
        return middle, self.at_1m(self.to_1m(middle))

    def decide(self, coarse: Tensor, middle: Tensor, fine: Tensor) -> Tensor:
        """Logits from features of all resolutions."""
        seen = [fine]
        if self.config.cross_scale:
            even = functional.interpolate(
                self.from_10m(coarse), scale_factor=self.config.scale, mode="nearest"
            )
            seen += [even, self.from_2_5m(middle)]
        made: Tensor = self.isa(functional.relu_(self.join(torch.cat(seen, dim=1))))
        return made

    def logits(self, coarse: Tensor) -> Tensor:
        """Logits from features at 10 m."""
        return self.decide(coarse, *self.finer(coarse))

    def forward(self, x: Tensor, halo_px: int = 0) -> Tensor:
        """Logits of `x` without its halo, dropped as soon as the trunk is done with it."""
        part = (self.logits, self.head_radius_px, self.strip_px)
        return in_strips(self.at_10m(x), halo_px, self.config.scale, part)

    def images(self, x: Tensor) -> Images:
        """Logits and both images, anchored to the input."""
        coarse = self.at_10m(x)
        middle, fine = self.finer(coarse)
        base = torch.sinh(x[:, self.visible])  # undoes `prepare`: (n, 3, y, x)
        return Images(
            self.decide(coarse, middle, fine),
            anchor(self.image(fine), base, self.config.scale),
            anchor(self.middle(middle), base, MIDDLE),
        )
