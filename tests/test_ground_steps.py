"""Pixels of a grid as metres on the ground, by direction."""

from math import atan2, degrees

import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from isamap.domain.ground_area import pixel_area_m2
from isamap.domain.ground_steps import ground_steps, nominal_sizes_m

DEGREES = Affine(1 / 12000, 0, 25, 0, -1 / 12000, 60.02)
TURNED = Affine.translation(500_000, 3_300_000) * Affine.rotation(30) * Affine.scale(2, -1)
GRIDS = [
    ("EPSG:32648", Affine(1, 0, 500_000, 0, -1, 3_300_000)),
    ("EPSG:32648", TURNED),
    ("EPSG:4326", DEGREES),
    ("EPSG:4326", Affine(1e-5, 0, 10, 0, 1e-5, -30)),
    ("EPSG:3857", Affine(10, 0, 1_000_000, 0, -10, 8_000_000)),
    ("EPSG:2263", Affine(3, 0, 984_000, 0, -3, 200_000)),
]


@pytest.mark.parametrize(("crs", "transform"), GRIDS)
def test_steps_are_those_of_the_ellipsoid(crs, transform):
    grid = GeoBox((300, 400), transform, crs)
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    at = [transform * (200 + cols, 150 + rows) for rows, cols in ((0, 0), (0, 1), (1, 0))]
    lon, lat = to_lonlat.transform(*zip(*at, strict=True))
    globe = Geod(ellps="WGS84")
    steps = ground_steps(grid)
    width, height = (globe.inv(lon[0], lat[0], lon[i], lat[i])[2] for i in (1, 2))
    assert steps.sizes_m == pytest.approx((height, width), rel=2e-4)
    east, north = steps.metres(0, 1)
    turn, _, _ = globe.inv(lon[0], lat[0], lon[1], lat[1])
    apart = 90 - turn - degrees(atan2(north, east))
    assert (apart + 180) % 360 - 180 == pytest.approx(0, abs=0.3)  # a step of UTM is turned by less


def test_rows_run_south_unless_the_raster_is_stored_south_up():
    north_up = ground_steps(GeoBox((300, 400), DEGREES, "EPSG:4326"))
    assert north_up.metres(2, 4) == pytest.approx((18.6, -18.57), abs=0.01)
    upside_down = GeoBox((300, 400), Affine(1, 0, 500_000, 0, 1, 3_300_000), "EPSG:32648")
    assert ground_steps(upside_down).metres(6, 0) == (0, pytest.approx(6, abs=0.01))


@pytest.mark.parametrize("left", [280_000, 500_000, 780_000])
def test_square_pixels_of_a_projection_true_in_shape_are_the_root_of_their_area(left):
    grid = GeoBox((10_240, 10_240), Affine(1, 0, left, 0, -1, 3_300_000), "EPSG:32648")
    root = pixel_area_m2(grid) ** 0.5
    assert ground_steps(grid).metres(1, 1) == (root, -root)
    assert nominal_sizes_m(grid) == (1, 1)


def test_the_nominal_size_of_degrees_and_feet_is_that_on_the_ground():
    assert nominal_sizes_m(GeoBox((300, 400), DEGREES, "EPSG:4326")) == pytest.approx((9.284, 4.65), abs=1e-2)
    feet = GeoBox((300, 400), Affine(3, 0, 984_000, 0, -3, 200_000), "EPSG:2263")
    assert nominal_sizes_m(feet) == pytest.approx((0.9144, 0.9144), abs=1e-3)
