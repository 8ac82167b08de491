"""Estimators against worked examples of the papers, against plain loops and against resampling."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isamap.domain.accuracy import Confusion
from isamap.domain.estimation import Estimate, Stratum, design_of, estimate, ratio
from isamap.errors import InputError

IN_ANY_TIME = settings(deadline=None, max_examples=40)

# Olofsson et al. 2014, Remote Sensing of Environment 148, 42-57, section 5, tables 8 and 9: deforestation, forest
# gain, stable forest, stable non-forest; strata are the map classes, sizes in pixels of 30 m.
OLOFSSON_SIZES = [200_000, 150_000, 3_200_000, 6_450_000]
OLOFSSON_COUNTS = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
HECTARES_PER_PIXEL = 0.09

# Stehman 2014, Int. J. Remote Sensing 35, 4923-4939, table 2: ten units in each of four strata that are no map
# classes. The rows are the same in the examples of two R packages (mapaccuracy, mapac) and a Python one.
STEHMAN_SIZES = [40_000, 30_000, 20_000, 10_000]
STEHMAN_MAPPED = "AAAAAAABBB ABBBBBBBBB BBCCCCCCBB DDDDDDDDDD"
STEHMAN_OBSERVED = "AAAAACBABC ABBBBBAABB CCCCCDDBBA DDDDDDDCCB"


def figures_of(one):
    return one.value, one.se


def strata_of_sizes(sizes):
    return [Stratum(f"stratum {number}", size) for number, size in enumerate(sizes)]


def units_of(counts):
    """Mapped and observed class of each unit of a matrix of counts."""
    rows, columns = np.indices(np.shape(counts))
    return rows.repeat(np.ravel(counts)), columns.repeat(np.ravel(counts))


@pytest.fixture
def olofsson():
    mapped, observed = units_of(OLOFSSON_COUNTS)
    return estimate(strata_of_sizes(OLOFSSON_SIZES), mapped, mapped, observed, classes=(0, 1, 2, 3))


def stehman_sample():
    mapped, observed = (
        np.array(["ABCD".index(letter) for letter in letters.replace(" ", "")])
        for letters in (STEHMAN_MAPPED, STEHMAN_OBSERVED)
    )
    return strata_of_sizes(STEHMAN_SIZES), np.arange(4).repeat(10), mapped, observed


@pytest.fixture
def stehman():
    return estimate(*stehman_sample(), classes=(0, 1, 2, 3))


def small_sample(rng, strata=3, units=60, classes=2):
    """A sample in which every stratum and class occurs; map and reference agree for the most part."""
    stratum = np.arange(units) % strata
    observed = rng.integers(classes, size=units)
    mapped = np.where(rng.random(units) < 0.7, observed, rng.integers(classes, size=units))
    sizes = rng.uniform(1, 100, strata)
    return strata_of_sizes(sizes.tolist()), stratum, mapped, observed


def half_width(estimate):
    return 1.96 * estimate.se


def test_olofssons_example_gives_the_accuracies_that_were_printed(olofsson):
    assert round(olofsson.overall.value, 2) == 0.95
    assert round(half_width(olofsson.overall), 2) == 0.02
    users = [(round(one.value, 2), round(half_width(one), 2)) for one in olofsson.users.values()]
    assert users == [(0.88, 0.07), (0.73, 0.10), (0.93, 0.04), (0.96, 0.02)]
    assert [round(one.value, 2) for one in olofsson.producers.values()] == [0.75, 0.85, 0.93, 0.96]


def test_olofssons_example_gives_the_half_widths_of_the_papers_own_equation(olofsson):
    """The text prints 0.21, 0.23, 0.03 and 0.01; its equation 7 gives 0.254 for the second, 0.018 for the last.

    The second and the last are misprints: `by_the_papers_equations` below is equation 7.
    """
    widths = [round(half_width(one), 3) for one in olofsson.producers.values()]
    assert widths == [0.213, 0.254, 0.034, 0.018]


def test_intervals_are_the_papers_but_end_where_shares_and_areas_do(olofsson):
    """Producer's accuracy of the second class is 0.851 -+ 0.254: more than all of it cannot be mapped right."""
    second = olofsson.producers[1]
    assert second.value + half_width(second) > 1.1
    assert (second.low, second.high) == pytest.approx((second.value - half_width(second), 1))
    for one in (olofsson.overall, *olofsson.users.values(), *olofsson.producers.values()):
        assert (one.low, one.high) == pytest.approx(
            (max(0, one.value - half_width(one)), min(1, one.value + half_width(one)))
        )
        assert one.interval == "normal"
    for one in olofsson.area.values():
        assert 0 <= one.low < one.high <= sum(OLOFSSON_SIZES)


def test_olofssons_example_gives_the_areas_that_were_printed(olofsson):
    hectares = [one.value * HECTARES_PER_PIXEL for one in olofsson.area.values()]
    np.testing.assert_allclose(hectares, [21_158, 11_686, 285_770, 581_386], atol=0.5)
    assert round(olofsson.area[0].value) == 235_086
    assert round(half_width(olofsson.area[0])) == 68_418
    assert half_width(olofsson.area[0]) * HECTARES_PER_PIXEL == pytest.approx(6_158, abs=0.5)
    assert half_width(olofsson.area[3]) * HECTARES_PER_PIXEL == pytest.approx(16_282, abs=0.5)
    assert list(olofsson.mapped_area.values()) == pytest.approx(OLOFSSON_SIZES)


def test_olofssons_example_gives_the_matrix_of_proportions(olofsson):
    np.testing.assert_allclose(olofsson.matrix[0], [0.0176, 0, 0.0013, 0.0011], atol=5e-5)
    np.testing.assert_allclose(olofsson.matrix[3], [0.0040, 0.0020, 0.0179, 0.6212], atol=5e-5)
    np.testing.assert_array_equal(olofsson.counts, OLOFSSON_COUNTS)


def test_the_example_of_2013_gives_the_same_area():
    """Olofsson et al. 2013, Remote Sensing of Environment 129, 122-131, table 4.

    The figures are those that the R package mapAccuracy tests itself with; its intervals are two standard errors.
    """
    mapped, observed = units_of([[97, 0, 3], [3, 279, 18], [2, 1, 97]])
    strata = strata_of_sizes([22_353, 1_122_543, 610_228])
    found = estimate(strata, mapped, mapped, observed, classes=(0, 1, 2))
    deforested = found.area[0]
    assert deforested.value - 2 * deforested.se == pytest.approx(23_609.59, abs=0.01)
    assert deforested.value + 2 * deforested.se == pytest.approx(66_615.21, abs=0.01)
    assert found.overall.value == pytest.approx(0.9444168, abs=5e-8)
    assert found.producers[0].value == pytest.approx(0.4806308, abs=5e-8)


def test_stehmans_example_gives_what_was_printed(stehman):
    share = [Estimate(one.value / 100_000, one.se / 100_000) for one in stehman.area.values()]
    printed = {
        "overall": (stehman.overall, 0.63, 0.085),
        "share of A": (share[0], 0.35, 0.082),
        "share of C": (share[2], 0.20, 0.064),
        "user's accuracy of B": (stehman.users[1], 0.574, 0.125),
    }
    for name, (found, value, se) in printed.items():
        assert (round(found.value, 3), round(found.se, 3)) == (value, se), name
    assert round(stehman.producers[1].value, 3) == 0.794
    assert stehman.matrix[1, 2] == pytest.approx(0.08)


def test_stehmans_producers_accuracy_has_the_error_of_his_own_equation(stehman):
    """0.114 was printed, with the variance of x in the fourth stratum taken as 0; his table 3 has it as 0.10."""
    assert round(stehman.producers[1].se, 3) == 0.117
    _, stratum, mapped, observed = stehman_sample()
    y, x = ((mapped == 1) & (observed == 1)).astype(float), (observed == 1).astype(float)
    value, whole = stehman.producers[1].value, stehman.area[1].value
    variance = 0.0
    for h, size in enumerate(STEHMAN_SIZES):
        y_h, x_h = y[stratum == h], x[stratum == h]
        (s_yy, s_xy), (_, s_xx) = np.cov(y_h, x_h)
        if h == 3:
            assert s_xx == pytest.approx(0.10)
            s_xx = 0
        variance += size**2 * (s_yy + value**2 * s_xx - 2 * value * s_xy) / 10
    assert round(math.sqrt(variance) / whole, 3) == 0.114


def test_stehmans_example_gives_what_another_package_gives(stehman):
    """User's and producer's accuracy of all classes as the R package mapac prints them."""
    users = [(0.7419355, 0.1645627), (0.5744681, 0.1248023), (0.5, 0.2151657), (0.7, 0.1527525)]
    producers = [
        (0.6571429, 0.1477318),
        (0.7941176, 0.1165671),
        (0.3, 0.1504438),
        (0.6363636, 0.1623242),
    ]
    for found, expected in ((stehman.users, users), (stehman.producers, producers)):
        np.testing.assert_allclose([figures_of(one) for one in found.values()], expected, atol=5e-8)


def by_the_papers_equations(sizes, counts):
    """Value and variance of overall, user's, producer's accuracy and area, as Olofsson et al. 2014 write them."""
    sizes, counts = np.array(sizes, float), np.array(counts, float)
    n, k = counts.sum(1), len(sizes)
    share = sizes / sizes.sum()
    p = share[:, None] * counts / n[:, None]
    users = counts.diagonal() / n
    error = users * (1 - users) / (n - 1)
    figures = {"overall": (p.trace(), (share**2 * error).sum())}
    for j in range(k):
        whole = (sizes * counts[:, j] / n).sum()
        missed = [i for i in range(k) if i != j]
        other = sum(
            sizes[i] ** 2 * counts[i, j] / n[i] * (1 - counts[i, j] / n[i]) / (n[i] - 1) for i in missed
        )
        producer = p[j, j] / p[:, j].sum()
        variance = (sizes[j] ** 2 * (1 - producer) ** 2 * error[j] + producer**2 * other) / whole**2
        figures[f"user's {j}"] = (users[j], error[j])
        figures[f"producer's {j}"] = (producer, variance)
        spread = ((share * p[:, j] - p[:, j] ** 2) / (n - 1)).sum()
        figures[f"area {j}"] = (whole, sizes.sum() ** 2 * spread)
    return figures


@IN_ANY_TIME
@given(st.data())
def test_where_strata_are_map_classes_the_equations_of_olofsson_hold(data):
    k = data.draw(st.integers(2, 4))
    counts = data.draw(st.lists(st.lists(st.integers(1, 40), min_size=k, max_size=k), min_size=k, max_size=k))
    sizes = data.draw(st.lists(st.floats(1, 1e12), min_size=k, max_size=k))
    mapped, observed = units_of(counts)
    found = estimate(strata_of_sizes(sizes), mapped, mapped, observed, classes=range(k))
    expected = by_the_papers_equations(sizes, counts)
    assert (found.overall.value, found.overall.se**2) == pytest.approx(expected["overall"], rel=1e-6)
    for name, part in (("user's", found.users), ("producer's", found.producers), ("area", found.area)):
        for j, one in part.items():
            assert (one.value, one.se**2) == pytest.approx(expected[f"{name} {j}"], rel=1e-6, abs=1e-18), name


def ratio_by_loops(sizes, stratum, y, x):
    """Stehman's equations 27 and 28 without the finite population correction, written out."""
    total_y = sum(size * y[stratum == h].mean() for h, size in enumerate(sizes))
    total_x = sum(size * x[stratum == h].mean() for h, size in enumerate(sizes))
    value, variance = total_y / total_x, 0.0
    for h, size in enumerate(sizes):
        (s_yy, s_xy), (_, s_xx) = np.cov(y[stratum == h], x[stratum == h])
        spread = s_yy + value**2 * s_xx - 2 * value * s_xy
        variance += size**2 * spread / (stratum == h).sum()
    return value, math.sqrt(max(variance, 0)) / total_x


@IN_ANY_TIME
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_ratios_match_a_plain_loop(seed, strata):
    rng = np.random.default_rng(seed)
    stratum = rng.permutation(np.arange(40) % strata)
    sizes = rng.uniform(0.1, 9, strata)
    y, x = rng.uniform(0, 1, 40), rng.uniform(0.1, 2, 40)
    found = ratio(strata_of_sizes(sizes.tolist()), stratum, y, x)
    assert figures_of(found) == pytest.approx(ratio_by_loops(sizes, stratum, y, x), rel=1e-9)
    mean = ratio(strata_of_sizes(sizes.tolist()), stratum, y)
    assert figures_of(mean) == pytest.approx(ratio_by_loops(sizes, stratum, y, np.ones(40)), rel=1e-9)


def confusion(mapped, observed, weight):
    return Confusion.count(mapped == 1, observed.astype(np.uint8), weight)


@IN_ANY_TIME
@given(st.integers(0, 2**32))
def test_figures_are_those_of_the_weighted_confusion_matrix(seed):
    strata, stratum, mapped, observed = small_sample(np.random.default_rng(seed))
    found = estimate(strata, stratum, mapped, observed)
    whole = sum(one.size for one in strata)
    matrix = confusion(mapped, observed, design_of(strata, stratum).weight)
    assert found.f1.value == pytest.approx(matrix.f1)
    assert found.iou.value == pytest.approx(matrix.iou)
    assert found.overall.value == pytest.approx(matrix.overall)
    assert found.users[1].value == pytest.approx(matrix.precision)
    assert found.producers[1].value == pytest.approx(matrix.recall)
    assert found.mapped_area[1] == pytest.approx(matrix.isa_share * whole)
    np.testing.assert_allclose(
        found.matrix * whole, [[matrix.quiet, matrix.miss], [matrix.alarm, matrix.hit]]
    )
    assert found.matrix.sum() == pytest.approx(1)
    assert sum(one.value for one in found.area.values()) == pytest.approx(whole)
    assert found.area[0].se == pytest.approx(found.area[1].se)


def jackknife_se(sample, figure):
    """Spread of a figure over the samples that lack one unit, stratum by stratum."""
    strata, stratum, mapped, observed = sample
    variance = 0.0
    for h in range(len(strata)):
        units = np.flatnonzero(stratum == h)
        without = [
            figure(estimate(strata, *(np.delete(part, u) for part in (stratum, mapped, observed)))).value
            for u in units
        ]
        variance += (len(units) - 1) / len(units) * ((without - np.mean(without)) ** 2).sum()
    return math.sqrt(variance)


@pytest.mark.parametrize("name", ["overall", "users", "producers", "area", "f1", "iou"])
def test_standard_errors_agree_with_the_jackknife(name):
    def figure(accuracy):
        found = getattr(accuracy, name)
        return found[1] if isinstance(found, dict) else found

    sample = small_sample(np.random.default_rng(5), units=240)
    exact = name in ("overall", "area")
    assert figure(estimate(*sample)).se == pytest.approx(
        jackknife_se(sample, figure), rel=1e-9 if exact else 0.02
    )


def test_shares_of_reference_blocks_give_an_area():
    strata = [Stratum("town", 20e6), Stratum("country", 80e6)]
    share = np.array([0.8, 0.6, 0.7, 0.0, 0.1, 0.05])
    found = ratio(strata, np.array([0, 0, 0, 1, 1, 1]), share)
    assert found.value * 100e6 == pytest.approx(20e6 * 0.7 + 80e6 * 0.05)
    assert found.se == pytest.approx(math.sqrt(0.2**2 * 0.01 / 3 + 0.8**2 * 0.0025 / 3))


@IN_ANY_TIME
@given(st.integers(0, 2**32))
def test_neither_the_order_of_units_nor_the_unit_of_size_matters(seed):
    rng = np.random.default_rng(seed)
    strata, stratum, mapped, observed = small_sample(rng)
    order = rng.permutation(stratum.size)
    acres = [Stratum(one.name, one.size / 4047) for one in strata]
    one = estimate(strata, stratum, mapped, observed)
    other = estimate(acres, stratum[order], mapped[order], observed[order])
    assert figures_of(other.f1) == pytest.approx(figures_of(one.f1))
    assert other.area[1].se * 4047 == pytest.approx(one.area[1].se)


def test_a_census_of_the_map_is_passed_on():
    sample = small_sample(np.random.default_rng(3))
    assert estimate(*sample, mapped_area={0: 7.0, 1: 5.0}).mapped_area == {0: 7.0, 1: 5.0}
    with pytest.raises(InputError, match=r"mapped areas are of \[1\]"):
        estimate(*sample, mapped_area={1: 5.0})


def test_a_stratum_of_size_zero_changes_nothing():
    strata, stratum, mapped, observed = small_sample(np.random.default_rng(3))
    one = estimate(strata, stratum, mapped, observed)
    with_nothing = [strata[0], Stratum("sea", 0), *strata[1:]]
    other = estimate(with_nothing, stratum + (stratum > 0), mapped, observed)
    assert figures_of(one.f1) == figures_of(other.f1)
    assert one.area == other.area


def test_a_class_that_the_map_never_shows_has_no_users_accuracy_but_an_area():
    found = estimate([Stratum("all", 10)], np.zeros(4, int), np.zeros(4, int), np.array([0, 0, 0, 1]))
    assert math.isnan(found.users[1].value)
    assert math.isnan(found.users[1].se)
    assert figures_of(found.producers[1]) == (0, 0)
    assert found.area[1].value == pytest.approx(2.5)
    assert found.area[1].se == pytest.approx(10 * math.sqrt(0.25 / 4))
    assert figures_of(found.f1) == (0, 0)


def test_a_class_that_nobody_observed_has_no_producers_accuracy_and_no_area():
    found = estimate([Stratum("all", 10)], np.zeros(4, int), np.array([0, 0, 0, 1]), np.zeros(4, int))
    assert math.isnan(found.producers[1].value)
    assert figures_of(found.users[1]) == (0, 0)
    assert figures_of(found.area[1]) == (0, 0)


def test_a_class_that_is_nowhere_has_no_f1_and_json_says_null():
    found = estimate([Stratum("all", 10)], np.zeros(3, int), np.zeros(3, int), np.zeros(3, int))
    for undefined in (found.f1, found.iou, found.users[1], found.producers[1]):
        text = json.dumps(undefined.as_json(), allow_nan=False)
        assert json.loads(text) == dict.fromkeys(("value", "se", "low", "high", "interval"))
    assert found.overall.as_json() == {
        "value": 1,
        "se": 0,
        "low": 1,
        "high": 1,
        "interval": "normal",
    }


TWO = [Stratum("core", 10), Stratum("far", 90)]
FAULTS = {
    "stratum far has 0 sample units, but needs 2": (TWO, [0, 0], [1, 1], [1, 1]),
    "stratum far has 1 sample units, but needs 2": (TWO, [0, 0, 1], [1, 1, 1], [1, 1, 1]),
    "stratum sea has 2 sample units, but size 0": ([Stratum("sea", 0)], [0, 0], [1, 1], [1, 1]),
    "stratum sea has size nan": ([Stratum("sea", math.nan)], [0, 0], [1, 1], [1, 1]),
    "stratum sea has size -1": ([Stratum("sea", -1)], [0, 0], [1, 1], [1, 1]),
    "sample unit 2 is of stratum 2, not 0 to 1": (TWO, [0, 0, 2], [1, 1, 1], [1, 1, 1]),
    "sample unit 0 is of stratum -1": (TWO, [-1, 0], [1, 1], [1, 1]),
    "no units": (TWO, [], [], []),
    "no whole stratum number": (TWO, [0.0, 1.0], [1, 1], [1, 1]),
    "observed class of sample unit 1 is 255, not in": (TWO, [0, 0, 1, 1], [0, 1, 0, 1], [0, 255, 0, 1]),
    "mapped class of sample unit 3 is 7, not in": (TWO, [0, 0, 1, 1], [0, 1, 0, 7], [0, 1, 0, 1]),
    "mapped has shape (3,), the sample 4 units": (TWO, [0, 0, 1, 1], [0, 1, 0], [0, 1, 0, 1]),
}


@pytest.mark.parametrize("message", FAULTS)
def test_faulty_samples_are_refused_in_one_line(message):
    strata, stratum, *labels = FAULTS[message]
    with pytest.raises(InputError) as refusal:
        estimate(strata, np.array(stratum), *map(np.array, labels))
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert ": " in str(refusal.value), "what to do follows what was wrong"


def test_classes_have_to_differ_and_include_the_positive_one():
    sample = small_sample(np.random.default_rng(3))
    for classes, positive in (((0, 0), 0), ((0, 2), 1)):
        with pytest.raises(InputError, match="include the positive class"):
            estimate(*sample, classes=classes, positive=positive)


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="y of sample unit 1 is not a finite number"):
        ratio([Stratum("all", 1)], np.zeros(3, int), np.array([0, math.nan, 1]))
    with pytest.raises(InputError, match="x has shape"):
        ratio([Stratum("all", 1)], np.zeros(3, int), np.ones(3), np.ones(4))
