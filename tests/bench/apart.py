"""Measurements in processes of their own: time, CPU seconds and peak memory of one thing at a time."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

Figures = dict[str, float]


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def read(self) -> Figures:
        return {"wall": time.perf_counter() - self.start[0], "cpu": time.process_time() - self.start[1]}


def measure(script: str, name: str, *words: object) -> Figures:
    """What the measure `name` of a script gives in a fresh process."""
    command = [sys.executable, script, "--child", name, *map(str, words)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def peak_mb() -> float:
    """Highest resident memory of this process so far, MB; ru_maxrss would begin with that of whoever started it."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def child(measures: Mapping[str, Callable[..., Figures]], words: list[str]) -> None:
    """Measure here what `measure` asked for, and print the figures with the peak memory."""
    figures = measures[words[0]](*map(Path, words[1:]))
    print(json.dumps(figures | {"peak_mb": peak_mb()}))
