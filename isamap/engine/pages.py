"""Memory pages of windows that come and go: kept by the process instead of handed back after each."""

import ctypes
import sys
from functools import cache

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""Parameters of glibc's mallopt(3)."""


@cache
def keep_pages() -> bool:
    """Tell glibc to keep freed pages; call before torch allocates. True where it took.

    A window's arrays have megabytes, those of a 1 m head hundreds. By default the kernel takes them back after each
    window, and page faults cost more than the arithmetic (forward passes 2.4 to 14 times, measured).
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library: nothing to tune
        return False
    settings = ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1))
    return all(mallopt(key, value) == 1 for key, value in settings)
