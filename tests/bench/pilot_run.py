"""One command of the pilot as an operator runs it, measured from outside; a worker of it may be killed midway."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from scenery.servers import RangeServer
from scenery.web import Answer, Request

REPOSITORY = Path(__file__).resolve().parents[2]
LOOK_S = 0.1
DIED = "a worker died"
"""What the log says of a worker that took a tile with it."""


class PixelServer(RangeServer):
    """Serves the scenes and counts the bytes that it sends."""

    sent_bytes = 0

    def respond(self, request: Request) -> Answer:
        """The file or a range of it."""
        answer = super().respond(request)
        with self._lock:
            self.sent_bytes += len(answer.body)
        return answer


@dataclass
class Step:
    """A command that has ended."""

    name: str
    """Of the step."""
    code: int = -1
    """Exit code."""
    seconds: float = 0.0
    """Wall time."""
    cpu_s: float = 0.0
    """User and system time of all its processes."""
    largest_mb: float = 0.0
    """Peak memory of its largest process, as the kernel has it (what a parent hands down at its birth is not counted)."""
    together_mb: float = 0.0
    """Peak memory of all its processes at one moment, looked at ten times a second."""
    killed: list[int] = field(default_factory=list)
    """Workers that were killed."""
    out: str = ""
    """What it printed."""
    log: str = ""
    """What it said on stderr."""

    @property
    def deaths(self) -> int:
        """Workers whose death it noticed."""
        return self.log.count(DIED)


def isamap(name: str, *arguments: object, kill_when: Callable[[], bool] | None = None) -> Step:
    """Run `isamap` with these arguments to its end."""
    return measured(name, [sys.executable, "-m", "isamap", *map(str, arguments)], kill_when)


def measured(name: str, command: Sequence[str], kill_when: Callable[[], bool] | None = None) -> Step:
    """Run a command to its end.

    Args:
        name: of the step.
        command: program and arguments.
        kill_when: says from when on the busiest worker may be killed with SIGKILL, once.
    """
    step, begin = Step(name), time.monotonic()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as log:
        run = subprocess.Popen(command, cwd=REPOSITORY, stdout=out, stderr=log)
        while (ended := os.wait4(run.pid, os.WNOHANG))[0] == 0:
            now_mb, peak_mb = memory_mb(run.pid)
            step.together_mb = max(step.together_mb, now_mb)
            step.largest_mb = max(step.largest_mb, peak_mb)
            if kill_when is not None and not step.killed and kill_when():
                step.killed.append(kill_busiest(run.pid))
            time.sleep(LOOK_S)
        step.seconds = time.monotonic() - begin
        run.returncode = step.code = os.waitstatus_to_exitcode(ended[1])
        step.cpu_s = ended[2].ru_utime + ended[2].ru_stime
        for file, kept in ((out, "out"), (log, "log")):
            file.seek(0)
            setattr(step, kept, file.read())
    return step


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it has started."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory of a process with all that it has started, and the peak of the largest; shared pages count for each."""
    now = peak = 0
    for process in family(pid):
        with suppress(FileNotFoundError, ProcessLookupError):
            told = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace")
            sizes = {
                line.split(":")[0]: line.split()[1] for line in told.splitlines() if line.startswith("Vm")
            }
            now += int(sizes.get("VmRSS", 0))
            peak = max(peak, int(sizes.get("VmHWM", 0)))
    return now / 1024, peak / 1024


def kill_busiest(pid: int) -> int:
    """Kill the worker that has computed most, and so is at work; its number."""
    workers: list[tuple[float, int]] = []
    for process in family(pid)[1:]:
        with suppress(psutil.NoSuchProcess):
            if any("spawn_main" in word for word in process.cmdline()):
                workers.append((sum(process.cpu_times()[:2]), process.pid))
    victim = max(workers)[1]
    os.kill(victim, signal.SIGKILL)
    return victim
