"""Where the arithmetic runs, and how the process must be set up for it."""

import ctypes
import os
import platform
import sys

import torch

from isamap.errors import ModelError

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Parameters of glibc's mallopt(3)."""


def keep_pages() -> bool:
    """Tell glibc to keep freed pages; call before torch allocates. True where it took.

    A 1 m head allocates and frees hundreds of megabytes per window. By default glibc hands them back to the
    kernel each time, and page faults cost more than the arithmetic (2.4 to 14 times, measured).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library: nothing to tune
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1))
    return all(mallopt(key, value) == 1 for key, value in settings)


def use_threads(count: int) -> None:
    """Let torch use `count` threads; 0 leaves it one per core, -n gives this process an nth of them."""
    if count < 0:
        count = max(1, (os.cpu_count() or 1) // -count)
    if count > 0:
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
