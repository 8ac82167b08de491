"""Copies between the host and the device that run beside the computation.

Each direction has a stream of its own and pinned memory, so neither waits for the other or for the kernels of another
batch. A CPU has no streams: there the same calls hand on what they were given.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Arrival:
    """Values on their way to the host."""

    _host: torch.Tensor
    _copied: Any
    """Event of the device, recorded behind the copy."""

    def wait(self) -> NDArray[Any]:
        """The values, once all of them are here; the calling thread sleeps or spins until then, the device goes on."""
        self._copied.synchronize()
        return self._host.numpy()


class Transfer:
    """The way to a device and back."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._is_host = device, device.type == "cpu"
        self._api: Any = torch.get_device_module(device)
        self._up, self._down = (self._api.Stream(device) for _ in range(2))

    def upload(self, array: NDArray[np.generic]) -> torch.Tensor:
        """The array on the device; kernels that are launched from now on wait for it, the calling thread does not."""
        tensor = torch.from_numpy(array)
        if self._is_host:
            return tensor
        computing = self._api.current_stream(self._device)
        with self._api.stream(self._up):
            there = tensor.pin_memory().to(self._device, non_blocking=True)
        computing.wait_stream(self._up)
        there.record_stream(computing)  # its memory is not given away before they are through with it
        return there

    def download(self, tensor: torch.Tensor) -> Arrival:
        """The values that a tensor on the device will have once the kernels launched so far have run."""
        copied = self._api.Event()
        if self._is_host:
            return Arrival(tensor, copied)
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._down.wait_stream(self._api.current_stream(self._device))
        with self._api.stream(self._down):
            host.copy_(tensor, non_blocking=True)
            copied.record(self._down)
        tensor.record_stream(self._down)
        return Arrival(host, copied)
