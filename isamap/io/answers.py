"""What an answer of a server is worth: the bytes that were asked for, a reason to ask again, or a refusal."""

import json
import re
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import urllib3

from isamap import __version__
from isamap.errors import BusyError, IsamapError, RemoteError
from isamap.io.hosts import shown
from isamap.io.pace import Clock

TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_SECONDS = re.compile(r"\d{1,9}", re.ASCII)
_PAGE = re.compile(rb"\s*<(?:!doctype html|html|head|body)", re.IGNORECASE)


class Signer(Protocol):
    """Makes the address that is asked for from the one that is stored."""

    def sign(self, href: str) -> str:
        """The address with a signature that holds now."""

    def refused(self, url: str) -> None:
        """Take note that a signed address was refused."""


class Changed(RemoteError):  # noqa: N818  # says what happened
    """The file is another one than when it was first asked for."""


class Unanswered(BusyError):  # noqa: N818
    """Nothing came from the server: no connection, or no answer in time."""


class Refused(RemoteError):  # noqa: N818
    """A final HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        """The status."""

    def __reduce__(self) -> tuple[type["Refused"], tuple[int, str]]:
        """Workers hand it to the process that started them."""
        return type(self), (self.status, str(self))


class Again(Exception):  # noqa: N818  # not a failure yet
    """An attempt failed, another one may not."""

    def __init__(
        self,
        reason: str,
        *,
        kind: type[IsamapError] = BusyError,
        wait_s: float | None = None,
        reached: bool = True,
    ) -> None:
        super().__init__(reason)
        self.kind = kind
        """What is raised if it was the last attempt."""
        self.wait_s = wait_s
        """How long the server asked to be left alone."""
        self.reached = reached
        """Whether there was a connection."""


class Forbidden(Again):
    """The signature does not hold, or the server wants to be left alone."""


@dataclass(frozen=True)
class Answer:
    """What a server sent."""

    body: bytes
    """Whole, and as long as promised."""
    begin: int = 0
    """Offset of the body in the file."""
    total: int = 0
    """Bytes of the file; 0 if nobody said."""
    etag: str = ""
    """Of the file; empty if there is none."""
    date: float | None = None
    """The server's clock, seconds since 1970."""


@dataclass(frozen=True)
class Wanted:
    """One request."""

    href: str
    """Unsigned address."""
    most: int
    """Bytes a body may have."""
    method: str = "GET"
    """GET or POST."""
    document: bytes | None = None
    """What a POST carries."""
    span: tuple[int, int] | None = None
    """First byte and the one after the last."""
    known: Answer | None = None
    """An earlier answer: the file must still be the same."""
    signer: Signer | None = None
    """Signs the address anew for every attempt."""
    clock: Clock | None = None
    """The time it has, where that is less than usual."""

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers. No compression: bodies are counted in bytes as they come."""
        headers = {"User-Agent": f"isamap/{__version__}", "Accept-Encoding": "identity"}
        if self.span:
            headers["Range"] = f"bytes={self.span[0]}-{self.span[1] - 1}"
            if self.known and self.known.etag.startswith('"'):  # a weak one never matches
                headers["If-Match"] = self.known.etag
        else:
            headers["Accept"] = "application/geo+json, application/json"
        if self.document is not None:
            headers["Content-Type"] = "application/json"
        return headers


@dataclass(frozen=True)
class Head:
    """The head of an answer that may be what was asked for."""

    begin: int
    """Offset of the body in the file."""
    length: int | None
    """Bytes of the body; None if it ends when it ends."""
    total: int
    """Bytes of the file; 0 if nobody said."""
    etag: str
    """As sent."""
    date: float | None
    """The server's clock, seconds since 1970."""

    def answer(self, body: bytes) -> Answer:
        """The whole answer.

        Raises:
            Again: it is shorter than promised, or a web page.
        """
        if self.length is not None and len(body) != self.length:
            raise Again(f"ended after {len(body)} of {self.length} bytes")
        if _PAGE.match(body[:200]):
            raise Again("answered with a web page", kind=RemoteError)
        return Answer(body, self.begin, self.total or len(body), self.etag, self.date)


def judge(wanted: Wanted, response: urllib3.BaseHTTPResponse) -> Head | str:
    """What the head of an answer promises, or the address it sends on to.

    Raises:
        Again, Changed, RemoteError: it is not what was asked for.
    """
    status, headers = response.status, response.headers
    if status in REDIRECTS:
        location = headers.get("Location", "")
        if not location or (wanted.method == "POST" and status not in (307, 308)):
            raise RemoteError(f"{shown(wanted.href)}: HTTP {status} instead of an answer to {wanted.method}")
        return location
    if status in TRANSIENT:
        raise Again(f"HTTP {status}", wait_s=_retry_after(headers.get("Retry-After", "")))
    if status in (401, 403):
        raise Forbidden(f"HTTP {status}: access refused", kind=RemoteError)
    if status == 412 or (status == 416 and wanted.known):
        raise Changed(f"{shown(wanted.href)}: was replaced while it was read")
    if status not in (200, 206):
        raise Refused(status, f"{shown(wanted.href)}: HTTP {status}")
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() == "text/html":
        raise Again("answered with a web page", kind=RemoteError)
    if headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise RemoteError(f"{shown(wanted.href)}: is sent compressed, which was not asked for")
    head = _part(wanted, response) if wanted.span and status == 206 else _whole(wanted, response)
    _check_same(wanted, head)
    return head


def _part(wanted: Wanted, response: urllib3.BaseHTTPResponse) -> Head:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None or wanted.span is None:
        raise Again("sent part of the file without saying which", kind=RemoteError)
    begin, last, total = (int(text) for text in match.groups())
    if (begin, last + 1) != (wanted.span[0], min(wanted.span[1], total)):
        raise Again(
            f"sent bytes {begin}-{last} instead of {wanted.span[0]}-{wanted.span[1] - 1}", kind=RemoteError
        )
    return Head(begin, last + 1 - begin, total, *_marks(response))


def _whole(wanted: Wanted, response: urllib3.BaseHTTPResponse) -> Head:
    text = response.headers.get("Content-Length", "")
    length = int(text) if _SECONDS.fullmatch(text) else None
    if length is not None and length > wanted.most:
        ignored = "ignores byte ranges and " if wanted.span else ""
        raise RemoteError(
            f"{shown(wanted.href)}: {ignored}sends {length} bytes, more than {wanted.most} are not taken"
        )
    if wanted.span and length is None and not response.chunked:
        raise Again("sent a file without saying how long it is", kind=RemoteError)
    return Head(0, length, length or 0, *_marks(response))


def _marks(response: urllib3.BaseHTTPResponse) -> tuple[str, float | None]:
    """ETag and the server's clock."""
    etag = response.headers.get("ETag", "")
    try:
        date = parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return etag[:200], None
    return etag[:200], date


def _check_same(wanted: Wanted, head: Head) -> None:
    known = wanted.known
    if known and ((head.total and head.total != known.total) or head.etag != known.etag):
        raise Changed(f"{shown(wanted.href)}: was replaced while it was read")


def _retry_after(text: str) -> float | None:
    """Seconds that a server asks for, as a number or a date."""
    if _SECONDS.fullmatch(text.strip()):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def fault_of(error: Exception, url: str, *, cut: bool, reached: bool, heard: bool) -> Again | RemoteError:
    """What a failed attempt means: whether its time was over, there was a connection, the server ever said anything."""
    inner: BaseException = error
    while isinstance(inner, urllib3.exceptions.HTTPError) and (deeper := _inside(inner)):
        inner = deeper
    if isinstance(inner, ssl.SSLCertVerificationError):
        return RemoteError(f"{shown(url)}: its certificate does not hold: {inner.verify_message}")
    if cut or isinstance(inner, TimeoutError | urllib3.exceptions.TimeoutError):
        return Again("did not answer in time", kind=BusyError if heard else Unanswered, reached=reached)
    if not reached:
        return Again(f"takes no connection ({_name(inner)})", kind=Unanswered, reached=False)
    return Again(f"connection broke ({_name(inner)})")


def _inside(error: BaseException) -> BaseException | None:
    """What an urllib3 error wraps."""
    candidates = (*error.args, error.__cause__, error.__context__)
    return next((one for one in candidates if isinstance(one, BaseException) and one is not error), None)


def _name(error: BaseException) -> str:
    """Kind of an error, and the system's words for it: never its text, in which an address may stand."""
    words = getattr(error, "strerror", None)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def pieces(response: urllib3.BaseHTTPResponse, slow_s: float, slow_bytes_s: float) -> Iterator[bytes]:
    """The body as it comes.

    Raises:
        Again: it comes too slowly.
    """
    since, got = time.monotonic(), 0
    while piece := response.read1(1 << 18, decode_content=False):
        yield piece
        got += len(piece)
        now = time.monotonic()
        if now - since >= slow_s:
            if got < slow_bytes_s * (now - since):
                raise Again(f"sent {got} bytes in {now - since:.0f} s")
            since, got = now, 0


def parsed(body: bytes) -> Any:
    """The JSON document.

    Raises:
        Again: it is none.
        RemoteError: it is built to break its reader.
    """
    try:
        return json.loads(body)
    except RecursionError as error:
        raise RemoteError("answered with JSON too deep to read") from error
    except ValueError as error:
        raise Again("answered with something that is no JSON", kind=RemoteError) from error
