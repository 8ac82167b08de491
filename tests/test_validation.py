import numpy as np
import pytest
import tiny
import torch
from rasterio.windows import Window as RasterWindow

from isamap.domain.grid import Window
from isamap.io.raster import SceneInput, open_scene
from isamap.model.networks import NetworkConfig, build
from isamap.model.predict import Predictor
from isamap.model.validation import HALF, Progress, Validation, look, probabilities


@pytest.mark.parametrize("shape", [(64, 48), (17, 96), (150, 9)])
def test_what_is_validated_is_what_a_map_shows_up_to_its_edge(tmp_path, shape):
    predictor = Predictor(tiny.write_model(tmp_path))
    halo, (height, width) = predictor.halo_px, shape
    path = tiny.write_scene(tmp_path / "scene.tif", RasterWindow(220, 330, width, height))
    with open_scene(SceneInput((path,)), tiny.BANDS) as scene:
        lr, valid = scene.read(Window(0, 0, height, width), halo)
    mapped = tiny.probability(predictor, lr[None], valid[None])[0].numpy()
    inner = lr[:, halo : halo + height, halo : halo + width]
    present = torch.ones(inner.shape, dtype=torch.bool)
    validated = probabilities(predictor.network.float(), torch.from_numpy(inner), present).numpy()
    assert validated.shape == mapped.shape == (10 * height, 10 * width)
    assert np.abs(validated - mapped).max() < 0.05


def test_of_a_class_scheme_the_map_of_likeliest_classes_is_scored(tmp_path):
    """As `infer` writes it: their impervious classes together may be likelier than each, and none of them shown."""
    path = tiny.write_model(tmp_path, classes="fbp24")
    predictor = Predictor(path)
    predictor.network = predictor.network.float()
    predictor.dtype = torch.float32
    scene = tiny.write_scene(tmp_path / "scene.tif", RasterWindow(220, 330, 64, 48))
    with open_scene(SceneInput((scene,)), tiny.BANDS) as src:
        lr, valid = src.read(Window(0, 0, 48, 64), predictor.halo_px)
    (made,) = predictor.predict([lr], [valid]).result()
    written = predictor.scheme.to_isa(made.isa)
    assert 0 < written.mean() < 1
    halo = predictor.halo_px
    inner = lr[:, halo:-halo, halo:-halo]
    ground = Validation("g", inner, np.ones(inner.shape, np.bool_), written)
    found = look(predictor.network, [ground], torch.device("cpu"), Progress(step=2))
    assert found.isa_iou["g"] == found.mean_iou > 0.95
    assert found.threshold == HALF


def test_without_ground_the_last_look_is_the_best():
    network = build(NetworkConfig(name="fast", channels=4, blocks=1))
    found = look(network, [], torch.device("cpu"), Progress(step=4, best_step=2))
    assert (found.best_step, found.threshold, found.calibration, found.mean_iou) == (4, HALF, None, 0.0)
