"""Domain adaptation: learning from a target whose ground nobody labelled.

`dpa` is the method of Five-Billion-Pixels (Tong, Xia and Zhu 2023, ISPRS J. 196, 178-196; their published code): one
network for both domains; in every step the target pixels of lowest entropy are taken at their word, a share of them
that grows in a line to a half; source and target weigh the same, and every class 1 / ln(1.02 + its frequency in the
source). Where it is left out here: batch statistics mixed over both domains, for there are none.

`dpa+` takes the quota from every class by itself (Zou et al. 2018), so that easy large classes do not crowd out the
others; labels come from the moving average of the weights on the target as it is, and the network learns them on the
target under another sun and air (Tarvainen and Valpola 2017; Sohn et al. 2020); both shall agree everywhere; and where
spectra tell the impervious share of 10 m pixels, they join as weak targets.

Both see the target through its own mean and deviation (`Scaling`), unless told otherwise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from isamap.domain.classes import UNLABELLED
from isamap.model.networks import NetworkConfig


class Adaptation(BaseModel):
    """How to learn from the target."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["dpa", "dpa+"] = "dpa+"
    """As published, or improved."""
    chips: int = Field(default=3, ge=1)
    """Chips of the target in a step."""
    kept: float = Field(default=0.5, gt=0, le=1)
    """Share of the target's pixels that are taken at their word at the end of the schedule."""
    weight: float = Field(default=1.0, ge=0)
    """Weight of the loss on them."""
    consistency_weight: float = Field(default=1.0, ge=0)
    """Weight of the squared difference between the network and its average (`dpa+`)."""
    share_weight: float = Field(default=0.0, ge=0)
    """Weight of the shares that spectra tell (`dpa+`; the scenes need B02, B03, B04, B08 and B11)."""
    own_statistics: bool = True
    """Whether the target is seen through its own mean and deviation."""

    def faults(self) -> Iterator[str]:
        """What in it cannot work."""
        if self.method == "dpa":
            for key in ("consistency_weight", "share_weight"):
                if key in self.model_fields_set and getattr(self, key):
                    yield f"target.{key}: the method dpa has no such loss: dpa+ has"


def kept_share(step: int, steps: int, top: float) -> float:
    """Share of the target's pixels that count in a step: grows in a line to `top`."""
    return (step + 1) / steps * top


def entropy(probability: Tensor) -> Tensor:
    """Entropy of class probabilities `(n, k, y, x)` in units of log k: 0 where certain, 1 where all are alike."""
    safe = probability.clamp(min=1e-8)
    return -(probability * safe.log()).sum(dim=1) / math.log(probability.shape[1])


def lowest(values: Tensor, share: float, candidates: Tensor) -> Tensor:
    """Boolean mask of the `share` of the candidates with the lowest values, over the whole batch.

    Args:
        values: any shape.
        share: 0-1; the count is rounded down.
        candidates: boolean, of the same shape.
    """
    chosen = torch.zeros_like(candidates)
    places = torch.nonzero(candidates.flatten())[:, 0]
    count = int(share * len(places))
    order = torch.argsort(values.flatten()[places], stable=True)[:count]
    chosen.view(-1)[places[order]] = True
    return chosen


def lowest_of_each(values: Tensor, labels: Tensor, share: float, candidates: Tensor) -> Tensor:
    """As `lowest`, but the same share of every class: a large easy class takes nothing from the others."""
    chosen = torch.zeros_like(candidates)
    for label in torch.unique(labels[candidates]).tolist():
        chosen |= lowest(values, share, candidates & (labels == label))
    return chosen


def pseudo_labels(probability: Tensor, share: float, seen: Tensor, *, per_class: bool) -> Tensor:
    """Labels of the surest pixels, uint8 `(n, 1, y, x)`, 255 elsewhere.

    Args:
        probability: of each class, `(n, k, y, x)`.
        share: of the pixels that are labelled.
        seen: boolean `(n, y, x)`, True where there is input.
        per_class: whether every class gives that share of its own pixels.
    """
    labels = probability.argmax(dim=1)  # (n, y, x)
    doubt = entropy(probability)
    sure = lowest_of_each(doubt, labels, share, seen) if per_class else lowest(doubt, share, seen)
    return torch.where(sure, labels, UNLABELLED).to(torch.uint8)[:, None]


def class_weights(counts: NDArray[np.int64]) -> tuple[float, ...]:
    """1 / ln(1.02 + frequency) of each class (Paszke et al. 2016, ENet), from labelled pixels per class."""
    frequency = counts / max(1, int(counts.sum()))
    return tuple(float(weight) for weight in 1 / np.log(1.02 + frequency))


@dataclass(frozen=True)
class Scaling:
    """Mean and deviation of each band over a domain."""

    mean: NDArray[np.float64]
    """`(band,)` reflectance."""
    std: NDArray[np.float64]
    """`(band,)`."""

    @classmethod
    def of(
        cls, grounds: list[tuple[NDArray[np.float32], NDArray[np.bool_]]], unseen: "Scaling | None" = None
    ) -> "Scaling":
        """Over all present pixels of several grounds.

        Args:
            grounds: reflectance and presence, `(band, y, x)` each.
            unseen: what a band has that no ground holds; mean 0 and deviation 1 if left out.
        """
        bands = range(grounds[0][0].shape[0])
        values = [np.concatenate([lr[band][present[band]] for lr, present in grounds]) for band in bands]
        mean = np.zeros(len(values)) if unseen is None else unseen.mean.copy()
        std = np.ones(len(values)) if unseen is None else unseen.std.copy()
        for band, part in enumerate(values):
            if part.size:
                mean[band] = part.mean(dtype=np.float64)
                std[band] = max(part.std(dtype=np.float64), 1e-4)
        return cls(mean, std)

    def onto(self, other: "Scaling", lr: NDArray[np.float32]) -> NDArray[np.float32]:
        """Reflectance `(band, y, x)` of this domain with the mean and deviation of another one."""
        gain = (other.std / self.std)[:, None, None]
        moved: NDArray[np.float32] = (
            (lr - self.mean[:, None, None]) * gain + other.mean[:, None, None]
        ).astype(np.float32)
        return moved

    def config(self, other: "Scaling", config: NetworkConfig) -> NetworkConfig:
        """The network's own scaling, so that plain reflectance of this domain becomes what `onto(other)` would."""
        gain = self.std / other.std
        mean = self.mean + (np.array(config.mean) - other.mean) * gain
        std = np.array(config.std) * gain
        return config.model_copy(update={"mean": tuple(mean.tolist()), "std": tuple(std.tolist())})
