"""Calibration: fitted as an independent regression fits it, applied so that no class map moves."""

import numpy as np
import pytest
import tiny
import torch
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from test_predict import CARD, CONFIG, scene

from isamap.domain.calibration import Calibration, fit
from isamap.domain.reliability import Reliability
from isamap.errors import ModelError
from isamap.model import settling
from isamap.model.checkpoint import Card, load_card, pack
from isamap.model.networks import build
from isamap.model.predict import Predictor


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def drawn(slope, intercept, count=400_000, seed=0):
    """Probabilities in percent, and classes drawn as often as the calibration says."""
    rng = np.random.default_rng(seed)
    percent = np.clip(rng.normal(45, 25, count), 1, 99).astype(np.uint8)
    p = percent / 100
    worth = 1 / (1 + np.exp(-(slope * np.log(p / (1 - p)) + intercept)))
    return percent, (rng.random(count) < worth).astype(np.uint8)


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.6, -0.9), (2.5, 0.4)])
def test_the_fit_is_that_of_a_logistic_regression(slope, intercept):
    counted = Reliability.count(*drawn(slope, intercept))
    found = fit(counted)
    percent = np.arange(1, 100)
    logit = np.log(percent / (100.0 - percent))
    oracle = LogisticRegression(C=np.inf, tol=1e-8).fit(
        np.tile(logit, 2)[:, None], np.repeat([0, 1], 99), counted.counts[:, 1:100].ravel()
    )
    assert found.slope == pytest.approx(oracle.coef_[0, 0], abs=2e-3)
    assert found.intercept == pytest.approx(oracle.intercept_[0], abs=2e-3)
    assert (found.slope, found.intercept) == pytest.approx((slope, intercept), abs=0.03)


def test_calibrated_probabilities_come_true_on_ground_that_was_not_fitted():
    found = fit(Reliability.count(*drawn(0.5, -1.2)))
    percent, truth = drawn(0.5, -1.2, seed=1)
    worth = np.rint([100 * found.of(p / 100) for p in percent]).astype(np.uint8)
    before, after = Reliability.count(percent, truth), Reliability.count(worth, truth)
    assert before.ece > 0.15
    assert after.ece < 0.01
    assert after.brier < before.brier


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros((2, 101)),
        np.stack([np.full(101, 5), np.zeros(101)]),
        np.stack([np.arange(101) ** 2, np.arange(101)[::-1] ** 2]),  # the surer, the wronger
    ],
)
def test_where_there_is_nothing_to_learn_there_is_no_calibration(counts):
    assert fit(Reliability(counts.astype(np.int64))) is None


def test_a_network_that_is_never_wrong_keeps_finite_numbers():
    counts = np.zeros((2, 101), np.int64)
    counts[0, :40], counts[1, 60:] = 1000, 1000
    found = fit(Reliability(counts))
    assert 1 < found.slope < 100
    assert found.of(0.8) > 0.99


@pytest.mark.parametrize("p", [0.0, 1e-6, 0.2, 0.45, 0.5, 0.999, 1.0])
def test_the_way_back_leads_to_the_same_float(p):
    found = Calibration(0.6137, -0.8211)
    assert np.float32(found.back(found.of(p))) == np.float32(p)


@pytest.mark.parametrize("numbers", [(0.0, 0.1), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))])
def test_numbers_that_would_turn_the_order_are_refused(numbers):
    with pytest.raises(ValueError, match="slope above 0"):
        Calibration(*numbers)
    with pytest.raises(ValidationError):
        Card.model_validate(
            CARD
            | {"weights_sha256": "0", "calibration": dict(zip(("slope", "intercept"), numbers, strict=True))}
        )


def write(folder, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build(CONFIG)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    document, card = pack(network.state_dict(), CARD | changes)
    folder.mkdir()
    path = folder / "small.safetensors"
    path.write_bytes(document)
    path.with_suffix(".json").write_bytes(card)
    return path


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_calibration_moves_no_pixel_of_a_class_map(tmp_path, monkeypatch, share):
    """The threshold is a probability that a pixel has, so that the least rounding would show."""
    monkeypatch.setenv("ISAMAP_PRECISION", "float32")
    numbers = Calibration(0.6137, -0.8211)
    lr, valid = scene(3)
    valid[12, 20] = False
    path = write(tmp_path / "plain")
    p = tiny.probability(Predictor(path, "cpu"), lr[None], valid[None])[0].numpy()
    raw = float(np.quantile(p, share, method="nearest"))
    plain = Predictor(path, "cpu", raw)
    fitted = write(
        tmp_path / "fitted",
        threshold=numbers.of(raw),
        calibration={"slope": numbers.slope, "intercept": numbers.intercept},
    )
    (before,), (after,) = (
        one.predict([lr], [valid], percent=True).result() for one in (plain, Predictor(fitted, "cpu"))
    )
    np.testing.assert_array_equal(after.isa, before.isa)
    assert set(np.unique(before.isa)) == {0, 1, 255}
    p = p.astype(np.float64)
    worth = 1 / (1 + np.exp(-(numbers.slope * np.log(p / (1 - p)) + numbers.intercept)))
    np.testing.assert_allclose(after.percent[after.isa != 255], 100 * worth[after.isa != 255], atol=0.501)
    slack = 0.501
    assert (after.percent[after.isa == 1] >= 100 * numbers.of(raw) - slack).all()
    assert (after.percent[after.isa == 0] <= 100 * numbers.of(raw) + slack).all()
    asked = Predictor(fitted, "cpu", float(np.quantile(worth, 0.3))).predict([lr], [valid]).result()[0].isa
    assert (asked[asked != 255] == 1).mean() == pytest.approx(0.7, abs=0.02)


def test_a_card_without_calibration_is_read_as_it_always_was(tmp_path):
    path = write(tmp_path / "model")
    document = path.with_suffix(".json").read_text()
    card = load_card(path)
    assert card.calibration is None
    assert card.settled(0.37) == 0.37
    probability = torch.rand(5)
    assert settling.calibrated(probability, None) is probability
    path.with_suffix(".json").write_text(
        document.replace('"calibration": null', '"calibration": {"slope": 1}')
    )
    with pytest.raises(ModelError, match="calibration"):
        load_card(path)


def test_the_provenance_of_a_map_knows_the_calibration_and_only_where_there_is_one(tmp_path):
    plain = Predictor(write(tmp_path / "plain"), "cpu").settings
    assert plain.keys() == {"network", "threshold"}
    numbers = {"slope": 0.7, "intercept": -0.4}
    fitted = Predictor(write(tmp_path / "fitted", calibration=numbers), "cpu").settings
    assert fitted == plain | {"calibration": numbers}
