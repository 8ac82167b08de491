"""What the project knows of one Sentinel-2 L2A scene before it reads a pixel."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

DropKind = Literal["unusable", "year", "month", "zone", "elsewhere", "cloud", "number", "look"]


@dataclass(frozen=True)
class Asset:
    """One file of a scene."""

    key: str
    """Its name in the STAC item, for messages."""
    href: str
    """Unsigned address: https, http or s3; of a folder's scene the path below the folder."""


@dataclass(frozen=True)
class SceneItem:
    """A granule of one date and MGRS tile."""

    id: str
    """Item id, safe as (part of) a file name."""
    source: str
    """Name of the Source."""
    collection: str
    """Its collection."""
    platform: str
    """`S2A`, `S2B`, `S2C`, ...; empty if nothing tells."""
    orbit: int | None
    """Relative orbit, 1-143."""
    mgrs: str
    """MGRS tile, `48RXU`; empty if nothing tells."""
    datetime: str
    """Sensing time, RFC 3339 in UTC, whole seconds; of the granule (Earth Search) or of the start of the datatake
    (Planetary Computer, CDSE), up to half an hour before."""
    baseline: str
    """Processing baseline `05.10`; empty if nothing tells or the item contradicts itself."""
    cloud_cover: float | None
    """Percent, 0-100."""
    epsg: int | None
    """UTM zone of its grid; None if nothing tells."""
    footprint: Any
    """Lon/lat polygons (shapely), cut at 180 degrees; None if the item has none: it may lie anywhere."""
    assets: Mapping[str, Asset] = field(repr=False, hash=False)
    """File of each of BANDS and of SCL."""
    declared_offset: int | None = None
    """What the item says must be added to its DN: 0, -1000, or None if it says nothing clear."""
    declaration: str = ""
    """Field that says so, for the record."""
    product: str = ""
    """ESA's product name, for the record; empty if the item does not say."""
    stamp: str = ""
    """Digest of its files where they lie in a folder; empty for a catalogue, whose scenes do not change under their id."""

    @property
    def identity(self) -> list[str | int | None]:
        """What of it decides pixels. A folder's scene is known by its files: the folder may move or be renamed."""
        known = [self.collection, self.id, self.datetime, self.baseline, self.declared_offset]
        return ["folder", *known, self.stamp] if self.stamp else [self.source, *known]

    @property
    def order(self) -> tuple[str, str]:
        """Sort key of every list of scenes: (datetime, id)."""
        return self.datetime, self.id


@dataclass(frozen=True, order=True)
class Dropped:
    """A scene that was left out."""

    id: str
    """Of the item, shortened where it was no id."""
    reason: str
    """Why, in one line."""
    kind: DropKind = "unusable"
    """Why, for counting."""
    cloud_cover: float | None = None
    """Of a scene that is too cloudy, percent."""
    max_scenes: int | None = None
    """Number of scenes that was asked for, of one beyond it."""
