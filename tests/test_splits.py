"""Splits of ground."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isamap.domain.split_pixels import assign, block_sums, least_distance, runs
from isamap.domain.splits import CODES, TEST, TRAIN, VAL, Block, Rules, density, plan
from isamap.errors import InputError

SIDE_M = 640.0


def lattice(width, height, *, frames=1, seed=0, share=None):
    rng = np.random.default_rng(seed)
    return [
        Block(f"f{frame}", ix, iy, SIDE_M**2, SIDE_M**2 * (rng.random() ** 3 if share is None else share))
        for frame in range(frames)
        for ix in range(width)
        for iy in range(height)
    ]


def gap_m(one, other):
    dx, dy = (max(abs(a - b) - 1, 0) * SIDE_M for a, b in zip(one[1:], other[1:], strict=True))
    return np.hypot(dx, dy)


def planned(blocks, rules, seed=1):
    return plan(blocks, SIDE_M, rules, np.random.default_rng(seed))


def test_large_ground_gets_the_buffer_that_was_asked_for():
    found = planned(lattice(40, 40), Rules(val=0.15, test=0.15))
    assert found.buffer_m == 3000
    assert sorted(set(found.held.values())) == [TEST, VAL]
    for split in (VAL, TEST):
        assert 0.14 < list(found.held.values()).count(split) / 1600 < 0.17


def test_small_ground_gets_the_widest_buffer_that_leaves_enough_to_train_on():
    found = planned(lattice(9, 9), Rules(val=0.15))
    assert 0 < found.buffer_m < 3000


@settings(max_examples=25, deadline=None)
@given(st.integers(4, 14), st.integers(4, 14), st.integers(0, 99), st.sampled_from([0.0, 0.1]))
def test_splits_keep_the_buffer_and_leave_enough_to_train_on(width, height, seed, test):
    rules = Rules(val=0.15, test=test, least_train=0.4)
    blocks = lattice(width, height, seed=seed)
    found = planned(blocks, rules, seed)
    held = list(found.held.items())
    for place, split in held:
        for other, elsewhere in held:
            if split != elsewhere and place[0] == other[0]:
                assert gap_m(place, other) >= found.buffer_m
    codes = assign(
        (height * 8, width * 8),
        (80, 0, 0, 0, -80, height * SIDE_M),
        [(split, box) for _, split, box in found.boxes()],
        found.buffer_m,
    )
    shapes = {s: runs(codes == CODES[s], (80, 0, 0, 0, -80, height * SIDE_M)) for s in (TRAIN, VAL, TEST)}
    for one, other in ((TRAIN, VAL), (TRAIN, TEST), (VAL, TEST)):
        apart = least_distance(shapes[one], shapes[other])
        assert apart is None or apart >= found.buffer_m - 1e-6
    assert (codes == CODES[TRAIN]).mean() >= 0.4
    assert (codes == CODES[VAL]).mean() > 0.07


def test_every_density_is_held_out_in_its_share():
    blocks = [
        Block("f", ix, iy, 1e6, 1e6 * (0.01 if ix < 20 else 0.2 if ix < 40 else 0.6), "", "")
        for ix in range(60)
        for iy in range(30)
    ]
    found = plan(blocks, 1000, Rules(val=0.2, buffer_m=1000), np.random.default_rng(0))
    names = {(b.frame, b.ix, b.iy): density(b.isa / b.known) for b in blocks}
    counted = [names[place] for place in found.held]
    for name in ("sparse", "mixed", "dense"):
        assert counted.count(name) / len(counted) == pytest.approx(1 / 3, abs=0.08)


def test_ground_given_beforehand_stays_and_others_keep_away_from_it():
    blocks = [
        Block(b.frame, b.ix, b.iy, b.known, b.isa, fixed=VAL if b.ix == 0 else TRAIN if b.ix == 1 else "")
        for b in lattice(30, 10)
    ]
    found = planned(blocks, Rules(val=0.1, test=0.1, buffer_m=1500))
    assert all(found.held["f0", 0, iy] == VAL for iy in range(10))
    assert not any(("f0", 1, iy) in found.held for iy in range(10))
    for place, split in found.held.items():
        assert split == VAL or place[1] * SIDE_M >= 1500


def test_ground_in_different_frames_is_far_apart():
    found = planned(lattice(2, 2, frames=12, share=0.2), Rules(val=0.25))
    assert found.buffer_m == 3000
    assert len({place[0] for place in found.held}) == len(found.held) / 4


def test_ground_that_is_too_small_is_refused():
    with pytest.raises(InputError, match="1 blocks of 640 m"):
        planned(lattice(1, 1), Rules())


def test_nothing_is_held_out_where_nothing_is_wanted():
    assert planned(lattice(3, 3), Rules(val=0)).held == {}


def test_the_same_seed_gives_the_same_plan():
    blocks, rules = lattice(12, 12), Rules()
    assert planned(blocks, rules).held == planned(blocks, rules).held
    assert planned(blocks, rules, 5).held != planned(blocks, rules, 6).held


def test_block_sums_count_every_pixel_once():
    values = np.random.default_rng(0).integers(0, 9, (37, 53))
    sums = block_sums(values, (10, 0, 12_345.0, 0, -10, 54_321.0), 160)
    assert sum(sums.values()) == values.sum()
    x = 12_345 + 10 * (np.arange(53) + 0.5)
    y = 54_321 - 10 * (np.arange(37) + 0.5)
    ix, iy = (x // 160).astype(int), (y // 160).astype(int)
    for (column, row), total in sums.items():
        assert total == values[np.ix_(iy == row, ix == column)].sum()


def test_runs_cover_exactly_the_pixels_of_a_mask():
    mask = np.random.default_rng(1).random((20, 30)) < 0.4
    shapes = runs(mask, (2, 0, 5, 0, -2, 50))
    assert sum(shape.area for shape in shapes) == pytest.approx(4 * mask.sum())
    assert len(runs(np.ones((50, 50), np.bool_), (1, 0, 0, 0, -1, 50))) == 1


def test_the_distance_of_nothing_is_none():
    some = runs(np.ones((2, 2), np.bool_), (1, 0, 0, 0, -1, 2))
    assert least_distance(some, runs(np.zeros((2, 2), np.bool_), (1, 0, 0, 0, -1, 2))) is None
    assert least_distance(some, runs(np.ones((2, 2), np.bool_), (1, 0, 7, 0, -1, 2))) == 5


@pytest.mark.parametrize("left", [0, 4])
def test_no_ground_is_lost_between_held_out_blocks(left):
    transform = (8, 0, left, 0, -8, 256 + left)
    held = [(VAL, (x, y, x + 128, y + 128)) for x in (0, 128, 256) for y in (0, 128, 256)]
    assert (assign((32, 32), transform, held, 0) == CODES[VAL]).all()
