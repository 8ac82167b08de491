"""`isamap evaluate --sample` and `--design`: samples of known truth, drawn, labelled and estimated from."""

import csv

import numpy as np
import pyogrio
import pytest
from pyproj import Transformer
from test_evaluate import LEFT, TOP, UTM, write

from isamap.domain.estimation import Stratum, estimate


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
    wanted = estimate([Stratum("all", 0.36)], np.zeros(400, int), mapped.astype(int), observed.astype(int))
    found = ended.document["sample"]["map"]
    assert found["F1"]["value"] == pytest.approx(wanted.f1.value)
    assert found["area"]["1"]["value"] == pytest.approx(wanted.area[1].value)
    assert found["area"]["1"]["low"] < 0.36 * city[0].mean() < found["area"]["1"]["high"]


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
        (("--where", "observed=7"), "no point has an observed class"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_in_one_line(isamap, ground, city, arguments, said):
    rows, cols, _, observed = drawn(city, 40)
    points(ground / "s.csv", rows, cols, observed=observed, stratum=["a"] * 40)
    (ground / "strata.csv").write_text("stratum,size\nb,10\n")
    (ground / "empty.csv").write_text("stratum,size\na,10\nb,10\n")
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
    import shapely

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
    area, true = ended.document["sample"]["map"]["area"]["1"], 0.36 * city[0].mean()
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
    import shapely

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
        (("--design", "--size", 3, "-o", "s"), 65, "3 units"),
    ],
)
def test_a_design_that_cannot_be_is_refused(isamap, ground, arguments, code, said):
    ended = isamap("evaluate", "map.tif", *arguments)
    assert ended.code == code
    assert said in ended.err
