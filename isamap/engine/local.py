"""Tiles on this machine: one after the other, or several worker processes side by side.

Tiles are independent, so any number of workers and any order give the same files. A worker that dies takes
its tile with it, nothing else: the tile is tried again, and named as failed when it kills three workers.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from isamap import logs
from isamap.errors import IsamapError

log = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_DEATHS = 3
"""Workers a tile may kill before it is given up."""
GRACE_S = 8
"""Time a worker gets to clean up after a signal before it is killed."""


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """What became of a job."""

    job: Job
    """The job."""
    result: Result | None
    """What it returned, if it did."""
    fault: IsamapError | None
    """Why it failed, if it did. Faults of isamap itself are raised, not collected."""


def attempt(job: Job, work: Callable[[Job], Result]) -> Outcome[Job, Result]:
    """Run one job, keeping a foreseen fault as its outcome."""
    try:
        return Outcome(job, work(job), None)
    except IsamapError as fault:
        return Outcome(job, None, fault)


def given_up(job: Job) -> Outcome[Job, Any]:
    """The outcome of a job that has killed as many workers as it may."""
    return Outcome(
        job, None, IsamapError(f"killed {MAX_DEATHS} workers: out of memory, or a bug: see the log")
    )


def run(
    jobs: Sequence[Job], work: Callable[[Job], Result], workers: int = 1, *, apart: bool = False
) -> Iterator[Outcome[Job, Result]]:
    """Outcomes of all jobs as they end.

    Args:
        jobs: what to do; jobs and results are pickled when there are several workers.
        work: a module-level function.
        workers: processes; with 1 the work happens here.
        apart: even one worker is a process of its own, one job ahead of what is done with its outcomes here.
    """
    if not apart and (workers <= 1 or len(jobs) <= 1):
        for job in jobs:
            yield attempt(job, work)
        return
    yield from _Farm(jobs, work, min(workers, len(jobs))).run()


class _Farm(Generic[Job, Result]):
    """Worker processes and the jobs they hold."""

    def __init__(self, jobs: Sequence[Job], work: Callable[[Job], Result], workers: int) -> None:
        self.jobs, self.work, self.workers = jobs, work, workers
        self.waiting = list(range(len(jobs)))[::-1]
        self.deaths = [0] * len(jobs)
        self.held: dict[Connection, tuple[SpawnProcess, int]] = {}

    def run(self) -> Iterator[Outcome[Job, Result]]:
        """Hand out jobs until all have ended; no worker outlives the loop."""
        try:
            for _ in range(self.workers):
                self._hire()
            while self.held:
                for pipe in wait(list(self.held)):
                    outcome = self._hear(pipe)  # type: ignore[arg-type]  # wait returns what it was given
                    if outcome is not None:
                        yield outcome
        finally:
            self._dismiss()

    def _hire(self) -> None:
        """Start a worker on the next job, if there is one."""
        if not self.waiting:
            return
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, self.work, logs.settings()), daemon=True)
        process.start()
        there.close()
        self._hand(here, process)

    def _hand(self, pipe: Connection, process: SpawnProcess) -> None:
        """Give a worker its next job, or send it home."""
        if self.waiting:
            index = self.waiting.pop()
            self.held[pipe] = (process, index)
            with suppress(BrokenPipeError, ConnectionResetError):  # it died idle: `_hear` will find the end
                pipe.send(self.jobs[index])
        else:
            self.held.pop(pipe, None)
            pipe.close()
            process.join(GRACE_S)

    def _hear(self, pipe: Connection) -> Outcome[Job, Result] | None:
        """What a worker has to say: an outcome, its own fault, or nothing because it died."""
        process, index = self.held[pipe]
        try:
            answer = pipe.recv()
        except (EOFError, ConnectionResetError):
            return self._bury(pipe, process, index)
        if isinstance(answer, BaseException):
            raise answer
        self._hand(pipe, process)
        return answer  # type: ignore[no-any-return]  # a pipe carries anything

    def _bury(self, pipe: Connection, process: SpawnProcess, index: int) -> Outcome[Job, Result] | None:
        """Replace a dead worker; its job is tried again unless it has killed too many."""
        del self.held[pipe]
        pipe.close()
        process.join()
        self.deaths[index] += 1
        log.warning("a worker died (exit %s) on %s", process.exitcode, self.jobs[index])
        too_many = self.deaths[index] >= MAX_DEATHS
        if not too_many:
            self.waiting.append(index)
        self._hire()
        return given_up(self.jobs[index]) if too_many else None

    def _dismiss(self) -> None:
        """End the workers that are left: a signal first, so that they clean up."""
        for process, _ in self.held.values():
            process.terminate()
        end = time.monotonic() + GRACE_S
        for process, _ in self.held.values():
            process.join(max(0, end - time.monotonic()))
            process.kill()


def _serve(
    pipe: Connection, work: Callable[[Job], Result], log_settings: tuple[int, str] | None = None
) -> None:
    """A worker's life: jobs in, outcomes out, until the pipe closes. It logs as its parent does."""
    if log_settings:
        logs.configure(*log_settings)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal signals everyone; the parent decides
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow_parent, daemon=True).start()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(attempt(job, work))
        except Exception as fault:  # noqa: BLE001  # a bug: it travels to the parent, which raises it
            pipe.send(fault)


def _follow_parent() -> None:
    """Stop when the parent has been killed: its lock is free, and another run may write the same maps."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _leave(signum: int, _: object) -> None:
    """Unwind the stack so that part directories are removed."""
    raise SystemExit(128 + signum)
