"""`bilinear`, the baseline."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from isamap.model.networks.base import Images, Network
from isamap.model.networks.config import NetworkConfig
from isamap.model.networks.layers import crop
from isamap.model.networks.unet import UNet, down_and_up


class Bilinear(Network):
    """The papers' baseline: bilinear upsampling to 1 m, then a U-Net there. At scale 1 a plain U-Net."""

    segmenter: ClassVar[tuple[str, ...]] = ("down", "up", "isa")

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        room = 2 if config.scale > 1 else 1  # what maps have always been made with: less would move roundings
        self.radius_px = -(-room * UNet.radius_px // config.scale) + 2 * room  # two for the interpolation
        self.stride_px = UNet.coarse_stride(config.scale)
        segmenter = UNet(2 * len(config.bands), config.channels)
        self.down, self.up = segmenter.down, segmenter.up
        self.isa = nn.Conv2d(config.channels, config.outputs, 3, padding=1)
        self.image = nn.Conv2d(config.channels, 3, 3, padding=1)

    def features(self, x: Tensor) -> Tensor:
        """`(n, channels, y * scale, x * scale)` features at 1 m."""
        scale = self.config.scale
        fine = functional.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
        return down_and_up(self.down, self.up, fine)

    def forward(self, x: Tensor, halo_px: int = 0) -> Tensor:
        """Logits of `x` without its halo."""
        return crop(self.isa(self.features(x)), halo_px * self.config.scale)

    def images(self, x: Tensor) -> Images:
        """Logits and the super-resolved image."""
        features = self.features(x)
        return Images(self.isa(features), self.image(features))
