"""Small files that are either whole or not there, also after a power cut."""

import errno
import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path

from isamap.io.locks import REFUSED, storage_errors


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step; an older file stays until the new one is on disk.

    Raises:
        StorageError: the disk is full, read-only or broken.
    """
    with storage_errors(path, REFUSED, needed_bytes=len(content)):
        make_directory(path.parent)
        draft, held = _hold_draft(path)
        try:
            write_durably(draft, content)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        finally:
            os.close(held)
        sync(path.parent)


def write_json(path: Path, document: object) -> None:
    """Put a document at `path` as `write_atomic` does, indented for people."""
    write_atomic(path, (json.dumps(document, indent=1) + "\n").encode())


def _hold_draft(path: Path) -> tuple[Path, int]:
    """The draft of `path`, one name so that a dead run's is used again, and the descriptor that holds its flock."""
    draft = path.with_name(f".{path.name}.tmp")
    while True:
        held = os.open(draft, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(held, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), draft.stat()):
                return draft, held
        os.close(held)  # while we waited, the rival moved it to its final name


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and bring it to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync(path: Path) -> None:
    """Bring a file, or the names in a directory, to disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as err:
        if not (path.is_dir() and err.errno in {errno.EINVAL, errno.ENOTSUP}):  # network file systems
            raise
    finally:
        os.close(fd)


def make_directory(path: Path) -> None:
    """Make `path` and its parents so that they outlive a power cut."""
    if not path.is_dir():
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)
