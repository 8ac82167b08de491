"""The files of a mosaic: how they are called, and what its STAC item says of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from isamap.domain import product
from isamap.domain.mosaic import Member

INDEX_KEY, TILES_KEY = "index", "tiles"
LAYERS = (product.OVERVIEW_ISA, product.OVERVIEW_VALID)
KINDS = {
    ".vrt": ("application/xml", "Tiles of one zone as one raster", "data"),
    ".gpkg": ("application/geopackage+sqlite3", "Tile index for GDAL's GTI driver", "data"),
    ".parquet": ("application/vnd.apache.parquet", "Table of tiles", "metadata"),
    ".png": ("image/png", "Picture of the overview", "thumbnail"),
}
"""Media type, title and role of what lies beside the overview."""


def file_names(stem: str, members: Sequence[Member]) -> dict[str, str]:
    """Asset keys and file names of a mosaic of these members."""
    vrts = {vrt_key(crs): f"{stem}-{vrt_key(crs)}.vrt" for crs in by_crs(members)}
    named = {
        INDEX_KEY: f"{stem}.gti.gpkg",
        TILES_KEY: f"{stem}.parquet",
        product.PREVIEW_KEY: f"{stem}.png",
    }
    return {layer.key: stem + layer.suffix for layer in LAYERS} | vrts | named


def vrt_key(crs: str) -> str:
    """`48N` of EPSG:32648; the code of any other CRS."""
    code = crs.removeprefix("EPSG:")
    zone = code[-2:] + {"326": "N", "327": "S"}.get(code[:3], "") if len(code) == 5 else ""
    return zone if zone[2:] else "".join(c if c.isalnum() else "-" for c in crs)[:40]


def by_crs(members: Sequence[Member]) -> dict[str, list[Member]]:
    """Members of each CRS."""
    return {crs: [m for m in members if m.crs == crs] for crs in sorted({m.crs for m in members})}


def add_files(item: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The item of a mosaic with an asset for every file that is no layer of the overview.

    Args:
        item: as `product.map_item` makes it; changed in place.
        names: of `file_names`.
    """
    for key, name in names.items():
        if kind := KINDS.get(Path(name).suffix):
            media_type, title, role = kind
            item["assets"][key] = {"href": f"./{name}", "type": media_type, "title": title, "roles": [role]}
    return item
