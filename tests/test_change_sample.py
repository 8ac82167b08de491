"""`isamap change --sample`: which ground is estimated, from which points, and how sure."""

import json
import math
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
from test_change import SIDE, YEARS, grid_of, rasters, striped, write_map, years

from isamap.domain import changes
from isamap.domain.caution import score_interval
from isamap.domain.change_sample import Observed, estimates, observed_states, rare
from isamap.domain.change_strata import Part, Plan, plan_of_classes
from isamap.domain.estimation import Stratum
from isamap.domain.ground_area import pixel_area_m2
from isamap.errors import InputError

STRATA = {0: (0,), 1: (1,), 2: (2,), 3: (3,), 4: (4, 5, 7)}
"""Stratum and its change classes."""
WORDS = ("0000", "1111", "0011", "1100", "0001", "0100", "0---", "1---")
PIXEL_KM2 = pixel_area_m2(grid_of()) / 1e6


@pytest.fixture
def ground(isamap, tmp_path):
    """Maps of four years, a quarter of the ground seen once; `change` over them, classes, and states that are so."""
    maps = [write_map(tmp_path / str(year) / "m.tif", striped(t, WORDS)) for t, year in enumerate(YEARS)]

    def change(*arguments):
        return isamap("change", *maps, *years(), "-o", "out", *arguments)

    assert change().code == 0
    rng = np.random.default_rng(8)
    first = np.repeat([0, 1, 0, 1, 0, 0, 1, 1], SIDE // 8)[:, None].repeat(SIDE, axis=1)
    last = np.repeat([0, 1, 1, 0, 1, 0, 1, 1], SIDE // 8)[:, None].repeat(SIDE, axis=1)
    truth = np.array([year ^ (rng.random((SIDE, SIDE)) < 0.1) for year in (first, last)])
    return change, rasters(Path("out"), "m")[1], truth


def write_sample(path, rows, cols, columns):
    """Points in the middle of pixels; columns by name."""
    left, top = grid_of().transform * (0, 0)
    lines = [",".join(["x", "y", "crs", *columns])]
    for number, (row, col) in enumerate(zip(rows, cols, strict=True)):
        cells = [str(values[number]) for values in columns.values()]
        lines.append(",".join([str(left + col + 0.5), str(top - row - 0.5), "EPSG:32648", *cells]))
    path.write_text("\n".join([*lines, ""]))
    return path


def drawn(count=800, seed=2):
    """Rows and columns of pixels drawn at random, none twice."""
    return np.divmod(np.random.default_rng(seed).choice(SIDE**2, count, replace=False), SIDE)


def stratified(kinds, at, y, x=None):
    """Ratio of two stratified totals and its standard error, stratum by stratum."""
    sums, parts = [0.0, 0.0], []
    x = np.ones(len(y)) if x is None else x
    for codes in STRATA.values():
        here, size = np.isin(kinds[at], codes), np.isin(kinds, codes).sum()
        if size:
            sums[0] += size * y[here].mean()
            sums[1] += size * x[here].mean()
            parts.append((size, here))
    ratio = sums[0] / sums[1]
    variance = sum(n**2 * (y - ratio * x)[here].var(ddof=1) / here.sum() for n, here in parts)
    return ratio, math.sqrt(variance) / sums[1]


def in_halves(rows):
    """Stratum of points: the upper half of the map, or the lower."""
    return np.where(np.asarray(rows) < SIDE // 2, "upper", "lower")


def drawn_in_halves():
    """Rows and columns of 300 points of the upper half of the map, and 100 of the lower one."""
    upper, lower = drawn(1600), drawn(900, seed=3)
    here, there = upper[0] < SIDE // 2, lower[0] >= SIDE // 2
    return tuple(np.concatenate([a[here][:300], b[there][:100]]) for a, b in zip(upper, lower, strict=True))


def write_sizes(path, each, column="area_km2"):
    """Strata of two halves, each of the same size."""
    path.write_text(f"stratum,{column}\nupper,{each!r}\nlower,{each!r}\n")
    return path


def table(document, name, key):
    return {row[key]: row for row in document["tables"][name]}


def test_estimates_are_of_the_ground_that_is_counted(ground, tmp_path):
    """Ground with too few looks is in no figure, though it has points."""
    change, kinds, truth = ground
    rows, cols = drawn()
    first, last = truth[:, rows, cols].astype(int)
    sample = write_sample(tmp_path / "s.csv", rows, cols, {"isa_2017": first, "isa_2023": last})
    document = json.loads(change("--sample", sample, "--json").out)
    found = table(document, "estimates", "quantity")
    few = kinds[rows, cols] == changes.FEW
    assert few.sum() > 150
    at = rows[~few], cols[~few]
    known = (kinds != changes.FEW).sum() * PIXEL_KM2
    for name, y in {
        "ISA 2017 (km²)": first,
        "ISA 2023 (km²)": last,
        "gain (km²)": (1 - first) * last,
        "loss (km²)": first * (1 - last),
    }.items():
        value, error = stratified(kinds, at, y[~few].astype(float))
        assert found[name]["estimate"] == pytest.approx(value * known), name
        assert found[name]["standard error"] == pytest.approx(error * known), name
    value, error = stratified(kinds, at, last[~few].astype(float), first[~few].astype(float))
    assert found["growth"]["estimate"] == pytest.approx(value - 1)
    assert found["growth"]["standard error"] == pytest.approx(error)
    really = truth[0][kinds != changes.FEW].sum() * PIXEL_KM2
    assert found["ISA 2017 (km²)"]["95 % low"] < really < found["ISA 2017 (km²)"]["95 % high"]
    points = {row["what became of them"]: row["points"] for row in document["tables"]["points"]}
    assert points["used"] == (~few).sum()
    assert points["left out: too few looks"] == few.sum()
    strata = table(document, "strata", "stratum")
    assert sum(row["area (km²)"] for row in strata.values()) == pytest.approx(known)
    gained = strata["sustained gain"]
    assert gained["points"] == (kinds[rows, cols] == changes.GAIN).sum()
    assert gained["seen as gain"] == ((kinds[rows, cols] == changes.GAIN) & (first == 0) & (last == 1)).sum()


def test_a_year_between_rests_on_the_points_with_a_label_of_it(ground, tmp_path):
    change, kinds, truth = ground
    rows, cols = drawn()
    first, last = truth[:, rows, cols].astype(int)
    middle = np.array([str(value) if number % 2 else "" for number, value in enumerate(first)])
    whole = write_sample(tmp_path / "a.csv", rows, cols, {"isa_2017": first, "isa_2023": last})
    half = write_sample(
        tmp_path / "b.csv", rows, cols, {"isa_2017": first, "isa_2019": middle, "isa_2023": last}
    )
    one, other = (json.loads(change("--sample", path, "--json").out) for path in (whole, half))
    a, b = table(one, "estimates", "quantity"), table(other, "estimates", "quantity")
    assert {name: b[name] for name in a} == a
    labelled = (middle != "") & (kinds[rows, cols] != changes.FEW)
    value, error = stratified(kinds, (rows[labelled], cols[labelled]), first[labelled].astype(float))
    known = (kinds != changes.FEW).sum() * PIXEL_KM2
    assert b["ISA 2019 (km²)"]["estimate"] == pytest.approx(value * known)
    assert b["ISA 2019 (km²)"]["standard error"] == pytest.approx(error * known)
    points = {row["what became of them"]: row["points"] for row in other["tables"]["points"]}
    assert points["used and labelled in 2019"] == labelled.sum()
    assert any("labelled in 2019" in text for text in other["warnings"])


def test_points_without_a_label_at_either_end_are_left_out_and_counted(ground, tmp_path):
    change, kinds, truth = ground
    rows, cols = drawn()
    first, last = truth[:, rows, cols].astype(int).astype(str)
    first[::4] = ""
    sample = write_sample(tmp_path / "s.csv", rows, cols, {"isa_2017": first, "isa_2023": last})
    ended = change("--sample", sample)
    assert ended.code == 0
    points = dict(line.rsplit(maxsplit=1) for line in ended.out.splitlines() if "left out" in line)
    assert points["  left out: no label of 2017 or 2023"] == "200"
    few = int((kinds[rows, cols] == changes.FEW)[np.arange(800) % 4 > 0].sum())
    assert points["  left out: too few looks"] == str(few)
    assert "left out: too few looks" in Path("out/index.html").read_text()
    assert "200 points are left out: no label of 2017 or 2023" in ended.err


def test_points_told_twice_are_refused(ground, tmp_path):
    change, _, truth = ground
    rows, cols = (np.append(one, one[:9]) for one in drawn())
    first, last = truth[:, rows, cols].astype(int)
    sample = write_sample(tmp_path / "s.csv", rows, cols, {"isa_2017": first, "isa_2023": last})
    ended = change("--sample", sample)
    assert ended.code == 65
    assert "9 points lie where another one does" in ended.err


@pytest.mark.parametrize(
    ("column", "each"),
    [("area_km2", SIDE**2 / 2 * PIXEL_KM2), ("n_pixels", SIDE**2 // 2), ("size", SIDE**2 // 2)],
)
def test_strata_of_the_file_weigh_the_points(ground, tmp_path, column, each):
    """Of ground that the strata have and the counts have not, the points say how much it is."""
    change, kinds, truth = ground
    rows, cols = drawn_in_halves()
    first, last = truth[:, rows, cols].astype(int)
    columns = {"stratum": in_halves(rows), "isa_2017": first, "isa_2023": last}
    sample = write_sample(tmp_path / "s.csv", rows, cols, columns)
    sizes = write_sizes(tmp_path / "strata.csv", each, column)
    ended = change("--sample", sample, "--stratum", "stratum", "--strata-sizes", sizes, "--json")
    document = json.loads(ended.out)
    found = table(document, "estimates", "quantity")
    counted = kinds[rows, cols] != changes.FEW
    known = (kinds != changes.FEW).sum() * PIXEL_KM2
    halves = [(1, columns["stratum"] == half) for half in ("upper", "lower")]

    def ratio(y, x):
        y, x = y * counted, x * counted
        whole = sum(n * x[here].mean() for n, here in halves)
        value = sum(n * y[here].mean() for n, here in halves) / whole
        error = sum(n**2 * (y - value * x)[here].var(ddof=1) / here.sum() for n, here in halves)
        return value, math.sqrt(error) / whole

    for name, y in {
        "ISA 2023 (km²)": last,
        "gain (km²)": (1 - first) * last,
        "loss (km²)": first * (1 - last),
    }.items():
        value, error = ratio(y, np.ones(len(y)))
        assert found[name]["estimate"] == pytest.approx(value * known), name
        assert found[name]["standard error"] == pytest.approx(error * known), name
    value, error = ratio(last, first)
    assert found["growth"]["estimate"] == pytest.approx(value - 1)
    assert found["growth"]["standard error"] == pytest.approx(error)
    value, error = ratio(last - first, np.ones(len(last)))
    assert found["expansion intensity (% a year)"]["estimate"] == pytest.approx(value * 100 / 6)
    assert {name: row["points"] for name, row in table(document, "strata", "stratum").items()} == {
        half: (counted & (columns["stratum"] == half)).sum() for half in ("upper", "lower")
    }
    assert "strata are those of the column stratum" in Path("out/index.html").read_text()
    assert not any("not the same ground" in text for text in document["warnings"])


def test_a_sample_that_was_drawn_in_strata_is_not_taken_for_another(ground, tmp_path):
    change, _, truth = ground
    rows, cols = drawn_in_halves()
    first, last = truth[:, rows, cols].astype(int)
    columns = {"Stratum": in_halves(rows), "isa_2017": first, "isa_2023": last}
    sample = write_sample(tmp_path / "s.csv", rows, cols, columns)
    ended = change("--sample", sample)
    assert ended.code == 65
    assert "give --stratum stratum and --strata-sizes, or take the column out" in ended.err
    ended = change("--sample", sample, "--stratum", "Stratum")
    assert ended.code == 65
    assert "strata need their sizes" in ended.err
    assert change("--stratum", "Stratum").code == 2
    assert change("--sample", sample, "--strata-sizes", sample).code == 2


def test_strata_of_other_ground_give_areas_of_the_ground_of_both(ground, tmp_path):
    """The strata have three times the ground of the maps, of which the points know nothing but that it lies elsewhere."""
    change, kinds, truth = ground
    rows, cols = drawn_in_halves()
    first, last = truth[:, rows, cols].astype(int)
    columns = {"stratum": in_halves(rows), "isa_2017": first, "isa_2023": last}
    sample = write_sample(tmp_path / "s.csv", rows, cols + np.where(np.arange(400) % 3 > 0, SIDE, 0), columns)
    each = SIDE**2 * 1.5 * PIXEL_KM2
    asked = "--sample", sample, "--stratum", "stratum", "--strata-sizes"
    ended = change(*asked, write_sizes(tmp_path / "strata.csv", each), "--json")
    document = json.loads(ended.out)
    assert any("are not the same ground" in text for text in document["warnings"])
    gain = table(document, "estimates", "quantity")["gain (km²)"]
    here = (np.arange(400) % 3 == 0) & (kinds[rows, cols] != changes.FEW)
    shares = [((1 - first) * last * here)[columns["stratum"] == half].mean() for half in ("upper", "lower")]
    assert gain["estimate"] == pytest.approx(each * sum(shares))
    ended = change(*asked, write_sizes(tmp_path / "pixels.csv", SIDE**2 * 1.5, "n_pixels"))
    assert ended.code == 65
    assert "which is not the ground of the maps in pixels" in ended.err


def test_a_class_without_points_is_joined_with_another(ground, tmp_path):
    change, kinds, truth = ground
    rows, cols = drawn(40)
    kept = kinds[rows, cols] != changes.LOSS
    rows, cols = rows[kept], cols[kept]
    first, last = truth[:, rows, cols].astype(int)
    sample = write_sample(tmp_path / "s.csv", rows, cols, {"isa_2017": first, "isa_2023": last})
    document = json.loads(change("--sample", sample, "--json").out)
    name = "stable pervious + sustained loss"
    assert any(f"Fewer than two points lie in a class of {name}" in text for text in document["warnings"])
    strata = table(document, "strata", "stratum")
    pair = np.isin(kinds, (changes.PERVIOUS, changes.LOSS))
    assert strata[name]["area (km²)"] == pytest.approx(pair.sum() * PIXEL_KM2)
    assert strata[name]["points"] == pair[rows, cols].sum()
    # the classes as a map would have them that calls both one
    joined = np.where(kinds == changes.LOSS, changes.PERVIOUS, kinds)
    known = joined[rows, cols] != changes.FEW
    value, error = stratified(joined, (rows[known], cols[known]), last[known].astype(float))
    found = table(document, "estimates", "quantity")["ISA 2023 (km²)"]
    whole = (kinds != changes.FEW).sum() * PIXEL_KM2
    assert found["estimate"] == pytest.approx(value * whole)
    assert found["standard error"] == pytest.approx(error * whole)


def test_a_bad_sample_is_refused_before_the_maps_are_read(isamap, tmp_path):
    maps = [write_map(tmp_path / str(year) / "m.tif", striped(t, WORDS)) for t, year in enumerate(YEARS)]
    sample = write_sample(tmp_path / "s.csv", [3, 9], [3, 3], {"change": [0, 1], "stratum": ["a", "b"]})
    for more in (
        (),
        ("--stratum", "Stratum"),
        ("--stratum", "stratum", "--strata-sizes", tmp_path / "none.csv"),
    ):
        ended = isamap("change", *maps, *years(), "-o", "out", "--sample", sample, *more)
        assert ended.code in (65, 66), ended.err
    assert isamap("change", *maps, *years(), "-o", "out", "--sample", "none.csv", "--dry-run").code == 66
    assert not Path("out").exists()


def test_a_sample_may_be_one_layer_of_several(ground, tmp_path):
    change, _, truth = ground
    rows, cols = drawn(80)
    left, top = grid_of().transform * (0, 0)
    places = shapely.to_wkb(shapely.points(left + cols + 0.5, top - rows - 0.5))
    for layer, seen in (("other", np.full(80, 9)), ("points", truth[0][rows, cols] * 0)):
        pyogrio.raw.write(
            *(tmp_path / "s.gpkg", places, [seen.astype(np.int32)], ["change"]),
            layer=layer,
            crs="EPSG:32648",
            geometry_type="Point",
            driver="GPKG",
            append=layer == "points",
        )
    ended = change("--sample", f"{tmp_path / 's.gpkg'}:points", "--json")
    assert ended.code == 0, ended.err
    assert "has the layers other, points" in change("--sample", tmp_path / "s.gpkg").err


def test_a_class_without_points_is_refused_where_others_were_sampled_more_densely(ground, tmp_path):
    change, kinds, truth = ground
    rows, cols = drawn()
    kept = kinds[rows, cols] != changes.LOSS
    rows, cols = rows[kept], cols[kept]
    first, last = truth[:, rows, cols].astype(int)
    sample = write_sample(tmp_path / "s.csv", rows, cols, {"isa_2017": first, "isa_2023": last})
    ended = change("--sample", sample)
    assert ended.code == 65
    assert "fewer than two points lie on sustained loss of the change map" in ended.err


SIZES = {0: 8e6, 1: 2e6}


def quiet(misses=0, units=80):
    """Points of two strata without an error but some misses in the first."""
    mapped = np.repeat([0, 1], units)
    first = mapped.copy()
    first[:misses] = 1
    return Observed(plan_of_classes(mapped, SIZES), {2017: first, 2023: first.copy()})


def test_a_sample_without_an_error_is_not_certain():
    found = estimates(quiet(), (2017, 2023))
    top = score_interval(0, 80)[1]
    assert found["gain (km²)"].value == found["gain (km²)"].se == 0
    # both strata may have gained: the ends of their shares, joined by squares
    assert found["gain (km²)"].high == pytest.approx(math.hypot(8 * top, 2 * top))
    assert found["ISA 2017 (km²)"].value == 2
    assert found["ISA 2017 (km²)"].high == pytest.approx(2 + 8 * top)
    assert found["ISA 2017 (km²)"].low == pytest.approx(2 - 2 * top)
    growth = found["growth"]
    assert growth.low < 0 < growth.high
    # the gain of the pervious ground, and what was no ISA yet of the impervious
    assert growth.high == pytest.approx(math.hypot(8 * top / 2, 2 / (2 - 2 * top) - 1))
    assert found["annual rate"].high == pytest.approx((1 + growth.high) ** (1 / 6) - 1)
    assert {(one.stratum, one.met, one.units) for one in rare(quiet())} == {
        ("stable pervious", 0, 80),
        ("stable impervious", 0, 80),
    }


def test_many_errors_leave_the_normal_interval():
    rng = np.random.default_rng(1)
    mapped = np.repeat([0, 1], 400)
    first, last = (mapped ^ (rng.random(800) < 0.2) for _ in range(2))
    observed = Observed(plan_of_classes(mapped, SIZES), {2017: first, 2023: last})
    assert rare(observed) == ()
    for one in estimates(observed, (2017, 2023)).values():
        assert one.high - one.value == pytest.approx(1.96 * one.se)


def test_intervals_hold_the_truth_where_changes_are_rare():
    """One change in a hundred points of stable ground: normal intervals hold the truth in two of three samples."""
    rng, held, normal = np.random.default_rng(4), 0, 0
    for _ in range(300):
        mapped = np.repeat([0, 1], 100)
        first = mapped.copy()
        last = np.where((mapped == 0) & (rng.random(200) < 0.01), 1, first)
        observed = Observed(plan_of_classes(mapped, SIZES), {2017: first, 2023: last})
        gain = estimates(observed, (2017, 2023))["gain (km²)"]
        held += gain.low <= 0.08 <= gain.high
        normal += abs(gain.value - 0.08) <= 1.96 * gain.se
    assert normal < 0.75 * 300
    assert held > 0.95 * 300


def simulated(seen):
    """A map's classes and strata, and states that are so, of ground of 20 000 pixels of 100 m2.

    What is built lies near what is there, and the map has a share of it; a tenth of the ground has too few looks.
    """
    rng, pixels = np.random.default_rng(6), 20_000
    near = np.arange(pixels) < 4000
    first = np.where(near, rng.random(pixels) < 0.3, rng.random(pixels) < 0.02).astype(int)
    last = np.where(near & (rng.random(pixels) < 0.1), 1, first)
    shown = np.where(rng.random(pixels) < seen, last, first)
    mapped = np.select([first & shown == 1, shown == 1], [changes.IMPERVIOUS, changes.GAIN], changes.PERVIOUS)
    return np.where(rng.random(pixels) < 0.1, changes.FEW, mapped), near.astype(int), first, last


def test_strata_of_the_file_are_right_on_average_where_classes_of_the_map_are_not():
    """300 points near what is there, 100 on the other four fifths: taken for random ones, they double the gain."""
    kinds, near, first, last = simulated(0.5)
    counted = kinds != changes.FEW
    sizes = {code: (kinds == code).sum() * 100.0 for code in range(3)}
    strata = [Stratum("far", 16_000 * 100.0), Stratum("near", 4000 * 100.0)]
    truth = ((first == 0) & (last == 1) & counted).sum() / 1e4
    rng, found = np.random.default_rng(7), []
    for _ in range(200):
        at = np.concatenate([rng.choice(4000, 300), 4000 + rng.choice(16_000, 100)])
        plan = Plan(strata, near[at], Part(counted[at], sum(sizes.values())))
        here = at[counted[at]]
        pairs = (plan, at), (plan_of_classes(kinds[here], sizes), here)
        observed = [Observed(one, {2017: first[points], 2023: last[points]}) for one, points in pairs]
        found.append([estimates(one, (2017, 2023))["gain (km²)"] for one in observed])
    ours, classes = (np.array([one.value for one in column]) for column in zip(*found, strict=True))
    assert abs(ours.mean() - truth) < 3 * ours.std() / math.sqrt(200)
    assert np.mean([one.se for one, _ in found]) == pytest.approx(ours.std(), rel=0.15)
    assert np.mean([one.low <= truth <= one.high for one, _ in found]) > 0.9
    assert classes.mean() > 1.5 * truth


def test_rare_classes_leave_random_samples_right_on_average():
    """Of 100 points drawn over the whole one or two lie on the map's gain: no sample is refused, and the mean holds."""
    kinds, _, first, last = simulated(0.2)
    kinds = np.where(kinds == changes.FEW, changes.PERVIOUS, kinds)
    sizes = {code: (kinds == code).sum() * 100.0 for code in range(3)}
    assert 0 < sizes[changes.GAIN] * 1e-6 < 0.01
    truth = ((first == 0) & (last == 1)).sum() / 1e4
    rng, found, joined = np.random.default_rng(8), [], 0
    for _ in range(400):
        at = rng.choice(20_000, 100)
        plan = plan_of_classes(kinds[at], sizes)
        joined += bool(plan.joined)
        found.append(
            estimates(Observed(plan, {2017: first[at], 2023: last[at]}), (2017, 2023))["gain (km²)"].value
        )
    assert joined > 200
    assert abs(np.mean(found) - truth) < 3 * np.std(found) / math.sqrt(400)


def test_areas_of_a_unit_agree_with_each_other():
    """Half of its points have no label; its size is known all the same."""
    rng = np.random.default_rng(9)
    mapped = np.repeat([0, 1], 200)
    first, last = (mapped ^ (rng.random(400) < 0.2) for _ in range(2))
    inside = rng.random(400) < 0.15
    observed = Observed(plan_of_classes(mapped, SIZES), {2017: first, 2023: last})
    known, guess = (estimates(observed, (2017, 2023), Part(inside, size)) for size in (3e6, None))
    net = known["expansion intensity (% a year)"].value * 6 / 100 * 3
    assert known["gain (km²)"].value - known["loss (km²)"].value == pytest.approx(net)
    assert known["ISA 2023 (km²)"].value - known["ISA 2017 (km²)"].value == pytest.approx(net)
    share = known["ISA 2023 (km²)"].value / 3
    weight = np.where(mapped == 0, 8 / 200, 2 / 200)
    assert share == pytest.approx((weight * last * inside).sum() / (weight * inside).sum())
    assert guess["ISA 2023 (km²)"].value == pytest.approx((weight * last * inside).sum())


def test_a_column_of_a_year_that_nobody_needs_may_hold_anything():
    columns = {"change": ["0", "2", ""], "isa_2018": ["35", "80", "0"]}
    states = observed_states(columns, (2018, 2021), "s.csv")
    assert {year: found.tolist() for year, found in states.items()} == {2018: [0, 0, -1], 2021: [0, 1, -1]}
    with pytest.raises(InputError, match="isa_2018 of point 1 is '35'"):
        observed_states({**columns, "isa_2021": ["0", "1", "0"]}, (2018, 2021), "s.csv")
