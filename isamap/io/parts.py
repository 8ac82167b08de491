"""Part directories: hidden places to write a product, told alive from dead by a flock inside them.

A part directory is alive while a process holds the flock on its `.lock`. Between `mkdir` and the
flock it looks dead, so the maker checks, and takes another directory if a sweep was faster.
"""

import fcntl
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

PREFIX = ".part-"
LOCK = ".lock"


def is_part(path: Path) -> bool:
    """Whether `path` is a part directory, dead or alive; a symlink never is."""
    return path.name.startswith(PREFIX) and path.is_dir() and not path.is_symlink()


def new_part(directory: Path, stem: str) -> tuple[Path, int]:
    """A fresh part directory in `directory`, and the descriptor that holds its flock: see `release`."""
    while True:
        part = directory / f"{PREFIX}{stem}-{secrets.token_hex(4)}"
        part.mkdir()
        held = _hold(part)
        if held is not None:
            return part, held


def parts_of(directory: Path, stem: str) -> list[Path]:
    """The part directories of one product."""
    return [
        path for path in directory.iterdir() if path.name.startswith(f"{PREFIX}{stem}-") and is_part(path)
    ]


def remove_dead_part(part: Path) -> bool:
    """Remove a part directory unless it is alive; whether it is gone."""
    held = _hold(part)
    if held is None:
        return False
    remove_part(part)
    release(held)
    return not part.exists()


def remove_part(part: Path) -> None:
    """Remove a part directory whose lock we hold, the lock file last; what resists is left to a sweep."""
    with suppress(OSError):
        for entry in [entry for entry in part.iterdir() if entry.name != LOCK]:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        (part / LOCK).unlink()
        part.rmdir()


def release(held: int) -> None:
    """Give up the flock, for forked children that inherited it too."""
    fcntl.flock(held, fcntl.LOCK_UN)
    os.close(held)


def _hold(part: Path) -> int | None:
    """Descriptor with the flock of a part directory; None if another process holds it or has removed it."""
    try:
        fd = os.open(part / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if os.fstat(fd).st_nlink > 0:
        return fd
    os.close(fd)  # the rival removed the file between our open and our flock
    return None
