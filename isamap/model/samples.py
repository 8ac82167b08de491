"""What a network makes of a piece of validation ground, as pictures."""

import numpy as np
import torch
from numpy.typing import NDArray

from isamap.domain.classes import UNLABELLED
from isamap.domain.sensors import REFLECTANCE_OF_WHITE
from isamap.model import settling
from isamap.model.networks import Network
from isamap.model.validation import Validation, probabilities

SIDE_PX = 48
"""Side of the piece in input pixels: the middle of the ground."""
Picture = NDArray[np.uint8]


def sample(network: Network, ground: Validation, device: torch.device) -> list[tuple[str, Picture]]:
    """Input, super-resolved image, probability and labels, each `(Y, X, 3)` with its name."""
    rows, cols = (slice(max(0, (n - SIDE_PX) // 2), (n + SIDE_PX) // 2) for n in ground.lr.shape[1:])
    lr, present = (
        torch.from_numpy(part[:, rows, cols].copy()).to(device) for part in (ground.lr, ground.present)
    )
    scale, config = network.config.scale, network.config
    height, width = lr.shape[1] * scale, lr.shape[2] * scale
    panels = []
    if config.visible is not None:
        shown = lr[list(config.visible)].cpu().numpy() / REFLECTANCE_OF_WHITE
        panels.append(("input", _bytes(shown).repeat(scale, 0).repeat(scale, 1)))
        panels += [("image", _image(network, lr, present))]
    chance = probabilities(network, lr, present).numpy()
    panels.append(("probability", _bytes(np.repeat(chance[None], 3, 0))))
    fine = (
        slice(rows.start * scale, rows.start * scale + height),
        slice(cols.start * scale, cols.start * scale + width),
    )
    truth = np.where(ground.isa[fine] == UNLABELLED, 0.5, ground.isa[fine])
    panels.append(("labels", _bytes(np.repeat(truth[None], 3, 0))))
    return panels


def _image(network: Network, lr: torch.Tensor, present: torch.Tensor) -> Picture:
    """The super-resolved image; a network without units of reflectance has its own stretched."""
    config, halo = network.config, settling.halo_of(network)
    x = torch.nn.functional.pad(config.prepare(lr[None], present[None]), (halo,) * 4)
    grow = [(-side) % network.stride_px for side in x.shape[-2:]]
    x = torch.nn.functional.pad(x, (0, grow[1], 0, grow[0]))
    with torch.inference_mode():
        made = network.pictures(x)
    rim, scale = halo * config.scale, config.scale
    image = (
        made.image[0, :, rim : rim + lr.shape[1] * scale, rim : rim + lr.shape[2] * scale]
        .float()
        .cpu()
        .numpy()
    )
    assert config.visible is not None
    if made.middle is None:
        low, high = np.percentile(image, (2, 98))
        return _bytes((image - low) / max(high - low, 1e-6))
    mean, std = (
        np.array([part[i] for i in config.visible])[:, None, None] for part in (config.mean, config.std)
    )
    return _bytes((image * std + mean) / REFLECTANCE_OF_WHITE)


def _bytes(shown: NDArray[np.floating]) -> Picture:
    """Display values 0-1 `(3, Y, X)` as bytes `(Y, X, 3)`."""
    return np.ascontiguousarray(np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
