"""Whether files stay as they are while something is made of them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from isamap.errors import InputError, MissingInputError
from isamap.io.guard import one_line

Mark = tuple[int, int, int]
"""Size, modification time in ns, inode."""


@contextmanager
def watched(paths: Sequence[Path]) -> Iterator[Callable[[], None]]:
    """A check to be called when everything has been read; it also goes before any fault of the data in the block.

    Args:
        paths: what will be read. A file that is not there counts as unchanged while it stays away.

    Raises:
        InputError: a file is not the one that it was: it was written to, or another took its place.
    """
    before = [_mark(path) for path in paths]

    def check() -> None:
        for path, mark in zip(paths, before, strict=True):
            if _mark(path) != mark:
                raise InputError(f"{one_line(path)}: changed while it was read: run again")

    try:
        yield check
    except (InputError, MissingInputError):
        check()
        raise


def _mark(path: Path) -> Mark | None:
    """What tells a file from its later self at the cost of one system call; None where none can be asked."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_size, facts.st_mtime_ns, facts.st_ino
