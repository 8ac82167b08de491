"""What isamap writes: names, types, nodata, COG profiles, and the STAC item beside every raster."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from isamap.domain.classes import Scheme
from isamap.domain.grid import Tile
from isamap.domain.lonlat import LONLAT, bbox_of, cut_at_180

COMPOSITES = "composites"
"""Folder of a workspace in which the composites lie, a folder for each year."""
NODATA = 255
"""Of both map rasters: no look at the ground, or a missing band."""
MAX_STEM_BYTES = 100
"""Of a name taken from a file of the user's: file systems allow 255 with all that is added."""
BLOCK_PX = 512
"""Internal blocks; 2560 output pixels (a window of 256) are five of them."""
ZSTD_LEVEL = 1
"""Higher levels cost more than they save (docs/design/0005-cog.md)."""
FIRST_ACQUISITION, FAR_FUTURE = "2015-06-23T00:00:00Z", "2100-01-01T00:00:00Z"
"""From Sentinel-2A's launch on: the time span of an input whose date nobody gave."""


@dataclass(frozen=True)
class Layer:
    """One raster of a map product."""

    key: str
    """Asset key in the STAC item."""
    suffix: str
    """What follows the stem in the file name."""
    title: str
    """For people and catalogues."""
    description: str
    """Band description inside the file."""
    overview: str
    """GDAL resampling of the overviews: classes stay classes."""
    colours: Mapping[int, tuple[int, int, int, int]]
    """Colour table; empty for a plain grey raster."""


CLASSES = Layer(
    key="isa",
    suffix=".tif",
    title="Impervious surface: 0 pervious, 1 impervious, 255 nodata",
    description="impervious surface",
    overview="MODE",
    colours={0: (236, 240, 232, 255), 1: (178, 34, 52, 255), NODATA: (0, 0, 0, 0)},
)
PROBABILITY = Layer(
    key="probability",
    suffix=".prob.tif",
    title="Probability of impervious surface: percent, 255 nodata",
    description="probability of impervious surface, percent",
    overview="AVERAGE",
    colours={},
)
OVERVIEW_ISA = Layer(
    key="isa",
    suffix=".tif",
    title="Impervious share of the mapped ground of each cell: percent, 255 nodata",
    description="impervious share of mapped ground, percent",
    overview="AVERAGE",
    colours={},
)
OVERVIEW_VALID = Layer(
    key="mapped",
    suffix=".mapped.tif",
    title="Share of each cell that is mapped: percent",
    description="mapped share of the cell, percent",
    overview="AVERAGE",
    colours={},
)
PREVIEW_KEY, PREVIEW_SUFFIX = "preview", ".png"


def class_layer(scheme: Scheme) -> Layer:
    """The class raster of maps of a scheme; its asset is called as the scheme is."""
    if scheme.name == CLASSES.key:
        return CLASSES
    legend = ", ".join(f"{one.code} {one.name}" for one in scheme.classes)
    title, what = f"Land cover, {scheme.name}: {legend}, {NODATA} nodata", f"land cover, {scheme.name}"
    return replace(CLASSES, key=scheme.name, title=title, description=what, colours=scheme.colours)


def overview_factors(shape: tuple[int, int]) -> list[int]:
    """2, 4, 8, ... until the smaller side fits into one block."""
    factors = []
    factor = 2
    while min(shape) // factor >= BLOCK_PX // 2 and max(shape) * 2 // factor > BLOCK_PX:
        factors.append(factor)
        factor *= 2
    return factors or ([2] if max(shape) > BLOCK_PX else [])


def composite_directory(workspace: Path, year: int) -> Path:
    """Where the composites of a year lie."""
    return workspace / COMPOSITES / str(year)


def composite_path(workspace: Path, year: int, tile: Tile) -> Path:
    """Where a tile's annual composite lies: uint16 reflectance x 10000, named bands, 32 px margin."""
    return composite_directory(workspace, year) / f"{tile}.tif"


def map_directory(workspace: Path, model: str, year: int) -> Path:
    """Where the maps of a model and year lie."""
    return workspace / "maps" / model / str(year)


def mosaic_directory(workspace: Path, model: str, year: int, region: str) -> Path:
    """Where the mosaic of a region lies, made of the maps of a model and year."""
    return workspace / "mosaics" / model / str(year) / region


def map_stem(source: Path) -> str:
    """Name of the map of a user's raster: `scene-10m.tif` becomes `scene-isa`."""
    return plain_stem(re.sub(r"[-_.]?10m$", "", source.stem)) + "-isa"


def plain_stem(text: str) -> str:
    """`text` as (part of) a file name: letters and digits of any script stay, other characters become `_`."""
    plain = re.sub(r"[^\w.-]", "_", unicodedata.normalize("NFC", text)).lstrip(".")
    return plain.encode()[:MAX_STEM_BYTES].decode(errors="ignore")


def acquisition(source: Path) -> tuple[str, str]:
    """Time span of a user's raster, from a date YYYYMMDD or YYYY-MM-DD in its name; open where there is none."""
    for match in re.finditer(r"(?<!\d)(20\d\d)-?([01]\d)-?([0-3]\d)(?!\d)", source.stem):
        try:
            day = datetime(*(int(part) for part in match.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]  # three numbers
        except ValueError:
            continue
        return f"{day:%Y-%m-%d}T00:00:00Z", f"{day:%Y-%m-%d}T23:59:59Z"
    return FIRST_ACQUISITION, FAR_FUTURE


def year_span(year: int) -> tuple[str, str]:
    """Time span of an annual product."""
    return f"{year}-01-01T00:00:00Z", f"{year}-12-31T23:59:59Z"


def footprint(geobox: GeoBox) -> BaseGeometry:
    """Lon/lat outline of a grid, as items have it: in two parts where it crosses the 180th meridian (RFC 7946, 3.1.9)."""
    outline: BaseGeometry = geobox.footprint(LONLAT, npoints=16).geom
    return cut_at_180(outline, jumps=geobox.crs != LONLAT)


def raster_item(stem: str, geobox: GeoBox, span: tuple[str, str], properties: Mapping[str, Any]) -> Any:
    """A `pystac.Item` of rasters on one grid (STAC 1.1, projection and file extensions), without assets.

    Args:
        stem: of the files, and id of the item.
        geobox: of the rasters.
        span: start and end of the time they speak of, RFC 3339.
        properties: more item properties.
    """
    import pystac
    from shapely.geometry import mapping

    outline = footprint(geobox)
    start, end = (datetime.fromisoformat(text) for text in span)
    return pystac.Item(
        id=stem,
        geometry=mapping(outline),
        bbox=bbox_of([outline]),
        datetime=None,
        start_datetime=start,
        end_datetime=end,
        properties={
            **properties,
            "proj:code": f"EPSG:{geobox.crs.epsg}" if geobox.crs and geobox.crs.epsg else None,
            "proj:shape": list(geobox.shape),
            "proj:transform": list(geobox.transform)[:6],
        },
        stac_extensions=[
            "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
        ],
    )


def map_item(
    stem: str,
    geobox: GeoBox,
    span: tuple[str, str],
    layers: Sequence[Layer],
    properties: Mapping[str, Any],
) -> dict[str, Any]:
    """STAC item of a map (STAC 1.1, projection and file extensions), without checksums.

    Args:
        stem: of the files, and id of the item.
        geobox: of the rasters.
        span: start and end of the time the map speaks of, RFC 3339.
        layers: rasters of the product.
        properties: more item properties, provenance among them.
    """
    import pystac

    item = raster_item(stem, geobox, span, {**properties, "gsd": abs(geobox.resolution.x)})
    for layer in layers:
        item.add_asset(
            layer.key,
            pystac.Asset(
                f"./{stem}{layer.suffix}", layer.title, media_type=pystac.MediaType.COG, roles=["data"]
            ),
        )
    item.add_asset(
        PREVIEW_KEY,
        pystac.Asset(
            f"./{stem}{PREVIEW_SUFFIX}",
            "Input beside map",
            media_type=pystac.MediaType.PNG,
            roles=["overview"],
        ),
    )
    document: dict[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    return document
