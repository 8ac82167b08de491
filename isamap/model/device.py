"""Where the arithmetic runs, and how the process must be set up for it."""

import os
import platform

import torch

from isamap.errors import ModelError


def use_threads(count: int) -> None:
    """Let torch use `count` threads; 0 leaves it one per core."""
    if count:
        torch.set_num_threads(count)


def resolve(name: str) -> torch.device:
    """The device of `--device`: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ModelError: CUDA was asked for and there is none, or no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    index = name.removeprefix("cuda").removeprefix(":") or "0"
    if not name.startswith("cuda") or not index.isdigit():
        raise ModelError(f"unknown device {name!r}: use auto, cpu or cuda:N")
    if int(index) >= torch.cuda.device_count():
        raise ModelError(f"no CUDA device {index} on this machine: use --device cpu")
    return torch.device("cuda", int(index))


def gpu_bytes(name: str) -> int | None:
    """Memory of the GPU that `resolve` finds; None where it finds the CPU.

    Raises:
        ModelError: as for `resolve`.
    """
    device = resolve(name)
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def describe(device: torch.device) -> dict[str, str]:
    """Machine and torch, for the card of a trained model."""
    machine = f"{platform.machine()}, {device.type}, {torch.get_num_threads()} threads"
    return {"machine": machine, "torch": torch.__version__}


def dtype_of(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it natively, float32 elsewhere.

    `ISAMAP_PRECISION=float32` asks for full precision (to compare, or for an emulating CPU).
    """
    if os.environ.get("ISAMAP_PRECISION") == "float32":
        return torch.float32
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    capable = torch.backends.cpu.get_cpu_capability()
    native = capable == "AVX512" and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001  # no public query
    return torch.bfloat16 if native else torch.float32
