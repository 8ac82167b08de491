"""`fast`, the production network."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from isamap.model.networks.base import Images, Network, in_strips
from isamap.model.networks.config import NetworkConfig
from isamap.model.networks.layers import ResidualBlock, SubPixel, ThinConv


class Fast(Network):
    """Trunk at 10 m, x2 to 5 m, x5 to 1 m by pixel shuffle, thin head at 1 m.

    Nearly all arithmetic happens on the 10 m grid, where a pixel is a hundredth of the work:
    about 3 million multiply-adds per input pixel, a hundredth of a staged ESRGAN + U-Net.
    """

    scales: ClassVar[range] = range(2, 21, 2)
    mid: ClassVar[int] = 48
    fine: ClassVar[int] = 16
    head_radius_px: ClassVar[int] = 4
    """Reach of everything after the trunk: 1 + (4 + 1) / 2 + 2 / 10 pixels of 10 m, rounded up."""
    strip_px: ClassVar[int] = 48
    """Rows of 10 m pixels whose 1 m features exist at one time in prediction."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.radius_px = 1 + 2 * config.blocks + self.head_radius_px
        self.stride_px = 1
        self.stem = nn.Conv2d(2 * len(config.bands), config.channels, 3, padding=1)
        self.trunk = nn.Sequential(*(ResidualBlock(config.channels) for _ in range(config.blocks)))
        self.to_5m = SubPixel(config.channels, self.mid, 2)
        self.at_5m = nn.Sequential(*(ResidualBlock(self.mid) for _ in range(2)))
        self.to_1m = SubPixel(self.mid, self.fine, config.scale // 2)
        self.at_1m = nn.Conv2d(self.fine, self.fine, 3, padding=1)
        self.isa = ThinConv(self.fine, config.outputs, 3)
        self.image = nn.Conv2d(self.fine, 3, 3, padding=1)

    def at_10m(self, x: Tensor) -> Tensor:
        """`(n, channels, y, x)` features at 10 m."""
        x = self.stem(x)
        return x + self.trunk(x)  # type: ignore[no-any-return]  # Module.__call__ is untyped

    def refine(self, x: Tensor) -> Tensor:
        """`(n, fine, y * scale, x * scale)` features at 1 m from those at 10 m."""
        x = self.at_5m(self.to_5m(x))  # (n, mid, 2 y, 2 x)
        x = self.to_1m(x)  # (n, fine, 10 y, 10 x)
        return functional.relu_(self.at_1m(x))

    def logits(self, x: Tensor) -> Tensor:
        """Logits from features at 10 m."""
        made: Tensor = self.isa(self.refine(x))
        return made

    def forward(self, x: Tensor, halo_px: int = 0) -> Tensor:
        """Logits of `x` without its halo, dropped as soon as the trunk is done with it."""
        part = (self.logits, self.head_radius_px, self.strip_px)
        return in_strips(self.at_10m(x), halo_px, self.config.scale, part)

    def images(self, x: Tensor) -> Images:
        """Logits and the super-resolved image."""
        features = self.refine(self.at_10m(x))
        return Images(self.isa(features), self.image(features))
