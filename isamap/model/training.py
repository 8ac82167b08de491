"""The training loop: seeded, resumable to the bit on CPU, judged on ground it never sees.

A step's chips depend on the seed and the step number alone, so a run that was stopped and resumed sees what
an undisturbed run would have seen. What a step costs is `objective.py`; a target without labels is `target.py`.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from isamap.errors import ConfigError, ModelError
from isamap.model import networks, parallel
from isamap.model.adapt import Adaptation, class_weights
from isamap.model.chips import Source
from isamap.model.feeder import Feeder
from isamap.model.objective import Objective, weighted_sum
from isamap.model.schedule import Schedule, learning_rate
from isamap.model.state import pack_state, unpack_state
from isamap.model.target import Target
from isamap.model.validation import Progress, Validation, look


@dataclass(frozen=True)
class Extras:
    """What only some stages have."""

    adaptation: Adaptation | None = None
    """How to learn from `target`."""
    target: Sequence[Source] = ()
    """Unlabelled ground."""
    counts: NDArray[np.int64] | None = None
    """Labelled source pixels of each class: rare classes weigh more."""
    perceptual: Path | None = None
    """VGG19 weights."""


class Trainer:
    """One training run: network, moving average, optimiser, and where they stand."""

    def __init__(
        self,
        config: networks.NetworkConfig,
        schedule: Schedule,
        sources: Sequence[tuple[Source, int]],
        validations: Sequence[Validation],
        device: torch.device,
        extras: Extras | None = None,
    ) -> None:
        torch.manual_seed(schedule.seed)
        self.config, self.schedule, self.device = config, schedule, device
        self.validations, self.extras = validations, extras or Extras()
        self.network = networks.build(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this pair
        if schedule.chip_px % self.network.stride_px:
            multiples = f"{config.name} takes multiples of {self.network.stride_px}"
            raise ConfigError(f"chip_px is {schedule.chip_px}: {multiples}")
        self.average = networks.build(config).to(device)
        self.average.load_state_dict(self.network.state_dict())
        self.network.only(schedule.train)
        self.optimizer = torch.optim.AdamW(
            [p for p in self.network.parameters() if p.requires_grad],
            lr=schedule.learning_rate,
            weight_decay=schedule.weight_decay,
        )
        self.objective, self.target = self._losses()
        self.feeder = Feeder(sources, config, schedule, device)
        self.progress = Progress()

    def _losses(self) -> tuple[Objective, Target | None]:
        """What the source costs, and the target."""
        extras, published = self.extras, False
        if self.schedule.perceptual_weight and extras.perceptual is None:
            raise ConfigError("perceptual_weight needs VGG19 weights: name them as perceptual in the recipe")
        weights = None if extras.counts is None else class_weights(extras.counts)
        if extras.adaptation is not None:
            published = extras.adaptation.method == "dpa"
        own = weights if published or self.config.outputs > 1 else None
        objective = Objective(
            self.config, self.schedule, self.device, class_weights=own, perceptual=extras.perceptual
        )
        if extras.adaptation is None:
            return objective, None
        if weights is None or not extras.target:
            raise ConfigError("a target needs imagery, and labels on the source")
        return objective, Target(extras.adaptation, extras.target, objective, weights)

    def run(self, advance: Callable[[], None] = lambda: None) -> Iterator[Progress]:
        """Train to the end of the schedule, yielding after every look at the validation ground.

        Args:
            advance: called after every step.
        """
        recent: list[dict[str, float]] = []
        while self.progress.step < self.schedule.steps and not self.tired:
            recent.append(self._step())
            self.progress.step += 1
            advance()
            due = self.progress.step % self.schedule.evaluate_every == 0
            if due or self.progress.step == self.schedule.steps:
                means = {name: sum(one[name] for one in recent) / len(recent) for name in recent[0]}
                found = look(self.average, self.validations, self.device, self.progress)
                self.progress = replace(found, loss=means.pop("loss"), terms=means)
                recent.clear()
                yield self.progress

    @property
    def tired(self) -> bool:
        """Whether the last looks found nothing better."""
        patience = self.schedule.patience
        since = self.progress.step - self.progress.best_step
        return patience is not None and since >= patience * self.schedule.evaluate_every

    def _step(self) -> dict[str, float]:
        """One optimiser step; returns its loss and the terms of it."""
        schedule, step = self.schedule, self.progress.step
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        terms = self.objective.terms(self.network, self.feeder.batches(step)[0], step)
        if self.target is not None:
            terms |= self.target.terms(self.network, self.average, step)
        loss = weighted_sum(terms)
        if not torch.isfinite(loss):
            raise ModelError(f"training diverged at step {step}: lower learning_rate in the recipe")
        self._descend(loss, self.network, self.optimizer)
        doubt = self.objective.doubt()
        if doubt is not None and self.objective.adversary is not None:
            self._descend(doubt, self.objective.adversary.network, self.objective.adversary.optimizer)
            terms["discriminator"] = (0.0, doubt)
        decay = min(schedule.ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        return {"loss": float(loss.detach())} | {k: float(v.detach()) for k, (_, v) in terms.items()}

    def _descend(self, loss: Tensor, module: nn.Module, optimizer: Optimizer) -> None:
        """One step down the gradient, of the same length in every process."""
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
        parallel.add_gradients(module.parameters())
        torch.nn.utils.clip_grad_norm_(module.parameters(), self.schedule.clip_norm)
        optimizer.step()

    def start_from(self, network: networks.Network) -> None:
        """Begin with the weights of another network of the same shape; bands that are new begin at zero.

        Raises:
            ModelError: it has another shape.
        """
        try:
            self.network.start_from(network)
            self.average.start_from(network)
        except RuntimeError as fault:
            theirs, ours = network.config.model_dump(), self.network.config.model_dump()
            unlike = [key for key in ours if ours[key] != theirs[key]]
            raise ModelError(
                "the weights to start from are of another network than the recipe's: theirs has "
                + ", ".join(f"{key} = {json.dumps(theirs[key])}" for key in unlike)
            ) from fault

    def _modules(self) -> Mapping[str, nn.Module]:
        """Everything whose weights change."""
        own: dict[str, nn.Module] = {"network": self.network, "average": self.average}
        adversary = self.objective.adversary
        return own if adversary is None else own | {"adversary": adversary.network}

    def _optimizers(self) -> Mapping[str, Optimizer]:
        """What changes them."""
        own: dict[str, Optimizer] = {"optimizer": self.optimizer}
        adversary = self.objective.adversary
        return own if adversary is None else own | {"adversary-optimizer": adversary.optimizer}

    def state(self, record: dict[str, Any]) -> bytes:
        """Everything a resumed run needs, as one safetensors document: weights and record cannot part."""
        return pack_state(self._modules(), self._optimizers(), record)

    def restore(self, document: bytes, progress: Progress) -> None:
        """Continue where `state` was taken."""
        unpack_state(document, self._modules(), self._optimizers())
        self.progress = progress

    def weights(self) -> dict[str, Tensor]:
        """The averaged weights, float32 on the CPU."""
        return {k: v.detach().cpu().contiguous() for k, v in self.average.state_dict().items()}


def as_json(progress: Progress) -> dict[str, object]:
    """Progress as a JSON document."""
    return asdict(progress)
