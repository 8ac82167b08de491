"""Options that say which ground: a region, a box, polygons, or tiles."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli.options import option

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from isamap.domain.grid import Tile
    from isamap.domain.region import Region

AREA = (
    option("--region", metavar="NAME", help="A region of `isamap regions`, e.g. yreb or yreb/CN032070."),
    option("--bbox", metavar="XMIN,YMIN,XMAX,YMAX", help="A box, longitude and latitude."),
    option("--bbox-crs", metavar="CRS", default="EPSG:4326", help="CRS of --bbox."),
    option(
        "--aoi",
        metavar="FILE[:LAYER]",
        type=click.Path(path_type=Path),
        help="A vector file, and which of its layers; its polygons are the area.",
    ),
    option(
        "--tiles",
        metavar="ID,...|@FILE",
        help="Grid tiles by id, or a file with one id per line; # begins a comment.",
    ),
)


def area_named(given: dict[str, Any]) -> str | None:
    """The one area option that was given; None if none was.

    Raises:
        click.UsageError: several were.
    """
    named = [name for name in ("region", "bbox", "aoi", "tiles") if given[name]]
    if len(named) > 1:
        raise click.UsageError(f"--{named[0]} and --{named[1]}: one area at a time")
    return named[0] if named else None


def tiles_of(given: dict[str, Any]) -> "list[Tile]":
    """The grid tiles of the one area option that was given."""
    from isamap.domain import region
    from isamap.domain.grid import Tile

    if given["tiles"]:
        tiles = [Tile.parse(text) for text in _tile_ids(given["tiles"])]
        region.from_tiles(tiles)  # refuses ids outside their own zone
        return sorted(set(tiles))
    return region.tiles_of(area_of(given))


def area_of(given: dict[str, Any]) -> "Region":
    """The area of --region, --aoi or --bbox."""
    from isamap.domain import region
    from isamap.io.vector import load_gazetteer, read_aoi

    if given["region"]:
        return load_gazetteer().find(given["region"])
    if given["aoi"]:
        return read_aoi(given["aoi"])
    try:
        box = [float(part) for part in given["bbox"].replace(",", " ").split()]
    except ValueError:
        box = []
    if len(box) != 4:  # a box has four sides
        raise click.BadParameter("four numbers: XMIN,YMIN,XMAX,YMAX", param_hint="--bbox")
    return region.from_bbox(box, given["bbox_crs"])


def outline_of(given: dict[str, Any]) -> "BaseGeometry | None":
    """The lon/lat outline of --region, --aoi or --bbox; None without them: tiles have none."""
    named = given["region"] or given["aoi"] or given["bbox"]
    return area_of(given).geometry if named else None


def _tile_ids(text: str) -> list[str]:
    """Ids from `a,b,c` or from the lines of `@file`, with or without a byte order mark; `#` begins a comment."""
    if not text.startswith("@"):
        return [part.strip() for part in text.split(",") if part.strip()]
    from isamap.errors import MissingInputError

    try:
        lines = Path(text[1:]).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise MissingInputError(f"{text[1:]} cannot be read as a list of tiles: {fault}") from fault
    ids = (line.partition("#")[0].strip() for line in lines)
    return [text for text in ids if text]
