"""Locks the kernel releases when their holder dies, and storage faults told apart from bugs."""

import errno
import fcntl
import logging
import os
import resource
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from isamap.errors import BusyError, StorageError

logger = logging.getLogger(__name__)

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
STORAGE_FAULTS = NO_SPACE | {
    errno.EACCES,
    errno.EEXIST,
    errno.EIO,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
    errno.ESTALE,
}
REFUSED = (FileNotFoundError,)
"""What creating a file meets in a folder that is there, if the kernel alone makes files in it (/proc, /sys)."""


@contextmanager
def lock(path: Path, *, wait: bool = False, what: str, shared: bool = False) -> Iterator[None]:
    """Hold `path` for the length of the block: one run per product and year, or several that share it.

    The lock is a flock: it is free again as soon as its holder ends, however it ends.

    Args:
        path: lock file; it is created with its parents, and stays.
        wait: wait for the other run instead of refusing.
        what: what the lock stands for, for the message.
        shared: others that share it may hold it too.

    Raises:
        BusyError: another run holds the lock and `wait` is not set.
        StorageError: the lock file cannot be made.
    """
    with storage_errors(path, REFUSED):
        path.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with storage_errors(path):
            _flock(held, path, wait=wait, what=what, kind=fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(held, fcntl.LOCK_UN)  # for forked children that inherited it too
        os.close(held)


def _flock(held: int, path: Path, *, wait: bool, what: str, kind: int) -> None:
    try:
        fcntl.flock(held, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise BusyError(f"another run holds {what} ({path}): try again when it has ended") from None
        logger.info("waiting for the run that holds %s (%s)", what, path)
        fcntl.flock(held, kind)


@contextmanager
def storage_errors(
    path: Path, also: tuple[type[Exception], ...] = (), *, needed_bytes: int | None = None
) -> Iterator[None]:
    """Turn a full, read-only or broken disk met in the block into one clear StorageError.

    Args:
        path: what is being written, for the message and to measure free space.
        also: exception types that mean a failed write here. GDAL has its own and drops errno:
            pass rasterio's around code that only writes.
        needed_bytes: size of what is being written, where it is known.

    Raises:
        StorageError: for an OSError of the disk, or any exception of a type in `also`.
    """
    try:
        yield
    except also as err:
        raise storage_error(path, err, needed_bytes) from err
    except OSError as err:
        if err.errno not in STORAGE_FAULTS:
            raise
        raise storage_error(path, err, needed_bytes) from err


def storage_error(path: Path, err: Exception, needed_bytes: int | None = None) -> StorageError:
    """The StorageError for `err`, with the free space and the file size limit where they may be the reason."""
    number = err.errno if isinstance(err, OSError) else None
    reason = (err.strerror if isinstance(err, OSError) else None) or " ".join(str(err).split())
    facts = [reason or type(err).__name__]
    if link := dangling_link(path):
        return StorageError(f"cannot use {path}: {link_fault(link)}")
    if number is None or number in NO_SPACE:
        facts += _space(path, needed_bytes)
        return StorageError(f"cannot write {path}: {', '.join(facts)}: free space there and rerun")
    if number == errno.EISDIR and path.is_dir():
        return StorageError(f"cannot use {path}: a folder is there: remove it, or choose another place")
    if closed := _closed(path):
        return StorageError(f"cannot read {path}: {', '.join(facts)}: make {closed} readable for this user")
    return StorageError(f"cannot use {path}: {', '.join(facts)}: make it writable or choose another place")


def refuse_folders(directory: Path, names: Iterable[str]) -> None:
    """Refuse to publish where a folder has the name of a file.

    Raises:
        StorageError: one has.
    """
    for path in (directory / name for name in sorted(names)):
        if path.is_dir() and not path.is_symlink():
            raise storage_error(path, IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)))


def _closed(path: Path) -> Path | None:
    """What this user may not read: the file or folder, or the folder above in which nobody may look for it."""
    place = next((place for place in (path, *path.absolute().parents) if os.path.lexists(place)), path)
    wanted = os.R_OK | os.X_OK if place.is_dir() else os.R_OK
    return None if os.access(place, wanted) else place


def dangling_link(path: Path) -> Path | None:
    """The link to nothing that `path` is or leads through, such as one to a disk that is not mounted; None without."""
    for place in (path, *path.parents):
        with suppress(OSError):  # nobody may look there
            if place.is_symlink() and not place.exists():
                return place
    return None


def link_fault(link: Path) -> str:
    """What is wrong with a link to nothing, and what to do."""
    return f"{link} is a link to nothing ({link.readlink()}): mount that disk, or choose another place"


def _space(path: Path, needed_bytes: int | None) -> list[str]:
    """Free space, space needed and file size limit, as far as they are known."""
    existing = next((p for p in (path, *path.absolute().parents) if p.exists()), Path("/"))
    facts = [f"{shutil.disk_usage(existing).free} bytes free"]
    if needed_bytes is not None:
        facts.append(f"{needed_bytes} bytes needed")
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY:
        facts.append(f"file size limit {limit} bytes (ulimit -f)")
    return facts
