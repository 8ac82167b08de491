"""What part of a tile is its own: tiles of two UTM zones overlap at the zones' border, and each counts in its zone alone."""

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.grid import Tile, Window, to_utm
from isamap.domain.utm import EQUATOR_M, ZONE_DEG, west_edge

EDGE_POINTS = 65
"""Points of a meridian along a tile: straight between them to 0.02 mm."""


def own_columns(tile: Tile, geobox: GeoBox) -> NDArray[np.int64] | None:
    """First column and column behind the last of each row that is the tile's own, shape (y, 2).

    None if that is all of them. A pixel belongs to the zone in which its centre lies, so the tiles of two zones
    never show the same ground twice.

    Args:
        tile: the tile.
        geobox: of its raster or a part of it, in its CRS, not rotated.
    """
    left, bottom, right, top = geobox.boundingbox
    gsd_x, _, x_off, _, gsd_y, y_off, *_ = geobox.transform
    project = to_utm(tile.epsg)
    _, lat = project.transform([left, right] * 2, [bottom, bottom, top, top], direction="INVERSE")
    lats = np.linspace(min(lat) - 0.01, max(lat) + 0.01, EDGE_POINTS)
    height, width = geobox.shape
    northings = y_off + (np.arange(height) + 0.5) * gsd_y
    spans = []
    for lon in (west_edge(tile.zone), west_edge(tile.zone) + ZONE_DEG):
        x, y = project.transform(np.full(EDGE_POINTS, lon), lats)
        edge = (np.interp(northings, y, x) - x_off) / gsd_x - 0.5
        spans.append(np.clip(np.ceil(edge), 0, width).astype(np.int64))
    if tile.hemisphere == "S":
        spans[1] = np.where(northings < EQUATOR_M, spans[1], spans[0])
    whole = bool((spans[0] == 0).all() and (spans[1] == width).all())
    return None if whole else np.stack(spans, axis=1)


def own_pixels(columns: NDArray[np.int64] | None, window: Window) -> NDArray[np.bool_] | None:
    """Which pixels of a window of the raster are the tile's own, shape (y, x), from `own_columns`; None: all."""
    if columns is None:
        return None
    rows, cols = window.slices
    begin, end = columns[rows, :1], columns[rows, 1:]
    if (begin <= cols.start).all() and (end >= cols.stop).all():
        return None
    col = np.arange(cols.start, cols.stop)
    mask: NDArray[np.bool_] = (col >= begin) & (col < end)
    return mask
