"""Regions by name, box, shape and tile: what they are called and where they lie."""

import re

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from isamap.domain.grid import Tile, tiles_over
from isamap.domain.region import (
    MAX_TILES,
    Gazetteer,
    Region,
    from_bbox,
    from_geometries,
    from_tiles,
    tiles_of,
)
from isamap.errors import InputError, IsamapError, MissingInputError

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SQUARE = shapely.box(118, 32, 119, 33)


def _feature(west, **properties):
    ring = [[west, 30], [west + 1, 30], [west + 1, 31], [west, 31], [west, 30]]
    return {"properties": properties, "geometry": {"type": "Polygon", "coordinates": [ring]}}


@pytest.fixture(scope="module")
def gazetteer():
    jiangsu = _feature(
        118, name_en="Jiangsu", name_zh="江苏省", pcode="CN032", iso_3166_2="CN-JS", adcode="320000"
    )
    shanghai = _feature(
        119, name_en="Shanghai", name_zh="上海市", pcode="CN031", iso_3166_2="CN-SH", adcode="310000"
    )
    prefectures = [
        _feature(118, name_en="Suzhou", name_zh="苏州市", pcode="CN032070", province_en="Jiangsu"),
        _feature(116, name_en="Suzhou", name_zh="宿州市", pcode="CN034130", province_en="Anhui"),
        _feature(119, name_en="Shanghai Municipality", name_zh="上海市", pcode="CN031010"),
        _feature(112, name_en="Qianjiang", name_zh="潜江市[1]", pcode="CN042070"),
        _feature(110, name_en="Shennongjia Forestry District", name_zh="神农架林区[3]", pcode="CN042080"),
        _feature(118, name_en="Ma'anshan", name_zh="马鞍山市", pcode="CN034120"),
        _feature(
            100, name_en="Garzê Tibetan Autonomous Prefecture", name_zh="甘孜藏族自治州", pcode="CN051050"
        ),
    ]
    return Gazetteer({"features": [jiangsu, shanghai]}, {"features": prefectures})


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("yreb", "yreb"),
        ("YREB", "yreb"),
        ("yreb/", "yreb"),
        ("Yangtze River Economic Belt", "yreb"),
        ("长江经济带", "yreb"),
        ("CN032", "yreb/CN032"),
        ("yreb/CN032", "yreb/CN032"),
        ("yreb/jiangsu", "yreb/CN032"),
        ("cn-js", "yreb/CN032"),
        ("320000", "yreb/CN032"),
        ("JIANGSU", "yreb/CN032"),
        ("Jiangsu Province", "yreb/CN032"),
        ("江苏", "yreb/CN032"),
        ("江苏省", "yreb/CN032"),
        ("CN032070", "yreb/CN032070"),
        ("yreb/cn032070", "yreb/CN032070"),
        ("苏州", "yreb/CN032070"),
        ("宿州市", "yreb/CN034130"),
        ("潜江市", "yreb/CN042070"),
        ("神农架", "yreb/CN042080"),
        ("Shennongjia", "yreb/CN042080"),
        ("maanshan", "yreb/CN034120"),
        ("Ma\u2019anshan City", "yreb/CN034120"),
        ("garze", "yreb/CN051050"),
        ("Garzê", "yreb/CN051050"),
        ("Garze Tibetan Autonomous Prefecture", "yreb/CN051050"),
        ("Garze Prefecture", "yreb/CN051050"),
        ("甘孜", "yreb/CN051050"),
        ("甘孜州", "yreb/CN051050"),
        ("甘孜藏族自治州", "yreb/CN051050"),
    ],
)
def test_a_region_is_found_by_code_and_by_english_and_chinese_name(gazetteer, name, found):
    assert gazetteer.find(name).name == found


@pytest.mark.parametrize("name", ["shanghai", "Shanghai Municipality", "上海", "上海市"])
def test_a_province_comes_before_the_prefecture_of_the_same_name(gazetteer, name):
    assert gazetteer.find(name).kind == "province"
    assert gazetteer.find("CN031010").kind == "prefecture"


def test_an_ambiguous_name_is_refused_with_the_codes(gazetteer):
    with pytest.raises(InputError, match=r"yreb/CN032070 .*Jiangsu.*yreb/CN034130 .*Anhui"):
        gazetteer.find("Suzhou")


def test_an_unknown_name_is_answered_with_the_nearest_ones(gazetteer):
    with pytest.raises(MissingInputError, match=r"Jiangzu.*Jiangsu"):
        gazetteer.find("Jiangzu")


def test_the_belt_is_the_union_of_its_provinces(gazetteer):
    belt = gazetteer.find("yreb")
    assert belt.kind == "region"
    assert belt.geometry.equals(shapely.box(118, 30, 120, 31))
    assert [region.kind for region in gazetteer.regions()] == ["region"] + 2 * ["province"] + 7 * [
        "prefecture"
    ]


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(["../x", "yreb/../..", "\0", "CN032\n../", "\uff0e\uff0e\uff0f"]),
    )
)
def test_any_text_gives_a_region_with_a_safe_name_or_a_message_of_one_line(gazetteer, text):
    try:
        region = gazetteer.find(text)
    except IsamapError as error:
        message = str(error)
    else:
        message = region.slug
        assert SAFE.fullmatch(region.slug)
    assert "\n" not in message


@pytest.mark.parametrize(
    "name", ["", "..", "/x", "a/../b", "a/b/c", ".hidden", "a b", "a\n", "长江", "x" * 121]
)
def test_a_region_cannot_be_given_a_name_that_is_unsafe_in_a_path(name):
    with pytest.raises(ValueError, match="not safe"):
        Region(name, "", "", "aoi", SQUARE, 1.0)


def test_a_box_is_named_after_its_numbers():
    region = from_bbox((118.7, 32, 118.9, 32.1))
    assert (region.name, region.slug, region.kind) == ("bbox_118.7_32_118.9_32.1",) * 2 + ("bbox",)
    assert region.geometry.bounds == (118.7, 32, 118.9, 32.1)
    assert region.area_km2 == pytest.approx(209.4, abs=0.1)


def test_a_utm_box_on_the_grid_gives_its_tile_alone():
    tile = Tile(50, "N", 50, 347)
    region = from_bbox(tuple(tile.geobox().boundingbox), "EPSG:32650")
    assert region.name.endswith("_EPSG32650")
    assert tiles_over(region.geometry) == [tile]


def test_a_box_with_xmin_over_xmax_is_split_at_180_degrees():
    region = from_bbox((179.9, 10, -179.9, 10.1))
    assert [part.bounds for part in region.geometry.geoms] in (
        [(179.9, 10, 180, 10.1), (-180, 10, -179.9, 10.1)],
        [(-180, 10, -179.9, 10.1), (179.9, 10, 180, 10.1)],
    )


@pytest.mark.parametrize(("crs", "left"), [(32660, 650_000), (32701, 150_000), (3832, 3_300_000)])
def test_a_projected_box_across_180_degrees_is_split_there(crs, left):
    region = from_bbox((left, 6_000_000, left + 150_000, 6_010_000), crs)
    west, _, east, _ = region.geometry.bounds
    assert (west, east) == (-180, 180)
    assert region.area_km2 < 1600
    assert {tile.zone for tile in tiles_over(region.geometry)} == {1, 60}


def test_a_box_wider_than_half_the_globe_has_its_true_area():
    assert from_bbox((-180, -90, 180, 90)).area_km2 == pytest.approx(510_065_622, rel=1e-6)
    world = from_bbox((-2e7, -1e7, 2e7, 1e7), "EPSG:3857")
    assert world.area_km2 == pytest.approx(466_000_000, rel=0.01)


def test_an_area_of_more_tiles_than_a_run_can_have_is_refused_before_they_are_counted(monkeypatch):
    monkeypatch.setattr("isamap.domain.region.tiles_over", lambda _: pytest.fail("counted"))
    with pytest.raises(InputError, match=r"-180,-60,180,84 has 474 million km2, that is 4\.5 million tiles"):
        tiles_of(from_bbox((-180, -60, 180, 84)))


def test_a_continent_is_no_such_area(monkeypatch):
    monkeypatch.setattr("isamap.domain.region.tiles_over", lambda _: [])
    assert tiles_of(from_bbox((60, 0, 150, 70))) == []
    assert 50e6 < from_bbox((60, 0, 150, 70)).area_km2 < MAX_TILES * 10.24**2


def test_the_tiles_of_a_region_are_those_over_it():
    region = from_bbox((5.9, 45, 6.2, 45.2))
    assert tiles_of(region) == tiles_over(region.geometry)


@pytest.mark.parametrize(
    ("bbox", "crs", "word"),
    [
        ((118, 33, 119, 32), 4326, "YMIN < YMAX"),
        ((118, 32, 119, 32), 4326, "no height"),
        ((118, 32, 118, 33), 4326, "no width"),
        ((119, 32, 118, 33), 4326, "exchange"),
        ((32, 118, 33, 119), 4326, "longitude comes first"),
        ((500_000, 3_500_000, 510_000, 3_510_000), 4326, "metres"),
        ((118, 32, 181, 33), 4326, "180"),
        ((118, 32, 119), 4326, "four numbers"),
        ((118, 32, 119, "x"), 4326, "four numbers"),
        ((118, 32, 119, float("nan")), 4326, "finite"),
        ((510_000, 3_500_000, 500_000, 3_510_000), 32650, "width"),
        ((0, 0, 1e30, 1e30), 32650, "outside"),
        ((-2e6, -2e6, 2e6, 2e6), 3413, "pole"),
        ((0, 0, 1, 1), "EPSG:0", "EPSG:0"),
        ((0, 0, 1, 1), "EPSG:5773", "neither"),
        ((0, 0, 1, 1), "IAU_2015:30100", "another body"),
    ],
)
def test_a_box_that_cannot_be_meant_is_refused(bbox, crs, word):
    with pytest.raises(InputError, match=word):
        from_bbox(bbox, crs)


def test_shapes_are_united_and_named_after_file_and_content():
    region = from_geometries([SQUARE, None, shapely.box(118.5, 32, 120, 33)], name="我的 area/../x")
    assert region.geometry.equals(shapely.box(118, 32, 120, 33))
    assert re.fullmatch(r"aoi-area-\.\.-x-[0-9a-f]{8}", region.name)
    assert region.slug == region.name
    assert from_geometries([SQUARE], name="我").name != from_geometries([SQUARE.buffer(1)], name="我").name


def test_a_self_crossing_shape_keeps_both_halves():
    region = from_geometries([shapely.Polygon([(118, 32), (119, 33), (119, 32), (118, 33)])])
    assert region.geometry.is_valid
    assert region.geometry.area == pytest.approx(0.5)


def test_heights_are_dropped():
    region = from_geometries([shapely.Polygon([(118, 32, 5), (119, 32, 6), (119, 33, 7)])])
    assert not region.geometry.has_z


def test_points_beside_polygons_are_left_out():
    region = from_geometries([SQUARE, shapely.Point(0, 0)], name="plots")
    assert region.geometry.equals(SQUARE)


@pytest.mark.parametrize(
    ("shapes", "word"),
    [
        ([], "empty"),
        ([None, shapely.Polygon()], "empty"),
        ([shapely.Point(118, 32)], "only Point"),
        ([shapely.LineString([(118, 32), (119, 32)])], "only LineString"),
        ([shapely.Polygon([(118, 32), (119, 32), (118, 32)])], "no surface"),
        ([shapely.Polygon([(118, 32), (119, float("inf")), (119, 32)])], "finite"),
        ([shapely.box(500_000, 3_500_000, 510_000, 3_510_000)], "no longitudes"),
        ([shapely.Polygon([(1e308, 1), (2, 1), (2, 2)])], "no longitudes"),
        ([shapely.Polygon([(118, -1e308), (119, 1e308), (119, 32)])], "no longitudes"),
        ([shapely.box(179.9, 1, -179.9, 2)], "cut what crosses the 180th meridian"),
        ([SQUARE, shapely.MultiPolygon([shapely.box(-100, 1, 100, 2)])], "points between"),
    ],
)
def test_shapes_without_a_surface_on_earth_are_refused(shapes, word):
    with pytest.raises(InputError, match=word):
        from_geometries(shapes)


def test_coordinates_beyond_any_projection_are_refused():
    with pytest.raises(InputError, match="outside the CRS"):
        from_geometries([shapely.Polygon([(1e308, 1), (2, 1), (2, 2)])], "EPSG:32650")


def test_an_area_wider_than_half_the_globe_is_taken_with_points_between():
    band = shapely.segmentize(shapely.box(-100, 1, 100, 2), 90)
    assert from_geometries([band]).area_km2 == pytest.approx(from_bbox((-100, 1, 100, 2)).area_km2)


def test_longitudes_from_0_to_360_are_brought_within_180():
    region = from_geometries([shapely.box(179, 10, 182, 11), shapely.box(270, 10, 271, 11)])
    assert region.geometry.equals(
        shapely.union_all(
            [shapely.box(179, 10, 180, 11), shapely.box(-180, 10, -178, 11), shapely.box(-90, 10, -89, 11)]
        )
    )


def test_a_shape_of_100_000_vertices_is_taken():
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    circle = shapely.Polygon(
        np.column_stack([500_000 + 50_000 * np.cos(angle), 3_500_000 + 50_000 * np.sin(angle)])
    )
    region = from_geometries([circle], "EPSG:32650")
    assert region.area_km2 == pytest.approx(np.pi * 2500 / 0.9996**2, rel=1e-4)


def test_tiles_give_a_region_of_their_footprints():
    one = from_tiles([Tile(50, "N", 50, 347)])
    assert (one.name, one.kind) == ("50N-0050-0347", "tiles")
    assert one.area_km2 == pytest.approx(104.9, abs=0.1)
    two = from_tiles([Tile(50, "N", 51, 347), Tile(50, "N", 50, 347)])
    assert two.name == from_tiles([Tile(50, "N", 50, 347), Tile(50, "N", 51, 347)]).name
    assert two.area_km2 == pytest.approx(2 * one.area_km2, rel=1e-3)


def test_no_tile_or_a_tile_outside_its_zone_is_refused():
    with pytest.raises(InputError, match="no tile"):
        from_tiles([])
    with pytest.raises(InputError, match="outside its zone 50N"):
        from_tiles([Tile(50, "N", 16, 800)])
