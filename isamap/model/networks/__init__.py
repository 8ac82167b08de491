"""The networks: bands of 10 m in, logits of impervious surface (or of a class scheme) at 1 m out.

Every member of `MODELS` is a class with a frozen config, takes `(n, 2 * band, y, x)` and returns
`(n, outputs, y * scale, x * scale)` logits. The first half of the input channels are normalised reflectances,
0 where missing; the second half says per band and pixel whether it is present. Missing bands, nodata and
everything beyond a chip's edge therefore look the same to the network: absent.

No batch statistics and no global pooling: an output pixel depends on input pixels within `radius_px` only,
so a raster mapped in windows with that halo gives the same numbers as the raster mapped at once.
"""

from isamap.model.networks.base import Images, Network, cost_macs
from isamap.model.networks.bilinear import Bilinear
from isamap.model.networks.config import NetworkConfig
from isamap.model.networks.fast import Fast
from isamap.model.networks.joint import Joint
from isamap.model.networks.layers import ResidualBlock, SubPixel, ThinConv, crop
from isamap.model.networks.staged import Staged

__all__ = [
    "MODELS",
    "Bilinear",
    "Fast",
    "Images",
    "Joint",
    "Network",
    "NetworkConfig",
    "ResidualBlock",
    "Staged",
    "SubPixel",
    "ThinConv",
    "build",
    "cost_macs",
    "crop",
]

MODELS: dict[str, type[Network]] = {
    "fast": Fast,
    "bilinear": Bilinear,
    "staged": Staged,
    "joint": Joint,
}


def build(config: NetworkConfig) -> Network:
    """A freshly initialised network of the class named in `config`; seed torch first."""
    return MODELS[config.name](config)
