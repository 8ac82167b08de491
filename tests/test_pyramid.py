from fractions import Fraction
from itertools import pairwise, product

import numpy as np
import pytest

from isamap.domain.product import BLOCK_PX, NODATA
from isamap.domain.pyramid import Pyramid, halve

SHAPES = [(1024, 1024), (1100, 1300), (1025, 515), (513, 2051), (1, 1030)]


def blocks(values):
    """Blocks of full size by place."""
    rows, cols = (-(-side // BLOCK_PX) for side in values.shape)
    padded = np.full((rows * BLOCK_PX, cols * BLOCK_PX), NODATA, np.uint8)
    padded[: values.shape[0], : values.shape[1]] = values
    return {
        (row, col): padded[row * 512 : row * 512 + 512, col * 512 : col * 512 + 512].copy()
        for row in range(rows)
        for col in range(cols)
    }


def levels(values, count, method, rng=None):
    """All levels as arrays, from blocks in reading order or any other."""
    pyramid = Pyramid(values.shape, count, method)
    found = [np.full([-(-n // 512) * 512 for n in shape], 7, np.uint8) for shape in pyramid.shapes]
    pieces = blocks(values)
    places = list(pieces) if rng is None else [tuple(place) for place in rng.permutation(list(pieces))]
    for place in places:
        for level, (row, col), pixels in pyramid.add(place, pieces[place]):
            found[level][row * 512 : row * 512 + 512, col * 512 : col * 512 + 512] = pixels
    assert not any(pyramid._waiting[level] for level in range(count - 1))
    return [level[:height, :width] for level, (height, width) in zip(found, pyramid.shapes, strict=True)]


def pixels(shape, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, shape).astype(np.uint8)
    values[rng.random(shape) < 0.4] = NODATA
    return values


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", ["MODE", "AVERAGE"])
def test_levels_do_not_depend_on_the_order_of_the_blocks(shape, method):
    expected = levels(pixels(shape), 4, method)
    for seed in range(3):
        for own, other in zip(
            levels(pixels(shape), 4, method, np.random.default_rng(seed)), expected, strict=True
        ):
            np.testing.assert_array_equal(own, other)


def test_nodata_counts_in_no_mean_and_the_highest_values_are_none():
    every = np.array(list(product([0, 1, 100, 253, 254, 255], repeat=4)), np.uint8).reshape(-1, 2, 2)
    values = every.transpose(1, 0, 2).reshape(2, -1)
    known = [quad[quad != NODATA].astype(int) for quad in every]
    expected = [(2 * quad.sum() + quad.size) // (2 * quad.size) if quad.size else NODATA for quad in known]
    np.testing.assert_array_equal(halve(values, "AVERAGE")[0], expected)


def parts(side, index):
    """Finer pixels that a coarse one covers, each with the part of it: by hand, in fractions."""
    coarse = -(-side // 2)
    start, end = (Fraction(side * at, coarse) for at in (index, index + 1))
    for pixel in range(int(start), side):
        part = min(end, pixel + 1) - max(start, pixel)
        if part > 0:
            yield pixel, part


def by_hand(values, row, col, method):
    """One pixel of the next level."""
    seen = [
        (values[y, x], down * across)
        for y, down in parts(values.shape[0], row)
        for x, across in parts(values.shape[1], col)
        if values[y, x] != NODATA
    ]
    if not seen:
        return NODATA
    if method == "AVERAGE":
        return int(sum(int(v) * w for v, w in seen) / sum(w for _, w in seen) + Fraction(1, 2))
    counts = {}
    best = None
    for value, _ in seen:
        counts[value] = counts.get(value, 0) + 1
        if best is None or counts[value] > counts[best]:
            best = value
    return best


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", ["MODE", "AVERAGE"])
def test_every_level_is_what_a_hand_would_count(shape, method):
    rng = np.random.default_rng(5)
    for fine, coarse in pairwise(levels(pixels(shape, 1), 3, method)):
        height, width = coarse.shape
        edges = [(0, 0), (height - 1, width - 1), (0, width - 1), (min(height - 1, 512), min(width - 1, 512))]
        for row, col in [
            *edges,
            *zip(rng.integers(0, height, 300), rng.integers(0, width, 300), strict=True),
        ]:
            assert coarse[row, col] == by_hand(fine, row, col, method), (row, col)


@pytest.mark.parametrize("shape", [(6144, 2048), (6145, 2049)], ids=str)
def test_blocks_that_come_row_by_row_wait_for_two_rows_at_most(shape):
    pyramid = Pyramid(shape, 5, "MODE")
    most = 0
    for place in pyramid.places(0):
        list(pyramid.add(place, np.zeros((BLOCK_PX, BLOCK_PX), np.uint8)))
        most = max(most, len(pyramid._waiting[0]))
    assert most <= 2 * -(-shape[1] // BLOCK_PX) + 1
