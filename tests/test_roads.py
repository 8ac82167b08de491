"""Widths of roads."""

import json

import numpy as np
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
        ({"highway": "primary", "width": "11'6\""}, 3.5052),
        ({"highway": "primary", "width": "12 ft 3 in"}, 3.7338),
        ({"highway": "primary", "width": "12FT"}, 3.6576),
        ({"highway": "primary", "width": "12' or so"}, 10.9),
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


@pytest.mark.parametrize("width", [3.6576, "3,6576 m", 10 / 3, np.float32(3.6576), "20.1234"])
def test_a_width_may_have_any_number_of_decimals(width):
    metres = float(str(width).removesuffix(" m").replace(",", "."))
    assert road_width({"highway": "residential", "width": width}) == pytest.approx(metres)


def overture(kind, form=list, **rules):
    """A segment as GeoJSON has it, or with the JSON texts that OGR gives."""
    return {"subtype": "road", "class": kind} | {name: form(value) for name, value in rules.items()}


@pytest.mark.parametrize("form", [list, json.dumps])
@pytest.mark.parametrize(
    ("kind", "rules", "width_m"),
    [
        ("track", {"road_surface": [{"value": "gravel", "between": None}]}, None),
        ("track", {"road_surface": [{"value": "unknown"}]}, None),
        ("track", {"road_surface": [{"value": "paved"}]}, 3.0),
        ("track", {"road_surface": [{"value": "paved", "between": [0, 0.2]}]}, None),
        ("residential", {"road_surface": [{"value": "dirt", "between": [0.0, 0.2]}]}, 7.6),
        ("residential", {"road_surface": [{"value": "dirt", "between": [0.2, 1.0]}]}, None),
        ("residential", {"road_surface": [{"value": "dirt", "between": ["a", "b"]}, 7, None]}, 7.6),
        ("primary", {"road_flags": [{"values": ["is_bridge", "is_covered"], "between": None}]}, 10.9),
        ("primary", {"road_flags": [{"values": ["is_bridge"]}, {"values": ["is_tunnel"]}]}, None),
        ("primary", {"road_flags": [{"values": ["is_tunnel"], "between": [0, 1]}]}, None),
        ("primary", {"road_flags": [{"values": ["is_tunnel"], "between": [0.7, 0.9]}]}, 10.9),
        ("primary", {"road_flags": [{"values": ["is_under_construction"]}]}, None),
        ("primary", {"road_flags": [{"values": ["is_abandoned"]}]}, None),
        ("footway", {"road_flags": [{"values": ["is_indoor"]}]}, None),
        ("primary", {"width_rules": [{"value": 8.25, "between": None}]}, 8.25),
        ("primary", {"width_rules": [{"value": 30, "between": [0, 0.1]}]}, 10.9),
    ],
)
def test_overtures_rules_are_those_of_most_of_the_segment(form, kind, rules, width_m):
    assert road_width(overture(kind, form, **rules)) == (width_m and pytest.approx(width_m))


def test_railways_and_ferries_of_overture_are_no_roads_and_its_links_are_links():
    for subtype in ("rail", "water"):
        assert road_width({"subtype": subtype, "class": "unknown"}) is None
    assert road_width({"subtype": "road", "class": "unknown"}) == pytest.approx(7.6)
    assert road_width(overture("motorway") | {"subclass": "link"}) == pytest.approx(5.3)
    assert road_width(overture("service") | {"subclass": "driveway"}) == pytest.approx(4.0)


@pytest.mark.parametrize("text", ["[", "[{'value': gravel, 'between': NULL}]", "[3", ""])
def test_rules_that_cannot_be_read_say_nothing(text):
    assert road_width(overture("track", str, road_surface=text, road_flags=text)) is None


@pytest.mark.parametrize(
    ("tags", "width_m"),
    [
        ('"surface"=>"gravel"', None),
        ('"tunnel"=>"yes","width"=>"3"', None),
        ('"bridge"=>"yes","width"=>"3"', 3.0),
        ('"lanes"=>NULL,"lanes:forward"=>"1", "lanes" => "1"', 4.3),
        (r'"note"=>"was \"tunnel\"=>\"yes\" \\","width"=>"3"', 3.0),
        ('{"width": "3", "note": "JSON, as OGR can write it"}', 3.0),
        ({"width": "3"}, 3.0),
        ("{", 7.6),
    ],
)
def test_tags_of_openstreetmap_without_a_column_count(tags, width_m):
    found = road_width({"highway": "residential", "width": None, "other_tags": tags})
    assert found == (width_m and pytest.approx(width_m))


def test_a_column_wins_over_other_tags():
    attributes = {"highway": "residential", "surface": "asphalt", "width": 5.0}
    assert road_width(attributes | {"other_tags": '"surface"=>"gravel","width"=>"3"'}) == 5.0


def test_columns_are_found_in_any_case():
    assert road_width({"HIGHWAY": "Residential", "WIDTH": 5.5}) == 5.5
    assert road_width({"FCLASS": "residential", "Tunnel": "T"}) is None
    assert is_unbuilt({"BUILDING": "construction"})


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
