"""Layers that the networks share: each with a reach that is known."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
"""Of the leaky ReLU in dense blocks (Wang et al. 2018)."""


LANES = 16
"""Channels that a CPU with AVX-512 computes at a time."""


def crop(x: Tensor, rim: int) -> Tensor:
    """`x` without `rim` pixels on every side."""
    return x[..., rim : x.shape[-2] - rim, rim : x.shape[-1] - rim]


def resize(x: Tensor, old: int, new: int) -> Tensor:
    """`x` brought bilinearly from `old` pixels to `new` ones per unit of length; sides are multiples of `old`.

    Positions and weights are those of whole numbers, so that a pixel is the same wherever its window begins;
    torch's own interpolation rounds positions unless the ratio is a power of two, and large rasters see it.

    Returns:
        `(n, c, y * new / old, x * new / old)`.
    """
    if new % old == 0 and (new // old).bit_count() == 1:
        return functional.interpolate(x, scale_factor=new // old, mode="bilinear", align_corners=False)
    for axis in (-2, -1):
        count = x.shape[axis]
        fine = torch.arange(count // old * new, device=x.device)
        place = (2 * fine + 1) * old - new  # position of a pixel's middle, times 2 * new
        below = torch.div(place, 2 * new, rounding_mode="floor")
        shape = (-1, 1) if axis == -2 else (-1,)
        weight = ((place - below * 2 * new).to(x.dtype) / (2 * new)).view(shape)
        lower = x.index_select(axis, below.clamp(0, count - 1))
        upper = x.index_select(axis, (below + 1).clamp(0, count - 1))
        x = torch.lerp(lower, upper, weight.expand_as(lower))
    return x


def sub_pixels(conv: nn.Conv2d, x: Tensor, factor: int) -> Tensor:
    """Convolution, pixel shuffle and ReLU, `(n, c, y * factor, x * factor)`.

    On a CPU torch's shuffle moves one value at a time where channels lie last in memory. For prediction the convolution's
    channels are put in another order there, those of a sub-pixel side by side: rows of them move at once, and the ReLU
    happens on the way. The numbers are the same.
    """
    if not _predicts_on_cpu(x):
        return functional.relu_(functional.pixel_shuffle(conv(x), factor))
    assert conv.bias is not None
    weight, bias = (
        torch.cat([part[sub :: factor**2] for sub in range(factor**2)]) for part in (conv.weight, conv.bias)
    )
    made = functional.conv2d(x, weight, bias, conv.stride, conv.padding)
    n, _, height, width = made.shape
    cells = made.movedim(1, -1).view(n, height, width, factor, factor, -1)  # (n, y, x, row, column, c)
    pixels = cells.transpose(2, 3)  # (n, y, row, x, column, c)
    fine = torch.clamp_min(pixels, 0, out=pixels.new_empty(pixels.shape))
    return fine.view(n, height * factor, width * factor, -1).movedim(-1, 1)


def _predicts_on_cpu(x: Tensor) -> bool:
    """Whether pixels lie in memory one after the other, on a CPU, and no gradient is asked for."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return last and x.device.type == "cpu" and not torch.is_grad_enabled()


class ThinConv(nn.Conv2d):
    """Convolution that keeps the size and has few outputs: on a CPU prediction makes several pixels of a row at once.

    A CPU computes `LANES` channels of a position, whether a convolution has as many or not. So neighbours in a row are
    channels of one position here: the kernel as often as there are, each time one pixel further on, zeros beside it,
    and a stride over all of them. Their values then lie in memory as those of single pixels do. The numbers are the
    same, for the zeros add nothing.
    """

    def __init__(self, channels_in: int, channels_out: int, side: int) -> None:
        super().__init__(channels_in, channels_out, side, padding=side // 2)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels_out, y, x)`."""
        n, _, height, width = x.shape
        run = max((r for r in range(2, LANES // self.out_channels + 1) if width % r == 0), default=1)
        if run == 1 or not _predicts_on_cpu(x):
            return super().forward(x)
        assert self.bias is not None
        weight = torch.cat([functional.pad(self.weight, (at, run - 1 - at)) for at in range(run)])
        made = functional.conv2d(x, weight, self.bias.repeat(run), (1, run), self.padding)
        return made.movedim(1, -1).reshape(n, height, width, self.out_channels).movedim(-1, 1)


def block_mean(x: Tensor, factor: int) -> Tensor:
    """Mean over blocks of `factor` x `factor` pixels."""
    return functional.avg_pool2d(x, factor)


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
        return sub_pixels(self.conv, x, self.factor)


class Rise(nn.Module):
    """Features brought from `old` pixels to `new` ones per unit of length, learnt, where new / old is no whole number.

    A cell of as many pixels as make the ratio whole (2 x 2 for x2.5) and its neighbours give all fine pixels of that
    cell (5 x 5), by one convolution and a pixel shuffle that starts with all of them equal. No position is rounded.
    """

    def __init__(self, channels_in: int, channels_out: int, old: int, new: int) -> None:
        super().__init__()
        self.cell, self.factor = old // math.gcd(old, new), new // math.gcd(old, new)
        side = self.cell + 2
        self.conv = nn.Conv2d(channels_in, channels_out * self.factor**2, side, stride=self.cell, padding=1)
        start = torch.empty(channels_out, channels_in, side, side)
        nn.init.kaiming_normal_(start, nonlinearity="relu")
        with torch.no_grad():
            self.conv.weight.copy_(start.repeat_interleave(self.factor**2, dim=0))
            self.conv.bias.zero_()  # type: ignore[union-attr]  # as above
        self.radius_px = self.cell
        """In pixels of its input: from one end of a cell to the neighbour at the other."""

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels_out, y * new / old, x * new / old)`, not negative."""
        return sub_pixels(self.conv, x, self.factor)


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


class DenseBlock(nn.Module):
    """Five convolutions, each seeing all before it; a fifth of the result is added (Wang et al. 2018, ESRGAN)."""

    radius_px = 5

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        widths = [channels + growth * step for step in range(5)]
        self.convs = nn.ModuleList(nn.Conv2d(width, growth, 3, padding=1) for width in widths[:-1])
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                nn.init.kaiming_normal_(conv.weight, a=SLOPE, nonlinearity="leaky_relu")
                with torch.no_grad():
                    conv.weight.mul_(0.1)  # deep stacks start near the identity, as ESRGAN's do

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        seen = [x]
        for conv in self.convs:
            seen.append(functional.leaky_relu_(conv(torch.cat(seen, dim=1)), SLOPE))  # (n, growth, y, x)
        return torch.add(x, self.last(torch.cat(seen, dim=1)), alpha=0.2)


class RRDB(nn.Module):
    """Residual in residual dense block: three dense blocks in a row (Wang et al. 2018)."""

    radius_px = 3 * DenseBlock.radius_px

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(DenseBlock(channels, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        return torch.add(x, self.dense(x), alpha=0.2)


class LocalAttention(nn.Module):
    """Every pixel attends to the square of pixels around it (Ramachandran et al. 2019), added to `x`.

    Attention over fixed windows would depend on where a raster begins, attention over all of it on its size;
    this one looks `radius_px` far from wherever it stands. It starts as the identity.
    """

    heads = 4

    def __init__(self, channels: int, radius_px: int) -> None:
        super().__init__()
        self.radius_px = radius_px
        self.width = max(channels // 2 // self.heads, 1) * self.heads
        self.ask = nn.Conv2d(channels, 3 * self.width, 1)  # query, key, value
        self.nearness = nn.Parameter(torch.zeros(self.heads, (2 * radius_px + 1) ** 2))
        self.out = nn.Conv2d(self.width, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]  # it has one

    @property
    def macs_per_pixel(self) -> int:
        """Products with keys and values; the convolutions count themselves."""
        return 2 * self.width * self.nearness.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        n, _, height, width = x.shape
        reach, side = self.radius_px, 2 * self.radius_px + 1
        query, key, value = self.ask(x).chunk(3, dim=1)  # (n, width, y, x) each
        query = query.view(n, self.heads, -1, height, width) * (self.width // self.heads) ** -0.5
        key, value = (functional.pad(part, (reach,) * 4) for part in (key, value))
        shifts = [(row, col) for row in range(side) for col in range(side)]

        def shifted(part: Tensor, row: int, col: int) -> Tensor:
            moved = part[..., row : row + height, col : col + width]
            return moved.reshape(n, self.heads, -1, height, width)

        scores = torch.stack([(query * shifted(key, *at)).sum(dim=2) for at in shifts], dim=2)
        weights = torch.softmax(scores + self.nearness[..., None, None], dim=2)  # (n, heads, side**2, y, x)
        found = torch.zeros_like(query)
        for index, at in enumerate(shifts):
            found = found + weights[:, :, index, None] * shifted(value, *at)
        step: Tensor = self.out(found.flatten(1, 2).to(x.dtype))
        return x + step
