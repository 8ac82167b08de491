"""From logits to the probability that maps are made of: settled over one input pixel."""

from collections.abc import Iterator

import torch
from torch import Tensor

from isamap.domain.calibration import Calibration
from isamap.model.networks import Network, NetworkConfig, crop

SETTLE_ROWS = 160
"""Rows of 1 m pixels that settle at one time: few enough to stay in the cache of a CPU."""


def halo_of(network: Network) -> int:
    """Real neighbour pixels that `probabilities` wants on every side: the reach of the network and of `settle`."""
    return -(-(network.radius_px + 1) // network.stride_px) * network.stride_px


def impervious(each: Tensor, config: NetworkConfig) -> Tensor:
    """ISA probability `(n, Y, X)` from that of each output `(n, outputs, Y, X)`."""
    channels = config.isa_channels
    return each[:, 0] if config.outputs == 1 else each[:, channels].sum(dim=1)


def calibrated(probability: Tensor, calibration: Calibration | None) -> Tensor:
    """Settled probabilities as what they are worth; as they are without a calibration."""
    if calibration is None:
        return probability
    return torch.sigmoid(calibration.slope * torch.logit(probability) + calibration.intercept)


def activate(logits: Tensor) -> Tensor:
    """Probabilities, float32: of ISA from one output, of each class from several."""
    return torch.sigmoid(logits.float()) if logits.shape[1] == 1 else torch.softmax(logits.float(), dim=1)


def probabilities(network: Network, x: Tensor, halo_px: int) -> Tensor:
    """Probability of each output without halo, float32 `(n, outputs, y * scale, x * scale)`.

    Args:
        network: any member of the family.
        x: its input, `(n, 2 * band, y + 2 * halo, x + 2 * halo)`.
        halo_px: at least `halo_of(network)`.
    """
    return torch.cat([each for _, each in strips(network, x, halo_px)], dim=-2)


def strips(network: Network, x: Tensor, halo_px: int) -> Iterator[tuple[int, Tensor]]:
    """`probabilities` in strips of rows, with the first row of each: float32 of a whole window takes room.

    Args: as for `probabilities`.
    """
    logits, scale = network(x, halo_px - 1), network.config.scale
    for top in range(0, logits.shape[-2] - 2 * scale, SETTLE_ROWS):
        fine = logits[..., top : top + SETTLE_ROWS + 2 * scale, :]
        yield top, settle(activate(fine), scale)


def settle(fine: Tensor, scale: int) -> Tensor:
    """Each fine pixel as the mean over one coarse pixel's length around it; `scale` pixels drop off every side.

    Whatever repeats with the lattice of the coarse pixels vanishes exactly: a network that is unsure would
    otherwise print its share as a pattern of dots, the same in every coarse pixel.

    Args:
        fine: `(..., y, x)`.
        scale: fine pixels per coarse pixel and side.
    """
    for axis in (-2, -1):
        fine, taps = running_sum(fine, scale, axis), scale
        if scale % 2 == 0:  # half a pixel on: the mean of both sides is centred
            fine, taps = running_sum(fine, 2, axis), 2 * scale
        fine = fine / taps
    return crop(fine, (scale + 1) // 2)


def running_sum(x: Tensor, taps: int, axis: int) -> Tensor:
    """Sums of `taps` neighbours along `axis`, by doubling: few additions, the same for every position."""
    length, start, width = x.shape[axis] - taps + 1, 0, 1
    total: Tensor | None = None
    while True:
        if taps & width:
            part = x.narrow(axis, start, length)
            total = part if total is None else total + part
            start += width
        if 2 * width > taps:
            break
        x = x.narrow(axis, 0, x.shape[axis] - width) + x.narrow(axis, width, x.shape[axis] - width)
        width *= 2
    assert total is not None
    return total
