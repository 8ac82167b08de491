"""One file of a scene, local or remote, and the window of it that a tile needs."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import Interleaving
from rasterio.errors import RasterioError

from isamap.domain.grid import GSD_M, Window, crop
from isamap.errors import InputError, RemoteError
from isamap.io.guard import check_complete, open_raster, raster_window, reason
from isamap.io.header import JP2, DamagedError, Span, Structure
from isamap.io.http import Answer, Changed, Client, Signer
from isamap.io.mirror import Mirror
from isamap.io.placing import check_position, geobox_of, nesting_fault

MAX_BLOCK_BYTES = 64 << 20
"""Decoded; sixteen threads may hold one each. Sentinel-2 COGs have blocks of 0.5 to 8 MB."""
MAX_FILE_BYTES = 64 << 30
MAX_WHOLE_BYTES = 1 << 30
"""Of a JPEG 2000 file, which is fetched whole."""
KEPT_BYTES = 64 << 20
"""Directories of files that neighbouring tiles will read again."""
LEADER_BYTES = 4
"""GDAL writes the size of a block before it and repeats its end after it, and looks at both."""
AGAIN = 3
"""How often a file that is replaced while it is read, or whose blocks do not decode, is begun anew."""


@dataclass(frozen=True)
class Place:
    """A remote file and who fetches it."""

    href: str
    """Unsigned address."""
    client: Client
    """Of its source."""
    signer: Signer
    """Of its collection."""


class Directories:
    """Directories of remote files seen lately: neighbouring tiles need the same."""

    def __init__(self, most: int = KEPT_BYTES) -> None:
        self._most = most
        self._size = 0
        self._kept: OrderedDict[str, tuple[Answer, list[tuple[int, bytes]]]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, href: str) -> tuple[Answer | None, list[tuple[int, bytes]]]:
        """What is known of a file."""
        with self._lock:
            if href in self._kept:
                self._kept.move_to_end(href)
            return self._kept.get(href, (None, []))

    def put(self, href: str, known: Answer, parts: list[tuple[int, bytes]]) -> None:
        """Keep what is known of a file, and forget what was not asked for longest."""
        self.forget(href)
        with self._lock:
            self._kept[href] = (known, parts)
            self._size += _size(parts)
            while self._size > self._most:
                self._size -= _size(self._kept.popitem(last=False)[1][1])

    def forget(self, href: str) -> None:
        """A file is not what it was."""
        with self._lock:
            if entry := self._kept.pop(href, None):
                self._size -= _size(entry[1])


def _size(parts: Sequence[tuple[int, bytes]]) -> int:
    return sum(len(part) for _, part in parts)


@dataclass(frozen=True)
class Part:
    """A window of a file."""

    values: NDArray[Any]
    """As stored, (band, y, x)."""
    geobox: GeoBox
    """Of the window."""
    nodata: float | None
    """As declared."""


Choice = Callable[[Any], Window | None]
"""The window that is wanted of an open dataset, in its own pixels; None for nothing."""


def fill(out: NDArray[Any], place: Place | Path, geobox: GeoBox, kept: Directories) -> None:
    """Put the pixels of a one-band file on a 10 m grid; those of 20 m repeated; where it has none, nothing.

    Args:
        out: of the file's type and the grid's shape (y, x), 0 everywhere.
        place: of the file.
        geobox: the 10 m grid.
        kept: directories seen before.

    Raises:
        InputError: it is no GeoTIFF or JPEG 2000 of that type, or its grid is another.
        DamagedError: it is cut off, or (on this machine) does not decode.
        RemoteError, BusyError: it cannot be had, or does not decode.
    """

    def choose(src: Any) -> Window | None:
        if src.count != 1 or src.dtypes[0] != out.dtype.name:
            raise InputError(f"has {src.count} band(s) of {src.dtypes[0]}; one of {out.dtype.name} is wanted")
        check_position(src)
        return _overlap(geobox_of(src), geobox)

    part = read(place, choose, kept)
    if part is None:
        return
    (pixels,) = part.values
    if part.nodata:
        pixels[pixels == part.nodata] = 0
    factor = round(part.geobox.resolution.x / GSD_M)
    row = round((geobox.transform.f - part.geobox.transform.f) / GSD_M)
    col = round((part.geobox.transform.c - geobox.transform.c) / GSD_M)
    for y, x in product(range(factor), repeat=2):
        height, width = (factor * size for size in pixels.shape)
        out[row + y : row + height : factor, col + x : col + width : factor] = pixels


def _overlap(own: GeoBox, grid: GeoBox) -> Window | None:
    """Pixels of a file that lie on a 10 m grid, or None.

    Raises:
        InputError: they do not nest in it.
    """
    left, top = own.transform.c, own.transform.f
    factor = max(1, round(own.transform.a / GSD_M))
    col, row = round((grid.transform.c - left) / GSD_M), round((top - grid.transform.f) / GSD_M)
    shape = own.shape[0] * factor, own.shape[1] * factor
    snapped = Affine(
        GSD_M, 0, grid.transform.c - col * GSD_M, 0, -GSD_M, grid.transform.f + row * GSD_M
    )  # the grid, continued over the whole file
    fault = nesting_fault(own, GeoBox(shape, snapped, grid.crs))
    if fault is None and any(edge % factor for edge in (row, col, *grid.shape)):
        fault = f"has pixels of {factor * GSD_M} m that straddle the edge of the tile"
    if fault:
        raise InputError(fault)
    top_row, left_col = max(0, row), max(0, col)
    height = min(shape[0], row + grid.shape[0]) - top_row
    width = min(shape[1], col + grid.shape[1]) - left_col
    if height <= 0 or width <= 0:
        return None
    return Window(top_row // factor, left_col // factor, height // factor, width // factor)


def read(place: Place | Path, choose: Choice, kept: Directories) -> Part | None:
    """The window of a file that is wanted.

    Raises:
        InputError: the file is none that is read, or `choose` refuses it.
        RemoteError, BusyError: it cannot be had, or does not decode.
    """
    if isinstance(place, Path):
        return _read_local(place, choose)
    for _ in range(AGAIN - 1):
        try:
            return _read_remote(place, choose, kept)
        except (Changed, UndecodableError):
            kept.forget(place.href)
    return _read_remote(place, choose, kept)


class UndecodableError(RemoteError):
    """Bytes came as promised, but are no pixels."""


def _read_local(path: Path, choose: Choice) -> Part | None:
    with closing(_open_local(path)) as src:
        window = choose(src)
        if src.driver == "GTiff":
            try:
                for index in src.indexes:
                    check_complete(src, index)
            except InputError as error:
                raise DamagedError(str(error)) from error
        try:
            return _pixels(src, window) if window else None
        except UndecodableError as error:
            raise DamagedError(str(error)) from error


def _open_local(path: Path) -> Any:
    """An open file; one that nothing can be read from is damaged, one that is refused for its size is not."""
    try:
        return open_raster(path)
    except InputError as error:
        if isinstance(error.__cause__, RasterioError) or not path.stat().st_size:
            raise DamagedError(str(error)) from error
        raise


def _read_remote(place: Place, choose: Choice, kept: Directories) -> Part | None:
    known, parts = kept.get(place.href)
    with Mirror(place.href, place.client, place.signer) as mirror:
        mirror.begin(parts, known)
        if mirror.total > MAX_FILE_BYTES:
            raise InputError(f"has {mirror.total} bytes; files up to {MAX_FILE_BYTES >> 30} GB are read")
        if not mirror.total:
            raise DamagedError("is empty (0 bytes)")
        if mirror.read(0, min(len(JP2), mirror.total)) == JP2:
            return _read_whole(mirror, choose)
        with _nameless(mirror):
            if known is None:
                Structure(mirror.read, mirror.total).walk()
                kept.put(place.href, mirror.known or Answer(b""), mirror.parts())
            # Twice: a handle may hold bytes beside those it asked for, read while they were still a hole.
            with closing(open_raster(mirror.path, "GTiff")) as src:
                window = choose(src)
                spans = _blocks(src, window, mirror.total) if window else []
        mirror.fetch(spans)
        with _nameless(mirror), closing(open_raster(mirror.path, "GTiff")) as src:
            return _pixels(src, window) if window else None


def _read_whole(mirror: Mirror, choose: Choice) -> Part | None:
    """From a JPEG 2000 file, whose parts lie all over it."""
    if mirror.total > MAX_WHOLE_BYTES:
        raise InputError(f"is a JPEG 2000 of {mirror.total >> 20} MB; up to {MAX_WHOLE_BYTES >> 20} are read")
    mirror.fetch([(0, mirror.total)])
    with _nameless(mirror), closing(open_raster(mirror.path, "JP2OpenJPEG")) as src:
        window = choose(src)
        return _pixels(src, window) if window else None


def _blocks(src: Any, window: Window, total: int) -> list[Span]:
    """Where the blocks of a window lie. A block without place is sparse: nothing was ever written there.

    Raises:
        InputError: a block is larger than its pixels can be, or lies beyond the end of the file.
    """
    height, width = src.block_shapes[0]
    planes = src.indexes if src.interleaving == Interleaving.band else (1,)
    raw = height * width * np.dtype(src.dtypes[0]).itemsize * (1 if len(planes) == src.count else src.count)
    if raw > MAX_BLOCK_BYTES:
        raise InputError(f"has blocks of {raw >> 20} MB, more than {MAX_BLOCK_BYTES >> 20}: write it tiled")
    rows = range(window.row_off // height, ceil((window.row_off + window.height) / height))
    cols = range(window.col_off // width, ceil((window.col_off + window.width) / width))
    spans = []
    for index, row, col in product(planes, rows, cols):
        offset = src.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=index)
        size = src.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=index)
        if offset is None or size is None:
            continue
        begin, end = int(offset), int(offset) + int(size)
        if end - begin > raw + raw // 4 + (64 << 10):
            raise InputError(f"declares {end - begin} bytes for block ({col}, {row}) of {raw} bytes")
        if end > total:
            raise DamagedError(
                f"is cut off: it has {total} bytes, but block ({col}, {row}) ends at byte {end}"
            )
        spans.append((max(0, begin - LEADER_BYTES), min(total, end + LEADER_BYTES)))
    return spans


def _pixels(src: Any, window: Window) -> Part:
    try:
        values = src.read(window=raster_window(window))
    except RasterioError as error:
        raise UndecodableError(f"does not decode ({reason(error)})") from error
    return Part(values, crop(geobox_of(src), window), src.nodatavals[0])


@contextmanager
def _nameless(mirror: Mirror) -> Iterator[None]:
    """Messages do not name the mirror: it is nowhere to be found."""
    try:
        yield
    except (InputError, UndecodableError) as error:
        text = str(error).replace(f"{mirror.path}: ", "").replace(str(mirror.path), "it")
        raise type(error)(text) from error
