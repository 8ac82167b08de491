"""Windows in which the shift between years is measured."""

import numpy as np
import pytest

from isamap.domain.grid import Window
from isamap.domain.shift_places import FURTHER, SAMPLE_PX, further_places, places


@pytest.mark.parametrize("shape", [(1, 900), (100, 384), (385, 700), (1100, 1536)])
def test_small_maps_are_covered(shape):
    seen = np.zeros(shape, bool)
    for one in places(Window(0, 0, *shape)):
        assert one.clip(shape) == one
        seen[one.row_off : one.row_off + one.height, one.col_off : one.col_off + one.width] = True
    assert seen.all()
    assert further_places(Window(0, 0, *shape)) == []


def test_a_full_tile_is_looked_at_in_nine_blocks():
    starts = (2048, 4608, 7168)
    windows = [Window(row, col, 384, 384) for row in starts for col in starts]
    assert places(Window(0, 0, 10_240, 10_240)) == windows


@pytest.mark.parametrize("side", [1537, 2048, 3000, 4095, 4096, 7000, 10_240, 100_000])
def test_windows_lie_inside_are_of_one_shape_and_not_too_many(side):
    within = Window(5, 7, side, side)
    first, further = places(within), further_places(within)
    for one in first + further:
        assert (one.height, one.width) == (SAMPLE_PX, SAMPLE_PX)
        assert 5 <= one.row_off <= 5 + side - SAMPLE_PX
        assert 7 <= one.col_off <= 7 + side - SAMPLE_PX
    assert len(first) <= 16
    assert len(further) <= FURTHER**2
    assert not set(first) & set(further)
    assert max(one.row_off for one in first) + SAMPLE_PX > 0.6 * side
