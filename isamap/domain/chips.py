"""What a chip store says about itself: shards, chips, and the documents that describe them.

A shard is the ground of one site in place: imagery on its own grid, fine image and labels below it, as GeoTIFFs whose
blocks are chips. Chips are windows of it. Splits are kept by pixel in a raster of their own, so that a window on a
border may serve two splits, each with its own part.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from affine import Affine
from odc.geo.geobox import GeoBox

from isamap.domain.product import FAR_FUTURE, FIRST_ACQUISITION

FORMAT = 1
"""Of the store; another one is another store."""
STEM = "chips"
"""Name of the store's own files."""
RIM = 0.25
"""Part of a chip."""
LR, HR, LABELS, SPLIT = "lr", "hr", "labels", "split"
"""Layers of a shard, and endings of their files."""


@dataclass(frozen=True)
class ChipRow:
    """One chip: a window of a shard in one split."""

    id: str
    """Unique in the store."""
    source: str
    """Its shard."""
    split: str
    """train, val, test, or target: imagery without labels."""
    row: int
    """First row in the shard, in pixels of the imagery."""
    col: int
    """First column."""
    size: int
    """Side, likewise."""
    labelled_share: float
    """Part of it that is labelled (without labels: that has a fine image, or imagery) and of its split."""
    isa_share: float | None
    """Impervious part of what is labelled; None without labels."""
    unit: str = ""
    """Administrative unit."""
    reach: str = ""
    """Reach of the Yangtze: upstream, midstream, downstream, or none."""


@dataclass(frozen=True)
class ShardRow:
    """One shard."""

    name: str
    """Stem of its files."""
    sensor: str
    """That took the imagery, or that is simulated."""
    bands: tuple[str, ...]
    """Of the imagery, by ESA's names."""
    gsd_m: float
    """Pixel of the imagery."""
    scale: int
    """Fine pixels per pixel and side."""
    gain: float
    """Reflectance of one stored unit."""
    scheme: str
    """Classes of the labels; '' without labels."""
    has_hr: bool
    """Whether there is a fine image."""
    simulated: bool
    """Whether the imagery was made from it."""
    shape: tuple[int, int]
    """Of the imagery."""
    crs: str
    """Of the grid; '' if it has no position."""
    transform: tuple[float, ...]
    """Of the imagery, six figures."""
    shifts: tuple[dict[str, Any], ...] = ()
    """Measured shifts of fine image and labels: east_m, north_m, peak, by, windows, trusted."""
    shift_px: tuple[int, int] = (0, 0)
    """Fine rows and columns by which they were moved back."""
    licence: str = ""
    """Of what is in it."""
    attribution: tuple[str, ...] = ()
    """Notices that go with it."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Fine pixels of each label code."""

    @property
    def has_labels(self) -> bool:
        """Whether there is a label layer."""
        return bool(self.scheme)

    @property
    def layers(self) -> tuple[str, ...]:
        """Those it has files of."""
        return (LR, *([HR] if self.has_hr else []), *([LABELS] if self.has_labels else []))

    @property
    def geobox(self) -> GeoBox:
        """Grid of the imagery."""
        return GeoBox(self.shape, Affine(*self.transform), self.crs or None)

    @property
    def frame(self) -> str:
        """What its coordinates mean: a CRS, or the image alone."""
        return self.crs or f"image:{self.name}"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"shape": list(self.shape), "transform": list(self.transform)}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> "ShardRow":
        """The way back."""
        lists = {
            key: tuple(document[key])
            for key in ("bands", "shape", "transform", "shifts", "shift_px", "attribution")
        }
        return cls(**{**document, **lists})


def chip_windows(shape: tuple[int, int], size: int) -> Iterator[tuple[int, int]]:
    """First row and column of the chips that cover a raster; the last ones overlap where sides are no multiples.

    A rim narrower than a quarter of a chip gets no chips of its own: they would repeat their neighbours.

    Args:
        shape: of the imagery, both sides at least `size`.
        size: of a chip.
    """
    rows, cols = (_starts(side, size) for side in shape)
    for row in rows:
        for col in cols:
            yield row, col


def _starts(side: int, size: int) -> list[int]:
    whole = list(range(0, side - size + 1, size))
    return [*whole, side - size] if side % size >= RIM * size and side % size else whole


def feature(
    chip: ChipRow, footprint: Sequence[tuple[float, float]] | None, more: Mapping[str, Any]
) -> dict[str, Any]:
    """A chip as a GeoJSON feature; without position it has no geometry."""
    ring = (
        None
        if footprint is None
        else {"type": "Polygon", "coordinates": [[list(point) for point in footprint]]}
    )
    return {"type": "Feature", "id": chip.id, "geometry": ring, "properties": {**asdict(chip), **more}}


def item(
    stem: str, names: Mapping[str, str], properties: Mapping[str, Any], box: Sequence[float] | None
) -> dict[str, Any]:
    """STAC item of a shard or of the store, without checksums.

    Args:
        stem: id of the item.
        names: file names by asset key.
        properties: provenance among them.
        box: lon/lat bounds; None if nobody knows where it lies.
    """
    kinds = {
        ".tif": "image/tiff; application=geotiff",
        ".geojson": "application/geo+json",
        ".png": "image/png",
    }
    document: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/file/v2.1.0/schema.json"],
        "id": stem,
        "geometry": None,
        "properties": {
            "datetime": None,
            "start_datetime": FIRST_ACQUISITION,
            "end_datetime": FAR_FUTURE,
            **properties,
        },
        "links": [],
        "assets": {
            key: {"href": f"./{name}", "type": kinds[name[name.rindex(".") :]], "roles": ["data"]}
            for key, name in names.items()
        },
    }
    if box is not None:
        left, bottom, right, top = box
        ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
        document |= {"bbox": list(box), "geometry": {"type": "Polygon", "coordinates": [ring]}}
    return document
