"""Who holds a lock, asked without touching it: a probe that takes a lock could turn a starting run away."""

import os
from dataclasses import dataclass
from pathlib import Path

RUN_LOCK = ".isamap.lock"
"""What a run holds in the folder that it writes to."""
LOCKS = Path("/proc/locks")
"""Every lock this kernel knows: `7: FLOCK  ADVISORY  WRITE 2641 fe:00:5472727 0 EOF`."""


@dataclass(frozen=True)
class Holder:
    """A process of this machine that holds a lock."""

    pid: int
    """Process number; 0 or less if it lives in another container."""


def holder(path: Path) -> Holder | None:
    """The process that holds a flock on `path`; None if nobody of this machine does, or the kernel does not tell."""
    try:
        file = path.stat()
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    place = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}:{file.st_ino}"
    for line in lines:
        words = line.split()
        if len(words) < 8 or words[1] == "->" or words[1] != "FLOCK":  # `->` waits for the lock above it
            continue
        pid, where = int(words[4]), words[5]
        if where == place or (where.endswith(f":{file.st_ino}") and _has_open(pid, path)):
            return Holder(pid)
    return None


def _has_open(pid: int, path: Path) -> bool:
    """Whether a process has the file open: some file systems number their device differently in the table."""
    target = str(path.resolve())
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    return any(_link(entry) == target for entry in entries)


def _link(entry: Path) -> str:
    """What a descriptor is open on; it may have been closed since."""
    try:
        return str(entry.readlink())
    except OSError:
        return ""
