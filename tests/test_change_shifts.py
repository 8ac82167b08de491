"""Shifts between the years of `isamap change`: metres, what is looked at, what is said and what is moved."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage


@pytest.fixture
def shifts(isamap):
    """Table of shifts of `isamap change ...`, and the whole document."""

    def shifts(*arguments):
        count = sum(not isinstance(one, int) and not str(one).startswith("--") for one in arguments)
        years = ",".join(("2017", "2019", "2021")[:count])
        ended = isamap("change", *arguments, "--years", years, "-o", "out", "--json")
        assert ended.code == 0, ended.err
        document = json.loads(ended.out)
        return document["tables"].get("shifts", []), document

    return shifts


def ground(height, width, seed=0):
    """Blobs, 1 on a quarter of the ground."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 5)
    return (smooth > np.quantile(smooth, 0.75)).astype(np.uint8)


def write(path, values, transform, crs="EPSG:32648"):
    """A plain GeoTIFF without item."""
    path.parent.mkdir(exist_ok=True)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "tiled": True}
    shape = {"height": values.shape[0], "width": values.shape[1], "blockxsize": 512, "blockysize": 512}
    with rasterio.open(
        path, "w", **profile, **shape, compress="deflate", crs=crs, transform=transform
    ) as dst:
        dst.write(values, 1)
    return path


METRES = Affine(1, 0, 600_000, 0, -1, 3_300_000)


@pytest.mark.parametrize(
    ("crs", "transform", "east", "north"),
    [
        ("EPSG:4326", Affine(1 / 12000, 0, 25, 0, -1 / 12000, 60.02), 37.2, -18.57),
        ("EPSG:4326", Affine(1e-5, 0, 10, 0, -1e-5, 30), 7.71, -2.22),
        ("EPSG:32648", Affine(1, 0, 600_000, 0, 1, 3_300_000), 8, 2),
        ("EPSG:32648", METRES, 8, -2),
    ],
    ids=["10 m in degrees at 60 N", "1 m in degrees at 30 N", "south-up", "north-up"],
)
def test_shifts_are_metres_on_the_ground_in_both_directions(shifts, tmp_path, crs, transform, east, north):
    """The second map lies 8 columns to the right and 2 rows down."""
    whole = ground(420, 520)
    first = write(tmp_path / "2017.tif", whole[10:410, 10:510], transform, crs)
    second = write(tmp_path / "2019.tif", whole[8:408, 2:502], transform, crs)
    ((row,), _) = shifts(first, second)
    assert row["east (m)"] == pytest.approx(east, rel=0.005, abs=0.03)
    assert row["north (m)"] == pytest.approx(north, rel=0.005, abs=0.03)
    assert row["peak"] > 0.9


CORNERS = {
    "north-west": (slice(None, 400), slice(None, 400)),
    "south-east": (slice(300, None), slice(300, None)),
}


@pytest.mark.parametrize("hidden", [0, 255], ids=["water", "cloud"])
@pytest.mark.parametrize("corner", CORNERS)
def test_a_small_map_is_moved_whatever_corner_shows_nothing(shifts, tmp_path, corner, hidden):
    whole = ground(720, 720)
    first, second = whole[10:710, 10:710].copy(), whole[13:713, 2:702].copy()
    first[CORNERS[corner]] = second[CORNERS[corner]] = hidden
    paths = write(tmp_path / "2017.tif", first, METRES), write(tmp_path / "2019.tif", second, METRES)
    ((row,), document) = shifts(*paths, "--align", "--min-area", 0)
    assert row["east (m)"] == pytest.approx(8, abs=0.1)
    assert row["north (m)"] == pytest.approx(3, abs=0.1)
    assert row["remark"] == "moved"
    methods = {line["method"]: line for line in document["tables"]["methods"]}
    assert methods["raw"]["2017-2019 gain (km²)"] < 0.03 * methods["raw"]["ISA 2017 (km²)"]


def test_a_large_map_is_searched_for_ground_that_shows_the_shift(shifts, tmp_path):
    """The places looked at first are water."""
    whole = ground(420, 420)
    first, second = np.zeros((2, 4300, 4300), np.uint8)
    first[3600:4000, 3600:4000], second[3600:4000, 3600:4000] = whole[10:410, 10:410], whole[13:413, 2:402]
    paths = write(tmp_path / "2017.tif", first, METRES), write(tmp_path / "2019.tif", second, METRES)
    ((row,), _) = shifts(*paths)
    assert (row["east (m)"], row["north (m)"]) == (pytest.approx(8, abs=0.1), pytest.approx(3, abs=0.1))
    assert row["remark"] == ""


def test_maps_that_share_a_corner_are_compared_there(shifts, tmp_path):
    whole = ground(1020, 1020)
    first = write(tmp_path / "2017.tif", whole[10:1010, 10:1010], METRES)
    corner = METRES * Affine.translation(700, 700)
    second = write(tmp_path / "2019.tif", whole[713:1013, 702:1002], corner)
    ((row,), _) = shifts(first, second)
    assert (row["east (m)"], row["north (m)"]) == (pytest.approx(8, abs=0.1), pytest.approx(3, abs=0.1))


@pytest.mark.parametrize("align", [True, False])
def test_a_year_whose_shift_is_not_measured_is_named(shifts, tmp_path, align):
    whole = ground(500, 500)
    first = write(tmp_path / "2017.tif", whole, METRES)
    second = write(tmp_path / "2019.tif", np.zeros_like(whole), METRES)
    ((row,), document) = shifts(first, second, *(["--align"] if align else []))
    assert row["year"] == 2019
    assert row["remark"] == "not measured"
    assert row["east (m)"] is row["distance (m)"] is row["peak"] is None
    warned = [text for text in document["warnings"] if "2017 2019" in text]
    assert len(warned) == align
    if align:
        assert "Not brought onto the first year" in warned[0]


@pytest.mark.parametrize("alike", [0, 0.35], ids=["of other ground", "alike in part"])
def test_maps_that_hardly_correlate_are_said_not_to_be_moved(shifts, tmp_path, alike):
    """What is alike lies 6 m further east and 2 m further south."""
    common, first, second = (np.random.default_rng(seed).normal(size=(520, 520)) for seed in (1, 2, 3))
    mixed = [
        ndimage.gaussian_filter(alike * shared + (1 - alike) * own, 5)[10:510, 10:510]
        for shared, own in ((common, first), (np.roll(common, (2, 6), (0, 1)), second))
    ]
    paths = [
        write(tmp_path / f"{year}.tif", (one > np.quantile(one, 0.75)).astype(np.uint8), METRES)
        for one, year in zip(mixed, (2017, 2019), strict=True)
    ]
    ((row,), document) = shifts(*paths, "--align")
    assert row["peak"] < 0.3
    assert row["remark"] == "peak below 0.3"
    assert any("Not brought onto the first year" in text for text in document["warnings"])
    unmoved = shifts(*paths)[1]["tables"]["methods"]
    assert document["tables"]["methods"] == unmoved


@pytest.mark.parametrize(("east", "remark"), [(36, "moved"), (-42, "not measured")])
def test_a_shift_beyond_40_m_is_not_measured(shifts, tmp_path, east, remark):
    whole = ground(400, 600)
    paths = [
        write(tmp_path / f"{year}.tif", whole[:, 50 - by : 550 - by], METRES)
        for year, by in ((2017, 0), (2019, east))
    ]
    ((row,), document) = shifts(*paths, "--align")
    assert row["remark"] == remark
    assert row["east (m)"] == (pytest.approx(east, abs=0.1) if remark == "moved" else None)
    assert any("Not brought" in text for text in document["warnings"]) == (remark != "moved")


def test_years_without_a_map_have_no_shift(shifts, tmp_path):
    whole = ground(300, 300)
    places = {"a": METRES, "b": METRES * Affine.translation(1000, 0)}
    for year, name in ((2017, "b"), (2019, "a"), (2019, "b"), (2021, "a"), (2021, "b")):
        write(tmp_path / str(year) / f"{name}.tif", whole, places[name])
    (rows, _) = shifts(tmp_path / "2017", tmp_path / "2019", tmp_path / "2021")
    assert [(row["tile"], row["year"]) for row in rows] == [("a", 2021), ("b", 2019), ("b", 2021)]
