"""How long, how hard and at what to train: the part of a recipe that the training loop reads."""

import math
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_SEED = 2**63 - 1
"""What torch and NumPy both take."""


class Schedule(BaseModel):
    """One stage of training. A later stage begins from the weights of an earlier one (`--start`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=2400, ge=1)
    """Optimiser steps in all."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rate rises from 0."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate (AdamW; Loshchilov and Hutter 2019), falling to 0 along a cosine."""
    weight_decay: float = Field(default=1e-2, ge=0)
    """Decoupled weight decay."""
    clip_norm: float = Field(default=1.0, gt=0)
    """Largest norm of a step's gradient."""
    chip_px: int = Field(default=48, ge=1)
    """Side of a chip in 10 m pixels."""
    border_px: int = Field(default=4, ge=1)
    """Rim of a chip that no loss looks at, in 10 m pixels: its neighbours are missing; settling takes one of them."""
    train: Literal["all", "image", "segmentation"] = "all"
    """Which parts learn: all, those that make the image, or those that only the segmentation needs."""
    isa_weight: float = Field(default=1.0, ge=0)
    """Weight of the loss on 1 m labels."""
    false_positive: float = Field(default=0.4, ge=0, le=1)
    """Weight of a false alarm in the Tversky loss; a miss weighs the rest to 1."""
    share_weight: float = Field(default=0.5, ge=0)
    """Weight of the soft-share loss."""
    image_weight: float = Field(default=0.1, ge=0)
    """Weight of the super-resolution loss: L1 against the 1 m image."""
    consistency_weight: float = Field(default=0.0, ge=0)
    """Weight of the difference between the image's 10 m means and the input (`staged`; `joint` has none by nature)."""
    adversarial_weight: float = Field(default=0.0, ge=0)
    """Weight of what the discriminator says of the image."""
    adversarial_ramp: int = Field(default=0, ge=0)
    """Steps over which that weight rises from 0."""
    discriminator_rate: float = Field(default=1e-4, gt=0)
    """Learning rate of the discriminator (Adam)."""
    discriminator_channels: int = Field(default=64, ge=1, le=256)
    """Width of its first level."""
    perceptual_weight: float = Field(default=0.0, ge=0)
    """Weight of the difference of VGG features; needs `perceptual` in the recipe."""
    hidden_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the chips from which the network's optional bands are hidden."""
    ema_decay: float = Field(default=0.998, ge=0, lt=1)
    """Decay of the moving average of the weights; the average is what is kept."""
    precision: Literal["bf16", "float32"] = "bf16"
    """Arithmetic of the forward pass; weights and losses are float32 in any case."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the model: the best on the validation ground, or those at the end of the schedule."""
    patience: int | None = Field(default=None, ge=1)
    """Looks without a better one after which training ends early."""
    evaluate_every: int = Field(default=200, ge=1)
    """Steps between two looks at the validation ground."""
    seed: int = Field(default=20180402, ge=0, le=MAX_SEED)
    """Seed of the first weights and of every chip."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.chip_px <= 2 * self.border_px:
            raise ValueError(
                f"chip_px is {self.chip_px}: rims of border_px = {self.border_px} leave nothing of a chip"
            )
        return self

    @property
    def makes_images(self) -> bool:
        """Whether any loss looks at the image."""
        return any(
            (self.image_weight, self.consistency_weight, self.adversarial_weight, self.perceptual_weight)
        )

    @property
    def makes_maps(self) -> bool:
        """Whether any loss looks at the map."""
        return self.train != "image" and any((self.isa_weight, self.share_weight))

    @property
    def teaches(self) -> bool:
        """Whether any loss reaches what shall learn."""
        return self.makes_maps or (self.makes_images and self.train != "segmentation")


def learning_rate(schedule: Schedule, step: int) -> float:
    """Linear warm-up, then a cosine to 0."""
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / schedule.warmup_steps
    done = (step - schedule.warmup_steps) / max(1, schedule.steps - schedule.warmup_steps)
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
