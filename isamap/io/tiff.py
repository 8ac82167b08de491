"""The head of a Cloud-Optimized GeoTIFF: everything before the blocks, laid out as GDAL's COG driver does.

What the tags say of place, colours and metadata is GDAL's own: it writes a small file with the same profile, whose
tags are taken over; only sizes and the places of blocks are ours. The layout is that of the COG driver's
documentation: a hidden text that promises it, the directories from the full raster to the smallest overview, then
the blocks from the smallest overview to the full raster, each between its size and its last four bytes again.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from isamap.domain.product import BLOCK_PX, NODATA, Layer

PROMISE = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
"""An editor that breaks the layout writes YES over the last word."""
GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(PROMISE) + PROMISE
LEADER, TRAILER = struct.Struct("<I"), 4
BIG_FROM_BYTES = 2_000_000_000
"""Of pixels: files that might pass 4 GB are BigTIFF, as with BIGTIFF=IF_SAFER."""

KIND, WIDTH, HEIGHT, OFFSETS, SIZES = 254, 256, 257, 324, 325
REDUCED = 1
SHORT, LONG, LONG8 = 3, 4, 16
TYPE_BYTES = {1: 1, 2: 1, SHORT: 2, LONG: 4, 12: 8, LONG8: 8}
OF_OVERVIEWS = {258, 259, 262, 277, 284, 317, 320, 322, 323, 339, 42113}
"""Tags that overviews have too: how blocks are encoded, colours, nodata."""


@dataclass(frozen=True)
class Tag:
    """A TIFF tag."""

    type: int
    """Its number for BYTE, ASCII, SHORT, LONG, DOUBLE or LONG8."""
    value: bytes
    """Little-endian."""

    @property
    def count(self) -> int:
        """Values in it."""
        return len(self.value) // TYPE_BYTES[self.type]


@dataclass(frozen=True)
class Blocks:
    """The blocks of one level, in reading order."""

    shape: tuple[int, int]
    """Of the level, in pixels."""
    sizes: Sequence[int]
    """Bytes of each encoded block."""


def template(geobox: GeoBox, layer: Layer, tags: Mapping[str, str]) -> dict[int, Tag]:
    """The tags that GDAL gives a raster in that place, of that layer, with those metadata."""
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            height=BLOCK_PX,
            width=BLOCK_PX,
            count=1,
            dtype="uint8",
            crs=geobox.crs.to_wkt() if geobox.crs else None,
            transform=geobox.transform,
            nodata=NODATA,
            tiled=True,
            blockxsize=BLOCK_PX,
            blockysize=BLOCK_PX,
            compress="ZSTD",
            sparse_ok=True,
        ) as dst:
            dst.set_band_description(1, layer.description)
            dst.update_tags(**tags)
            if layer.colours:
                dst.write_colormap(1, dict(layer.colours))
        return _tags(bytes(memory.getbuffer()))


def _tags(file: bytes) -> dict[int, Tag]:
    """Tags of the first directory of a classic little-endian TIFF."""
    (start,) = struct.unpack_from("<I", file, 4)
    (count,) = struct.unpack_from("<H", file, start)
    found = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from("<HHI", file, entry)
        size = length * TYPE_BYTES[kind]
        at = entry + 8 if size <= 4 else struct.unpack_from("<I", file, entry + 8)[0]
        found[tag] = Tag(kind, file[at : at + size])
    return found


def head(common: Mapping[int, Tag], levels: Sequence[Blocks]) -> bytes:
    """Everything before the first block.

    Args:
        common: tags of `template`.
        levels: full raster first.
    """
    big = levels[0].shape[0] * levels[0].shape[1] > BIG_FROM_BYTES
    opening = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if big else struct.pack("<2sHI", b"II", 42, 0)
    first = len(opening + GHOST) + len(opening + GHOST) % 2
    length = 0
    for _ in range(2):  # where blocks begin depends on the length of the head, which does not depend on them
        starts = _starts(levels, length)
        body = b""
        for number, (level, at) in enumerate(zip(levels, starts, strict=True)):
            tags = _tags_of(common, level, at, reduced=number > 0, big=big)
            body += _directory(tags, first + len(body), last=number == len(levels) - 1, big=big)
        length = first + len(body)
    where = struct.pack("<Q" if big else "<I", first)
    return (opening[: -len(where)] + where + GHOST).ljust(first, b"\0") + body


def framed(block: bytes) -> tuple[bytes, bytes, bytes]:
    """An encoded block between its size and its last bytes again."""
    return LEADER.pack(len(block)), block, block[-TRAILER:]


def _starts(levels: Sequence[Blocks], data: int) -> list[list[int]]:
    """Where the blocks of each level begin, when those of the smallest begin at `data`."""
    starts: list[list[int]] = []
    for level in reversed(levels):
        own = []
        for size in level.sizes:
            own.append(data + LEADER.size)
            data += LEADER.size + size + TRAILER
        starts.insert(0, own)
    return starts


def _tags_of(
    common: Mapping[int, Tag], level: Blocks, starts: Sequence[int], *, reduced: bool, big: bool
) -> dict[int, Tag]:
    """All tags of one level."""
    tags = {number: tag for number, tag in common.items() if not reduced or number in OF_OVERVIEWS}
    if reduced:
        tags[KIND] = _numbers(LONG, [REDUCED])
    for number, side in ((HEIGHT, level.shape[0]), (WIDTH, level.shape[1])):
        tags[number] = _numbers(SHORT if side < 1 << 16 else LONG, [side])
    return tags | {OFFSETS: _numbers(LONG8 if big else LONG, starts), SIZES: _numbers(LONG, level.sizes)}


def _numbers(kind: int, values: Sequence[int]) -> Tag:
    return Tag(kind, struct.pack(f"<{len(values)}{ {SHORT: 'H', LONG: 'I', LONG8: 'Q'}[kind] }", *values))


def _directory(tags: Mapping[int, Tag], at: int, *, last: bool, big: bool) -> bytes:
    """One directory that begins at `at`, followed by the values that do not fit into it."""
    pointer, count, entry = ("<Q", "<Q", "<HHQ") if big else ("<I", "<H", "<HHI")
    room = struct.calcsize(pointer)
    size = struct.calcsize(count) + len(tags) * (struct.calcsize(entry) + room) + room
    entries, values = struct.pack(count, len(tags)), b""
    for number, tag in sorted(tags.items()):
        value = tag.value
        if len(value) > room:
            value = struct.pack(pointer, at + size + len(values))
            values += tag.value + b"\0" * (len(tag.value) % 2)
        entries += struct.pack(entry, number, tag.type, tag.count) + value.ljust(room, b"\0")
    following = 0 if last else at + size + len(values)
    return entries + struct.pack(pointer, following) + values
