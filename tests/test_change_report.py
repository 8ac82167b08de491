"""What the report of `isamap change` says: whose area a figure is, what was filled in, and nothing that is out of date."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy import ndimage
from test_change import SIDE, YEARS, grid_of, rasters, striped, write_map, years

from isamap.domain import changes
from isamap.domain.ground_area import pixel_area_m2

PIXEL_KM2 = pixel_area_m2(grid_of()) / 1e6
BLANK = 255


@pytest.fixture
def change(isamap):
    """`isamap change ...`."""
    return lambda *arguments: isamap("change", *arguments)


def rows(name, folder="out"):
    """A table of the report, as its CSV has it."""
    with (Path(folder) / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def town(seed=0, share=0.3):
    """Blobs of a map, 1 on a share of the ground."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(SIDE, SIDE)), 6)
    return (smooth > np.quantile(smooth, 1 - share)).astype(np.uint8)


def probable(path, percent, threshold=None, recipe=None):
    """A map with its probabilities, and with the threshold in the tag of its classes."""
    values = (percent >= 34).astype(np.uint8)
    write_map(path, values, percent=percent, recipe=recipe)
    if threshold is not None:
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as src:
            src.update_tags(isamap_threshold=threshold)
    return path


def test_the_threshold_of_probabilities_is_that_of_the_tag_where_there_is_no_item(change, tmp_path):
    """60 % is weak evidence for a model that calls ISA from 50 %, and strong for one that does from 34 %."""
    percent = np.full((SIDE, SIDE), 60, np.uint8)
    percent[:300] = 2
    tagged = [probable(tmp_path / "a" / f"{year}.tif", percent, 0.344) for year in YEARS[:3]]
    assert change(*tagged, *years(3), "--probability", "-o", "out").code == 0
    assert np.unique(rasters(Path("out"), "2017")[1][300:]).tolist() == [changes.IMPERVIOUS]


def test_probabilities_whose_threshold_nobody_knows_are_refused(change, tmp_path):
    percent = np.full((SIDE, SIDE), 45, np.uint8)
    bare = [probable(tmp_path / "b" / f"{year}.tif", percent) for year in YEARS[:2]]
    ended = change(*bare, *years(2), "--probability", "-o", "out")
    assert ended.code == 65
    assert "put its item 2017.json beside it, or set its tag isamap_threshold" in ended.err.splitlines()[-1]
    assert change(*bare, *years(2), "-o", "out").code == 0  # classes need none


def test_another_threshold_makes_the_tile_again(change, tmp_path):
    percent = np.full((SIDE, SIDE), 45, np.uint8)
    paths = [probable(tmp_path / f"{year}.tif", percent, 0.3) for year in YEARS[:2]]
    for path in paths:  # tags must not be all that differs: the item decides
        recipe = {"isamap:model": {"threshold": 0.3}}
        path.with_suffix(".json").write_text(json.dumps({"properties": recipe}))
    arguments = (*paths, *years(2), "--probability", "-o", "out", "--json")
    assert json.loads(change(*arguments).out)["made"] == 1
    assert json.loads(change(*arguments).out)["skipped"] == 1
    for path in paths:
        path.with_suffix(".json").write_text(json.dumps({"properties": {"isamap:model": {"threshold": 0.4}}}))
    assert json.loads(change(*arguments).out)["made"] == 1


def test_the_maps_own_areas_stand_beside_those_of_the_reading(change, tmp_path):
    """Maps that are unsure show more ISA than a reading of probabilities believes."""
    unsure = np.where(town() == 1, 55, 3).astype(np.uint8)
    paths = [
        write_map(tmp_path / f"{year}.tif", (unsure > 50).astype(np.uint8), percent=unsure)
        for year in YEARS[:2]
    ]
    ended = change(*paths, *years(2), "--probability", "-o", "out")
    shown = float((unsure > 50).sum()) * PIXEL_KM2
    for row in rows("areas"):
        assert row["basis"] == "reading's count, unadjusted"
        assert float(row["ISA in the map of that year (km²)"]) == pytest.approx(shown)
        assert float(row["ISA (km²)"]) < 0.1 * shown
    raw = next(row for row in rows("methods") if row["method"] == "raw")
    assert float(raw["ISA 2017 (km²)"]) == float(raw["ISA 2019 (km²)"]) == pytest.approx(shown)
    document = json.loads(Path("out/report.json").read_text())
    assert document["tables"]["areas"][0]["ISA in the map of that year (km²)"] == pytest.approx(shown)
    for text in (ended.out, Path("out/index.html").read_text()):
        assert "ISA in the map of that year" in text
        assert "map count" not in text


def gaps():
    """Maps of four years with holes, and what they would be without."""
    rng = np.random.default_rng(3)
    stack = np.array([town(0) | town(year, 0.05) for year in range(1, 5)])
    stack[rng.random(stack.shape) < 0.3] = BLANK
    stack[1, :, :200] = BLANK
    return stack


@pytest.mark.parametrize("probability", [False, True], ids=["classes", "probabilities"])
def test_the_mapped_area_of_a_year_is_that_of_its_map_and_filled_ground_is_counted(
    change, tmp_path, probability
):
    stack = gaps()
    percent = np.where(stack == BLANK, BLANK, np.where(stack == 1, 90, 5)).astype(np.uint8)
    paths = [
        write_map(tmp_path / f"{year}.tif", one, percent=p)
        for year, one, p in zip(YEARS, stack, percent, strict=True)
    ]
    units = tmp_path / "units.geojson"
    left, bottom, _, top = grid_of().boundingbox
    ring = [[left, bottom], [left + 150, bottom], [left + 150, top], [left, top], [left, bottom]]
    feature = {
        "type": "Feature",
        "properties": {"name": "west"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    crs = {"type": "name", "properties": {"name": "EPSG:32648"}}
    units.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    asked = ["--probability"] if probability else []
    assert change(*paths, *years(), *asked, "--units", units, "-o", "out").code == 0
    seen = stack != BLANK
    for unit, inside in (("all", slice(None)), ("west", slice(0, 150))):
        looks, shown = seen[:, :, inside], stack[:, :, inside] == 1
        enough = looks.sum(axis=0) >= 2
        for year, row in enumerate(row for row in rows("areas") if row["unit"] == unit):
            assert float(row["mapped that year (km²)"]) == pytest.approx(
                (looks[year] & enough).sum() * PIXEL_KM2
            )
            mapped_isa = (shown[year] & enough).sum() * PIXEL_KM2
            assert float(row["ISA in the map of that year (km²)"]) == pytest.approx(mapped_isa)
            assert float(row["ground with enough looks (km²)"]) == pytest.approx(enough.sum() * PIXEL_KM2)
        steps = [(0, 1), (1, 2), (2, 3), (0, 3)]
        found = [row for row in rows("transitions") if row["unit"] == unit]
        for (first, last), row in zip(steps, found, strict=True):
            filled = (enough & ~(looks[first] & looks[last])).sum() * PIXEL_KM2
            assert float(row["of it filled in (km²)"]) == pytest.approx(filled)


def shifted(metres):
    """Three maps of ground that stays, the first of them moved."""
    ground = town()
    return [np.roll(ground, (metres, metres), axis=(0, 1)), ground, ground.copy()]


def test_a_reading_that_keeps_one_side_of_balanced_differences_is_warned_of(change, tmp_path):
    flipped = shifted(3)
    flipped[2][0, 0] ^= 1  # not the same bytes
    paths = [
        write_map(tmp_path / f"{year}.tif", one)
        for year, one in zip((2017, 2020, 2023), flipped, strict=True)
    ]
    ended = change(*paths, "--years", "2017,2020,2023", "-o", "out")
    raw, _, viterbi = (
        [float(row[key]) for key in ("2017-2023 gain (km²)", "loss (km²)")] for row in rows("methods")
    )
    assert raw[0] == pytest.approx(raw[1], rel=0.1)
    assert viterbi[0] > 0.3 * raw[0]
    assert viterbi[1] == 0
    assert "Plain differencing sees" in ended.err
    assert "Plain differencing sees" in Path("out/index.html").read_text()


def test_growth_that_the_maps_agree_on_is_not_warned_of(change, tmp_path):
    grown = [town(0), *[town(0) | town(1, 0.1)] * 2]
    paths = [write_map(tmp_path / f"{year}.tif", one) for year, one in zip(YEARS, grown, strict=False)]
    ended = change(*paths, *years(3), "-o", "out")
    assert ended.code == 0
    assert "Plain differencing sees" not in ended.err


def test_the_smallest_patch_of_each_reading_is_said(change, tmp_path):
    paths = [write_map(tmp_path / f"{year}.tif", striped(t)) for t, year in enumerate(YEARS)]
    ended = change(*paths, *years(), "--min-area", 300, "-o", "out")
    patches = {row["method"]: row["smallest patch (m²)"] for row in rows("methods")}
    assert patches == {"raw": "0", "monotone": "0", "viterbi (written)": "300.0"}
    assert "smallest patch (m²)" in ended.out


def test_one_file_for_two_years_is_refused(change, tmp_path):
    paths = [write_map(tmp_path / f"{year}.tif", striped(t)) for t, year in enumerate(YEARS[:2])]
    link = tmp_path / "link.tif"
    link.symlink_to(paths[1])
    ended = change(*paths, link, *years(3), "-o", "out")
    assert ended.code == 65
    assert "is given for 2019 and for 2021: give each year its own map" in ended.err
    assert not Path("out").exists()


def test_a_product_of_many_years_is_one_file_for_all(change, tmp_path):
    codes = np.zeros((SIDE, SIDE), np.uint8)
    codes[:200], codes[200:300] = 34, 14  # ISA from 1985 on, and from 2005 on
    path = tmp_path / "gaia.tif"
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "width": SIDE, "height": SIDE}
    with rasterio.open(path, "w", **profile, crs="EPSG:32648", transform=grid_of().transform) as dst:
        dst.write(codes, 1)
    ended = change(*[f"gaia={path}"] * 3, "--years", "1990,2000,2010", "--method", "raw", "-o", "out")
    assert ended.code == 0, ended.err
    assert "same bytes" not in ended.err
    shown = [float(row["ISA in the map of that year (km²)"]) for row in rows("areas")]
    assert shown == pytest.approx([200 * SIDE * PIXEL_KM2] * 2 + [300 * SIDE * PIXEL_KM2])


def test_copies_of_one_map_are_warned_of(change, tmp_path):
    paths = [write_map(tmp_path / f"{year}.tif", striped(t), recipe=None) for t, year in enumerate(YEARS[:2])]
    copy = tmp_path / "copy.tif"
    copy.write_bytes(paths[1].read_bytes())
    ended = change(*paths, copy, *years(3), "-o", "out")
    assert ended.code == 0
    assert "The same bytes are the maps of two years in 1 tiles (2017: 2019 and 2021)" in ended.err


def sample(path):
    """Points on every class of the stripes."""
    x, y = np.meshgrid(np.arange(20, SIDE, 60), np.arange(3, SIDE, 6))
    codes = {0: 0, 1: 1, 2: 2, 3: 3, 4: 0, 5: 0}
    left, top = grid_of().transform * (0, 0)
    lines = [
        f"{left + a},{top - b},EPSG:32648,{codes.get(b // 75, 0)}"
        for a, b in zip(x.flat, y.flat, strict=True)
    ]
    path.write_text("\n".join(["x,y,crs,change", *lines, ""]))
    return path


def test_nothing_of_an_earlier_report_stays(change, tmp_path):
    paths = [write_map(tmp_path / f"{year}.tif", striped(t)) for t, year in enumerate(YEARS)]
    mine = Path("out/notes.txt")
    assert change(*paths, *years(), "--sample", sample(tmp_path / "s.csv"), "-o", "out").code == 0
    mine.write_text("mine")
    assert {"estimates.csv", "points.csv", "strata.csv"} <= {path.name for path in Path("out").iterdir()}
    assert change(*paths, *years(), "-o", "out").code == 0
    assert not {"estimates.csv", "points.csv", "strata.csv"} & {path.name for path in Path("out").iterdir()}
    assert mine.is_file()


def test_the_product_of_a_tile_that_fails_now_goes(change, tmp_path):
    folders = [tmp_path / str(year) for year in YEARS[:2]]
    for t, folder in enumerate(folders):
        write_map(folder / "a.tif", striped(t))
        write_map(folder / "b.tif", striped(t), grid_of(left=610_000))
    assert change(*folders, *years(2), "-o", "out").code == 0
    assert Path("out/b.change.tif").is_file()
    damaged = folders[1] / "b.tif"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    ended = change(*folders, *years(2), "-o", "out")
    assert ended.code == 3
    assert "b: the product of an earlier run is removed" in ended.err
    assert sorted(path.name for path in Path("out").glob("b*")) == []
    assert Path("out/a.change.tif").is_file()


def test_products_of_other_runs_stay_and_are_named(change, tmp_path):
    for left, name in ((600_000, "a"), (610_000, "b")):
        paths = [
            write_map(tmp_path / str(t) / f"{name}.tif", striped(t), grid_of(left=left)) for t in range(2)
        ]
        ended = change(*paths, *years(2), "-o", "out")
        assert ended.code == 0
    assert "1 products of other runs lie in the folder and are in no figure (a)" in ended.err
    assert Path("out/a.change.tif").is_file()


def test_the_report_has_the_same_bytes_whoever_made_the_tiles(change, tmp_path):
    folders = [tmp_path / str(year) for year in YEARS[:3]]
    for t, folder in enumerate(folders):
        for number, name in enumerate("abc"):
            write_map(folder / f"{name}.tif", striped(t), grid_of(left=600_000 + 10_000 * number))
    assert change(*folders, *years(3), "-o", "one").code == 0
    for shard in ("1/2", "2/2"):
        assert change(*folders, *years(3), "--shard", shard, "-o", "two").code == 0
    assert change(*folders, *years(3), "-o", "two").code == 0
    names = [path.name for path in Path("one").iterdir() if path.suffix in (".csv", ".html", ".png")]
    for name in ("report.json", *names):
        assert Path("one", name).read_bytes() == Path("two", name).read_bytes(), name
