"""The target's part in a step of training."""

from collections.abc import Sequence

import torch
from torch import Tensor

from isamap.model import adapt, losses, settling
from isamap.model.chips import Batch, Source
from isamap.model.feeder import Feeder
from isamap.model.networks import Network, crop
from isamap.model.objective import Objective, Terms, both_sides


class Target:
    """Unlabelled ground and how to learn from it."""

    def __init__(
        self,
        adaptation: adapt.Adaptation,
        sources: Sequence[Source],
        objective: Objective,
        class_weights: tuple[float, ...],
    ) -> None:
        self.adaptation, self.objective = adaptation, objective
        self.weights = torch.tensor(class_weights, device=objective.device)
        share, rest = divmod(adaptation.chips, len(sources))
        counted = [(source, share + (number < rest)) for number, source in enumerate(sources)]
        self.feeder = Feeder(
            [(source, count) for source, count in counted if count],
            objective.config,
            objective.schedule,
            objective.device,
            stream=1,
            views=1 if adaptation.method == "dpa" else 2,
        )

    def terms(self, network: Network, average: Network, step: int) -> Terms:
        """The target's terms of the loss."""
        share = adapt.kept_share(step, self.objective.schedule.steps, self.adaptation.kept)
        batches = self.feeder.batches(step)
        return (
            self._published(network, batches[0], share)
            if len(batches) == 1
            else self._improved(network, average, batches, share)
        )

    def _published(self, network: Network, batch: Batch, share: float) -> Terms:
        made = self._probability(network, batch)
        labels = adapt.pseudo_labels(made.detach(), share, self._seen(batch), per_class=False)
        return {"target": (self.adaptation.weight, losses.class_loss(made, labels, self.weights))}

    def _improved(self, network: Network, average: Network, batches: list[Batch], share: float) -> Terms:
        plain, changed = batches
        with torch.no_grad():
            taught = self._probability(average, plain)
        made, seen, rim = (
            self._probability(network, changed),
            self._seen(plain),
            self.objective.schedule.border_px,
        )
        labels = adapt.pseudo_labels(taught, share, seen, per_class=True)
        apart = ((made - taught) ** 2).mean(dim=1)
        impervious = (
            made[:, 1:]
            if self.objective.config.outputs == 1
            else settling.impervious(made, self.objective.config)[:, None]
        )
        told = losses.share_loss(impervious, crop(plain.share, rim), crop(plain.weight, rim))
        return {
            "target": (self.adaptation.weight, losses.class_loss(made, labels, self.weights)),
            "agreement": (self.adaptation.consistency_weight, losses.mean_where(apart, seen.float())),
            "target-share": (self.adaptation.share_weight, told),
        }

    def _probability(self, network: Network, batch: Batch) -> Tensor:
        """Settled probability of each class, rims left out."""
        objective = self.objective
        x = objective.config.prepare(batch.lr, batch.present).contiguous(memory_format=torch.channels_last)
        with torch.autocast(
            objective.device.type, torch.bfloat16, enabled=objective.schedule.precision == "bf16"
        ):
            logits = network(x)
        return both_sides(objective.probability(logits))

    def _seen(self, batch: Batch) -> Tensor:
        """Boolean `(n, Y, X)`: where there is input."""
        scale = self.objective.config.scale
        seen = crop(batch.present.amax(dim=1), self.objective.schedule.border_px) > 0
        return seen.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
