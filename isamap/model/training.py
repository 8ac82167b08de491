"""The training loop: seeded, resumable to the bit on CPU, judged on ground it never sees.

A step's chips depend on the seed and the step number alone, so a run that was stopped and resumed sees what
an undisturbed run would have seen.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional

from isamap.domain.accuracy import Confusion
from isamap.errors import ModelError
from isamap.model import losses, networks, settling
from isamap.model.chips import Batch, Chip, Source, collate, jitter, turn


class Schedule(BaseModel):
    """How long and how hard to train."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = 2400
    """Optimiser steps in all."""
    warmup_steps: int = 100
    """Steps over which the learning rate rises from 0."""
    learning_rate: float = 1e-3
    """Peak learning rate (AdamW; Loshchilov and Hutter 2019), falling to 0 along a cosine."""
    weight_decay: float = 1e-2
    """Decoupled weight decay."""
    clip_norm: float = 1.0
    """Largest norm of a step's gradient."""
    chip_px: int = 48
    """Side of a chip in 10 m pixels."""
    border_px: int = Field(default=4, ge=1)
    """Rim of a chip that no loss looks at, in 10 m pixels: its neighbours are missing; settling takes one of them."""
    false_positive: float = 0.4
    """Weight of a false alarm against a miss in the Tversky loss."""
    share_weight: float = 0.5
    """Weight of the soft-share loss."""
    image_weight: float = 0.1
    """Weight of the super-resolution loss."""
    ema_decay: float = 0.998
    """Decay of the moving average of the weights; the average is what is kept."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the model: the best on the validation ground, or those at the end of the schedule."""
    evaluate_every: int = 200
    """Steps between two looks at the validation ground."""
    seed: int = 20180402
    """Seed of the first weights and of every chip."""


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
    loss: float = math.nan
    """Mean training loss since the last look."""
    isa_iou: dict[str, float] = field(default_factory=dict)
    """ISA IoU at 1 m on each validation ground, at its best threshold."""
    threshold: float = 0.5
    """The threshold that is best on the mean over the validation grounds."""
    mean_iou: float = 0.0
    """Mean of the IoUs at that threshold: the figure that picks the best weights."""


THRESHOLDS = tuple(t / 100 for t in range(20, 81, 5))


class Trainer:
    """One training run: network, moving average, optimiser, and where they stand."""

    def __init__(
        self,
        config: networks.NetworkConfig,
        schedule: Schedule,
        sources: Sequence[tuple[Source, int]],
        validations: Sequence[Validation],
        device: torch.device,
    ) -> None:
        torch.manual_seed(schedule.seed)
        self.config, self.schedule, self.device = config, schedule, device
        self.sources, self.validations = sources, validations
        self.network = networks.build(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this pair
        self.average = networks.build(config).to(device)
        self.average.load_state_dict(self.network.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay
        )
        self.progress = Progress()

    def run(self) -> Iterator[Progress]:
        """Train to the end of the schedule, yielding after every look at the validation ground."""
        recent: list[float] = []
        while self.progress.step < self.schedule.steps:
            recent.append(self._step())
            self.progress.step += 1
            due = self.progress.step % self.schedule.evaluate_every == 0
            if due or self.progress.step == self.schedule.steps:
                self.progress = self._look(sum(recent) / len(recent))
                recent.clear()
                yield self.progress

    def _step(self) -> float:
        """One optimiser step; returns its loss."""
        schedule, step = self.schedule, self.progress.step
        batch = self._batch(np.random.default_rng([schedule.seed, step]))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        loss = self._loss(batch)
        if not torch.isfinite(loss):
            raise ModelError(f"training diverged at step {step}: lower learning_rate in the recipe")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), schedule.clip_norm)
        self.optimizer.step()
        decay = min(schedule.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        return float(loss.detach())

    def _batch(self, rng: np.random.Generator) -> Batch:
        """The chips of a step, each turned and under its own air."""
        chips: list[Chip] = []
        for source, count in self.sources:
            for _ in range(count):
                chip = source.cut(rng, self.schedule.chip_px)
                chip = turn(chip, int(rng.integers(4)), mirror=bool(rng.integers(2)))
                chips.append(jitter(chip, self.config.bands, rng))
        batch = collate(chips)
        return Batch(**{name: tensor.to(self.device) for name, tensor in vars(batch).items()})

    def _loss(self, batch: Batch) -> Tensor:
        """The weighted sum of what the chips teach, chip rims left out."""
        x = self.config.prepare(batch.lr, batch.present).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits, image = self.network.forward_with_image(x)
        rim, scale = self.schedule.border_px, self.config.scale
        isa, image, target, known = (
            networks.crop(t, rim * scale) for t in (batch.isa, image, batch.image, batch.known)
        )
        share, weight = networks.crop(batch.share, rim), networks.crop(batch.weight, rim)
        probability = settling.settle(torch.sigmoid(networks.crop(logits, (rim - 1) * scale).float()), scale)
        loss = losses.segmentation_loss(probability, isa, false_positive=self.schedule.false_positive)
        loss = loss + self.schedule.share_weight * losses.share_loss(probability, share, weight)
        return loss + self.schedule.image_weight * losses.image_loss(image, target, known)

    def _look(self, loss: float) -> Progress:
        """Score the averaged weights on every validation ground."""
        curves = {v.name: iou_curve(self.average, v, self.device) for v in self.validations}
        mean = np.mean(list(curves.values()), axis=0) if curves else np.zeros(len(THRESHOLDS))
        return Progress(
            step=self.progress.step,
            loss=loss,
            isa_iou={name: float(max(curve)) for name, curve in curves.items()},
            threshold=THRESHOLDS[int(np.argmax(mean))],
            mean_iou=float(np.max(mean)),
        )

    def start_from(self, network: networks.Network) -> None:
        """Begin with the weights of another network of the same shape.

        Raises:
            ModelError: it has another shape.
        """
        try:
            self.network.load_state_dict(network.state_dict())
            self.average.load_state_dict(network.state_dict())
        except RuntimeError as fault:
            raise ModelError("the weights to start from are of another network than the recipe's") from fault

    def state(self, record: dict[str, Any]) -> bytes:
        """Everything a resumed run needs, as one safetensors document: weights and record cannot part."""
        tensors = {f"network.{k}": v.contiguous() for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v.contiguous() for k, v in self.average.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v.contiguous() for k, v in slots.items()}
        return safetensors.torch.save(tensors, {"record": json.dumps(record)})

    def restore(self, document: bytes, progress: Progress) -> None:
        """Continue where `state` was taken."""
        try:
            tensors = safetensors.torch.load(document)
        except safetensors.SafetensorError as fault:
            raise ModelError(f"training state is damaged ({fault}): delete it to start over") from fault
        for name, network in (("network.", self.network), ("average.", self.average)):
            network.load_state_dict(
                {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}
            )
        state = self.optimizer.state_dict()
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, slot = key.split(".")
                state["state"].setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict(state)
        self.progress = progress

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, float32 on the CPU."""
        return {k: v.detach().cpu().contiguous() for k, v in self.average.state_dict().items()}


def read_record(state: Path) -> dict[str, Any]:
    """The record that `Trainer.state` put beside the weights.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        with safetensors.safe_open(state, "pt") as document:
            record: dict[str, Any] = json.loads((document.metadata() or {})["record"])
    except (safetensors.SafetensorError, KeyError, ValueError) as fault:
        raise ModelError(f"{state} is damaged ({fault}): delete it to start over") from fault
    return record


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then a cosine to 0."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def probabilities(network: networks.Network, lr: Tensor, present: Tensor, piece_px: int = 128) -> Tensor:
    """ISA probability `(Y, X)` float32 of one raster `(band, y, x)`, piece by piece, nothing beyond its edge."""
    config, stride = network.config, network.stride_px
    halo = settling.halo_of(network)
    x = functional.pad(config.prepare(lr[None], present[None]), (halo,) * 4)
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


def iou_curve(network: networks.Network, ground: Validation, device: torch.device) -> NDArray[np.float64]:
    """ISA IoU on `ground` at each of `THRESHOLDS`."""
    lr, present = torch.from_numpy(ground.lr).to(device), torch.from_numpy(ground.present).to(device)
    isa = probabilities(network, lr, present).numpy()
    return np.nan_to_num([Confusion.count(isa >= t, ground.isa).iou for t in THRESHOLDS])


def as_json(progress: Progress) -> dict[str, object]:
    """Progress as a JSON document."""
    return asdict(progress)
