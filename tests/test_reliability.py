import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from isamap.domain.accuracy import Confusion
from isamap.domain.reliability import Reliability
from isamap.errors import InputError

IN_ANY_TIME = settings(deadline=None, max_examples=30)


@st.composite
def maps(draw):
    shape = draw(array_shapes(min_dims=1, max_dims=2, max_side=9))
    percent = st.integers(0, 100) | st.just(255)
    return (
        draw(arrays(np.uint8, shape, elements=percent)),
        draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 255]))),
    )


def scored(case):
    percent, truth = case
    known = (percent != 255) & (truth != 255)
    return percent[known].astype(int), truth[known].astype(int)


@IN_ANY_TIME
@given(maps())
def test_the_histogram_matches_a_loop(case):
    counts = np.zeros((2, 101), int)
    for percent, truth in zip(*scored(case), strict=True):
        counts[truth, percent] += 1
    np.testing.assert_array_equal(Reliability.count(*case).counts, counts)


@IN_ANY_TIME
@given(maps(), st.integers(0, 9))
def test_the_histogram_of_the_whole_is_the_sum_of_its_parts(case, cut):
    parts = [Reliability.count(*(a[part] for a in case)) for part in (slice(cut), slice(cut, None))]
    np.testing.assert_array_equal((parts[0] + parts[1]).counts, Reliability.count(*case).counts)


@IN_ANY_TIME
@given(maps())
def test_figures_match_their_formulas(case):
    percent, truth = scored(case)
    found = Reliability.count(*case)
    assert found.n == len(percent)
    if not found.n:
        for figure in (found.ece, found.brier, found.average_precision, found.best_threshold()):
            assert math.isnan(figure)
        return
    assert found.brier == pytest.approx(np.mean((percent / 100 - truth) ** 2))
    error = 0.0
    for number in range(10):
        inside = (percent > 10 * number) | ((percent == 0) & (number == 0))
        inside &= percent <= 10 * number + 10
        if inside.any():
            error += abs(truth[inside].mean() - percent[inside].mean() / 100) * inside.mean()
    assert found.ece == pytest.approx(error)
    if 0 < truth.sum() < found.n:
        area, recall = 0.0, 0.0
        for threshold in range(100, -1, -1):
            matrix = Confusion.count(percent >= threshold, truth.astype(np.uint8))
            if matrix.hit:
                area += (matrix.recall - recall) * matrix.precision
                recall = matrix.recall
        assert found.average_precision == pytest.approx(area)
    else:
        assert math.isnan(found.average_precision)


@IN_ANY_TIME
@given(maps())
def test_no_threshold_beats_the_best(case):
    found = Reliability.count(*case)
    best = found.best_threshold()
    if math.isnan(best):
        assert not found.counts[1].any()
        return
    percent, truth = scored(case)
    matrices = [Confusion.count(percent >= threshold, truth.astype(np.uint8)) for threshold in range(101)]
    chosen = matrices[round(100 * best)]
    assert chosen.f1 == max(m.f1 for m in matrices)
    assert chosen.iou == max(m.iou for m in matrices)


def test_perfect_probabilities_are_calibrated_and_rank_perfectly():
    truth = np.array([0, 1, 1, 0, 0], np.uint8)
    found = Reliability.count(truth * np.uint8(100), truth)
    assert (found.ece, found.brier, found.average_precision) == (0, 0, 1)
    assert found.best_threshold() == 0.01


def test_the_curve_tells_what_was_found_where_70_percent_were_promised():
    percent, truth = np.full(10, 70, np.uint8), np.repeat(np.array([0, 1], np.uint8), [6, 4])
    found = Reliability.count(percent, truth)
    curve = found.curve()
    assert curve.count.tolist() == [0] * 6 + [10] + [0] * 3
    assert (curve.predicted[6], curve.observed[6]) == pytest.approx((0.7, 0.4))
    assert curve.predicted[0] == 0.05
    assert np.isnan(curve.observed).sum() == 9
    assert found.ece == pytest.approx(0.3)


def test_knowing_nothing_ranks_as_well_as_the_share_of_isa():
    truth = (np.arange(100) < 18).astype(np.uint8)
    found = Reliability.count(np.full(100, 40, np.uint8), truth)
    assert found.average_precision == pytest.approx(0.18)


@pytest.mark.parametrize("only", [0, 1])
def test_one_class_only_cannot_be_ranked(only):
    found = Reliability.count(np.array([10, 60], np.uint8), np.full(2, only, np.uint8))
    assert math.isnan(found.average_precision)
    assert math.isnan(found.best_threshold()) == (only == 0)
    assert math.isfinite(found.brier)


def test_nodata_everywhere_says_nothing():
    found = Reliability.count(np.full((3, 3), 255, np.uint8), np.ones((3, 3), np.uint8))
    assert found.n == 0


def test_windows_with_a_halo_cut_off_count_as_their_copies():
    rng = np.random.default_rng(1)
    percent, truth = rng.integers(0, 101, (33, 35)).astype(np.uint8), rng.integers(0, 2, (33, 35))
    inner = np.s_[2:-2, 3:-3]
    one = Reliability.count(percent[inner], truth[inner])
    other = Reliability.count(percent[inner].copy(), truth[inner].astype(np.uint8))
    np.testing.assert_array_equal(one.counts, other.counts)


def test_more_than_100_percent_is_refused():
    with pytest.raises(InputError, match="137"):
        Reliability.count(np.array([20, 137, 255], np.uint8), np.zeros(3, np.uint8))


def test_arrays_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        Reliability.count(np.zeros(3, np.uint8), np.zeros(4, np.uint8))
