"""Splits of shards: what each block of ground holds, what each pixel is for, and the chips that follow."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from isamap import __version__
from isamap.domain.chips import HR, LABELS, LR, SPLIT, ChipRow, ShardRow, chip_windows
from isamap.domain.classes import FBP24, UNLABELLED
from isamap.domain.grid import Window, windows
from isamap.domain.lonlat import LONLAT, transformer
from isamap.domain.split_pixels import assign, block_sums
from isamap.domain.splits import CODES, TARGET, TEST, TRAIN, VAL, Block, Box, Plan
from isamap.domain.tiling import Source
from isamap.errors import InputError
from isamap.io.guard import GDAL_ENV, one_line, open_raster
from isamap.io.places import Places
from isamap.io.plain import read_window
from isamap.io.store import storage_errors

STRIP_PX = 512
"""Windows of imagery in which shards are counted."""


@dataclass(frozen=True)
class Known:
    """What is known of each pixel of the imagery, as numbers of fine pixels, `(y, x)`."""

    labelled: NDArray[np.unsignedinteger[Any]]
    """Labelled; without labels: with a fine image; without either: all, where there is imagery."""
    isa: NDArray[np.unsignedinteger[Any]]
    """Impervious."""
    seen: NDArray[np.bool_]
    """Where there is imagery, `(y, x)`."""


def known_of(folder: Path, shard: ShardRow) -> Known:
    """What a shard knows; nothing counts where imagery is missing."""
    kind: type[np.unsignedinteger[Any]] = np.uint8 if shard.scale**2 <= np.iinfo(np.uint8).max else np.uint16
    labelled, isa = np.zeros(shard.shape, kind), np.zeros(shard.shape, kind)
    whole = np.zeros(shard.shape, np.bool_)
    layer = LABELS if shard.has_labels else HR if shard.has_hr else LR
    with (
        rasterio.Env(**GDAL_ENV),
        open_raster(folder / f"{shard.name}.{LR}.tif") as lr,
        open_raster(folder / f"{shard.name}.{layer}.tif") as fine,
    ):
        for window in windows(shard.shape, STRIP_PX):
            stored = read_window(lr, window)
            seen = (np.isfinite(stored) if stored.dtype.kind == "f" else stored != 0).any(axis=0)
            whole[window.slices] = seen
            if layer == LR:
                labelled[window.slices] = seen
                continue
            values = read_window(fine, window.scaled(shard.scale))
            if layer == LABELS:
                codes = FBP24.to_isa(values[0]) if shard.scheme == FBP24.name else values[0]
                isa[window.slices] = np.where(seen, _count(codes == 1, shard.scale), 0)
                labelled[window.slices] = np.where(seen, _count(values[0] != UNLABELLED, shard.scale), 0)
            else:
                labelled[window.slices] = np.where(
                    seen, _count(np.asarray(values.any(axis=0)), shard.scale), 0
                )
    return Known(labelled, isa, whole)


def _count(mask: NDArray[np.bool_], scale: int) -> NDArray[np.uint16]:
    """True fine pixels in each pixel of the imagery."""
    height, width = mask.shape[0] // scale, mask.shape[1] // scale
    counted: NDArray[np.uint16] = mask.reshape(height, scale, width, scale).sum(axis=(1, 3), dtype=np.uint16)
    return counted


def is_target(shard: ShardRow, source: Source) -> bool:
    """Whether a shard is imagery alone, or is said to serve as such."""
    return source.only == TARGET or (source.only is None and not shard.has_labels and not shard.has_hr)


def given_codes(shard: ShardRow, source: Source, data: Path) -> NDArray[np.uint8] | None:
    """Split codes that the recipe gives by pixel or for the whole; None where blocks decide.

    Raises:
        InputError: the split raster lies on another grid, or has none of its values.
    """
    if is_target(shard, source):
        return np.full(shard.shape, CODES[TARGET], np.uint8)
    if source.only is not None:
        return np.full(shard.shape, CODES[source.only], np.uint8)
    if source.split is None:
        return None
    path = data / source.split
    with open_raster(path) as src:
        placed = not shard.crs or (
            src.crs is not None and np.allclose(src.transform[:6], shard.transform, rtol=0, atol=1e-3)
        )
        if tuple(src.shape) != tuple(shard.shape) or not placed or src.count != 1:
            raise InputError(f"{one_line(path)} is not on the grid of the imagery of {shard.name}")
        values = read_window(src, Window(0, 0, *shard.shape))[0]
    codes = np.zeros(shard.shape, np.uint8)
    for split, value in source.split_values.items():
        codes[values == value] = CODES[split]
    if not codes.any():
        raise InputError(
            f"{one_line(path)} has none of the values {sorted(source.split_values.values())}: set split_values"
        )
    return codes


def blocks_of(
    shard: ShardRow, known: Known, given: NDArray[np.uint8] | None, side_m: float, places: Places, unit: str
) -> list[Block]:
    """The blocks of a shard that hold labels."""
    pixel_m2 = (shard.gsd_m / shard.scale) ** 2
    labelled, isa = (block_sums(one, shard.transform, side_m) for one in (known.labelled, known.isa))
    fixed = _fixed(given, known, shard, side_m)
    found = []
    project = transformer(shard.crs, LONLAT) if shard.crs else None
    for (ix, iy), pixels in labelled.items():
        if not pixels:
            continue
        own, reach = unit, ""
        if project is not None:
            own, reach = places.find(*project.transform((ix + 0.5) * side_m, (iy + 0.5) * side_m), unit)
        found.append(
            Block(
                shard.frame,
                ix,
                iy,
                pixels * pixel_m2,
                isa[ix, iy] * pixel_m2,
                own,
                reach,
                fixed.get((ix, iy), ""),
            )
        )
    return found


def _fixed(
    given: NDArray[np.uint8] | None, known: Known, shard: ShardRow, side_m: float
) -> dict[tuple[int, int], str]:
    """Split of the blocks whose ground was given one; what is kept back counts more than what trains."""
    fixed: dict[tuple[int, int], str] = {}
    if given is not None:
        for split in (TRAIN, VAL, TEST):
            mask = (given == CODES[split]) & (known.labelled > 0)
            sums = block_sums(mask, shard.transform, side_m)
            fixed |= {place: split for place, pixels in sums.items() if pixels}
    return fixed


def merged(blocks: Sequence[Block]) -> list[Block]:
    """Blocks with what several shards know of the same ground put together."""
    found: dict[tuple[str, int, int], Block] = {}
    rank = ("", TRAIN, VAL, TEST)
    for block in blocks:
        key = block.frame, block.ix, block.iy
        if key in found:
            other = found[key]
            fixed = max(block.fixed, other.fixed, key=rank.index)
            total = block.known + other.known, block.isa + other.isa
            block = Block(*key, *total, other.unit, other.reach, fixed)  # noqa: PLW2901  # the two become one
        found[key] = block
    return list(found.values())


def split_codes(shard: ShardRow, given: NDArray[np.uint8] | None, plan: Plan) -> NDArray[np.uint8]:
    """Split code of each pixel of a shard."""
    if given is not None:
        return given
    held: list[tuple[str, Box]] = []
    for frame, split, box in plan.boxes():
        if frame == shard.frame:
            held.append((split, box))
        elif shard.crs and not frame.startswith("image:"):
            held.append((TARGET, _box_in(box, frame, shard.crs)))
    codes = assign(shard.shape, shard.transform, held, plan.buffer_m)
    codes[codes == CODES[TARGET]] = 0  # held out by a shard in another zone: nobody's here
    return codes


def _box_in(box: Box, crs: str, other: str) -> Box:
    """Bounds of a box in another CRS."""
    bounds = transformer(crs, other).transform_bounds(*box)
    return tuple(float(side) for side in bounds)  # type: ignore[return-value]  # four sides


def chips_of(
    shard: ShardRow,
    known: Known,
    codes: NDArray[np.uint8],
    cut: tuple[int, float],
    places: Places | None,
    own: str,
) -> list[ChipRow]:
    """Chips of a shard: windows with enough labels of a split, one for each split.

    Args:
        shard: the shard.
        known: what it knows.
        codes: split of each pixel.
        cut: side of a chip, and the least labelled share.
        places: units by position; None leaves unit and reach open.
        own: unit where there is none.
    """
    size, least = cut
    found = []
    room = size**2 * (1 if not (shard.has_labels or shard.has_hr) else shard.scale**2)
    names = {code: name for name, code in CODES.items() if code}
    project = transformer(shard.crs, LONLAT) if shard.crs else None
    for row, col in chip_windows(shard.shape, size):
        part = slice(row, row + size), slice(col, col + size)
        for code in np.flatnonzero(np.bincount(codes[part].ravel(), minlength=5)[:5]).tolist():
            mask = codes[part] == code
            labelled = int(known.labelled[part][mask].sum())
            if not code or labelled < max(1, least * room):
                continue
            isa = int(known.isa[part][mask].sum())
            unit, reach = own, ""
            if project is not None and places is not None:
                unit, reach = places.find(*project.transform(*_middle(shard, row, col, size)), own)
            found.append(
                ChipRow(
                    id=f"{shard.name}_{row:05d}_{col:05d}_{names[code]}",
                    source=shard.name,
                    split=names[code],
                    row=row,
                    col=col,
                    size=size,
                    labelled_share=round(labelled / room, 4),
                    isa_share=round(isa / labelled, 4) if shard.has_labels else None,
                    unit=unit,
                    reach=reach,
                )
            )
    return found


def _middle(shard: ShardRow, row: int, col: int, size: int) -> tuple[float, float]:
    a, _, c, _, e, f = shard.transform
    return c + a * (col + size / 2), f + e * (row + size / 2)


def footprint(shard: ShardRow, chip: ChipRow) -> list[tuple[float, float]] | None:
    """Corners of a chip in longitude and latitude, the first one again at the end; None without position."""
    if not shard.crs:
        return None
    a, _, c, _, e, f = shard.transform
    left, top = c + a * chip.col, f + e * chip.row
    right, bottom = left + a * chip.size, top + e * chip.size
    project = transformer(shard.crs, LONLAT)
    x, y = project.transform([left, right, right, left, left], [bottom, bottom, top, top, bottom])
    return [(round(lon, 7), round(lat, 7)) for lon, lat in zip(x, y, strict=True)]


def write_split(path: Path, shard: ShardRow, codes: NDArray[np.uint8]) -> None:
    """The split raster of a shard."""
    colours: Mapping[int, Any] = {
        0: (0, 0, 0, 0),
        CODES[TRAIN]: (90, 140, 200, 255),
        CODES[VAL]: (230, 140, 40, 255),
        CODES[TEST]: (190, 60, 110, 255),
        CODES[TARGET]: (150, 150, 150, 255),
    }
    place: dict[str, Any] = {"crs": shard.crs, "transform": shard.geobox.transform} if shard.crs else {}
    height, width = shard.shape
    with (
        storage_errors(path, (RasterioError,)),
        warnings.catch_warnings(action="ignore", category=NotGeoreferencedWarning),
        rasterio.Env(GDAL_PAM_ENABLED="NO"),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=height,
            width=width,
            count=1,
            dtype="uint8",
            tiled=True,
            blockxsize=256,
            blockysize=256,
            compress="ZSTD",
            **place,
        ) as dst,
    ):
        dst.update_tags(isamap_version=__version__)
        dst.write_colormap(1, dict(colours))
        dst.set_band_description(1, SPLIT)
        dst.write(codes, 1)
