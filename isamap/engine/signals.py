"""Signals that wait until threads have ended.

A handler that raises does so between any two instructions of the main thread: between the start of a thread
and the `try` that would join it, or inside that `finally`. The thread would then go on reading from files
that are being closed, and the process would end in a segmentation fault instead of its exit code.
"""

import os
import signal
import threading
import time
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
    states = {"asked": False, "over": False}

    def ask() -> None:
        states["asked"] = True

    def watch() -> None:
        while not states["over"] and not states["asked"]:
            time.sleep(POLL_S)
        if states["asked"]:
            end()

    with held_signals(ask):
        watcher = threading.Thread(target=watch, name="isamap-signals", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            states["over"] = True
            watcher.join()
