"""What every network is, and how its work is counted."""

import math
from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from isamap.model.networks.config import NetworkConfig
from isamap.model.networks.layers import LocalAttention


class Images(NamedTuple):
    """What a network makes in training."""

    logits: Tensor | None
    """`(n, outputs, y * scale, x * scale)`; None where only images were asked for."""
    image: Tensor
    """Super-resolved red, green, blue, `(n, 3, y * scale, x * scale)`."""
    middle: Tensor | None = None
    """The image on the way, at 2.5 m, `(n, 3, y * 4, x * 4)`; None where there is none."""


class Network(nn.Module):
    """Base of the family."""

    scales: ClassVar[range] = range(1, 21)
    """Scale factors that the class can be built for."""
    through_images: ClassVar[bool] = False
    """Whether its image is in units of the input, with one at 2.5 m on the way: what all losses of images look at but L1."""
    segmenter: ClassVar[tuple[str, ...]] = ("isa",)
    """Modules that only the segmentation needs; the others make the image too."""
    config: NetworkConfig
    radius_px: int
    """How far an output pixel looks, in input pixels."""
    stride_px: int
    """Sides of an input must be multiples of this."""
    isa: nn.Conv2d
    """The last convolution: logits."""

    def forward(self, x: Tensor, halo_px: int = 0) -> Tensor:
        """Logits of `x` without its halo."""
        raise NotImplementedError

    def images(self, x: Tensor) -> Images:
        """Logits and images of all of `x`: what training looks at."""
        raise NotImplementedError

    def pictures(self, x: Tensor) -> Images:
        """The images alone."""
        return self.images(x)._replace(logits=None)

    def forward_with_image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the super-resolved image."""
        made = self.images(x)
        assert made.logits is not None
        return made.logits, made.image

    def start_from(self, other: "Network") -> None:
        """Take the weights of a network of the same shape; bands that it does not read begin at zero.

        Raises:
            RuntimeError: it has another shape, or reads bands that this one does not.
        """
        shapes = {name: tensor.shape for name, tensor in self.state_dict().items()}
        weights = other.state_dict().items()
        self.load_state_dict(
            {name: self._widened(tensor, shapes.get(name), other) for name, tensor in weights}
        )

    def _widened(self, weight: Tensor, shape: torch.Size | None, other: "Network") -> Tensor:
        """A weight of another network, with zeros for the bands of this one that the other does not read.

        Channels of a first convolution are the values of the bands, their presence, and what else it reads.
        """
        bands, known = self.config.bands, other.config.bands
        if shape in (None, weight.shape) or weight.dim() < 2 or not set(known) <= set(bands):
            return weight
        more = 2 * (len(bands) - len(known))
        wide = weight.new_zeros((weight.shape[0], weight.shape[1] + more, *weight.shape[2:]))
        values = [bands.index(band) for band in known]
        presences = [len(bands) + index for index in values]
        others = range(2 * len(bands), wide.shape[1])
        wide[:, [*values, *presences, *others]] = weight
        return wide

    def only(self, part: Literal["all", "image", "segmentation"]) -> None:
        """Let only some modules learn: all, those of the image, or those that only the segmentation needs."""
        for name, module in self.named_children():
            segmenting = name in self.segmenter
            module.requires_grad_(requires_grad=part == "all" or segmenting == (part == "segmentation"))


def in_strips(
    features: Tensor, halo_px: int, scale: int, part: tuple[Callable[[Tensor], Tensor], int, int]
) -> Tensor:
    """What `part` makes of features at 10 m, without the halo, some rows at a time.

    Exact, because nothing in `part` reaches further than it says; fine features of a whole window would not
    fit into memory.

    Args:
        features: `(n, c, y + 2 * halo, x + 2 * halo)`.
        halo_px: to be dropped from every side; the sides of rasters have none.
        scale: output pixels per input pixel and side.
        part: the function, its reach in input pixels, and the rows at a time.
    """
    refine, radius_px, strip_px = part
    reach = min(halo_px, radius_px)
    if halo_px > reach:
        cut = halo_px - reach
        features = features[..., cut : features.shape[-2] - cut, cut : features.shape[-1] - cut]
    rows = features.shape[-2] - 2 * reach
    strips = []
    for top in range(0, rows, strip_px):
        bottom = min(top + strip_px, rows)
        above = min(radius_px, top + reach)
        below = min(radius_px, rows - bottom + reach)
        made = refine(features[..., top + reach - above : bottom + reach + below, :])
        strips.append(made[..., above * scale : (above + bottom - top) * scale, :])
    whole = torch.cat(strips, dim=-2)
    edge = reach * scale
    return whole[..., edge : whole.shape[-1] - edge]


def cost_macs(network: Network) -> int:
    """Multiply-adds per input pixel, counted from convolutions and attention in one forward pass."""
    total = 0
    side = 16

    def count(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(module, LocalAttention):
            total += module.macs_per_pixel * math.prod(out.shape[-2:])
        elif isinstance(module, nn.Conv2d):
            total += module.weight.numel() * math.prod(out.shape[-2:])

    counted = [m for m in network.modules() if isinstance(m, nn.Conv2d | LocalAttention)]
    hooks = [module.register_forward_hook(count) for module in counted]
    with torch.no_grad():
        network(torch.zeros(1, 2 * len(network.config.bands), side, side))
    for hook in hooks:
        hook.remove()
    return total // side**2
