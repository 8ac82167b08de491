"""Sensors and what they would have seen."""

import numpy as np
import pytest

from isamap.domain.sensors import SENSORS, observe, response, sensor_of, simulate
from isamap.errors import ConfigError


def direct(image, sigma_px, scale):
    """By a plain convolution of every fine pixel, mirrored at the edges."""
    reach = int(np.ceil(4 * sigma_px))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(image.astype(float), reach, mode="symmetric")
    rows = np.stack([np.convolve(row, kernel, "valid") for row in padded])
    both = np.stack([np.convolve(column, kernel, "valid") for column in rows.T]).T
    height, width = both.shape[0] // scale, both.shape[1] // scale
    return both.reshape(height, scale, width, scale).mean(axis=(1, 3))


def test_two_small_matrices_see_what_a_convolution_sees():
    image = np.random.default_rng(0).random((60, 90)).astype(np.float32)
    np.testing.assert_allclose(observe(image, 4.35, 10), direct(image, 4.35, 10), atol=2e-6)


@pytest.mark.parametrize("sigma_px", [0.0, 0.7, 4.35])
def test_flat_ground_stays_as_bright_as_it_is(sigma_px):
    image = np.full((3, 40, 40), 0.3, np.float32)
    np.testing.assert_allclose(observe(image, sigma_px, 4), 0.3, rtol=1e-6)


def test_without_a_point_spread_pixels_are_means():
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    np.testing.assert_allclose(observe(image, 0, 4), image.reshape(2, 4, 2, 4).mean(axis=(1, 3)))


def test_the_point_spread_gives_the_transfer_at_nyquist_that_the_table_says():
    """A wave of two pixels, seen through point spread and pixel, keeps the MTF of its contrast."""
    for sensor in SENSORS.values():
        for band in sensor.bands:
            fine = 20
            x = (np.arange(fine * 64) + 0.5) / fine
            wave = np.cos(np.pi * (x - 0.5)).astype(np.float32)
            seen = observe(np.tile(wave, (fine, 1)), band.psf_sigma_m / band.gsd_m * fine, fine)[0]
            assert np.abs(seen[8:-8]).mean() == pytest.approx(band.mtf, abs=0.004), (sensor.name, band.name)


def test_grids_have_whole_metres_of_labels():
    assert {name: sensor.scale() for name, sensor in SENSORS.items()} == {
        "sentinel-2": 10,
        "gaofen-1": 8,
        "gaofen-2": 4,
        "planetscope": 3,
    }


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("sensor", SENSORS.values(), ids=list(SENSORS))
def test_weights_of_a_band_sum_to_one(sensor, channels):
    for weights in response(sensor, channels).values():
        assert sum(weights.values()) == pytest.approx(1)


def test_a_colour_image_has_no_light_for_the_infrared():
    assert set(response(SENSORS["sentinel-2"], 3)) == {"B02", "B03", "B04"}
    assert set(response(SENSORS["sentinel-2"], 4)) == {"B02", "B03", "B04", "B08"}


def test_a_simulated_sensor_has_its_own_blur():
    image = np.zeros((3, 240, 240), np.float32)
    image[:, 120:, :] = 1
    widths = {}
    for name in ("sentinel-2", "planetscope"):
        sensor = SENSORS[name]
        bands, seen = simulate(image, sensor, sensor.scale(), 1.0)
        assert (len(bands), *seen.shape[1:]) == (3, 240 // sensor.scale(), 240 // sensor.scale())
        edge = seen[0, :, 5]
        widths[name] = ((edge > 0.05) & (edge < 0.95)).sum() * sensor.gsd_m
    assert widths["planetscope"] < widths["sentinel-2"]


def test_a_sensor_nobody_knows_is_a_configuration_error():
    with pytest.raises(ConfigError, match="sentinel-2, gaofen-1"):
        sensor_of("landsat")
