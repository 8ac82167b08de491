"""A mosaic's members: finished maps, what part of each is its own, and whether they may stand side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain.classes import ISA, SCHEMES, Scheme
from isamap.domain.grid import Tile
from isamap.domain.ground_area import pixel_area_m2
from isamap.domain.lonlat import LONLAT, geodesic_area_km2, into_crs
from isamap.domain.own_ground import own_columns
from isamap.domain.product import footprint
from isamap.errors import InputError

MIN_OVERLAP_KM2 = 1e-4
"""Maps of the user's own may touch; the outline of a pixel row is no overlap."""
SAME_SIZE = 0.05
"""Share by which pixels of two CRSs may differ on the ground: within a UTM zone they differ by 0.1 %."""


@dataclass(frozen=True)
class Make:
    """How a map was made: maps of different makes do not stand in one mosaic."""

    model: str = ""
    """Name and version of the model; empty if nobody knows."""
    weights: str = ""
    """sha256 of the weights."""
    threshold: float | None = None
    """Probability from which a pixel is impervious."""
    code: str = ""
    """Program and version."""

    @classmethod
    def of(cls, properties: Mapping[str, Any]) -> "Make":
        """Make of a map from the properties of its STAC item."""
        model, provenance = properties.get("isamap:model"), properties.get("isamap:provenance")
        if not isinstance(model, dict) or not isinstance(provenance, dict):
            return cls()
        return cls(
            f"{model.get('name')} {model.get('version')}",
            str(provenance.get("model")),
            model.get("threshold"),
            str(provenance.get("code")),
        )

    def __str__(self) -> str:
        if not self.model:
            return "of unknown make (no item beside it)"
        return f"{self.model}, threshold {self.threshold} ({self.code}, weights {self.weights[:8]})"


@dataclass(frozen=True)
class Member:
    """A finished map in a mosaic."""

    path: Path
    """Its class raster."""
    geobox: GeoBox
    """Grid of the raster."""
    tile: Tile | None
    """The grid tile that it maps; None for a raster of the user's own."""
    sha256: str
    """Of the raster."""
    properties: Mapping[str, Any] = field(default_factory=dict)
    """Of its STAC item; empty if there is none."""
    size_bytes: int | None = None
    """Of the raster, as its item has it."""
    classes: str = ISA.name
    """Name of the scheme that its codes belong to."""

    @property
    def scheme(self) -> Scheme:
        """What its codes mean."""
        return SCHEMES[self.classes]

    @property
    def name(self) -> str:
        """Tile id, or the stem of the file."""
        return self.path.stem

    @property
    def crs(self) -> str:
        """As `EPSG:32648` where there is a code."""
        return str(self.geobox.crs)

    @property
    def gsd(self) -> float:
        """Side of a pixel, in units of the CRS."""
        return float(abs(self.geobox.transform.a))

    @cached_property
    def footprint(self) -> BaseGeometry:
        """Lon/lat polygon of what the member shows: of a tile, the part inside its own zone."""
        return footprint(self.geobox) if self.tile is None else self.tile.footprint()

    def outline(self, crs: str) -> BaseGeometry:
        """The footprint in another CRS."""
        return projected(self.footprint, crs)

    def owned(self) -> NDArray[np.int64] | None:
        """First column and column behind the last of each row that the member shows, shape (y, 2).

        None if that is all of them.
        """
        return None if self.tile is None else own_columns(self.tile, self.geobox)


def projected(area: BaseGeometry, crs: str) -> BaseGeometry:
    """A lon/lat area in another CRS."""
    return into_crs([area], LONLAT, crs)[0]


def check_alike(members: Sequence[Member], *, force: bool) -> str | None:
    """What differs in the make of the members, None if nothing does.

    Raises:
        InputError: models, weights, thresholds or versions differ, and nobody said to go on; or class schemes do.
    """
    first = members[0]
    other = next((member for member in members if member.classes != first.classes), None)
    if other is not None:
        raise InputError(
            f"{first.name} has the classes {first.classes}, {other.name} {other.classes}: "
            "make a mosaic of each"
        )
    for member in members:
        if Make.of(member.properties) != Make.of(first.properties):
            fault = (
                f"{first.name} is {Make.of(first.properties)}, {member.name} is {Make.of(member.properties)}"
            )
            if not force:
                raise InputError(f"{fault}: map them alike, or say --force")
            return fault
    return None


def _check_ground_sizes(members: Sequence[Member]) -> None:
    """Refuse pixels of one size in two CRSs that are not of one size on the ground.

    Raises:
        InputError: they differ by more than a twentieth.
    """
    of_crs = {member.crs: member for member in reversed(members)}
    first, *others = ((member, pixel_area_m2(member.geobox) ** 0.5) for member in of_crs.values())
    for other, size_m in others:
        if abs(size_m / first[1] - 1) > SAME_SIZE:
            raise InputError(
                f"{first[0].path} has pixels of {first[1]:.3g} m on the ground, {other.path} of {size_m:.3g} m: a mosaic "
                "has pixels of one size"
            )


def check_apart(members: Sequence[Member]) -> None:
    """Refuse rasters that show the same ground twice or have pixels of several sizes; different grid tiles never do.

    Raises:
        InputError: two are of one tile, overlap or differ in pixel size.
    """
    sizes = {round(member.gsd, 9): member.path for member in reversed(members)}
    if len(sizes) > 1:
        (one, first), (two, second) = list(sizes.items())[:2]
        raise InputError(
            f"{first} has pixels of {one:g}, {second} of {two:g}: a mosaic has pixels of one size"
        )
    tiles: dict[Tile, Member] = {}
    for member in members:
        if member.tile is not None and (other := tiles.setdefault(member.tile, member)) is not member:
            raise InputError(f"{other.path} and {member.path} are maps of one tile: leave one out")
    if len(tiles) == len(members):
        return
    _check_ground_sizes(members)
    shapes = [member.footprint for member in members]
    pairs = shapely.STRtree(shapes).query(shapes, predicate="intersects").T.tolist()
    for i, j in pairs:
        shared = shapely.intersection(shapes[i], shapes[j])
        if i < j and shared.area and geodesic_area_km2(shared) > MIN_OVERLAP_KM2:
            raise InputError(
                f"{members[i].path} and {members[j].path} show the same ground: leave one out or cut it"
            )
