"""`isamap change` as the shell sees it: rasters, tables, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tiny
from affine import Affine
from odc.geo.geobox import GeoBox
from pyarrow import parquet
from pyproj import Geod
from rasterio.enums import ColorInterp
from realdata import real
from rio_cogeo.cogeo import cog_validate

from isamap.cli import cli
from isamap.cli.change import change as command
from isamap.domain import changes
from isamap.domain.changes import CHANGE
from isamap.domain.ground_area import fewest_pixels, pixel_area_m2
from isamap.domain.product import CLASSES, NODATA, PROBABILITY, map_item, year_span
from isamap.io import store
from isamap.io.cog import CogWriter

YEARS = (2017, 2019, 2021, 2023)
TILE = tiny.TILES[0]
SIDE = 600
WORDS = ("0000", "1111", "0011", "1100", "0001", "0100", "-11-", "----")
"""One per band of 75 rows."""
RECIPE = {"code": "isamap 1", "model": "ab12", "inputs": "x", "settings": "cd34"}


@pytest.fixture
def change(isamap):
    """`isamap change ...`."""
    cli.commands.setdefault("change", command)
    return lambda *arguments: isamap("change", *arguments)


def grid_of(side=SIDE, epsg=32648, gsd_m=1, left=600_000):
    return GeoBox((side, side), Affine(gsd_m, 0, left, 0, -gsd_m, 3_300_000), f"EPSG:{epsg}")


def striped(t, words=WORDS, side=SIDE):
    """Map of year number t: a word per band of rows."""
    values = np.array([{"0": 0, "1": 1, "-": 255}[word[t]] for word in words], np.uint8)
    return np.repeat(values, side // len(words))[:, None].repeat(side, axis=1)


def write_map(path, values, grid=None, recipe=RECIPE, percent=None):
    """A map as `isamap infer` leaves it: COG, and the item beside it unless `recipe` is None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = grid or grid_of(values.shape[0])
    layers = [(CLASSES, values), *([(PROBABILITY, percent)] if percent is not None else [])]
    for layer, pixels in layers:
        with CogWriter(path.with_name(path.stem + layer.suffix), grid, layer, {}) as writer:
            from isamap.domain.grid import Window

            writer.write(Window(0, 0, *pixels.shape), pixels)
    if recipe is not None:
        properties = {
            "isamap:provenance": recipe,
            "isamap:model": {"name": "tiny", "version": "1", "threshold": 0.5},
        }
        folder = path.parent.name
        span = year_span(int(folder) if len(folder) == 4 and folder.isdecimal() else 2020)
        item = map_item(path.stem, grid, span, [CLASSES], properties)
        item["assets"] = {}
        store.write_atomic(path.with_suffix(".json"), json.dumps(item).encode())
    return path


@pytest.fixture
def maps(tmp_path):
    """Four folders with one tile each."""
    folders = [tmp_path / str(year) for year in YEARS]
    for t, folder in enumerate(folders):
        write_map(folder / f"{TILE}.tif", striped(t))
    return folders


def years(count=4):
    return "--years", ",".join(map(str, YEARS[:count]))


def rasters(folder, stem=TILE):
    return tiny.read(folder / f"{stem}.first-year.tif"), tiny.read(folder / f"{stem}.change.tif")


def bands(values):
    """The value in the middle of each band of rows."""
    step = SIDE // len(WORDS)
    return values[step // 2 :: step, SIDE // 2].tolist()


def test_rasters_tables_and_report_of_four_years(change, maps):
    ended = change(*maps, *years(), "-o", "out")
    assert ended.code == 0, ended.err
    first, kinds = rasters(Path("out"))
    expected = [changes.PERVIOUS, changes.IMPERVIOUS, changes.GAIN, changes.LOSS]
    assert bands(kinds) == [*expected, changes.ENDPOINT, changes.FLICKER, changes.IMPERVIOUS, 255]
    assert bands(first) == [0, 1, 3, 1, 0, 0, 1, 255]
    assert "Viterbi" in ended.out
    assert "unadjusted" in ended.out
    assert "unadjusted" in ended.err
    for name in (
        "index.html",
        "report.json",
        "change-map.png",
        "methods.csv",
        "areas.csv",
        "rates.csv",
        "transitions.csv",
    ):
        assert (Path("out") / name).is_file(), name


def test_outputs_are_cogs_that_say_what_their_values_mean(change, maps):
    assert change(*maps, *years(), "-o", "out").code == 0
    for name in (f"{TILE}.first-year.tif", f"{TILE}.change.tif"):
        valid, errors, _ = cog_validate(f"out/{name}", strict=True, quiet=True)
        assert valid, errors
    with rasterio.open(f"out/{TILE}.first-year.tif") as src:
        assert src.descriptions == ("first impervious year: 1 2017, 2 2019, 3 2021, 4 2023",)
        assert src.nodata == 255
        assert src.tags()["isamap_years"] == "2017,2019,2021,2023"
        assert len({src.colormap(1)[k] for k in (0, 1, 2, 3, 4)}) == 5
    item = json.loads(Path(f"out/{TILE}.json").read_text())
    assert item["properties"]["isamap:first_year"] == {"1": 2017, "2": 2019, "3": 2021, "4": 2023}
    assert item["properties"]["isamap:change_classes"]["3"] == "sustained loss"
    assert set(item["assets"]) == {"first-year", "change"}


def test_json_is_one_document_with_counts_that_match_the_pixels(change, maps):
    ended = change(*maps, *years(), "-o", "out", "--json")
    document = json.loads(ended.out)
    assert (document["schema"], document["command"], document["made"]) == (1, "change", 1)
    classes = document["tables"]["classes"][0]
    _, kinds = rasters(Path("out"))
    area = pixel_area_m2(grid_of())
    gained = int((kinds == changes.GAIN).sum())
    assert classes["sustained gain (km²)"] == pytest.approx(gained * area / 1e6)
    written = json.loads(Path("out/report.json").read_text())
    assert set(written.pop("files")) <= {path.name for path in Path("out").iterdir()}
    assert document == written | {"made": 1, "skipped": 0}


@pytest.mark.parametrize("left", [170_000, 300_000, 500_000, 640_000, 750_000, 830_000])
@pytest.mark.parametrize(("gsd_m", "expected"), [(0.5, 400), (1, 100), (3, 12), (10, 1), (20, 1)])
def test_the_smallest_patch_has_as_many_pixels_everywhere_in_a_zone(left, gsd_m, expected):
    assert fewest_pixels(100, grid_of(epsg=32650, gsd_m=gsd_m, left=left)) == expected
    assert fewest_pixels(0, grid_of(gsd_m=gsd_m, left=left)) == 0


def test_the_smallest_patch_is_as_large_in_feet():
    feet = GeoBox(
        (100, 100), Affine(32.808333333333, 0, 6_500_000, 0, -32.808333333333, 1_900_000), "EPSG:2229"
    )
    assert fewest_pixels(100, feet) == 1


def test_the_smallest_patch_on_other_grids_is_that_on_the_ground():
    assert fewest_pixels(100, grid_of(epsg=3857, left=11_000_000)) in range(130, 137)  # about 28.4 N
    degrees = GeoBox((600, 600), Affine(1e-5, 0, 110, 0, -1e-5, 60), "EPSG:4326")
    assert fewest_pixels(100, degrees) in range(160, 163)


@pytest.mark.parametrize(("method", "kind"), [("viterbi", changes.LOSS), ("monotone", changes.ENDPOINT)])
def test_a_demolition_is_kept_by_viterbi_and_removed_by_monotone(change, maps, method, kind):
    assert change(*maps, *years(), "--method", method, "-o", "out").code == 0
    assert bands(rasters(Path("out"))[1])[3] == kind


def test_finished_tiles_are_skipped_and_say_the_same(change, maps):
    before = json.loads(change(*maps, *years(), "-o", "out", "--json").out)
    after = json.loads(change(*maps, *years(), "-o", "out", "--json").out)
    assert (before["made"], after["made"], after["skipped"]) == (1, 0, 1)
    assert before["tables"] == after["tables"]
    again = json.loads(change(*maps, *years(), "-o", "out", "--json", "--min-area", 0).out)
    assert again["made"] == 1


def test_two_workers_make_the_same_files_as_one(change, maps):
    for folder, t in zip(maps, range(4), strict=True):
        write_map(folder / "other.tif", striped(t, WORDS[::-1]), grid_of(left=610_000))
    assert change(*maps, *years(), "-o", "one").code == 0
    assert change(*maps, *years(), "-o", "two", "-j", 2).code == 0
    for path in sorted(Path("one").glob("*.tif")):
        assert path.read_bytes() == (Path("two") / path.name).read_bytes(), path.name
    assert Path("one/areas.csv").read_text() == Path("two/areas.csv").read_text()


def test_patches_below_the_smallest_area_are_undone(change, tmp_path):
    paths = []
    for t, year in enumerate(YEARS):
        values = np.zeros((SIDE, SIDE), np.uint8)
        values[100:109, 100:109] = values[200:210, 200:210] = t >= 2
        paths.append(write_map(tmp_path / f"{year}.tif", values))
    assert change(*paths, *years(), "-o", "out", "--min-area", 100).code == 0
    kinds = rasters(Path("out"), "2017")[1]
    assert kinds[205, 205] == changes.GAIN
    assert kinds[105, 105] == changes.ENDPOINT
    assert change(*paths, *years(), "-o", "all", "--min-area", 0).code == 0
    assert rasters(Path("all"), "2017")[1][105, 105] == changes.GAIN


def test_no_change_of_plain_differencing_is_left_in_a_small_patch(change, tmp_path):
    """Patches of 9 pixels of every kind, and one of 120 that the last map alone shows."""
    words = ("0001", "0111", "0011", "1000", "1100", "0110", "0101", "1011")
    paths = []
    for t, year in enumerate(YEARS):
        values = np.zeros((SIDE, SIDE), np.uint8)
        for index, word in enumerate(words):
            values[50:53, 50 * index + 50 : 50 * index + 53] = int(word[t])
        values[100:110, 100:112] = t == 3
        paths.append(write_map(tmp_path / f"{year}.tif", values))
    ended = change(*paths, *years(), "-o", "out", "--method", "raw", "--json")
    first, kinds = rasters(Path("out"), "2017")
    here = slice(51, 452, 50)
    assert first[51, here].tolist() == [0, 1, 0, 0, 1, 0, 0, 1, 0]
    ends = changes.ENDPOINT, changes.FLICKER
    assert kinds[51, here].tolist() == [*ends[:1] * 5, changes.FLICKER, changes.ENDPOINT, changes.FLICKER, 0]
    assert (first[105, 105], kinds[105, 105]) == (4, changes.ENDPOINT)
    raw = json.loads(ended.out)["tables"]["methods"][0]
    assert raw["method"] == "raw (written)"
    assert raw["2017-2023 gain (km²)"] == pytest.approx(120e-6, rel=0.01)
    assert raw["loss (km²)"] == 0
    assert raw["ISA 2017 (km²)"] == pytest.approx(27e-6, rel=0.01)


def test_probabilities_confirm_a_change_that_two_maps_cannot(change, tmp_path):
    paths = []
    for t, year in enumerate(YEARS[:2]):
        percent = np.full((SIDE, SIDE), 3, np.uint8)
        percent[:300] = 99 if t else 1
        percent[300:400] = 60 if t else 40
        values = (percent > 50).astype(np.uint8)
        paths.append(write_map(tmp_path / f"{year}.tif", values, percent=percent))
    assert change(*paths, *years(2), "-o", "classes").code == 0
    assert rasters(Path("classes"), "2017")[1][[10, 350], 9].tolist() == [changes.ENDPOINT] * 2
    assert change(*paths, *years(2), "-o", "sure", "--probability").code == 0
    assert rasters(Path("sure"), "2017")[1][[10, 350], 9].tolist() == [changes.GAIN, changes.ENDPOINT]


def test_shifts_between_years_are_reported_and_undone_on_request(change, tmp_path):
    noise = np.random.default_rng(0).normal(size=(640, 640))
    frequency = np.hypot(np.fft.fftfreq(640)[:, None], np.fft.rfftfreq(640))
    smooth = np.fft.irfft2(np.fft.rfft2(noise) * np.exp(-((frequency / 0.03) ** 2)), s=noise.shape)
    town = (smooth > smooth.std()).astype(np.uint8)
    paths = [
        write_map(tmp_path / "2017.tif", town[20:620, 20:620]),
        write_map(tmp_path / "2019.tif", town[14:614, 11:611]),
    ]
    document = json.loads(change(*paths, *years(2), "-o", "out", "--json").out)
    (shift,) = document["tables"]["shifts"]
    assert shift["east (m)"] == pytest.approx(9, abs=0.3)
    assert shift["north (m)"] == pytest.approx(-6, abs=0.3)
    options = ("--method", "monotone", "--min-area", 0, "--json")
    apart = json.loads(change(*paths, *years(2), "-o", "a", *options).out)["tables"]["methods"][1]
    close = json.loads(change(*paths, *years(2), "-o", "b", *options, "--align").out)["tables"]["methods"][1]
    assert close["2017-2019 gain (km²)"] < 0.15 * apart["2017-2019 gain (km²)"]


def test_units_divide_the_whole(change, maps, tmp_path):
    left, bottom, right, top = grid_of().boundingbox
    middle = (left + right) / 2
    polygons = {
        name: [[x, bottom], [y, bottom], [y, top], [x, top], [x, bottom]]
        for name, x, y in (("west", left, middle), ("east", middle, right))
    }
    units = tmp_path / "units.geojson"
    features = [
        {
            "type": "Feature",
            "properties": {"name": name},
            "geometry": {"type": "Polygon", "coordinates": [ring]},
        }
        for name, ring in polygons.items()
    ]
    crs = {"type": "name", "properties": {"name": "EPSG:32648"}}
    units.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    ended = change(*maps, *years(), "-o", "out", "--units", units, "--json")
    columns = parquet.read_table("out/units.parquet").to_pydict()
    assert columns["unit"] == sorted(columns["unit"])
    counted = {row["unit"]: row for row in json.loads(ended.out)["tables"]["classes"]}
    for unit, gain in zip(columns["unit"], columns["sustained gain (km²)"], strict=True):
        assert gain == pytest.approx(counted[unit]["sustained gain (km²)"])
    assert ended.code == 0, ended.err
    rows = [row for row in json.loads(ended.out)["tables"]["areas"] if row["year"] == 2023]
    area = {row["unit"]: row["ISA (km²)"] for row in rows}
    assert set(area) == {"all", "west", "east"}
    assert area["west"] == pytest.approx(area["all"] / 2)
    assert area["west"] + area["east"] == pytest.approx(area["all"])


def test_units_that_share_ground_are_refused_before_anything_is_made(change, maps, tmp_path):
    left, bottom, right, top = grid_of().boundingbox
    ring = [[left, bottom], [right, bottom], [right, top], [left, top], [left, bottom]]
    crs = {"type": "name", "properties": {"name": "EPSG:32648"}}
    features = [
        {"type": "Feature", "properties": {"name": n}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for n in "ab"
    ]
    units = tmp_path / "units.geojson"
    units.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    ended = change(*maps, *years(), "-o", "out", "--units", units)
    assert ended.code == 65
    assert "a and b overlap" in ended.err
    assert not Path("out").exists()
    assert change(*maps, *years(), "-o", "out", "--units", units, "--allow-overlap").code == 0


def test_a_sample_gives_areas_with_intervals(change, maps, tmp_path):
    grid, rng = grid_of(), np.random.default_rng(5)
    assert change(*maps, *years(), "-o", "out").code == 0
    kinds = rasters(Path("out"))[1]
    lines = ["x,y,crs,change"]
    truth = {0: 0, 1: 1, 2: 2, 3: 3, 4: 2, 5: 0}
    for _ in range(400):
        row, col = rng.integers(0, SIDE, 2)
        if kinds[row, col] in truth:
            x, y = grid.transform * (col + 0.5, row + 0.5)
            lines.append(f"{x},{y},EPSG:32648,{truth[kinds[row, col]]}")
    sample = tmp_path / "sample.csv"
    sample.write_text("\n".join([*lines, ""]))
    ended = change(*maps, *years(), "-o", "out", "--sample", sample, "--json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    table = {row["quantity"]: row for row in document["tables"]["estimates"]}
    gained = (np.isin(kinds, (changes.GAIN, changes.ENDPOINT))).sum() * pixel_area_m2(grid) / 1e6
    assert table["gain (km²)"]["95 % low"] <= gained <= table["gain (km²)"]["95 % high"]
    assert table["gain (km²)"]["reading's count, unadjusted"] < gained
    assert not any("unadjusted" in text for text in document["warnings"])


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("lon,lat\n1,1\n", "neither a column change"),
        ("lon,lat,change\n1,1,0\n", "no point of"),
        ("lon,lat,change\n1,1,9\n", "is '9'"),
        (
            "lon,lat,isa_2017,isa_2023,change\n1,1,0,1,2\n1,2,0,1,0\n1,3,0,1,\n1,4,1,1,3\n",
            "isa_2023 contradict each other at point 2 (and 1 more)",
        ),
        (
            "lon,lat,isa_2023,change\n1,1,1,0\n1,2,0,0\n",
            "isa_2023 contradict each other at point 1:",
        ),
    ],
)
def test_samples_that_do_not_fit_are_refused(change, maps, tmp_path, content, word):
    sample = tmp_path / "sample.csv"
    sample.write_text(content)
    ended = change(*maps, *years(), "-o", "out", "--sample", sample)
    assert ended.code == 65
    assert word in ended.err


def test_maps_of_different_models_are_refused_and_forced_ones_say_so(change, maps):
    write_map(maps[2] / f"{TILE}.tif", striped(2), recipe=RECIPE | {"model": "ff99"})
    ended = change(*maps, *years(), "-o", "out")
    assert ended.code == 65
    assert "weights ab12" in ended.err
    assert "weights ff99" in ended.err
    assert "--force" in ended.err
    assert not Path("out").exists()
    ended = change(*maps, *years(), "-o", "out", "--force", "--json")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert document["version_change"]
    assert any("Version change" in text for text in document["warnings"])
    assert "Version change" in Path("out/index.html").read_text()
    with rasterio.open(f"out/{TILE}.change.tif") as src:
        assert "version change" in src.tags()["isamap_warning"]


def test_maps_without_items_pass_with_a_warning(change, maps):
    for folder in maps:
        (folder / f"{TILE}.json").unlink()
    ended = change(*maps, *years(), "-o", "out")
    assert ended.code == 0
    assert "unknown" in ended.err
    write_map(maps[0] / f"{TILE}.tif", striped(0))
    assert change(*maps, *years(), "-o", "again").code == 65  # one is known, the others are not


def test_worldcover_versions_are_refused_and_forced_ones_are_a_version_change(change):
    paths = real(
        "worldcover-sao-tome/esa-worldcover-2020-v100-sao-tome.tif",
        "worldcover-sao-tome/esa-worldcover-2021-v200-sao-tome.tif",
    )
    maps = [f"worldcover-v100={paths[0]}", f"worldcover-v200={paths[1]}"]
    ended = change(*maps, "--years", "2020,2021", "-o", "out")
    assert ended.code == 65
    assert "worldcover-v100" in ended.err
    assert "worldcover-v200" in ended.err
    ended = change(*maps, "--years", "2020,2021", "-o", "out", "--force", "--json")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert document["version_change"]
    with rasterio.open(paths[0]) as old, rasterio.open(paths[1]) as new:
        built = old.read(1) == 50, new.read(1) == 50
    assert (int(built[0].sum()), int(built[1].sum())) == (125_246, 172_971)
    item = json.loads(next(Path("out").glob("esa*.json")).read_text())
    gained = sum(row[3] for row in item["properties"]["isamap:tally"][""] if row[:2] == [0, 2])
    assert gained == int((~built[0] & built[1]).sum())


def test_a_missing_tile_of_one_year_counts_as_no_look(change, maps):
    (maps[1] / f"{TILE}.tif").unlink()
    (maps[1] / f"{TILE}.json").unlink()
    write_map(maps[1] / "elsewhere.tif", striped(1), grid_of(left=620_000))
    ended = change(*maps, *years(), "-o", "out", "--json")
    assert ended.code == 3  # `elsewhere` has one map
    document = json.loads(ended.out)
    assert document["gaps"] == {TILE: [2019]}
    assert document["failed"] == {"elsewhere": "only 1 of 4 years has a map: change needs two"}
    assert bands(rasters(Path("out"))[1])[2] == changes.GAIN


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("--years", "2017"), 2, "two years"),
        (("--years", "2017,2017,2019,2021"), 2, "twice"),
        (("--years", "2019,2017,2021,2023"), 2, "not in order"),
        (("--years", "2017,2019,2021"), 2, "4 maps for 3 years"),
        (("--years", "soon"), 2, "years like"),
        (("--years", "17,19,21,23"), 2, "years 17, 19, 21, 23 are not all between 1900 and 2100"),
        (("--years", "-44,2019,2021,2023"), 2, "1900 and 2100"),
        (("--years", "2017,2019,2021,20233"), 2, "1900 and 2100"),
        ((), 2, "--years"),
    ],
)
def test_years_that_do_not_fit_are_refused(change, maps, arguments, code, word):
    ended = change(*maps, *arguments, "-o", "out")
    assert ended.code == code
    assert word in ended.err


@pytest.mark.parametrize(
    ("grid", "word"),
    [
        (grid_of(epsg=32649), "EPSG:32649"),
        (grid_of(gsd_m=2), "pixels of 2 and 1"),
        (grid_of(left=600_000.4), "not on the same pixels"),
        (grid_of(left=700_000), "no ground in common"),
    ],
)
def test_maps_on_different_grids_are_refused(change, tmp_path, grid, word):
    paths = [write_map(tmp_path / "2017.tif", striped(0)), write_map(tmp_path / "2019.tif", striped(1), grid)]
    ended = change(*paths, *years(2), "-o", "out")
    assert ended.code == 65
    assert word in ended.err


def test_maps_that_overlap_by_whole_pixels_are_compared_where_they_do(change, tmp_path):
    paths = [
        write_map(tmp_path / "2017.tif", striped(0, ("0", "0"))),
        write_map(tmp_path / "2019.tif", striped(0, ("0", "0")), grid_of(left=600_100)),
    ]
    assert change(*paths, *years(2), "-o", "out").code == 0
    kinds = rasters(Path("out"), "2017")[1]
    assert (kinds[:, :100] == changes.FEW).all()
    assert (kinds[:, 100:] == changes.PERVIOUS).all()


def test_maps_of_nothing_but_nodata_are_no_evidence_of_no_change(change, tmp_path):
    paths = [write_map(tmp_path / f"{year}.tif", striped(0, ("-", "-"))) for year in YEARS[:2]]
    ended = change(*paths, *years(2), "-o", "out", "--json")
    assert ended.code == 65
    assert "no pixel is mapped in 2 of the years: there was nothing to compare" in ended.err
    assert (rasters(Path("out"), "2017")[1] == 255).all()
    (row,) = json.loads(ended.out)["tables"]["rates"]
    assert row["growth (%)"] is None


def test_rasters_that_are_no_isa_maps_are_refused(change, tmp_path):
    paths = [write_map(tmp_path / f"{year}.tif", np.full((SIDE, SIDE), 50, np.uint8)) for year in YEARS[:2]]
    ended = change(*paths, *years(2), "-o", "out")
    assert ended.code == 65
    assert "name its product" in ended.err


def test_missing_maps_are_named(change, tmp_path):
    ended = change(tmp_path / "a.tif", tmp_path / "b.tif", *years(2), "-o", "out")
    assert ended.code == 66
    assert "a.tif does not exist" in ended.err


def test_an_area_takes_the_maps_of_the_workspace(change, tmp_path):
    for t, year in enumerate(YEARS):
        write_map(tmp_path / "w" / "maps" / "fast" / str(year) / f"{TILE}.tif", striped(t))
    options = ("--tiles", TILE, *years(), "--workspace", tmp_path / "w")
    plan = change(*options, "--dry-run")
    assert plan.code == 0
    assert "1" in plan.out
    assert change(*options).code == 0
    assert (tmp_path / "w" / "change" / "fast" / "2017-2023" / f"{TILE}{CHANGE.suffix}").is_file()
    assert change("--tiles", tiny.TILES[1], *years(), "--workspace", tmp_path / "w").code == 66
    assert change(tmp_path, "--tiles", TILE, *years()).code == 2


def test_a_dry_run_tells_products_of_other_options_and_damaged_ones(change, maps):
    def plan(*more):
        found = json.loads(change(*maps, *years(), "-o", "out", "--dry-run", "--json", *more).out)
        return {key: found[key] for key in ("new", "stale", "made_before") if found[key]}

    assert plan() == {"new": 1}
    assert change(*maps, *years(), "-o", "out").code == 0
    assert plan() == {"made_before": 1}
    assert plan("--min-area", 0) == plan("--method", "raw") == {"stale": 1}
    Path("out", f"{TILE}{CHANGE.suffix}").unlink()
    assert plan() == {"stale": 1}


@pytest.mark.parametrize("grid", [grid_of(1024), grid_of(1024, left=780_000), grid_of(2048, epsg=32651)])
def test_pixel_areas_are_those_of_the_ellipsoid(grid):
    outline = grid.footprint("EPSG:4326", npoints=64).geom
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(outline)
    assert pixel_area_m2(grid) * grid.shape[0] * grid.shape[1] == pytest.approx(abs(area), rel=1e-6)
    assert abs(pixel_area_m2(grid) - 1) < 2e-3


def test_degrees_become_metres():
    grid = GeoBox((100, 100), Affine(1 / 12000, 0, 6.4, 0, -1 / 12000, 60.0), "EPSG:4326")
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(grid.footprint("EPSG:4326", npoints=64).geom)
    assert pixel_area_m2(grid) * 1e4 == pytest.approx(abs(area), rel=1e-4)


@pytest.mark.parametrize("recipe", [RECIPE, None], ids=["with items", "without"])
def test_the_folder_of_the_maps_takes_no_change(change, maps, recipe):
    for folder in maps:
        (folder / f"{TILE}.json").unlink()
        write_map(folder / f"{TILE}.tif", striped(0), recipe=recipe)
    before = {path: path.read_bytes() for folder in maps for path in folder.iterdir()}
    ended = change(*(folder / f"{TILE}.tif" for folder in maps), *years(), "-o", maps[1])
    assert ended.code == 65
    assert "choose another folder" in ended.err
    assert {path: path.read_bytes() for path in before} == before
    assert sum(path.suffix == ".tif" for folder in maps for path in folder.iterdir()) == len(maps)


def test_more_looks_than_years_are_a_usage_fault(change, maps):
    ended = change(*maps[:2], *years(2), "--min-looks", 3, "-o", "out")
    assert ended.code == 2
    assert "there are only 2 years" in ended.err


def masked(path, values, seen, alpha):
    """A map with a mask of its own: GDAL's inside the file beside nodata 255, or a band of alpha, which GDAL reads without."""
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1 + alpha, "crs": "EPSG:32648"}
    profile["nodata"] = None if alpha else NODATA
    shape = {"height": values.shape[0], "width": values.shape[1], "transform": grid_of().transform}
    mask = (seen * 255).astype(np.uint8)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile, **shape) as dst:
        if alpha:
            dst.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
            dst.write(mask, 2)
        dst.write(values, 1)
        if not alpha:
            dst.write_mask(mask)
    return path


@pytest.mark.parametrize("alpha", [False, True], ids=["mask inside the file", "alpha"])
def test_masks_inside_maps_hide_pixels_whatever_nodata_is(change, tmp_path, alpha):
    seen = np.arange(SIDE) >= SIDE // 3
    seen = np.broadcast_to(seen, (SIDE, SIDE))
    paths = [
        masked(tmp_path / f"{year}.tif", striped(t, ("0011", "0000")), seen, alpha)
        for t, year in enumerate(YEARS)
    ]
    assert change(*paths, *years(), "-o", "out").code == 0
    kinds = rasters(Path("out"), "2017")[1]
    assert np.unique(kinds[~seen]).tolist() == [NODATA]
    assert np.unique(kinds[seen]).tolist() == [changes.PERVIOUS, changes.GAIN]
