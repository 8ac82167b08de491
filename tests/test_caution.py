"""Intervals where hardly any error was met."""

import math

import numpy as np
import pytest

from isamap.domain.caution import FEW, cautious, score_interval
from isamap.domain.estimation import Stratum, estimate

STRATA = [Stratum("rest", 9e5), Stratum("built", 1e5)]


def sample(misses, alarms, units=300):
    """Points of two strata that are the map's classes."""
    stratum = np.repeat([0, 1], units)
    mapped = stratum.copy()
    observed = mapped.copy()
    observed[:misses], observed[units : units + alarms] = 1, 0
    return STRATA, stratum, mapped, observed


@pytest.mark.parametrize(
    ("met", "low", "high"), [(0, 0.0, 0.01264), (1, 0.00059, 0.01862), (10, 0.0182, 0.0603)]
)
def test_score_intervals_are_those_of_the_formula(met, low, high):
    found = score_interval(met, 300)
    assert found == pytest.approx((low, high), abs=1e-4)
    for end in found[met == 0 :]:  # Wilson's equation: the share lies z standard errors from each end
        assert abs(met / 300 - end) == pytest.approx(1.96 * math.sqrt(end * (1 - end) / 300))


def test_a_stratum_without_an_error_is_not_certain():
    drawn = sample(0, 30)
    plain = estimate(*drawn)
    found, rare = cautious(plain, *drawn)
    assert [(one.stratum, one.kind, one.met) for one in rare] == [("rest", "misses", 0)]
    assert found.producers[1].value == 1
    assert plain.producers[1].low == 1
    assert found.producers[1].low < 0.92
    assert found.area[1].high - found.area[1].value > 9e5 * 0.012
    assert found.area[1].low == pytest.approx(plain.area[1].low)
    assert found.users[1] == plain.users[1] or found.users[1].low == pytest.approx(plain.users[1].low)


def test_many_errors_leave_the_normal_interval():
    drawn = sample(FEW, 30)
    plain = estimate(*drawn)
    found, rare = cautious(plain, *drawn)
    assert not rare
    assert found is plain


def test_values_and_standard_errors_stay_and_intervals_never_shrink():
    for misses in range(FEW):
        drawn = sample(misses, 12)
        plain = estimate(*drawn)
        found, _ = cautious(plain, *drawn)
        for one, other in (
            (plain.overall, found.overall),
            (plain.f1, found.f1),
            (plain.iou, found.iou),
            *(
                (getattr(plain, name)[code], getattr(found, name)[code])
                for name in ("users", "producers", "area")
                for code in (0, 1)
            ),
        ):
            assert (one.value, one.se) == (other.value, other.se)
            assert other.low <= one.low + 1e-9
            assert other.high >= one.high - 1e-9


def test_a_class_that_was_never_met_stays_undefined():
    strata, stratum = [Stratum("all", 1.0)], np.zeros(50, int)
    nothing = np.zeros(50, int)
    found, _ = cautious(estimate(strata, stratum, nothing, nothing), strata, stratum, nothing, nothing)
    assert math.isnan(found.users[1].low)
    assert found.overall.low < 1
