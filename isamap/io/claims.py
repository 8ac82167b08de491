"""Claims: locks that are a file only while somebody holds them. One process makes a product, one run does a shard.

A product is claimed by the process that makes it, not by the run that sent it there: a Dask worker goes on for a while
after its client has died, and runs with other shards or areas may share tiles.
"""

import fcntl
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isamap.errors import BusyError
from isamap.io.locks import storage_errors
from isamap.io.parts import release

PREFIX, SUFFIX = ".claim-", ".lock"
PATIENCE_S = 10.0
"""A worker whose run was killed lives on for a moment; its tile is then free."""
PAUSE_S = 0.05

_own: Counter[tuple[int, Path]] = Counter()
"""Claims of this process (by its id: a fork has none), and how often: a product may be claimed within its own claim."""


def claim_path(directory: Path, name: str) -> Path:
    """Where the claim of a product, or of a part of the work, is."""
    return directory / f"{PREFIX}{name}{SUFFIX}"


@contextmanager
def claim(path: Path, what: str, patience_s: float | None = None) -> Iterator[None]:
    """Hold a claim for the length of the block; it is free again as soon as its holder ends, however it ends.

    Args:
        path: of `claim_path`, in a directory that is there.
        what: what is claimed, for the message.
        patience_s: how long to wait for another process [PATIENCE_S].

    Raises:
        BusyError: another process holds it.
        StorageError: the file cannot be made.
    """
    held, mine = None, (os.getpid(), path)
    if not _own[mine]:
        with storage_errors(path):
            held = _take(path, PATIENCE_S if patience_s is None else patience_s)
        if held is None:
            raise BusyError(f"another run is at work on {what}: run again when it has ended")
    _own[mine] += 1
    try:
        yield
    finally:
        _own[mine] -= 1
        if held is not None:
            path.unlink(missing_ok=True)
            release(held)


def _take(path: Path, patience_s: float) -> int | None:
    """Descriptor with the flock of a claim; None if another process holds it."""
    end = time.monotonic() + patience_s
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
            if time.monotonic() >= end:
                return None
            time.sleep(PAUSE_S)
            continue
        if os.fstat(held).st_nlink > 0:
            return held
        os.close(held)  # its holder removed the file between our open and our flock


def is_claim(path: Path) -> bool:
    """Whether `path` is a claim, held or not."""
    return path.name.startswith(PREFIX) and path.name.endswith(SUFFIX)


def remove_dead_claim(path: Path) -> bool:
    """Remove a claim that nobody holds; whether it was removed."""
    if _own[os.getpid(), path] or (held := _take(path, 0.0)) is None:
        return False
    path.unlink(missing_ok=True)
    release(held)
    return True
