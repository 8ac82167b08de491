"""Wide rasters are read in panels, and take no more memory for that."""

import numpy as np
import pytest
import rasterio
from bad_rasters import write_raster

from isamap.domain.grid import windows
from isamap.domain.panels import batches
from isamap.errors import InputError
from isamap.io.raster import GDAL_ENV, SceneInput, checked, open_scene

BANDS = ("B02", "B03", "B04", "B08")
SHAPE = 96, 8192


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A scene wider than a panel, tiled, of random values."""
    values = np.random.default_rng(3).integers(1, 9000, (4, *SHAPE), np.uint16)
    path = tmp_path_factory.mktemp("wide") / "scene.tif"
    return write_raster(path, values, BANDS, blockxsize=64, blockysize=32)


def test_panels_cover_a_wide_scene_once_from_top_to_bottom(wide):
    with open_scene(SceneInput((wide,)), BANDS) as scene:
        assert scene.panel_px == SHAPE[1] // 2
        order = [window for group in batches(SHAPE, 32, 3, scene.panel_px) for window in group]
    assert sorted(map(str, order)) == sorted(map(str, windows(SHAPE, 32)))
    columns = [window.col_off < SHAPE[1] // 2 for window in order]
    assert columns == sorted(columns, reverse=True)


def test_the_cache_does_not_grow_with_the_width(wide):
    with open_scene(SceneInput((wide,)), BANDS) as scene:
        (layer,) = scene._layers
        assert layer.cache_bytes(scene.panel_px) == 3 * (SHAPE[1] // 2 + 2 * 64) * 32 * 4 * 2
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == GDAL_ENV["GDAL_CACHEMAX"]


def test_a_scene_reads_on_after_it_has_rested(wide):
    with open_scene(SceneInput((wide,)), BANDS) as scene:
        window = next(windows(SHAPE, 64))
        before = scene.read(window, 8)
        scene.rest()
        for first, second in zip(before, scene.read(window, 8), strict=True):
            np.testing.assert_array_equal(first, second)


def test_a_scene_is_checked_while_the_first_window_is_worked_on(tmp_path):
    path = write_raster(tmp_path / "nothing.tif", np.zeros((4, 96, 96), np.uint16), BANDS)
    with open_scene(SceneInput((path,)), BANDS) as scene:
        jobs = checked(scene, iter("ab"))
        assert next(jobs) == "a"
        with pytest.raises(InputError, match="no pixel is valid"):
            next(jobs)
        with pytest.raises(InputError, match="no pixel is valid"):
            list(checked(scene, iter("a")))


def test_a_good_scene_hands_out_every_window(wide):
    with open_scene(SceneInput((wide,)), BANDS) as scene:
        assert list(checked(scene, iter("abc"))) == ["a", "b", "c"]
