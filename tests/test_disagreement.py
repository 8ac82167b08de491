"""Blocks where product and truth differ most, and the thinned picture."""

import numpy as np
import pytest

from isamap.domain.bits import packed
from isamap.domain.disagreement import PICTURES, Scene, piece_of, worst_of

SIDE = 30
"""Of a block: 300 m in pixels of 10 m."""


@pytest.fixture
def pair():
    """Product and truth `(y, x)` with a halo of 8 pixels, the truth unknown where the product is."""
    rng = np.random.default_rng(7)
    mapped, truth = rng.choice(np.array([0, 1], np.uint8), (2, 116, 151))
    agree = np.add.outer(np.arange(116), np.arange(151)) // 20 % 3 > 0
    truth[agree] = mapped[agree]
    mapped[rng.random(mapped.shape) < 0.02] = 255
    truth[(rng.random(truth.shape) < 0.05) | (mapped == 255)] = 255
    return mapped, truth


def scene_of(pair):
    window = slice(8, 108), slice(8, 143)
    return Scene("map", *map(packed, pair), window, (5_000, 9_000), 10), *(one[window] for one in pair)


def test_worst_blocks_are_those_that_a_loop_finds(pair):
    scene, mapped, truth = scene_of(pair)
    expected = {}
    for row in range(0, mapped.shape[0] - SIDE + 1, SIDE):
        for col in range(0, mapped.shape[1] - SIDE + 1, SIDE):
            m, t = (one[row : row + SIDE, col : col + SIDE] for one in (mapped, truth))
            wrong = ((m != t) & (m != 255) & (t != 255)).mean()
            expected[5_000 + col * 10, 9_000 - row * 10] = wrong, m, t
    found = worst_of(scene)
    assert [one.difference for one in found] == sorted((w for w, _, _ in expected.values()), reverse=True)[
        :PICTURES
    ]
    for one in found:
        wrong, m, t = expected[one.x, one.y]
        assert one.difference == wrong
        np.testing.assert_array_equal(one.mapped, m)
        np.testing.assert_array_equal(one.truth, t)


def test_a_piece_keeps_every_nth_pixel_and_nothing_else_in_memory(pair):
    scene, mapped, truth = scene_of(pair)
    piece = piece_of(scene, 5)
    np.testing.assert_array_equal(piece.mapped, mapped[::5, ::5])
    np.testing.assert_array_equal(piece.truth, truth[::5, ::5])
    assert piece.mapped.base is None
    assert (piece.row, piece.col, piece.size_m) == (-180, 100, 50)


def test_where_nothing_differs_there_is_no_picture(pair):
    scene, _, _ = scene_of((pair[1], pair[1]))
    assert worst_of(scene) == []
