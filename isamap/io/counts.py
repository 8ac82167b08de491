"""The overview of a mosaic: each member's pixels counted in the cells it touches, then summed block by block.

The counts of a member are a small GeoTIFF of their own. An interrupted run goes on with those that are there, a
later one counts only the maps that are new, and the sum reads them where they are needed: memory does not grow
with the region.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from shapely.geometry.base import BaseGeometry

from isamap.domain.classes import ISA
from isamap.domain.grid import Window, crop, windows
from isamap.domain.lonlat import LONLAT
from isamap.domain.mosaic import Member
from isamap.domain.overview import COUNT_PX, Counts, isa_percent, room_px, valid_percent
from isamap.domain.product import BLOCK_PX, NODATA, OVERVIEW_ISA, OVERVIEW_VALID
from isamap.errors import StorageError
from isamap.io.cog import CogWriter
from isamap.io.guard import open_raster, raster_window
from isamap.io.members import Reader, check_member, check_size
from isamap.io.store import storage_errors, write_atomic
from isamap.io.zones import Polygons

DIGEST_TAG, AREA_TAG = "isamap_digest", "isamap_valid_m2"
PROFILE = {"driver": "GTiff", "count": 2, "dtype": "uint32", "compress": "deflate", "predictor": 2}


@dataclass(frozen=True)
class CountJob:
    """A member to be counted."""

    member: Member
    """The map."""
    grid: GeoBox
    """Of the overview."""
    cells: Window
    """Of the overview that the member may touch."""
    path: Path
    """Where its counts go."""
    digest: str
    """Of everything they depend on."""
    cutline: BaseGeometry | None = None
    """Lon/lat area outside which nothing counts."""
    overwrite: bool = False
    """Count again what is counted."""

    def __str__(self) -> str:
        """As logs name it."""
        return self.member.name


@dataclass(frozen=True)
class Counted:
    """What a member adds to the mosaic."""

    isa: int
    """Impervious pixels."""
    valid: int
    """Mapped pixels."""
    valid_m2: float
    """Their ground."""
    new: bool
    """Counted now; otherwise found."""


def count(job: CountJob) -> Counted:
    """Count a member, unless its counts are there.

    Raises:
        InputError: the map is damaged.
        StorageError: the disk refuses.
    """
    found = None if job.overwrite else _read_counts(job)
    if found is not None:
        check_size(job.member)
        (isa, valid), valid_m2 = found
        return Counted(int(isa.sum(dtype=np.int64)), int(valid.sum(dtype=np.int64)), valid_m2, new=False)
    check_member(job.member)
    counts, member, owned = Counts.over(job.grid, job.cells), job.member, job.member.owned()
    cut = Polygons([job.cutline], [1], LONLAT) if job.cutline is not None else None
    shape = member.geobox.shape[0], member.geobox.shape[1]
    with Reader() as reader:
        for window in windows(shape, COUNT_PX):
            classes, pixels = reader.read(member, window), crop(member.geobox, window)
            if member.scheme is not ISA:
                classes = member.scheme.to_isa(classes)
            if cut is not None:
                classes[cut.on(pixels) == 0] = NODATA
            if (classes == NODATA).all():
                continue
            rows = None if owned is None else owned[window.slices[0]] - window.col_off
            counts.add(classes, pixels, rows)
    _write_counts(job, counts)
    return Counted(int(counts.isa.sum()), int(counts.valid.sum()), counts.valid_m2, new=True)


def _write_counts(job: CountJob, counts: Counts) -> None:
    height, width = counts.isa.shape
    place = {"crs": str(job.grid.crs), "transform": counts.grid.transform}
    with MemoryFile() as memory:
        with memory.open(height=height, width=width, **PROFILE, **place) as dst:
            dst.write(np.stack([counts.isa, counts.valid]).astype(np.uint32))
            dst.update_tags(**{DIGEST_TAG: job.digest, AREA_TAG: repr(counts.valid_m2)})
        write_atomic(job.path, bytes(memory.getbuffer()))


def _read_counts(job: CountJob) -> tuple[NDArray[np.uint32], float] | None:
    """Both bands and the mapped ground of counts that are there, still right and no older than the map, else None."""
    with storage_errors(job.member.path):
        if not job.path.is_file() or _changed(job.path) < _changed(job.member.path):
            return None
    try:
        with rasterio.open(job.path, driver="GTiff") as src:
            right = src.tags().get(DIGEST_TAG) == job.digest and src.shape == job.cells.shape
            return (src.read(), float(src.tags()[AREA_TAG])) if right else None
    except (RasterioError, KeyError, ValueError):
        return None


def _changed(path: Path) -> int:
    """When a file was last written, ns since the epoch."""
    return path.stat().st_mtime_ns


def write_overview(
    jobs: Sequence[CountJob], grid: GeoBox, folder: Path, stem: str, tags: Mapping[str, str]
) -> None:
    """Sum the counts of members into the two rasters of the overview, a block after the other.

    Args:
        jobs: members whose counts are there.
        grid: of the overview.
        folder: for the rasters.
        stem: of their names.
        tags: for both files.
    """
    boxes = [_box(job.cells) for job in jobs]
    tree = shapely.STRtree(boxes)
    with ExitStack() as stack:
        isa_cog, valid_cog = (
            stack.enter_context(CogWriter(folder / (stem + layer.suffix), grid, layer, tags))
            for layer in (OVERVIEW_ISA, OVERVIEW_VALID)
        )
        for window in windows((grid.shape[0], grid.shape[1]), BLOCK_PX):
            near = [jobs[index] for index in sorted(tree.query(_box(window)).tolist())]
            isa, valid, room = _sum(near, window)
            isa_cog.write(window, isa_percent(isa, valid))
            valid_cog.write(window, valid_percent(valid, room))


def _sum(
    jobs: Sequence[CountJob], window: Window
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Impervious and mapped pixels of the cells of a window, and pixels that each has room for."""
    isa, valid = np.zeros(window.shape, np.int64), np.zeros(window.shape, np.int64)
    room = np.ones(window.shape)
    for job in jobs:
        shifted = Window(
            window.row_off - job.cells.row_off, window.col_off - job.cells.col_off, *window.shape
        )
        inside = shifted.clip(job.cells.shape)
        if not inside.height or not inside.width:
            continue
        try:
            with rasterio.open(job.path, driver="GTiff") as src:
                part = src.read(window=raster_window(inside))
        except RasterioError as error:
            raise StorageError(f"{job.path} cannot be read back: run the command again") from error
        top, left = inside.row_off - shifted.row_off, inside.col_off - shifted.col_off
        target = slice(top, top + inside.height), slice(left, left + inside.width)
        isa[target] += part[0]
        valid[target] += part[1]
        own = room_px(crop(crop(job.grid, job.cells), inside), job.member.geobox)
        room[target] = np.maximum(room[target], own)
    return isa, valid, room


def _box(window: Window) -> Any:
    return shapely.box(
        window.col_off,
        window.row_off,
        window.col_off + window.width,
        window.row_off + window.height,
    )


def thinned(path: Path, side_px: int) -> NDArray[np.uint8]:
    """A raster averaged to at most `side_px` pixels a side."""
    with open_raster(path) as src:
        shrink = max(1.0, max(src.shape) / side_px)
        shape = tuple(max(1, round(side / shrink)) for side in src.shape)
        values: NDArray[np.uint8] = src.read(1, out_shape=shape, resampling=rasterio.enums.Resampling.average)
        return values
