"""Small files that are either whole or not there, also after a power cut."""

import errno
import os
import secrets
from pathlib import Path

from isamap.io.locks import storage_errors


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step; an older file stays until the new one is on disk.

    Raises:
        StorageError: the disk is full, read-only or broken.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with storage_errors(path, needed_bytes=len(content)):
        make_directory(path.parent)
        try:
            write_durably(draft, content)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        sync(path.parent)


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
