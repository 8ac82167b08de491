"""Where published reference products lie, how their sheets are named, and the STAC item of a piece of one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import shapely
from odc.geo.geobox import GeoBox

from isamap.domain import references
from isamap.domain.composite import period
from isamap.domain.grid import MARGIN_PX, Tile
from isamap.domain.lonlat import LONLAT, into_crs, polygon_parts
from isamap.domain.product import footprint, raster_item
from isamap.domain.reference import Reference
from isamap.domain.sources import Source
from isamap.errors import ConfigError

SHEET_DEG = 3
"""Side of a sheet of WorldCover in degrees; its name is that of its lower left corner."""
SHEET = "{ll}"
"""Stands for that name in an address."""
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Published:
    """A product that can be fetched."""

    name: str
    """Row of `references.REFERENCES`."""
    places: tuple[tuple[str, Source], ...]
    """Address of a sheet with `{ll}` for its name, and whose it is; the next one is asked where one fails."""

    @property
    def reference(self) -> Reference:
        """Codes, licence and makers."""
        return references.REFERENCES[self.name]


def _amazon() -> Source:
    host = "esa-worldcover.s3.eu-central-1.amazonaws.com"
    return Source("esa-worldcover-aws", f"https://{host}", (), hosts=(host,))


def _azure() -> Source:
    return Source(
        "planetary-computer",
        "https://planetarycomputer.microsoft.com/api/stac/v1",
        ("esa-worldcover",),
        hosts=("ai4edataeuwest.blob.core.windows.net",),
        signing="planetary-computer",
        token_url="https://planetarycomputer.microsoft.com/api/sas/v1/token/{collection}",  # noqa: S106  # an address
    )


def _worldcover(version: str, year: int) -> Published:
    sheet = f"{version}/{year}/map/ESA_WorldCover_10m_{year}_{version}_{{ll}}_Map.tif"
    return Published(
        f"worldcover-{version}",
        (
            (f"https://esa-worldcover.s3.eu-central-1.amazonaws.com/{sheet}", _amazon()),
            (f"https://ai4edataeuwest.blob.core.windows.net/esa-worldcover/{sheet}", _azure()),
        ),
    )


PUBLISHED: dict[str, Published] = {
    row.name: row for row in (_worldcover("v200", 2021), _worldcover("v100", 2020))
}
"""Products with a public address under their names."""


def find(name: str, place: tuple[str, Source] | None = None) -> Published:
    """The product of that name, from its public addresses or another place.

    Raises:
        ConfigError: it is not known, or has no public address and no place was given.
    """
    row = references.find(name)
    if place is not None:
        return Published(row.name, (place,))
    if row.name not in PUBLISHED:
        near = get_close_matches(row.name, PUBLISHED, 1) or list(PUBLISHED)
        raise ConfigError(
            f"{row.name} has no public address of single sheets: fetch {near[0]}, or give --product-url "
            f"(described at {row.url or 'its makers'})"
        )
    return PUBLISHED[row.name]


def sheets_of(url: str, tile: Tile) -> dict[str, str]:
    """Addresses of the sheets that a tile is cut from, by their names; a single file has none."""
    names = sheet_names(tile_bounds(tile)) if SHEET in url else [""]
    return {name: url.replace(SHEET, name) for name in names}


def sheet_names(bounds: Bounds) -> list[str]:
    """Names of the 3-degree sheets that a lon/lat box meets: `N30E105`."""
    west, south, east, north = bounds
    return [
        _name(lat, lon)
        for lat in range(_floor(south), math.ceil(north / SHEET_DEG) * SHEET_DEG, SHEET_DEG)
        for lon in range(_floor(west), math.ceil(east / SHEET_DEG) * SHEET_DEG, SHEET_DEG)
    ]


def _floor(degrees: float) -> int:
    return math.floor(degrees / SHEET_DEG) * SHEET_DEG


def _name(lat: int, lon: int) -> str:
    return f"{'S' if lat < 0 else 'N'}{abs(lat):02d}{'W' if lon < 0 else 'E'}{abs(lon):03d}"


def tile_bounds(tile: Tile, crs: Any = LONLAT) -> Bounds:
    """Box of a tile with its margin in another CRS; lon/lat unless one is given.

    It ends at the 180th meridian, as the sheets do: what lies beyond is ground of the tile's neighbour in the other zone.
    """
    geobox = tile.geobox(margin_px=MARGIN_PX)
    parts = polygon_parts(footprint(geobox))
    if len(parts) > 1:
        own = max(parts, key=lambda part: shapely.intersection(part, tile.footprint()).area)
        (shape,) = into_crs([own], LONLAT, str(crs))
    else:
        shape = geobox.footprint(crs, npoints=32).geom
    west, south, east, north = shape.bounds
    return west, south, east, north


def provenance(product: Published, code: str, files: Mapping[str, str | None]) -> dict[str, Any]:
    """What the bytes of a piece depend on.

    Args:
        product: what is fetched.
        code: what cuts the pieces.
        files: digests of the user's own files, if the piece is cut from such.
    """
    known = {
        "code": code,
        "product": product.name,
        "version": product.reference.version,
        "places": [url for url, _ in product.places],
    }
    return {**known, "files": dict(files)} if files else known


def item(
    stem: str, geobox: GeoBox, product: Published, properties: Mapping[str, Any], nodata: Sequence[int]
) -> dict[str, Any]:
    """STAC item of a piece of a product, without checksums."""
    import pystac

    row = product.reference
    years = row.years or (2015,)
    said = {
        "title": row.title,
        "license": row.licence or "other",
        "isamap:attribution": row.attribution,
        "isamap:described": row.url,
    }
    span = (period(years[0])[0], period(years[-1])[1])
    made = raster_item(stem, geobox, span, {**properties, **said})
    asset = pystac.Asset(f"./{stem}.tif", row.title, media_type=pystac.MediaType.COG, roles=["data"])
    asset.extra_fields["bands"] = [{"name": "class", "nodata": nodata[0] if nodata else None}]
    made.add_asset("map", asset)
    document: dict[str, Any] = made.to_dict(include_self_link=False, transform_hrefs=False)
    return document
