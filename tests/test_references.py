import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isamap.domain.reference import from_classes
from isamap.domain.references import REFERENCES, find
from isamap.errors import ConfigError

IN_ANY_TIME = settings(deadline=None, max_examples=30)
NAN = np.nan


@pytest.mark.parametrize("row", REFERENCES.values(), ids=list(REFERENCES))
def test_every_row_says_what_it_is_and_whose(row):
    assert REFERENCES[row.name] is row
    assert re.fullmatch(r"[a-z0-9-]+", row.name)
    assert row.title
    assert row.gsd_m in (1, 4, 10, 30, 100)
    assert row.version
    assert row.attribution
    assert row.url.startswith("https://")
    assert row.verified or row.note, "codes that nobody verified need a note"
    assert row.licence or "licence" in row.note
    assert any(row.share_of.values())
    assert not set(row.nodata) & set(row.share_of)
    assert set(row.since) <= set(row.share_of)


@pytest.mark.parametrize(
    ("name", "values", "isa"),
    [
        ("worldcover-v100", [50, 10, 100, 0, 33], [1, 0, 0, 255, 255]),
        ("worldcover-v200", [50, 95, 0], [1, 0, 255]),
        ("dynamic-world", [6, 0, 8, 9, 255], [1, 0, 0, 255, 255]),
        ("esri", [7, 1, 11, 0, 10, 3], [1, 0, 0, 255, 255, 255]),
        ("ghsl-10m", [100, 50, 49, 0, 101, 255], [1, 1, 0, 0, 255, 255]),
        ("ghsl-100m", [10_000, 5000, 4999, 0, 10_001, 65_535], [1, 1, 0, 0, 255, 255]),
        ("gisa-10m", [1, 0], [1, 0]),
        ("gaia", [0, 1, 34, 35], [0, 1, 1, 255]),
        ("gisd30", [0, 1, 8, 9], [0, 1, 1, 255]),
        ("sinolc-1", [1, 6, 2, 10, 0], [1, 1, 0, 0, 255]),
        ("isa-1", [0, 1, 2], [0, 1, 255]),
        ("fbp24", [1, 2, 8, 12, 24, 0, 25, 255], [1, 0, 0, 1, 1, 255, 255, 255]),
    ],
)
def test_codes_become_classes(name, values, isa):
    row = REFERENCES[name]
    found = row.isa(np.array([values], np.uint16))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [isa])
    known = np.array(isa) != 255
    np.testing.assert_array_equal(~np.isnan(row.share(np.array(values, np.uint16))), known)


def test_square_metres_become_shares():
    assert REFERENCES["ghsl-10m"].fractional
    assert not REFERENCES["esri"].fractional
    share = REFERENCES["ghsl-10m"].share(np.array([[0, 25, 100, 255]], np.uint8))
    assert share.dtype == np.float32
    np.testing.assert_allclose(share, [[0, 0.25, 1, NAN]])
    np.testing.assert_allclose(REFERENCES["ghsl-100m"].share(np.array([1234, 65_535])), [0.1234, NAN])


@IN_ANY_TIME
@given(st.lists(st.integers(-(2**40), 2**40) | st.integers(0, 300), max_size=20))
def test_no_number_of_any_size_is_mistaken_for_a_code(values):
    row = REFERENCES["worldcover-v200"]
    expected = [1 if v == 50 else 0 if v in row.share_of else 255 for v in values]
    np.testing.assert_array_equal(row.isa(np.array(values, np.int64)), np.array(expected, np.uint8))


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "i2", "i8", "f4", "f8"])
def test_codes_of_any_type_are_read(kind):
    np.testing.assert_array_equal(REFERENCES["esri"].isa(np.array([7, 1, 0], kind)), [1, 0, 255])


def test_what_is_no_number_is_not_known():
    values = np.array([7, NAN, np.inf, -np.inf, -1, 1e30])
    np.testing.assert_array_equal(from_classes("7").isa(values), [1, 255, 255, 255, 255, 255])
    np.testing.assert_array_equal(from_classes("7").isa(np.array([-7, 70_000])), [255, 255])


def test_large_and_empty_rasters_keep_their_shape():
    values = np.resize(np.array([50, 10], np.uint8), (700, 601))
    np.testing.assert_array_equal(REFERENCES["worldcover-v100"].isa(values), values == 50)
    assert REFERENCES["worldcover-v100"].share(values[:0]).shape == (0, 601)


def test_a_map_of_first_years_can_be_wound_back():
    values = np.array([0, 1, 18, 19, 34], np.uint8)  # never, 2018, 2001, 2000, 1985
    gaia = REFERENCES["gaia"]
    np.testing.assert_array_equal(gaia.at(2000).isa(values), [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(gaia.at(1985).isa(values), [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(gaia.at(2018).isa(values), gaia.isa(values))
    gisd = REFERENCES["gisd30"].at(1990)
    np.testing.assert_array_equal(gisd.isa(np.arange(10)), [0, 1, 1, 0, 0, 0, 0, 0, 0, 255])
    assert gaia.at(2000).recipe() == gaia.at(2010).recipe()


def test_a_year_without_map_is_refused():
    assert REFERENCES["esri"].at(2021).isa(np.array([7])) == 1
    with pytest.raises(ConfigError, match=r"worldcover-v100 has no map of 2021, only of 2020"):
        REFERENCES["worldcover-v100"].at(2021)
    with pytest.raises(ConfigError, match="gisd30 has no map of 2003"):
        REFERENCES["gisd30"].at(2003)


def test_versions_of_an_algorithm_are_not_comparable():
    v100, v200 = find("worldcover-v100"), find("worldcover-v200")
    assert v100.recipe() != v200.recipe()
    assert v100.recipe() == find("WorldCover v100").recipe()
    assert find("esri").at(2017).recipe() == find("esri").at(2021).recipe()


@pytest.mark.parametrize("name", ["esri", " ESRI ", "Dynamic World", "dynamic_world", "SINOLC-1"])
def test_names_are_found_however_they_are_written(name):
    assert find(name) in REFERENCES.values()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("worldcover", "worldcover-v100 or worldcover-v200"),
        ("ghsl", "ghsl-10m or ghsl-100m"),
        ("worldcover-v300", "worldcover-v"),
        ("gisd", "gisd30"),
        ("", "--classes"),
        ("x" * 5000, "--classes"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name, near):
    with pytest.raises(ConfigError) as fault:
        find(name)
    assert near in str(fault.value)
    assert len(str(fault.value)) < 400


def test_users_can_state_codes():
    values = np.array([50, 0, 10], np.uint8)
    np.testing.assert_array_equal(from_classes("50").isa(values), [1, 0, 0])
    mixed = from_classes(" 1, 2=0.5 ,3 = 0.2,255=NODATA")
    np.testing.assert_array_equal(mixed.isa(np.array([1, 2, 3, 4, 255])), [1, 1, 0, 0, 255])
    np.testing.assert_allclose(mixed.share(np.array([1, 2, 3, 4, 255])), [1, 0.5, 0.2, 0, NAN])
    assert mixed.fractional
    assert not from_classes("50").fractional
    assert from_classes("50").recipe() == from_classes("50").recipe()
    assert from_classes("50").recipe() != from_classes("51").recipe()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "built",
        "50;60",
        "50,",
        "5=much",
        "5=",
        "5=1.5",
        "5=-1",
        "5=nan",
        "70000",
        "-1",
        "1,1",
        "0=nodata",
        "3=0",
    ],
)
def test_codes_that_cannot_be_read_are_refused(text):
    with pytest.raises(ConfigError, match="--classes"):
        from_classes(text)
