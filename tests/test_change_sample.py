"""`isamap change --sample`: which ground is estimated, from which points, and how sure."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from test_change import SIDE, YEARS, grid_of, rasters, striped, write_map, years

from isamap.domain import changes
from isamap.domain.caution import score_interval
from isamap.domain.change_sample import Observed, estimates, rare
from isamap.domain.ground_area import pixel_area_m2

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


SIZES = {0: 8e6, 1: 2e6}


def quiet(misses=0, units=80):
    """Points of two strata without an error but some misses in the first."""
    mapped = np.repeat([0, 1], units)
    first = mapped.copy()
    first[:misses] = 1
    return Observed(mapped, {2017: first, 2023: first.copy()})


def test_a_sample_without_an_error_is_not_certain():
    found = estimates(quiet(), SIZES, (2017, 2023))
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
    assert {(one.stratum, one.met, one.units) for one in rare(quiet(), SIZES)} == {
        ("stable pervious", 0, 80),
        ("stable impervious", 0, 80),
    }


def test_many_errors_leave_the_normal_interval():
    rng = np.random.default_rng(1)
    mapped = np.repeat([0, 1], 400)
    first, last = (mapped ^ (rng.random(800) < 0.2) for _ in range(2))
    observed = Observed(mapped, {2017: first, 2023: last})
    assert rare(observed, SIZES) == ()
    for one in estimates(observed, SIZES, (2017, 2023)).values():
        assert one.high - one.value == pytest.approx(1.96 * one.se)


def test_intervals_hold_the_truth_where_changes_are_rare():
    """One change in a hundred points of stable ground: normal intervals hold the truth in two of three samples."""
    rng, held, normal = np.random.default_rng(4), 0, 0
    for _ in range(300):
        mapped = np.repeat([0, 1], 100)
        first = mapped.copy()
        last = np.where((mapped == 0) & (rng.random(200) < 0.01), 1, first)
        gain = estimates(Observed(mapped, {2017: first, 2023: last}), SIZES, (2017, 2023))["gain (km²)"]
        held += gain.low <= 0.08 <= gain.high
        normal += abs(gain.value - 0.08) <= 1.96 * gain.se
    assert normal < 0.75 * 300
    assert held > 0.95 * 300
