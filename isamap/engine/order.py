"""Outcomes in the order of the jobs, whoever is done first: what is added up, listed or printed then never differs.

Sums of floating-point figures depend on their order in the last digit, and so do tables that grow as outcomes come.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic

from isamap import engine
from isamap.engine.local import Job, Outcome, Result


@dataclass(frozen=True)
class _Numbered(Generic[Job]):
    """A job and its place among the others."""

    number: int
    job: Job

    def __str__(self) -> str:
        """As logs name it."""
        return str(self.job)


def run_in_order(
    jobs: Sequence[Job], work: Callable[[Job], Result], how: engine.Engine
) -> Iterator[Outcome[Job, Result]]:
    """Outcomes of all jobs, in the order of the jobs.

    What ends early waits for its turn: results should be small. Few wait, for jobs also begin in this order.

    Args:
        jobs: what to do; jobs and results travel to other processes.
        work: a module-level function.
        how: where.

    Raises:
        ConfigError, RemoteError: as `isamap.engine.run`.
    """
    early: dict[int, Outcome[_Numbered[Job], Result]] = {}
    turn = 0
    numbered = [_Numbered(number, job) for number, job in enumerate(jobs)]
    for outcome in engine.run(numbered, partial(_work_on, work), how):
        early[outcome.job.number] = outcome
        while turn in early:
            ended = early.pop(turn)
            turn += 1
            yield Outcome(ended.job.job, ended.result, ended.fault)


def _work_on(work: Callable[[Job], Result], numbered: _Numbered[Job]) -> Result:
    return work(numbered.job)
