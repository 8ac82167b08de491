import numpy as np
import pytest
import tiny
import torch
from rasterio.windows import Window as RasterWindow

from isamap.domain.grid import Window
from isamap.io.raster import SceneInput, open_scene
from isamap.model.predict import Predictor
from isamap.model.validation import probabilities


@pytest.mark.parametrize("shape", [(64, 48), (17, 96), (150, 9)])
def test_what_is_validated_is_what_a_map_shows_up_to_its_edge(tmp_path, shape):
    predictor = Predictor(tiny.write_model(tmp_path))
    halo, (height, width) = predictor.halo_px, shape
    path = tiny.write_scene(tmp_path / "scene.tif", RasterWindow(220, 330, width, height))
    with open_scene(SceneInput((path,)), tiny.BANDS) as scene:
        lr, valid = scene.read(Window(0, 0, height, width), halo)
    mapped = predictor.probability(lr[None], valid[None])[0].numpy()
    inner = lr[:, halo : halo + height, halo : halo + width]
    present = torch.ones(inner.shape, dtype=torch.bool)
    validated = probabilities(predictor.network.float(), torch.from_numpy(inner), present).numpy()
    assert validated.shape == mapped.shape == (10 * height, 10 * width)
    assert np.abs(validated - mapped).max() < 0.05
