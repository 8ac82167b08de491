"""Mapping in windows against mapping the raster at once, and that against the plain forward pass."""

import numpy as np
import pytest
import tiny
import torch

from isamap.domain.grid import windows
from isamap.model.checkpoint import pack
from isamap.model.networks import NetworkConfig, build
from isamap.model.predict import Predictor
from isamap.model.settling import settle

SHAPE = (272, 520)
CARD = {
    "version": "1",
    "description": "for tests",
    "threshold": 0.5,
    "licence": "Apache-2.0",
    "attribution": (),
    "training": {},
    "metrics": {},
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def scene(shape):
    """Blocky ground with a little noise, a hole, and no neighbours beyond its edge."""
    rng = np.random.default_rng(8)
    blocks = rng.uniform(0.03, 0.3, (4, -(-shape[0] // 8), -(-shape[1] // 8)))
    lr = blocks.repeat(8, 1).repeat(8, 2)[:, : shape[0], : shape[1]]
    lr = (lr + rng.normal(0, 0.01, lr.shape)).astype(np.float32)
    valid = np.ones(shape, np.bool_)
    valid[100:110, 250:262] = False
    lr[:, ~valid] = 0
    return lr, valid


def model(folder, name, shape=(24, 32)):
    """A network whose map shows both classes and whose probabilities spread."""
    config = NetworkConfig(name=name, channels=8, blocks=1)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        network = build(config).eval()
        lr = torch.from_numpy(scene(shape)[0])[None]
        logits = network(config.prepare(lr, torch.ones_like(lr)))
        network.isa.weight /= logits.std()
        network.isa.bias.copy_((network.isa.bias - logits.median()) / logits.std())
    document, card = pack(network.state_dict(), CARD | {"name": name, "network": config.model_dump()})
    path = folder / f"{name}.safetensors"
    path.write_bytes(document)
    path.with_suffix(".json").write_bytes(card)
    return path


def predictor(folder, name, precision, monkeypatch):
    monkeypatch.setenv("ISAMAP_PRECISION", precision)
    return Predictor(model(folder, name), "cpu")


def padded(predictor, lr, valid):
    halo = predictor.halo_px
    return np.pad(lr, ((0, 0), (halo, halo), (halo, halo))), np.pad(valid, halo)


def in_windows(predictor, lr, valid, step):
    """Probability of the raster, window by window."""
    lr, valid = padded(predictor, lr, valid)
    halo, scale = predictor.halo_px, predictor.scale
    shape = tuple(side - 2 * halo for side in valid.shape)
    made = np.full([side * scale for side in shape], np.nan, np.float32)
    for window in windows(shape, step):
        rows = slice(window.row_off, window.row_off + window.height + 2 * halo)
        cols = slice(window.col_off, window.col_off + window.width + 2 * halo)
        made[window.scaled(scale).slices] = tiny.probability(
            predictor, lr[None, :, rows, cols], valid[None, rows, cols]
        )[0]
    return made


@pytest.mark.parametrize("precision", ["float32", ""])
def test_the_production_network_does_not_see_the_windows(tmp_path, monkeypatch, precision):
    """What a pixel sees does not depend on where its window begins; rounding may, in the last bits."""
    fast = predictor(tmp_path, "fast", precision, monkeypatch)
    lr, valid = scene(SHAPE)
    whole, small = in_windows(fast, lr, valid, 512), in_windows(fast, lr, valid, 256)
    assert np.isfinite(whole).all()
    assert 0.2 < (whole >= 0.5).mean() < 0.8
    if precision == "float32":
        np.testing.assert_allclose(small, whole, rtol=0, atol=1e-6)
    assert np.abs(small - whole).max() < 1e-3
    assert np.mean((small >= 0.5) != (whole >= 0.5)) <= 1e-6


@pytest.mark.parametrize(("name", "shape"), [("fast", (70, 45)), ("bilinear", (36, 40))])
def test_the_predictor_is_the_plain_forward_pass(tmp_path, monkeypatch, name, shape):
    made = predictor(tmp_path, name, "float32", monkeypatch)
    lr, valid = scene(shape)
    config = made.card.network
    outer, seen = (torch.from_numpy(part)[None] for part in padded(made, lr, valid))
    with torch.inference_mode():
        x = config.prepare(outer, seen[:, None].expand_as(outer))
        isa = torch.sigmoid(made.network.forward_with_image(x)[0])[:, 0]
        expected = settle(isa, made.scale)[0].numpy()
    rim = (made.halo_px - 1) * made.scale
    expected = expected[rim:-rim, rim:-rim]
    np.testing.assert_allclose(in_windows(made, lr, valid, 512), expected, atol=1e-4)
    np.testing.assert_allclose(in_windows(made, lr, valid, 24), expected, atol=1e-4)


def test_half_precision_stays_close_to_full(tmp_path, monkeypatch):
    lr, valid = scene((64, 64))
    full, half = (
        in_windows(predictor(tmp_path, "fast", precision, monkeypatch), lr, valid, 64)
        for precision in ("float32", "")
    )
    assert np.abs(full - half).max() < 0.03
    assert np.mean((full >= 0.5) != (half >= 0.5)) < 0.01
