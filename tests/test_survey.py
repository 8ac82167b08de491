"""`isamap evaluate --sample` and `--design`: samples of known truth, drawn, labelled and estimated from."""

import csv
import json

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image
from pyproj import Transformer
from rasterio.warp import calculate_default_transform, reproject
from test_evaluate import LEFT, TOP, UTM, write

from isamap.core import survey
from isamap.domain.estimation import Stratum, estimate
from isamap.domain.grid import Tile
from isamap.domain.ground_area import pixel_area_m2
from isamap.errors import InputError
from isamap.io.classmap import ClassMap
from isamap.io.products import parse_product

PIXEL_KM2 = pixel_area_m2(GeoBox((600, 600), Affine(1, 0, LEFT, 0, -1, TOP), UTM)) / 1e6
"""Of 1 m: UTM stretches ground here by 0.06 %."""
GROUND_KM2 = 360_000 * PIXEL_KM2
"""Of `map.tif`."""


@pytest.fixture(scope="module")
def city():
    """A truth and a map that says too much: 600 x 600 px."""
    rng = np.random.default_rng(8)
    truth = (rng.random((60, 60)) < 0.3).astype(np.uint8).repeat(10, 0).repeat(10, 1)
    mapped = np.where(rng.random(truth.shape) < 0.15, 1, truth).astype(np.uint8)
    return truth, mapped


@pytest.fixture
def ground(isamap, tmp_path, city):
    """The current folder, with map.tif."""
    here = tmp_path / "here"
    write(here / "map.tif", city[1])
    return here


def points(path, rows, cols, **columns):
    """A CSV of pixel centres with columns."""
    lon, lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(
        LEFT + cols + 0.5, TOP - rows - 0.5
    )
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("lon", "lat", *columns))
        writer.writerows(zip(lon, lat, *columns.values(), strict=True))
    return path


def drawn(city, count=400, seed=1):
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(0, 600, (2, count))
    return rows, cols, city[1][rows, cols], city[0][rows, cols]


def test_a_simple_random_sample_gives_the_estimates(isamap, ground, city):
    rows, cols, mapped, observed = drawn(city)
    points(ground / "s.csv", rows, cols, observed=observed)
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv", "--json")
    assert ended.code == 0, ended.err
    wanted = estimate(
        [Stratum("all", GROUND_KM2)], np.zeros(400, int), mapped.astype(int), observed.astype(int)
    )
    found = ended.document["sample"]["map"]
    assert found["F1"]["value"] == pytest.approx(wanted.f1.value)
    assert found["area"]["1"]["value"] == pytest.approx(wanted.area[1].value)
    assert found["area"]["1"]["low"] < GROUND_KM2 * city[0].mean() < found["area"]["1"]["high"]


def test_strata_weigh_their_points(isamap, ground, city):
    rows, cols, mapped, observed = drawn(city)
    stratum = np.where(mapped == 1, "built", "rest")
    points(ground / "s.csv", rows, cols, observed=observed, stratum=stratum)
    sizes = {"built": int((city[1] == 1).sum()), "rest": int((city[1] == 0).sum())}
    text = "stratum,n_pixels\n" + "".join(f"{name},{size}\n" for name, size in sizes.items())
    (ground / "strata.csv").write_text(text)
    ended = isamap(
        "evaluate",
        "map.tif",
        "--sample",
        "s.csv",
        "--stratum",
        "stratum",
        "--strata-sizes",
        "strata.csv",
        "--json",
    )
    assert ended.code == 0, ended.err
    strata = [Stratum(name, size) for name, size in sizes.items()]
    wanted = estimate(strata, (mapped == 0).astype(int), mapped.astype(int), observed.astype(int))
    found = ended.document["sample"]["map"]
    assert found["unit"] == "pixels"
    assert found["area"]["1"]["se"] == pytest.approx(wanted.area[1].se)
    assert found["mapped_area"]["1"] == pytest.approx(sizes["built"])


def test_several_products_are_judged_on_the_same_points(isamap, ground, city):
    rows, cols, _, observed = drawn(city)
    points(ground / "s.csv", rows, cols, observed=observed)
    write(ground / "truth.tif", city[0])
    ended = isamap("evaluate", "map.tif", "--product", "truth.tif", "--sample", "s.csv", "--json")
    assert ended.document["sample"]["truth"]["F1"]["value"] == 1
    assert ended.document["sample"]["map"]["F1"]["value"] < 1


def test_a_wider_support_takes_the_majority(isamap, ground, city):
    centres = np.arange(5, 600, 10)
    rows, cols = (axis.ravel() for axis in np.meshgrid(centres, centres, indexing="ij"))
    share = city[1].reshape(60, 10, 60, 10).mean(axis=(1, 3)).ravel()
    points(ground / "s.csv", rows - 0.5, cols - 0.5, observed=(share > 0.5).astype(int))
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv", "--support", 10, "--json")
    assert ended.document["sample"]["map"]["overall"]["value"] == 1


def test_points_that_nobody_has_looked_at_or_that_are_unsure_do_not_count(isamap, ground, city):
    rows, cols, _, observed = drawn(city, 50)
    looked = ["" if index < 10 else str(value) for index, value in enumerate(observed)]
    sure = ["low" if index >= 40 else "high" for index in range(50)]
    points(ground / "s.csv", rows, cols, observed=looked, confidence=sure)
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv", "--where", "confidence!=low", "-o", "r")
    assert ended.code == 0, ended.err
    with (ground / "r" / "matrix.csv").open() as file:
        counted = sum(
            int(float(row[key])) for row in csv.DictReader(file) for key in row if key.startswith("observed")
        )
    assert counted == 30


def test_points_off_the_map_are_left_out_and_counted(isamap, ground, city):
    rows, cols, _, observed = drawn(city, 50)
    rows = rows.copy()
    rows[:5] = -100
    points(ground / "s.csv", rows, cols, observed=observed)
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv", "--json")
    assert ended.document["sample"]["map"]["left_out"] == 5
    assert "5 of 50 points lie where it maps nothing" in ended.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--observed", "class"), "no column 'class': it has lon, lat, observed"),
        (("--observed", "stratum"), "is 'a', not 0 or 1"),
        (("--stratum", "stratum"), "give --strata-sizes"),
        (("--stratum", "stratum", "--strata-sizes", "strata.csv"), "no size for the stratum 'a'"),
        (("--stratum", "stratum", "--strata-sizes", "empty.csv"), "stratum b has 0 sample units"),
        (("--where", "confidence"), "is no condition"),
        (("--where", "observed=7"), "no point passes --where observed=7"),
        ((), "has a column 'stratum': give --stratum stratum"),
        (("--stratum", "stratum", "--strata-sizes", "twice.csv"), "stratum a is listed twice"),
        (("--stratum", "stratum", "--strata-sizes", "short.csv"), "line 3: it has 1 cells, the header 2"),
        (("--stratum", "stratum", "--strata-sizes", "semicolons.csv"), "has semicolons between its columns"),
        (("--stratum", "stratum", "--strata-sizes", "odd.csv"), "a size is no number: size of a is 'many'"),
        (("--stratum", "stratum", "--strata-sizes", "negative.csv"), "size of a is -1"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_in_one_line(isamap, ground, city, arguments, said):
    rows, cols, _, observed = drawn(city, 40)
    points(ground / "s.csv", rows, cols, observed=observed, stratum=["a"] * 40)
    (ground / "strata.csv").write_text("stratum,size\nb,10\n")
    (ground / "empty.csv").write_text("stratum,size\na,10\nb,10\n")
    (ground / "twice.csv").write_text("stratum,size\na,10\na.0,10\na,5\n")
    (ground / "short.csv").write_text("stratum,size\na,10\nb\n")
    (ground / "semicolons.csv").write_text("stratum;size\na;10\n")
    (ground / "odd.csv").write_text("stratum,size\na,many\n")
    (ground / "negative.csv").write_text("stratum,size\na,-1\n")
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv", *arguments)
    assert ended.code == 65
    assert said in ended.err
    assert ended.err.splitlines()[-1].startswith("isamap: ")
    assert ended.out == ""


def test_a_sample_elsewhere_is_refused(isamap, ground, city):
    rows, cols, _, observed = drawn(city, 10)
    points(ground / "s.csv", rows + 5000, cols, observed=observed)
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv")
    assert ended.code == 65
    assert "no point of s.csv lies on a pixel that map maps" in ended.err


def test_a_drawn_sample_can_be_labelled_and_estimates_the_truth(isamap, ground, city):
    """The whole way: draw, label with the truth, estimate; the interval holds the true area, the map does not."""
    ended = isamap("evaluate", "map.tif", "--design", "--size", 600, "-o", "sample", "--seed", 3)
    assert ended.code == 0, ended.err
    path = ground / "sample" / "sample.gpkg"
    meta, _, wkb, fields = pyogrio.raw.read(path)
    names = [str(name) for name in meta["fields"]]
    assert names == ["id", "stratum", "observed", "remark"]
    assert np.isnan(fields[names.index("observed")].astype(float)).all()
    lonlat = shapely.from_wkb(wkb)
    x, y = Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
        shapely.get_x(lonlat), shapely.get_y(lonlat)
    )
    rows, cols = np.floor(TOP - y).astype(int), np.floor(x - LEFT).astype(int)
    assert len(set(zip(rows.tolist(), cols.tolist(), strict=True))) == 600
    np.testing.assert_allclose(TOP - y - rows, 0.5, atol=1e-3)
    points(
        ground / "labelled.csv",
        rows,
        cols,
        observed=city[0][rows, cols],
        stratum=fields[names.index("stratum")],
    )
    ended = isamap(
        *("evaluate", "map.tif", "--sample", "labelled.csv", "--stratum", "stratum"),
        *("--strata-sizes", "sample/strata.csv", "--json"),
    )
    assert ended.code == 0, ended.err
    area, true = ended.document["sample"]["map"]["area"]["1"], GROUND_KM2 * city[0].mean()
    assert ended.document["sample"]["map"]["unit"] == "km2"
    assert area["low"] < true < area["high"]
    assert ended.document["sample"]["map"]["mapped_area"]["1"] > area["high"]


def test_the_same_seed_draws_the_same_sample(isamap, ground):
    def draw(out, seed):
        assert isamap("evaluate", "map.tif", "--design", "--size", 200, "-o", out, "--seed", seed).code == 0
        return pyogrio.raw.read(ground / out / "sample.gpkg")[2].tolist()

    assert draw("a", 1) == draw("b", 1) != draw("c", 2)


def test_points_keep_their_distance(isamap, ground):
    ended = isamap("evaluate", "map.tif", "--design", "--size", 120, "--spacing", 20, "-o", "s")
    assert ended.code == 0, ended.err
    lonlat = shapely.from_wkb(pyogrio.raw.read(ground / "s" / "sample.gpkg")[2])
    x, y = Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
        shapely.get_x(lonlat), shapely.get_y(lonlat)
    )
    apart = np.hypot(x[:, None] - x, y[:, None] - y)[~np.eye(len(x), dtype=bool)]
    assert apart.min() >= 20 - 1e-3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--design", "-o", "s"), 2, "--size or --target-se"),
        (("--design", "--size", 100), 2, "-o DIR"),
        (("--design", "--size", 3, "-o", "s"), 65, "3 points cannot give each of 3 strata"),
        (("--design", "--size", 59, "-o", "s"), 65, "its 20: --size at least 60"),
        (("--design", "--size", 400000, "-o", "s"), 65, "there are 360000 pixels"),
        (("--design", "--target-se", 1e-6, "-o", "s"), 65, "--target-se 1e-06 asks for"),
        (("--design", "--size", 100, "--seed", -1, "-o", "s"), 2, "--seed"),
    ],
)
def test_a_design_that_cannot_be_is_refused(isamap, ground, arguments, code, said):
    ended = isamap("evaluate", "map.tif", *arguments)
    assert ended.code == code
    assert said in ended.err
    assert ended.err.splitlines()[-1].startswith("isamap: " if code == 65 else "Error: ")
    assert not (ground / "s" / "sample.gpkg").exists()


def judged(isamap, *arguments):
    """What --sample says of the first map, as a document."""
    ended = isamap("evaluate", *arguments, "--json")
    assert ended.code == 0, ended.err
    return next(iter(ended.document["sample"].values()))


def strata_rows(path):
    with path.open() as file:
        return {row["stratum"]: row for row in csv.DictReader(file)}


def fields_of(path):
    meta, _, wkb, columns = pyogrio.raw.read(path)
    return shapely.from_wkb(wkb), dict(zip(map(str, meta["fields"]), columns, strict=True))


def test_nodata_is_no_ground_of_a_simple_random_sample(isamap, ground, city):
    mapped = city[1].copy()
    mapped[:, :300] = 255
    write(ground / "half.tif", mapped)
    rows, cols, _, observed = drawn(city)
    points(ground / "s.csv", rows, cols, observed=observed)
    found = judged(isamap, "half.tif", "--sample", "s.csv")
    assert found["area"]["0"]["value"] + found["area"]["1"]["value"] == pytest.approx(GROUND_KM2 / 2)
    assert found["mapped_area"]["1"] == pytest.approx((mapped == 1).sum() * PIXEL_KM2)


def test_ground_that_two_rasters_show_counts_once(isamap, ground, city):
    """In a simple random sample and in a design; the first file wins."""
    write(ground / "two" / "a.tif", city[1][:, :400])
    write(ground / "two" / "b.tif", 1 - city[1][:, 200:], left=LEFT + 200)
    seen = city[1].copy()
    seen[:, 400:] = 1 - seen[:, 400:]
    rows, cols, _, observed = drawn(city)
    points(ground / "s.csv", rows, cols, observed=observed)
    found = judged(isamap, "two", "--sample", "s.csv")
    assert found["area"]["0"]["value"] + found["area"]["1"]["value"] == pytest.approx(GROUND_KM2)
    assert found["mapped_area"]["1"] == pytest.approx(seen.sum() * PIXEL_KM2)
    ended = isamap("evaluate", "two", "--design", "--size", 300, "-o", "d")
    assert ended.code == 0, ended.err
    table = strata_rows(ground / "d" / "strata.csv").values()
    assert sum(int(row["n_pixels"]) for row in table) == 360_000
    assert sum(int(row["n_isa"]) for row in table) == seen.sum()


def test_tiles_of_two_zones_own_the_ground_of_their_zone(isamap, ground):
    """A tile of either zone on the border at 108 E: drawn once, and read from the tile that owns it."""
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32648", always_xy=True).transform(107.999, 30.0)
    west = Tile(48, "N", int(x // 10240), int(y // 10240))
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32649", always_xy=True).transform(108.001, 30.0)
    east = Tile(49, "N", int(x // 10240), int(y // 10240))
    for tile, value in ((west, 0), (east, 1)):
        grid = tile.geobox(20)
        left, top = grid.transform.c, grid.transform.f
        values = np.full(grid.shape, value, np.uint8)
        write(ground / "maps" / f"{tile}.tif", values, left=left, top=top, gsd=20, crs=f"EPSG:{tile.epsg}")
    ended = isamap("evaluate", "maps", "--design", "--size", 300, "-o", "d")
    assert ended.code == 0, ended.err
    table = strata_rows(ground / "d" / "strata.csv").values()
    owned = [
        shapely.transform(
            shapely.segmentize(tile.footprint(), 0.001),
            lambda p, t=tile: np.column_stack(
                Transformer.from_crs("EPSG:4326", f"EPSG:{t.epsg}", always_xy=True).transform(
                    p[:, 0], p[:, 1]
                )
            ),
        ).area
        / 400
        for tile in (west, east)
    ]
    assert sum(int(row["n_pixels"]) for row in table) == pytest.approx(sum(owned), rel=0.002)
    assert sum(int(row["n_isa"]) for row in table) == pytest.approx(owned[1], rel=0.002)
    places, fields = fields_of(ground / "d" / "sample.gpkg")
    lon = shapely.get_x(places)
    isa = np.isin(fields["stratum"], ["ISA core", "ISA edge"])
    np.testing.assert_array_equal(isa, lon > 108)
    with (ground / "s.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("lon", "lat", "observed", "stratum"))
        rows = zip(lon, shapely.get_y(places), isa.astype(int), fields["stratum"], strict=True)
        writer.writerows(rows)
    arguments = ("--stratum", "stratum", "--strata-sizes", "d/strata.csv")
    assert judged(isamap, "maps", "--sample", "s.csv", *arguments)["overall"]["value"] == 1


def test_pixels_of_two_sizes_make_no_design(isamap, ground, city):
    write(ground / "two" / "a.tif", city[1])
    write(ground / "two" / "b.tif", city[1], left=LEFT + 600, gsd=2)
    ended = isamap("evaluate", "two", "--design", "--size", 300, "-o", "d")
    assert ended.code == 65
    assert "a.tif has pixels of 1 m" in ended.err
    assert "b.tif of 2 m" in ended.err


def test_a_labelled_sample_is_not_written_over(isamap, ground):
    arguments = ("evaluate", "map.tif", "--design", "--size", 100, "-o", "d")
    assert isamap(*arguments).code == 0
    assert isamap(*arguments).code == 0, "nobody has labelled it"
    path = ground / "d" / "sample.gpkg"
    meta, _, wkb, columns = pyogrio.raw.read(path)
    columns[2][:7] = [0, 1, 0, 1, 1, 0, 1]
    pyogrio.raw.write(
        path,
        geometry=wkb,
        field_data=list(columns),
        fields=list(meta["fields"]),
        geometry_type="Point",
        crs="EPSG:4326",
        driver="GPKG",
        layer="sample",
    )
    before = path.read_bytes()
    ended = isamap(*arguments)
    assert ended.code == 65
    assert "sample.gpkg has 7 labelled points" in ended.err
    assert "choose another -o, or move it" in ended.err
    assert path.read_bytes() == before


def test_something_else_named_like_a_sample_is_not_written_over(isamap, ground):
    (ground / "d").mkdir()
    (ground / "d" / "sample.gpkg").write_bytes(b"precious")
    ended = isamap("evaluate", "map.tif", "--design", "--size", 100, "-o", "d")
    assert ended.code == 65
    assert "choose another -o" in ended.err
    assert (ground / "d" / "sample.gpkg").read_bytes() == b"precious"


def test_the_order_of_points_does_not_tell_their_stratum(isamap, ground):
    assert isamap("evaluate", "map.tif", "--design", "--size", 300, "-o", "d").code == 0
    _, fields = fields_of(ground / "d" / "sample.gpkg")
    assert fields["id"].tolist() == list(range(1, 301))
    runs = (fields["stratum"][1:] != fields["stratum"][:-1]).sum()
    assert runs > 100, "sorted by stratum there are 2 or 3"


def test_edges_are_metres_whatever_the_pixels(isamap, ground):
    """ISA up to 3 m from its edge, and 30 m of ground beside it: the same areas at 0.5 and 1 m; a pixel at 10 m."""
    areas = {}
    for gsd in (0.5, 1.0, 10.0):
        side = round(400 / gsd)
        values = np.zeros((side, side), np.uint8)
        values[:, : side // 2] = 1
        write(ground / f"g{gsd}.tif", values, gsd=gsd)
        assert isamap("evaluate", f"g{gsd}.tif", "--design", "--size", 100, "-o", f"d{gsd}").code == 0
        table = strata_rows(ground / f"d{gsd}" / "strata.csv")
        areas[gsd] = {name: float(row["area_km2"]) / PIXEL_KM2 / 400 for name, row in table.items()}
    assert areas[0.5] == pytest.approx(areas[1.0], rel=1e-5)
    assert areas[1.0] == pytest.approx(
        {"ISA core": 197, "ISA edge": 3, "near ISA": 30, "far from ISA": 170}, rel=1e-5
    )
    assert areas[10.0] == pytest.approx(
        {"ISA core": 190, "ISA edge": 10, "near ISA": 30, "far from ISA": 170}, rel=1e-5
    )


def test_the_map_is_counted_by_its_design(isamap, ground, city):
    """Mapped areas are those of the map to the pixel; of another map they are estimated, and it is said."""
    assert isamap("evaluate", "map.tif", "--design", "--size", 300, "-o", "d").code == 0
    places, fields = fields_of(ground / "d" / "sample.gpkg")
    x, y = Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
        shapely.get_x(places), shapely.get_y(places)
    )
    rows, cols = np.floor(TOP - y).astype(int), np.floor(x - LEFT).astype(int)
    points(ground / "s.csv", rows, cols, observed=city[0][rows, cols], stratum=fields["stratum"])
    arguments = ("--sample", "s.csv", "--stratum", "stratum", "--strata-sizes", "d/strata.csv")
    assert judged(isamap, "map.tif", *arguments)["mapped_area"]["1"] == pytest.approx(
        city[1].sum() * PIXEL_KM2
    )
    full = np.ones_like(city[1])
    full[rows, cols] = city[1][rows, cols]  # another map that is the same at every point
    for name, values in (("truth", city[0]), ("full", full)):
        write(ground / f"{name}.tif", values)
        ended = isamap("evaluate", f"{name}.tif", *arguments, "--json")
        assert "counted on another map" in ended.err
        assert ended.document["sample"][name]["mapped_area_from"] == "sample"
    found = ended.document["sample"]["full"]
    assert found["mapped_area"]["1"] == pytest.approx(city[1].sum() * PIXEL_KM2, rel=0.05)


def test_every_product_is_counted_on_the_ground_of_the_first(isamap, ground, city):
    wide = np.ones((800, 800), np.uint8)
    wide[100:700, 100:700] = city[0]
    write(ground / "wide.tif", wide, left=LEFT - 100, top=TOP + 100)
    rows, cols, _, observed = drawn(city)
    points(ground / "s.csv", rows, cols, observed=observed)
    ended = isamap("evaluate", "map.tif", "--product", "wide.tif", "--sample", "s.csv", "--json")
    areas = {name: found["mapped_area"]["1"] for name, found in ended.document["sample"].items()}
    assert areas == pytest.approx({"map": city[1].sum() * PIXEL_KM2, "wide": city[0].sum() * PIXEL_KM2})


def test_a_survey_says_how_many_points_it_rests_on(ground, city):
    rows, cols, _, observed = drawn(city, 50)
    rows = rows.copy()
    rows[:5] = -100 - np.arange(5)
    looked = ["" if 10 <= index < 22 else str(value) for index, value in enumerate(observed)]
    points(ground / "s.csv", rows, cols, observed=looked)
    product = parse_product(str(ground / "map.tif"))
    found = survey.run([product], survey.Survey(ground / "s.csv"))[0]["map"]
    assert (found.used, found.left_out, found.unlabelled, found.counted) == (33, 5, 12, True)
    found = survey.run([product], survey.Survey(ground / "s.csv", support_m=5))[0]["map"]
    assert not found.counted, "a square's majority is no pixel"


def test_points_in_the_same_place_are_refused(isamap, ground, city):
    rows, cols, _, observed = drawn(city, 50)
    rows, cols = rows.astype(float), cols.astype(float)
    rows[40:43], cols[40:43] = rows[:3], cols[:3] + 2e-4
    points(ground / "s.csv", rows, cols, observed=observed)
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv")
    assert ended.code == 65
    assert "3 points lie where another one does" in ended.err
    who = ["b" if 40 <= index < 43 else "a" for index in range(50)]
    points(ground / "s.csv", rows, cols, observed=observed, who=who)
    assert isamap("evaluate", "map.tif", "--sample", "s.csv", "--where", "who=a").code == 0


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857"])
def test_support_is_metres_on_the_ground_for_maps_in_other_units(isamap, ground, city, crs):
    """Blocks of 30 m, warped to degrees and Web Mercator: a square around a block's centre has its class."""
    blocks = (np.random.default_rng(4).random((20, 20)) < 0.5).astype(np.uint8)
    fine = blocks.repeat(30, 0).repeat(30, 1)
    noisy = np.where(np.random.default_rng(5).random(fine.shape) < 0.25, 1 - fine, fine).astype(np.uint8)
    source = Affine(1, 0, LEFT, 0, -1, TOP)
    bounds = (LEFT, TOP - 600, LEFT + 600, TOP)
    transform, width, height = calculate_default_transform(UTM, crs, 600, 600, *bounds)
    warped = np.full((height, width), 255, np.uint8)
    reproject(
        noisy,
        warped,
        src_transform=source,
        src_crs=UTM,
        src_nodata=255,
        dst_transform=transform,
        dst_crs=crs,
        dst_nodata=255,
    )
    profile = {"driver": "GTiff", "height": height, "width": width, "count": 1, "dtype": "uint8"}
    with rasterio.open(ground / "w.tif", "w", **profile, crs=crs, transform=transform, nodata=255) as dst:
        dst.write(warped, 1)
    rows, cols = (axis.ravel() for axis in np.meshgrid(*[np.arange(45, 570, 30)] * 2, indexing="ij"))
    points(ground / "s.csv", rows, cols, observed=fine[rows, cols])
    at_point = judged(isamap, "w.tif", "--sample", "s.csv")
    assert 0.6 < at_point["overall"]["value"] < 0.9
    whole = at_point["area"]["0"]["value"] + at_point["area"]["1"]["value"]
    assert whole == pytest.approx(0.36, rel=0.01), "km2 of ground, not of the projection"
    assert judged(isamap, "w.tif", "--sample", "s.csv", "--support", 15)["overall"]["value"] > 0.99


def table(path, header, *rows):
    path.write_text("\n".join([header, *rows]) + "\n")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ("x,y,crs,observed", "600010,3299990,EPSG:32648,1", "500,30,EPSG:32649,0"),
            "'EPSG:32648' and 'EPSG:",
        ),
        (("x,y,crs,observed", "600010,3299990,EPSG:99999999,1"), "the CRS 'EPSG:99999999' is unknown"),
        (("x,y,crs,observed", "600010,3299990,nonsense,1"), "the CRS 'nonsense' is unknown"),
        (("x,y,observed", "600010,3299990,1"), "has x and y but no column crs"),
        (("lon,lat,observed", "106.1,29.8,1", "106.2,29.8"), "line 3: it has 2 cells, the header 3"),
        (("lon,lat,observed", "106.1,29.8,1,7"), "line 2: it has 4 cells, the header 3"),
        (("lon;lat;observed", "106.1;29.8;1"), "has semicolons between its columns"),
        (("lon,lat,observed,observed", "106.1,29.8,1,0"), "two columns 'observed'"),
        (("lon,lat,observed", "nan,29.8,1"), "point 1 has no finite coordinates"),
        (("lon,lat,observed", "here,29.8,1"), "a coordinate is no number"),
        (("lon,lat,observed",), "holds no points"),
        (("lon,lat,observed", "106.1,29.8,yes"), "point 1: observed is 'yes', not 0 or 1: write 1 for ISA"),
    ],
)
def test_a_table_that_is_no_sample_is_refused_in_one_line(isamap, ground, lines, said):
    table(ground / "s.csv", *lines)
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv")
    assert ended.code == 65, ended.err
    assert said in ended.err
    assert ended.err.splitlines()[-1].startswith("isamap: ")


def feature(x, y, kind="Point", **properties):
    lonlat = list(Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(x, y))
    coordinates = lonlat if kind == "Point" else [lonlat]
    return {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": coordinates},
        "properties": properties,
    }


def write_features(path, features):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_lone_points_in_multipoints_booleans_and_float_strata_are_understood(isamap, ground, city):
    rows, cols, mapped, observed = drawn(city, 60)
    places = zip(LEFT + cols + 0.5, TOP - rows - 0.5, mapped.tolist(), observed.tolist(), strict=True)
    features = [
        feature(x, y, kind="MultiPoint", observed=bool(seen), stratum=float(shown))
        for x, y, shown, seen in places
    ]
    write_features(ground / "s.geojson", features)
    (ground / "strata.csv").write_text(
        f"stratum,n_pixels\n0,{(city[1] == 0).sum()}\n1,{(city[1] == 1).sum()}\n"
    )
    arguments = ("--stratum", "stratum", "--strata-sizes", "strata.csv")
    found = judged(isamap, "map.tif", "--sample", "s.geojson", *arguments)
    strata = [Stratum(str(code), int((city[1] == code).sum())) for code in (0, 1)]
    index = mapped.astype(int)
    assert found["F1"]["value"] == pytest.approx(
        estimate(strata, index, index, observed.astype(int)).f1.value
    )


def test_several_points_in_one_and_lines_are_refused(isamap, ground):
    line = feature(LEFT + 9, TOP - 9, observed=1)
    line["geometry"] = {"type": "LineString", "coordinates": [[106, 29], [107, 29]]}
    write_features(ground / "s.geojson", [feature(LEFT + 5, TOP - 5, observed=1), line])
    ended = isamap("evaluate", "map.tif", "--sample", "s.geojson")
    assert ended.code == 65
    assert "also holds LineString: a sample is single points" in ended.err


def test_points_that_do_not_count_need_no_stratum(isamap, ground, city):
    rows, cols, mapped, observed = drawn(city, 60)
    stratum = np.where(mapped == 1, "a", "b").astype(object)
    looked = observed.astype(object)
    stratum[:5], looked[:5] = "unknown", ""
    points(ground / "s.csv", rows, cols, observed=looked, stratum=stratum)
    (ground / "strata.csv").write_text("stratum,size\na,10\nb,20\n")
    arguments = ("--stratum", "stratum", "--strata-sizes", "strata.csv")
    assert judged(isamap, "map.tif", "--sample", "s.csv", *arguments)["left_out"] == 0


def test_a_raster_at_the_end_of_the_world_is_refused(isamap, ground, city):
    write(ground / "huge.tif", city[1], left=1e12)
    for arguments in (("--design", "--size", 100, "-o", "d"), ("--sample", "s.csv")):
        points(ground / "s.csv", np.array([1, 2]), np.array([1, 2]), observed=[0, 1])
        ended = isamap("evaluate", "huge.tif", *arguments)
        assert ended.code == 65
        assert "huge.tif" in ended.err
        assert ended.err.splitlines()[-1].startswith("isamap: ")


def test_a_support_that_is_no_length_is_refused_by_the_recipe(ground):
    product = parse_product(str(ground / "map.tif"))
    with pytest.raises(InputError, match="a support of nan m"):
        survey.run([product], survey.Survey(ground / "s.csv", support_m=float("nan")))


def blocks(ground, city, side=20, count=300, seed=4):
    """Centres of squares of the map's pixels, and their true shares with a little noise."""
    rng = np.random.default_rng(seed)
    rows, cols = rng.integers(0, 600 // side, (2, count)) * side + side / 2
    keep = np.unique(rows * 10_000 + cols, return_index=True)[1]
    rows, cols = rows[keep], cols[keep]
    share = city[0].reshape(600 // side, side, 600 // side, side).mean(axis=(1, 3))
    at = (rows // side).astype(int), (cols // side).astype(int)
    mapped = city[1].reshape(600 // side, side, 600 // side, side).mean(axis=(1, 3))[at]
    return rows - 0.5, cols - 0.5, share[at], mapped


def test_blocks_of_observed_shares_give_area_and_bias(isamap, ground, city):
    rows, cols, share, mapped = blocks(ground, city)
    points(ground / "s.csv", rows, cols, share=share)
    asked = ("--sample", "s.csv", "--observed", "share", "--shares", "--support", "20")
    ended = isamap("evaluate", "map.tif", *asked, "--json", "-o", "r")
    assert ended.code == 0, ended.err
    found = ended.document["sample"]["map"]
    assert found["used"] == share.size
    assert found["MAE"]["value"] == pytest.approx(np.abs(mapped - share).mean(), abs=1e-6)
    assert found["RMSE"]["value"] == pytest.approx(np.sqrt(((mapped - share) ** 2).mean()), abs=1e-6)
    assert found["bias"]["value"] == pytest.approx((mapped - share).mean(), abs=1e-6)
    assert found["bias"]["low"] > 0.05
    assert found["area"]["1"]["value"] == pytest.approx(GROUND_KM2 * share.mean())
    assert found["area"]["1"]["low"] < GROUND_KM2 * city[0].mean() < found["area"]["1"]["high"]
    assert {"index.html", "estimates.csv", "areas.csv", "estimates.png"} <= {
        path.name for path in (ground / "r").iterdir()
    }
    assert isamap("evaluate", "map.tif", *asked, "--max-bias", "0.01").code == 5


@pytest.mark.parametrize(
    ("value", "arguments", "said"),
    [
        ("40", ("--support", "20"), "'40', no share from 0 to 1: divide percent by 100"),
        ("much", ("--support", "20"), "'much', no share"),
        ("0.4", (), "give their side, --support"),
    ],
)
def test_shares_that_cannot_be_are_refused(isamap, ground, value, arguments, said):
    points(ground / "s.csv", np.array([50.0]), np.array([60.0]), observed=[value])
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv", "--shares", *arguments)
    assert ended.code in (2, 64, 65)
    assert said in ended.err


def halves(path):
    to_lonlat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True)
    features = []
    for name, left in (("West", LEFT), ("East", LEFT + 300)):
        box = shapely.segmentize(shapely.box(left, TOP - 600, left + 300, TOP), 50)
        lonlat = shapely.transform(box, lambda p: np.column_stack(to_lonlat.transform(p[:, 0], p[:, 1])))
        features.append(
            {"type": "Feature", "geometry": shapely.geometry.mapping(lonlat), "properties": {"name": name}}
        )
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_a_sample_tells_of_strata_and_units(isamap, ground, city):
    rows, cols, mapped, observed = drawn(city, 600)
    stratum = np.where(mapped == 1, "built", "rest")
    points(ground / "s.csv", rows, cols, observed=observed, stratum=stratum)
    sizes = {"built": int((city[1] == 1).sum()), "rest": int((city[1] == 0).sum())}
    text = "stratum,n_pixels\n" + "".join(f"{name},{size}\n" for name, size in sizes.items())
    (ground / "strata.csv").write_text(text)
    halves(ground / "units.geojson")
    ended = isamap(
        *("evaluate", "map.tif", "--sample", "s.csv", "--stratum", "stratum"),
        *("--strata-sizes", "strata.csv", "--units", "units.geojson", "--json", "-o", "r"),
    )
    assert ended.code == 0, ended.err
    found = ended.document["sample"]["map"]
    built = [int(((mapped == 1) & (observed == 1)).sum()), int(((mapped == 1) & (observed == 0)).sum()), 0, 0]
    assert found["strata"]["built"] == built
    west = cols < 300
    assert found["units"]["West"]["points"] == west.sum()
    right = (mapped == observed)[west]
    weight = np.where(mapped == 1, sizes["built"] / (mapped == 1).sum(), sizes["rest"] / (mapped == 0).sum())
    assert found["units"]["West"]["overall"]["value"] == pytest.approx(
        np.average(right, weights=weight[west])
    )
    share = np.average(observed[west], weights=weight[west])
    assert found["units"]["West"]["size"] == 180_000  # of 360 000 pixels
    assert found["units"]["West"]["area"]["1"]["value"] == pytest.approx(180_000 * share)
    assert (ground / "r" / "sample-units.csv").is_file()
    assert (ground / "r" / "sample-strata.csv").is_file()


def test_the_size_of_a_unit_is_counted_whatever_points_have_no_label(isamap, ground, city):
    """Two thirds of the western points have no label: the east does not grow for that, and empty units stay listed."""
    rows, cols = np.divmod(np.random.default_rng(3).choice(360_000, 900, replace=False), 600)
    observed = city[0][rows, cols]
    west = cols < 300
    looked = ["" if left and row % 3 else str(o) for row, left, o in zip(rows, west, observed, strict=True)]
    points(ground / "s.csv", rows, cols, observed=looked)
    halves(ground / "units.geojson")
    document = json.loads((ground / "units.geojson").read_text())
    away = shapely.geometry.mapping(shapely.box(100, 20, 100.1, 20.1))
    document["features"].append({"type": "Feature", "geometry": away, "properties": {"name": "Away"}})
    (ground / "units.geojson").write_text(json.dumps(document))
    found = judged(isamap, "map.tif", "--sample", "s.csv", "--units", "units.geojson")["units"]
    for name, here in (("West", west), ("East", ~west)):
        values = observed[here & [bool(text) for text in looked]]
        area = found[name]["area"]["1"]
        assert area["value"] == pytest.approx(GROUND_KM2 / 2 * values.mean())
        deviation = values.std() * np.sqrt(values.size / (values.size - 1) * 1)
        assert area["se"] == pytest.approx(GROUND_KM2 / 2 * deviation / np.sqrt(values.size), rel=0.01)
    assert found["Away"]["points"] == 0
    assert found["Away"]["size"] is None
    assert found["Away"]["area"]["1"]["value"] is None
    assert found["Away"]["F1"]["value"] is None


def test_strata_of_other_ground_tell_no_sizes_of_units(isamap, ground, city):
    rows, cols, _, observed = drawn(city)
    points(ground / "s.csv", rows, cols, observed=observed, stratum=["all"] * 400)
    (ground / "strata.csv").write_text("stratum,n_pixels\nall,500000\n")
    halves(ground / "units.geojson")
    ended = isamap(
        *("evaluate", "map.tif", "--sample", "s.csv", "--stratum", "stratum", "--strata-sizes", "strata.csv"),
        *("--units", "units.geojson", "--json"),
    )
    assert "the sizes of units are estimated from the points" in ended.err
    west = ended.document["sample"]["map"]["units"]["West"]
    assert west["size"] is None
    assert west["area"]["1"]["value"] == pytest.approx(500_000 * (observed * (cols < 300)).mean())


def test_every_row_says_what_interval_it_has_and_plain_ones_can_be_had(isamap, ground, city):
    rng = np.random.default_rng(2)
    rows, cols = rng.integers(0, 600, (2, 300))
    points(ground / "s.csv", rows, cols, observed=city[1][rows, cols])
    for arguments, kinds, low in (((), {"score"}, 0.99), (("--plain-intervals",), {"normal"}, 1)):
        ended = isamap("evaluate", "map.tif", "--sample", "s.csv", "-o", "r", "--json", *arguments)
        assert ended.code == 0, ended.err
        with (ground / "r" / "estimates.csv").open() as file:
            written = list(csv.DictReader(file))
        assert {row["interval"] for row in written} == kinds
        assert all(0 <= float(row["95 % from"]) <= float(row["95 % to"]) <= 1 for row in written)
        assert ended.document["sample"]["map"]["overall"]["low"] <= low
    assert ended.document["sample"]["map"]["overall"]["low"] == 1


def test_shares_of_blocks_are_estimated_per_unit(isamap, ground, city):
    rows, cols, share, mapped = blocks(ground, city)
    stratum = np.where(mapped > 0.3, "built", "rest")
    points(ground / "s.csv", rows, cols, share=share, stratum=stratum)
    sizes = {"built": 500, "rest": 400}
    (ground / "strata.csv").write_text(
        "stratum,size\n" + "".join(f"{name},{size}\n" for name, size in sizes.items())
    )
    halves(ground / "units.geojson")
    ended = isamap(
        *("evaluate", "map.tif", "--sample", "s.csv", "--observed", "share", "--shares", "--support", "20"),
        *("--stratum", "stratum", "--strata-sizes", "strata.csv", "--units", "units.geojson"),
        *("--json", "-o", "r"),
    )
    assert ended.code == 0, ended.err
    found = ended.document["sample"]["map"]
    weight = np.array([sizes[name] / (stratum == name).sum() for name in stratum])
    for name, here in (("West", cols < 300), ("East", cols >= 300)):
        unit = found["units"][name]
        assert unit["points"] == here.sum()
        assert unit["MAE"]["value"] == pytest.approx(
            np.average(np.abs(mapped - share)[here], weights=weight[here]), abs=1e-6
        )
        assert unit["area"]["1"]["value"] == pytest.approx((weight * share)[here].sum(), rel=1e-6)
        assert unit["area"]["1"]["low"] < unit["area"]["1"]["value"] < unit["area"]["1"]["high"]
    areas = [found["units"][name]["area"]["1"]["value"] for name in ("West", "East")]
    assert sum(areas) == pytest.approx(found["area"]["1"]["value"])
    assert "West,map,MAE," in (ground / "r" / "sample-units.csv").read_text()


def test_hardly_any_error_in_a_large_stratum_is_said(isamap, ground, city):
    rng = np.random.default_rng(2)
    rows, cols = rng.integers(0, 600, (2, 300))
    points(ground / "s.csv", rows, cols, observed=city[1][rows, cols])
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv", "--json")
    overall = ended.document["sample"]["map"]["overall"]
    assert overall["value"] == 1
    assert overall["low"] < 0.99
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv")
    assert "0 misses among the 300 points of all" in ended.err


def test_a_layer_of_a_sample_is_chosen(isamap, ground, city):
    rows, cols, _, observed = drawn(city, 50)
    for number, layer in enumerate(("first", "second")):
        pyogrio.raw.write(
            ground / "s.gpkg",
            geometry=shapely.to_wkb(shapely.points(LEFT + cols + 0.5, TOP - rows - 0.5)[: 50 - number]),
            field_data=[observed[: 50 - number]],
            fields=["observed"],
            geometry_type="Point",
            crs=UTM,
            driver="GPKG",
            layer=layer,
            append=number > 0,
        )
    ended = isamap("evaluate", "map.tif", "--sample", "s.gpkg:second", "--json")
    assert ended.document["sample"]["map"]["used"] == 49
    assert "has the layers first, second" in isamap("evaluate", "map.tif", "--sample", "s.gpkg").err


def test_units_are_sampled_each_by_itself(isamap, ground):
    halves(ground / "units.geojson")
    ended = isamap("evaluate", "map.tif", "--design", "--size", "200", "--units", "units.geojson", "-o", "d")
    assert ended.code == 0, ended.err
    with (ground / "d" / "strata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["stratum"].split(": ")[0] for row in rows} == {"West", "East"}
    assert sum(int(row["n_pixels"]) for row in rows) == 600 * 600
    assert sum(int(row["n_points"]) for row in rows) == 200
    layer = pyogrio.raw.read(ground / "d" / "sample.gpkg")
    lon = shapely.get_x(shapely.from_wkb(layer[2]))
    names = layer[3][list(layer[0]["fields"]).index("stratum")]
    x = Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(lon, np.full(lon.size, 29.8))[0]
    west = np.array([name.startswith("West") for name in names])
    assert x[west].max() < x[~west].min() + 1


def test_windows_without_a_pick_are_not_read_again(isamap, ground, monkeypatch):
    monkeypatch.setattr("isamap.io.cover.WINDOW_PX", 60)
    read = []
    plain = ClassMap.on
    monkeypatch.setattr(ClassMap, "on", lambda self, grid: read.append(grid) or plain(self, grid))
    ended = isamap("evaluate", "map.tif", "--design", "--size", "100", "-o", "d")
    assert ended.code == 0, ended.err
    with (ground / "d" / "strata.csv").open() as file:
        assert sum(int(row["n_points"]) for row in csv.DictReader(file)) == 100
    assert 100 < len(read) < 200


def quarters(path):
    """A raster of 30 m: code 7 in the upper half, 8 in the lower left, nothing in the lower right."""
    codes = np.full((20, 20), 7, np.uint8)
    codes[10:, :10], codes[10:, 10:] = 8, 255
    return write(path, codes, gsd=30)


def test_strata_of_a_raster_are_crossed_with_those_of_the_map_and_with_units(isamap, ground):
    quarters(ground / "codes.tif")
    halves(ground / "units.geojson")
    asked = (
        "evaluate",
        "map.tif",
        "--design",
        "--size",
        "500",
        "--strata",
        "codes.tif",
        "--units",
        "units.geojson",
    )
    ended = isamap(*asked, "-o", "d")
    assert ended.code == 0, ended.err
    pixels = {}
    for name, row in strata_rows(ground / "d" / "strata.csv").items():
        zone = name.split(": ")[0]
        pixels[zone] = pixels.get(zone, 0) + int(row["n_pixels"])
    assert pixels == {"West, 7": 90_000, "East, 7": 90_000, "West, 8": 90_000}
    shapes, fields = fields_of(ground / "d" / "sample.gpkg")
    x, y = Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
        shapely.get_x(shapes), shapely.get_y(shapes)
    )
    side = np.where(x < LEFT + 300, "West", "East")
    code = np.where(y > TOP - 300, "7", "8")
    zones = [name.split(": ")[0] for name in fields["stratum"]]
    assert zones == [f"{one}, {two}" for one, two in zip(side, code, strict=True)]


def test_a_raster_of_strata_tells_accuracy_apart(isamap, ground, city):
    quarters(ground / "codes.tif")
    write(ground / "truth.tif", city[0])
    ended = isamap("evaluate", "map.tif", "--labels", "truth.tif", "--strata", "codes.tif", "--json")
    assert ended.code == 0, ended.err
    found = ended.document["products"]["map"]["accuracy-strata"]
    assert {name: row["pixels"] for name, row in found.items()} == {"7": 180_000, "8": 90_000}
    right = (city[0] == city[1])[300:, :300].mean()
    assert found["8"]["overall"] == pytest.approx(right)


@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_a_design_has_a_picture_of_the_ground_around_each_point(isamap, ground, kind):
    """The image tells its own rows and columns, so that the chip's middle says whose it is."""
    rows, cols = np.indices((64, 64))
    bands = np.stack([rows, cols, rows * 0]).astype(np.uint8)[: 1 if kind == "grey" else 3]
    with rasterio.open(
        ground / "image.tif",
        "w",
        driver="GTiff",
        height=64,
        width=64,
        count=len(bands),
        dtype="uint8",
        crs=UTM,
        transform=Affine(10, 0, LEFT - 20, 0, -10, TOP + 20),
    ) as dst:
        dst.write(bands)
    ended = isamap("evaluate", "map.tif", "--design", "--size", "90", "--image", "image.tif", "-o", "d")
    assert ended.code == 0, ended.err
    shapes, fields = fields_of(ground / "d" / "sample.gpkg")
    x, y = Transformer.from_crs("EPSG:4326", UTM, always_xy=True).transform(
        shapely.get_x(shapes), shapely.get_y(shapes)
    )
    assert len(set(fields["chip"])) == 90
    for number in range(0, 90, 9):
        pixels = np.asarray(Image.open(ground / "d" / fields["chip"][number]))
        assert pixels.shape == (480, 480, 3)
        row, col = int((TOP + 20 - y[number]) // 10), int((x[number] - LEFT + 20) // 10)
        wanted = (row, row, row) if kind == "grey" else (row, col, 0)
        assert tuple(pixels[240, 240]) == wanted
        assert tuple(pixels[240, 230]) == (255, 40, 40)  # the square of 10 m, 2 pixels to the metre
    ended = isamap("evaluate", "map.tif", "--design", "--size", "90", "--image", "none.tif", "-o", "e")
    assert ended.code == 66
    assert not (ground / "e" / "sample.gpkg").exists()


def test_a_table_has_no_layers(isamap, ground):
    (ground / "s.csv").write_text("lon,lat,observed\n1,1,0\n")
    ended = isamap("evaluate", "map.tif", "--sample", "s.csv:mine")
    assert ended.code == 65
    assert "is a table and has no layer mine" in ended.err
