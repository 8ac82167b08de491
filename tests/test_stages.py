"""Stages of training: what learns in each, what its loss is made of, and that any of them can be resumed."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
from town import CPU, SHORT, TINY, end_of, same, town, trainer, unlabelled

from isamap.errors import ConfigError, MissingInputError, ModelError
from isamap.model.adversary import Adversary, Discriminator
from isamap.model.losses import class_loss, consistency_loss, matched
from isamap.model.networks import build
from isamap.model.networks.layers import block_mean
from isamap.model.objective import both_sides, weighted_sum
from isamap.model.perceptual import CONVOLUTIONS, LAYERS, Perceptual, display
from isamap.model.training import Extras, as_json
from isamap.model.validation import judge

GAN = {"adversarial_weight": 0.1, "adversarial_ramp": 4, "discriminator_channels": 2}
STAGES = {
    "image": {"train": "image", "image_weight": 1.0, "consistency_weight": 1.0, "isa_weight": 0.0},
    "adversarial": {"train": "image", "image_weight": 1.0} | GAN,
    "segmentation": {"train": "segmentation", "image_weight": 0.0},
    "joint": {"image_weight": 0.1, "consistency_weight": 0.1} | GAN,
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def staged(stage, config="staged", **changes):
    return trainer(SHORT.model_copy(update=STAGES[stage] | changes), TINY[config])


def moved(training):
    """Top-level modules whose weights a step changed."""
    before = {k: v.clone() for k, v in training.network.state_dict().items()}
    training._step()
    after = training.network.state_dict()
    return {k.split(".")[0] for k in before if not torch.equal(before[k], after[k])}


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("image", {"first", "second"}),
        ("adversarial", {"first", "second"}),
        ("segmentation", {"segment", "isa"}),
        ("joint", {"first", "second", "segment", "isa"}),
    ],
)
def test_each_stage_changes_its_own_part(stage, parts):
    assert moved(staged(stage)) == parts


@pytest.mark.parametrize(
    ("stage", "terms"),
    [
        ("image", {"image", "consistency"}),
        ("adversarial", {"image", "consistency", "adversarial", "discriminator"}),
        ("segmentation", {"labels", "share"}),
        ("joint", {"labels", "share", "image", "consistency", "adversarial", "discriminator"}),
    ],
)
def test_a_look_tells_the_terms_of_its_stage(stage, terms):
    progress = next(staged(stage).run())
    assert progress.terms.keys() == terms
    assert np.isfinite(list(progress.terms.values())).all()


@pytest.mark.parametrize("name", ["staged", "joint"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("looks", [1, 2])
def test_every_stage_resumes_to_the_bit(name, stage, looks):
    straight = end_of(staged(stage, name))
    first = staged(stage, name)
    log = [as_json(progress) for progress in itertools.islice(first.run(), looks)]
    document = first.state({"log": []})
    again = staged(stage, name)
    again.restore(document, first.progress)
    rest, weights = end_of(again)
    assert log + rest == straight[0]
    assert same(weights, straight[1])


def test_the_discriminator_learns_too_and_its_state_is_kept():
    training = staged("adversarial")
    before = [p.clone() for p in training.objective.adversary.network.parameters()]
    training._step()
    after = list(training.objective.adversary.network.parameters())
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    kept = safetensors.torch.load(training.state({}))
    assert any(key.startswith("adversary-optimizer.") for key in kept)


def test_the_state_of_a_stage_without_a_discriminator_does_not_fit_one_with():
    with pytest.raises(ModelError, match="delete it to start over"):
        staged("adversarial").restore(staged("image").state({}), trainer().progress)


def test_the_image_gets_closer_to_the_ground_in_a_stage_of_its_own():
    training = staged("image", steps=60, learning_rate=3e-3, evaluate_every=20, precision="float32")
    log, _ = end_of(training)
    assert log[-1]["terms"]["image"] < 0.97 * log[0]["terms"]["image"]


def test_the_map_is_learnt_on_an_image_that_stays():
    training = staged("segmentation", steps=60, learning_rate=1e-2, evaluate_every=30)
    log, _ = end_of(training)
    assert log[-1]["mean_iou"] > 0.6


def test_training_ends_early_when_looks_find_nothing_better():
    training = trainer(SHORT.model_copy(update={"steps": 60, "patience": 2, "learning_rate": 0.0}))
    log, _ = end_of(training)
    assert [entry["step"] for entry in log] == [2, 4, 6]
    assert {entry["best_step"] for entry in log} == {2}


def test_full_precision_is_a_switch():
    half, full = (trainer(SHORT.model_copy(update={"precision": p, "steps": 2})) for p in ("bf16", "float32"))
    assert not same(end_of(half)[1], end_of(full)[1])


def test_a_generator_is_blamed_for_what_does_not_pass_and_the_discriminator_is_left_alone():
    torch.manual_seed(0)
    adversary = Adversary(2, 1e-2, CPU)
    fake = torch.randn(1, 3, 18, 20, requires_grad=True)  # cut to 16 x 16
    known = torch.ones(1, 1, 18, 20)
    adversary.blame(fake, known).backward()
    assert fake.grad[..., :16, :16].abs().sum() > 0
    assert not fake.grad[..., 16:, :].any()
    assert all(p.grad is None for p in adversary.network.parameters())
    adversary.doubt(fake, torch.zeros_like(fake), known).backward()
    assert all(p.grad is not None for p in adversary.network.parameters())


def test_nothing_known_is_nothing_to_doubt():
    adversary = Adversary(2, 1e-2, CPU)
    image, known = torch.randn(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    assert float(adversary.blame(image, known)) == 0
    assert float(adversary.doubt(image, image, known).detach()) == 0


def test_the_discriminator_looks_at_every_pixel():
    assert Discriminator(2)(torch.randn(2, 3, 24, 16)).shape == (2, 1, 24, 16)


def test_a_matched_image_has_mean_and_deviation_of_the_input():
    torch.manual_seed(0)
    target, base = 40 * torch.rand(2, 3, 80, 80) + 90, 0.3 * torch.randn(2, 3, 8, 8) + 1
    known = torch.ones(2, 1, 80, 80)
    known[:, :, :20] = 0
    image, there = matched(target, base, known)
    assert torch.equal(there, known)
    coarse = block_mean(image, 10)[:, :, 2:]
    torch.testing.assert_close(coarse.mean((-2, -1)), base[:, :, 2:].mean((-2, -1)))
    torch.testing.assert_close(
        coarse.std((-2, -1), correction=0), base[:, :, 2:].std((-2, -1), correction=0), rtol=1e-3, atol=1e-4
    )


def test_a_chip_that_shows_too_little_is_no_image_to_learn():
    known = torch.zeros(1, 1, 80, 80)
    known[..., :30, :50] = 1  # 15 whole pixels
    _, there = matched(torch.rand(1, 3, 80, 80), torch.rand(1, 3, 8, 8), known)
    assert not there.any()


def test_consistency_is_the_difference_of_the_means():
    base = torch.zeros(1, 3, 2, 2)
    image = torch.zeros(1, 3, 20, 20)
    image[..., :10, :10] = 0.5
    present = torch.ones(1, 1, 2, 2)
    assert float(consistency_loss(image, base, present)) == pytest.approx(0.125)
    present[..., 0, 0] = 0
    assert float(consistency_loss(image, base, present)) == 0


def test_a_class_loss_matches_the_hand():
    probability = (
        torch.tensor([0.5, 0.3, 0.2, 0.2, 0.2, 0.6, 0.1, 0.1, 0.8])
        .reshape(1, 3, 3)
        .permute(0, 2, 1)[..., None]
    )
    target = torch.tensor([0, 2, 255], dtype=torch.uint8).reshape(1, 1, 3, 1)
    weights = torch.tensor([2.0, 1.0, 4.0])
    expected = -(2 * np.log(0.5) + 4 * np.log(0.6)) / 6
    assert float(class_loss(probability, target, weights)) == pytest.approx(expected, rel=1e-6)


def test_one_output_is_two_classes():
    both = both_sides(torch.tensor([0.25]).reshape(1, 1, 1, 1))
    assert both.flatten().tolist() == [0.75, 0.25]


def test_terms_without_weight_cost_nothing():
    one = torch.tensor(3.0)
    assert float(weighted_sum({"a": (2.0, one), "b": (0.0, one * float("nan"))})) == 6


@pytest.fixture
def vgg(tmp_path):
    """A VGG19 of two channels everywhere."""
    torch.manual_seed(1)
    tensors = {}
    for index in CONVOLUTIONS:
        tensors[f"features.{index}.weight"] = torch.randn(2, 3 if index == 0 else 2, 3, 3)
        tensors[f"features.{index}.bias"] = torch.randn(2)
    path = tmp_path / "vgg19.safetensors"
    safetensors.torch.save_file(tensors, path)
    return path


def test_a_perceptual_loss_sees_a_difference_and_none(vgg):
    made = Perceptual(vgg)
    image, known = torch.rand(1, 3, 32, 32), torch.ones(1, 1, 32, 32)
    assert float(made(image, image, known)) == 0
    assert float(made(image, 1 - image, known)) > 0
    assert float(made(image, 1 - image, 0 * known)) == 0
    assert len(made.features(image)) == len(LAYERS)
    assert [f.shape[-1] for f in made.features(image)] == [32, 16, 8, 4, 2]
    assert not any(p.requires_grad for p in made.parameters())


def test_a_stage_with_a_perceptual_loss_trains(vgg):
    schedule = SHORT.model_copy(update=STAGES["image"] | {"perceptual_weight": 0.1, "chip_px": 12})
    training = trainer(schedule, TINY["staged"], Extras(perceptual=vgg))
    assert next(training.run()).terms["perceptual"] > 0


def test_a_perceptual_loss_without_weights_is_a_configuration_error():
    with pytest.raises(ConfigError, match="VGG19"):
        trainer(SHORT.model_copy(update={"perceptual_weight": 0.1}))


def test_perceptual_weights_are_safetensors_or_nothing(tmp_path, vgg):
    with pytest.raises(MissingInputError, match="does not exist"):
        Perceptual(tmp_path / "none.safetensors")
    pickled = tmp_path / "vgg19.pth"
    pickled.write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    with pytest.raises(ModelError, match="pickles can run code"):
        Perceptual(pickled)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(vgg.read_bytes()[:-3])
    with pytest.raises(ModelError, match="damaged"):
        Perceptual(cut)
    other = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"features.0.weight": torch.zeros(2, 3, 3, 3)}, other)
    with pytest.raises(ModelError, match=r"no features\.0"):
        Perceptual(other)


def test_display_is_reflectance_over_white():
    image = torch.zeros(1, 3, 1, 1)
    mean, std = torch.tensor([0.15, 0.3, 0.6]), torch.ones(3)
    assert display(image, mean, std).flatten().tolist() == pytest.approx([0.5, 1.0, 1.0])


def test_optional_bands_are_hidden_at_times_and_together():
    from isamap.model.chips import jitter

    source = town()
    chip = source.cut(np.random.default_rng(0), 8)
    bands = ("B02", "B03", "B11", "B12")
    hidden = [
        ~jitter(chip, bands, np.random.default_rng(k), ("B11", "B12"), 0.3).present.all(axis=(1, 2))
        for k in range(300)
    ]
    assert not np.any([h[:2] for h in hidden])
    assert all(h[2] == h[3] for h in hidden)
    assert 0.2 < np.mean([h[2] for h in hidden]) < 0.4


def test_a_network_with_optional_bands_trains_and_still_maps_without():
    bands = {
        "bands": ("B02", "B03", "B04", "B11"),
        "optional": ("B11",),
        "std": (0.05,) * 4,
        "mean": (0.12,) * 4,
    }
    config = TINY["fast"].model_copy(update=bands)
    schedule = SHORT.model_copy(
        update={"steps": 60, "evaluate_every": 30, "learning_rate": 1e-2, "hidden_share": 0.5}
    )
    training = trainer(schedule, config)
    end_of(training)
    ground = training.validations[0]
    without = replace(ground, present=ground.present & np.array([True, True, True, False])[:, None, None])
    assert judge(training.average, without, CPU)[0].max() > 0.7
    assert judge(training.average, ground, CPU)[0].max() > 0.7


def test_unlabelled_ground_teaches_the_map_through_its_shares():
    schedule = SHORT.model_copy(update={"steps": 60, "evaluate_every": 30, "share_weight": 2.0})
    log, _ = end_of(trainer(schedule, sources=[(unlabelled(), 2)]))
    assert log[-1]["terms"]["share"] < 0.5 * log[0]["terms"]["share"]
    assert log[-1]["mean_iou"] > 0.8


def test_a_start_from_another_network_says_what_is_unlike():
    other = build(TINY["fast"].model_copy(update={"channels": 6, "blocks": 3}))
    theirs = "theirs has channels = 6, blocks = 3$"
    with pytest.raises(ModelError, match=theirs):
        trainer(SHORT, TINY["fast"]).start_from(other)
