"""How patient the client is, and how fast it asks: so many requests a second, and none while a server begs for rest."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

SLICE_S = 0.5


@dataclass(frozen=True)
class Limits:
    """How long a server is waited for, and how often it is asked again."""

    total_s: float = 110.0
    """One request with all its attempts and waits."""
    connect_s: float = 10.0
    """Until one address of a server answers."""
    head_s: float = 30.0
    """From the start of an attempt until the head of its answer is there."""
    read_s: float = 20.0
    """Between two pieces of a body."""
    slow_s: float = 15.0
    """A body that brings less than `slow_bytes_s` over so long is given up."""
    slow_bytes_s: float = 1000.0
    """Bytes a second."""
    attempts: int = 10
    """Requests that a server may see for one."""
    forbidden: int = 4
    """Of these, such as are answered by 401 or 403: some servers say so when they mean `too many requests`."""
    backoff_s: float = 0.3
    """Wait before the second attempt; it doubles."""
    backoff_cap_s: float = 8.0
    """Longest such wait."""
    retry_after_cap_s: float = 30.0
    """A server that asks for a longer rest is asked again after so long."""
    redirects: int = 4
    """Followed in one attempt."""


@dataclass(frozen=True)
class Haste:
    """How soon a server that sends nothing at all is given up, where another one can be asked instead."""

    refused_s: float = 2.0
    """It takes no connection, or its name is unknown: asked again for so long."""
    silent_s: float = 20.0
    """It swallows what it is sent: all attempts and waits."""


@dataclass
class Clock:
    """The time of one request, all its attempts and waits."""

    total_s: float
    """From its beginning to its end."""
    haste: Haste | None = None
    """Shorter times, until the server is heard."""
    began: float = 0.0
    """time.monotonic() of the first attempt; 0 before it."""
    heard: bool = False
    """Whether anything came from the server, be it that it is busy."""

    def start(self) -> None:
        """An attempt begins."""
        self.began = self.began or time.monotonic()

    @property
    def until(self) -> float:
        """time.monotonic() at which the request ends."""
        return self.began + self.total_s

    @property
    def head_until(self) -> float:
        """time.monotonic() at which it ends unless something has come."""
        if self.heard or self.haste is None:
            return self.until
        return min(self.until, self.began + self.haste.silent_s)

    def allows(self, wait_s: float, *, reached: bool) -> bool:
        """Whether there is time for another attempt after a wait.

        Args:
            wait_s: seconds.
            reached: whether the last attempt got a connection.
        """
        end = self.head_until
        if not (reached or self.heard or self.haste is None):
            end = min(end, self.began + self.haste.refused_s)
        return time.monotonic() + wait_s < end


class Pace:
    """The pace of requests to each server, shared by all threads."""

    def __init__(self, rate_per_s: float, connections: int, stop: threading.Event) -> None:
        """Set the pace.

        Args:
            rate_per_s: requests a second to one server; 0: any number.
            connections: requests to one server at the same time.
            stop: ends every wait.
        """
        self._rate_per_s = rate_per_s
        self._connections = connections
        self._stop = stop
        self._slots: dict[str, threading.Semaphore] = {}
        self._next: dict[str, float] = {}
        self._rest: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, server: str, *, paced: bool) -> Iterator[None]:
        """This thread's turn, after waiting for it.

        Args:
            server: who will be asked.
            paced: whether the request counts for the rate.
        """
        with self._lock:
            slot = self._slots.setdefault(server, threading.Semaphore(self._connections))
        while not slot.acquire(timeout=SLICE_S) and not self._stop.is_set():
            pass
        try:
            self._wait(server, paced=paced)
            yield
        finally:
            slot.release()

    def _wait(self, server: str, *, paced: bool) -> None:
        if paced and self._rate_per_s:
            with self._lock:
                turn = max(time.monotonic(), self._next.get(server, 0.0))
                self._next[server] = turn + 1 / self._rate_per_s
            self._stop.wait(max(0.0, turn - time.monotonic()))
        while (rest := self._rest.get(server, 0.0) - time.monotonic()) > 0 and not self._stop.is_set():
            self._stop.wait(rest)

    def rest(self, server: str, seconds: float) -> None:
        """Nobody asks a server for a while: it said so."""
        with self._lock:
            self._rest[server] = max(self._rest.get(server, 0.0), time.monotonic() + seconds)
