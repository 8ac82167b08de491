"""Properties every grid must keep: tiles cover an area once, grids share corners, windows cover once."""

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyproj import Geod

from isamap.domain.grid import MARGIN_PX, TILE_M, Tile, refine, tiles_over, windows
from isamap.domain.lonlat import geodesic_area_km2
from isamap.domain.region import from_bbox
from isamap.errors import InputError

# The machine may be busy.
IN_ANY_TIME = settings(deadline=None)

TILES = st.one_of(
    st.builds(Tile, st.integers(1, 60), st.just("N"), st.integers(16, 81), st.integers(0, 911)),
    st.builds(Tile, st.integers(1, 60), st.just("S"), st.integers(16, 81), st.integers(108, 976)),
)
# Centres near zone edges, 180 degrees and the equator come up often.
LONGITUDES = st.one_of(
    st.floats(-179.8, 179.8),
    st.builds(
        lambda zone, off: min(max(zone * 6 - 180 + off, -179.8), 179.8),
        st.integers(0, 60),
        st.floats(-0.1, 0.1),
    ),
)
LATITUDES = st.one_of(st.floats(-79.7, 83.7), st.floats(-0.1, 0.1))


@st.composite
def star_polygons(draw):
    """Polygons of 3 to 10 corners, 2 to 20 km across."""
    lon, lat = draw(LONGITUDES), draw(LATITUDES)
    radii = draw(st.lists(st.floats(0.02, 0.1), min_size=3, max_size=10))
    angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    corners = np.column_stack([lon + radii * np.cos(angle), lat + radii * np.sin(angle)])
    return shapely.Polygon(corners)


@IN_ANY_TIME
@given(TILES)
def test_the_text_of_a_tile_gives_back_the_tile(tile):
    assert Tile.parse(str(tile)) == tile


@IN_ANY_TIME
@given(st.text(max_size=20))
def test_any_other_text_is_refused_in_one_line(text):
    with pytest.raises(InputError) as refusal:
        assert str(Tile.parse(text)) != text
    assert "\n" not in str(refusal.value)


@IN_ANY_TIME
@given(TILES)
def test_the_bounds_of_the_geobox_give_back_the_tile(tile):
    left, bottom, right, top = tile.geobox().boundingbox
    assert (left / TILE_M, bottom / TILE_M) == (tile.ix, tile.iy)
    assert (right - left, top - bottom) == (TILE_M, TILE_M)
    footprint = tile.footprint()
    assume(footprint.area > 1e-4)
    if footprint.bounds[1] > -80 and footprint.bounds[3] < 84:
        assert tiles_over(footprint) == [tile]


@IN_ANY_TIME
@given(TILES, st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_point_in_the_tiles_part_of_the_zone_finds_the_tile(tile, across, up):
    west, south, east, north = tile.footprint().bounds if not tile.footprint().is_empty else (0, 0, 0, 0)
    point = shapely.Point(west + across * (east - west), south + up * (north - south))
    assume(tile.footprint().buffer(-1e-4).contains(point))
    assert tiles_over(point.buffer(1e-6)) == [tile]


@IN_ANY_TIME
@given(star_polygons())
def test_tiles_cover_an_area_once(area):
    tiles = tiles_over(area)
    assert len(set(tiles)) == len(tiles)
    shares = [geodesic_area_km2(tile.footprint() & area) for tile in tiles]
    assert min(shares) > 0
    assert sum(shares) == pytest.approx(geodesic_area_km2(area), rel=1e-3)


@IN_ANY_TIME
@given(LATITUDES, st.floats(0.01, 0.15), st.floats(0.01, 0.15))
def test_tiles_cover_a_box_across_180_degrees_once(lat, west_deg, east_deg):
    region = from_bbox((180 - west_deg, lat, -180 + east_deg, lat + 0.1))
    tiles = tiles_over(region.geometry)
    assert {tile.zone for tile in tiles} == {1, 60}
    assert len(set(tiles)) == len(tiles)
    shares = [geodesic_area_km2(tile.footprint() & region.geometry) for tile in tiles]
    assert sum(shares) == pytest.approx(region.area_km2, rel=1e-3)


@IN_ANY_TIME
@given(st.lists(st.tuples(LONGITUDES, LATITUDES), min_size=1, max_size=3))
def test_the_area_agrees_with_geodesics(centres):
    boxes = [shapely.box(lon, lat, lon + 0.1, lat + 0.1) for lon, lat in centres]
    expected_km2 = [
        Geod(ellps="WGS84").geometry_area_perimeter(box.segmentize(0.01))[0] / 1e6 for box in boxes
    ]
    for box, area_km2 in zip(boxes, expected_km2, strict=True):
        assert geodesic_area_km2(box) == pytest.approx(abs(area_km2), rel=1e-5)


@IN_ANY_TIME
@given(TILES, st.sampled_from([1, 2, 4, 5, 10]), st.integers(0, 64))
def test_lr_and_hr_grids_share_their_corners_exactly(tile, scale, margin_px):
    lr = tile.geobox(margin_px=margin_px)
    hr = refine(lr, scale)
    assert hr.boundingbox == lr.boundingbox
    assert hr.shape == tuple(size * scale for size in lr.shape)


@IN_ANY_TIME
@given(TILES)
def test_hr_edges_of_all_tiles_of_a_zone_lie_on_blocks_of_512(tile):
    left, bottom, _, top = refine(tile.geobox()).boundingbox
    assert (left % 512, bottom % 512, top % 512) == (0, 0, 0)
    margin = refine(tile.geobox(margin_px=MARGIN_PX))
    assert margin.boundingbox.left == left - 320


@IN_ANY_TIME
@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(1, 70))
def test_windows_cover_the_raster_once(shape, step):
    seen = np.zeros(shape, int)
    for window in windows(shape, step):
        assert window.clip(shape) == window
        seen[window.slices] += 1
    assert (seen == 1).all()


@IN_ANY_TIME
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(1, 70),
    st.integers(0, 40),
    st.integers(1, 10),
)
def test_a_padded_and_clipped_window_holds_its_core(shape, step, halo_px, scale):
    for window in windows(shape, step):
        outer = window.padded(halo_px)
        inner = outer.clip(shape)
        core = np.zeros(shape, bool)
        core[window.slices] = True
        assert core[inner.slices].sum() == core.sum()
        assert outer.shape == (window.height + 2 * halo_px, window.width + 2 * halo_px)
        assert window.scaled(scale).padded(halo_px * scale) == outer.scaled(scale)
