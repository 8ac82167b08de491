"""Memory of windows that come and go: its pages are kept by the process, and freed pieces join."""

import ctypes
import sys
from functools import cache
from pathlib import Path

M_MXFAST, M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = 1, -1, -4, -8
"""Parameters of glibc's mallopt(3)."""
WARM, SLACK = 8, 1.05
"""Windows after which a process has what it needs, and how much more it may take."""


@cache
def keep_pages() -> bool:
    """Tell glibc to keep freed pages and to join freed chunks; call before torch allocates. True where it took.

    A window's arrays have megabytes, those of a 1 m head hundreds. By default the kernel takes them back after each
    window, and page faults cost more than the arithmetic (forward passes 2.4 to 14 times, measured).

    For an aligned array glibc cuts a larger chunk to size. By default small cuttings wait in lists of their own, where
    they join nothing: the hole that an array leaves is too small for the next one of its size, and the heap grows
    with the number of windows.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library: nothing to tune
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1), (M_MXFAST, 0))
    return all(mallopt(key, value) == 1 for key, value in settings)


class Ceiling:
    """Keeps a process near the memory that its first windows took, however many follow.

    Arrays of many sizes that come and go leave holes between them, so that kept pages grow in number with the windows.
    Beyond the ceiling all free pages are handed back at once (malloc_trim(3)), and the next window faults its own in
    again. Without glibc nothing happens.
    """

    def __init__(self) -> None:
        self._trim = ctypes.CDLL(None).malloc_trim if keep_pages() else None
        self._seen, self._limit = 0, 0

    def look(self) -> None:
        """Call after each window."""
        if self._trim is None:
            return
        self._seen += 1
        if self._seen == WARM:
            self._limit = int(_resident_pages() * SLACK)
        elif self._seen > WARM and _resident_pages() > self._limit:
            self._trim(0)


def _resident_pages() -> int:
    """Memory pages that the process has."""
    return int(Path("/proc/self/statm").read_text().split()[1])
