"""What the model side of this installation can do, for `isamap doctor`."""

from dataclasses import dataclass

import torch

from isamap.errors import ConfigError, IsamapError
from isamap.model import device
from isamap.model.checkpoint import PACKAGED, load, registry


@dataclass(frozen=True)
class Accelerator:
    """One device that torch can use."""

    name: str
    """cpu, or cuda:N and what it is called."""
    precision: str
    """What models run in there."""
    memory_gb: float | None = None
    """Of a GPU."""


def threads() -> int:
    """Threads that torch uses."""
    return torch.get_num_threads()


def accelerators() -> list[Accelerator]:
    """The CPU and every CUDA device."""
    cpu = torch.device("cpu")
    found = [Accelerator(f"cpu ({torch.backends.cpu.get_cpu_capability()})", _precision(cpu))]
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        facts = torch.cuda.get_device_properties(index)
        name = f"cuda:{index} {facts.name}"
        precision = _precision(torch.device("cuda", index))
        found.append(Accelerator(name, precision, round(facts.total_memory / 1e9, 1)))
    return found


def _precision(where: torch.device) -> str:
    return str(device.dtype_of(where)).removeprefix("torch.")


def packaged_models() -> dict[str, str | None]:
    """Every packaged model with why it cannot be used, None where it can: digest, shapes and values are checked."""
    found: dict[str, str | None] = {}
    for path in sorted(PACKAGED.glob("*.safetensors")):
        try:
            load(path)
        except IsamapError as fault:
            found[path.stem] = str(fault)
        else:
            found[path.stem] = None
    return found


def own_models() -> tuple[str, bool]:
    """Where models of the user's own lie or would lie and True, or why they cannot lie anywhere and False."""
    try:
        return str(registry()), True
    except ConfigError as fault:
        return str(fault), False
