"""What the loopback servers share: threads that end, a log of every request, faults by seeded probability.

Whether a request is struck depends on the seed, the address, the range and how often that same request came
before: never on the order in which threads ask. Two runs that ask for the same see the same faults.
"""

import hashlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

STATUS_FAULTS = ("429", "500", "502", "503", "504")
BODY_FAULTS = ("reset", "short", "stall", "trickle", "html", "403", "wrong-range", "no-range")
FAULTS = (*STATUS_FAULTS, *BODY_FAULTS)
"""Every kind of fault. `429` carries Retry-After; `reset` is a TCP RST instead of an answer; `short` ends half way
through the body, `stall` says nothing more half way through, `trickle` sends 1 byte a second, `html` is a page with
status 200, `403` what an expired signature gets, `wrong-range` answers with other bytes than asked, and says so,
`no-range` ignores the Range header and sends the whole file with 200."""
TRANSIENT = tuple(fault for fault in FAULTS if fault not in ("trickle", "no-range"))
"""Those that a second try cures and that are no slower than a time-out."""

HTML = b"<!DOCTYPE html><html><head><title>Service unavailable</title></head><body>Sorry.</body></html>\n"
PIECE = 1 << 18


@dataclass(frozen=True)
class Faults:
    """Which requests go wrong."""

    rates: Mapping[str, float] = field(default_factory=dict)
    """Probability by kind; their sum is at most 1."""
    seed: int = 0
    """Of the draw."""
    in_a_row: int | None = None
    """The same request is struck at most so many times, then answered; None: no limit."""
    retry_after_s: float = 0
    """What a 429 asks for; whole seconds on the wire."""
    pause_s: float = 600
    """How long a stalled body stays silent before the connection ends."""

    @classmethod
    def share(cls, share: float, kinds: Sequence[str] = TRANSIENT, **more: Any) -> Self:
        """A share of all requests fails, kinds evenly."""
        return cls({kind: share / len(kinds) for kind in kinds}, **more)

    def strike(self, request: str, attempt: int) -> str | None:
        """Kind of fault that the n-th coming of a request meets, counted from 0."""
        if self.in_a_row is not None:
            earlier = (self._drawn(request, index) for index in range(attempt - self.in_a_row, attempt))
            if attempt >= self.in_a_row and all(earlier):
                return None
        return self._drawn(request, attempt)

    def _drawn(self, request: str, attempt: int) -> str | None:
        digest = hashlib.sha256(f"{self.seed}|{request}|{attempt}".encode()).digest()
        (drawn,) = struct.unpack("<Q", digest[:8])
        mark = drawn / 2**64
        for kind, rate in self.rates.items():
            if mark < rate:
                return kind
            mark -= rate
        return None


@dataclass(frozen=True)
class Request:
    """One line of a server's log."""

    method: str
    """GET, HEAD, POST, ..."""
    path: str
    """Without the query."""
    query: str
    """As sent."""
    range: str | None
    """The Range header."""
    headers: Mapping[str, str]
    """All of them, names in lower case."""
    body: bytes
    """What a POST carried."""
    began: float
    """time.monotonic()."""
    attempt: int
    """How often the same method, path and range came before."""
    fault: str | None = None
    """Kind that struck it."""

    @property
    def values(self) -> dict[str, str]:
        """Parameters of the query."""
        return {key: values[-1] for key, values in parse_qs(self.query, keep_blank_values=True).items()}


@dataclass(frozen=True)
class Answer:
    """What a server says."""

    status: int = 200
    """HTTP status."""
    body: bytes = b""
    """Content."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides Content-Length."""

    @classmethod
    def json(cls, document: Any, status: int = 200) -> Self:
        """A JSON document."""
        return cls(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 256
    owner: "LoopbackServer"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is everyday; anything else is kept for the test to see."""
        import sys

        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError) and error is not None:
            self.owner.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.owner._opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            pass  # the other side, or the end of the test, closed it
        finally:
            self.server.owner._closed(self.connection)

    def log_message(self, *_: Any) -> None:
        pass

    def _any(self) -> None:
        self.server.owner._handle(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PROPFIND = _any  # noqa: N815


class LoopbackServer:
    """An HTTP server on 127.0.0.1 and a free port, answering in threads that end with it.

    Subclasses say what they answer in `respond`; latency, faults and the log are here.
    """

    def __init__(self, *, faults: Faults | None = None, latency_s: float = 0) -> None:
        self.faults = faults or Faults()
        self.latency_s = latency_s
        self.permanent: dict[str, str] = {}
        """Kind of fault that every request for a path meets, for ever (a path that ends in * is a prefix)."""
        self.errors: list[BaseException] = []
        """Faults of the server itself: a test that ends with some has found a bug here."""
        self._log: list[Request] = []
        self._seen: Counter[str] = Counter()
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="scenery")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._sockets:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        if self.errors:
            raise self.errors[0]

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order of their coming."""
        with self._lock:
            return list(self._log)

    @property
    def hits(self) -> int:
        """How many requests came."""
        return len(self._log)

    @property
    def struck(self) -> Counter[str]:
        """Faults that struck, by kind."""
        return Counter(request.fault for request in self.requests if request.fault)

    def forget(self) -> None:
        """An empty log, and attempts counted from 0 again."""
        with self._lock:
            self._log.clear()
            self._seen.clear()

    def respond(self, request: Request) -> Answer:
        """What is answered to a request that no fault strikes."""
        raise NotImplementedError

    def _opened(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.add(connection)
            if self._stop.is_set():
                connection.shutdown(socket.SHUT_RDWR)

    def _closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(connection)

    def _handle(self, handler: _Handler) -> None:
        request = self._noted(handler)
        if self.latency_s:
            self._stop.wait(self.latency_s)
        try:
            _FAULTY.get(request.fault or "", type(self)._answer)(self, handler, request)
            handler.wfile.flush()
        except OSError:
            handler.close_connection = True  # the client gave up: that is its right

    def _noted(self, handler: _Handler) -> Request:
        parts = urlsplit(handler.path)
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length) if length else b""
        asked = handler.headers.get("Range")
        identity = f"{handler.command} {parts.path} {asked} {hashlib.sha256(body).hexdigest()[:16]}"
        with self._lock:
            attempt = self._seen[identity]
            self._seen[identity] += 1
            fault = self._always(parts.path) or self.faults.strike(identity, attempt)
            request = Request(
                method=handler.command,
                path=parts.path,
                query=parts.query,
                range=asked,
                headers={name.lower(): value for name, value in handler.headers.items()},
                body=body,
                began=time.monotonic(),
                attempt=attempt,
                fault=fault,
            )
            self._log.append(request)
        return request

    def _always(self, path: str) -> str | None:
        for pattern, kind in self.permanent.items():
            if path == pattern or (pattern.endswith("*") and path.startswith(pattern[:-1])):
                return kind
        return None

    def _send(self, handler: _Handler, request: Request, answer: Answer) -> None:
        self._head(handler, answer)
        if request.method != "HEAD":
            handler.wfile.write(answer.body)

    def _head(self, handler: _Handler, answer: Answer) -> None:
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        if "Content-Length" not in answer.headers:
            handler.send_header("Content-Length", str(len(answer.body)))
        handler.end_headers()

    def _answer(self, handler: _Handler, request: Request) -> None:
        self._send(handler, request, self.respond(request))

    def _refuse(self, handler: _Handler, request: Request) -> None:
        more = {"Retry-After": f"{self.faults.retry_after_s:.0f}"} if request.fault == "429" else {}
        body = f"fault {request.fault}\n".encode()
        self._send(
            handler, request, Answer(int(request.fault or 0), body, {"Content-Type": "text/plain"} | more)
        )

    def _reset(self, handler: _Handler, _: Request) -> None:
        linger_0_s = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_0_s)
        handler.close_connection = True
        with self._lock:
            self._sockets.discard(handler.connection)
        handler.connection.close()

    def _half(self, handler: _Handler, request: Request) -> None:
        answer = self.respond(request)
        self._head(handler, answer)
        handler.wfile.write(answer.body[: len(answer.body) // 2])
        handler.wfile.flush()
        if request.fault == "stall":
            self._silence(handler)
        handler.close_connection = True

    def _silence(self, handler: _Handler) -> None:
        """Nothing, until the client goes, the pause is over or the server ends."""
        handler.connection.settimeout(0.2)
        until = time.monotonic() + self.faults.pause_s
        while time.monotonic() < until and not self._stop.is_set():
            try:
                if not handler.connection.recv(1):
                    return
            except TimeoutError:
                continue

    def _trickle(self, handler: _Handler, request: Request) -> None:
        answer = self.respond(request)
        self._head(handler, answer)
        handler.close_connection = True
        for index in range(len(answer.body)):
            handler.wfile.write(answer.body[index : index + 1])
            handler.wfile.flush()
            if self._stop.wait(1):
                return

    def _page(self, handler: _Handler, request: Request) -> None:
        self._send(handler, request, Answer(200, HTML, {"Content-Type": "text/html; charset=utf-8"}))

    def _forbidden(self, handler: _Handler, request: Request) -> None:
        self._send(handler, request, forbidden())

    def _other_range(self, handler: _Handler, request: Request) -> None:
        from dataclasses import replace

        asked = request.range
        if asked is None:
            return self._answer(handler, request)
        first, last = (int(text) if text else None for text in asked.removeprefix("bytes=").split("-"))
        moved = f"bytes={(first or 0) + 16}-{'' if last is None else last + 16}"
        answer = self.respond(replace(request, range=moved))
        if answer.status != 206:  # past the end: the same file's first bytes are as wrong
            answer = self.respond(replace(request, range="bytes=0-15"))
        self._send(handler, request, answer)
        return None

    def _whole(self, handler: _Handler, request: Request) -> None:
        from dataclasses import replace

        self._send(handler, request, self.respond(replace(request, range=None)))


def forbidden() -> Answer:
    """What Azure says to an expired signature."""
    body = (
        b'<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>Server failed to '
        b"authenticate the request. Signature not valid in the specified time frame.</Message></Error>"
    )
    return Answer(403, body, {"Content-Type": "application/xml"})


_FAULTY: dict[str, Callable[[LoopbackServer, _Handler, Request], None]] = {
    **dict.fromkeys(STATUS_FAULTS, LoopbackServer._refuse),
    "404": LoopbackServer._refuse,
    "reset": LoopbackServer._reset,
    "short": LoopbackServer._half,
    "stall": LoopbackServer._half,
    "trickle": LoopbackServer._trickle,
    "html": LoopbackServer._page,
    "403": LoopbackServer._forbidden,
    "wrong-range": LoopbackServer._other_range,
    "no-range": LoopbackServer._whole,
}
