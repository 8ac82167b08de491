"""The ground of the pilot: 3 x 3 tiles on both sides of 108 E, covered without a seam by real pixels repeated.

Each zone has a field on its own UTM grid: a real city mirrored at its edges again and again, in zone 49 another city
after a quarter turn. The grids are true, the content is not: what lies on one side of the meridian does not go on
beyond it, and the cities lie elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scenery.ground import Ground, ground
from scenery.scenes import Scenery, make_scenes, year_of_looks

from isamap.domain.grid import MARGIN_PX, TILE_PX, Tile, tiles_over

AREA = (107.92, 29.90, 108.03, 30.10)
"""Lon/lat box within Chongqing that names nine tiles: two columns of zone 48, one of zone 49, three rows."""
YEAR, DATES = 2021, 6
SHAPE = "sentinel-2-c1-l2a"
CITIES = {48: ("chongqing", 0), 49: ("beihai", 1)}
"""City and quarter turns of each zone's field."""


def nine_tiles() -> list[Tile]:
    """The tiles of the pilot."""
    return tiles_over(shapely.box(*AREA))


def by_zone(tiles: Sequence[Tile]) -> dict[int, list[Tile]]:
    """Tiles of each zone; they fill a rectangle there."""
    return {zone: [tile for tile in tiles if tile.zone == zone] for zone in sorted({t.zone for t in tiles})}


def rectangle(tiles: Sequence[Tile], margin_px: int = 0) -> GeoBox:
    """10 m grid of the rectangle that tiles of one zone fill, with a margin."""
    columns, rows = {tile.ix for tile in tiles}, {tile.iy for tile in tiles}
    corner = Tile(tiles[0].zone, tiles[0].hemisphere, min(columns), max(rows)).geobox(margin_px=margin_px)
    shape = tuple(TILE_PX * len(lines) + 2 * margin_px for lines in (rows, columns))
    return GeoBox(shape, corner.transform, corner.crs)


def mirrored(size: int, length: int) -> NDArray[np.intp]:
    """Indices that run through `size` pixels to and fro until there are `length`: neighbours stay neighbours."""
    place = np.arange(length) % (2 * size)
    return np.where(place < size, place, 2 * size - 1 - place)


def turned(place: Ground, quarters: int) -> Ground:
    """A ground after quarter turns, its grid's corner kept."""

    def turn(values: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.ascontiguousarray(np.rot90(values, quarters, axes=(-2, -1)))

    ten = turn(place.ten)
    grid = GeoBox(ten.shape[1:], place.geobox.transform, place.geobox.crs)
    others = {name: turn(getattr(place, name)) for name in ("twenty", "scl", "real")}
    return replace(place, geobox=grid, ten=ten, **others)


def field_of(place: Ground, tiles: Sequence[Tile]) -> Ground:
    """The field of one zone: a ground mirrored over its tiles with their margins."""
    grid = rectangle(tiles, MARGIN_PX)
    height, width = place.ten.shape[1:]
    fine = np.ix_(mirrored(height, grid.shape[0]), mirrored(width, grid.shape[1]))
    coarse = np.ix_(mirrored(height // 2, grid.shape[0] // 2), mirrored(width // 2, grid.shape[1] // 2))
    return replace(
        place,
        geobox=grid,
        ten=np.stack([band[fine] for band in place.ten]),
        twenty=np.stack([band[coarse] for band in place.twenty]),
        scl=place.scl[coarse],
        real=place.real[fine],
    )


def make(folder: Path) -> dict[int, Scenery]:
    """The year's scenes of both zones, their files in one folder: half of the dates cloudy over 40 % of the ground."""
    looks = year_of_looks(YEAR, DATES, cloudy=0.5, cover=0.4, seed=5)
    fields = {
        zone: field_of(turned(ground(CITIES[zone][0], 1), CITIES[zone][1]), tiles)
        for zone, tiles in by_zone(nine_tiles()).items()
    }
    return {zone: make_scenes(folder, field, looks, shapes=(SHAPE,)) for zone, field in fields.items()}


def items(made: Mapping[int, Scenery], root: str) -> list[dict[str, object]]:
    """Items of all scenes, as the catalogue publishes them."""
    return [item for scenery in made.values() for item in scenery.items(SHAPE, root)]


def truth_of(field: Ground, tile: Tile) -> NDArray[np.uint16]:
    """What a perfect composite of a tile shows, margin included, (6, y, x)."""
    want = tile.geobox(margin_px=MARGIN_PX)
    col, row = (round(value) for value in ~field.geobox.transform * (want.transform.c, want.transform.f))
    height, width = want.shape
    assert field.geobox.transform * Affine.translation(col, row) == want.transform
    return field.truth[:, row : row + height, col : col + width]
