"""Windows, areas and units where longitudes run out, and polygons on the other side of the Earth."""

import json

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from test_evaluate import figures, write

from isamap.domain.ground_area import pixel_area_m2
from isamap.domain.lonlat import LONLAT, near_longitude
from isamap.io.zones import Polygons

FIJI = "EPSG:32760"
X180, Y180 = 819_500.0, 8_140_000.0
"""Where 180 degrees meets that zone's grid at 16.8 degrees south, to some metres."""


def noise(seed, shape=(300, 300)):
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.uint8)


def test_that_meridian_runs_through_the_ground_of_these_tests():
    lon, _ = Transformer.from_crs(FIJI, LONLAT, always_xy=True).transform(
        [X180 - 900, X180 + 900], [Y180] * 2
    )
    assert lon[0] > 179.9
    assert lon[1] < -179.9


@pytest.mark.parametrize("left", [X180 - 1000, X180 - 30_000, X180 + 200])
@pytest.mark.parametrize("crs", [FIJI, "EPSG:32701", "EPSG:3832"])
def test_pixels_are_as_large_on_both_sides_of_180(left, crs):
    x, y = Transformer.from_crs(FIJI, crs, always_xy=True).transform(left, Y180)
    grid = GeoBox((200, 200), Affine(10, 0, x, 0, -10, y), crs)
    to_lonlat = Transformer.from_crs(crs, LONLAT, always_xy=True)
    across = [to_lonlat.transform(x + a, y + b) for a, b in ((0, 0), (2000, 0), (2000, -2000), (0, -2000))]
    area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*zip(*across, strict=True))
    assert pixel_area_m2(grid) == pytest.approx(abs(area) / 40_000, rel=1e-4)


@pytest.mark.parametrize("measures", ["confusion", "confusion,fraction"])
def test_tiles_on_both_sides_of_180_are_all_counted(isamap, tmp_path, measures):
    here, whole = tmp_path / "here", noise(1, (300, 900))
    for number in range(3):
        part = whole[:, 300 * number : 300 * (number + 1)]
        left = X180 - 4500 + 3000 * number
        write(here / "maps" / f"{number}.tif", part, left=left, top=Y180, gsd=10.0, crs=FIJI)
    write(here / "labels.tif", noise(2, (300, 900)), left=X180 - 4500, top=Y180, gsd=10.0, crs=FIJI)
    ended = isamap("evaluate", "maps", "--labels", "labels.tif", "--measures", measures, "--json")
    assert figures(ended, "maps")["pixels"] == 270_000


@pytest.mark.parametrize("measures", ["confusion", "confusion,fraction"])
@pytest.mark.parametrize("shares", [False, True])
def test_sheets_in_degrees_that_meet_at_180_are_read(isamap, tmp_path, measures, shares):
    here, size = tmp_path / "here", 1 / 1200
    write(here / "map.tif", noise(1), left=X180 - 1500, top=Y180, gsd=10.0, crs=FIJI)
    for name, left in (("west", 180 - 100 * size), ("east", -180.0)):
        values = np.full((200, 100), 100 if shares else 50, np.uint8)
        write(here / "sheets" / f"{name}.tif", values, left=left, top=-16.72, gsd=size, crs=LONLAT, nodata=0)
    kind = "ghsl-100m" if shares else "worldcover-v200"
    ended = isamap("evaluate", "map.tif", "--reference", f"{kind}=sheets", "--measures", measures, "--json")
    assert ended.code == 0, ended.err
    assert figures(ended)["pixels"] == 90_000


@pytest.mark.parametrize("shares", [False, True])
def test_degrees_may_be_counted_to_360(isamap, tmp_path, shares):
    here, (x, y) = (
        tmp_path / "here",
        Transformer.from_crs(LONLAT, "EPSG:32610", always_xy=True).transform(-122.4, 37.7),
    )
    write(here / "map.tif", noise(1), left=round(x), top=round(y), gsd=10.0, crs="EPSG:32610")
    values = np.full((100, 100), 100 if shares else 50, np.uint8)
    write(here / "p.tif", values, left=237.55, top=37.75, gsd=0.002, crs=LONLAT, nodata=0)
    kind = "ghsl-100m" if shares else "worldcover-v200"
    ended = isamap("evaluate", "map.tif", "--reference", f"{kind}=p.tif", "--json")
    assert ended.code == 0, ended.err
    assert figures(ended)["pixels"] == 90_000


def box(name, *bounds):
    return {
        "type": "Feature",
        "properties": {"name": name},
        "geometry": shapely.geometry.mapping(shapely.box(*bounds)),
    }


FAR = {
    "a band over the pole": ("Brazil", -74, -34, -34, 5),
    "a quarter turn away": ("Gabon", 8, -5, 20, 5),
    "everywhere": None,
}


@pytest.mark.parametrize("other", FAR.values(), ids=FAR)
def test_a_unit_on_the_other_side_of_the_earth_takes_no_ground(isamap, tmp_path, other):
    here = tmp_path / "here"
    write(here / "map.tif", noise(1), left=600_000, top=3_300_000, crs="EPSG:32648")
    own = box("China", *((75, 18, 135, 53) if other else (-180, -90, 180, 90)))
    features = [own, box(*other)] if other else [own]
    (here / "units.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    ended = isamap("evaluate", "map.tif", "--labels", "map.tif", "--units", "units.geojson", "--json")
    assert ended.code == 0, ended.err
    units = ended.document["products"]["map"]["accuracy-units"]
    assert {name: one["pixels"] for name, one in units.items()} == {
        "China": 90_000,
        **({other[0]: 0} if other else {}),
    }


@pytest.mark.parametrize("lon", [-180, -120, 0, 100, 180])
def test_polygons_near_a_longitude_stay_as_they_are_and_others_leave_their_place(lon):
    shapes = [shapely.box(a, -10, a + 8, 10) for a in range(-180, 180, 8)]
    near = near_longitude(shapes, lon)
    assert len(near) == len(shapes)
    for shape, kept in zip(shapes, near, strict=True):
        away = abs((shape.centroid.x - lon + 180) % 360 - 180)
        if away <= 55:
            assert kept.equals(shape)
        if away >= 65:
            assert kept.is_empty


def test_the_zones_of_the_whole_earth_can_be_drawn_anywhere():
    zones = [shapely.box(west, -80, west + 6, 84) for west in range(-180, 180, 6)]
    drawn = Polygons(zones, range(1, 61), LONLAT)
    for zone in (1, 30, 48, 60):
        grid = GeoBox((20, 20), Affine(100, 0, 499_000, 0, -100, 3_300_000), f"EPSG:{32600 + zone}")
        assert set(np.unique(drawn.on(grid)).tolist()) == {zone}


def test_a_map_across_180_has_its_own_area(isamap, tmp_path):
    here = tmp_path / "here"
    write(here / "map.tif", noise(1), left=X180 - 1500, top=Y180, gsd=10.0, crs=FIJI)
    assert isamap("evaluate", "map.tif", "--design", "--size", 60, "-o", "drawn").code == 0
    rows = [line.split(",") for line in (here / "drawn" / "strata.csv").read_text().splitlines()[1:]]
    assert sum(float(row[2]) for row in rows) == pytest.approx(9, rel=0.01)
    with rasterio.open(here / "map.tif") as src:
        assert sum(int(row[1]) for row in rows) == src.width * src.height
