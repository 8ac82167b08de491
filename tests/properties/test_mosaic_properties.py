"""Counting in cells, ownership at zone borders, positions: on grids that nobody chose."""

import numpy as np
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from tiled import noise

from isamap.domain.grid import Tile, Window, tiles_over
from isamap.domain.mosaic import Member
from isamap.domain.overview import Counts, aligned_grid, isa_percent, valid_percent
from isamap.io.warped import positions

CRS = st.sampled_from(["EPSG:6933", "EPSG:4326", "EPSG:3857", "EPSG:32649", "EPSG:32650"])


@given(
    crs=CRS,
    left=st.integers(180_000, 800_000),
    top=st.integers(2_400_000, 3_900_000),
    shape=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    cell_m=st.floats(3, 300),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_cells_hold_the_pixels_whose_centres_lie_in_them(crs, left, top, shape, cell_m, seed):
    pixels = GeoBox(shape, Affine(1, 0, left, 0, -1, top), "EPSG:32649")
    classes = noise(seed, shape)
    rows, cols = np.indices(shape) + 0.5
    x, y = Transformer.from_crs(32649, crs, always_xy=True).transform(left + cols, top - rows)
    cell = cell_m / 111_320 if crs == "EPSG:4326" else cell_m
    pad = 2 * cell
    grid = aligned_grid((x.min() - pad, y.min() - pad, x.max() + pad, y.max() + pad), crs, cell)
    counts = Counts.over(grid, Window(0, 0, *grid.shape))
    counts.add(classes, pixels)
    u, v = ~grid.transform * (x, y)
    cells = np.floor(v).astype(int) * grid.shape[1] + np.floor(u).astype(int)
    for found, marked in ((counts.isa, classes == 1), (counts.valid, classes != 255)):
        truth = np.bincount(cells[marked], minlength=found.size).reshape(found.shape)
        assert found.sum() == marked.sum()
        assert np.abs(found - truth).sum() <= max(2, 0.002 * classes.size)  # centres within 2 mm of an edge


@given(lat=st.floats(20, 36), side=st.sampled_from([-1, 1]), shift=st.floats(0, 4))
@settings(max_examples=40, deadline=None)
def test_pixels_at_a_zone_border_have_one_owner(lat, side, shift):
    """Columns that a tile owns end where the meridian is, to the pixel."""
    import shapely

    lon = 108 + side * 1e-4
    tile = tiles_over(shapely.box(lon - 2e-5, lat - 1e-5, lon + 2e-5, lat + 1e-5))[0]
    member = Member(__file__, tile.geobox(1), tile, "")
    owned = member.owned()
    assert owned is not None
    row = int(shift * 2500)
    x = tile.ix * 10_240 + np.arange(10_240) + 0.5
    y = np.full(10_240, (tile.iy + 1) * 10_240 - row - 0.5)
    own, _ = Transformer.from_crs(tile.epsg, 4326, always_xy=True).transform(x, y)
    inside = (own >= tile.zone * 6 - 186) & (own < tile.zone * 6 - 180)
    cols = np.arange(10_240)
    assert np.array_equal(inside, (cols >= owned[row, 0]) & (cols < owned[row, 1]))


def test_tiles_inside_their_zone_are_shown_whole():
    tile = Tile.parse("49N-0050-0324")
    assert Member(__file__, tile.geobox(1), tile, "").owned() is None


@given(crs=CRS, res=st.floats(0.5, 5), col=st.integers(-500, 500), row=st.integers(-500, 500))
@settings(max_examples=40, deadline=None)
def test_interpolated_positions_are_those_of_the_projection(crs, res, col, row):
    x0, y0 = Transformer.from_crs(4326, crs, always_xy=True).transform(108.02, 30.01)
    size = res / 111_320 if crs == "EPSG:4326" else res
    grid = GeoBox((512, 512), Affine(size, 0, x0 + col * size, 0, -size, y0 + row * size), crs)
    rows, cols = np.indices((512, 512)) + 0.5
    x, y = Transformer.from_crs(crs, 32648, always_xy=True).transform(*(grid.transform * (cols, rows)))
    found = positions(grid, "EPSG:32648")
    assert max(np.abs(found[0] - x).max(), np.abs(found[1] - y).max()) < 2e-3 * res / 5 * res


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_percent_is_rounded_and_nodata_is_never_a_zero(isa, more):
    valid = isa + more
    share = int(isa_percent(np.array([isa]), np.array([valid]))[0])
    if valid:
        assert abs(share - 100 * isa / valid) <= 0.5
    else:
        assert share == 255
    covered = int(valid_percent(np.array([valid]), np.array([20_000.0]))[0])
    assert (covered > 0) == (valid > 0)
