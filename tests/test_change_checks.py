"""What `isamap change` finds out of its maps before it reads any."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
from affine import Affine
from odc.geo.geobox import GeoBox
from test_change import SIDE, YEARS, grid_of, striped, write_map, years

from isamap.domain.grid import Tile, Window, crop
from isamap.domain.ground_area import pixel_area_m2


@pytest.fixture
def change(isamap):
    """`isamap change ...` into `out`."""
    return lambda *arguments: isamap("change", *arguments, "-o", "out")


def folders(tmp_path, layout):
    """A folder a year; in each a map for every name, on a grid that begins so many metres further east."""
    for t, year in enumerate(YEARS[:2]):
        for name, east in layout.items():
            write_map(tmp_path / str(year) / f"{name}.tif", striped(t), grid_of(left=600_000 + east))
    return tuple(tmp_path / str(year) for year in YEARS[:2])


def test_ground_that_two_maps_of_a_year_show_is_not_counted_twice(change, tmp_path):
    ended = change(*folders(tmp_path, {"one": 0, "two": SIDE // 2}), *years(2))
    assert ended.code == 65
    assert "one.tif and two.tif show the same ground in 2017" in ended.err
    assert not Path("out").exists()


def test_maps_side_by_side_are_counted_both(change, tmp_path):
    ended = change(*folders(tmp_path, {"one": 0, "two": SIDE}), *years(2), "--json")
    assert ended.code == 0, ended.err
    areas = json.loads(ended.out)["tables"]["areas"]
    mapped = 2 * SIDE * SIDE * 6 / 8 / 1e6  # two words of eight are not seen twice
    assert areas[0]["ground with enough looks (km²)"] == pytest.approx(mapped, rel=0.01)


def test_a_damaged_map_fails_its_own_tile(change, tmp_path):
    maps = folders(tmp_path, {"one": 0, "two": SIDE})
    (maps[0] / "two.tif").write_bytes(b"no raster")
    ended = change(*maps, *years(2))
    assert ended.code == 3
    assert "1 of 2 tiles failed" in ended.err
    assert Path("out/one.change.tif").is_file()


def test_names_that_would_become_one_product_are_refused(change, tmp_path):
    ended = change(*folders(tmp_path, {"a b": 0, "a_b": SIDE}), *years(2))
    assert ended.code == 65
    assert "'a b' and 'a_b' would both be written as a_b" in ended.err


def test_maps_in_the_wrong_order_are_told(change, tmp_path):
    maps = folders(tmp_path, {"one": 0, "two": SIDE})
    ended = change(*maps[::-1], *years(2), "--json")
    said = "one.tif is given for 2017 and is of 2019 by its item, and so 3 more: are the maps in the order"
    assert said in ended.err
    assert any(said in text for text in json.loads(ended.out)["warnings"])
    assert "is given for" not in change(*maps, *years(2)).err


def test_ground_beyond_the_first_map_is_told(change, tmp_path):
    small = write_map(tmp_path / "2017" / "m.tif", striped(0, side=400), grid_of(400))
    large = write_map(tmp_path / "2019" / "m.tif", striped(1))
    ended = change(small, large, *years(2))
    assert ended.code == 0, ended.err
    assert "55.6% of m.tif (2019) lies beyond m.tif (2017)" in ended.err
    assert "lies beyond" not in change(large, small, *years(2)).err


def test_shares_are_no_classes(change, tmp_path):
    percent = [write_map(tmp_path / f"{year}.tif", np.full((SIDE, SIDE), 40, np.uint8)) for year in YEARS[:2]]
    ended = change(*(f"ghsl-10m={path}" for path in percent), *years(2))
    assert ended.code == 65
    assert "holds shares of its pixels, and change compares classes" in ended.err


def test_the_report_of_an_evaluation_stays(change, isamap, tmp_path):
    maps = folders(tmp_path, {"one": 0})
    assert isamap("evaluate", maps[0], "--labels", maps[1] / "one.tif", "-o", "out").code == 0
    page = Path("out/index.html").read_bytes()
    ended = change(*maps, *years(2))
    assert ended.code == 65
    assert "holds the report of isamap evaluate" in ended.err
    assert Path("out/index.html").read_bytes() == page
    assert not list(Path("out").glob("*.change.tif"))


def test_the_report_says_what_was_asked(change, tmp_path):
    maps = folders(tmp_path, {"one": 0})
    assert change(*maps, *years(2), "--min-looks", 1, "--start-share", 0.3).code == 0
    settings = json.loads(Path("out/report.json").read_text())["settings"]
    assert (settings["min_looks"], settings["start_share"], settings["align"]) == (1, 0.3, False)


def test_the_area_of_rotated_pixels_is_that_of_their_outline():
    north_up = grid_of(300)
    turned = GeoBox(north_up.shape, north_up.transform * Affine.rotation(30), north_up.crs)
    assert pixel_area_m2(turned) == pytest.approx(pixel_area_m2(north_up), rel=1e-5)


def test_maps_in_each_others_boxes_that_know_other_ground_are_compared(change, tmp_path):
    lower = np.tril(np.ones((SIDE, SIDE), np.bool_))
    for t, year in enumerate(YEARS[:2]):
        for name, known in (("one", lower), ("two", ~lower)):
            write_map(tmp_path / str(year) / f"{name}.tif", np.where(known, striped(t), 255).astype(np.uint8))
    ended = change(*(tmp_path / str(year) for year in YEARS[:2]), *years(2), "--json")
    assert ended.code == 0, ended.err
    areas = json.loads(ended.out)["tables"]["areas"]
    assert areas[0]["ground with enough looks (km²)"] == pytest.approx(SIDE * SIDE * 6 / 8 / 1e6, rel=0.01)


def test_a_map_beside_a_tile_of_the_same_ground_is_refused(change, tmp_path):
    tile = Tile.parse(tiny.TILES[0])
    grid = crop(tile.geobox(gsd_m=1), Window(0, 0, SIDE, SIDE))
    for t, year in enumerate(YEARS[:2]):
        for name in (str(tile), "mosaic"):
            write_map(tmp_path / str(year) / f"{name}.tif", striped(t), grid)
    ended = change(*(tmp_path / str(year) for year in YEARS[:2]), *years(2))
    assert ended.code == 65
    assert "show the same ground in 2017" in ended.err
