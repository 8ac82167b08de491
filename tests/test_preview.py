import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from PIL import Image

from isamap.domain.grid import windows
from isamap.domain.product import CLASSES, NODATA
from isamap.io import preview
from isamap.io.cog import CogWriter
from isamap.io.preview import BAR_PX, GAP_PX, PANEL_PX, Thumbnail, write_preview

BANDS = ("B02", "B03", "B04", "B08")


def thumbnail(lr, valid, step, gsd_m=10):
    made = Thumbnail(valid.shape, BANDS, gsd_m)
    for window in windows(valid.shape, step):
        made.add(window, lr[:, *window.slices], valid[window.slices])
    return made


@pytest.fixture
def scene():
    rng = np.random.default_rng(2)
    lr = rng.uniform(0.02, 0.3, (4, 60, 90)).astype(np.float32)
    valid = np.ones((60, 90), np.bool_)
    valid[:30, :45] = False
    return lr, valid


def picture(tmp_path, scene, gsd_m=10):
    lr, valid = scene
    isa = np.kron(np.where(valid, 1, NODATA), np.ones((10, 10))).astype(np.uint8)
    isa[300:, :450] = 0
    geobox = GeoBox(isa.shape, Affine(1, 0, 600_000, 0, -1, 3_400_000), "EPSG:32650")
    with CogWriter(tmp_path / "map.tif", geobox, CLASSES, {}) as cog:
        for window in windows(isa.shape, 512):
            cog.write(window, isa[window.slices])
    write_preview(tmp_path / "map.png", thumbnail(lr, valid, 51, gsd_m), tmp_path / "map.tif")
    with Image.open(tmp_path / "map.png") as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_input_and_map_stand_side_by_side_over_a_legend(tmp_path, scene):
    sheet = picture(tmp_path, scene)
    width, height = PANEL_PX, round(PANEL_PX * 60 / 90)
    assert sheet.shape == (height + BAR_PX, 2 * width + GAP_PX, 3)
    assert (sheet[:height, width : width + GAP_PX] == 255).all()
    mapped = sheet[:height, width + GAP_PX :]
    assert tuple(mapped[height - 50, width - 50]) == CLASSES.colours[1][:3]
    assert tuple(mapped[height - 50, 50]) == CLASSES.colours[0][:3]
    assert tuple(mapped[50, 50]) == (255, 255, 255)


def test_the_legend_has_both_colours_and_a_scale_bar(tmp_path, scene):
    sheet = picture(tmp_path, scene)
    legend = sheet[-BAR_PX:]
    right = legend[:, PANEL_PX + GAP_PX :].reshape(-1, 3)
    for value in (0, 1):
        assert (right == CLASSES.colours[value][:3]).all(axis=1).sum() > 300
    dark = (legend[:, :PANEL_PX] == (40, 40, 40)).all(axis=2)
    bar_px = int((~dark[29, 8:]).argmax())
    assert bar_px == pytest.approx(200 * PANEL_PX / 900, abs=2)  # 200 m of 900 m


def test_input_without_a_look_at_the_ground_is_white(tmp_path, scene):
    sheet = picture(tmp_path, scene)
    height = sheet.shape[0] - BAR_PX
    assert (sheet[: height // 2 - 20, : PANEL_PX // 2 - 20] == 255).all()
    assert sheet[height // 2 + 20 : height, :PANEL_PX].std() > 20


@pytest.mark.parametrize("step", [7, 51, 90, 512])
def test_a_thumbnail_does_not_depend_on_the_windows(scene, step, monkeypatch):
    monkeypatch.setattr("isamap.io.preview.PANEL_PX", 25)
    lr, valid = scene
    made = thumbnail(lr, valid, step)
    expected = np.where(valid, lr[[2, 1, 0]], np.nan)[:, :: made.step, :: made.step]
    assert made.step == 4
    np.testing.assert_array_equal(made.pixels, expected)


def test_a_thumbnail_of_nothing_is_white():
    made = Thumbnail((20, 20), BANDS, 10)
    assert (np.asarray(made.picture((20, 20))) == 255).all()


def test_a_scene_without_visible_bands_shows_its_first():
    assert Thumbnail((20, 20), ("B08", "B11"), 10).bands == [0]


def test_the_input_is_named_by_its_own_pixel_size(tmp_path, scene, monkeypatch):
    said = []
    monkeypatch.setattr(preview.ImageDraw.ImageDraw, "text", lambda _, place, text, **how: said.append(text))
    picture(tmp_path, scene, gsd_m=3)
    assert said[0].endswith("   input, 3 m")
