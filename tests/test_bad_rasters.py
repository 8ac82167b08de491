import time

import pytest
from bad_rasters import BAD_RASTERS, WANTED, BadRaster

from isamap.domain.grid import windows
from isamap.errors import InputError
from isamap.io.raster import SceneInput, check_scene, open_scene


def read_all(paths):
    with open_scene(SceneInput(paths), WANTED) as scene:
        check_scene(scene)
        for window in windows(tuple(scene.geobox.shape), 64):
            scene.read(window, 32)


def test_the_corpus_has_not_shrunk():
    assert len({bad.name for bad in BAD_RASTERS}) >= 20


@pytest.mark.parametrize("bad", BAD_RASTERS, ids=lambda bad: bad.name)
def test_a_bad_raster_ends_in_one_clear_line(bad: BadRaster, tmp_path, capfd):
    paths = bad.write(tmp_path)
    before = sorted(tmp_path.iterdir())
    start = time.perf_counter()
    with pytest.raises(InputError, match=bad.message) as caught:
        read_all(paths)
    assert time.perf_counter() - start < 5
    assert caught.value.exit_code == bad.exit_code
    assert "\n" not in str(caught.value)
    assert str(paths[-1]) in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["rotated", "south-up", "half-pixel-shift"])
def test_what_the_message_advises_works(name, tmp_path):
    paths = next(bad for bad in BAD_RASTERS if bad.name == name).write(tmp_path)
    with open_scene(SceneInput(paths, reproject=True), WANTED) as scene:
        check_scene(scene)
