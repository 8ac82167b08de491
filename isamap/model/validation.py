"""Looking at ground that is kept out of training."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from isamap.domain.accuracy import Confusion
from isamap.domain.calibration import fit
from isamap.domain.reliability import Reliability
from isamap.model import parallel, settling
from isamap.model.networks import Network, NetworkConfig

THRESHOLDS = tuple(t / 100 for t in range(20, 81, 5))
HALF = 0.5
"""The threshold where there is none to choose: no ground, or a class scheme, whose likeliest class is mapped."""


@dataclass(frozen=True)
class Validation:
    """Labelled ground kept out of training."""

    name: str
    lr: NDArray[np.float32]
    """Reflectance `(band, y, x)`."""
    present: NDArray[np.bool_]
    """`(band, y, x)`."""
    isa: NDArray[np.uint8]
    """`(Y, X)` at 1 m, 255 where not to be scored."""


@dataclass
class Progress:
    """What the loop knows after a number of steps."""

    step: int = 0
    loss: float = float("nan")
    """Mean training loss since the last look."""
    terms: dict[str, float] = field(default_factory=dict)
    """Its parts, not weighted."""
    isa_iou: dict[str, float] = field(default_factory=dict)
    """ISA IoU at 1 m on each validation ground, at its best threshold; of a class scheme, that of the likeliest classes."""
    threshold: float = HALF
    """The threshold that is best on the mean over the validation grounds."""
    mean_iou: float = 0.0
    """Mean of the IoUs at that threshold: the figure that picks the best weights."""
    best_iou: float = 0.0
    """The highest of them so far."""
    best_step: int = 0
    """When that was."""
    calibration: tuple[float, float] | None = None
    """Slope and intercept that calibrate probabilities on all validation ground together."""


def look(network: Network, grounds: Sequence[Validation], device: torch.device, last: Progress) -> Progress:
    """Progress after scoring `network` on every ground; `last` says what was best so far. Without ground the last is best."""
    judged = [judge(network, ground, device) for ground in grounds]
    curves = np.array([curve for curve, _ in judged]).reshape(-1, len(THRESHOLDS))
    shared = parallel.of_first(torch.from_numpy(curves).to(device)).cpu().numpy()
    mean = shared.mean(axis=0) if len(shared) else np.zeros(len(THRESHOLDS))
    best = float(mean.max())
    better = best > last.best_iou or not grounds
    chosen = bool(grounds) and network.config.outputs == 1
    return Progress(
        step=last.step,
        isa_iou={ground.name: float(curve.max()) for ground, curve in zip(grounds, shared, strict=True)},
        threshold=THRESHOLDS[int(np.argmax(mean))] if chosen else HALF,
        mean_iou=best,
        best_iou=best if better else last.best_iou,
        best_step=last.step if better else last.best_step,
        calibration=_calibration([found for _, found in judged]),
    )


def _calibration(parts: Sequence[Reliability]) -> tuple[float, float] | None:
    """Slope and intercept from the histograms of every ground."""
    found = fit(sum(parts, Reliability()))
    return None if found is None else (found.slope, found.intercept)


def probabilities(network: Network, lr: Tensor, present: Tensor, piece_px: int = 128) -> Tensor:
    """ISA probability `(Y, X)` float32 of one raster `(band, y, x)`; see `layers`."""
    return layers(network, lr, present, piece_px)[0]


def layers(network: Network, lr: Tensor, present: Tensor, piece_px: int = 128) -> Tensor:
    """What is judged of one raster `(band, y, x)`, piece by piece, mirrored at its edge as maps are.

    Returns:
        float32 `(layer, Y, X)`: ISA probability; of a class scheme also 1 where the likeliest class is impervious, else 0.
    """
    config, stride = network.config, network.stride_px
    halo = settling.halo_of(network)
    x = _with_rim(config.prepare(lr[None], present[None]), halo)
    grow = [(-side) % stride for side in x.shape[-2:]]
    x = functional.pad(x, (0, grow[1], 0, grow[0])).contiguous(memory_format=torch.channels_last)
    rows = []
    for top in range(0, lr.shape[-2], piece_px):
        row = []
        for left in range(0, lr.shape[-1], piece_px):
            piece = x[..., top : top + piece_px + 2 * halo, left : left + piece_px + 2 * halo]
            with torch.inference_mode(), torch.autocast(x.device.type, torch.bfloat16):
                each = settling.probabilities(network, piece, halo)
                row.append(_judged(each, config)[:, 0].cpu())
        rows.append(torch.cat(row, dim=-1))
    return torch.cat(rows, dim=-2)[..., : lr.shape[-2] * config.scale, : lr.shape[-1] * config.scale]


def _judged(each: Tensor, config: NetworkConfig) -> Tensor:
    """`(layer, n, Y, X)` from the probability of each output `(n, outputs, Y, X)`."""
    probability = settling.impervious(each, config)
    if config.outputs == 1:
        return probability[None]
    likeliest = torch.isin(each.argmax(dim=1), torch.tensor(config.isa_channels, device=each.device))
    return torch.stack([probability, likeliest.to(probability.dtype)])


def _with_rim(x: Tensor, rim: int) -> Tensor:
    """`(..., y, x)` with `rim` pixels on every side, reflected without repeating the edge."""
    rows, cols = (torch.from_numpy(np.pad(np.arange(side), rim, mode="reflect")) for side in x.shape[-2:])
    return x[..., rows.to(x.device)[:, None], cols.to(x.device)]


def judge(
    network: Network, ground: Validation, device: torch.device
) -> tuple[NDArray[np.float64], Reliability]:
    """ISA IoU of the map of `ground` at each of `THRESHOLDS`, and the network's own probabilities against its labels."""
    lr, present = torch.from_numpy(ground.lr).to(device), torch.from_numpy(ground.present).to(device)
    isa, *likeliest = layers(network, lr, present).numpy()
    maps = [likeliest[0] > HALF] if likeliest else [isa >= t for t in THRESHOLDS]
    ious = np.nan_to_num([Confusion.count(one, ground.isa).iou for one in maps])
    curve = np.broadcast_to(ious, len(THRESHOLDS))
    return curve, Reliability.count(np.rint(isa * 100).astype(np.uint8), ground.isa)
