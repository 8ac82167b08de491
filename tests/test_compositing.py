"""Composites: what the three methods promise beside being equal to their oracles."""

from typing import get_args

import numpy as np
import pytest

from isamap.domain.compositing import Method, composite, middle, ranked
from isamap.domain.geomedian import geometric_median

METHODS = get_args(Method)


def looks(*values):
    """A stack of single-pixel scenes, the same in six bands."""
    return np.array(values, np.uint16)[:, None, None, None].repeat(6, 1)


def clear(*flags):
    return np.array(flags, bool)[:, None, None]


@pytest.mark.parametrize("method", METHODS)
def test_no_clear_look_gives_zero_and_counts_zero(method):
    values, counts = composite(method, looks(100, 200), clear(False, False))
    assert not values.any()
    assert not counts.any()
    assert values.dtype == counts.dtype == np.uint16


@pytest.mark.parametrize("method", METHODS)
def test_a_single_clear_look_is_the_composite(method):
    values, counts = composite(method, looks(5, 65534, 7), clear(False, True, False))
    assert (values == 65534).all()
    assert counts.item() == 1


@pytest.mark.parametrize("method", METHODS)
def test_the_stack_is_left_as_it_is(method):
    stack, flags = looks(3, 1, 2), clear(True, True, True)
    before = stack.copy()
    composite(method, stack, flags)
    assert (stack == before).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [((1, 2), 2), ((1, 3), 2), ((65534, 65533), 65534), ((4, 1, 9), 4), ((1, 2, 3, 9), 3)],
)
def test_the_middle_of_an_even_number_is_rounded_half_up(values, expected):
    assert (
        composite("median", looks(*values), clear(*[True] * len(values)))[0].ravel().tolist()
        == [expected] * 6
    )


def test_every_count_and_size_of_network_finds_the_middle():
    rng = np.random.default_rng(0)
    for size in range(1, 40):
        values = rng.integers(1, 50, (size, 200)).astype(np.uint16)
        flags = rng.random((size, 200)) < rng.random(200)
        found = middle(values, flags)
        for pixel in range(200):
            own = values[flags[:, pixel], pixel]
            assert found[pixel] == (np.floor(np.median(own) + 0.5) if own.size else 0)


def test_the_best_date_gives_all_bands_of_a_pixel():
    rng = np.random.default_rng(1)
    stack = rng.integers(1, 9000, (5, 6, 12, 12)).astype(np.uint16)
    flags = rng.random((5, 12, 12)) < 0.5
    values, counts = composite("best", stack, flags, ranked(flags))
    same = (stack == values[None]).all(axis=1) & flags
    assert (same.any(axis=0) == (counts > 0)).all()
    most = max(range(5), key=lambda k: flags[k].sum())
    assert (values[:, flags[most]] == stack[most][:, flags[most]]).all()


def test_scenes_are_ranked_by_clear_share_then_by_their_ties():
    flags = np.zeros((4, 1, 4), bool)
    flags[0, 0, :2], flags[1, 0, :3], flags[2, 0, :2], flags[3, 0, :2] = True, True, True, True
    ties = [
        ("02.12", "2021-01-01", "a"),
        ("02.12", "2021-02-01", "b"),
        ("05.00", "2021-01-01", "c"),
        ("02.12", "2021-03-01", "d"),
    ]
    assert ranked(flags, ties) == [1, 2, 3, 0]
    assert ranked(flags) == [1, 0, 2, 3]


def test_the_geometric_median_resists_what_breaks_the_mean():
    good = np.array([300, 500, 400, 3000, 1800, 900])
    stack = np.stack([good + k for k in range(-3, 4)] + [good + 5000] * 3)[:, :, None].astype(np.uint16)
    found = geometric_median(stack, np.ones((10, 1), bool))[:, 0]
    assert np.abs(found.astype(int) - good).max() <= 3


def test_the_geometric_median_minimises_the_sum_of_distances():
    rng = np.random.default_rng(2)
    points = rng.integers(100, 6000, (9, 6, 50)).astype(np.uint16)
    found = geometric_median(points, np.ones((9, 50), bool)).astype(float)

    def cost(at):
        return np.sqrt(((points - at[None]) ** 2).sum(axis=1)).sum(axis=0)

    for _ in range(50):
        assert (cost(found) <= cost(found + rng.normal(0, 5, found.shape)) + 0.2).all()


def test_a_look_that_is_the_geometric_median_is_found_although_the_iteration_meets_it():
    cross = np.array([[2, 2], [0, 2], [4, 2], [2, 0], [2, 4]]) * 100 + 100
    assert geometric_median(cross[:, :, None].astype(np.uint16), np.ones((5, 1), bool)).ravel().tolist() == [
        300,
        300,
    ]
    lone = np.array([[10, 10]] * 4 + [[500, 900]])
    assert geometric_median(lone[:, :, None].astype(np.uint16), np.ones((5, 1), bool)).ravel().tolist() == [
        10,
        10,
    ]


def test_scratch_memory_is_small_beside_the_stack():
    import tracemalloc

    rng = np.random.default_rng(3)
    stack = rng.integers(1, 9000, (24, 6, 256, 512)).astype(np.uint16)
    flags = rng.random((24, 256, 512)) < 0.6
    for method in METHODS:
        tracemalloc.start()
        composite(method, stack, flags)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        results = 8 * 256 * 512 * 2
        assert peak - results < 60e6, (method, peak)
