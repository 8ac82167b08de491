"""The streaming pipeline: a reader thread, the computation on the calling thread, a writer thread.

Queues are bounded, so memory is bounded by a few windows whatever the size of the raster. The computation
stays on the calling thread: that is where signals arrive and where torch's allocator keeps its pages.
"""

import queue
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from isamap.engine.signals import held_signals

Job = TypeVar("Job")
Read = TypeVar("Read")
Made = TypeVar("Made")

POLL_S = 0.2
"""How long a blocked thread waits before it looks whether the others have stopped."""


class _Stopped(Exception):  # noqa: N818  # a signal between threads, not an error
    """The other side of a queue has ended."""


class _Stop:
    """Asks everyone to stop. A `threading.Event` would lock itself out when a signal's handler sets it."""

    asked = False
    computing = False
    """Whether the calling thread computes, which a signal may break off: a window takes a minute on a starved machine."""

    def ask(self) -> None:
        self.asked = True

    def signalled(self) -> None:
        """Called in a signal's handler, thus on the calling thread."""
        self.asked = True
        if self.computing:
            raise _Stopped


class _Channel(Generic[Read]):
    """A bounded queue that can be closed from either side; closing with an error hands it over."""

    def __init__(self, size: int, stop: _Stop) -> None:
        self._queue: queue.Queue[tuple[bool, Read | None]] = queue.Queue(size)
        self._stop = stop

    def put(self, value: Read) -> None:
        self._put((True, value))

    def end(self) -> None:
        self._put((False, None))

    def _put(self, entry: tuple[bool, Read | None]) -> None:
        while not self._stop.asked:
            try:
                return self._queue.put(entry, timeout=POLL_S)
            except queue.Full:
                continue
        raise _Stopped

    def get(self) -> Read:
        while not self._stop.asked:
            try:
                more, value = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if more:
                return value  # type: ignore[return-value]  # an entry with `more` carries a value
            break
        raise _Stopped


class _Worker(threading.Thread):
    """A thread that remembers why it failed and stops the others."""

    def __init__(self, work: Callable[[], None], stop: _Stop, name: str) -> None:
        super().__init__(name=f"isamap-{name}", daemon=True)
        self._work, self._stop_all = work, stop
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except _Stopped:
            pass
        except BaseException as fault:  # noqa: BLE001  # handed to the calling thread, which raises it
            self.fault = fault
            self._stop_all.ask()


def stream(
    jobs: Iterable[Job],
    read: Callable[[Job], Read],
    compute: Callable[[Read], Made],
    write: Callable[[Made], None],
    *,
    ahead: int = 2,
) -> None:
    """Run every job through `read`, `compute` and `write`, in order, each on its own thread.

    Args:
        jobs: what to do; consumed by the reader thread.
        read: on the reader thread.
        compute: on the calling thread.
        write: on the writer thread.
        ahead: how many results may wait in each queue.

    Raises:
        Whatever a stage or a signal's handler raised; the stages have ended by then.
    """
    stop = _Stop()
    inputs: _Channel[Read] = _Channel(ahead, stop)
    outputs: _Channel[Made] = _Channel(ahead, stop)

    def reading() -> None:
        for job in jobs:
            inputs.put(read(job))
        inputs.end()

    def writing() -> None:
        while True:
            write(outputs.get())

    threads = [_Worker(reading, stop, "reader"), _Worker(writing, stop, "writer")]
    with held_signals(stop.signalled):
        for thread in threads:
            thread.start()
        try:
            _pump(inputs, outputs, compute, stop)
            threads[1].join()
        finally:
            stop.ask()
            for thread in threads:
                thread.join()
    for thread in threads:
        if thread.fault is not None:
            raise thread.fault


def _pump(
    inputs: _Channel[Read], outputs: _Channel[Made], compute: Callable[[Read], Made], stop: _Stop
) -> None:
    """Compute until the inputs end, a thread stops the others, or a signal everybody."""
    try:
        while True:
            read = _next(inputs, outputs)
            try:
                stop.computing = True
                made = compute(read)
            finally:
                stop.computing = False
            outputs.put(made)
    except _Stopped:
        return


def _next(inputs: _Channel[Read], outputs: _Channel[Made]) -> Read:
    """The next input; tells the writer when there is none."""
    try:
        return inputs.get()
    except _Stopped:
        outputs.end()
        raise
