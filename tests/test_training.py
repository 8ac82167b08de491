import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from isamap.config import read_toml
from isamap.core.recipe import Recipe
from isamap.errors import ModelError
from isamap.model.chips import PairSource
from isamap.model.networks import NetworkConfig
from isamap.model.schedule import Schedule, learning_rate
from isamap.model.state import read_record
from isamap.model.training import Trainer, as_json
from isamap.model.validation import THRESHOLDS, Validation, judge, probabilities

CPU = torch.device("cpu")
CONFIG = NetworkConfig(name="fast", channels=8, blocks=1)
SHORT = Schedule(steps=6, warmup_steps=2, chip_px=8, border_px=2, evaluate_every=2, learning_rate=3e-3)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def ground(seed, side=24):
    """Ground on which bright means ISA: easy to learn."""
    rng = np.random.default_rng(seed)
    isa = np.kron(rng.random((side // 4, side // 4)) > 0.5, np.ones((4, 4)))
    lr = (0.08 + 0.12 * isa + rng.normal(0, 0.005, (4, side, side))).astype(np.float32)
    return lr, np.kron(isa, np.ones((10, 10))).astype(np.uint8)


def trainer(schedule=SHORT, config=CONFIG):
    lr, isa = ground(1)
    image = np.repeat(60 + 100 * isa[None], 3, axis=0)
    source = PairSource("town", lr, np.ones(lr.shape, np.bool_), isa, image)
    lr, isa = ground(2, side=16)
    validation = Validation("park", lr, np.ones(lr.shape, np.bool_), isa)
    return Trainer(config, schedule, [(source, 2)], [validation], CPU)


def end_of(training):
    log = [as_json(progress) for progress in training.run()]
    return log, training.weights()


@pytest.fixture(scope="module")
def straight():
    return end_of(trainer())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_the_same_seed_gives_the_same_weights_and_log(straight):
    log, weights = end_of(trainer())
    assert log == straight[0]
    assert same(weights, straight[1])
    assert [entry["step"] for entry in log] == [2, 4, 6]


def test_another_seed_gives_other_weights(straight):
    _, weights = end_of(trainer(SHORT.model_copy(update={"seed": 7, "steps": 2})))
    assert not same(weights, straight[1])


@pytest.mark.parametrize("looks", [1, 2])
def test_a_resumed_run_equals_a_straight_one_to_the_bit(straight, looks):
    first = trainer()
    log = [as_json(progress) for progress in itertools.islice(first.run(), looks)]
    document = first.state({"log": log})
    again = trainer()
    again.restore(document, first.progress)
    rest, weights = end_of(again)
    assert log + rest == straight[0]
    assert same(weights, straight[1])


def test_the_record_travels_with_the_weights(tmp_path):
    path = tmp_path / "state.safetensors"
    path.write_bytes(trainer().state({"recipe": "abc", "log": [{"step": 2, "loss": 0.1}]}))
    assert read_record(path) == {"recipe": "abc", "log": [{"step": 2, "loss": 0.1}]}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_damaged_state_is_refused(tmp_path, share):
    path = tmp_path / "state.safetensors"
    whole = trainer().state({"log": []})
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match="delete it to start over"):
        read_record(path)
    with pytest.raises(ModelError, match="delete it to start over"):
        trainer().restore(path.read_bytes(), trainer().progress)


def test_loss_falls_and_iou_rises_on_easy_ground():
    schedule = SHORT.model_copy(update={"steps": 60, "evaluate_every": 30, "learning_rate": 1e-2})
    training = trainer(schedule)
    before = judge(training.average, training.validations[0], CPU)[0].max()
    log, _ = end_of(training)
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["mean_iou"] > max(0.8, before + 0.1)
    assert log[-1]["threshold"] in THRESHOLDS
    assert log[-1]["mean_iou"] == log[-1]["isa_iou"]["park"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_run_that_diverges_says_so(value):
    training = trainer()
    source, count = training.feeder.sources[0]
    ruined = replace(source, lr=np.full_like(source.lr, value))
    training.feeder = replace(training.feeder, sources=[(ruined, count)])
    with pytest.raises(ModelError, match="diverged at step 0: lower learning_rate"):
        next(training.run())


def test_the_learning_rate_rises_in_a_line_and_falls_along_a_cosine():
    schedule = Schedule(steps=1100, warmup_steps=100, learning_rate=0.5)
    rates = [learning_rate(schedule, step) for step in range(1100)]
    np.testing.assert_allclose(np.diff(rates[:100]), 0.005)
    assert rates[0] == pytest.approx(0.005)
    assert max(rates) == rates[100] == 0.5
    assert rates[600] == pytest.approx(0.25)
    assert rates[350] == pytest.approx(0.25 * (1 + math.cos(math.pi / 4)))
    assert 0 < rates[-1] < 1e-5
    assert all(a > b for a, b in itertools.pairwise(rates[100:]))


def test_a_schedule_of_nothing_but_warm_up_ends(straight):
    assert learning_rate(Schedule(steps=5, warmup_steps=5, learning_rate=1), 4) == 1
    assert learning_rate(Schedule(steps=5, warmup_steps=0, learning_rate=1), 0) == 1


def test_the_rim_of_a_chip_teaches_nothing():
    training = trainer()
    batch = training.feeder.batches(0)[0]
    other = replace(batch, isa=batch.isa.clone(), image=batch.image.clone())
    rim = SHORT.border_px * 10
    keep = torch.zeros(batch.isa.shape[-2:], dtype=torch.bool)
    keep[rim:-rim, rim:-rim] = True
    other.isa[..., ~keep] = 1 - other.isa[..., ~keep]
    other.image[..., ~keep] += 5
    one, two = (training.objective.terms(training.network, b, 0) for b in (batch, other))
    assert {k: float(v.detach()) for k, (_, v) in one.items()} == {
        k: float(v.detach()) for k, (_, v) in two.items()
    }


@pytest.mark.parametrize("name", ["fast", "bilinear"])
def test_probabilities_do_not_depend_on_the_pieces(name):
    torch.manual_seed(0)
    training = trainer(config=NetworkConfig(name=name, channels=8, blocks=1))
    lr = torch.from_numpy(ground(4, side=40)[0])[:, :, :37]
    present = torch.ones_like(lr)
    whole, pieces = (probabilities(training.average, lr, present, piece_px=p) for p in (128, 16))
    assert whole.shape == (400, 370)
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-2)  # bfloat16: 8 bits


def test_unlabelled_validation_ground_scores_nothing():
    lr, isa = ground(2, side=16)
    isa[:] = 255
    curve = judge(trainer().average, Validation("sea", lr, lr > 0, isa), CPU)[0]
    np.testing.assert_array_equal(curve, np.zeros(len(THRESHOLDS)))


@pytest.mark.parametrize("name", ["fast", "bilinear"])
def test_the_shipped_recipes_are_valid(pytestconfig, name):
    recipe = read_toml(pytestconfig.rootpath / f"examples/train/{name}.toml", Recipe)
    assert recipe.network.name == name
    assert recipe.schedule.border_px * 2 < recipe.schedule.chip_px
    assert recipe.attribution
