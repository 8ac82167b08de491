"""Scenes from items as catalogues publish them; once each, those that count."""

from dataclasses import replace

import numpy as np
import published
import pytest
import shapely

from isamap.domain.grid import Tile, tiles_over
from isamap.domain.scenes import (
    Dropped,
    Selection,
    deduplicate,
    once_per_pass,
    passes,
    scene_of,
    select,
    why_none,
)
from isamap.domain.sources import BANDS, SCL, SOURCES, Source, source_of
from isamap.errors import InputError

EARTH_SEARCH, C1, PC, CDSE = (
    SOURCES[name] for name in ("earth-search", "earth-search-c1", "planetary-computer", "cdse")
)


def changed(item, where, key, value):
    target = item
    for name in where:
        target = target[name]
    if value is ...:
        del target[key]
    else:
        target[key] = value
    return item


def test_an_earth_search_item():
    scene = scene_of(published.earth_search(), EARTH_SEARCH)
    assert (scene.id, scene.source, scene.collection) == (
        "S2A_39QTA_20230628_0_L2A",
        "earth-search",
        "sentinel-2-l2a",
    )
    assert (scene.platform, scene.orbit, scene.mgrs, scene.epsg) == ("S2A", 106, "39QTA", 32639)
    assert scene.datetime == "2023-06-28T07:24:41Z"
    assert (scene.baseline, scene.cloud_cover) == ("05.09", 4.025136)
    assert scene.declared_offset == 0
    assert set(scene.assets) == {*BANDS, SCL}
    assert scene.assets["B11"].key == "swir16"
    assert scene.assets["B04"].href.endswith("S2A_39QTA_20230628_0_L2A/B04.tif")
    assert scene.product == "S2A_MSIL2A_20230628T070631_N0509_R106_T39QTA_20230628T113955"
    assert shapely.intersects_xy(scene.footprint, 48.5, 18.5)


def test_a_collection_1_item():
    scene = scene_of(published.earth_search_c1(), C1)
    assert (scene.platform, scene.orbit, scene.mgrs, scene.epsg) == ("S2B", 93, "38XNF", 32638)
    assert (scene.baseline, scene.declared_offset) == ("05.11", -1000)


def test_a_planetary_computer_item_says_nothing_of_the_offset():
    scene = scene_of(published.planetary_computer(), PC)
    assert (scene.platform, scene.orbit, scene.mgrs, scene.epsg) == ("S2B", 43, "06VVN", 32606)
    assert (scene.baseline, scene.declared_offset) == ("02.12", None)


def test_a_cdse_item():
    scene = scene_of(published.cdse(), CDSE)
    assert (scene.platform, scene.orbit, scene.mgrs, scene.epsg) == ("S2C", 122, "33UWP", 32633)
    assert (scene.baseline, scene.declared_offset) == ("05.11", -1000)
    assert scene.assets["B12"].href.startswith("s3://eodata/")


def test_a_signed_address_is_stored_unsigned():
    item = published.planetary_computer()
    item["assets"]["B02"]["href"] += "?se=2026&sig=SECRET"
    assert "SECRET" not in repr(dict(scene_of(item, PC).assets))


def test_what_is_missing_is_read_from_the_id():
    item = published.planetary_computer()
    for key in ("platform", "proj:epsg", "s2:mgrs_tile", "sat:relative_orbit", "s2:product_uri"):
        del item["properties"][key]
    scene = scene_of(item, PC)
    assert (scene.platform, scene.orbit, scene.mgrs, scene.epsg) == ("S2B", 43, "06VVN", 32606)


@pytest.mark.parametrize(
    ("baseline", "product", "expected"),
    [
        ("05.09", "N0509", "05.09"),
        (None, "N0500", "05.00"),
        ("00.01", "N0001", "00.01"),
        ("99.99", "N9999", "99.99"),
        ("02.12", "N0500", ""),  # contradiction: nothing is believed
    ],
)
def test_the_baseline_comes_from_every_field_that_has_it(baseline, product, expected):
    item = published.earth_search()
    item["properties"]["s2:processing_baseline"] = baseline
    item["properties"]["s2:product_uri"] = (
        f"S2A_MSIL2A_20230628T070631_{product}_R106_T39QTA_20230628T113955.SAFE"
    )
    del item["properties"]["s2:datatake_id"]
    assert scene_of(item, EARTH_SEARCH).baseline == expected


@pytest.mark.parametrize(
    ("applied", "offset", "expected"),
    [
        (True, -0.1, 0),
        (False, -0.1, -1000),
        (False, 0, 0),
        (None, -0.1, -1000),
        (None, None, None),
        (None, 0.5, None),
        (None, -1000, -1000),
    ],
)
def test_what_an_item_declares(applied, offset, expected):
    item = published.earth_search()
    item["properties"]["earthsearch:boa_offset_applied"] = applied
    for key in ("blue", "green", "red", "nir", "swir16", "swir22"):
        item["assets"][key]["raster:bands"][0]["offset"] = offset
    assert scene_of(item, EARTH_SEARCH).declared_offset == expected


def test_bands_that_differ_in_their_offset_declare_nothing():
    item = published.earth_search()
    item["properties"]["earthsearch:boa_offset_applied"] = False
    item["assets"]["red"]["raster:bands"][0]["offset"] = 0
    scene = scene_of(item, EARTH_SEARCH)
    assert (scene.declared_offset, scene.declaration) == (None, "bands differ in their offset")


@pytest.mark.parametrize(
    ("where", "key", "value", "message"),
    [
        ((), "id", "../../etc/passwd", "is no item id"),
        ((), "id", "a" * 10_000_000, "is no item id"),
        ((), "id", None, "is no item id"),
        ((), "id", "S2A\nfoo", "is no item id"),
        ((), "properties", None, "properties is missing"),
        ((), "properties", [1], "properties is list"),
        ((), "assets", [], "assets is list"),
        ((), "collection", 7, "collection is int"),
        (("properties",), "datetime", None, "datetime is missing"),
        (("properties",), "datetime", "2023-06-28T07:24:41", "no RFC 3339 time with a zone"),
        (("properties",), "datetime", "2023-06-30T23:59:60Z", "is no time"),
        (("properties",), "datetime", "1999-06-30T23:59:59Z", "years of Sentinel-2"),
        (("properties",), "datetime", "9999-12-31T23:59:59-23:59", "is no time"),
        (("properties",), "datetime", 1.5, "datetime is float"),
        (("properties",), "platform", {"a": 1}, "platform is dict"),
        (("properties",), "eo:cloud_cover", float("nan"), "out of range"),
        (("properties",), "eo:cloud_cover", 10**400, "out of range"),
        (("properties",), "eo:cloud_cover", True, "is bool"),
        (("properties",), "eo:cloud_cover", 101, "not percent"),
        (("properties",), "proj:epsg", 4326, "no UTM zone"),
        (("properties",), "proj:code", "EPSG:32640", "several projections"),
        (("properties",), "sat:relative_orbit", 0.5, "not 1 to 143"),
        (("properties",), "s2:processing_baseline", "five", "no baseline"),
        (("properties",), "earthsearch:boa_offset_applied", "yes", "not true or false"),
        (("properties",), "grid:code", "x" * 5000, "no plain text"),
        (("assets",), "scl", ..., "no asset for SCL"),
        (("assets",), "red", None, "no asset for B04"),
        (("assets",), "red", "B04.tif", "red is str"),
        (("assets", "red"), "href", None, "is no address"),
        (("assets", "red"), "href", "file:///etc/passwd", "is no address"),
        (("assets", "red"), "href", "/etc/passwd", "is no address"),
        (("assets", "red"), "href", "/vsicurl/https://host/x.tif", "is no address"),
        (("assets", "red"), "href", "https://user:pw@host/x.tif", "is no address"),
        (("assets", "red"), "href", "https://host/x.tif\r\nHost: y", "no plain text"),
        (("assets", "red"), "href", "https://host/" + "a" * 10_000_000, "no plain text"),
        (("assets", "red"), "href", "s3://sentinel-s2-l2a/tiles/B04.jp2", "is on s3://"),
        ((), "geometry", {"type": "Point", "coordinates": [1, 2]}, "no GeoJSON Polygon"),
        ((), "geometry", {"type": "Polygon", "coordinates": []}, "without rings"),
        (
            (),
            "geometry",
            {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [2, 2], [0, 0]]]},
            "no surface",
        ),
        ((), "geometry", {"type": "Polygon", "coordinates": [[[0, 0]] * 100_000]}, "points"),
        (
            (),
            "geometry",
            {"type": "Polygon", "coordinates": [[[0, float("nan")]] * 4]},
            "no longitude and latitude",
        ),
        ((), "geometry", {"type": "Polygon", "coordinates": [[[500_000, 4_000_000]] * 4]}, "no longitude"),
    ],
)
def test_a_bad_item_is_refused_in_one_line(where, key, value, message):
    with pytest.raises(InputError, match=message) as refusal:
        scene_of(changed(published.earth_search(), where, key, value), EARTH_SEARCH)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


def test_an_item_that_is_no_object_is_refused():
    for item in (None, 3, [], "x", {"id": []}):
        with pytest.raises(InputError):
            scene_of(item, EARTH_SEARCH)


def test_a_folder_gives_paths_below_it_and_nothing_else():
    folder = Source(name="folder:scenes", url="", collections=(), root="/scenes")
    item = published.planetary_computer()
    for asset in item["assets"].values():
        asset["href"] = "one/" + asset["href"].rsplit("/", 1)[1]
    assert scene_of(item, folder).assets["B02"].href.startswith("one/")
    for href in (
        "/scenes/x.tif",
        "//host/x.tif",
        "a/../../etc/x.tif",
        "https://host/x.tif",
        "",
    ):
        with pytest.raises(InputError, match="no path below the folder"):
            scene_of(changed(item, ("assets", "B02"), "href", href), folder)


def test_a_fault_that_a_folder_found_is_told_as_it_is():
    folder = Source(name="folder:scenes", url="", collections=(), root="/scenes")
    item = changed(
        published.planetary_computer(), ("assets", "B02"), "isamap:fault", "'B02.tif' is not there"
    )
    with pytest.raises(InputError, match=r"asset B02: 'B02\.tif' is not there"):
        scene_of(item, folder)


def test_the_cause_is_counted_where_no_scene_counts():
    dropped = [
        *(Dropped(f"c{k}", f"cloud cover {k + 5} %, more than 0 %", "cloud") for k in range(3)),
        Dropped("m", "month 3 is not asked for", "month"),
        Dropped("x", "has no asset for B02 (blue)"),
    ]
    for order in (dropped, dropped[::-1]):
        assert why_none(order) == (
            "found 5 scenes, none counts: 3 too cloudy, 1 of other months, 1 unusable; "
            "e.g. c0: cloud cover 5 %, more than 0 %"
        )
    assert why_none(dropped[-1:]).startswith("found 1 scene, none counts: 1 unusable; e.g. x: ")
    assert why_none([]) == "has no scene here"


def test_an_outline_across_180_degrees_is_cut_there():
    item = changed(published.earth_search(), (), "geometry", published.ring(179.5, -17, -179.6, -16))
    west, _, east, _ = scene_of(item, EARTH_SEARCH).footprint.bounds
    assert (west, east) == (-180, 180)
    assert scene_of(item, EARTH_SEARCH).footprint.area == pytest.approx(0.9)


def test_an_item_without_geometry_has_its_bbox_or_lies_anywhere():
    item = published.earth_search()
    item["geometry"], item["bbox"] = None, [179.5, -17, -179.6, -16]
    assert scene_of(item, EARTH_SEARCH).footprint.area == pytest.approx(0.9)
    item["bbox"] = None
    assert scene_of(item, EARTH_SEARCH).footprint is None


def scene(name="S2A_39QTA_20230628_0_L2A", **fields):
    return replace(scene_of(published.earth_search(), EARTH_SEARCH), id=name, **fields)


def test_the_newest_baseline_of_a_look_wins_then_the_first_source():
    old, new = scene("old", baseline="02.12"), scene("new", baseline="05.00")
    other = scene("other", baseline="05.00", source="planetary-computer", datetime="2023-06-28T07:06:31Z")
    test, unknown = scene("test", baseline="99.99"), scene("unknown", baseline="")
    kept, dropped = deduplicate([old, other, test, unknown, new], ("earth-search", "planetary-computer"))
    assert [one.id for one in kept] == ["new"]
    assert {one.id for one in dropped} == {"old", "other", "test", "unknown"}
    assert all("the same look as new of earth-search" in one.reason for one in dropped)
    kept, _ = deduplicate([old, other, new], ("planetary-computer", "earth-search"))
    assert [one.id for one in kept] == ["other"]


def test_other_days_satellites_and_granules_are_other_looks():
    looks = [
        scene("a"),
        scene("b", platform="S2B"),
        scene("c", mgrs="39QUA"),
        scene("d", datetime="2023-07-08T07:24:41Z"),
        scene("e", datetime="2023-06-28T09:05:00Z"),  # an orbit later, near the poles
    ]
    assert len(deduplicate(looks)[0]) == 5
    labels = passes(looks)
    assert labels[0] == labels[2]
    assert len(set(labels)) == 4


def test_the_other_half_of_a_cut_datatake_stays():
    west, east = shapely.box(48, 18, 48.6, 19), shapely.box(48.59, 18, 49.2, 19)
    kept, _ = deduplicate([scene("a", footprint=west), scene("b", footprint=east)])
    assert [one.id for one in kept] == ["a", "b"]
    kept, dropped = deduplicate(
        [scene("a", footprint=west), scene("b", footprint=east)], (), shapely.box(48.1, 18, 48.2, 18.1)
    )
    assert [one.id for one in kept] == ["a"]
    assert [one.id for one in dropped] == ["b"]


def test_a_pixel_counts_once_per_pass():
    scenes = [scene("a"), scene("b", mgrs="39QUA"), scene("c", datetime="2023-07-08T07:24:41Z")]
    valid = np.array([[[True, True, False]], [[False, True, True]], [[True, True, True]]])
    once_per_pass(valid, scenes)
    assert valid.astype(int).tolist() == [[[1, 1, 0]], [[0, 0, 1]], [[1, 1, 1]]]


TILE = tiles_over(shapely.box(48.5, 18.5, 48.501, 18.501))[0]


def test_every_scene_left_out_says_why():
    scenes = [
        scene("kept"),
        scene("zone", epsg=32638),
        scene("far", footprint=shapely.box(10, 10, 11, 11)),
        scene("winter", datetime="2023-01-28T07:24:41Z"),
        scene("cloudy", cloud_cover=80.5),
        scene("silent", cloud_cover=None, footprint=None, epsg=None),
    ]
    kept, dropped = select(scenes, TILE, Selection(months=(5, 6, 7)))
    assert [one.id for one in kept] == ["kept", "silent"]
    assert {one.id: one.reason for one in dropped} == {
        "zone": "other UTM zone: EPSG:32638",
        "far": "does not meet the tile",
        "winter": "month 1 is not asked for",
        "cloudy": "cloud cover 80.5 %, more than 60 %",
    }


def test_the_scenes_that_promise_most_clear_ground_are_kept_in_order_of_time():
    half = shapely.intersection(TILE.footprint(), shapely.box(-180, -90, TILE.footprint().centroid.x, 90))
    scenes = [
        scene("a", cloud_cover=0, footprint=half, datetime="2023-06-01T07:00:00Z"),
        scene("b", cloud_cover=30, datetime="2023-06-11T07:00:00Z"),
        scene("c", cloud_cover=10, datetime="2023-06-21T07:00:00Z"),
    ]
    kept, dropped = select(scenes, TILE, Selection(max_scenes=2))
    assert [one.id for one in kept] == ["b", "c"]
    assert "promises 50 % clear ground" in dropped[0].reason


def test_a_tile_of_another_zone_takes_nothing():
    assert select([scene()], Tile.parse("51N-0027-0339"), Selection())[0] == []


def test_generic_sources_read_items_of_every_shape():
    row = source_of("https://stac.example.org/v1")
    for item in (published.earth_search(), published.planetary_computer(), published.cdse()):
        assert scene_of(item, row).source == row.name
