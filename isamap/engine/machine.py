"""What this process may use of the machine, and how many workers that carries."""

import os
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")
MAP_BYTES = 1_500_000_000
"""Peak of one process that maps with the packaged models on a CPU (docs/benchmarks.md)."""
CORES_EACH = 2
"""One computes, the other reads, writes and helps."""
GPU_BYTES = 4_000_000_000
"""Of a GPU's memory, for one process: eight windows of `fast` took 2.4 GB on a CPU. A batch that lacks room is halved."""
GPU_SHARERS = 6
"""Processes that share a GPU, at most. A fast one maps a tile in less time than a process needs to read, write and check it."""


def workers(memory_bytes: int | None = None, gpu_bytes: int | None = None) -> int:
    """Processes that `--workers auto` starts.

    Args:
        memory_bytes: that they may use together; None takes what is free.
        gpu_bytes: memory of the GPU that they would share, if there is one.
    """
    room = free_bytes() if memory_bytes is None else memory_bytes
    sharers = [] if gpu_bytes is None else [gpu_bytes // GPU_BYTES, GPU_SHARERS]
    return max(1, min(cores() // CORES_EACH, room // MAP_BYTES, *sharers))


def cores() -> int:
    """Cores that this process may run on: of the machine, its affinity (Slurm) and its control group (containers)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        count = min(count, max(1, int(quota) // int(period)))
    return count


def free_bytes() -> int:
    """Memory that is free for this process: of the machine, and of its control group, whose cached files make room."""
    known = [
        int(line.split()[1]) << 10 for line in _read(MEMINFO).splitlines() if line.startswith("MemAvailable")
    ]
    limit, used = _read(CGROUP / "memory.max"), _read(CGROUP / "memory.current")
    if limit.isdigit() and used.isdigit():
        known.append(max(0, int(limit) - int(used) + _cached_bytes()))
    return min(known, default=MAP_BYTES)


def _cached_bytes() -> int:
    """Files that the control group has read and not lately used: the kernel drops them first."""
    facts = dict(line.split() for line in _read(CGROUP / "memory.stat").splitlines())
    return int(facts.get("inactive_file", 0))


def _read(path: Path) -> str:
    """A file of the kernel, empty where there is none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
