import numpy as np
import pytest
import torch

from isamap.model.simulate import REFLECTANCE_OF_WHITE, blur, simulate

BANDS = ("B02", "B03", "B04", "B08")


def blurred_by_hand(plane, sigma):
    """The definition, pixel by pixel, in float64, mirrored at the edges."""
    radius = round(3 * sigma)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(plane.astype(np.float64), radius, mode="reflect")
    height, width = plane.shape
    return np.array(
        [
            [(padded[y : y + 2 * radius + 1, x : x + 2 * radius + 1] * weights).sum() for x in range(width)]
            for y in range(height)
        ]
    )


@pytest.mark.parametrize("sigma", [0.8, 3.0, 4.7])
def test_the_blur_matches_a_convolution_by_hand(sigma):
    image = np.random.default_rng(1).random((2, 24, 31)).astype(np.float32)
    blurred = blur(torch.from_numpy(image), sigma).numpy()
    for plane, got in zip(image, blurred, strict=True):
        np.testing.assert_allclose(got, blurred_by_hand(plane, sigma), atol=2e-6)


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
