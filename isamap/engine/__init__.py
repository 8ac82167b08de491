"""How work gets done: the streaming pipeline, and lists of tiles on this machine or on a Dask cluster.

Tiles are independent: whatever engine, number of workers and order, the files are the same.
"""

from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

from isamap.engine import local
from isamap.engine.local import Job, Outcome, Result
from isamap.engine.shard import Shard


@dataclass(frozen=True)
class Engine:
    """Where a list of jobs is worked on."""

    kind: Literal["local", "dask"] = "local"
    """Processes of this machine, or the workers of a Dask cluster."""
    workers: int = 1
    """Jobs done at the same time; with `scheduler` the cluster decides."""
    scheduler: str | None = None
    """Address of a Dask scheduler; None starts a cluster on this machine."""
    gpu: bool = False
    """Jobs may use a GPU: where Dask workers declare `GPU` resources, only those get jobs."""
    shard: Shard | None = None
    """Which part of the jobs this run does, side by side with the runs of the other parts; for their locks."""

    @property
    def shard_name(self) -> str | None:
        """`2-of-8`."""
        return str(self.shard) if self.shard else None


CLUSTER: ContextVar[int] = ContextVar("workers of the cluster", default=1)
"""In a job on a cluster that was named: the workers that had jobs when this one was sent. Others know their number."""


def beside(processes: int) -> int:
    """Processes that do jobs of a run side by side, seen from one of them: they share what a server grants.

    Args:
        processes: as the command line has it; it does not know the workers of a cluster, which come and go.
    """
    return processes * CLUSTER.get()


LOCAL = Engine()
"""One tile after the other, in this process."""


def run(jobs: Sequence[Job], work: Callable[[Job], Result], how: Engine) -> Iterator[Outcome[Job, Result]]:
    """Outcomes of all jobs as they end.

    Args:
        jobs: what to do, this run's shard already; jobs and results travel to other processes.
        work: a module-level function.
        how: where.

    Raises:
        ConfigError: Dask is asked for and not installed.
        RemoteError: the scheduler does not answer.
    """
    if how.kind == "local":
        return local.run(jobs, work, how.workers)
    from isamap.engine import dask

    return dask.run(jobs, work, how)
