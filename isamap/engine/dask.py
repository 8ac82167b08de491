"""Tiles on the workers of a Dask cluster: one job on each worker at a time.

There is no graph: as many futures are under way as there are workers, which may come and go. A future costs some
milliseconds, so jobs that take less than that share one; any that takes longer has its own. It is sent to a worker by
name, so that a worker that dies takes nothing else with it: what it held is tried again elsewhere, and a job is named
as failed when it has killed three workers, as on one machine. The work is that of `local`, and so are the files.
"""

import asyncio
import logging
import math
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from isamap import __version__, logs
from isamap.engine import CLUSTER
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
SHORT_S = 0.005
"""What a future costs: a job that takes longer has its own, and what a worker has made is told before it begins more."""
SHARED_JOBS = 64
"""Most jobs of one future: what it costs is nothing for each of them, and what is sent in vain is little."""


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
                    silence_logs=logging.CRITICAL,  # a worker that we stop tells of a scheduler that it lost
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
    logging.getLogger("distributed").setLevel(logging.ERROR)  # it tells its every step
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
        self.is_own = how.scheduler is None
        self.log_settings = logs.settings() if self.is_own else None  # workers of others log as they like
        self.resources: dict[str, int] | None = None
        self.alive: set[str] = set()
        """Addresses of the workers that may be given jobs."""
        self.looked = -math.inf
        """When `alive` was asked for."""
        self.waiting = list(range(len(jobs)))[::-1]
        self.deaths = [0] * len(jobs)
        self.held: dict[str, tuple[Any, list[int]]] = {}
        """Future and its jobs by address of the worker."""
        self.fitting: dict[str, int] = {}
        """Jobs that a worker's next future may have, by address: many only after short ones."""
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
            future, share = self.held[address]
            if future.done() and future.status == "finished":
                continue  # it ended before its worker did: `_hear` will know
            del self.held[address]
            future.cancel(force=True)
            others = f" or one of the {len(share) - 1} after it" if len(share) > 1 else ""
            log.warning("a worker died (%s) on %s%s", address, self.jobs[share[0]], others)
            for index in reversed(share):
                self.deaths[index] += 1
                if self.deaths[index] >= MAX_DEATHS:
                    yield given_up(self.jobs[index])
                else:
                    self.waiting.append(index)

    def _hand_out(self) -> None:
        """Give every idle worker its next jobs."""
        workers = 1 if self.is_own else len(self.alive)
        for address in sorted(self.alive - set(self.held)):
            if not self.waiting:
                return
            even = math.ceil(len(self.waiting) / len(self.alive))
            share = self._next_share(min(even, self.fitting.get(address, 1)))
            jobs = [self.jobs[index] for index in share]
            future = self.client.submit(
                partial(_serve, __version__, self.log_settings, workers, jobs, self.work),
                workers=[address],
                pure=False,
                resources=self.resources,
            )
            self.held[address] = future, share
            future.add_done_callback(lambda done, address=address: self.ended.put((address, done)))

    def _next_share(self, most: int) -> list[int]:
        """The next job and those after it; none beside one whose worker has died, so that we know who did it."""
        share = [self.waiting.pop()]
        if self.deaths[share[0]]:
            return share
        while self.waiting and len(share) < most and not self.deaths[self.waiting[-1]]:
            share.append(self.waiting.pop())
        return share

    def _hear(self) -> Iterator[Outcome[Job, Result]]:
        """The outcomes of the next future that ends, if one does soon."""
        try:
            address, done = self.ended.get(timeout=POLL_S)
        except queue.Empty:
            return
        future, share = self.held.get(address, (None, []))
        if future is None or future.key != done.key:
            return  # of a worker that was buried
        del self.held[address]
        outcomes: list[Outcome[Job, Result]] = []
        try:
            outcomes, were_short = future.result(timeout=ANSWER_S)
            self.fitting[address] = SHARED_JOBS if were_short else 1
        except (TimeoutError, CancelledError):  # its worker died with it: what is finished is found finished
            log.warning("the answer about %s is lost: it is asked for again", self.jobs[share[0]])
            self.looked = -math.inf
        self.waiting += reversed(share[len(outcomes) :])
        yield from outcomes


def _serve(
    version: str,
    log_settings: tuple[int, str] | None,
    workers: int,
    jobs: Sequence[Job],
    work: Callable[[Job], Result],
) -> tuple[list[Outcome[Job, Result]], bool]:
    """Jobs on a worker, one after the other, up to and with the first that is not short.

    Args:
        version: of the client.
        log_settings: how to log, if that is for us to say.
        workers: of the cluster, if the command line does not have their number.
        jobs: to do.
        work: does one.

    Returns:
        Outcomes of those that were done, and whether all were short.

    Raises:
        ConfigError: the worker runs another isamap, whose maps would differ.
    """
    if version != __version__:
        raise ConfigError(f"a Dask worker runs isamap {__version__}, this is {version}: install the same")
    if log_settings:
        logs.configure(*log_settings)
    CLUSTER.set(workers)
    outcomes: list[Outcome[Job, Result]] = []
    for job in jobs:
        began = time.monotonic()
        outcomes.append(attempt(job, work))
        if time.monotonic() - began > SHORT_S:
            return outcomes, False
    return outcomes, True
