"""Prediction of one batch of windows on the device: reflectance in, classes and percent out.

A network of a class scheme gives the code of the likeliest class of each pixel; its percent is the probability that the
pixel is impervious, whichever of the scheme's impervious classes it is.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isamap.domain.classes import SCHEMES
from isamap.domain.product import NODATA, PROBABILITY, Layer, class_layer
from isamap.errors import ModelError
from isamap.model import settling
from isamap.model.checkpoint import load
from isamap.model.device import dtype_of, resolve
from isamap.model.transfer import Arrival, Transfer
from isamap.model.trial import try_out

log = logging.getLogger(__name__)

STEP_PX = 64
"""Inputs are padded to multiples of this, so that a raster's odd edges make few distinct shapes."""


@dataclass(frozen=True)
class Prediction:
    """A window of the map, without halo."""

    isa: NDArray[np.uint8]
    """0 or 1, or codes of the class scheme; 255 where the input has nothing, `(Y, X)`."""
    percent: NDArray[np.uint8] | None
    """Probability in percent 0-100, 255 where the input has nothing, `(Y, X)`; None if not asked for."""

    @property
    def rasters(self) -> list[NDArray[np.uint8]]:
        """What there is, classes first."""
        return [self.isa] if self.percent is None else [self.isa, self.percent]


@dataclass(frozen=True)
class Pending:
    """Maps of windows that the device is at work on."""

    _parts: tuple[Arrival, ...]
    """Outputs, then percent if asked for: `(layer, n, Y, X)`; several where the batch was halved."""
    _codes: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    """From outputs to the codes of maps."""

    def result(self) -> list[Prediction]:
        """Wait for them; in the order of the windows."""
        made = []
        for part in self._parts:
            outputs, *worths = part.wait()
            percents = worths[0] if worths else [None] * len(outputs)
            made += [Prediction(*each) for each in zip(self._codes(outputs), percents, strict=True)]
        return made


class Predictor:
    """A model on a device."""

    def __init__(self, weights: Path, device: str = "auto", threshold: float | None = None) -> None:
        self.card, network = load(weights)
        self.device = resolve(device)
        self.dtype = dtype_of(self.device)
        self.network = network.to(self.device, self.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this combination
        try_out(self.network, weights)
        self.threshold = self.card.threshold if threshold is None else threshold
        self._settled = self.card.settled(self.threshold)
        self.scheme = SCHEMES[self.card.network.classes]
        self.scale = self.card.network.scale
        self._transfer = Transfer(self.device)
        self.halo_px = settling.halo_of(network)
        """Real neighbour pixels wanted on every side of a window."""

    @property
    def bands(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Bands in the order wanted, and those of them that a scene may lack."""
        return self.card.network.bands, self.card.network.optional

    @property
    def settings(self) -> dict[str, Any]:
        """What decides pixels beside the weights, as JSON; part of every map's provenance."""
        card = self.card
        numbers = {} if card.calibration is None else {"calibration": asdict(card.calibration)}
        return {"network": card.network.model_dump(mode="json"), "threshold": self.threshold, **numbers}

    def layers(self, *, probability: bool) -> tuple[Layer, ...]:
        """The rasters that this model's maps consist of."""
        classes = class_layer(self.scheme)
        return (classes, PROBABILITY) if probability else (classes,)

    def count_isa(self, classes: NDArray[np.uint8]) -> int:
        """Impervious pixels of a class map."""
        return self.scheme.count_isa(classes)

    @torch.inference_mode()
    def strips(
        self, lr: NDArray[np.float32], valid: NDArray[np.bool_]
    ) -> Iterator[tuple[slice, torch.Tensor]]:
        """The network's own probability of each output without halo, in strips from top to bottom.

        Args:
            lr: reflectance `(n, band, y + 2 * halo, x + 2 * halo)`, 0 where missing.
            valid: `(n, y + 2 * halo, x + 2 * halo)`, True where the reflectance is real.

        Yields:
            Rows of the strip, and float32 `(n, outputs, rows, x * scale)` on the device.
        """
        height, width = (side - 2 * self.halo_px for side in lr.shape[-2:])
        grow = [(0, -(side - 2 * self.halo_px) % STEP_PX) for side in lr.shape[-2:]]
        lr = np.pad(lr, ((0, 0), (0, 0), *grow))
        valid = np.pad(valid, ((0, 0), *grow))
        pixels, present = (self._transfer.upload(a) for a in (lr, valid))
        x = self.card.network.prepare(pixels, self._present(pixels, present))
        x = x.to(self.dtype).contiguous(memory_format=torch.channels_last)
        for top, each in settling.strips(self.network, x, self.halo_px):
            rows = slice(top, min(top + each.shape[-2], height * self.scale))
            if rows.start < rows.stop:
                yield rows, each[..., : rows.stop - top, : width * self.scale]

    def _present(self, pixels: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Presence per band: an optional band is absent where it is 0, as it was in training."""
        config, every = self.card.network, present[:, None].expand_as(pixels)
        if not config.optional:
            return every
        every = every.clone()
        for index in (config.bands.index(band) for band in config.optional):
            every[:, index] &= pixels[:, index] != 0
        return every

    def predict(
        self,
        lr: Sequence[NDArray[np.float32]],
        valid: Sequence[NDArray[np.bool_]],
        *,
        percent: bool = False,
    ) -> Pending:
        """Map windows of one shape; halves the batch when the device runs out of memory.

        A GPU is only told what to do: ask for the next batch before waiting for the result of this one.

        Args:
            lr: per window reflectance `(band, y + 2 * halo, x + 2 * halo)`.
            valid: per window `(y + 2 * halo, x + 2 * halo)`.
            percent: whether the probability is wanted too.

        Raises:
            ModelError: not even one window fits into the device's memory.
        """
        codes = _as_they_are if self.card.network.outputs == 1 else self.scheme.code_of
        return Pending(self._begin(lr, valid, percent=percent), codes)

    def _begin(
        self, lr: Sequence[NDArray[np.float32]], valid: Sequence[NDArray[np.bool_]], *, percent: bool
    ) -> tuple[Arrival, ...]:
        """One part, or those of both halves."""
        try:
            return (self._layers(np.stack(lr), np.stack(valid), percent=percent),)
        except torch.OutOfMemoryError as fault:
            if len(lr) == 1:
                raise ModelError(
                    "the device has too little memory for one window: use a smaller --window"
                ) from fault
        torch.cuda.empty_cache()
        half = len(lr) // 2
        log.warning("out of device memory: batch of %d halved", len(lr))
        first = self._begin(lr[:half], valid[:half], percent=percent)
        return first + self._begin(lr[half:], valid[half:], percent=percent)

    @torch.inference_mode()
    def _layers(self, lr: NDArray[np.float32], valid: NDArray[np.bool_], *, percent: bool) -> Arrival:
        """Decide and quantise strip by strip on the device, then fetch one byte per pixel."""
        halo, scale = self.halo_px, self.scale
        core = valid[:, halo : valid.shape[1] - halo, halo : valid.shape[2] - halo]
        n, height, width = core.shape
        layers = torch.empty(
            (1 + percent, n, height * scale, width * scale), dtype=torch.uint8, device=self.device
        )
        for rows, each in self.strips(lr, valid):
            probability = settling.impervious(each, self.card.network)
            if each.shape[1] == 1:
                whether = torch.ge(probability, self._settled, out=torch.empty_like(probability))
                layers.view(torch.bool)[0, :, rows] = whether  # a third of the time of comparing into bytes
            else:
                layers[0, :, rows] = each.argmax(dim=1)
            if percent:
                worth = settling.calibrated(probability, self.card.calibration)
                layers[1, :, rows] = (worth * 100).round_()
        if not core.all():
            nothing = self._transfer.upload(~core)[:, :, None, :, None]
            layers.view(-1, n, height, scale, width, scale).masked_fill_(nothing, NODATA)
        return self._transfer.download(layers)


def _as_they_are(outputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Of a network with one output: 0, 1 and nodata are codes already."""
    return outputs
