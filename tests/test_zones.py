import json

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from isamap.errors import InputError
from isamap.io.label_polygons import open_labels
from isamap.io.zones import Polygons, open_units

UTM = "EPSG:32648"
GRID = GeoBox((40, 60), Affine(1, 0, 600_000, 0, -1, 3_300_000), UTM)


def write(path, features, crs=UTM):
    document = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": crs}},
        "features": [
            {"type": "Feature", "geometry": shapely.geometry.mapping(shape), "properties": attributes}
            for shape, attributes in features
        ],
    }
    path.write_text(json.dumps(document))
    return path


def centres():
    cols, rows = np.meshgrid(np.arange(60) + 0.5, np.arange(40) + 0.5)
    return 600_000 + cols, 3_300_000 - rows


def test_a_pixel_belongs_to_the_polygon_over_its_centre():
    shape = shapely.Point(600_030, 3_299_980).buffer(13.3)
    burnt = Polygons([shape], [7], UTM).on(GRID)
    np.testing.assert_array_equal(burnt == 7, shapely.contains_xy(shape, *centres()))
    assert set(np.unique(burnt)) == {0, 7}


def test_a_polygon_around_everything_needs_no_burning(monkeypatch):
    monkeypatch.setattr("isamap.io.zones.rasterize", None)
    assert (Polygons([shapely.box(5e5, 3e6, 7e5, 4e6)], [3], UTM).on(GRID) == 3).all()
    assert (Polygons([shapely.box(0, 0, 1, 1)], [3], UTM).on(GRID) == 0).all()


def test_polygons_in_lonlat_lie_where_they_lie():
    shape = shapely.Point(600_030, 3_299_980).buffer(13.3)
    back = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    lonlat = shapely.transform(shape, lambda p: np.column_stack(back.transform(p[:, 0], p[:, 1])))
    same = Polygons([lonlat], [1], "EPSG:4326").on(GRID) == Polygons([shape], [1], UTM).on(GRID)
    assert (~same).sum() <= 2  # a centre on the very edge


def test_units_of_a_file_have_their_names(tmp_path):
    west, east = (
        shapely.box(600_000, 3_299_960, 600_030, 3_300_000),
        shapely.box(600_030, 3_299_960, 600_060, 3_300_000),
    )
    path = write(tmp_path / "units.geojson", [(west, {"name": "W"}), (east, {"name": "E"})])
    zones = open_units(str(path)).on(GRID)
    assert {zones.names[code] for code in np.unique(zones.codes)} == {"W", "E"}
    assert zones.names[int(zones.codes[5, 10])] == "W"


def test_parts_of_one_name_are_one_unit(tmp_path):
    parts = [(shapely.box(x, 3_299_960, x + 10, 3_300_000), {"town": "T"}) for x in (600_000, 600_020)]
    units = open_units(str(write(tmp_path / "units.geojson", parts)), "town")
    assert units.names == {1: "T"}
    assert (units.on(GRID).codes == 1).mean() == pytest.approx(1 / 3)


SUZHOU = [
    (shapely.box(600_000, 3_299_960, 600_020, 3_300_000), {"name_en": "Suzhou", "pcode": "CN032070"}),
    (shapely.box(600_030, 3_299_960, 600_060, 3_300_000), {"name_en": "Suzhou", "pcode": "CN034130"}),
    (shapely.box(600_020, 3_299_960, 600_030, 3_300_000), {"name_en": "Wuxi", "pcode": "CN032090"}),
]


def test_two_areas_of_one_name_are_two_units_if_codes_tell_them_apart(tmp_path, caplog):
    units = open_units(str(write(tmp_path / "units.geojson", SUZHOU)))
    assert list(units.names.values()) == ["Suzhou (CN032070)", "Suzhou (CN034130)", "Wuxi"]
    zones = units.on(GRID)
    pixels = {name: int((zones.codes == code).sum()) for code, name in units.names.items()}
    assert pixels == {"Suzhou (CN032070)": 800, "Suzhou (CN034130)": 1200, "Wuxi": 400}
    assert not caplog.messages


def test_parts_of_one_code_stay_one_unit(tmp_path, caplog):
    parts = [(shape, {**row, "pcode": row["pcode"].replace("CN034130", "CN032070")}) for shape, row in SUZHOU]
    assert list(open_units(str(write(tmp_path / "u.geojson", parts))).names.values()) == ["Suzhou", "Wuxi"]
    assert "2 polygons are named 'Suzhou' and count as one unit" in caplog.text


@pytest.mark.parametrize("column", [None, "name_en"])
def test_polygons_of_one_name_that_nothing_tells_apart_are_said_to_be_taken_as_one(tmp_path, caplog, column):
    rows = [(shape, row if column else {"name_en": row["name_en"], "pcode": ""}) for shape, row in SUZHOU]
    units = open_units(str(write(tmp_path / "units.geojson", rows)), column)
    assert list(units.names.values()) == ["Suzhou", "Wuxi"]
    assert "2 polygons are named 'Suzhou' and count as one unit: if they are several" in caplog.text


@pytest.mark.parametrize(("level", "count"), [("provinces", 11), ("prefectures", 130)])
def test_packaged_units_have_names_of_their_own(level, count):
    assert len(open_units(level).names) == count


def test_a_file_without_names_says_what_it_lacks(tmp_path):
    path = write(tmp_path / "units.geojson", [(shapely.box(0, 0, 1, 1), {"code": 1})])
    with pytest.raises(InputError, match="no column name"):
        open_units(str(path))
    with pytest.raises(InputError, match="has no column 'town': it has code"):
        open_units(str(path), "town")


def test_labels_know_both_classes_inside_polygons_and_nothing_elsewhere(tmp_path):
    ground, house = (
        shapely.box(600_010, 3_299_970, 600_050, 3_299_990),
        shapely.box(600_020, 3_299_975, 600_030, 3_299_985),
    )
    path = write(tmp_path / "labels.geojson", [(house, {"isa": 1}), (ground, {"isa": 0})])
    labels = open_labels(path, "isa").on(GRID)
    assert (labels == 1).sum() == 100
    assert (labels == 0).sum() == 40 * 20 - 100
    assert (labels == 255).sum() == 40 * 60 - 40 * 20


def test_labels_without_a_column_are_all_isa(tmp_path):
    path = write(tmp_path / "houses.geojson", [(shapely.box(600_000, 3_299_990, 600_010, 3_300_000), {})])
    labels = open_labels(path, None).on(GRID)
    assert (labels == 1).sum() == 100
    assert not (labels == 0).any()


def test_other_codes_than_0_and_1_are_refused(tmp_path):
    path = write(tmp_path / "labels.geojson", [(shapely.box(0, 0, 1, 1), {"isa": 50})])
    with pytest.raises(InputError, match="values 50"):
        open_labels(path, "isa")
    unknown = write(tmp_path / "unknown.geojson", [(shapely.box(0, 0, 1, 1), {"isa": None})])
    with pytest.raises(InputError, match="no labelled polygon"):
        open_labels(unknown, "isa")


def test_of_two_labels_the_smaller_polygon_counts_whatever_their_order(tmp_path):
    block, field = (shapely.box(x, 3_299_970, x + 25, 3_299_990) for x in (600_000, 600_030))
    yards = shapely.MultiPolygon([shapely.box(x, 3_299_972, x + 20, 3_299_988) for x in (600_002, 600_032)])
    assert yards.area > block.area
    rows = [(block, 1), (field, 1), (yards, 0)]
    for order in (rows, rows[::-1]):
        path = write(tmp_path / "labels.geojson", [(shape, {"isa": value}) for shape, value in order])
        labels = open_labels(path, "isa").on(GRID)
        assert ((labels == 0).sum(), (labels == 1).sum()) == (640, 360)


def test_of_two_labels_alike_the_later_one_counts(tmp_path):
    box = shapely.box(600_010, 3_299_970, 600_050, 3_299_990)
    path = write(tmp_path / "labels.geojson", [(box, {"isa": 0}), (box, {"isa": 1})])
    assert set(np.unique(open_labels(path, "isa").on(GRID))) == {1, 255}


HOUSE = shapely.box(600_020, 3_299_975, 600_030, 3_299_985)
COLLECTION = shapely.GeometryCollection([HOUSE, shapely.Point(600_000, 3_300_000)])


def test_polygons_in_collections_are_units_and_labels(tmp_path, caplog):
    path = write(tmp_path / "u.geojson", [(COLLECTION, {"name": "gc", "isa": 1})])
    assert (open_units(str(path)).on(GRID).codes == 1).sum() == 100
    assert (open_labels(path, "isa").on(GRID) == 1).sum() == 100
    assert open_units(str(path)).outlines()["gc"].equals(HOUSE)
    assert not caplog.messages


def test_units_and_labels_that_hold_no_polygon_are_counted_and_said(tmp_path, caplog):
    rows = [(HOUSE, {"name": "H", "isa": 1}), (HOUSE.centroid, {"name": "P", "isa": 0})]
    path = write(tmp_path / "u.geojson", [*rows, (HOUSE.boundary, {"name": "L"})])
    assert list(open_units(str(path)).names.values()) == ["H"]
    assert "u.geojson: 2 of 3 features hold no polygon: left out (1 LineString, 1 Point)" in caplog.text
    caplog.clear()
    assert open_labels(path, "isa").unlabelled == 0
    assert len(caplog.messages) == 1
    points = write(tmp_path / "p.geojson", rows[1:])
    for reader in (open_units, lambda file: open_labels(points, "isa")):
        with pytest.raises(InputError, match=r"p\.geojson has no polygon \(only 1 Point\)"):
            reader(str(points))


def test_units_may_overlap_by_a_hundredth_of_the_smaller_polygon(tmp_path):
    big = shapely.box(600_000, 3_299_960, 600_030, 3_300_000)
    for over, pair in ((0.099, None), (0.101, ("Big", "Small"))):
        small = shapely.box(600_030 - over, 3_299_990, 600_040 - over, 3_300_000)
        path = write(tmp_path / "u.geojson", [(big, {"name": "Big"}), (small, {"name": "Small"})])
        assert open_units(str(path)).overlap() == pair


def test_codes_of_a_column_with_nulls_are_whole_numbers(tmp_path, caplog):
    pyogrio = pytest.importorskip("pyogrio")
    boxes = [shapely.box(600_000 + x, 3_299_960, 600_010 + x, 3_300_000) for x in (0, 10, 20)]
    path = tmp_path / "u.gpkg"
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(boxes),
        field_data=[np.array([1, 2, 0], np.int64)],
        field_mask=[np.array([False, False, True])],
        fields=["name"],
        geometry_type="Polygon",
        crs=UTM,
    )
    assert list(open_units(str(path)).names.values()) == ["1", "2", "unnamed"]
    assert "1 polygons have no name" in caplog.text
