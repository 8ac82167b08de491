"""Tiles on the workers of a Dask cluster: one job on each worker at a time, one future for each job.

There is no graph: as many jobs are under way as there are workers, which may come and go. A job is sent to a worker by
name, so that a worker that dies takes exactly one job with it: that one is tried again elsewhere, and named as failed
when it has killed three workers, as on one machine. The work is that of `local`, and so are the files.
"""

import asyncio
import logging
import math
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic

from isamap import __version__, logs
from isamap.engine.local import MAX_DEATHS, Job, Outcome, Result, attempt, given_up
from isamap.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    from isamap.engine import Engine

log = logging.getLogger(__name__)

POLL_S = 1.0
"""How often the scheduler is asked who its workers are: not for every job, that would double what a job costs."""
OWN_PORT = "127.0.0.1:0"
"""Dask always serves its state over HTTP: of our own cluster to this machine alone, at any free port."""
ANSWER_S = 30
"""Within which a scheduler must answer, and a worker hand over a result."""


def run(jobs: Sequence[Job], work: Callable[[Job], Result], how: "Engine") -> Iterator[Outcome[Job, Result]]:
    """Outcomes of all jobs as they end: see `isamap.engine.run`."""
    if not jobs:
        return
    with _client(how) as client:
        yield from _Farm(client, jobs, work, how).run()


@contextmanager
def _client(how: "Engine") -> Iterator[Any]:
    """Connected to the cluster that was named, or to one of our own that ends with the block."""
    library = _library()
    with ExitStack() as stack:
        cluster: Any = how.scheduler
        if cluster is None:
            cluster = stack.enter_context(
                library.LocalCluster(
                    n_workers=how.workers,
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address=OWN_PORT,
                    worker_dashboard_address=OWN_PORT,
                    memory_limit=0,  # our memory does not grow; Dask's guard would kill workers of a full machine
                    silence_logs=logging.ERROR,
                )
            )
        else:
            _reach(cluster)
        yield stack.enter_context(library.Client(cluster, timeout=ANSWER_S, set_as_default=False))


def _library() -> Any:
    """Dask's `distributed`, which is optional."""
    try:
        import distributed
    except ImportError as fault:
        raise ConfigError("--engine dask needs Dask: pip install isamap[dask]") from fault
    return distributed


def _reach(address: str) -> None:
    """See whether a scheduler listens: a client that finds none takes another minute to give up."""
    library = _library()

    async def knock() -> None:
        arguments = library.Security().get_connection_args("client")
        comm = await library.comm.connect(address, timeout=ANSWER_S, **arguments)
        comm.abort()

    try:
        asyncio.run(knock())
    except (OSError, ValueError, RuntimeError) as fault:  # nobody, no address, no certificate
        raise RemoteError(f"no Dask scheduler answers at {address}: {fault}") from fault


class _Farm(Generic[Job, Result]):
    """The workers and the jobs they hold."""

    def __init__(
        self, client: Any, jobs: Sequence[Job], work: Callable[[Job], Result], how: "Engine"
    ) -> None:
        self.client, self.jobs, self.work, self.gpu = client, jobs, work, how.gpu
        self.log_settings = None if how.scheduler else logs.settings()  # workers of others log as they like
        self.resources: dict[str, int] | None = None
        self.alive: set[str] = set()
        """Addresses of the workers that may be given jobs."""
        self.looked = -math.inf
        """When `alive` was asked for."""
        self.waiting = list(range(len(jobs)))[::-1]
        self.deaths = [0] * len(jobs)
        self.held: dict[str, tuple[Any, int]] = {}
        """Future and job by address of the worker."""
        self.ended: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.has_waited = False

    def run(self) -> Iterator[Outcome[Job, Result]]:
        """Hand out jobs until all have ended; what is left on the way out is taken back."""
        try:
            while self.waiting or self.held:
                if time.monotonic() - self.looked >= POLL_S:
                    self._look()
                    yield from self._bury()
                self._hand_out()
                yield from self._hear()
        finally:
            with suppress(Exception):  # a scheduler that is gone has nothing to take back
                self.client.cancel([future for future, _ in self.held.values()], force=True)

    def _look(self) -> None:
        """Ask who the workers are."""
        try:
            alive = set(self.client.nthreads())
            if self.gpu and alive:
                known = self.client.scheduler_info()["workers"]
                with_gpu = {one for one in alive if known.get(one, {}).get("resources", {}).get("GPU")}
                self.resources = {"GPU": 1} if with_gpu else None
                alive = with_gpu or alive
        except (OSError, TypeError) as fault:  # a closed client has no scheduler: None
            raise RemoteError("the Dask scheduler has gone: run the same command again to resume") from fault
        if not alive and not self.has_waited:
            log.warning("the Dask cluster has no worker: waiting for one")
        self.has_waited = not alive
        self.alive, self.looked = alive, time.monotonic()

    def _bury(self) -> Iterator[Outcome[Job, Result]]:
        """Jobs of workers that are gone are tried again, unless they have killed too many."""
        for address in set(self.held) - self.alive:
            future, index = self.held[address]
            if future.done() and future.status == "finished":
                continue  # it ended before its worker did: `_hear` will know
            del self.held[address]
            future.cancel(force=True)
            self.deaths[index] += 1
            log.warning("a worker died (%s) on %s", address, self.jobs[index])
            if self.deaths[index] >= MAX_DEATHS:
                yield given_up(self.jobs[index])
            else:
                self.waiting.append(index)

    def _hand_out(self) -> None:
        """Give every idle worker its next job."""
        for address in sorted(self.alive - set(self.held)):
            if not self.waiting:
                return
            index = self.waiting.pop()
            future = self.client.submit(
                _serve,
                __version__,
                self.log_settings,
                self.jobs[index],
                self.work,
                workers=[address],
                pure=False,
                resources=self.resources,
            )
            self.held[address] = future, index
            future.add_done_callback(lambda done, address=address: self.ended.put((address, done)))

    def _hear(self) -> Iterator[Outcome[Job, Result]]:
        """The next outcome, if there is one soon."""
        try:
            address, done = self.ended.get(timeout=POLL_S)
        except queue.Empty:
            return
        future, index = self.held.get(address, (None, -1))
        if future is None or future.key != done.key:
            return  # of a worker that was buried
        del self.held[address]
        try:
            yield future.result(timeout=ANSWER_S)
        except (
            TimeoutError,
            CancelledError,
        ):  # its worker died with the answer: what is finished is found finished
            log.warning("the answer about %s is lost: it is asked for again", self.jobs[index])
            self.waiting.append(index)
            self.looked = -math.inf


def _serve(
    version: str, log_settings: tuple[int, str] | None, job: Job, work: Callable[[Job], Result]
) -> Outcome[Job, Result]:
    """One job on a worker.

    Raises:
        ConfigError: the worker runs another isamap, whose maps would differ.
    """
    if version != __version__:
        raise ConfigError(f"a Dask worker runs isamap {__version__}, this is {version}: install the same")
    if log_settings:
        logs.configure(*log_settings)
    return attempt(job, work)
