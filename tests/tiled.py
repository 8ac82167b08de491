"""Finished maps of real grid tiles, nearly empty so that they are quick, and mosaics of them pixel by pixel."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.windows import Window

from isamap.domain import product
from isamap.domain.grid import Tile
from isamap.io import store

WEST, EAST = "48N-0077-0324", "49N-0020-0324"
"""Tiles on either side of 108 E: both reach over it."""
INNER = "48N-0076-0324"
"""The western neighbour of the first one."""
SIDE = 10_240
Patches = Mapping[tuple[int, int], NDArray[np.uint8]]
"""Classes by row and column of their upper left corner; the rest of a tile is nodata."""


def noise(seed: int, shape: tuple[int, int], share: float = 0.3) -> NDArray[np.uint8]:
    """Squares of 4 px of both classes, with single pixels of nodata."""
    rng = np.random.default_rng(seed)
    coarse = (rng.random((-(-shape[0] // 4), -(-shape[1] // 4))) < share).astype(np.uint8)
    classes = coarse.repeat(4, 0).repeat(4, 1)[: shape[0], : shape[1]]
    classes[rng.random(shape) < 0.05] = 255
    return classes


def write_map(
    folder: Path,
    tile: str,
    patches: Patches,
    *,
    version: str = "1",
    threshold: float = 0.5,
    layer: product.Layer = product.CLASSES,
) -> Path:
    """A finished map with its item."""
    geobox = Tile.parse(tile).geobox(1)
    place = {"crs": geobox.crs.to_wkt(), "transform": geobox.transform, "height": SIDE, "width": SIDE}
    blocks = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd", "sparse_ok": True}
    with store.publish(store.Target(folder, tile), [f"{tile}.tif"]) as publication:
        path = publication.path(f"{tile}.tif")
        with rasterio.open(
            path, "w", driver="GTiff", count=1, dtype="uint8", nodata=255, **place, **blocks
        ) as dst:
            for (row, col), classes in patches.items():
                dst.write(classes, 1, window=Window(col, row, *classes.shape[::-1]))
        made = {
            "isamap:provenance": {"code": "isamap 0", "model": "ab" * 32, "inputs": "", "settings": ""},
            "isamap:model": {"name": "fast", "version": version, "threshold": threshold},
            "isamap:isa_share": 0.3,
            "isamap:valid_share": 0.01,
        }
        item = product.map_item(tile, geobox, product.year_span(2021), (layer,), made)
        del item["assets"]["preview"]
        publication.commit(item)
    return folder / f"{tile}.tif"


Box = tuple[float, float, float, float]


def owned_pixels(
    tile: str, patches: Patches, box: Box = (-180, -90, 180, 90)
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8]]:
    """Longitude, latitude and class of every pixel that lies in the tile's own zone, and in a box."""
    own = Tile.parse(tile)
    to_lonlat = Transformer.from_crs(own.epsg, 4326, always_xy=True)
    parts = []
    for (row, col), classes in patches.items():
        rows, cols = np.indices(classes.shape)
        x = own.ix * SIDE + col + cols + 0.5
        y = (own.iy + 1) * SIDE - row - rows - 0.5
        lon, lat = to_lonlat.transform(x, y)
        inside = (lon >= own.zone * 6 - 186) & (lon < own.zone * 6 - 180) & within(box, lon, lat)
        parts.append((lon[inside], lat[inside], classes[inside]))
    lon, lat, classes = (np.concatenate(column) for column in zip(*parts, strict=True))
    return lon, lat, classes


def within(box: Box, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points lie in a box."""
    return (lon > box[0]) & (lon < box[2]) & (lat > box[1]) & (lat < box[3])


def counted(
    maps: Mapping[str, Patches], src: rasterio.DatasetReader, box: Box = (-180, -90, 180, 90)
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Impervious and mapped pixels in each cell of an overview, every pixel projected by itself."""
    isa, valid = (np.zeros(src.height * src.width, np.int64) for _ in range(2))
    to_grid = Transformer.from_crs(4326, src.crs, always_xy=True)
    for tile, patches in maps.items():
        lon, lat, classes = owned_pixels(tile, patches, box)
        cols, rows = ~src.transform * to_grid.transform(lon, lat)
        cells = np.floor(rows).astype(np.int64) * src.width + np.floor(cols).astype(np.int64)
        isa += np.bincount(cells[classes == 1], minlength=isa.size)
        valid += np.bincount(cells[classes != 255], minlength=isa.size)
    return isa.reshape(src.shape), valid.reshape(src.shape)


def seen_on(
    maps: Mapping[str, Patches], src: rasterio.DatasetReader, window: Window, box: Box | None = None
) -> NDArray[np.uint8]:
    """Classes of a window of a sheet, every pixel looked up by itself in the tile of its own zone."""
    rows, cols = np.indices((int(window.height), int(window.width)))
    x, y = src.transform * (window.col_off + cols + 0.5, window.row_off + rows + 0.5)
    lon, lat = Transformer.from_crs(src.crs, 4326, always_xy=True).transform(x, y)
    allowed = within(box or (-180, -90, 180, 90), lon, lat)
    seen = np.full(rows.shape, 255, np.uint8)
    for tile, patches in maps.items():
        own = Tile.parse(tile)
        to_utm = Transformer.from_crs(src.crs, own.epsg, always_xy=True)
        easting, northing = to_utm.transform(x, y)
        col = np.floor(easting - own.ix * SIDE).astype(int)
        row = np.floor((own.iy + 1) * SIDE - northing).astype(int)
        mine = allowed & (lon >= own.zone * 6 - 186) & (lon < own.zone * 6 - 180)
        for (top, left), classes in patches.items():
            height, width = classes.shape
            inside = mine & (row >= top) & (row < top + height) & (col >= left) & (col < left + width)
            seen[inside] = classes[row[inside] - top, col[inside] - left]
    return seen
