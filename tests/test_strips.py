"""Strips of a raster: each is decoded once, and nothing shows where one ends."""

import numpy as np
import pytest
from test_transition import read

from isamap.domain import strips
from isamap.domain.decoder import Decoder
from isamap.domain.patches import small_patches
from isamap.domain.strips import pieces
from isamap.domain.transition import Chances

SHAPE = (150, 205)


def town(count, seed=0):
    """Digits of noisy maps of a town that grows, with a gap in the first year and long roads in the last."""
    rng = np.random.default_rng(seed)
    built = np.kron(rng.integers(0, count + 3, (30, 41)), np.ones((5, 5), np.int64))
    digits = np.array([1 + (built <= t) for t in range(count)], np.uint8)
    flicker = rng.random(digits.shape) < 0.04
    digits[flicker] = 3 - digits[flicker]
    digits[0, 40:60, 100:140] = 0
    digits[:, 30:110, 150:156], digits[:, 120:124, 30:150] = 1, 1
    digits[:, 20:100, 30:36], digits[:, 60:64, 60:120] = 1, 1
    digits[-1, 20:100, 32], digits[-1, 62, 60:120] = 2, 2
    digits[-1, 30:110, 153], digits[-1, 122, 30:150] = 2, 2
    return digits


@pytest.mark.parametrize("panel", [64, 1024])
@pytest.mark.parametrize(("count", "min_px"), [(4, 1), (4, 12), (5, 20), (4, 33), (4, 34), (4, 70), (4, 400)])
def test_strips_show_and_count_what_the_whole_does(monkeypatch, panel, count, min_px):
    monkeypatch.setattr(strips, "STRIP_PX", 32)
    monkeypatch.setattr(strips, "PANEL_PX", panel)
    digits, looks = town(count), np.zeros(SHAPE, np.int64)
    decoder = Decoder(tuple(range(2000, 2000 + count)), Chances(gain=0.1, loss=0.05), "raw")
    whole = read(decoder, digits)
    undone = small_patches(whole.changed(), SHAPE[1], min_px, 32)
    assert min_px == 1 or len(undone.starts) > 20
    whole.undo(undone)

    def decode(window):
        looks[window.slices] += 1
        return read(decoder, digits[:, *window.slices])

    rasters, tally = np.zeros((2, *SHAPE), np.uint8), 0
    for piece in pieces(SHAPE, min(min_px - 1, 32), decode):
        settled = piece.settled(min_px)
        rasters[:, *piece.window.slices] = settled.rasters()
        tally = tally + settled.tally()
    np.testing.assert_array_equal(rasters, whole.rasters())
    np.testing.assert_array_equal(tally, whole.tally())
    assert (looks == 1).all() or (panel < SHAPE[1] and min_px > 1)  # only panels overlap


def test_a_strip_that_no_other_needs_any_longer_is_let_go():
    """One is given away when the next has been decoded: two are held, whatever the height."""
    decoder, decoded = Decoder((2000, 2001), Chances()), []

    def decode(window):
        decoded.append(window)
        return read(decoder, np.ones((2, *window.shape), np.uint8))

    for number, piece in enumerate(pieces((10 * strips.STRIP_PX, 16), 3, decode)):
        assert piece.window == decoded[number]
        assert len(decoded) <= number + 2
