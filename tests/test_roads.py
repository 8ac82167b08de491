"""Widths of roads."""

import pytest

from isamap.domain.reaches import REACHES, reach_of
from isamap.domain.roads import ROADS, is_unbuilt, road_width
from isamap.io.vector import load_gazetteer


@pytest.mark.parametrize(
    ("attributes", "width_m"),
    [
        ({"highway": "residential"}, 7.6),
        ({"highway": "residential", "lanes": "1"}, 4.3),
        ({"highway": "motorway", "lanes": 4}, 15.2),
        ({"highway": "motorway_link"}, 5.3),
        ({"highway": "primary", "width": "12,5 m"}, 12.5),
        ({"highway": "primary", "width": "wide", "lanes": "two"}, 10.9),
        ({"highway": "primary", "width": "250", "lanes": 40}, 10.9),
        ({"class": "secondary", "subtype": "road"}, 7.6),
        ({"fclass": "service"}, 4.0),
        ({"highway": "track", "surface": "asphalt"}, 3.0),
        ({"highway": float("nan"), "class": "tertiary"}, 7.6),
    ],
)
def test_a_road_is_as_wide_as_it_says_or_as_its_class(attributes, width_m):
    assert road_width(attributes) == pytest.approx(width_m)


@pytest.mark.parametrize(
    "attributes",
    [
        {"highway": "track"},
        {"highway": "residential", "surface": "gravel"},
        {"highway": "primary", "tunnel": "yes"},
        {"highway": "construction"},
        {"highway": "proposed"},
        {"railway": "rail"},
        {},
    ],
)
def test_what_no_satellite_sees_as_paved_is_no_road(attributes):
    assert road_width(attributes) is None


def test_every_class_has_a_width_that_a_lane_fits_or_people_do():
    assert all(1.0 <= kind.width() <= 15 for kind in ROADS.values())


def test_a_building_site_is_no_building():
    assert is_unbuilt({"building": "construction"})
    assert not is_unbuilt({"building": "yes"})
    assert not is_unbuilt({})


def test_every_province_of_the_belt_lies_in_one_reach():
    provinces = [region for region in load_gazetteer().regions() if region.kind == "province"]
    assert {region.name.rpartition("/")[2] for region in provinces} == set(REACHES)
    assert reach_of("yreb/CN050") == reach_of("CN050010") == "upstream"
    assert reach_of("yreb/CN042") == "midstream"
    assert reach_of("yreb/CN031010") == "downstream"
    assert reach_of("singapore") == ""
