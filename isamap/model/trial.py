"""One small window through a network before it is trusted: finite weights can still give no number."""

from pathlib import Path

import torch

from isamap.errors import ModelError
from isamap.model.networks import Network

REFLECTANCE = (0.02, 0.4)
"""From water to bright roofs: what the window runs through."""
SIDE_PX = 8
"""Of the window: the coarsest stride of any network. Nobody looks at its edges, so it has no halo and takes milliseconds."""


@torch.inference_mode()
def try_out(network: Network, weights: Path) -> None:
    """Refuse a network that gives no finite number for typical reflectance, where and as it will compute.

    Args:
        network: on its device, in its precision.
        weights: its file, for the message.

    Raises:
        ModelError: an output is NaN or infinite.
    """
    config, one = network.config, next(network.parameters())
    ramp = torch.linspace(*REFLECTANCE, SIDE_PX, device=one.device)
    pixels = ramp.expand(1, len(config.bands), SIDE_PX, SIDE_PX).contiguous()
    x = config.prepare(pixels, torch.ones_like(pixels)).to(one.dtype)
    if not bool(torch.isfinite(network(x.contiguous(memory_format=torch.channels_last), 0)).all()):
        raise ModelError(
            f"{weights} gives no finite number for typical reflectance: its weights or the scaling in its card are wrong"
        )
