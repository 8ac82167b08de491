"""Scenes that lack bands a model can do without, and grids of other sensors."""

import numpy as np
import pytest
from affine import Affine
from bad_rasters import TRANSFORM, write_raster

from isamap.domain.grid import Window
from isamap.errors import InputError
from isamap.io.raster import SceneInput, open_scene

BANDS = ("B02", "B03", "B04", "B08")


def write(path, values, names, gsd_m=10.0):
    return write_raster(path, values, names, nodata=0, transform=TRANSFORM * Affine.scale(gsd_m / 10))


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(300, 3000, (4, 12, 16)).astype(np.uint16)


def test_a_band_that_may_be_missing_comes_back_as_0_and_costs_no_pixel(tmp_path, values):
    path = write(tmp_path / "scene.tif", values, BANDS)
    with open_scene(SceneInput((path,)), (*BANDS, "B11"), ("B11",)) as scene:
        lr, valid = scene.read(Window(0, 0, 12, 16), 2)
    assert scene.bands == (*BANDS, "B11")
    assert valid.all()
    assert not lr[4].any()
    np.testing.assert_allclose(lr[:4, 2:-2, 2:-2], values / 10_000, rtol=1e-6)


def test_a_band_that_may_be_missing_is_read_where_it_is_there(tmp_path, values):
    ten = write(tmp_path / "s-10m.tif", values, BANDS)
    swir = write(tmp_path / "s-20m.tif", values[:1, ::2, ::2], ("B11",), gsd_m=20.0)
    with open_scene(SceneInput((ten, swir)), (*BANDS, "B11", "B12"), ("B11", "B12")) as scene:
        lr, valid = scene.read(Window(0, 0, 12, 16), 0)
    assert valid.all()
    np.testing.assert_allclose(lr[4], values[0, ::2, ::2].repeat(2, 0).repeat(2, 1) / 10_000, rtol=1e-6)
    assert not lr[5].any()


def test_a_band_that_must_be_there_is_still_asked_for(tmp_path, values):
    path = write(tmp_path / "scene.tif", values[:3], BANDS[:3])
    with pytest.raises(InputError, match="B08"):
        open_scene(SceneInput((path,)), (*BANDS, "B11"), ("B11",))


@pytest.mark.parametrize("gsd_m", [3.0, 4.0, 8.0])
def test_scenes_of_other_sensors_are_read_on_their_own_grid(tmp_path, values, gsd_m):
    path = write(tmp_path / "scene.tif", values, BANDS, gsd_m)
    with open_scene(SceneInput((path,)), BANDS, gsd_m=gsd_m) as scene:
        lr, valid = scene.read(Window(2, 3, 4, 5), 0)
        assert scene.geobox.resolution.x == gsd_m
    assert valid.all()
    np.testing.assert_allclose(lr, values[:, 2:6, 3:8] / 10_000, rtol=1e-6)
    with pytest.raises(InputError, match="not 10 m"):
        open_scene(SceneInput((path,)), BANDS)
