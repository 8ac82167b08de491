"""`isamap evaluate`: maps, products, labels and samples of known truth, through the command line."""

import csv
import json
import shutil

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer

from isamap.core import evaluate as recipe
from isamap.domain.accuracy import Confusion
from isamap.errors import InputError
from isamap.io.products import parse_product
from isamap.io.zones import open_units

UTM = "EPSG:32648"
LEFT, TOP = 600_000, 3_300_000


def write(path, values, *, left=LEFT, top=TOP, gsd=1.0, crs=UTM, nodata=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=Affine(gsd, 0, left, 0, -gsd, top),
        nodata=nodata,
        tiled=True,
        blockxsize=256,
        blockysize=256,
    ) as dst:
        dst.write(values, 1)
    return path


def geojson(path, features):
    """Features given in UTM, written in lon/lat."""
    to_lonlat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    document = {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(
                    shapely.transform(shape, lambda p: np.column_stack(to_lonlat.transform(p[:, 0], p[:, 1])))
                ),
                "properties": attributes,
            }
            for shape, attributes in features
        ],
    }
    path.write_text(json.dumps(document))
    return path


@pytest.fixture(scope="module")
def truth():
    """Blocks of 7 px, 40 % ISA, on 700 x 900 px."""
    coarse = np.random.default_rng(5).random((100, 129)) < 0.4
    return coarse.repeat(7, 0).repeat(7, 1)[:, :900].astype(np.uint8)


@pytest.fixture(scope="module")
def wrong(truth):
    """The truth with every tenth pixel turned over and a nodata corner."""
    mapped = np.where(np.random.default_rng(6).random(truth.shape) < 0.1, 1 - truth, truth).astype(np.uint8)
    mapped[:50, :60] = 255
    return mapped


@pytest.fixture
def ground(isamap, tmp_path, truth, wrong):
    """The current folder, with map.tif and labels.tif."""
    here = tmp_path / "here"
    write(here / "map.tif", wrong)
    write(here / "labels.tif", truth)
    return here


def figures(ended, product="map"):
    return ended.document["products"][product]["accuracy"]


def test_a_label_raster_gives_the_counted_figures(isamap, ground, truth, wrong):
    ended = isamap("evaluate", "map.tif", "--labels", "labels.tif", "--json")
    assert ended.code == 0, ended.err
    matrix = Confusion.count(wrong, truth)
    found = figures(ended)
    for title, value in (
        ("F1", matrix.f1),
        ("IoU", matrix.iou),
        ("kappa", matrix.kappa),
        ("bias", matrix.bias),
    ):
        assert found[title] == pytest.approx(value)
    assert found["pixels"] == matrix.total == truth.size - 3000


def test_tiles_and_workers_count_as_the_whole_does(isamap, ground, wrong):
    whole = isamap("evaluate", "map.tif", "--labels", "labels.tif", "--json")
    for row in (0, 1):
        for col in (0, 1, 2):
            part = wrong[350 * row : 350 * (row + 1), 300 * col : 300 * (col + 1)]
            write(ground / "map" / f"{row}{col}.tif", part, left=LEFT + 300 * col, top=TOP - 350 * row)
    for workers in (1, 2):
        tiles = isamap("evaluate", "map=map", "--labels", "labels.tif", "--json", "-j", workers)
        assert figures(tiles) == pytest.approx(figures(whole))
        boundary = (ended.document["products"]["map"]["boundary"] for ended in (tiles, whole))
        assert json.dumps(next(boundary)) == json.dumps(
            next(boundary)
        )  # neighbours are seen across tile edges


def test_small_windows_change_nothing(isamap, ground, monkeypatch):
    whole = isamap("evaluate", "map.tif", "--labels", "labels.tif", "--json")
    monkeypatch.setattr("isamap.domain.lattice.WINDOW_M", 300)
    pieces = isamap("evaluate", "map.tif", "--labels", "labels.tif", "--json")
    assert figures(pieces) == pytest.approx(figures(whole))
    shares = [ended.document["products"]["map"]["shares"]["10 m"] for ended in (pieces, whole)]
    assert shares[0] == pytest.approx(shares[1])


def test_a_perfect_map_is_perfect_on_every_support(isamap, ground):
    ended = isamap("evaluate", "labels.tif", "--labels", "labels.tif", "--json")
    found = ended.document["products"]["labels"]
    assert found["accuracy"]["IoU"] == 1
    for support in ("10 m", "30 m", "100 m"):
        assert found["shares"][support]["MAE"] == 0
    assert found["boundary"]["2 m"]["boundary IoU"] == 1


def test_a_coarse_product_is_compared_without_a_shift(isamap, ground, truth):
    share = truth[:700, :900].reshape(70, 10, 90, 10).mean(axis=(1, 3))
    codes = np.where(share > 0.5, 50, 10).astype(np.uint8)
    write(ground / "wc.tif", codes, gsd=10, nodata=0)
    ended = isamap(
        "evaluate", "labels.tif", "--product", "worldcover-v200=wc.tif", "--labels", "labels.tif", "--json"
    )
    assert ended.code == 0, ended.err
    fine = (share > 0.5).repeat(10, 0).repeat(10, 1)
    expected = Confusion.count(fine, truth)
    assert figures(ended, "worldcover-v200")["F1"] == pytest.approx(expected.f1)
    at_10m = ended.document["products"]["worldcover-v200"]["shares"]["10 m"]
    assert at_10m["MAE"] == pytest.approx(np.abs((share > 0.5) - share).mean(), abs=1e-6)


def test_a_reference_on_another_projection_lies_where_it_lies(isamap, ground):
    with rasterio.open(ground / "labels.tif") as src:
        bounds = rasterio.warp.transform_bounds(UTM, "EPSG:4326", *src.bounds, densify_pts=21)
        step = 1e-5 / 2
        shape = round((bounds[3] - bounds[1]) / step), round((bounds[2] - bounds[0]) / step)
        values = np.full(shape, 255, np.uint8)
        rasterio.warp.reproject(
            rasterio.band(src, 1),
            values,
            dst_transform=Affine(step, 0, bounds[0], 0, -step, bounds[3]),
            dst_crs="EPSG:4326",
            dst_nodata=255,
        )
    write(ground / "lonlat.tif", values, left=bounds[0], top=bounds[3], gsd=step, crs="EPSG:4326")
    ended = isamap("evaluate", "labels.tif", "--reference", "lonlat.tif", "--json")
    assert figures(ended, "labels")["IoU"] > 0.9  # half a metre of jitter at the edges of 7 m blocks


def test_classes_say_which_codes_are_isa(isamap, ground, truth):
    write(ground / "codes.tif", np.where(truth == 1, 8, 3).astype(np.uint8), nodata=None)
    ended = isamap("evaluate", "labels.tif", "--reference", "codes.tif", "--classes", "8", "--json")
    assert figures(ended, "labels")["IoU"] == 1


def test_polygons_with_both_classes_are_a_truth(isamap, ground, wrong):
    house, yard = (
        shapely.box(LEFT + 100, TOP - 200, LEFT + 200, TOP - 100),
        shapely.box(LEFT + 50, TOP - 300, LEFT + 300, TOP - 50),
    )
    geojson(ground / "labels.geojson", [(yard, {"isa": 0}), (house, {"isa": 1})])
    ended = isamap("evaluate", "map.tif", "--labels", "labels.geojson:isa", "--json")
    assert ended.code == 0, ended.err
    labels = np.full(wrong.shape, 255, np.uint8)
    labels[50:300, 50:300], labels[100:200, 100:200] = 0, 1
    assert figures(ended)["F1"] == pytest.approx(Confusion.count(wrong, labels).f1)


def test_polygons_of_isa_alone_define_recall_and_nothing_else(isamap, ground, wrong):
    house = shapely.box(LEFT + 100, TOP - 200, LEFT + 200, TOP - 100)
    geojson(ground / "houses.geojson", [(house, {})])
    found = figures(isamap("evaluate", "map.tif", "--labels", "houses.geojson", "--json"))
    assert found["recall"] == pytest.approx((wrong[100:200, 100:200] == 1).mean())
    assert found["precision"] is found["F1"] is None


def test_units_and_strata_add_up_to_the_whole(isamap, ground):
    west = shapely.box(LEFT, TOP - 700, LEFT + 300, TOP)
    east = shapely.box(LEFT + 300, TOP - 700, LEFT + 900, TOP)
    geojson(ground / "units.geojson", [(west, {"name": "West"}), (east, {"name": "East"})])
    ended = isamap(
        "evaluate",
        "map.tif",
        "--labels",
        "labels.tif",
        "--units",
        "units.geojson",
        "--strata",
        "density",
        "--json",
    )
    assert ended.code == 0, ended.err
    found = ended.document["products"]["map"]
    pixels = [found["accuracy-units"][unit]["pixels"] for unit in ("West", "East")]
    assert sum(pixels) == found["accuracy"]["pixels"]
    assert pixels[0] == 700 * 300 - 3000
    assert sum(found["accuracy-strata"][s]["pixels"] for s in found["accuracy-strata"]) == sum(pixels)


def test_the_report_holds_what_stdout_says(isamap, ground):
    ended = isamap("evaluate", "map.tif", "--labels", "labels.tif", "-o", "report", "--json")
    assert ended.code == 0, ended.err
    names = {path.name for path in (ground / "report").iterdir()}
    assert {"index.html", "report.json", "accuracy.csv", "shares.csv", "boundary.csv", "worst.png"} <= names
    document = json.loads((ground / "report" / "report.json").read_text())
    assert document["products"] == ended.document["products"]
    with (ground / "report" / "accuracy.csv").open() as file:
        row = next(csv.DictReader(file))
    assert float(row["F1"]) == pytest.approx(figures(ended)["F1"])


@pytest.mark.parametrize(
    ("check", "code"),
    [(("--min-f1", 0.5), 0), (("--min-f1", 0.99), 5), (("--max-bias", 0.001), 5), (("--max-bias", 0.2), 0)],
)
def test_checks_end_with_code_5(isamap, ground, check, code):
    ended = isamap("evaluate", "map.tif", "--labels", "labels.tif", *check)
    assert ended.code == code, ended.err
    assert "F1" in ended.out  # the table comes first
    assert ended.err.count("\n") == (code == 5)


def test_a_check_of_an_undefined_figure_fails(isamap, ground, truth):
    write(ground / "none.tif", np.zeros_like(truth))
    ended = isamap("evaluate", "none.tif", "--labels", "none.tif", "--min-f1", 0.1)
    assert ended.code == 5
    assert "F1 is \N{EN DASH}" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("map.tif",), 2, "exactly one of --reference"),
        (("--labels", "labels.tif"), 2, "give MAPS"),
        (("map.tif", "--labels", "labels.tif", "--sample", "s.csv"), 2, "exactly one of"),
        (("none.tif", "--labels", "labels.tif"), 66, "none.tif does not exist"),
        (("map.tif", "--labels", "none.tif"), 66, "none.tif does not exist"),
        (("map.tif", "--labels", "elsewhere.tif"), 65, "the truth lies on none of the maps"),
        (("map.tif", "--labels", "blank.tif"), 65, "no pixel is known to both"),
        (("codes.tif", "--labels", "labels.tif"), 65, "values 3, 8"),
        (("map.tif", "map.tif", "--labels", "labels.tif"), 65, "same name"),
        (("map.tif", "--reference", "codes.tif", "--classes", "eight"), 78, "eight"),
        (("map.tif", "--labels", "points.geojson:isa"), 65, "has no polygon (only 1 Point)"),
        (("map.tif", "--labels", "labels.tif", "--units", "units.geojson:town"), 65, "no column 'town'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(isamap, ground, truth, arguments, code, said):
    write(ground / "elsewhere.tif", truth, left=LEFT + 50_000)
    write(ground / "blank.tif", np.full_like(truth, 255))
    write(ground / "codes.tif", np.where(truth == 1, 8, 3).astype(np.uint8))
    geojson(ground / "points.geojson", [(shapely.Point(LEFT + 5, TOP - 5), {"isa": 1})])
    geojson(ground / "units.geojson", [(shapely.box(LEFT, TOP - 9, LEFT + 9, TOP), {"name": "A"})])
    ended = isamap("evaluate", *arguments)
    assert ended.code == code, ended.err
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_a_damaged_tile_is_named_and_nothing_is_told(isamap, ground, wrong):
    for index in (0, 1):
        write(ground / "maps" / f"{index}.tif", wrong, left=LEFT + 900 * index)
        write(ground / "truth" / f"{index}.tif", wrong, left=LEFT + 900 * index)
    whole = (ground / "maps" / "1.tif").read_bytes()
    (ground / "maps" / "1.tif").write_bytes(whole[: len(whole) // 2])
    ended = isamap("evaluate", "maps", "--labels", "truth")
    assert ended.code == 65
    assert "1.tif" in ended.err
    assert ended.out == ""


def test_maps_of_the_workspace_are_found_by_tile(isamap, tmp_path, truth):
    ended = isamap("evaluate", "--tiles", "48N-0060-0318", "--year", 2021, "--labels", "labels.tif")
    assert ended.code == 66
    assert "run isamap infer first" in ended.err


def test_known_products_are_listed(isamap):
    ended = isamap("evaluate", "--list-products")
    assert ended.code == 0
    assert "worldcover-v200" in ended.out


def test_units_come_as_geoparquet_too(isamap, ground):
    from pyarrow import parquet

    west = shapely.box(LEFT, TOP - 700, LEFT + 300, TOP)
    geojson(ground / "units.geojson", [(west, {"name": "West"})])
    ended = isamap(
        "evaluate", "map.tif", "--labels", "labels.tif", "--units", "units.geojson", "-o", "r", "--json"
    )
    assert ended.code == 0, ended.err
    table = parquet.read_table(ground / "r" / "units.parquet").to_pylist()
    assert [row["unit"] for row in table] == ["West"]
    assert table[0]["f1"] == pytest.approx(ended.document["products"]["map"]["accuracy-units"]["West"]["F1"])
    outline = shapely.from_wkb(table[0]["geometry"])
    assert outline.equals_exact(open_units("units.geojson").outlines()["West"])


def test_ground_under_two_rasters_counts_once(isamap, ground, truth, wrong):
    write(ground / "maps" / "a.tif", wrong[:, :600])
    write(ground / "maps" / "b.tif", wrong[:, 300:], left=LEFT + 300)
    twice = isamap("evaluate", "map=maps", "--labels", "labels.tif", "--json")
    once = isamap("evaluate", "map.tif", "--labels", "labels.tif", "--json")
    assert figures(twice) == pytest.approx(figures(once))


def test_rasters_between_each_others_pixels_count_once_too(isamap, ground, wrong, truth):
    write(ground / "maps" / "a.tif", wrong)
    write(ground / "maps" / "b.tif", wrong, left=LEFT + 0.5)
    found = figures(isamap("evaluate", "map=maps", "--labels", "labels.tif", "--json"))
    assert found["pixels"] <= truth.size - 3000 + 3000 + 700


@pytest.mark.parametrize("tile_m", [250, 333])
def test_blocks_are_the_same_whatever_the_tiles(isamap, ground, wrong, tile_m):
    for row in range(0, 700, tile_m):
        for col in range(0, 900, tile_m):
            part = wrong[row : row + tile_m, col : col + tile_m]
            write(ground / "maps" / f"{row}-{col}.tif", part, left=LEFT + col, top=TOP - row)
    documents = [
        isamap("evaluate", f"map={path}", "--labels", "labels.tif", "--strata", "density", "--json").document
        for path in ("maps", "map.tif")
    ]
    for support in ("10 m", "30 m", "100 m"):
        shares = [document["products"]["map"]["shares"][support] for document in documents]
        assert shares[0] == pytest.approx(shares[1])
    assert (
        documents[0]["products"]["map"]["accuracy-strata"]
        == documents[1]["products"]["map"]["accuracy-strata"]
    )


def test_products_are_compared_on_the_same_pixels(isamap, ground, truth, wrong):
    half = wrong.copy()
    half[:, 450:] = 255
    write(ground / "half.tif", half)
    ended = isamap("evaluate", "map.tif", "--product", "half.tif", "--labels", "labels.tif", "--json")
    assert figures(ended, "map") == pytest.approx(figures(ended, "half"))
    coverage = {name: ended.document["products"][name]["coverage"] for name in ("map", "half")}
    assert coverage["map"]["share of all labels"] == pytest.approx((wrong != 255).mean())
    assert coverage["half"]["share of all labels"] is None
    both = ((half != 255) & (wrong != 255)).sum() / (wrong != 255).sum()
    assert coverage["half"]["share of those of the first"] == pytest.approx(both)


def test_a_product_elsewhere_is_no_silent_gap(isamap, ground, wrong):
    write(ground / "far.tif", wrong, left=LEFT + 50_000)
    ended = isamap("evaluate", "map.tif", "--product", "far.tif", "--labels", "labels.tif")
    assert ended.code == 65
    assert "far knows no pixel of the truth" in ended.err


def test_a_coarse_map_is_seen_on_the_finer_truth(isamap, ground, truth):
    share = truth.reshape(70, 10, 90, 10).mean(axis=(1, 3))
    write(ground / "wc.tif", np.where(share > 0.5, 50, 10).astype(np.uint8), gsd=10, nodata=0)
    ended = isamap("evaluate", "worldcover-v200=wc.tif", "--labels", "labels.tif", "--json")
    expected = Confusion.count((share > 0.5).repeat(10, 0).repeat(10, 1), truth)
    assert figures(ended, "worldcover-v200")["IoU"] == pytest.approx(expected.iou)
    found = ended.document["products"]["worldcover-v200"]["shares"]["10 m"]
    assert found["MAE"] == pytest.approx(np.abs((share > 0.5) - share).mean(), abs=1e-6)


@pytest.mark.parametrize("role", ["map", "truth"])
def test_shares_are_compared_as_shares(isamap, ground, truth, role):
    share = truth.reshape(70, 10, 90, 10).mean(axis=(1, 3))
    write(ground / "percent.tif", np.rint(100 * share).astype(np.uint8), gsd=10, nodata=255)
    codes = ",".join(f"{code}={code / 100}" for code in range(101))
    if role == "map":
        ended = isamap(
            *("evaluate", "p=percent.tif", "--classes", f"p:{codes}", "--reference", "labels.tif", "--json")
        )
        found = ended.document["products"]["p"]["shares"]
    else:
        ended = isamap("evaluate", "labels.tif", "--reference", "percent.tif", "--classes", codes, "--json")
        found = ended.document["products"]["labels"]["shares"]
    assert ended.code == 0, ended.err
    assert found["10 m"]["MAE"] == pytest.approx(0, abs=0.006)
    assert found["100 m"]["R2"] > 0.999


@pytest.mark.parametrize("measures", [(), ("--measures", "confusion")])
def test_share_and_bias_of_a_reference_of_shares_are_not_cut_at_a_half(isamap, ground, wrong, measures):
    """A class that counts by half, and one by a tenth: the matrix has them whole and not at all, the bias has neither."""
    codes = np.random.default_rng(9).integers(0, 4, wrong.shape).astype(np.uint8)
    write(ground / "codes.tif", codes)
    share = np.array([0, 1, 0.5, 0.1])[codes]
    known = wrong != 255
    west = shapely.box(LEFT, TOP - 700, LEFT + 300, TOP)
    geojson(ground / "units.geojson", [(west, {"name": "West"})])
    asked = "evaluate", "map.tif", "--reference", "codes.tif", "--classes", "1,2=0.5,3=0.1,0=0", *measures
    ended = isamap(*asked, "--units", "units.geojson", "--json", "-o", "r")
    assert ended.code == 0, ended.err
    found = figures(ended)
    assert found["ISA share, truth"] == pytest.approx(share[known].mean())
    assert found["bias"] == pytest.approx(wrong[known].mean() - share[known].mean())
    assert found["F1"] == pytest.approx(Confusion.count(wrong, (share >= 0.5).astype(np.uint8)).f1)
    unit = ended.document["products"]["map"]["accuracy-units"]["West"]
    assert unit["ISA share, truth"] == pytest.approx(share[:, :300][known[:, :300]].mean())
    if not measures:
        assert ended.document["products"]["map"]["shares"]["100 m"]["bias"] == pytest.approx(
            found["bias"], abs=1e-3
        )
    assert "pixels of at least half count as ISA" in (ground / "r" / "index.html").read_text()
    bias = abs(found["bias"])
    assert isamap(*asked, "--max-bias", bias + 1e-6).code == 0
    assert isamap(*asked, "--max-bias", bias - 1e-6).code == 5


@pytest.mark.parametrize("measures", [(), ("--measures", "confusion")])
def test_a_map_of_shares_has_its_own_share_too(isamap, ground, truth, measures):
    percent = np.random.default_rng(4).integers(0, 101, (70, 90)).astype(np.uint8)
    write(ground / "percent.tif", percent, gsd=10)
    codes = ",".join(f"{code}={code / 100}" for code in range(101))
    ended = isamap(
        *("evaluate", "p=percent.tif", "--classes", f"p:{codes}", "--reference", "labels.tif", "--json"),
        *measures,
    )
    assert ended.code == 0, ended.err
    assert figures(ended, "p")["ISA share, map"] == pytest.approx(percent.mean() / 100)
    assert figures(ended, "p")["bias"] == pytest.approx(percent.mean() / 100 - truth.mean())


def test_web_mercator_is_not_taken_for_metres(isamap, ground):
    with rasterio.open(ground / "labels.tif") as src:
        bounds = rasterio.warp.transform_bounds(UTM, "EPSG:3857", *src.bounds, densify_pts=21)
        values = np.full((900, 1150), 255, np.uint8)
        rasterio.warp.reproject(
            rasterio.band(src, 1),
            values,
            dst_transform=Affine(1, 0, bounds[0], 0, -1, bounds[3]),
            dst_crs="EPSG:3857",
            dst_nodata=255,
        )
    write(ground / "mercator.tif", values, left=bounds[0], top=bounds[3], crs="EPSG:3857")
    found = figures(isamap("evaluate", "mercator.tif", "--labels", "labels.tif", "--json"), "mercator")
    assert found["pixels"] == pytest.approx(630_000, rel=0.005)  # m2 on the ground, not 15 % more
    assert found["IoU"] > 0.85


@pytest.mark.parametrize("check", ["--min-f1", "--max-bias"])
def test_a_truth_of_one_class_passes_no_check(isamap, ground, truth, check):
    write(ground / "only.tif", np.where(truth == 1, 1, 255).astype(np.uint8))
    ended = isamap("evaluate", "map.tif", "--labels", "only.tif", check, 0.9)
    assert ended.code == 5
    assert "only recall is defined" in ended.err


def test_an_area_cuts_the_maps(isamap, ground, wrong):
    box = shapely.box(LEFT + 100, TOP - 200, LEFT + 300, TOP - 100)
    geojson(ground / "area.geojson", [(box, {})])
    directory = ground / "ws" / "maps" / "fast" / "2021"
    write(directory / "48N-0058-0322.tif", wrong, left=LEFT, top=TOP)
    (directory / "48N-0058-0322.json").write_text("{}")
    ended = isamap(
        *("evaluate", "--aoi", "area.geojson", "--year", 2021, "--workspace", "ws"),
        *("--labels", "labels.tif", "--json"),
    )
    assert ended.code == 0, ended.err
    assert figures(ended, "fast 2021")["pixels"] == pytest.approx(20_000, abs=300)


@pytest.mark.parametrize("measures", [("confusion",), ("confusion", "boundary", "fraction")])
def test_an_area_is_cut_along_with_the_tiles(ground, wrong, measures):
    """Each tile gets its piece of the outline; the pixels are those that the whole outline holds."""
    corners = [(-50, 20), (380, 0), (820, 300), (600, 690), (300, 350), (90, 500)]
    to_lonlat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    area = shapely.Polygon([to_lonlat.transform(LEFT + x, TOP - y) for x, y in corners])
    for row in (0, 1):
        for col in (0, 1, 2):
            part = wrong[350 * row : 350 * (row + 1), 300 * col : 300 * (col + 1)]
            write(ground / "map" / f"{row}{col}.tif", part, left=LEFT + 300 * col, top=TOP - 350 * row)
    truth = recipe.parse_truth(None, {}, "labels.tif")
    whole, tiles = (
        recipe.run(recipe.Comparison((parse_product(text),), truth, area=area, measures=measures))
        for text in ("map=map.tif", "map=map")
    )
    assert tiles.confusion == whole.confusion
    assert tiles.boundary == whole.boundary
    assert 0 < whole.confusion["map", "", ""].total < 0.6 * wrong.size
    far = shapely.box(100, 20, 100.1, 20.1)
    with pytest.raises(InputError, match="outside the area"):
        recipe.run(recipe.Comparison((parse_product("map=map"),), truth, area=far, measures=measures))


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("int16", -9999), ("uint16", 65535), ("float32", float("nan"))]
)
def test_any_declared_nodata_is_nodata(isamap, ground, wrong, dtype, nodata):
    values = wrong.astype(dtype)
    values[wrong == 255] = nodata
    write(ground / "other.tif", values, nodata=nodata)
    both = [
        isamap("evaluate", f"map={name}", "--labels", "labels.tif", "--json")
        for name in ("other.tif", "map.tif")
    ]
    assert figures(both[0]) == pytest.approx(figures(both[1]))


def test_codes_that_a_product_does_not_define_are_named(isamap, ground, truth):
    write(ground / "odd.tif", np.where(truth == 1, 50, 142).astype(np.uint8), nodata=None)
    ended = isamap("evaluate", "labels.tif", "--reference", "worldcover-v200=odd.tif")
    assert "worldcover-v200 does not define the codes 142" in ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--labels", "labels.tif", "--where", "a=b"), 2, "--where goes with --sample"),
        (("--labels", "both.geojson:isa", "--classes", "1"), 78, "--classes is about rasters"),
        (("--design", "--classes", "1", "-o", "out"), 2, "--classes needs the NAME"),
        (
            ("--design", "--classes", "mpa:1", "-o", "out"),
            2,
            "--classes mpa: no product has this name, but map",
        ),
        (("--reference", "p=labels.tif", "--classes", "q:1"), 2, "no product has this name, but map, p"),
        (("--labels", "labels.tif", "--classes", "labels:1"), 2, "no product has this name, but map"),
        (("--labels", "labels.tif", "--labels", "other.tif"), 2, "--labels is given twice"),
        (("--labels", "labels.tif", "--tiles", "a", "--region", "b"), 2, "one area at a time"),
        (("--labels", "labels.tif", "--min-f1", 5), 2, "--min-f1"),
        (("--labels", "both.geojson"), 65, "give both.geojson:isa"),
        (("--labels", "labels.tif", "--units", "out.geojson"), 65, "nothing of it lies"),
        (("--labels", "rgb.tif"), 65, "has 3 bands"),
        (("--labels", "labels.tif", "-o", "labels.tif/r"), 74, "cannot be made"),
    ],
)
def test_what_would_mislead_is_refused(isamap, ground, truth, arguments, code, said):
    inside, outside = (
        shapely.box(LEFT, TOP - 9, LEFT + 9, TOP),
        shapely.box(LEFT - 900, TOP - 9, LEFT - 800, TOP),
    )
    geojson(ground / "both.geojson", [(inside, {"isa": 1}), (outside, {"isa": 0})])
    geojson(ground / "out.geojson", [(outside, {"name": "Out"})])
    with rasterio.open(ground / "labels.tif") as src:
        profile = {**src.profile, "count": 3}
    with rasterio.open(ground / "rgb.tif", "w", **profile) as dst:
        dst.write(np.stack([truth] * 3))
    ended = isamap("evaluate", "map.tif", *arguments)
    assert ended.code == code, ended.err
    assert said in ended.err


def test_overlapping_units_are_refused_unless_somebody_means_it(isamap, ground):
    one, other = (shapely.box(LEFT + x, TOP - 500, LEFT + x + 300, TOP) for x in (0, 100))
    geojson(ground / "units.geojson", [(one, {"name": "One"}), (other, {"name": "Other"})])
    asked = ("evaluate", "map.tif", "--labels", "labels.tif", "--units", "units.geojson", "--json")
    ended = isamap(*asked)
    assert ended.code == 65
    assert "units One and Other overlap" in ended.err.splitlines()[-1]
    ended = isamap(*asked, "--allow-overlap")
    assert ended.code == 0, ended.err
    pixels = {
        name: row["pixels"] for name, row in ended.document["products"]["map"]["accuracy-units"].items()
    }
    assert pixels == {"One": 100 * 500 - 60 * 50, "Other": 300 * 500}


def layers(path, **by_name):
    """A GeoPackage of polygons given in UTM: shapes and values of the column `isa`, by layer."""
    for number, (name, features) in enumerate(by_name.items()):
        pyogrio.raw.write(
            path,
            geometry=shapely.to_wkb([shape for shape, _ in features]),
            field_data=[np.array([value for _, value in features])],
            fields=["isa"],
            geometry_type="Polygon",
            crs=UTM,
            driver="GPKG",
            layer=name,
            append=number > 0,
        )
    return path


def test_a_layer_of_several_is_chosen_by_its_name(isamap, ground, wrong):
    west, east = (shapely.box(LEFT + x, TOP - 700, LEFT + x + 300, TOP - 100) for x in (0, 400))
    layers(ground / "two.gpkg", west=[(west, 1)], east=[(east, 0)])
    ended = isamap("evaluate", "map.tif", "--labels", "two.gpkg:isa", "--json")
    assert ended.code == 65
    assert "has the layers west, east" in ended.err
    for layer, value, cols in (("west", 1, slice(0, 300)), ("east", 0, slice(400, 700))):
        ended = isamap("evaluate", "map.tif", "--labels", f"two.gpkg:{layer}:isa", "--json")
        matrix = Confusion.count(wrong[100:, cols], np.full((600, 300), value, np.uint8))
        assert figures(ended)["pixels"] == matrix.total
        assert figures(ended)["recall" if value else "overall"] == pytest.approx(
            matrix.recall if value else matrix.overall
        )
    ended = isamap("evaluate", "map.tif", "--labels", "two.gpkg:west:", "--json")
    assert figures(ended)["pixels"] == 300 * 600
    ended = isamap("evaluate", "map.tif", "--labels", "labels.tif", "--units", "two.gpkg:east:isa", "--json")
    assert list(ended.document["products"]["map"]["accuracy-units"]) == ["0"]


MATRICES = ("accuracy", "accuracy-units", "coverage")


@pytest.mark.parametrize(
    ("maps", "truth_is"),
    [
        (("map.tif",), ("--labels", "labels.tif")),
        (("map.tif", "--product", "half.tif"), ("--labels", "labels.tif")),
        (("map=tiles",), ("--labels", "labels.tif")),
        (("map=twice",), ("--labels", "labels.tif")),
        (("map.tif",), ("--labels", "polygons.geojson:isa")),
        (("map.tif",), ("--reference", "coarse.tif", "--classes", "50,0=nodata")),
        (("map.tif",), ("--reference", "beside.tif", "--classes", "50,0=nodata")),
        (("worldcover-v200=coarse.tif",), ("--labels", "labels.tif")),
        (("labels.tif",), ("--labels", "map.tif")),
    ],
)
def test_matrices_alone_are_those_of_a_whole_evaluation(isamap, ground, truth, wrong, maps, truth_is):
    write(ground / "half.tif", wrong[:, :450])
    for number, col in enumerate((0, 300, 600)):
        write(ground / "tiles" / f"{number}.tif", wrong[:, col : col + 300], left=LEFT + col)
    write(ground / "twice" / "a.tif", wrong[:, :633])
    write(ground / "twice" / "b.tif", wrong[:, 301:], left=LEFT + 301)
    codes = np.where(truth[::10, ::10] == 1, 50, 10).astype(np.uint8)
    write(ground / "coarse.tif", codes, gsd=10, nodata=0)
    write(ground / "beside.tif", codes[:60, :80], gsd=10, left=LEFT + 33, top=TOP - 47, nodata=0)
    boxes = [
        (shapely.box(LEFT + x, TOP - 600, LEFT + x + 200, TOP - 20), x // 300 % 2) for x in (0, 300, 600)
    ]
    geojson(ground / "polygons.geojson", [(shape, {"isa": value}) for shape, value in boxes])
    halves = [(shapely.box(LEFT + x, TOP - 690, LEFT + x + 440, TOP), {"name": str(x)}) for x in (0, 440)]
    geojson(ground / "units.geojson", halves)
    area = "--units", "units.geojson", "--json"
    whole = isamap("evaluate", *maps, *truth_is, *area)
    assert whole.code == 0, whole.err
    alone = isamap("evaluate", *maps, *truth_is, *area, "--measures", "confusion")
    assert alone.code == 0, alone.err
    for name, found in whole.document["products"].items():
        assert set(alone.document["products"][name]) == set(MATRICES)
        for table in MATRICES[:2]:
            assert alone.document["products"][name][table] == found[table]


def test_measures_are_those_that_were_asked_for(isamap, ground):
    asked = ("evaluate", "map.tif", "--labels", "labels.tif", "--json", "--measures")
    whole = isamap(*asked[:-1]).document["products"]["map"]
    for text, tables in (
        ("fraction", {"shares"}),
        ("boundary,pictures", {"boundary"}),
        ("calibration", set()),
    ):
        found = isamap(*asked, text).document["products"]["map"]
        assert set(found) == {"accuracy", "coverage", *tables}
        assert all(found[table] == whole[table] for table in found)
    ended = isamap(*asked, "confusion,speed")
    assert ended.code in (2, 64)
    assert "'speed' is none of confusion, fraction, boundary, calibration, pictures" in ended.err


def test_calibration_says_of_how_many_pixels_it_is(isamap, ground, wrong, truth):
    (ground / "tiles").mkdir()
    for name, cols in (("w", slice(0, 300)), ("e", slice(300, 900))):
        write(ground / "tiles" / f"{name}-isa.tif", wrong[:, cols], left=LEFT + cols.start)
    percent = np.where(wrong == 255, 255, np.where(wrong == 1, 80, 30)).astype(np.uint8)
    write(ground / "tiles" / "w-isa.prob.tif", percent[:, :300])
    asked = ("evaluate", "tiles", "--labels", "labels.tif", "--measures", "confusion,calibration", "--json")
    ended = isamap(*asked)
    assert ended.code == 0, ended.err
    found = ended.document["products"]["tiles"]
    west = 700 * 300 - 50 * 60
    assert (found["calibration"]["pixels"], found["accuracy"]["pixels"]) == (west, 700 * 900 - 50 * 60)
    said = f"The calibration of tiles is that of {west} of the {700 * 900 - 50 * 60} compared pixels"
    assert sum(said in warning for warning in ended.document["warnings"]) == 1
    write(ground / "tiles" / "e-isa.prob.tif", percent[:, 300:], left=LEFT + 300)
    assert not any("calibration" in warning for warning in isamap(*asked).document["warnings"])


def test_density_strata_are_told_with_matrices_alone(isamap, ground):
    asked = ("evaluate", "map.tif", "--labels", "labels.tif", "--strata", "density", "--json")
    found = [isamap(*asked, *more).document["products"]["map"] for more in ((), ("--measures", "confusion"))]
    assert found[0]["accuracy-strata"] == found[1]["accuracy-strata"]


def test_matrices_alone_refuse_values_that_are_no_classes(isamap, ground, truth):
    write(ground / "codes.tif", np.where(truth == 1, 50, 10).astype(np.uint8))
    ended = isamap("evaluate", "codes.tif", "--labels", "labels.tif", "--measures", "confusion")
    assert ended.code == 65
    assert "codes has the values 10, 50" in ended.err


def test_a_second_report_leaves_nothing_of_the_first(isamap, ground):
    geojson(ground / "units.geojson", [(shapely.box(LEFT, TOP - 500, LEFT + 300, TOP), {"name": "One"})])
    isamap("evaluate", "map.tif", "--labels", "labels.tif", "--units", "units.geojson", "-o", "r")
    assert (ground / "r" / "units.parquet").exists()
    isamap("evaluate", "map.tif", "--labels", "labels.tif", "-o", "r")
    assert not (ground / "r" / "units.parquet").exists()
    assert not (ground / "r" / "accuracy-units.csv").exists()


def test_polygons_without_a_label_are_counted_and_said(isamap, ground, wrong):
    boxes = [shapely.box(LEFT + 100 * n, TOP - 600, LEFT + 100 * n + 100, TOP - 100) for n in range(3)]
    values = (1, float("nan"), 0)
    geojson(ground / "l.geojson", [(box, {"isa": v}) for box, v in zip(boxes, values, strict=True)])
    ended = isamap("evaluate", "map.tif", "--labels", "l.geojson:isa", "--json")
    assert ended.code == 0, ended.err
    assert figures(ended)["pixels"] == 2 * 100 * 500
    assert "1 polygons have no label in column isa: nothing is known there." in ended.document["warnings"]
    assert "1 polygons have no label" in ended.err


def test_codes_that_occur_nowhere_are_said_to_show_nothing(isamap, ground, truth):
    write(ground / "codes.tif", np.where(truth == 1, 50, 10).astype(np.uint8))
    ended = isamap(
        *("evaluate", "p=codes.tif", "--classes", "p:77"),
        *("--reference", "labels.tif", "--classes", "1", "--json"),
    )
    assert ended.code == 0, ended.err
    assert figures(ended, "p")["F1"] == 0
    assert "p shows no impervious pixel on the compared ground" in ended.err
    ended = isamap("evaluate", "map.tif", "--reference", "codes.tif", "--classes", "77", "--json")
    assert "The truth has no impervious pixel" in ended.err


def test_labels_beside_the_maps_pixels_are_said_to_be(isamap, ground, truth):
    write(ground / "off.tif", truth, left=LEFT + 0.3)
    said = [
        isamap("evaluate", "map.tif", "--labels", name, "--measures", "confusion", "-v").err
        for name in ("off.tif", "labels.tif")
    ]
    assert "off.tif lies 0.30 and 0.00 of a pixel beside the map's pixels" in said[0]
    assert "beside the map" not in said[1]


def test_units_without_ground_are_listed_without_figures(isamap, ground):
    west = shapely.box(LEFT, TOP - 700, LEFT + 300, TOP)
    away = shapely.box(LEFT + 5000, TOP - 700, LEFT + 5300, TOP)
    geojson(ground / "units.geojson", [(west, {"name": "West"}), (away, {"name": "Away"})])
    asked = "evaluate", "map.tif", "--labels", "labels.tif", "--units", "units.geojson", "--json", "-o", "r"
    for measures in ((), ("--measures", "confusion")):
        ended = isamap(*asked, *measures)
        assert ended.code == 0, ended.err
        units = ended.document["products"]["map"]["accuracy-units"]
        assert units["West"]["pixels"] == 700 * 300 - 3000
        assert units["Away"]["pixels"] == 0
        assert all(figure is None for title, figure in units["Away"].items() if title != "pixels")


@pytest.mark.parametrize("url", ["https://127.0.0.1/a.tif", "s3://bucket/a.tif"])
@pytest.mark.parametrize("place", ["map", "named", "labels"])
def test_addresses_are_refused_in_one_line(isamap, ground, url, place):
    maps = {"map": url, "named": f"a={url}"}.get(place, "map.tif")
    ended = isamap("evaluate", maps, "--labels", url if place == "labels" else "labels.tif")
    assert ended.code == 66
    assert "is an address: remote files are not read" in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("measures", [(), ("--measures", "confusion")])
def test_the_share_of_the_labels_that_is_mapped_does_not_hang_on_the_measures(
    isamap, ground, truth, measures
):
    """Labels with a gap, most of which lie beside the map."""
    labels = np.tile(truth, (3, 2))
    labels[:10] = 255
    write(ground / "wide.tif", labels)
    write(ground / "small.tif", truth[:400, :500], left=LEFT + 100, top=TOP - 100)
    ended = isamap("evaluate", "small.tif", "--labels", "wide.tif", "--json", *measures)
    assert ended.code == 0, ended.err
    share = ended.document["products"]["small"]["coverage"]["share of all labels"]
    assert share == pytest.approx(200_000 / (labels != 255).sum())
    assert "95% of the labels lie where small maps nothing" in ended.err
    ended = isamap("evaluate", "map.tif", "--reference", "wide.tif", "--classes", "1", "--json", *measures)
    assert ended.document["products"]["map"]["coverage"]["share of all labels"] is None
    assert "of the labels lie" not in ended.err


def test_label_polygons_beside_the_map_are_said(isamap, ground):
    boxes = [shapely.box(LEFT + left, TOP - 200, LEFT + left + 100, TOP - 100) for left in (100, 300, 5000)]
    geojson(ground / "l.geojson", [(box, {"isa": n % 2}) for n, box in enumerate(boxes)])
    ended = isamap("evaluate", "map.tif", "--labels", "l.geojson:isa", "--json")
    assert ended.code == 0, ended.err
    assert "1 of 3 label polygons lie beside map: they were not compared." in ended.err


def test_large_label_rasters_are_sampled_by_blocks(tmp_path, monkeypatch):
    from isamap.io import label_area

    known = np.random.default_rng(3).random((16, 16)) < 0.4
    values = np.where(known.repeat(256, 0).repeat(256, 1), 1, 255).astype(np.uint8)
    labels = parse_product(str(write(tmp_path / "l.tif", values)))
    assert label_area.known_m2(labels) == known.sum() * 256**2
    monkeypatch.setattr(label_area, "BLOCKS", 64)
    area = label_area.known_m2(labels)
    assert area != known.sum() * 256**2
    assert area == pytest.approx(known.mean() * values.size, rel=0.2)


def test_a_band_that_is_marked_as_alpha_masks_the_labels(isamap, ground, truth, wrong):
    alpha = np.full(truth.shape, 255, np.uint8)
    alpha[:, 400:] = 0
    with rasterio.open(ground / "labels.tif") as src:
        profile = src.profile | {"count": 2, "nodata": None}
    with rasterio.open(ground / "alpha.tif", "w", **profile, alpha="yes") as dst:
        dst.write(np.stack([truth, alpha]))
    ended = isamap("evaluate", "map.tif", "--labels", "alpha.tif", "--json", "--measures", "confusion")
    assert ended.code == 0, ended.err
    assert figures(ended)["pixels"] == 700 * 400 - 3000
    assert figures(ended)["F1"] == pytest.approx(Confusion.count(wrong[:, :400], truth[:, :400]).f1)


def test_labels_that_lie_on_the_map_are_read_once(isamap, ground, truth, monkeypatch):
    from isamap.core import evaluate

    def refuse(labels):
        raise AssertionError("read again")

    monkeypatch.setattr(evaluate, "known_m2", refuse)
    labels = truth.copy()
    labels[:70] = 255
    write(ground / "gap.tif", labels)
    ended = isamap("evaluate", "map.tif", "--labels", "gap.tif", "--json", "--measures", "confusion")
    assert ended.code == 0, ended.err
    assert ended.document["products"]["map"]["coverage"]["share of all labels"] == 1


def test_labels_and_maps_of_other_codes_are_read_by_them(isamap, ground, truth):
    write(ground / "codes.tif", np.where(truth == 1, 7, 9).astype(np.uint8), nodata=None)
    write(ground / "land.tif", np.where(truth == 1, 12, 8).astype(np.uint8), nodata=None)
    ended = isamap("evaluate", "fbp24=land.tif", "--labels", "codes.tif", "--classes", "7", "--json")
    assert ended.code == 0, ended.err
    assert ended.document["products"]["fbp24"]["accuracy"]["IoU"] == 1


def test_maps_of_two_dates_of_one_place_are_warned_of(isamap, ground):
    both = ground / "both"
    both.mkdir()
    for date in ("2017-04-14", "2018-04-02"):
        shutil.copy(ground / "map.tif", both / f"{date}.tif")
        (both / f"{date}.json").write_text(
            json.dumps({"properties": {"start_datetime": f"{date}T00:00:00Z"}})
        )
    said = "2017-04-14.tif (2017-04-14) and 2018-04-02.tif (2018-04-02) show the same ground"
    assert said in isamap("evaluate", both, "--labels", "labels.tif").err
    (both / "2018-04-02.json").write_text((both / "2017-04-14.json").read_text())
    assert "the same ground" not in isamap("evaluate", both, "--labels", "labels.tif").err
