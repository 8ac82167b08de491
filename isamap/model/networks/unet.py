"""The segmenter at 1 m that `bilinear` and `staged` share: a U-Net (Ronneberger et al. 2015)."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from isamap.model.networks.layers import DoubleConv


class UNet(nn.Module):
    """Features at the resolution of its input, over three halvings."""

    growth: ClassVar[tuple[int, ...]] = (1, 2, 4, 6)
    """Widths of the levels, in those of the first."""
    radius_px: ClassVar[int] = 60
    """Reach in pixels of its own grid: convolutions 2 + 4 + 8 + 16 + 8 + 4 + 2, one more after it, and up to 7 each for
    where a pixel lies in the cells that pool and spread."""
    stride_px: ClassVar[int] = 8
    """Sides of its own grid must be multiples of this."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        widths = [channels * g for g in self.growth]
        before = [inputs, *widths[:-1]]
        self.down = nn.ModuleList(DoubleConv(i, o) for i, o in zip(before, widths, strict=True))
        self.up = nn.ModuleList(
            DoubleConv(deep + wide, wide) for deep, wide in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels, Y, X)` from `(n, inputs, Y, X)`."""
        return down_and_up(self.down, self.up, x)

    @classmethod
    def coarse_stride(cls, scale: int) -> int:
        """Input pixels that sides must be multiples of when the U-Net works on a grid `scale` times finer."""
        return cls.stride_px // math.gcd(cls.stride_px, scale)


def down_and_up(down: nn.ModuleList, up: nn.ModuleList, x: Tensor) -> Tensor:
    """`x` through the levels of a U-Net and back, each way up beside the features of the way down."""
    skips = []
    for level, block in enumerate(down):
        x = block(functional.max_pool2d(x, 2) if level else x)  # (n, c, Y / 2**level, X / 2**level)
        skips.append(x)
    for block, skip in zip(up, skips[-2::-1], strict=True):
        x = block(torch.cat([functional.interpolate(x, scale_factor=2, mode="nearest"), skip], dim=1))
    return x
