import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from isamap.domain.accuracy import Confusion

IN_ANY_TIME = settings(deadline=None, max_examples=30)
SHARES = ("precision", "recall", "f1", "iou", "mean_f1", "overall", "isa_share", "reference_share")
CLASSES = st.sampled_from([0, 1, 255])


@st.composite
def maps(draw):
    shape = draw(array_shapes(min_dims=1, max_dims=2, max_side=9))
    return (
        draw(arrays(np.bool_, shape) | arrays(np.uint8, shape, elements=CLASSES)),
        draw(arrays(np.uint8, shape, elements=CLASSES)),
        draw(arrays(np.float64, shape, elements=st.floats(0, 1e3, allow_subnormal=False))),
    )


@IN_ANY_TIME
@given(maps())
def test_counts_match_a_loop(case):
    mapped, reference, weight = case
    plain = dict.fromkeys(("hit", "alarm", "miss", "quiet"), 0.0)
    heavy = dict(plain)
    names = {(True, 1): "hit", (True, 0): "alarm", (False, 1): "miss", (False, 0): "quiet"}
    for m, r, w in zip(mapped.flat, reference.flat, weight.flat, strict=True):
        if r != 255 and m != 255:
            plain[names[bool(m), int(r)]] += 1
            heavy[names[bool(m), int(r)]] += w
    assert Confusion.count(mapped, reference) == Confusion(**plain)
    weighted = Confusion.count(mapped, reference, weight)
    assert {name: getattr(weighted, name) for name in heavy} == pytest.approx(heavy)


@IN_ANY_TIME
@given(maps(), st.integers(0, 5))
def test_the_matrix_of_the_whole_is_the_sum_of_its_parts(case, cut):
    mapped, reference, _ = case
    parts = [Confusion.count(mapped[part], reference[part]) for part in (slice(cut), slice(cut, None))]
    assert parts[0] + parts[1] == Confusion.count(mapped, reference)


@IN_ANY_TIME
@given(maps())
def test_weights_of_one_change_nothing(case):
    mapped, reference, weight = case
    assert Confusion.count(mapped, reference, np.ones_like(weight)) == Confusion.count(mapped, reference)


@IN_ANY_TIME
@given(maps(), st.floats(0.01, 100))
def test_figures_are_fractions_and_do_not_depend_on_the_unit_of_the_weights(case, unit):
    mapped, reference, weight = case
    one, other = (Confusion.count(mapped, reference, w) for w in (weight, weight * unit))
    for figure in SHARES:
        value = getattr(one, figure)
        assert math.isnan(value) or 0 <= value <= 1 + 1e-12
        assert getattr(other, figure) == pytest.approx(value, nan_ok=True)
    for figure in (one.kappa, one.mcc, one.bias):
        assert math.isnan(figure) or -1 - 1e-9 <= figure <= 1 + 1e-9


@IN_ANY_TIME
@given(maps())
def test_f1_and_iou_tell_the_same_story(case):
    score = Confusion.count(case[0], case[1])
    assert score.f1 == pytest.approx(2 * score.iou / (1 + score.iou), nan_ok=True)
    assert not score.iou > min(score.precision, score.recall)


@IN_ANY_TIME
@given(maps())
def test_map_and_reference_may_change_places(case):
    mapped, reference = np.asarray(case[0]).astype(np.uint8), case[1]
    one, other = Confusion.count(mapped, reference), Confusion.count(reference, mapped)
    assert (one.hit, one.alarm, one.miss, one.quiet) == (other.hit, other.miss, other.alarm, other.quiet)
    for figure in ("f1", "iou", "mean_f1", "overall", "kappa", "mcc"):
        assert getattr(one, figure) == pytest.approx(getattr(other, figure), nan_ok=True)
