"""Sums of bits over square cells, against loops over the pixels."""

import numpy as np
import pytest

from isamap.domain.bits import plane_of
from isamap.domain.cell_sums import cell_sums, joined

FACTORS = [1, 2, 3, 10, 15, 16, 17, 30, 100, 255, 256, 257, 300, 1000]


def looped(mask, factor):
    """Ones of every cell."""
    starts = [range(0, side, factor) for side in mask.shape]
    return [[mask[y : y + factor, x : x + factor].sum() for x in starts[1]] for y in starts[0]]


@pytest.mark.parametrize("share", [0.03, 0.6, 1])
@pytest.mark.parametrize("factor", FACTORS)
def test_cells_of_any_size_are_counted_as_a_loop_would(factor, share):
    side = 601 if factor >= 10 else 101
    mask = np.random.default_rng(factor).random((side, side - 78)) < share
    sums = cell_sums(plane_of(mask), (slice(0, side), slice(0, side - 78)), factor)
    assert sums.dtype == np.int64
    np.testing.assert_array_equal(sums, looped(mask, factor))


@pytest.mark.parametrize("corner", [(16, 16), (3, 5), (0, 70)])
@pytest.mark.parametrize("factor", [7, 10, 300])
def test_what_lies_beside_the_window_is_not_counted(factor, corner):
    mask = np.random.default_rng(4).random((400, 500)) < 0.5
    rows, cols = (slice(start, start + 317) for start in corner)
    np.testing.assert_array_equal(
        cell_sums(plane_of(mask), (rows, cols), factor), looped(mask[rows, cols], factor)
    )


def test_sums_of_cells_are_joined_to_those_of_larger_ones():
    mask = np.random.default_rng(5).random((445, 333)) < 0.5
    window = slice(0, 445), slice(0, 333)
    np.testing.assert_array_equal(
        joined(cell_sums(plane_of(mask), window, 10), 3), cell_sums(plane_of(mask), window, 30)
    )
