"""Signals that wait until threads have ended.

A handler that raises does so between any two instructions of the main thread: between the start of a thread
and the `try` that would join it, or inside that `finally`. The thread would then go on reading from files
that are being closed, and the process would end in a segmentation fault instead of its exit code.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HELD = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def held_signals(wake: Callable[[], None]) -> Iterator[None]:
    """Keep SIGTERM and SIGINT back until the block has ended, then hand them to their handlers.

    Only the main thread receives signals; elsewhere this does nothing, nor with signals that are ignored or
    end the process anyway. A second signal ends it at once.

    Args:
        wake: called when the first one arrives: ask the block to come to its end. It must take no lock, which
            the interrupted thread may hold, and may raise only what the block there expects.

    Raises:
        Whatever the signal's handler raises, once the block has ended.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def hold(signum: int, _: FrameType | None) -> None:
        if arrived:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        arrived.append(signum)
        wake()

    before = {number: handler for number in HELD if callable(handler := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, hold)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if arrived:
            signal.raise_signal(arrived[0])
            raise KeyboardInterrupt  # its handler would go on, but the block was cut short


POLL_S = 0.1


@contextmanager
def ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """Keep SIGTERM and SIGINT back from a block that waits for other threads, and end it when one arrives.

    Args:
        end: makes the block end soon, in whatever way; called on a thread of its own, so that it may take locks.

    Raises:
        Whatever the signal's handler raises, once the block has ended.
    """
    over = threading.Event()
    asked: list[bool] = []  # the handler must take no lock, an event has one

    def watch() -> None:
        while not asked and not over.wait(POLL_S):
            pass
        if asked:
            end()

    with held_signals(lambda: asked.append(True)):
        watcher = threading.Thread(target=watch, name="isamap-signals", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()
