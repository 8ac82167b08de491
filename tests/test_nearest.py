"""Coarse rasters of other projections on fine grids, against the projection of every pixel by itself."""

import numpy as np
import pyproj
import pytest
import rasterio.crs
from affine import Affine
from odc.geo.geobox import GeoBox

from isamap.domain import nearest
from isamap.io import gridmatch

NEAR_EDGE_PX = gridmatch.WARP_ERROR_PX
FILL = np.uint8(255)


def exact(values, place, crs, grid):
    """Every pixel projected: its value, and how far from the edge of its source pixel it lies."""
    height, width = grid.shape
    x, y = grid.transform * np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    to_source = pyproj.Transformer.from_crs(str(grid.crs), crs, always_xy=True)
    col, row = ~place * np.array(to_source.transform(x, y))
    edge = np.minimum(np.abs(col - np.round(col)), np.abs(row - np.round(row)))
    ring = np.pad(values, 1, constant_values=FILL)
    at = (
        np.clip(np.floor(one), -1, side).astype(int) + 1
        for one, side in zip((row, col), values.shape, strict=True)
    )
    return ring[tuple(at)], edge


def ground(crs, left, top, step, shape=(330, 370)):
    """A raster of noise with gaps whose corner lies near a place of a UTM grid."""
    rng = np.random.default_rng(5)
    values = rng.integers(0, 101, shape).astype(np.uint8)
    values[rng.random(shape) < 0.1] = FILL
    x, y = pyproj.Transformer.from_crs("EPSG:32648", crs, always_xy=True).transform(left, top)
    return values, Affine(step, 0, x, 0, -step, y)


CASES = {
    "degrees": ("EPSG:4326", 1 / 12_000),
    "web mercator": ("EPSG:3857", 11.5),
    "the next zone": ("EPSG:32649", 10),
    "coarse": ("EPSG:4326", 1 / 1_200),
}


@pytest.mark.parametrize("shape", [(600, 1403), (5, 7)])
@pytest.mark.parametrize("name", CASES)
def test_pixels_are_those_in_which_the_centres_lie(name, shape, monkeypatch):
    crs, step = CASES[name]
    values, place = ground(crs, 600_300, 3_299_800, step)
    grid = GeoBox(shape, Affine(1, 0, 600_000, 0, -1, 3_300_000), "EPSG:32648")
    monkeypatch.setattr(gridmatch, "reproject", None)  # it is not left to GDAL
    found = gridmatch.warped(values, place, rasterio.crs.CRS.from_string(crs), grid, FILL)
    wanted, edge = exact(values, place, crs, grid)
    wrong = found != wanted
    assert found.shape == shape
    assert wrong.mean() < 1e-3
    assert not wrong.any() or edge[wrong].max() < NEAR_EDGE_PX / 5
    assert {0, 100, FILL} <= set(found.ravel().tolist()) or shape == (5, 7) or name == "coarse"


@pytest.mark.parametrize(
    ("step", "turned"), [(1 / 80_000, False), (1 / 12_000, True)], ids=["too fine", "upside down"]
)
def test_what_words_do_not_fit_is_left_to_gdal(step, turned):
    values, place = ground("EPSG:4326", 600_000, 3_300_000, step)
    place *= Affine.rotation(180) if turned else Affine.identity()
    grid = GeoBox((300, 300), Affine(1, 0, 599_900, 0, -1, 3_300_100), "EPSG:32648")
    crs = rasterio.crs.CRS.from_epsg(4326)
    assert gridmatch._nodes(values.shape, place, crs, grid) is None
    found = gridmatch.warped(values, place, crs, grid, FILL)
    wanted, edge = exact(values, place, "EPSG:4326", grid)
    assert edge[found != wanted].max(initial=0) < NEAR_EDGE_PX


def test_projections_that_bend_between_nodes_are_left_to_gdal():
    values, place = ground("EPSG:4326", 600_000, 3_300_000, 1 / 12)
    grid = GeoBox((4000, 4000), Affine(500, 0, 0, 0, -500, 4_000_000), "EPSG:32648")
    assert gridmatch._nodes(values.shape, place, rasterio.crs.CRS.from_epsg(4326), grid) is None


def test_nodes_reach_to_the_end_of_the_grid():
    assert nearest.node_places(512).tolist() == [0, 512]
    assert nearest.node_places(513).tolist() == [0, 512, 1024]
