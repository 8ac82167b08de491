"""Sheets of a mosaic on another grid: every pixel shows the tile pixel in which its centre lies.

Positions are projected at a few nodes of each window and interpolated between them (off by less than 0.1 mm at 1 m pixels).
A pixel is shown by the zone in which it lies, so there is no seam to choose at a zone border, and nothing is
invented.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain.grid import Window, crop, windows
from isamap.domain.lonlat import LONLAT, transformer
from isamap.domain.mosaic import Member
from isamap.domain.overview import places
from isamap.domain.product import BLOCK_PX, CLASSES, NODATA, Layer, class_layer, map_item
from isamap.domain.utm import signed_zone_of
from isamap.io import store
from isamap.io.cog import CogWriter
from isamap.io.members import Reader, check_member
from isamap.io.zones import Polygons

NODES = 17
"""Positions along each side of a window of `BLOCK_PX` pixels that are projected."""


@dataclass(frozen=True)
class SheetJob:
    """A sheet to be made."""

    geobox: GeoBox
    """Its grid."""
    members: tuple[Member, ...]
    """Maps that may show something on it."""
    target: store.Target
    """Where it goes."""
    provenance: Mapping[str, Any]
    """Everything its bytes depend on."""
    span: tuple[str, str]
    """Time it speaks of."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """For the file."""
    cutline: BaseGeometry | None = None
    """Lon/lat area outside which nothing is shown."""
    overwrite: bool = False
    """Redo it if it is done."""

    @property
    def layer(self) -> Layer:
        """What its raster holds: the classes of its members, which have one scheme."""
        return class_layer(self.members[0].scheme)

    @property
    def path(self) -> Path:
        """The raster, once made."""
        return self.target.directory / f"{self.target.stem}{CLASSES.suffix}"

    def __str__(self) -> str:
        """As logs name it."""
        return self.target.stem


def make_sheet(job: SheetJob) -> bool:
    """Make a sheet and publish it with its item; False if it was done.

    Raises:
        InputError: a map is damaged.
        StorageError: the disk refuses.
    """
    if not job.overwrite and store.state(job.target, job.provenance) is store.State.DONE:
        return False
    for member in job.members:
        check_member(member)
    stem, valid, isa = job.target.stem, 0, 0
    cut = Polygons([job.cutline], [1], LONLAT) if job.cutline is not None else None
    with store.publish(job.target, [stem + CLASSES.suffix]) as publication:
        path = publication.path(stem + CLASSES.suffix)
        with Reader() as reader, CogWriter(path, job.geobox, job.layer, job.tags) as cog:
            sampler = Sampler(job.members, reader)
            for window in windows((job.geobox.shape[0], job.geobox.shape[1]), BLOCK_PX):
                grid = crop(job.geobox, window)
                classes = sampler.on(grid)
                if cut is not None:
                    classes[cut.on(grid) == 0] = NODATA
                cog.write(window, classes)
                valid += int(np.count_nonzero(classes != NODATA))
                isa += job.members[0].scheme.count_isa(classes)
        publication.commit(_item(job, valid, isa))
    return True


def _item(job: SheetJob, valid: int, isa: int) -> dict[str, Any]:
    properties = {
        "isamap:provenance": dict(job.provenance),
        "isamap:inputs": [member.path.name for member in job.members],
        "isamap:isa_share": round(isa / valid, 6) if valid else None,
        "isamap:valid_share": round(valid / (job.geobox.shape[0] * job.geobox.shape[1]), 6),
    }
    item = map_item(job.target.stem, job.geobox, job.span, (job.layer,), properties)
    item["assets"] = {job.layer.key: item["assets"][job.layer.key]}  # a sheet has no picture
    return item


class Sampler:
    """Members seen on any grid."""

    def __init__(self, members: Sequence[Member], reader: Reader) -> None:
        self._reader = reader
        self._groups: dict[str, tuple[list[Member], shapely.STRtree]] = {}
        for crs in dict.fromkeys(member.crs for member in members):
            own = [member for member in members if member.crs == crs]
            self._groups[crs] = own, shapely.STRtree([shapely.box(*m.geobox.boundingbox.bbox) for m in own])

    def on(self, grid: GeoBox) -> NDArray[np.uint8]:
        """Classes of the pixels of a small grid, shape (y, x): codes of the scheme, and 255 where nothing is known."""
        classes = np.full((grid.shape[0], grid.shape[1]), NODATA, np.uint8)
        zones = _zones(grid)
        for crs, (members, tree) in self._groups.items():
            if not any(member.tile is None or member.tile.signed_zone in zones for member in members):
                continue
            x, y = positions(grid, crs)
            if not (np.isfinite(x).all() and np.isfinite(y).all()):
                continue  # a place that the CRS of these members cannot show
            for index in sorted(tree.query(shapely.box(x.min(), y.min(), x.max(), y.max())).tolist()):
                member = members[index]
                if member.tile is None:
                    self._take(member, (x, y), None, classes)
                elif (zone := member.tile.signed_zone) in zones:
                    self._take(member, (x, y), zones[zone], classes)
        return classes

    def _take(
        self,
        member: Member,
        at: tuple[NDArray[np.float64], NDArray[np.float64]],
        owned: NDArray[np.bool_] | None,
        classes: NDArray[np.uint8],
    ) -> None:
        """Put the pixels of one member where they belong."""
        x, y = at
        left, _, _, top = member.geobox.boundingbox
        height, width = member.geobox.shape
        cols = np.floor((x - left) / member.gsd).astype(np.int64)
        rows = np.floor((top - y) / member.gsd).astype(np.int64)
        inside = (cols >= 0) & (cols < width) & (rows >= 0) & (rows < height)
        if owned is not None:
            inside &= owned
        if not inside.any():
            return
        cols, rows = cols[inside], rows[inside]
        first = int(rows.min()), int(cols.min())
        window = Window(*first, int(rows.max()) + 1 - first[0], int(cols.max()) + 1 - first[1])
        classes[inside] = self._reader.read(member, window)[rows - first[0], cols - first[1]]


def positions(grid: GeoBox, crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X and y of the pixel centres of a small grid in another CRS, each of shape (y, x)."""
    height, width = grid.shape
    x, y = _nodes(grid, crs)
    across, down = _weights(width), _weights(height)
    return down @ x @ across.T, down @ y @ across.T


def _nodes(grid: GeoBox, crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X and y of the nodes of a grid, corners among them, in another CRS."""
    height, width = grid.shape
    cols, rows = np.meshgrid(np.linspace(0, width, NODES), np.linspace(0, height, NODES))
    x, y = places(grid.transform, cols, rows)
    if str(grid.crs) != crs:
        x, y = transformer(str(grid.crs), crs).transform(x, y)
    return np.asarray(x), np.asarray(y)


def _zones(grid: GeoBox) -> dict[int, NDArray[np.bool_] | None]:
    """UTM zones on a grid, southern ones negative, each with its pixels; None stands for all."""
    lon, lat = _nodes(grid, LONLAT)
    corners = signed_zone_of(lon, lat)
    if (corners == corners[0, 0]).all():
        return {int(corners[0, 0]): None}
    numbers = signed_zone_of(*positions(grid, LONLAT))
    return {int(number): numbers == number for number in np.unique(numbers)}


def _weights(count: int) -> NDArray[np.float64]:
    """Linear interpolation from nodes to the centres of so many pixels, shape (count, NODES)."""
    at = (np.arange(count) + 0.5) * ((NODES - 1) / count)
    low = np.minimum(at.astype(np.int64), NODES - 2)
    weights = np.zeros((count, NODES))
    weights[np.arange(count), low] = 1 - (at - low)
    weights[np.arange(count), low + 1] = at - low
    return weights
