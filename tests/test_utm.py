import numpy as np
import pytest
from pyproj.database import query_utm_crs_info

from isamap.domain.grid import Tile
from isamap.domain.utm import epsg_of, near_zone, signed_zone_of, west_edge, zone_of


def test_zones_have_the_meridians_and_codes_that_proj_knows():
    known = {crs.name: crs for crs in query_utm_crs_info(datum_name="WGS 84")}
    for zone in range(1, 61):
        for hemisphere in "NS":
            crs = known[f"WGS 84 / UTM zone {zone}{hemisphere}"]
            assert int(crs.code) == epsg_of(zone, hemisphere)
            assert crs.area_of_use.west == pytest.approx(west_edge(zone), abs=0.02)


def test_a_meridian_belongs_to_the_zone_east_of_it():
    assert zone_of([-180, -174.001, -174, 107.999, 108, 179.999, 180]).tolist() == [1, 1, 2, 48, 49, 60, 1]
    assert signed_zone_of([107, 107, 108], [0, -1e-9, -33]).tolist() == [48, -48, -49]
    assert (Tile.parse("48N-0060-0318").signed_zone, Tile.parse("49S-0060-0318").signed_zone) == (48, -49)


@pytest.mark.parametrize(("zone", "run_on"), [(60, 180.5), (1, -179.5)])
def test_longitudes_run_on_beyond_the_180th_meridian(zone, run_on):
    np.testing.assert_allclose(near_zone(np.array([180.5, -179.5]), zone), run_on)
