"""Memory of windows that come and go: kept, and handed back where it grows."""

import subprocess
import sys

import pytest

CODE = """
import ctypes, sys
from isamap.engine.pages import WARM, Ceiling, _resident_pages

ceiling = Ceiling()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
for _ in range(WARM):
    ceiling.look()
before = _resident_pages()
pieces = [libc.malloc(65_536) for _ in range(3000)]
for piece in pieces:
    ctypes.memset(piece, 1, 65_536)
held = pieces[:: int(sys.argv[1])]
for piece in set(pieces) - set(held):
    libc.free(piece)
grown = _resident_pages()
ceiling.look()
print(before, grown, _resident_pages())
"""
glibc = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")


def pages(every):
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(every)], capture_output=True, text=True, check=True
    )
    return map(int, done.stdout.split())


@glibc
def test_holes_between_what_is_held_go_back_to_the_kernel():
    before, grown, after = pages(every=50)
    assert grown - before > 40_000, "freed pages are kept"
    assert after - before < 0.1 * (grown - before)


@glibc
def test_what_is_in_use_stays():
    before, _, after = pages(every=1)
    assert after - before > 40_000
