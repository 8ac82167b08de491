"""The packaged outlines, and vector files of every kind, whole and damaged."""

import json
import os
import sys
import time

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import Geod

from isamap.domain.grid import tiles_over
from isamap.domain.lonlat import geodesic_area_km2
from isamap.domain.region import from_geometries
from isamap.errors import ConfigError, InputError, MissingInputError
from isamap.io.vector import files_of, load_gazetteer, read_aoi, read_features, read_polygons
from isamap.io.zones import Source, source_of, zones_of

SQUARE = shapely.box(118, 32, 119, 33)
UTM_SQUARE = shapely.box(500_000, 3_500_000, 510_000, 3_510_000)


@pytest.fixture
def write_json(tmp_path):
    def write(document, name="plots.geojson"):
        path = tmp_path / name
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        return path

    return write


@pytest.fixture
def write_ogr(tmp_path):
    def write(name, geometry=SQUARE, crs="EPSG:4326", **options):
        path = tmp_path / name
        wkb = shapely.to_wkb([geometry])
        pyogrio.raw.write(path, wkb, [], [], geometry_type=geometry.geom_type, crs=crs, **options)
        return path

    return write


def _feature(geometry):
    shape = None if geometry is None else shapely.geometry.mapping(geometry)
    return {"type": "Feature", "properties": {}, "geometry": shape}


def test_the_belt_has_about_20_000_tiles_found_in_seconds():
    belt = load_gazetteer().find("yreb")
    assert belt.area_km2 == pytest.approx(2_030_243, rel=1e-4)
    start = time.process_time()
    tiles = tiles_over(belt.geometry)
    assert time.process_time() - start < 5
    assert len(set(tiles)) == len(tiles) == 20_532
    assert {tile.zone for tile in tiles} == {47, 48, 49, 50, 51}


def test_the_tiles_of_a_province_cover_it_once():
    shanghai = load_gazetteer().find("shanghai")
    shares = [
        geodesic_area_km2(tile.footprint() & shanghai.geometry) for tile in tiles_over(shanghai.geometry)
    ]
    assert sum(shares) == pytest.approx(shanghai.area_km2, rel=1e-5)


def test_every_region_is_found_by_its_name_and_by_its_code():
    gazetteer = load_gazetteer()
    regions = gazetteer.regions()
    assert [region.kind for region in regions].count("prefecture") == 130
    for region in regions:
        assert region.geometry.is_valid
        assert region.title_zh
        assert gazetteer.find(region.name) == region
        assert gazetteer.find(region.name.removeprefix("yreb/")) == region


def test_every_prefecture_is_found_by_its_english_and_chinese_name_unless_it_is_ambiguous():
    gazetteer = load_gazetteer()
    prefectures = [region for region in gazetteer.regions() if region.kind == "prefecture"]
    of_a_province = {"Shanghai Municipality", "Chongqing Municipality"}
    for region in prefectures:
        if region.title in {"Suzhou", "Taizhou"}:
            with pytest.raises(InputError, match=region.name):
                gazetteer.find(region.title)
        elif region.title not in of_a_province:
            assert gazetteer.find(region.title) == region
            assert gazetteer.find(region.title.split()[0].lower()) == region
        if region.title not in of_a_province:
            assert gazetteer.find(region.title_zh) == region


def test_areas_of_provinces_agree_with_the_source_and_with_geodesics():
    for name, area_km2 in (
        ("Shanghai", 5923.0),
        ("Sichuan", 481406.8),
        ("江苏", 99894.8),
        ("CN-YN", 381526.9),
    ):
        region = load_gazetteer().find(name)
        assert region.area_km2 == pytest.approx(area_km2, rel=1e-4)
        geodesic_km2 = abs(Geod(ellps="WGS84").geometry_area_perimeter(region.geometry)[0]) / 1e6
        assert region.area_km2 == pytest.approx(geodesic_km2, rel=1e-4)


@pytest.mark.parametrize(
    "document",
    [
        {"type": "FeatureCollection", "features": [_feature(SQUARE), _feature(None)]},
        _feature(SQUARE),
        shapely.geometry.mapping(SQUARE),
        {"type": "GeometryCollection", "geometries": [shapely.geometry.mapping(SQUARE)]},
        "\ufeff" + json.dumps(_feature(SQUARE)),
    ],
)
def test_every_kind_of_geojson_is_read(write_json, document):
    region = read_aoi(write_json(document))
    assert region.geometry.equals(SQUARE)
    assert region.kind == "aoi"
    assert region.name.startswith("aoi-plots-")


def test_features_of_an_area_that_hold_no_polygon_are_counted_and_said(write_json, caplog):
    point = shapely.Point(118, 32)
    features = [
        _feature(one) for one in (shapely.GeometryCollection([SQUARE, point]), point, None, shapely.Polygon())
    ]
    assert read_aoi(write_json({"type": "FeatureCollection", "features": features})).geometry.equals(SQUARE)
    said = "3 of 4 features hold no polygon: left out (1 Point, 1 empty Polygon, 1 without geometry)"
    assert [said in message for message in caplog.messages] == [True]


def test_rows_without_geometry_are_counted_whoever_reads_them(tmp_path, caplog):
    path = tmp_path / "plots.gpkg"
    pyogrio.raw.write(
        path,
        geometry=np.array([shapely.to_wkb(SQUARE), None], object),
        field_data=[np.array(["A", "B"], object)],
        fields=["name"],
        geometry_type="Polygon",
        crs="EPSG:4326",
    )
    assert read_polygons(path).attributes == [{"name": "A"}]
    assert "1 of 2 features hold no polygon: left out (1 without geometry)" in caplog.text


def test_the_old_crs_member_of_geojson_is_obeyed(write_json):
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32650"}}
    region = read_aoi(write_json(_feature(UTM_SQUARE) | {"crs": crs}))
    assert region.area_km2 == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize(
    ("document", "word"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        ("[1, 2]", "not GeoJSON"),
        ("{}", "feature 0 has no readable geometry: it says no type"),
        ({"type": "Topology", "objects": {}}, "feature 0"),
        ({"type": "FeatureCollection"}, "no list"),
        ({"type": "FeatureCollection", "features": [1]}, "no list"),
        ({"type": "FeatureCollection", "features": []}, "empty"),
        ({"type": "Feature", "geometry": "x"}, "feature 0"),
        ({"type": "Feature", "geometry": {"type": "Polygon"}}, "coordinates are not those of a Polygon"),
        ({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[1, 2]]}}, "feature 0"),
        ({"type": "Polygon", "coordinates": [[["a", "b"], [1, 2], [3, 4], [5, 6]]]}, "feature 0"),
        ('{"type": "Polygon", "coordinates": [[[NaN, 0], [1, 2], [3, 4], [NaN, 0]]]}', "closed"),
        ('{"type": "Polygon", "coordinates": [[[0, 0], [1, NaN], [3, 4], [0, 0]]]}', "not finite"),
        ('{"type": "Polygon", "coordinates": [[[1e308, 0], [1, 2], [3, 4], [1e308, 0]]]}', "no longitudes"),
        ({"type": "Point", "coordinates": [118, 32]}, "only 1 Point"),
        (_feature(UTM_SQUARE), "longitudes"),
        (_feature(SQUARE) | {"crs": {"properties": {"name": "nonsense"}}}, "nonsense"),
        (_feature(UTM_SQUARE), r"longitudes.* \(GeoJSON that names no other CRS is in degrees"),
        (_feature(shapely.box(32, 118, 33, 119)), "longitudes and latitudes"),
    ],
)
def test_a_damaged_geojson_is_refused_with_its_path(write_json, document, word):
    with pytest.raises(InputError, match=rf"plots\.geojson.*{word}"):
        read_aoi(write_json(document))


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not valid JSON"):
        read_aoi(path)


@pytest.mark.parametrize("name", ["none.geojson", "none.gpkg", "x" * 300 + ".geojson"])
def test_a_file_that_is_not_there_is_missing(tmp_path, name):
    with pytest.raises(MissingInputError):
        read_aoi(tmp_path / name)


@pytest.mark.parametrize("name", ["pipe.geojson", "pipe.gpkg"])
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="no regular file"):
        read_aoi(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "driver"),
    [
        ("plots.gpkg", "GPKG"),
        ("plots.shp", "ESRI Shapefile"),
        ("plots.fgb", "FlatGeobuf"),
        ("plots.kml", "KML"),
        ("plots.geojsonl", "GeoJSONSeq"),
    ],
)
def test_other_vector_files_are_read_with_pyogrio(write_ogr, name, driver):
    region = read_aoi(write_ogr(name, driver=driver))
    assert region.geometry.equals(SQUARE)


def test_the_crs_of_the_file_is_obeyed(write_ogr):
    region = read_aoi(write_ogr("plots.gpkg", UTM_SQUARE, "EPSG:32650"))
    assert region.area_km2 == pytest.approx(100, rel=1e-3)


def test_a_file_without_crs_is_refused(write_ogr):
    path = write_ogr("plots.shp")
    path.with_suffix(".prj").unlink()
    with pytest.raises(InputError, match="no CRS"):
        read_aoi(path)


def test_a_file_of_several_layers_needs_the_name_of_one(write_ogr):
    write_ogr("plots.gpkg", layer="first")
    path = write_ogr("plots.gpkg", UTM_SQUARE, "EPSG:32650", layer="third")
    with pytest.raises(InputError, match=r"layers first, third: choose one, \S+plots\.gpkg:first$"):
        read_aoi(path)
    assert read_aoi(path.with_name("plots.gpkg:third")).area_km2 == pytest.approx(100, rel=1e-3)
    with pytest.raises(InputError, match=r"plots\.gpkg has no layer fourth; it has first, third$"):
        read_aoi(path.with_name("plots.gpkg:fourth"))
    with pytest.raises(MissingInputError, match=r"none\.gpkg cannot be read"):
        read_aoi(path.with_name("none.gpkg:first"))


def test_units_name_their_layer_and_column_in_the_same_words(write_ogr):
    write_ogr("plots.gpkg", layer="first")
    path = write_ogr("plots.gpkg", layer="third")
    assert source_of(f"{path}:third") == Source(path, "third")
    assert source_of(f"{path}:third:name") == Source(path, "third", "name")
    assert source_of(f"{write_ogr('one.gpkg')}:name") == Source(path.with_name("one.gpkg"), None, "name")
    with pytest.raises(InputError, match=r"plots\.gpkg has no layer fourth; it has first, third$"):
        zones_of(f"{path}:fourth:name")


def test_geojson_has_no_layers(write_json):
    path = write_json(_feature(SQUARE))
    assert read_aoi(path.with_name("plots.geojson:plots")).geometry.equals(SQUARE)
    with pytest.raises(InputError, match=r"plots\.geojson has no layer roads: GeoJSON has no layers"):
        read_aoi(path.with_name("plots.geojson:roads"))


def test_a_file_with_a_colon_in_its_name_is_meant_whole(write_json):
    assert read_aoi(write_json(_feature(SQUARE), "a:b.geojson")).geometry.equals(SQUARE)


def test_the_area_may_be_one_layer_of_a_file(isamap, write_ogr):
    write_ogr("plots.gpkg", layer="square")
    path = write_ogr("plots.gpkg", UTM_SQUARE, "EPSG:32650", layer="small")
    words = ("infer", "--year", "2021", "-n", "--json")
    for layer, shape in (("square", SQUARE), ("small", from_geometries([UTM_SQUARE], "EPSG:32650").geometry)):
        document = isamap(*words, "--aoi", f"{path}:{layer}").document
        assert document["requested"] == len(tiles_over(shape))
    ended = isamap(*words, "--aoi", f"{path}:none")
    assert ended.code == 65
    assert ended.err.endswith("has no layer none; it has square, small\n")
    assert "--aoi FILE[:LAYER]" in isamap("infer", "--help").out


def test_coordinates_that_are_no_degrees_are_refused_whoever_reads_them(write_ogr):
    with pytest.raises(
        InputError, match=r"plots\.gpkg: coordinates 500000,.* are no longitudes and latitudes"
    ):
        read_features(write_ogr("plots.gpkg", UTM_SQUARE))
    whole = shapely.box(-180, -90, 180, 90 + 1e-9)
    assert read_features(write_ogr("world.gpkg", whole)).geometries == [whole]


def test_a_geodatabase_is_read_and_known_by_its_files(write_ogr):
    path = write_ogr("plots.gdb", driver="OpenFileGDB")
    (path / "x.sr.lock").touch()
    (path / "folder").mkdir()
    assert read_aoi(path).geometry.equals(SQUARE)
    files = files_of(path)
    assert path / "gdb" in files
    assert all(file.is_file() and file.suffix != ".lock" for file in files)
    assert files_of(path / "gdb") == [path / "gdb"]
    assert files_of(path / "none") == [path / "none"]


def test_a_shapefile_is_known_by_its_attributes_and_crs_too(write_ogr):
    path = write_ogr("plots.shp")
    write_ogr("plots2.shp")
    names = [file.name for file in files_of(path)]
    assert names == ["plots.shp", "plots.cpg", "plots.dbf", "plots.prj"]


@pytest.mark.parametrize("content", [b"", b"not a vector file", b"SQLite format 3\0" + bytes(100)])
def test_a_file_that_ogr_cannot_read_is_refused(tmp_path, content):
    path = tmp_path / "plots.gpkg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"plots\.gpkg"):
        read_aoi(path)


def test_a_file_that_points_to_other_data_is_refused(tmp_path):
    path = tmp_path / "plots.gpkg"
    path.write_text("<OGRVRTDataSource><OGRVRTLayer name='x'><SrcDataSource>/vsicurl/http://127.0.0.1:1/x")
    with pytest.raises(InputError, match="points to other data"):
        read_aoi(path)


def test_without_pyogrio_the_extra_is_named(write_ogr, write_json, monkeypatch):
    path = write_ogr("plots.gpkg")
    monkeypatch.setitem(sys.modules, "pyogrio", None)
    with pytest.raises(ConfigError, match=r"isamap\[vector\]"):
        read_aoi(path)
    assert read_aoi(write_json(_feature(SQUARE))).geometry.equals(SQUARE)
