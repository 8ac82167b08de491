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
from isamap.model.networks import Network

THRESHOLDS = tuple(t / 100 for t in range(20, 81, 5))


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
    """ISA IoU at 1 m on each validation ground, at its best threshold."""
    threshold: float = 0.5
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
    """Progress after scoring `network` on every ground; `last` says what was best so far."""
    judged = [judge(network, ground, device) for ground in grounds]
    curves = np.array([curve for curve, _ in judged]).reshape(-1, len(THRESHOLDS))
    shared = parallel.of_first(torch.from_numpy(curves).to(device)).cpu().numpy()
    mean = shared.mean(axis=0) if len(shared) else np.zeros(len(THRESHOLDS))
    best = float(mean.max())
    better = best > last.best_iou
    return Progress(
        step=last.step,
        isa_iou={ground.name: float(curve.max()) for ground, curve in zip(grounds, shared, strict=True)},
        threshold=THRESHOLDS[int(np.argmax(mean))],
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
    """ISA probability `(Y, X)` float32 of one raster `(band, y, x)`, piece by piece, mirrored at its edge as maps are."""
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
                row.append(settling.probability(network, piece, halo)[0].cpu())
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)[: lr.shape[-2] * config.scale, : lr.shape[-1] * config.scale]


def _with_rim(x: Tensor, rim: int) -> Tensor:
    """`(..., y, x)` with `rim` pixels on every side, reflected without repeating the edge."""
    rows, cols = (torch.from_numpy(np.pad(np.arange(side), rim, mode="reflect")) for side in x.shape[-2:])
    return x[..., rows.to(x.device)[:, None], cols.to(x.device)]


def judge(
    network: Network, ground: Validation, device: torch.device
) -> tuple[NDArray[np.float64], Reliability]:
    """ISA IoU on `ground` at each of `THRESHOLDS`, and the network's own probabilities against its labels."""
    lr, present = torch.from_numpy(ground.lr).to(device), torch.from_numpy(ground.present).to(device)
    isa = probabilities(network, lr, present).numpy()
    curve = np.nan_to_num([Confusion.count(isa >= t, ground.isa).iou for t in THRESHOLDS])
    return curve, Reliability.count(np.rint(isa * 100).astype(np.uint8), ground.isa)
