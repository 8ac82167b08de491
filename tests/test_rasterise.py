"""Vector labels as pixels."""

import json

import numpy as np
import pytest
import rasterio
import shapely
import towns
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.features import rasterize
from realdata import real

from isamap.domain.grid import Window, crop
from isamap.errors import InputError
from isamap.io.rasterise import VectorLabels, VectorLayer

GRID = GeoBox((400, 500), Affine(1, 0, towns.WEST, 0, -1, towns.NORTH), towns.EPSG)


def geojson(path, features, crs=towns.EPSG):
    """A GeoJSON of (geometry, properties); coordinates in metres from the town's corner, east and north."""
    move = Transformer.from_crs(towns.EPSG, crs, always_xy=True)

    def place(points):
        return np.column_stack(move.transform(points[:, 0] + towns.WEST, points[:, 1] + towns.NORTH))

    document = {
        "type": "FeatureCollection",
        "crs": {"type": "name", "properties": {"name": crs}},
        "features": [
            {
                "type": "Feature",
                "properties": properties,
                "geometry": shapely.geometry.mapping(shapely.transform(shape, place)),
            }
            for shape, properties in features
        ],
    }
    path.write_text(json.dumps(document))
    return path


def box(left, bottom, right, top):
    return shapely.box(left, bottom, right, top)


def labels(*layers, grid=GRID, **more):
    return VectorLabels([VectorLayer(path, kind) for path, kind in layers], towns.EPSG, **more).on(grid)


def test_a_building_covers_the_pixels_whose_centres_it_covers(tmp_path):
    path = geojson(tmp_path / "b.geojson", [(box(10, -30, 20.4, -10.6), {"building": "yes"})])
    found = labels((path, "buildings"))
    expected = np.zeros((400, 500), np.uint8)
    expected[11:30, 10:20] = 1
    np.testing.assert_array_equal(found, expected)


def test_a_road_is_as_wide_as_its_class(tmp_path):
    road = shapely.LineString([(-50, -200), (600, -200)])
    path = geojson(tmp_path / "r.geojson", [(road, {"highway": "secondary", "lanes": 2})])
    found = labels((path, "roads"))
    assert found.sum(axis=0).tolist() == [8] * 500  # 7.6 m, centres from 196.2 to 203.8


def test_lon_lat_vectors_lie_where_metric_ones_do(tmp_path):
    shapes = [(box(40, -300, 160, -40), {"building": "yes"}), (box(300, -200, 420, -20), {})]
    metric = labels((geojson(tmp_path / "m.geojson", shapes), "buildings"))
    degrees = labels((geojson(tmp_path / "d.geojson", shapes, "EPSG:4326"), "buildings"))
    assert (metric != degrees).sum() <= 4


def test_a_polygon_that_crosses_itself_keeps_all_its_ground(tmp_path):
    ring = [(-4000, -3200), (4500, 2800), (4500, -3200), (-4000, 2800)]
    crossed = [(shapely.Polygon(ring), {"building": "yes"})]
    mended = [(part, {"building": "yes"}) for part in shapely.make_valid(crossed[0][0]).geoms]
    degrees = labels((geojson(tmp_path / "c.geojson", crossed, "EPSG:4326"), "buildings"))
    metric = labels((geojson(tmp_path / "m.geojson", mended), "buildings"))
    assert 0.2 < metric.mean() < 0.8
    assert (metric != degrees).mean() < 0.02  # edges of 10 km, straight in one CRS, bend in the other


def test_later_kinds_lie_over_earlier_ones_in_whatever_order_they_come(tmp_path):
    park = geojson(tmp_path / "p.geojson", [(box(0, -100, 100, 0), {})])
    house = geojson(tmp_path / "h.geojson", [(box(50, -100, 150, 0), {"building": "yes"})])
    site = geojson(tmp_path / "s.geojson", [(box(90, -100, 200, 0), {"building": "construction"})])
    layers = [(park, "pervious"), (house, "buildings"), (site, "buildings")]
    found = labels(*layers[::-1], background=255)
    np.testing.assert_array_equal(found, labels(*layers, background=255))
    assert found[50, [10, 60, 120, 180, 300]].tolist() == [0, 1, 255, 255, 255]
    assert labels(*layers)[50, 300] == 0


def test_nothing_is_known_outside_the_area(tmp_path):
    house = geojson(tmp_path / "h.geojson", [(box(50, -100, 150, 0), {})])
    area = geojson(tmp_path / "a.geojson", [(box(0, -100, 100, 0), {})])
    found = labels((house, "impervious"), area=(area, None))
    assert found[50, [10, 60, 120, 300]].tolist() == [0, 1, 255, 255]


def test_windows_give_what_the_whole_gives(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [
        (shapely.Point(*rng.uniform((0, -400), (500, 0))).buffer(rng.uniform(3, 40)), {}) for _ in range(60)
    ]
    path = geojson(tmp_path / "many.geojson", shapes)
    burner = VectorLabels([VectorLayer(path, "impervious")], towns.EPSG)
    whole = burner.on(GRID)
    parts = np.block(
        [
            [burner.on(crop(GRID, Window(r, c, 100, 125))) for c in range(0, 500, 125)]
            for r in range(0, 400, 100)
        ]
    )
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize(
    ("kind", "features", "words"),
    [
        ("roads", [(shapely.LineString([(0, 0), (9, 9)]), {"name": "a"})], "roads need a column highway"),
        (
            "roads",
            [(shapely.LineString([(0, 0), (9, 9)]), {"highway": "proposed"})],
            "none of its 1 features",
        ),
        ("buildings", [(shapely.Point(3, 3), {})], "buildings are polygons, but there are only Point"),
    ],
)
def test_a_layer_of_the_wrong_kind_is_refused(tmp_path, kind, features, words):
    with pytest.raises(InputError, match=words):
        labels((geojson(tmp_path / "x.geojson", features), kind))


def test_buildings_of_leipzig_are_the_given_raster_pixel_for_pixel():
    vectors, raster = real("s2-leipzig-north/osm-buildings-2022.gpkg", "s2-leipzig-north/building-1m.tif")
    pytest.importorskip("pyogrio")
    with rasterio.open(raster) as src:
        given, crs = src.read(1), src.crs.to_string()
        grid = GeoBox(src.shape, src.transform, crs)
    known = given != 255
    assert known.sum() == 1_964_709
    polygons = VectorLabels([VectorLayer(vectors, "impervious")], crs).on(grid)
    assert (polygons[known] != given[known]).sum() == 0
    buildings = VectorLabels([VectorLayer(vectors, "buildings")], crs).on(grid)
    sites = (buildings != given) & known
    assert sites.sum() == 241, "two buildings under construction"
    assert set(buildings[sites].tolist()) == {255}


def test_roads_of_punggol_are_the_given_raster_but_for_a_handful_of_pixels():
    """Buildings lie over roads there. 30 of 340 651 road pixels are missing: ends of lines cut out of the layer."""
    vectors, raster = real("s2-singapore-punggol/osm.gpkg", "s2-singapore-punggol/osm-1m.tif")
    pytest.importorskip("pyogrio")
    with rasterio.open(raster) as src:
        given, crs = src.read(1), src.crs.to_string()
        grid = GeoBox(src.shape, src.transform, crs)
    roads = VectorLabels([VectorLayer(vectors, "roads", "roads")], crs).on(grid)
    assert ((roads == 1) & (given == 0)).sum() == 0
    assert ((roads == 0) & (given == 2)).sum() <= 30
    buildings = VectorLabels([VectorLayer(vectors, "buildings", "buildings")], crs).on(grid)
    assert ((buildings == 1) & (given != 1) & (given != 255)).sum() == 0


def test_burning_is_rasterios_own(tmp_path):
    shape = shapely.Point(200, -200).buffer(77)
    path = geojson(tmp_path / "c.geojson", [(shape, {})])
    moved = shapely.transform(shape, lambda p: np.add(p, (towns.WEST, towns.NORTH)))
    expected = rasterize([(moved, 1)], GRID.shape, transform=GRID.transform)
    np.testing.assert_array_equal(labels((path, "impervious")), expected)
