"""The perceptual loss: distance of VGG features, with weights from a file that the user names.

The file is safetensors with the names of torchvision's VGG19 (`features.0.weight`, ...). isamap ships no such weights
and loads no other kind of file.
"""

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from isamap.domain.sensors import REFLECTANCE_OF_WHITE
from isamap.errors import MissingInputError, ModelError
from isamap.model.losses import mean_where

LAYERS = {2: 0.1, 7: 0.1, 16: 1.0, 25: 1.0, 34: 1.0}
"""Weight of the features behind conv1_2, 2_2, 3_4, 4_4 and 5_4, before their ReLU (Wang et al. 2021, Real-ESRGAN)."""
POOLS = (4, 9, 18, 27)
"""Where VGG19 halves its sides; every other number between two convolutions is a ReLU."""
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, which VGG was trained on."""


class Perceptual(nn.Module):
    """VGG19 up to conv5_4, frozen."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        tensors = _read(weights)
        self.convs = nn.ModuleDict()
        for index in CONVOLUTIONS:
            weight, bias = (tensors.get(f"features.{index}.{part}") for part in ("weight", "bias"))
            if weight is None or bias is None or weight.ndim != 4:
                raise ModelError(f"{weights} has no features.{index}: it must be the VGG19 of torchvision")
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            try:
                conv.load_state_dict({"weight": weight.float(), "bias": bias.float()})
            except RuntimeError as fault:
                raise ModelError(f"{weights}: features.{index} is no convolution of 3 x 3") from fault
            self.convs[str(index)] = conv
        self.requires_grad_(requires_grad=False)

    def features(self, image: Tensor) -> list[Tensor]:
        """Features of a display image `(n, 3, y, x)`, 0-1, at every layer of `LAYERS`."""
        mean, std = (image.new_tensor(values)[:, None, None] for values in (MEAN, STD))
        x, found = (image - mean) / std, []
        for index in range(max(LAYERS) + 1):
            if index in CONVOLUTIONS:
                x = self.convs[str(index)](x)
            elif index in POOLS:
                x = functional.max_pool2d(x, 2)
            else:
                x = functional.relu(x)
            if index in LAYERS:
                found.append(x)
        return found

    def forward(self, image: Tensor, target: Tensor, known: Tensor) -> Tensor:
        """Weighted L1 distance of the features of two display images where there is a `target`."""
        far = image.new_zeros(())
        pairs = zip(self.features(image * known), self.features(target * known), LAYERS.values(), strict=True)
        for made, real, weight in pairs:
            seen = functional.interpolate(known, size=made.shape[-2:], mode="nearest")
            far = far + weight * mean_where((made - real).abs().mean(dim=1, keepdim=True), seen)
        return far


def display(image: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Deviations from `mean` as display values 0-1, `(n, 3, y, x)`."""
    shape = (1, 3, 1, 1)
    return ((image * std.view(shape) + mean.view(shape)) / REFLECTANCE_OF_WHITE).clamp(0, 1)


def _read(weights: Path) -> dict[str, Tensor]:
    if not weights.is_file():
        raise MissingInputError(f"{weights} does not exist: the perceptual loss needs VGG19 weights")
    if weights.suffix != ".safetensors":
        raise ModelError(
            f"{weights} is not a .safetensors file: isamap loads no other kind, pickles can run code"
        )
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(weights.read_bytes())
    except safetensors.SafetensorError as fault:
        raise ModelError(f"{weights} is damaged: {fault}") from fault
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ModelError(f"{weights} holds weights that are not finite")
    return tensors
