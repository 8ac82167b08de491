import math
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from isamap.domain.fraction import FractionScore, shares

IN_ANY_TIME = settings(deadline=None, max_examples=30)
CLASSES = st.sampled_from([0, 1, 255])


@st.composite
def pairs(draw):
    shape = draw(array_shapes(min_dims=1, max_dims=2, max_side=7))
    share = st.floats(0, 1, width=32, allow_subnormal=False) | st.just(np.nan)
    weight = st.floats(0.01, 10) | st.just(0.0)
    return tuple(draw(arrays(np.float64, shape, elements=kind)) for kind in (share, share, weight))


@IN_ANY_TIME
@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=11), elements=CLASSES), st.integers(1, 6)
)
def test_shares_match_a_loop(isa, factor):
    share, valid = shares(isa, factor)
    assert share.dtype == valid.dtype == np.float32
    assert share.shape == tuple(-(-side // factor) for side in isa.shape)
    for (row, col), value in np.ndenumerate(share):
        cell = isa[row * factor : (row + 1) * factor, col * factor : (col + 1) * factor]
        known = cell[cell != 255]
        assert valid[row, col] == np.float32(known.size / factor**2)
        assert value == pytest.approx(known.mean() if known.size else np.nan, nan_ok=True)


@pytest.mark.parametrize("factor", [10, 30, 100, 300])
def test_shares_of_large_cells_do_not_overflow(factor):
    isa = np.ones((600, 600), np.uint8)
    share, valid = shares(isa, factor)
    assert (share == 1).all()
    assert (valid == 1).all()


def test_shares_of_a_window_without_its_halo():
    isa = np.random.default_rng(2).integers(0, 2, (46, 46)).astype(np.uint8)
    inner = isa[3:-3, 3:-3]
    np.testing.assert_array_equal(shares(inner, 10)[0], shares(inner.copy(), 10)[0])


def test_a_cell_without_a_side_is_refused():
    with pytest.raises(ValueError, match="at least one pixel"):
        shares(np.zeros((4, 4), np.uint8), 0)


@IN_ANY_TIME
@given(pairs())
def test_figures_match_their_formulas(case):
    mapped, reference, weight = case
    score = FractionScore.count(mapped, reference, weight)
    scored = ~np.isnan(mapped) & ~np.isnan(reference) & (weight > 0)
    m, r, w = mapped[scored], reference[scored], weight[scored]
    assert score.n == scored.sum()
    if not score.n:
        assert math.isnan(score.mae)
        return
    w = w / w.sum()
    assert score.mae == pytest.approx(sum(w * abs(m - r)))
    assert score.rmse == pytest.approx(sum(w * (m - r) ** 2) ** 0.5)
    assert score.bias == pytest.approx(sum(w * m) - sum(w * r), abs=1e-12)
    spread = sum(w * (r - sum(w * r)) ** 2)
    if spread > 1e-8:
        joint = sum(w * (m - sum(w * m)) * (r - sum(w * r)))
        assert score.slope == pytest.approx(joint / spread, abs=1e-6)
        assert score.r2 == pytest.approx(1 - sum(w * (m - r) ** 2) / spread)


@IN_ANY_TIME
@given(pairs(), st.lists(st.integers(0, 7), max_size=3))
def test_the_score_of_the_whole_is_the_sum_of_its_parts(case, cuts):
    edges = [0, *sorted(cuts), len(case[0])]
    parts = [
        FractionScore.count(*(a[start:stop] for a in case)) for start, stop in pairwise(edges) if start < stop
    ]
    whole, summed = FractionScore.count(*case), reduce(add, parts, FractionScore())
    assert summed.n == whole.n
    for name in ("mae", "rmse", "bias"):
        assert getattr(summed, name) == pytest.approx(getattr(whole, name), abs=1e-12, nan_ok=True)
    for name in ("spread_reference", "joint"):
        assert getattr(summed, name) == pytest.approx(getattr(whole, name), abs=1e-12)


def test_nearly_constant_shares_keep_their_variance_over_many_windows():
    rng = np.random.default_rng(3)
    reference = 0.5 + rng.normal(0, 1e-6, (200, 500))
    mapped = reference + 0.1
    summed = sum((FractionScore.count(m, r) for m, r in zip(mapped, reference, strict=True)), FractionScore())
    assert summed.slope == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_one_class_only_has_no_regression(share):
    rng = np.random.default_rng(4)
    reference, mapped = np.full((9, 9), share, np.float32), rng.random((9, 9)).astype(np.float32)
    weight = rng.random((9, 9))
    score = sum((FractionScore.count(mapped[i], reference[i], weight[i]) for i in range(9)), FractionScore())
    assert math.isfinite(score.mae)
    assert math.isnan(score.r2)
    assert math.isnan(score.slope)
    assert FractionScore.count(reference, mapped).slope == pytest.approx(0, abs=1e-6)


def test_nothing_known_is_nothing_said():
    nothing = FractionScore.count(np.full(4, np.nan), np.zeros(4))
    assert nothing == FractionScore() == FractionScore() + nothing
    assert nothing.n == 0
    for figure in (nothing.mae, nothing.rmse, nothing.bias, nothing.r2, nothing.slope):
        assert math.isnan(figure)


def test_maps_are_compared_on_the_ground_that_both_know():
    reference = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], np.uint8)
    mapped = np.array([[1, 255, 0, 1], [1, 0, 255, 1]], np.uint8)
    score = FractionScore.compare_all(mapped, reference, (2,))[2]
    assert (score.n, score.weight) == (2, 1.5)
    assert score.mean_map == pytest.approx((0.75 * 2 / 3 + 0.75 * 2 / 3) / 1.5)
    assert score.mean_reference == pytest.approx(0.75 / 1.5)
    assert FractionScore.compare_all(reference, reference, (2,))[2].mae == 0


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("shape", [(60, 90), (61, 97), (7, 5)])
def test_several_supports_at_once_are_those_of_each_alone(shape, gaps):
    rng = np.random.default_rng(4)
    mapped, reference = rng.integers(0, 2, (2, *shape)).astype(np.uint8)
    if gaps:
        mapped[:5], reference[:, 2] = 255, 255
    known = (mapped < 2) & (reference < 2)
    for factor, found in FractionScore.compare_all(mapped, reference, (5, 15, 20)).items():
        m, weight = shares(np.where(known, mapped, np.uint8(255)), factor)
        r, _ = shares(np.where(known, reference, np.uint8(255)), factor)
        assert found == FractionScore.count(m, r, weight)


def test_shares_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        FractionScore.count(np.zeros(3), np.zeros(4))
