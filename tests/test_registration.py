"""Shifts between images, measured and undone."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "bench"))

from shifted import moved

from isamap.domain import registration
from isamap.domain.registration import measure, moved_classes

SIDE = 256


def blurred(rows=0.0, cols=0.0, seed=0, sigma=0.06):
    """A random smooth image, shifted by any part of a pixel through its spectrum."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE))
    fy, fx = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)
    spectrum = np.fft.rfft2(noise) * np.exp(-(fy**2 + fx**2) / (2 * sigma**2))
    shifted = np.fft.irfft2(spectrum * np.exp(-2j * np.pi * (fy * rows + fx * cols)), s=(SIDE, SIDE))
    return (shifted / shifted.std()).astype(np.float32)


@pytest.mark.parametrize(("rows", "cols"), [(0, 0), (3, -5), (0.25, 0.5), (-7.4, 2.8), (10.6, -0.1)])
def test_a_known_shift_is_measured_to_a_twentieth_of_a_pixel(rows, cols):
    shift = measure([(blurred(), blurred(rows, cols))], lowpass=0.1)
    assert shift.rows == pytest.approx(rows, abs=0.05)
    assert shift.cols == pytest.approx(cols, abs=0.05)
    assert shift.peak > 0.5


def test_frequencies_that_the_low_pass_leaves_nothing_of_do_not_matter(monkeypatch):
    pair = blurred(sigma=0.3), blurred(2.3, -4.6, sigma=0.3)
    some = measure([pair], lowpass=0.05)
    monkeypatch.setattr(registration, "PASSED", 100)
    every = measure([pair], lowpass=0.05)
    assert (some.rows, some.cols, some.peak) == pytest.approx((every.rows, every.cols, every.peak), abs=1e-4)


def test_class_maps_are_measured_as_well_as_images():
    reference, other = (blurred(*at, sigma=0.04) > 0.5 for at in ((0, 0), (2.3, -4.6)))
    shift = measure([(reference.astype(np.float32), other.astype(np.float32))], lowpass=0.05)
    assert shift.rows == pytest.approx(2.3, abs=0.1)
    assert shift.cols == pytest.approx(-4.6, abs=0.1)


def test_several_windows_agree_on_one_shift_and_empty_ones_are_passed_over():
    empty = np.zeros((SIDE, SIDE), np.float32)
    pairs = [
        (empty, empty),
        *((blurred(seed=s), blurred(1.5, -2.5, seed=s)) for s in (1, 2)),
        (empty, blurred()),
    ]
    shift = measure(pairs, lowpass=0.1)
    assert (shift.rows, shift.cols) == (pytest.approx(1.5, abs=0.05), pytest.approx(-2.5, abs=0.05))


def test_there_is_no_shift_without_structure():
    empty = np.zeros((64, 64), np.float32)
    assert measure([(empty, empty)]) is None
    assert measure([(np.full((64, 64), np.nan, np.float32), empty)]) is None
    assert measure([]) is None


def test_unrelated_images_have_a_low_peak():
    assert measure([(blurred(seed=1), blurred(seed=2))], lowpass=0.1).peak < 0.35


def test_unknown_pixels_do_not_hide_a_shift():
    reference, other = blurred(), blurred(2, 3)
    other[:40] = np.nan
    shift = measure([(reference, other)], lowpass=0.1)
    assert (shift.rows, shift.cols) == (pytest.approx(2, abs=0.1), pytest.approx(3, abs=0.1))


@pytest.mark.parametrize(("rows", "cols"), [(0.5, 0.25), (-1.75, 2.5), (3, -2)])
def test_a_moved_image_lies_on_the_reference(rows, cols):
    back = moved(blurred(rows, cols), rows, cols)
    inner = slice(8, -8), slice(8, -8)
    assert np.abs(back[inner] - blurred()[inner]).max() < 0.03
    assert np.isnan(back).any() == bool(rows or cols)


def test_moving_by_nothing_changes_nothing():
    image = blurred()
    np.testing.assert_array_equal(moved(image, 0, 0), image)


def test_parabolas_are_moved_exactly():
    x = np.arange(20, dtype=np.float32)
    image = np.broadcast_to(x**2, (6, 20)).astype(np.float32)
    np.testing.assert_allclose(moved(image, 0, 0.3)[:, 2:-3], (image + 0.6 * x + 0.09)[:, 2:-3], rtol=1e-5)


def test_unknown_pixels_stay_unknown_and_spread_no_further_than_the_kernel():
    image = np.ones((12, 12), np.float32)
    image[6, 6] = np.nan
    back = moved(image, 0.5, 0)
    assert np.isnan(back[4:8, 6]).all()
    assert back[6, 5] == pytest.approx(1)


def test_classes_move_by_whole_pixels_exactly():
    values = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (30, 40))
    back = moved_classes(values, 2, -3, 4)
    np.testing.assert_array_equal(back, values[6:-2, 1:-7])


def test_half_a_pixel_of_doubt_is_not_isa_and_half_of_nodata_is_nodata():
    values = np.array([[0, 0, 1, 1, 255, 255, 255]] * 5, np.uint8)
    row = moved_classes(np.pad(values, ((0, 0), (2, 2)), constant_values=255), 0, 0.5, 2)[0]
    assert row.tolist() == [0, 0, 1, 255, 255, 255, 255]


def test_percentages_are_interpolated():
    values = np.tile(np.arange(0, 100, 10, dtype=np.uint8), (9, 1))
    assert moved_classes(values, 0, 0.25, 2)[0, 0] == pytest.approx(22, abs=1)


def test_the_margin_covers_the_shift():
    assert registration.margin_px(-2.3, 7.9) == 9
    assert registration.margin_px(0, 0) == 1


def test_pixels_that_are_not_square_have_a_low_pass_and_a_reach_of_their_own_in_each_direction():
    """Every second row of an image is left: the low pass passes twice the frequencies of rows, the reach is half."""
    pair = blurred()[::2], blurred(4, 12)[::2]
    shift = measure([pair], (7, 14), (0.2, 0.1))
    assert (shift.rows, shift.cols) == (pytest.approx(2, abs=0.05), pytest.approx(12, abs=0.05))
    assert shift.peak > 0.5
    assert abs(measure([pair], (14, 7), (0.2, 0.1)).cols) <= 7.5


def test_a_window_of_a_few_pixels_has_no_shift():
    row = np.arange(40, dtype=np.float32)[None] % 7
    assert measure([(row, row)]) is None
