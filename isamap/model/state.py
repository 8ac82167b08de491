"""The state of a run as one safetensors document, from which it goes on to the bit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn
from torch.optim import Optimizer

from isamap.errors import ModelError

DAMAGED = "delete it to start over"


def pack_state(
    modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer], record: dict[str, Any]
) -> bytes:
    """Modules, optimisers and record as one document: they cannot part."""
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}.{key}": value.contiguous() for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for index, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": value.contiguous() for key, value in slots.items()}
    return safetensors.torch.save(tensors, {"record": json.dumps(record)})


def unpack_state(
    document: bytes, modules: Mapping[str, nn.Module], optimizers: Mapping[str, Optimizer]
) -> None:
    """Put back what `pack_state` took.

    Raises:
        ModelError: the document is damaged, or of another run.
    """
    try:
        tensors = safetensors.torch.load(document)
        for name, module in modules.items():
            module.load_state_dict(_under(name, tensors))
        for name, optimizer in optimizers.items():
            state = optimizer.state_dict()
            for key, value in _under(name, tensors).items():
                index, slot = key.split(".")
                state["state"].setdefault(int(index), {})[slot] = value
            optimizer.load_state_dict(state)
    except (safetensors.SafetensorError, RuntimeError, ValueError, KeyError) as fault:
        reason = " ".join(str(fault).split())
        raise ModelError(f"training state is damaged ({reason[:200]}): {DAMAGED}") from fault


def _under(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one part, under their own names."""
    return {
        key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
    }


def read_record(state: Path) -> dict[str, Any]:
    """The record that `pack_state` put beside the weights.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        with safetensors.safe_open(state, "pt") as document:
            record: dict[str, Any] = json.loads((document.metadata() or {})["record"])
    except (safetensors.SafetensorError, KeyError, ValueError) as fault:
        raise ModelError(f"{state} is damaged ({fault}): {DAMAGED}") from fault
    return record
