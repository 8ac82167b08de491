import numpy as np
import pytest

from isamap.domain.sensors import REFLECTANCE_OF_WHITE, observe
from isamap.model.simulate import simulate

BANDS = ("B02", "B03", "B04", "B08")


def test_bands_are_what_the_sensor_sees_and_noise():
    image = np.random.default_rng(1).integers(0, 256, (3, 120, 160)).astype(np.uint8)
    rng = np.random.default_rng(4)
    seen = observe(image.astype(np.float32) / 255 * REFLECTANCE_OF_WHITE, rng.uniform(3, 5), 10)
    lr, _ = simulate(image, BANDS, 10, np.random.default_rng(4))
    noise = lr[:3] - seen[[2, 1, 0]]
    assert np.abs(noise.mean()) < 5e-4
    assert noise.std() == pytest.approx(0.0015, rel=0.15)


def test_a_constant_image_keeps_its_energy():
    lr, present = simulate(np.full((3, 200, 200), 170, np.uint8), BANDS, 10, np.random.default_rng(0))
    expected = 170 / 255 * REFLECTANCE_OF_WHITE
    assert lr.shape == present.shape == (4, 20, 20)
    assert abs(lr[:3].mean() - expected) < 3e-4
    assert np.abs(lr[:3] - expected).max() < 0.01  # sensor noise, sigma 0.0015


def test_the_mean_of_any_image_is_kept():
    image = np.random.default_rng(5).integers(0, 256, (3, 300, 300)).astype(np.uint8)
    lr, _ = simulate(image, BANDS, 10, np.random.default_rng(0))
    expected = image.mean(axis=(1, 2)) / 255 * REFLECTANCE_OF_WHITE
    np.testing.assert_allclose(lr[[2, 1, 0]].mean(axis=(1, 2)), expected, atol=1e-3)


def test_bands_an_image_lacks_are_missing_and_the_others_in_their_places():
    image = np.zeros((3, 60, 60), np.uint8)
    image[0] = 255  # red
    lr, present = simulate(image, ("B11", "B04", "B08", "B02"), 10, np.random.default_rng(0))
    np.testing.assert_array_equal(present.all(axis=(1, 2)), [False, True, False, True])
    assert not present[[0, 2]].any()
    assert not lr[[0, 2]].any()
    assert lr[1].mean() == pytest.approx(REFLECTANCE_OF_WHITE, abs=1e-3)
    assert abs(lr[3].mean()) < 1e-3


def test_a_point_spreads_over_its_neighbours_and_no_further():
    image = np.zeros((3, 110, 110), np.uint8)
    image[:, 50:60, 50:60] = 255
    lr, _ = simulate(image, BANDS, 10, np.random.default_rng(3))
    assert np.unravel_index(lr[0].argmax(), lr[0].shape) == (5, 5)
    assert lr[0, 5, 4] > 0.01
    assert np.abs(lr[0, :, :3]).max() < 0.01


def test_the_same_seed_gives_the_same_bands():
    image = np.random.default_rng(5).integers(0, 256, (3, 80, 80)).astype(np.uint8)
    first, again, other = (simulate(image, BANDS, 10, np.random.default_rng(s))[0] for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
