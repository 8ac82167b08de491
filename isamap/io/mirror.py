"""Local stand-in of a remote file, in which only the parts lie that were asked for.

GDAL never uses the network: bytes come through the client, are put where they belong in a sparse temporary file, and
GDAL decodes them from there. A hole in it reads as zeros; `asset._blocks` therefore names every byte that GDAL will touch.
The file has no name, so that nothing is left of it whatever happens.
"""

import bisect
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from isamap.errors import RemoteError
from isamap.io.header import FIRST_BYTES, STEP_BYTES, Span
from isamap.io.http import Answer, Client, Signer, shown
from isamap.io.locks import storage_errors

GAP_BYTES = 64 << 10
"""Ranges that lie closer together are one request: so much comes in less time than another request takes."""
RANGE_BYTES = 4 << 20
"""Of one request at most: memory, and what is lost when it breaks."""
WHOLE_BYTES = 32 << 20
"""A server that ignores byte ranges is listened to up to this size."""


def merged(spans: Iterable[Span], gap: int = GAP_BYTES, most: int = RANGE_BYTES) -> list[Span]:
    """Ranges in order, those near each other joined as long as they stay small, long ones cut."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1] + gap and max(end, joined[-1][1]) - joined[-1][0] <= most:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        elif joined and begin < joined[-1][1]:
            if end > joined[-1][1]:
                joined.append((joined[-1][1], end))
        else:
            joined.append((begin, end))
    return [
        (cut, min(cut + most, end))
        for begin, end in joined
        for cut in range(begin, max(end, begin + 1), most)
    ]


class Mirror:
    """Parts of one remote file. Use it in `with`, in one thread."""

    def __init__(self, href: str, client: Client, signer: Signer) -> None:
        self.href = href
        """Unsigned address."""
        self._client = client
        self._signer = signer
        self._file = -1
        self._have: list[Span] = []
        self.known: Answer | None = None
        """What the first answer said of the file; later ones must agree."""

    def __enter__(self) -> Self:
        with storage_errors(Path(tempfile.gettempdir())), tempfile.TemporaryFile(prefix="isamap-") as file:
            self._file = os.dup(file.fileno())
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    @property
    def path(self) -> Path:
        """Where GDAL finds it."""
        return Path(f"/proc/self/fd/{self._file}")

    @property
    def total(self) -> int:
        """Bytes of the file."""
        return self.known.total if self.known else 0

    def begin(self, parts: Sequence[tuple[int, bytes]] = (), known: Answer | None = None) -> None:
        """Fetch the beginning, or take what an earlier reader of the same file kept."""
        if known is None:
            self._fetch((0, FIRST_BYTES))
            return
        self._learn(known)
        for offset, part in parts:
            self._put(offset, part)

    def parts(self) -> list[tuple[int, bytes]]:
        """Everything that is there, for a later reader."""
        return [(begin, os.pread(self._file, end - begin, begin)) for begin, end in self._have]

    def read(self, begin: int, end: int) -> bytes:
        """Bytes of the file's directories, fetched with some of what follows if they are not there."""
        if not self.holds(begin, end):
            self.fetch([(begin, min(max(end, begin + STEP_BYTES), self.total))])
        return os.pread(self._file, end - begin, begin)

    def fetch(self, spans: Iterable[Span]) -> None:
        """See to it that some parts are there.

        Raises:
            Changed: the file was replaced since it was begun.
            RemoteError, BusyError: it cannot be had.
        """
        for span in merged(span for span in spans if not self.holds(*span)):
            if not self.holds(*span):  # a server that sends everything has sent these
                self._fetch(span)

    def holds(self, begin: int, end: int) -> bool:
        """Whether all these bytes are there."""
        place = bisect.bisect_right(self._have, (begin, 1 << 62)) - 1
        return begin >= end or (place >= 0 and self._have[place][1] >= end)

    def _fetch(self, span: Span) -> None:
        answer = self._client.get_range(
            self.href, span, signer=self._signer, known=self.known, whole=WHOLE_BYTES
        )
        if self.known is None:
            self._learn(Answer(b"", 0, answer.total, answer.etag))
        self._put(answer.begin, answer.body)
        wanted = min(span[1], self.total)
        if not self.holds(span[0], wanted):
            raise RemoteError(f"{shown(self.href)}: did not send bytes {span[0]}-{wanted - 1}")

    def _learn(self, known: Answer) -> None:
        self.known = known
        with storage_errors(Path(tempfile.gettempdir())):
            os.ftruncate(self._file, known.total)

    def _put(self, offset: int, part: bytes) -> None:
        with storage_errors(Path(tempfile.gettempdir()), needed_bytes=len(part)):
            written = 0
            while written < len(part):
                written += os.pwrite(self._file, part[written:], offset + written)
        begin, end = offset, offset + len(part)
        rest = []
        for low, high in self._have:
            if high < begin or low > end:
                rest.append((low, high))
            else:
                begin, end = min(begin, low), max(end, high)
        self._have = sorted([*rest, (begin, end)])
