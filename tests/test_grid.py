"""The tile grid on areas that are hard: zone edges, 180 degrees, the equator, the poles, slivers."""

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from isamap.domain.grid import TILE_M, Tile, Window, is_on_grid, refine, tiles_over, windows
from isamap.errors import InputError


def test_the_id_names_zone_hemisphere_column_and_row():
    tile = Tile(51, "N", 27, 339)
    assert str(tile) == "51N-0027-0339"
    assert Tile.parse("51N-0027-0339") == tile
    assert (tile.epsg, Tile(51, "S", 27, 339).epsg) == (32651, 32751)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "51N-27-339",
        "51n-0027-0339",
        "51N-0027-0339\n",
        " 51N-0027-0339",
        "../51N-0027-0339",
        "51N-0027-0339/..",
        "00N-0027-0339",
        "61N-0027-0339",
        "51X-0027-0339",
        "51N-0015-0339",
        "51N-0082-0339",
        "51N-0027-0912",
        "51S-0027-0107",
        "51S-0027-0977",
        "51N-9999-9999",
        "5\u0661N-0027-0339",
        "51N-0027-0339" * 1000,
    ],
)
def test_an_id_that_is_not_on_the_grid_is_refused(text):
    with pytest.raises(InputError):
        Tile.parse(text)


def test_the_geobox_has_the_corners_of_the_tile_at_any_pixel_size():
    tile = Tile(51, "N", 27, 339)
    left, bottom = 27 * 10_240, 339 * 10_240
    for gsd_m, size in ((10, 1024), (20, 512), (1, 10_240)):
        geobox = tile.geobox(gsd_m)
        assert geobox.shape == (size, size)
        assert tuple(geobox.boundingbox) == (left, bottom, left + TILE_M, bottom + TILE_M)
        assert geobox.crs.epsg == 32651


def test_the_margin_is_counted_in_pixels_on_every_side():
    geobox = Tile(51, "N", 27, 339).geobox(margin_px=32)
    assert geobox.shape == (1088, 1088)
    assert geobox.transform @ (32, 32) == (27 * 10_240, 340 * 10_240)


@pytest.mark.parametrize(("gsd_m", "margin_px"), [(3, 0), (0, 0), (10, -1)])
def test_a_pixel_size_that_does_not_divide_the_tile_is_refused(gsd_m, margin_px):
    with pytest.raises(ValueError, match="no tile grid"):
        Tile(51, "N", 27, 339).geobox(gsd_m, margin_px)


def test_an_area_inside_one_tile_gives_that_tile():
    inner = Tile(50, "N", 65, 347).footprint().buffer(-0.001)
    assert tiles_over(inner) == [Tile(50, "N", 65, 347)]


def test_the_outline_of_a_tile_gives_that_tile_and_no_neighbour():
    for tile in (Tile(50, "N", 50, 347), Tile(1, "S", 40, 300), Tile(33, "N", 48, 880), Tile(33, "N", 48, 0)):
        assert tiles_over(tile.footprint()) == [tile]


def test_a_region_smaller_than_a_pixel_has_a_tile():
    area = shapely.box(118.8, 32.0, 118.800001, 32.000001)
    assert len(tiles_over(area)) == 1


def test_a_sliver_on_the_edge_of_zones_or_tiles_still_has_a_tile():
    assert tiles_over(shapely.box(119.9999999, 32, 120.0000001, 32.0001))
    lon, lat = Tile(50, "N", 50, 347).footprint().exterior.coords[0]
    assert tiles_over(shapely.box(lon - 1e-7, lat - 1e-7, lon + 1e-7, lat + 1e-7))


def test_a_box_across_a_zone_edge_has_tiles_of_both_zones():
    tiles = tiles_over(shapely.box(119.9, 32.0, 120.1, 32.2))
    assert {tile.zone for tile in tiles} == {50, 51}


def test_a_box_that_ends_on_a_zone_edge_has_tiles_of_one_zone():
    assert {tile.zone for tile in tiles_over(shapely.box(119.9, 32.0, 120.0, 32.2))} == {50}
    assert {tile.zone for tile in tiles_over(shapely.box(120.0, 32.0, 120.1, 32.2))} == {51}


def test_a_box_across_the_equator_has_tiles_of_both_hemispheres():
    tiles = tiles_over(shapely.box(100.0, -0.1, 100.1, 0.1))
    assert {tile.hemisphere for tile in tiles} == {"N", "S"}
    assert max(tile.iy for tile in tiles if tile.hemisphere == "S") == 976
    assert min(tile.iy for tile in tiles if tile.hemisphere == "N") == 0


def test_an_area_split_at_180_degrees_has_tiles_of_zones_60_and_1():
    area = shapely.union_all([shapely.box(179.9, 10, 180, 10.1), shapely.box(-180, 10, -179.9, 10.1)])
    tiles = tiles_over(area)
    assert {tile.zone for tile in tiles} == {1, 60}
    assert sum((tile.footprint() & area).area for tile in tiles) == pytest.approx(area.area, rel=1e-6)


@pytest.mark.parametrize("box", [(-180, 83.99, -179.9, 84), (0, 83.99, 6, 84), (174, -80, 180, -79.99)])
def test_the_ends_of_the_utm_grids_are_covered(box):
    area = shapely.box(*box)
    covered = sum((tile.footprint() & area).area for tile in tiles_over(area))
    assert covered == pytest.approx(area.area, rel=1e-6)


@pytest.mark.parametrize(
    ("area", "word"),
    [
        (shapely.box(0, 80, 10, 84.1), "latitude"),
        (shapely.box(0, -80.1, 10, -70), "latitude"),
        (shapely.box(-180, -90, 180, 90), "latitude"),
        (shapely.box(179, 0, 181, 1), "180"),
        (shapely.Point(118, 32), "surface"),
        (shapely.LineString([(118, 32), (119, 33)]), "surface"),
        (shapely.Polygon(), "surface"),
        (shapely.GeometryCollection(), "surface"),
        (shapely.Polygon([(0, 0), (1, math.inf), (1, 0)]), "finite"),
    ],
)
def test_an_area_that_has_no_place_on_the_grid_is_refused(area, word):
    with pytest.raises(InputError, match=word):
        tiles_over(area)


def test_a_self_crossing_area_has_the_tiles_of_both_halves():
    bow_tie = shapely.Polygon([(118, 32), (118.4, 32.4), (118.4, 32), (118, 32.4)])
    assert tiles_over(bow_tie) == tiles_over(shapely.make_valid(bow_tie))


def test_a_polygon_of_100_000_vertices_is_searched_in_seconds():
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    radius = 1 + 0.1 * np.sin(2000 * angle)
    star = shapely.Polygon(np.column_stack([120 + radius * np.cos(angle), 30 + radius * np.sin(angle)]))
    tiles = tiles_over(star)
    assert len(tiles) > 200
    assert len(set(tiles)) == len(tiles)


@pytest.mark.parametrize(
    "box",
    [
        (118.7, 31.9, 119.1, 32.3),
        (119.95, 31.95, 120.05, 32.02),
        (5.99, 59.9, 6.3, 60.0),
        (100.2, -0.12, 100.3, 0.12),
        (-0.2, -45.1, 0.2, -45.0),
        (11.9, 78.0, 12.4, 78.1),
    ],
)
def test_the_search_agrees_with_a_loop_over_all_tiles_near_the_area(box):
    area = shapely.Polygon([(box[0], box[1]), (box[2], box[1]), (box[2], box[3])])
    assert tiles_over(area) == _tiles_by_brute_force(area)


def _tiles_by_brute_force(area):
    """Tiles that share more than 10 m2 with the area in their own zone."""
    west, south, east, north = area.bounds
    latitudes = {"N": range(int(max(south, 0) / 0.0932) - 5, int(max(north, 0) / 0.0918) + 5)}
    latitudes["S"] = [
        976 - row for row in range(int(max(-north, 0) / 0.0932) - 5, int(max(-south, 0) / 0.0918) + 5)
    ]
    found = []
    for zone in range(int((west + 180) // 6) + 1, int((east + 180) // 6) + 2):
        for hemisphere, rows in latitudes.items():
            for iy in rows:
                if iy < 0 or (hemisphere == "S" and iy > 976):
                    continue
                tiles = (Tile(zone, hemisphere, ix, iy) for ix in range(16, 82))
                found += [tile for tile in tiles if (tile.footprint() & area).area > 1e-9]
    return sorted(found)


def test_refining_keeps_the_corners_and_multiplies_the_pixels():
    lr = Tile(51, "N", 27, 339).geobox(margin_px=32)
    hr = refine(lr)
    assert hr.shape == (10_880, 10_880)
    assert hr.boundingbox == lr.boundingbox
    assert hr == Tile(51, "N", 27, 339).geobox(gsd_m=1, margin_px=320)
    assert refine(lr, 1) == lr
    with pytest.raises(ValueError, match="scale"):
        refine(lr, 0)


@pytest.mark.parametrize(
    ("transform", "crs", "expected"),
    [
        (Affine(10, 0, 300_005, 0, -10, 4_000_003), "EPSG:32650", True),
        (Affine(10, 0, 0, 0, -10, 0), "EPSG:3035", True),
        (Affine(10, 0, 0, 0, -20, 0), "EPSG:32650", False),
        (Affine(10, 0, 0, 0, 10, 0), "EPSG:32650", False),
        (Affine(20, 0, 0, 0, -20, 0), "EPSG:32650", False),
        (Affine(10, 0.1, 0, 0.1, -10, 0), "EPSG:32650", False),
        (Affine(1e-4, 0, 118, 0, -1e-4, 32), "EPSG:4326", False),
        (Affine(10, 0, 0, 0, -10, 0), "EPSG:2263", False),
        (Affine(10, 0, 0, 0, -10, 0), None, False),
    ],
)
def test_a_grid_of_square_metric_10_m_pixels_is_recognised(transform, crs, expected):
    assert is_on_grid(GeoBox((4, 4), transform, crs)) is expected


def test_windows_come_row_by_row_and_the_last_ones_are_smaller():
    assert list(windows((5, 4), 3)) == [
        Window(0, 0, 3, 3),
        Window(0, 3, 3, 1),
        Window(3, 0, 2, 3),
        Window(3, 3, 2, 1),
    ]
    assert list(windows((0, 4), 3)) == []
    with pytest.raises(ValueError, match="step"):
        next(windows((5, 4), 0))


def test_a_padded_window_may_leave_the_raster_and_is_clipped_back():
    window = Window(0, 256, 256, 200)
    padded = window.padded(32)
    assert padded == Window(-32, 224, 320, 264)
    with pytest.raises(ValueError, match="outside"):
        _ = padded.slices
    clipped = padded.clip((512, 456))
    assert clipped == Window(0, 224, 288, 232)
    assert clipped.slices == (slice(0, 288), slice(224, 456))
    assert Window(600, 0, 10, 10).clip((512, 512)).shape == (0, 10)


def test_a_scaled_window_covers_the_same_ground():
    assert Window(1, 2, 3, 4).scaled(10) == Window(10, 20, 30, 40)
