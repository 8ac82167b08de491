"""Where the directories of a TIFF lie: the bytes that must be there before GDAL may look at it.

Only sizes and places are looked at; what the tags mean is GDAL's business. A part of a file that was not fetched
reads as zeros, and zeros are a valid answer to most questions, so nothing may be opened before its directories are whole.
"""

import struct
from collections.abc import Callable

from isamap.errors import InputError
from isamap.io.guard import MAX_SIDE_PX

FIRST_BYTES = 32 << 10
"""Fetched at once: the directories of most Sentinel-2 COGs have 3 to 20 kB."""
STEP_BYTES = 16 << 10
MAX_BYTES = 16 << 20
"""Directories of a granule kept in strips of one row have 0.5 MB."""
MAX_DIRECTORIES = 64
JP2 = b"\x00\x00\x00\x0cjP  \r\n\x87\n"

_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_WIDTH, _LENGTH = 256, 257
_STRILES = {273, 279, 324, 325}
"""Places and sizes of blocks; those of overviews are never looked at."""


class DamagedError(InputError):
    """A file is cut off or does not decode: its pixels are lost, and nothing may be made without them."""


Span = tuple[int, int]
"""First byte and the one after the last."""
Reader = Callable[[int, int], bytes]
"""Gives bytes begin:end of the file, fetched if need be."""


class Structure:
    """Reads the directories of a TIFF through a reader that fetches what is missing."""

    def __init__(self, read: Reader, total: int) -> None:
        self._read = read
        self._total = total
        self._taken = 0

    def walk(self) -> None:
        """See to it that all directories are there.

        Raises:
            DamagedError: the file ends before they do.
            InputError: they are no TIFF's, or too many or too large.
        """
        head = self._bytes(0, 16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2], "")
        magic = struct.unpack(order + "H", head[2:4])[0] if order else 0
        if magic not in (42, 43):
            raise InputError(f"is no TIFF: begins with {head[:12]!r}")
        big = magic == 43
        if big and struct.unpack(order + "HH", head[4:8]) != (8, 0):
            raise InputError("is no BigTIFF: its offsets do not have 8 bytes")
        (place,) = struct.unpack(order + "Q", head[8:16]) if big else struct.unpack(order + "I", head[4:8])
        seen: set[int] = set()
        while place:
            if place in seen or len(seen) >= MAX_DIRECTORIES:
                raise InputError(f"has directories in a circle, or more than {MAX_DIRECTORIES}")
            seen.add(place)
            place = self._directory(place, order, big=big, first=len(seen) == 1)
        if not seen:
            raise InputError("is a TIFF without a directory")

    def _directory(self, place: int, order: str, *, big: bool, first: bool) -> int:
        """Fetch one directory and what it points to; the place of the next one."""
        count_bytes, entry_bytes, word = (8, 20, "Q") if big else (2, 12, "I")
        (count,) = struct.unpack(order + ("Q" if big else "H"), self._bytes(place, place + count_bytes))
        if count > 4096:
            raise InputError(f"has a directory of {count} tags")
        begin = place + count_bytes
        end = begin + count * entry_bytes
        entries = self._bytes(begin, end + count_bytes if big else end + 4)
        for offset in range(0, count * entry_bytes, entry_bytes):
            tag, kind, number = struct.unpack_from(order + "HH" + word, entries, offset)
            value = offset + (12 if big else 8)
            if first and tag in (_WIDTH, _LENGTH):
                self._check_side(entries, value, kind, order)
            length = _TYPE_BYTES.get(kind, 1) * number
            if length > (8 if big else 4) and (first or tag not in _STRILES):
                (target,) = struct.unpack_from(order + word, entries, value)
                self._bytes(target, target + length)
        (following,) = struct.unpack_from(order + word, entries, count * entry_bytes)
        return int(following)

    def _check_side(self, entries: bytes, value: int, kind: int, order: str) -> None:
        form = {3: "H", 4: "I", 16: "Q"}.get(kind)
        side = struct.unpack_from(order + form, entries, value)[0] if form else 0
        if not 0 < side <= MAX_SIDE_PX:
            raise InputError(f"declares a side of {side} pixels; 1 to {MAX_SIDE_PX} are read")

    def _bytes(self, begin: int, end: int) -> bytes:
        if end > self._total:
            raise DamagedError(
                f"is cut off: it ends at byte {self._total}, but its header at byte {end} or later"
            )
        self._taken += end - begin
        if self._taken > MAX_BYTES:
            raise InputError(
                f"has directories of more than {MAX_BYTES >> 20} MB: write it with larger blocks"
            )
        return self._read(begin, end)
