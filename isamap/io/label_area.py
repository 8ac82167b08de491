"""How much ground label rasters know, and label polygons that lie on no map."""

from collections.abc import Sequence
from dataclasses import replace
from math import cos, radians

import numpy as np
import shapely
from odc.geo.geobox import GeoBox

from isamap.domain.grid import Window, crop, windows
from isamap.domain.lonlat import LONLAT, M_PER_DEGREE, into_crs
from isamap.domain.product import NODATA
from isamap.io.classmap import ClassMap, Sheet
from isamap.io.footprints import footprints
from isamap.io.label_polygons import LabelPolygons
from isamap.io.placing import ground_size_m
from isamap.io.products import Product

BLOCKS = 400
"""Blocks of a raster that are read: of larger ones these stand for the others."""
PART_PX = 128
"""Side of the parts of a block that are looked for in finer rasters: these hold far more pixels."""


def known_m2(labels: Product) -> float:
    """Ground that label rasters know, in m2, each only where those before it do not; of large ones only blocks at even
    steps are read.

    Raises:
        InputError: a raster is damaged.
    """
    area_m2, places = 0.0, footprints(labels)
    with labels.near(places.files).classes() as layer:
        for number, sheet in enumerate(layer.sheets):
            near = set(places.touching(places.boxes[number]))
            earlier = [
                other
                for other, path in zip(layer.sheets[:number], places.files, strict=False)
                if path in near
            ]
            read, known = _known(layer, sheet, _blocks(sheet), earlier)
            height, width = sheet.geobox.shape
            area_m2 += known / read * height * width * _pixel_m2(sheet.geobox)
    return area_m2


def _pixel_m2(grid: GeoBox) -> float:
    """Ground under a pixel in the middle of a grid."""
    if grid.crs is not None and grid.crs.geographic:
        bottom, top = grid.boundingbox.bottom, grid.boundingbox.top
        degrees2 = abs(float(grid.resolution.x * grid.resolution.y))
        return degrees2 * M_PER_DEGREE**2 * cos(radians((bottom + top) / 2))
    return float((ground_size_m(grid) or abs(grid.resolution.x)) ** 2)


def _known(
    layer: ClassMap, sheet: Sheet, blocks: Sequence[Window], earlier: Sequence[Sheet]
) -> tuple[int, int]:
    """Pixels of some blocks, and those of them that are known to this sheet and to none before it."""
    read = known = 0
    for block in blocks:
        own = layer.read(sheet, block) != NODATA
        for part in windows(block.shape, PART_PX) if earlier else ():
            here = replace(part, row_off=block.row_off + part.row_off, col_off=block.col_off + part.col_off)
            for other in earlier:
                values = layer.sheet_on(other, crop(sheet.geobox, here))
                if values is not None:
                    own[part.slices] &= values == NODATA
        read += own.size
        known += int(np.count_nonzero(own))
    return read, known


def _blocks(sheet: Sheet) -> list[Window]:
    """Blocks at even steps of their number; steps are odd, for no column is every block's."""
    height, width = sheet.geobox.shape
    tall, wide = sheet.src.block_shapes[0]
    corners = [(row, col) for row in range(0, height, tall) for col in range(0, width, wide)]
    step = -(-len(corners) // BLOCKS)
    across = -(-width // wide)
    while step > 1 and across > 1 and np.gcd(step, across) > 1:
        step += 1
    return [Window(row, col, min(tall, height - row), min(wide, width - col)) for row, col in corners[::step]]


def polygons_beside(labels: LabelPolygons, boxes: Sequence[shapely.Geometry]) -> tuple[int, int]:
    """Label polygons that meet no raster of the map, and how many there are.

    Args:
        labels: the polygons.
        boxes: lon/lat polygon of each raster.
    """
    shapes = into_crs(labels.polygons.geometries, labels.polygons.crs, LONLAT)
    met = shapely.STRtree(list(boxes)).query(shapes, predicate="intersects")[0]
    return len(shapes) - np.unique(met).size, len(shapes)
