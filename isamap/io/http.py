"""The only client that asks servers for anything: retries, time limits, byte limits and allowed hosts are here.

One request is one promise: it is answered, or refused with a reason, within `Limits.total_s`, and the server sees it
at most `Limits.attempts` times (each redirect is a request more). Nothing else in isamap asks again.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urljoin

import urllib3

from isamap.domain.sources import Source
from isamap.errors import BusyError, InputError, RemoteError
from isamap.io.answers import (
    Again,
    Answer,
    Changed,
    Forbidden,
    Head,
    Refused,
    Signer,
    Unanswered,
    Wanted,
    fault_of,
    judge,
    parsed,
    pieces,
)
from isamap.io.hosts import Place, Policy, policy_of, shown
from isamap.io.pace import Clock, Limits, Pace
from isamap.io.wire import Call, Pools, Watch

__all__ = ["Answer", "Changed", "Client", "Limits", "Refused", "Signer", "Unanswered", "client_of", "shown"]

log = logging.getLogger(__name__)

LIMITS = Limits()
SMALL = 1 << 14
"""An error page of at most so many bytes is read, so that its connection can be used again."""


class Client:
    """Asks the servers of one source. Any thread may use it."""

    def __init__(
        self,
        policy: Policy,
        limits: Limits = LIMITS,
        *,
        rate_per_s: float = 0,
        connections: int = 16,
    ) -> None:
        """Prepare; nothing is asked yet.

        Args:
            policy: where requests may go.
            limits: how long a server is waited for, and how often it is asked.
            rate_per_s: documents a second, of each server; byte ranges do not count. 0: any number.
            connections: to one server at the same time.
        """
        self.policy = policy
        """Where requests may go."""
        self.limits = limits
        """How long and how often."""
        self.connections = connections
        """To one server at the same time."""
        self.requests = 0
        """Sent so far, repetitions and redirects among them."""
        self.received = 0
        """Bytes of bodies so far."""
        self._pools = Pools(connections)
        self._watch = Watch()
        self._stop = threading.Event()
        self._pace = Pace(rate_per_s, connections, self._stop)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut what is on its way, and let nothing more out."""
        self._stop.set()
        self._watch.close()
        self._pools.close()

    def get_range(
        self,
        href: str,
        span: tuple[int, int],
        *,
        signer: Signer | None = None,
        known: Answer | None = None,
        whole: int = 0,
    ) -> Answer:
        """Some bytes of a file.

        Args:
            href: unsigned address.
            span: first byte and the one after the last; the end may lie beyond the file's.
            signer: of the source.
            known: an earlier answer: the file must still be the same.
            whole: a server that ignores ranges is listened to if the file has at most so many bytes.

        Raises:
            InputError: the address is not allowed.
            Changed: the file is not the one that is known.
            RemoteError: the server refuses.
            BusyError: it does not answer properly, however often it is asked.
        """
        most = max(whole, span[1] - span[0])
        return self._ask(Wanted(href, most, span=span, known=known, signer=signer))

    def get_json(
        self, url: str, most: int, document: Any = None, clock: Clock | None = None
    ) -> tuple[Any, Answer]:
        """A JSON document and the answer it came in.

        Args:
            url: its address.
            most: bytes it may have.
            document: what is sent with POST; None for GET.
            clock: times shorter than what the limits allow.

        Raises:
            InputError: the address is not allowed.
            Refused: with a final HTTP status.
            RemoteError: the server sends no JSON, or more than `most` bytes.
            BusyError: it does not answer properly, however often it is asked; Unanswered: it does not at all.
        """
        method, body = ("GET", None) if document is None else ("POST", json.dumps(document).encode())
        found: list[Any] = []
        answer = self._ask(
            Wanted(url, most, method, body, clock=clock),
            lambda answer: found.append(_document(url, answer.body)),
        )
        return found[-1], answer

    def _ask(self, wanted: Wanted, check: Callable[[Answer], None] | None = None) -> Answer:
        clock, forbidden, attempt = wanted.clock or Clock(self.limits.total_s), 0, 0
        while True:
            url = wanted.signer.sign(wanted.href) if wanted.signer else wanted.href
            place = self.policy.check(url)
            try:
                with self._pace.turn(place.server, paced=wanted.span is None):
                    # Counted from here: our own queue is not the server's fault.
                    clock.start()
                    attempt += 1
                    answer = self._follow(wanted, place, clock)
                if check:
                    check(answer)
            except Again as again:
                fault = again
            else:
                return answer
            clock.heard |= fault.kind is not Unanswered
            log.debug("%s: attempt %d: %s", shown(wanted.href), attempt, fault)
            if isinstance(fault, Forbidden):
                forbidden += 1
                if wanted.signer:
                    wanted.signer.refused(url)
            if forbidden >= self.limits.forbidden or not self._rest(place, attempt, fault, clock):
                raise fault.kind(f"{shown(wanted.href)}: {fault} (asked {attempt} times)") from fault

    def _rest(self, place: Place, attempt: int, fault: Again, clock: Clock) -> bool:
        """Wait before the next attempt; False if there is none."""
        limits = self.limits
        wait_s = min(limits.backoff_cap_s, limits.backoff_s * 2 ** (attempt - 1))
        wait_s *= random.uniform(0.5, 1.0)  # noqa: S311  # so that threads do not come back all at once
        if fault.wait_s is not None:
            wait_s = min(fault.wait_s, limits.retry_after_cap_s)
            self._pace.rest(place.server, wait_s)
        if attempt >= limits.attempts or not clock.allows(wait_s, reached=fault.reached):
            return False
        return self.sleep(wait_s)

    def sleep(self, seconds: float) -> bool:
        """Wait; False as soon as the client is closed."""
        return not self._stop.wait(seconds)

    def _follow(self, wanted: Wanted, place: Place, clock: Clock) -> Answer:
        """One attempt, redirects included."""
        for _ in range(self.limits.redirects + 1):
            found = self._attempt(wanted, place, clock)
            if isinstance(found, Answer):
                return found
            try:
                place = self.policy.check(urljoin(place.url, found))
            except (InputError, ValueError) as error:
                raise RemoteError(
                    f"{shown(wanted.href)}: sends on to where nothing is asked: {error}"
                ) from error
        raise RemoteError(f"{shown(wanted.href)}: sends on more than {self.limits.redirects} times")

    def _attempt(self, wanted: Wanted, place: Place, clock: Clock) -> Answer | str:
        """The answer, or where it sends on to."""
        limits, now = self.limits, time.monotonic()
        if self._stop.is_set():
            raise BusyError(f"{shown(wanted.href)}: not asked for: the run ends")
        with self._lock:
            self.requests += 1
        call = Call(place, min(clock.head_until, now + limits.head_s))
        timeout = urllib3.Timeout(
            connect=min(limits.connect_s, max(0.01, call.until - now)), read=limits.read_s
        )
        response = None
        try:
            with self._watch.over(call):
                response = self._pools.send(call, wanted.method, wanted.document, wanted.headers, timeout)
                call.until, clock.heard = clock.until, True
                try:
                    found = self._received(wanted, response)
                except Again:
                    if not call.cut:
                        raise
                if call.cut:  # the end of the connection must not pass for the end of an answer
                    raise Again("did not answer in time")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise fault_of(
                error, wanted.href, cut=call.cut, reached=call.reached, heard=clock.heard
            ) from error
        finally:
            if response is not None:
                response.close()
        return found

    def _received(self, wanted: Wanted, response: urllib3.BaseHTTPResponse) -> Answer | str:
        try:
            found = judge(wanted, response)
            if isinstance(found, Head):
                return found.answer(self._body(wanted, response))
        except (Again, RemoteError):
            self._finish(response)
            raise
        self._finish(response)
        return found

    def _body(self, wanted: Wanted, response: urllib3.BaseHTTPResponse) -> bytes:
        parts, got = [], 0
        for piece in pieces(response, self.limits.slow_s, self.limits.slow_bytes_s):
            parts.append(piece)
            got += len(piece)
            if got > wanted.most:
                raise RemoteError(f"{shown(wanted.href)}: sends more than {wanted.most} bytes")
        with self._lock:
            self.received += got
        return b"".join(parts)

    def _finish(self, response: urllib3.BaseHTTPResponse) -> None:
        """Read the little that an answer nobody wants still holds."""
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) <= SMALL:
            with suppress(urllib3.exceptions.HTTPError, OSError):
                response.read(SMALL)


def _document(url: str, body: bytes) -> Any:
    try:
        return parsed(body)
    except RemoteError as error:
        raise RemoteError(f"{shown(url)}: {error}") from error


def client_of(
    source: Source,
    limits: Limits = LIMITS,
    *,
    named: Iterable[str] = (),
    endpoint: str = "",
    share: int = 1,
) -> Client:
    """Client for the servers of a source.

    Its `requests_per_s` holds for its catalogue and signatures. Byte ranges come from object stores, which count
    thousands a second; there the number of connections and their own `429` set the pace.

    Args:
        source: whose servers.
        limits: how long and how often.
        named: `host` or `host:port` of more servers that the user named.
        endpoint: address of the user's own S3 server.
        share: processes that ask side by side.
    """
    return Client(
        policy_of(source, named, endpoint),
        limits,
        rate_per_s=source.requests_per_s / share,
        connections=max(1, source.connections // share),
    )
