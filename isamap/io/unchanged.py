"""Whether files stay as they are while something is made of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from isamap.errors import InputError, MissingInputError
from isamap.io.guard import one_line

Mark = tuple[int, int, int]
"""Size, modification time in ns, inode."""


@contextmanager
def watched(paths: Sequence[Path], digest: Callable[[], str]) -> Iterator[tuple[str, Callable[[], None]]]:
    """The digest of some files, and a check to be called when everything has been read.

    The check also goes before any fault of the data in the block. It reads nothing where size, time and inode are as they
    were; where one is not, which some network disks do by themselves, the digest decides.

    Args:
        paths: what will be read. A file that is not there counts as unchanged while it stays away.
        digest: reads all of them.

    Raises:
        InputError: a file is not the one that it was: it was written to, or another took its place.
    """
    before = [_mark(path) for path in paths]
    known = digest()

    def check() -> None:
        moved = [path for path, mark in zip(paths, before, strict=True) if _mark(path) != mark]
        if moved and _again(digest) != known:
            raise InputError(f"{one_line(moved[0])}: changed while it was read: run again")

    try:
        yield known, check
    except (InputError, MissingInputError):
        check()
        raise


def _again(digest: Callable[[], str]) -> str | None:
    """The digest of files as they are now; None where they cannot be read any more."""
    try:
        return digest()
    except (InputError, MissingInputError):
        return None


def _mark(path: Path) -> Mark | None:
    """What tells a file from its later self at the cost of one system call; None where none can be asked."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ino
