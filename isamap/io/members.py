"""Finished maps as members of a mosaic: found by their STAC items, opened, read in windows."""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError

from isamap import digests
from isamap.domain.classes import ISA, SCHEMES
from isamap.domain.grid import Tile, Window
from isamap.domain.mosaic import Member
from isamap.domain.product import CLASSES, NODATA
from isamap.errors import InputError, MissingInputError, StorageError
from isamap.io import store
from isamap.io.guard import GDAL_ENV, check_complete, check_file, one_line, open_raster, raster_window, reason
from isamap.io.placing import check_position, geobox_of

MAX_OPEN = 16
"""Members that stay open: a window lies on four tiles, at a zone border on eight."""
TIMES = ("start_datetime", "end_datetime")
SHARES = ("isamap:isa_share", "isamap:valid_share", "isamap:model.threshold")
KEPT = (*TIMES, "proj:shape", "isamap:model", "isamap:provenance", "isamap:isa_share", "isamap:valid_share")
SHA256 = re.compile(f"{digests.SHA256}[0-9a-f]{{64}}")
"""A checksum that is one of ours: others are for others to check."""


@dataclass(frozen=True)
class Found:
    """What there is of the maps of an area."""

    members: list[Member] = field(default_factory=list)
    """Finished maps."""
    missing: list[str] = field(default_factory=list)
    """Ids of tiles that have none."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why a map cannot be taken, by the id of its tile."""


def tile_members(directory: Path, tiles: Sequence[Tile]) -> Found:
    """The maps of tiles.

    Raises:
        MissingInputError: not one tile is mapped.
        InputError, StorageError: not one map can be read.
    """
    found, fault = Found(), None
    for tile in tiles:
        path = directory / f"{tile}{CLASSES.suffix}"
        try:
            item = store.read_item(path.with_suffix(".json")) if path.is_file() else None
            if item is None:
                found.missing.append(str(tile))
            else:
                found.members.append(_from_item(path, tile, item) or read_member(path))
        except (InputError, StorageError) as error:
            fault = error
            found.refused[str(tile)] = str(error)
    if not found.members:
        raise fault or MissingInputError(
            f"{directory} holds no map of these {len(tiles)} tiles: run isamap infer first"
        )
    return found


def read_member(path: Path) -> Member:
    """A map from its header, and from its item if it has one.

    Raises:
        MissingInputError, InputError: there is no such file, or it is no class map.
    """
    item = store.read_item(path.with_suffix(".json")) or {}
    with open_raster(path) as src:
        _check_classes(src)
        geobox = geobox_of(src)
    tile = _tile_of(path.stem, geobox)
    stored = _stored(item, path)
    return Member(
        path,
        geobox,
        tile,
        stored.sha256 or digests.of_file(path),
        _properties(item, path),
        stored.size_bytes,
        stored.classes,
    )


def check_size(member: Member) -> None:
    """Refuse a raster that has another size than its item says: a cut one is seen without reading it.

    Raises:
        InputError: it is damaged, or was replaced.
        StorageError: the disk does not tell.
    """
    with store.storage_errors(member.path):
        size = member.path.stat().st_size if member.path.is_file() else 0
    if member.size_bytes not in {None, size}:
        raise InputError(
            f"{one_line(member.path)} has {size} bytes, its item says {member.size_bytes}: make it again"
        )


def check_member(member: Member) -> None:
    """Refuse a raster that is not the one its item describes, or lies elsewhere than its tile.

    Raises:
        InputError: it is damaged, was replaced, or may not be read.
    """
    check_file(member.path)
    if digests.of_file(member.path) != member.sha256:
        raise InputError(
            f"{one_line(member.path)} is not the file its item describes (sha256 differs): make it again"
        )
    with open_raster(member.path) as src:
        _check_classes(src)
        if geobox_of(src) != member.geobox:
            raise InputError(
                f"{one_line(member.path)} does not lie where its name or item says: make it again"
            )


def _from_item(path: Path, tile: Tile, item: dict[str, Any]) -> Member | None:
    """The member as its item describes it; None if that does not say enough. `check_member` looks at the raster."""
    properties, geobox, stored = _properties(item, path), tile.geobox(1), _stored(item, path)
    if not stored.sha256 or properties.get("proj:shape") != list(geobox.shape):
        return None
    return Member(path, geobox, tile, stored.sha256, properties, stored.size_bytes, stored.classes)


def _properties(item: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What a mosaic needs of the item of a map: 20 000 of them are held.

    Raises:
        InputError: a time is none, or a share or a threshold is no number from 0 to 1.
    """
    properties = item.get("properties")
    kept = {key: properties[key] for key in KEPT if key in properties} if isinstance(properties, dict) else {}
    model = kept.get("isamap:model")
    said = {**kept, "isamap:model.threshold": model.get("threshold") if isinstance(model, dict) else None}
    for keys, is_right in ((TIMES, _is_time), (SHARES, _is_share)):
        for key in keys:
            if said.get(key) is not None and not is_right(said[key]):
                where = one_line(path.with_suffix(".json"))
                raise InputError(f"{where}: {key} is {str(said[key])[:40]!r}: make the map again")
    return kept


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


class _Stored(NamedTuple):
    """A raster as its item has it."""

    sha256: str = ""
    """Empty if it says none."""
    size_bytes: int | None = None
    """None if it says none."""
    classes: str = ISA.name
    """Name of its class scheme: the key of the asset."""


def _stored(item: Mapping[str, Any], path: Path) -> _Stored:
    """What an item says of a raster."""
    assets = item.get("assets")
    for key, asset in assets.items() if isinstance(assets, dict) else ():
        if isinstance(asset, dict) and asset.get("href") == f"./{path.name}":
            checksum, size = str(asset.get("file:checksum")), asset.get("file:size")
            sha256 = checksum.removeprefix(digests.SHA256) if SHA256.fullmatch(checksum) else ""
            return _Stored(
                sha256, size if isinstance(size, int) else None, key if key in SCHEMES else ISA.name
            )
    return _Stored()


def _tile_of(stem: str, geobox: GeoBox) -> Tile | None:
    """The grid tile that a raster is, if name and grid agree."""
    try:
        tile = Tile.parse(stem)
    except InputError:
        return None
    return tile if tile.geobox(1) == geobox else None


def _check_classes(src: Any) -> None:
    check_position(src)
    if src.dtypes[0] != "uint8" or src.nodata not in (NODATA, None):
        raise InputError(
            f"{one_line(src.name)} is no class map: it holds {src.dtypes[0]}, nodata {src.nodata}"
        )
    if src.count > 1 or not set(src.mask_flag_enums[0]) <= {MaskFlags.all_valid, MaskFlags.nodata}:
        raise InputError(
            f"{one_line(src.name)} has a mask or a second band, which an index of maps would pass over: write what it "
            "hides as 255 into one band (gdalwarp -dstnodata 255)"
        )
    a, b, _, d, e, _ = src.transform[:6]
    if b or d or a != -e:
        raise InputError(f"{one_line(src.name)} is not north-up with square pixels")
    check_complete(src, 1)


class Reader:
    """Windows of members, a few of which stay open. Use it in `with`, from one thread."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, Any] = OrderedDict()
        self._env = rasterio.Env(**GDAL_ENV)

    def __enter__(self) -> Self:
        self._env.__enter__()
        return self

    def __exit__(self, *ending: object) -> None:
        for src in self._open.values():
            src.close()
        self._env.__exit__(*ending)

    def read(self, member: Member, window: Window) -> NDArray[np.uint8]:
        """Classes of a window inside a member, shape (y, x): codes of its scheme, and 255.

        Raises:
            InputError: it is damaged, or holds other values.
        """
        try:
            values: NDArray[np.uint8] = self._dataset(member).read(1, window=raster_window(window))
        except RasterioError as error:
            raise InputError(
                f"{one_line(member.path)} is damaged near row {window.row_off}: {reason(error)}"
            ) from error
        codes = [one.code for one in member.scheme.classes]
        if sum(np.count_nonzero(values == code) for code in (*codes, NODATA)) != values.size:
            raise InputError(
                f"{one_line(member.path)} holds other values than {', '.join(map(str, codes))} and {NODATA}: "
                "it is no class map"
            )
        return values

    def _dataset(self, member: Member) -> Any:
        src = self._open.pop(member.path, None)
        if src is None:
            src = open_raster(member.path)
            if len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open[member.path] = src
        return src
