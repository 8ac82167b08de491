"""Rasters of other projections, against the projection of every pixel by itself."""

import numpy as np
import pyproj
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from isamap.domain import nearest
from isamap.domain.bits import unpacked
from isamap.domain.grid import Window
from isamap.io import gridmatch

UTM, LEFT, TOP = "EPSG:32648", 600_000, 3_300_000
FURTHEST_PX = gridmatch.BEND_PX
"""From the edge of a source pixel, of a pixel that may be wrong."""


def exact(classes, source, grid):
    """Every pixel projected: its class, and how far from the edge of its source pixel it lies."""
    height, width = grid.shape
    x, y = grid.transform * np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    to_source = pyproj.Transformer.from_crs(str(grid.crs), str(source.crs), always_xy=True)
    col, row = ~source.transform * np.array(to_source.transform(x, y))
    edge = np.minimum(np.abs(col - np.round(col)), np.abs(row - np.round(row)))
    ring = np.pad(classes, 1, constant_values=255)
    at = (
        np.clip(np.floor(one), -1, side).astype(int) + 1
        for one, side in ((row, len(classes)), (col, classes.shape[1]))
    )
    return ring[tuple(at)], edge


def noise(shape, seed=5):
    """Classes that are all outline, with gaps."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < 0.1, 255, rng.integers(0, 2, shape)).astype(np.uint8)


def towns(shape, side=9):
    """What is alike over several pixels, known everywhere."""
    coarse = np.minimum(noise(shape)[::side, ::side], 1)
    return coarse.repeat(side, axis=0).repeat(side, axis=1)[: shape[0], : shape[1]]


def raster(crs, step, shape, *, grid_crs=UTM, corner=(LEFT, TOP), turn=0.0, beside=(300, -200)):
    """Grid of a raster whose corner lies near that of a window, turned about it by some degrees."""
    to_source = pyproj.Transformer.from_crs(grid_crs, crs, always_xy=True)
    x, y = to_source.transform(corner[0] + beside[0], corner[1] + beside[1])
    return GeoBox(shape, Affine(step, 0, x, 0, -step, y) * Affine.rotation(turn), crs)


def window(shape, *, crs=UTM, corner=(LEFT, TOP)):
    return GeoBox(shape, Affine(1, 0, corner[0], 0, -1, corner[1]), crs)


def drawn(classes, source, grid):
    return gridmatch.warped_bits(classes, source, Window(0, 0, *source.shape), grid)


def warped(values, source, grid):
    return gridmatch.warped(values, source, Window(0, 0, *source.shape), grid, values.dtype.type(255))


CASES = {
    "degrees": ("EPSG:4326", 1 / 12_000, 0),
    "web mercator": ("EPSG:3857", 11.5, 0),
    "the next zone": ("EPSG:32649", 10, 0),
    "coarse": ("EPSG:4326", 1 / 1_200, 0),
    "nearly as fine": ("EPSG:32649", 1.3, 0),
    "finer": ("EPSG:4326", 1 / 200_000, 0),
    "turned": ("EPSG:32649", 10, 37),
    "upside down": ("EPSG:4326", 1 / 12_000, 180),
}


@pytest.mark.parametrize("shape", [(600, 1403), (5, 7)])
@pytest.mark.parametrize("name", CASES)
def test_pixels_are_those_in_which_the_centres_lie(name, shape):
    crs, step, turn = CASES[name]
    classes, grid = noise((330, 370)), window(shape)
    source = raster(crs, step, classes.shape, turn=turn, beside=(300, -200) if not turn else (700, -300))
    found = unpacked(drawn(classes, source, grid), slice(0, shape[0]), slice(0, shape[1]))
    wanted, edge = exact(classes, source, grid)
    wrong = found != wanted
    assert wrong.mean() < 1e-3
    assert edge[wrong].max(initial=0) < FURTHEST_PX
    assert {0, 1, 255} <= set(wanted.ravel().tolist()) or shape == (5, 7) or name == "coarse"


@pytest.mark.parametrize("turn", [0, 0.4, 7, 45, 90, 181, 268])
def test_long_outlines_run_straight_whatever_their_direction(turn):
    classes, grid = towns((200, 260), 61), window((1700, 1900))
    classes[150:, 200:] = 255
    source = raster("EPSG:32649", 10, classes.shape, turn=turn, beside=(900, -800))
    found = unpacked(drawn(classes, source, grid), slice(0, 1700), slice(0, 1900))
    wanted, edge = exact(classes, source, grid)
    assert {0, 1, 255} == set(wanted.ravel().tolist())
    assert edge[found != wanted].max(initial=0) < FURTHEST_PX


@pytest.mark.parametrize("shape", [(64, 128), (63, 127), (65, 129), (128, 64)])
def test_sources_may_end_at_a_node(shape):
    classes, grid = towns(shape), window((shape[0] * 10 + 300, shape[1] * 10 + 300))
    source = raster("EPSG:32649", 10, shape, beside=(130, -90))
    found = unpacked(drawn(classes, source, grid), *map(slice, (0, 0), grid.shape))
    wanted, edge = exact(classes, source, grid)
    assert edge[found != wanted].max(initial=0) < FURTHEST_PX


def test_far_from_the_central_meridian_at_60_degrees_north():
    classes = noise((300, 500))
    crs, corner = "EPSG:32632", (780_000, 6_650_000)
    grid = window((1500, 1500), crs=crs, corner=corner)
    source = raster("EPSG:4326", 1 / 12_000, classes.shape, grid_crs=crs, corner=corner)
    found = unpacked(drawn(classes, source, grid), slice(0, 1500), slice(0, 1500))
    wanted, edge = exact(classes, source, grid)
    assert edge[found != wanted].max(initial=0) < FURTHEST_PX


@pytest.mark.parametrize("strip", [1, 3_000, 1 << 18])
def test_windows_that_overlap_show_the_same_ground(strip, monkeypatch):
    monkeypatch.setattr(nearest, "STRIP_PX", strip)
    classes = noise((330, 370))
    source = raster("EPSG:4326", 1 / 12_000, classes.shape)
    whole = unpacked(drawn(classes, source, window((900, 1000))), slice(0, 900), slice(0, 1000))
    part, shape = Window(11, 7, 200, 200), (400, 310)
    inside = window(shape, corner=(LEFT + 450, TOP - 390))
    few = gridmatch.warped_bits(np.ascontiguousarray(classes[part.slices]), source, part, inside)
    np.testing.assert_array_equal(unpacked(few, slice(0, 400), slice(0, 310)), whole[390:790, 450:760])


def test_ground_that_is_known_everywhere_needs_no_plane_of_its_own():
    classes = towns((330, 370))
    source = raster("EPSG:4326", 1 / 12_000, classes.shape)
    inside = window((700, 900), corner=(LEFT + 450, TOP - 390))
    assert drawn(classes, source, inside).known is None
    assert drawn(classes, source, window((700, 900))).known is not None  # reaches beyond the source
    classes[60, 60] = 255
    assert drawn(classes, source, inside).known is not None
    elsewhere = drawn(classes, source, window((64, 64), corner=(LEFT - 9_000, TOP)))
    assert not elsewhere.isa.any()
    assert not elsewhere.known.any()


def test_classes_are_drawn_whether_bits_or_bytes_are_asked_for(monkeypatch):
    monkeypatch.setattr(gridmatch, "reproject", None)  # nothing is left to GDAL
    classes, grid = noise((330, 370)), window((600, 703))
    source = raster("EPSG:4326", 1 / 12_000, classes.shape)
    bits = unpacked(drawn(classes, source, grid), slice(0, 600), slice(0, 703))
    np.testing.assert_array_equal(warped(classes, source, grid), bits)


def percent(shape):
    """Probabilities with gaps."""
    return np.where(noise(shape) == 255, 255, np.random.default_rng(6).integers(0, 101, shape)).astype(
        np.uint8
    )


@pytest.mark.parametrize("step", [1 / 12_000, 1 / 80_000])
def test_other_bytes_are_left_to_gdal(step):
    values, grid = percent((330, 370)), window((300, 300))
    source = raster("EPSG:4326", step, values.shape, beside=(-5, 5))
    assert drawn(values, source, grid) is None
    found, (wanted, edge) = warped(values, source, grid), exact(values, source, grid)
    assert {0, 100, 255} <= set(found.ravel().tolist())
    assert edge[found != wanted].max(initial=0) < gridmatch.WARP_ERROR_PX


def test_projections_that_bend_are_left_to_gdal():
    classes, wide = noise((330, 370)), GeoBox((1000, 1000), Affine(2000, 0, 0, 0, -2000, 4_000_000), UTM)
    source = raster("EPSG:4326", 1 / 12, classes.shape, beside=(0, 0))
    assert drawn(classes, source, wide) is None
    found, (wanted, edge) = warped(classes, source, wide), exact(classes, source, wide)
    assert {0, 1, 255} <= set(found.ravel().tolist())
    assert edge[found != wanted].max() < 0.1  # its tolerance does not hold everywhere


def test_shares_are_averaged():
    shares = np.random.default_rng(7).random((330, 370)).astype(np.float32)
    grid = GeoBox((20, 20), Affine(100, 0, LEFT + 500, 0, -100, TOP - 500), UTM)
    source = raster("EPSG:32649", 10, shares.shape)
    assert drawn(shares, source, grid) is None
    found = gridmatch.warped(shares, source, Window(0, 0, *shares.shape), grid, np.float32(np.nan))
    assert np.abs(found - 0.5).max() < 0.2  # 100 pixels each
