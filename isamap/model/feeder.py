"""Chips on their way into the network: those of a step depend on the seed and the step number alone."""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from isamap.errors import ConfigError
from isamap.model import parallel
from isamap.model.chips import Batch, Chip, Source, collate, jitter, turn
from isamap.model.networks import NetworkConfig
from isamap.model.schedule import Schedule

CUTTERS = 8
"""Threads that cut chips for a GPU; a CPU has other things to do."""


@dataclass
class Feeder:
    """Batches of chips, cut ahead of time where a GPU would wait for them."""

    sources: Sequence[tuple[Source, int]]
    """What chips are cut from, and how many of it in a step of all processes."""
    config: NetworkConfig
    schedule: Schedule
    device: torch.device
    stream: int = 0
    """Tells two feeders of one run apart."""
    views: int = 1
    """How often each chip is seen, each time under another air; with two, first under none."""

    def __post_init__(self) -> None:
        self._own = self._share()
        ahead = self.device.type == "cuda"
        self._pool = ThreadPoolExecutor(min(CUTTERS, os.cpu_count() or 1)) if ahead else None
        self._ahead: dict[int, list[Future[list[Chip]]]] = {}

    def _share(self) -> list[tuple[int, Source]]:
        """Number and source of every chip that this process cuts."""
        each = [source for source, count in self.sources for _ in range(count)]
        if len(each) < parallel.world():
            raise ConfigError(
                f"{len(each)} chips a step are too few for {parallel.world()} processes: raise chips"
            )
        return [(i, s) for i, s in enumerate(each) if i % parallel.world() == parallel.rank()]

    def batches(self, step: int) -> list[Batch]:
        """The chips of a step, one batch per view."""
        if self._pool is None:
            made = [self._cut(step, *one) for one in self._own]
        else:
            for later in (step, step + 1):
                if later not in self._ahead:
                    self._ahead[later] = [self._pool.submit(self._cut, later, *one) for one in self._own]
            made = [future.result() for future in self._ahead.pop(step)]
        return [self._send(collate(list(view))) for view in zip(*made, strict=True)]

    def _cut(self, step: int, number: int, source: Source) -> list[Chip]:
        """One chip, turned, in each view."""
        rng = np.random.default_rng([self.schedule.seed, self.stream, step, number])
        chip = source.cut(rng, self.schedule.chip_px)
        chip = turn(chip, int(rng.integers(4)), mirror=bool(rng.integers(2)))
        hidden = self.config.optional, self.schedule.hidden_share
        seen = [jitter(chip, self.config.bands, rng, *hidden)]
        return seen if self.views == 1 else [chip, *seen]

    def _send(self, batch: Batch) -> Batch:
        return Batch(**{name: tensor.to(self.device) for name, tensor in vars(batch).items()})
