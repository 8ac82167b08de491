"""The networks: 10 m bands in, impervious-surface logits at 1 m out.

Every member of `MODELS` is a class with a frozen config, takes `(n, 2 * band, y, x)` and returns
`(n, 1, y * scale, x * scale)` logits. The first half of the input channels are normalised reflectances,
0 where missing; the second half says per band and pixel whether it is present. Missing bands, nodata and
everything beyond a chip's edge therefore look the same to the network: absent.

No batch statistics and no global pooling: an output pixel depends on input pixels within `radius_px` only,
so a raster mapped in windows with that halo gives the same numbers as the raster mapped at once.
"""

import math
from typing import ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional


class NetworkConfig(BaseModel):
    """Shape of a network; what a field does not name is fixed by the class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    """Key in `MODELS`."""
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08")
    """Sentinel-2 bands in the order of the input channels."""
    scale: int = Field(10, gt=0, le=20, multiple_of=2)
    """Output pixels per input pixel and side."""
    channels: int = Field(96, gt=0, le=1024)
    """Width of the widest part at 10 m (`fast`), of the first level at 1 m (`bilinear`)."""
    blocks: int = Field(10, ge=0, le=100)
    """Residual blocks at 10 m (`fast`; `bilinear` has none)."""
    mean: tuple[float, ...] = (0.115, 0.105, 0.105, 0.220)
    """Reflectance per band that becomes 0: fixed constants, never those of the raster at hand."""
    std: tuple[float, ...] = (0.045, 0.050, 0.065, 0.090)
    """Reflectance per band that becomes 1 above the mean."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name not in MODELS:
            raise ValueError(f"no network {self.name!r}: known are {', '.join(MODELS)}")
        if not self.bands or {len(self.mean), len(self.std)} != {len(self.bands)}:
            raise ValueError(f"{len(self.bands)} bands need as many values of mean and std")
        return self

    def prepare(self, lr: Tensor, present: Tensor) -> Tensor:
        """Network input `(n, 2 * band, y, x)` float32 from reflectance and presence `(n, band, y, x)`.

        The inverse hyperbolic sine is the identity for ordinary ground and a logarithm far from it: a white
        roof is ten deviations bright and must not look like nothing the network has seen.
        """
        mean = torch.tensor(self.mean)[:, None, None].to(lr.device)
        std = torch.tensor(self.std)[:, None, None].to(lr.device)
        present = present.to(lr.dtype)
        scaled: Tensor = torch.asinh((lr - mean) / std) * present
        return torch.cat((scaled, present), dim=1)


def crop(x: Tensor, rim: int) -> Tensor:
    """`x` without `rim` pixels on every side."""
    return x[..., rim : x.shape[-2] - rim, rim : x.shape[-1] - rim]


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x))), starting as the identity (Lim et al. 2017, without the scaling)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]  # a Conv2d has a bias unless told otherwise

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        step: Tensor = self.second(functional.relu_(self.first(x)))
        return x + step


class SubPixel(nn.Module):
    """Convolution and pixel shuffle, all sub-pixels starting equal (ICNR, Aitken et al. 2017).

    Without that start the x5 shuffle prints a checkerboard that training never quite removes.
    """

    def __init__(self, channels_in: int, channels_out: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(channels_in, channels_out * factor**2, 3, padding=1)
        start = torch.empty(channels_out, channels_in, 3, 3)
        nn.init.kaiming_normal_(start, nonlinearity="relu")
        with torch.no_grad():
            self.conv.weight.copy_(start.repeat_interleave(factor**2, dim=0))
            self.conv.bias.zero_()  # type: ignore[union-attr]  # as above

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels_out, y * factor, x * factor)`."""
        return functional.relu_(functional.pixel_shuffle(self.conv(x), self.factor))


class Fast(nn.Module):
    """Trunk at 10 m, x2 to 5 m, x5 to 1 m by pixel shuffle, thin head at 1 m.

    Nearly all arithmetic happens on the 10 m grid, where a pixel is a hundredth of the work:
    about 3 million multiply-adds per input pixel, a hundredth of a staged ESRGAN + U-Net.
    """

    stride_px: ClassVar[int] = 1
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
        self.stem = nn.Conv2d(2 * len(config.bands), config.channels, 3, padding=1)
        self.trunk = nn.Sequential(*(ResidualBlock(config.channels) for _ in range(config.blocks)))
        self.to_5m = SubPixel(config.channels, self.mid, 2)
        self.at_5m = nn.Sequential(*(ResidualBlock(self.mid) for _ in range(2)))
        self.to_1m = SubPixel(self.mid, self.fine, config.scale // 2)
        self.at_1m = nn.Conv2d(self.fine, self.fine, 3, padding=1)
        self.isa = nn.Conv2d(self.fine, 1, 3, padding=1)
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

    def forward(self, x: Tensor, halo_px: int = 0) -> Tensor:
        """ISA logits of `x` without its halo.

        The halo is dropped as soon as the trunk is done with it, and the 1 m part runs strip by strip:
        exact, because nothing after the trunk reaches further than `head_radius_px`.
        """
        x = self.at_10m(x)
        reach = min(halo_px, self.head_radius_px)
        if halo_px > reach:
            x = crop(x, halo_px - reach)
        rows = x.shape[-2] - 2 * reach
        strips = []
        for top in range(0, rows, self.strip_px):
            bottom = min(top + self.strip_px, rows)
            above = min(self.head_radius_px, top + reach)
            below = min(self.head_radius_px, rows - bottom + reach)
            strip = x[..., top + reach - above : bottom + reach + below, :]
            logits = self.isa(self.refine(strip))
            scale = self.config.scale
            strips.append(logits[..., above * scale : (above + bottom - top) * scale, :])
        logits = torch.cat(strips, dim=-2)
        edge = reach * self.config.scale
        return logits[..., edge : logits.shape[-1] - edge]

    def forward_with_image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """ISA logits and the super-resolved image."""
        features = self.refine(self.at_10m(x))
        return self.isa(features), self.image(features)


class DoubleConv(nn.Module):
    """Two 3 x 3 convolutions with ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        for conv in (self.first, self.second):
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Same height and width as `x`."""
        return functional.relu_(self.second(functional.relu_(self.first(x))))


class Bilinear(nn.Module):
    """The papers' baseline: bilinear upsampling to 1 m, then a U-Net (Ronneberger et al. 2015) at 1 m."""

    radius_px: ClassVar[int] = 16
    """Reach of the U-Net, 132 fine pixels, and of the interpolation, in 10 m pixels, with room."""
    stride_px: ClassVar[int] = 4
    """Sides must be multiples of this for three halvings at 1 m to come out even."""
    growth: ClassVar[tuple[int, ...]] = (1, 2, 4, 6)

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.channels * g for g in self.growth]
        inputs = [2 * len(config.bands), *widths[:-1]]
        self.down = nn.ModuleList(DoubleConv(i, o) for i, o in zip(inputs, widths, strict=True))
        self.up = nn.ModuleList(
            DoubleConv(deep + wide, wide) for deep, wide in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.isa = nn.Conv2d(widths[0], 1, 3, padding=1)
        self.image = nn.Conv2d(widths[0], 3, 3, padding=1)

    def features(self, x: Tensor) -> Tensor:
        """`(n, channels, y * scale, x * scale)` features at 1 m."""
        x = functional.interpolate(x, scale_factor=self.config.scale, mode="bilinear", align_corners=False)
        skips = []
        for level, block in enumerate(self.down):
            x = block(functional.max_pool2d(x, 2) if level else x)  # (n, c, y * 10 / 2**level, ...)
            skips.append(x)
        for block, skip in zip(self.up, skips[-2::-1], strict=True):
            x = block(torch.cat([functional.interpolate(x, scale_factor=2, mode="nearest"), skip], dim=1))
        return x

    def forward(self, x: Tensor, halo_px: int = 0) -> Tensor:
        """ISA logits of `x` without its halo."""
        return crop(self.isa(self.features(x)), halo_px * self.config.scale)

    def forward_with_image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """ISA logits and the super-resolved image."""
        features = self.features(x)
        return self.isa(features), self.image(features)


Network = Fast | Bilinear
"""Any member of the family."""

MODELS: dict[str, type[Network]] = {"fast": Fast, "bilinear": Bilinear}


def build(config: NetworkConfig) -> Network:
    """A freshly initialised network of the class named in `config`; seed torch first."""
    return MODELS[config.name](config)


def cost_macs(network: Network) -> int:
    """Multiply-adds per input pixel, counted from the convolutions of one forward pass."""
    total = 0
    side = 16

    def count(module: nn.Module, _: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += module.weight.numel() * math.prod(out.shape[-2:])

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        network(torch.zeros(1, 2 * len(network.config.bands), side, side))
    for hook in hooks:
        hook.remove()
    return total // side**2
