"""`isamap evaluate` where rasters, points and areas lie oddly: each piece of ground counts once, and only where it is asked for."""

import csv
import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from test_evaluate import LEFT, TOP, UTM, figures, write

from isamap.domain.lonlat import LONLAT
from isamap.domain.reference_sample import alike
from isamap.io import classmap, products
from isamap.io.products import parse_product, table_codes

NORTH = 7_725_000
"""Of UTM, at 69.6 degrees."""


def noise(seed, shape=(600, 600)):
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.uint8)


def box_of(left, bottom, right, top):
    return f"{left},{bottom},{right},{top}"


def write_sample(path, x, y, observed, **columns):
    """A reference sample in UTM, as CSV."""
    rows = zip(x, y, observed, *columns.values(), strict=True)
    path.write_text(
        "\n".join(
            [
                ",".join(["x", "y", "crs", "observed", *columns]),
                *(f"{a},{b},{UTM},{','.join(map(str, rest))}" for a, b, *rest in rows),
            ]
        )
    )
    return path


# Ground that several rasters lie near


@pytest.mark.parametrize("measures", ["confusion", "confusion,fraction", "confusion,boundary,fraction"])
def test_rasters_of_two_lattices_that_meet_count_once(isamap, tmp_path, measures):
    one, other, labels = noise(1), noise(2), noise(3, (600, 1200))
    write(tmp_path / "here" / "maps" / "a.tif", one)
    write(tmp_path / "here" / "maps" / "b.tif", other, left=LEFT + 600.5)
    write(tmp_path / "here" / "labels.tif", labels, left=LEFT + 0.0)
    ended = isamap("evaluate", "maps", "--labels", "labels.tif", "--measures", measures, "--json")
    found = figures(ended, "maps")
    assert found["pixels"] == pytest.approx(600 * 1200, rel=0.002)
    assert found["ISA share, map"] == pytest.approx((one.mean() + other.mean()) / 2, abs=0.002)
    assert ended.document["products"]["maps"]["coverage"]["share of all labels"] == pytest.approx(
        1, abs=0.002
    )


@pytest.mark.parametrize("measures", ["confusion", "confusion,fraction"])
def test_maps_of_two_zones_that_meet_count_once(isamap, tmp_path, measures):
    to = {z: Transformer.from_crs(LONLAT, f"EPSG:326{z}", always_xy=True) for z in (48, 49)}
    x48, y48 = (round(axis) for axis in to[48].transform(108.0, 30.0))
    x49, y49 = (round(axis) for axis in to[49].transform(108.0, 30.0))
    here = tmp_path / "here"
    write(here / "maps" / "a.tif", np.ones((800, 800), np.uint8), left=x48 - 780, top=y48 + 400)
    write(
        *(here / "maps" / "b.tif", np.zeros((800, 800), np.uint8)),
        left=x49 - 20,
        top=y49 + 400,
        crs="EPSG:32649",
    )
    write(here / "labels.tif", noise(3, (300, 1000)), left=x48 - 500, top=y48 + 150)
    ended = isamap("evaluate", "maps", "--labels", "labels.tif", "--measures", measures, "--json")
    found = figures(ended, "maps")
    assert found["pixels"] == pytest.approx(300_000, rel=0.005)
    assert found["ISA share, map"] == pytest.approx(0.52, abs=0.01)


@pytest.mark.parametrize("measures", ["confusion", "confusion,fraction"])
def test_the_first_raster_lies_on_top_whatever_is_measured(isamap, tmp_path, measures):
    here = tmp_path / "here"
    write(here / "maps" / "a.tif", noise(1), left=LEFT + 2000)
    write(here / "maps" / "b.tif", np.ones((600, 600), np.uint8), left=LEFT + 0.5)
    write(here / "maps" / "c.tif", np.zeros((600, 600), np.uint8))
    write(here / "labels.tif", noise(2), left=LEFT)
    ended = isamap("evaluate", "maps", "--labels", "labels.tif", "--measures", measures, "--json")
    assert figures(ended, "maps")["ISA share, map"] == 0, "a and c lie on one lattice, the first"


@pytest.mark.parametrize("measures", ["confusion", "confusion,fraction"])
def test_coverage_of_a_second_product_is_of_what_the_maps_show(isamap, tmp_path, measures):
    here = tmp_path / "here"
    write(here / "maps" / "a.tif", np.where(noise(1), 255, 1).astype(np.uint8))
    write(here / "maps" / "b.tif", noise(2), left=LEFT + 0.5)
    write(here / "second.tif", np.where(noise(3), 255, 1).astype(np.uint8))
    write(here / "labels.tif", noise(4))
    ended = isamap(
        "evaluate", "maps", "second.tif", "--labels", "labels.tif", "--measures", measures, "--json"
    )
    coverage = {name: one["coverage"] for name, one in ended.document["products"].items()}
    assert coverage["maps"]["share of all labels"] == pytest.approx(1, abs=0.002)
    assert coverage["second"]["share of all labels"] is None
    assert coverage["second"]["share of those of the first"] == pytest.approx(0.6, abs=0.01)


def test_fine_labels_below_coarse_ones_do_not_end_the_comparison(isamap, tmp_path, monkeypatch):
    monkeypatch.setattr(classmap, "MAX_SOURCE_BYTES", 100 << 20)
    here = tmp_path / "here"
    write(here / "map.tif", noise(1))
    write(here / "labels" / "a.tif", noise(2, (4000, 8000)), gsd=0.25)
    write(here / "labels" / "b.tif", noise(3, (300, 300)), gsd=10.0)
    ended = isamap("evaluate", "map.tif", "--labels", "labels")
    assert ended.code == 0, ended.err


def test_small_tiles_far_north_are_all_seen(isamap, tmp_path):
    whole, labels = noise(4, (1500, 1500)), noise(5, (1500, 1500))
    here = tmp_path / "here"
    for row in range(0, 1500, 250):
        for col in range(0, 1500, 250):
            part = whole[row : row + 250, col : col + 250]
            write(here / "maps" / f"{row}-{col}.tif", part, left=LEFT + col, top=NORTH - row)
    write(here / "labels.tif", labels, top=NORTH)
    ended = isamap("evaluate", "maps", "--labels", "labels.tif", "--json")
    assert figures(ended, "maps")["pixels"] == 1500 * 1500
    assert figures(ended, "maps")["ISA share, map"] == pytest.approx(whole.mean())


def test_labels_under_two_rasters_are_one_ground(isamap, tmp_path):
    here = tmp_path / "here"
    write(here / "map.tif", noise(1))
    for name in ("a", "b", "c"):
        write(here / "labels" / f"{name}.tif", noise(2, (600, 1000)))
    ended = isamap("evaluate", "map.tif", "--labels", "labels", "--json")
    share = ended.document["products"]["map"]["coverage"]["share of all labels"]
    assert share == pytest.approx(0.6, abs=0.001)
    assert "40% of the labels lie where map maps nothing" in ended.err


def test_a_folder_is_read_whatever_the_letters_of_its_suffixes(isamap, tmp_path):
    here = tmp_path / "here"
    write(here / "maps" / "a.tif", noise(1))
    write(here / "maps" / "b.TIF", noise(2), left=LEFT + 600)
    write(here / "labels.tif", noise(3, (600, 1200)))
    ended = isamap("evaluate", "maps", "--labels", "labels.tif", "--json")
    assert figures(ended, "maps")["pixels"] == 600 * 1200


def test_a_local_crs_is_refused_in_one_line(isamap, tmp_path):
    here = tmp_path / "here"
    write(here / "map.tif", noise(1))
    local = 'LOCAL_CS["site",UNIT["metre",1]]'
    write(here / "labels.tif", noise(2), crs=local)
    ended = isamap("evaluate", "map.tif", "--labels", "labels.tif")
    assert ended.code == 65
    assert "says nothing of the Earth" in ended.err.splitlines()[-1]


# Values


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "float32"])
@pytest.mark.parametrize("name", ["dynamic-world", "gaia", "ghsl-10m"])
def test_a_negative_value_is_unknown_in_every_type(tmp_path, kind, name):
    path = write(tmp_path / "p.tif", noise(1))
    row = parse_product(f"{name}={path}").reference()
    assert table_codes(row, np.array([[-1, -128]], kind)).tolist() == [[255, 255]]
    assert np.isnan(row.share(np.array([[-1, -128]], kind))).all()


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "float32"])
def test_codes_that_are_not_defined_are_said_in_every_type(isamap, tmp_path, kind):
    here = tmp_path / "here"
    write(here / "map.tif", noise(1))
    values = np.where(noise(2), 50, np.where(noise(3), 10, 51))
    write(here / "wc.tif", values.astype(kind), nodata=None)
    products._warn_of_codes.cache_clear()
    ended = isamap("evaluate", "map.tif", "--reference", "worldcover-v200=wc.tif")
    assert "worldcover-v200 does not define the codes 51" in ended.err


@pytest.mark.parametrize("kind", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("nodata", [255, None])
def test_alpha_masks_in_every_type_whether_or_not_there_is_a_nodata_value(isamap, tmp_path, nodata, kind):
    here = tmp_path / "here"
    write(here / "map.tif", noise(1))
    alpha = np.full((600, 600), 255, np.uint8)
    alpha[:100] = 0
    profile = {"driver": "GTiff", "height": 600, "width": 600, "count": 2, "dtype": kind, "crs": UTM}
    place = Affine(1, 0, LEFT, 0, -1, TOP)
    with rasterio.open(
        here / "labels.tif",
        "w",
        transform=place,
        nodata=nodata,
        photometric="minisblack",
        alpha="yes",
        **profile,
    ) as dst:
        dst.write(np.stack([noise(2), alpha]))
    ended = isamap("evaluate", "map.tif", "--labels", "labels.tif", "--json")
    assert figures(ended)["pixels"] == 500 * 600


# Samples


@pytest.fixture
def halves(tmp_path):
    """map.tif: ISA in the west, none in the east."""
    values = np.zeros((600, 600), np.uint8)
    values[:, :300] = 1
    write(tmp_path / "here" / "map.tif", values)
    write(tmp_path / "here" / "maps" / "48N-0058-0322.tif", values)
    return tmp_path / "here"


EAST = ("--bbox", box_of(LEFT + 300, TOP - 600, LEFT + 600, TOP), "--bbox-crs", UTM)


@pytest.fixture
def workspace(halves, tmp_path, isamap):
    """The same map in a workspace, under its tile's name."""
    folder = halves / "ws" / "maps" / "fast" / "2021"
    folder.mkdir(parents=True)
    (halves / "maps" / "48N-0058-0322.tif").rename(folder / "48N-0058-0322.tif")
    (folder / "48N-0058-0322.json").write_text("{}")
    return ("--year", 2021, "--workspace", "ws")


def drawn():
    """Position in UTM and stratum of every point of a design."""
    meta, _, shapes, fields = pyogrio.raw.read("drawn/sample.gpkg", columns=["stratum"])
    to_utm = Transformer.from_crs(meta["crs"], UTM, always_xy=True)
    for shape, stratum in zip(shapely.from_wkb(shapes), fields[0], strict=True):
        yield *to_utm.transform(shape.x, shape.y), stratum


def test_a_design_of_an_area_draws_inside_it(isamap, halves, workspace):
    ended = isamap("evaluate", *EAST, *workspace, "--design", "--size", 60, "-o", "drawn")
    assert ended.code == 0, ended.err
    x = np.array([x for x, _, _ in drawn()])
    assert len(x) == 60
    assert x.min() > LEFT + 300
    rows = csv.DictReader((halves / "drawn" / "strata.csv").read_text().splitlines())
    assert sum(int(row["n_pixels"]) for row in rows) == pytest.approx(180_000, rel=0.01)


def test_points_outside_an_area_do_not_count(isamap, halves, workspace):
    x = LEFT + np.linspace(5, 595, 60)
    write_sample(halves / "points.csv", x, np.full(60, TOP - 300.0), (x < LEFT + 300).astype(int))
    ended = isamap("evaluate", *EAST, *workspace, "--sample", "points.csv", "--json")
    assert "30 of 60 points lie outside the area and do not count" in ended.err
    (found,) = ended.document["sample"].values()
    assert found["used"] == 30
    assert found["area"]["1"]["value"] == 0
    assert found["area"]["0"]["value"] == pytest.approx(0.18, rel=0.01)


def test_strata_of_more_ground_than_the_area_are_refused(isamap, halves, workspace):
    x = LEFT + np.linspace(5, 595, 60)
    sample = write_sample(
        halves / "points.csv", x, np.full(60, TOP - 300.0), np.zeros(60, int), stratum=["all"] * 60
    )
    (halves / "strata.csv").write_text("stratum,n_pixels\nall,360000\n")
    strata = ("--sample", sample, "--stratum", "stratum", "--strata-sizes", "strata.csv", "--json")
    ended = isamap("evaluate", *EAST, *workspace, *strata)
    assert ended.code == 65
    assert "tell it as a unit" in ended.err
    for fits in ("n_pixels\nall,180000", "area_km2\nall,0.18", "n_pixels\nall,90000", "size\nall,1"):
        (halves / "strata.csv").write_text(f"stratum,{fits}\n")
        assert isamap("evaluate", *EAST, *workspace, *strata).code == 0, "not larger, or nobody knows"


def test_an_area_without_a_pixel_is_told(isamap, halves, workspace):
    x, y = LEFT + 300.2, TOP - 300.2
    tiny = ("--bbox", box_of(x - 0.1, y - 0.1, x + 0.1, y + 0.1), "--bbox-crs", UTM)
    write_sample(halves / "points.csv", [x], [y], [1])
    ended = isamap("evaluate", *tiny, *workspace, "--sample", "points.csv")
    assert (ended.code, ended.err.splitlines()[-1]) == (65, "isamap: fast 2021 maps nothing of the area")


def test_points_of_a_rotated_map_lie_where_their_stratum_is(isamap, tmp_path):
    here, values = tmp_path / "here", np.kron(noise(1, (12, 12)), np.ones((50, 50), np.uint8))
    turned = Affine(1, 0, LEFT, 0, -1, TOP) * Affine.rotation(25)
    write(here / "map.tif", values)
    with rasterio.open(here / "map.tif", "r+") as dst:
        dst.transform = turned
    assert isamap("evaluate", "map.tif", "--design", "--size", 120, "-o", "drawn").code == 0
    for x, y, stratum in drawn():
        col, row = ~turned * (x, y)
        assert values[int(row), int(col)] == stratum.startswith("ISA")


@pytest.mark.parametrize(
    ("cell", "value", "same"),
    [
        (True, "true", True),
        (np.True_, "1", True),
        (False, "true", False),
        (True, "", False),
        ("Low", "low", True),
        (1.5, "1.50", True),
        ("1.50", "1.5", True),
        (None, "", True),
        (None, "0", False),
        ("TRUE", "1", True),
        (1, "true", True),
        ("FALSE", "1", False),
        ("", "true", False),
        (9007199254740993, "9007199254740992", False),
        ("007", "7", False),
        ("1_0", "10", False),
        ("nan", "0", False),
        ("a", "b", False),
    ],
)
def test_a_cell_is_compared_as_people_write_it(cell, value, same):
    assert alike(cell, value) is same


def test_a_condition_that_no_point_meets_is_said(isamap, halves):
    x = LEFT + np.linspace(5, 595, 60)
    ys, seen = np.full(60, TOP - 300.0), (x < LEFT + 300).astype(int)
    write_sample(halves / "points.csv", x, ys, seen, sure=["high"] * 60)
    ended = isamap("evaluate", "map.tif", "--sample", "points.csv", "--where", "sure!=lwo", "--json")
    assert "--where sure!=lwo: no point has 'lwo' in the column 'sure'" in ended.err


def test_a_condition_that_lets_nobody_pass_is_named(isamap, halves):
    write_sample(halves / "points.csv", [LEFT + 5.0], [TOP - 300.0], [1], sure=["high"])
    ended = isamap("evaluate", "map.tif", "--sample", "points.csv", "--where", "sure=low")
    assert (ended.code, ended.err.splitlines()[-1]) == (
        *(65, "isamap: points.csv: no point passes --where sure=low"),
    )


@pytest.mark.parametrize(("asked", "said"), [(15, 20), (25, 30), (20, None)])
def test_squares_that_are_not_as_wide_as_asked_are_said(isamap, tmp_path, asked, said):
    here = tmp_path / "here"
    write(here / "map.tif", noise(1, (60, 60)), gsd=10.0)
    x = LEFT + np.linspace(105, 495, 40)
    write_sample(here / "points.csv", x, np.full(40, TOP - 300.0), np.arange(40) % 2)
    ended = isamap("evaluate", "map.tif", "--sample", "points.csv", "--support", asked, "--json")
    assert json.loads(ended.out)
    told = f"map: squares of {asked} m are {said} m wide, of whole pixels of 10 m"
    assert (told in ended.err) is (said is not None)
