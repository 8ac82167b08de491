from dataclasses import replace

import numpy as np
import pytest
import torch

from isamap.domain.classes import UNLABELLED
from isamap.errors import InputError
from isamap.model.chips import (
    Mixture,
    PairSource,
    ShareSource,
    SimulatedSource,
    collate,
    jitter,
    standardise,
    turn,
)
from isamap.model.simulate import REFLECTANCE_OF_WHITE

BANDS = ("B02", "B03", "B04", "B08")
EIGHT_WAYS = [(turns, mirror) for turns in range(4) for mirror in (False, True)]


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def fine(values):
    return np.kron(values, np.ones((10, 10), values.dtype))


@pytest.fixture
def pair(rng):
    """Ground that is ISA exactly where B02 at 10 m is above 0.5, and whose image shows the same."""
    lr = rng.random((4, 30, 40)).astype(np.float32)
    isa = (fine(lr[0]) > 0.5).astype(np.uint8)
    image = np.repeat((100 + 50 * isa)[None], 3, axis=0)
    return PairSource("pair", lr, np.ones(lr.shape, np.bool_), isa, image)


def test_a_chip_of_a_pair_holds_the_same_ground_at_both_resolutions(pair, rng):
    chip = pair.cut(rng, 12)
    assert chip.lr.shape == (4, 12, 12)
    assert chip.isa.shape == chip.known.shape == (120, 120)
    assert chip.known.all()
    assert not chip.weight.any()
    np.testing.assert_array_equal(chip.isa, fine(chip.lr[0]) > 0.5)


@pytest.mark.parametrize(("turns", "mirror"), EIGHT_WAYS)
def test_labels_and_bands_stay_aligned_however_a_chip_lies(pair, rng, turns, mirror):
    chip = pair.cut(rng, 12)
    share = chip.lr[0] > 0.5
    chip = turn(replace(chip, share=share.astype(np.float32)), turns, mirror=mirror)
    np.testing.assert_array_equal(chip.isa, fine(chip.lr[0]) > 0.5)
    np.testing.assert_array_equal(chip.share, chip.lr[0] > 0.5)
    np.testing.assert_array_equal(chip.image[0] > 0, chip.isa == 1)


def test_the_eight_ways_to_lay_a_chip_all_differ(pair, rng):
    chip = pair.cut(rng, 8)
    assert len({turn(chip, turns, mirror=mirror).lr.tobytes() for turns, mirror in EIGHT_WAYS}) == 8


def test_chips_are_cut_where_the_labels_are(pair, rng):
    isa = pair.isa.copy()
    isa[:, 100:] = UNLABELLED
    for _ in range(20):
        chip = replace(pair, isa=isa).cut(rng, 10)
        assert np.mean(chip.isa != UNLABELLED) >= 0.25


def test_the_same_seed_gives_the_same_chip(pair):
    def cut(seed):
        rng = np.random.default_rng(seed)
        return collate([jitter(turn(pair.cut(rng, 9), 1, mirror=True), BANDS, rng)])

    assert all(torch.equal(a, b) for a, b in zip(vars(cut(4)).values(), vars(cut(4)).values(), strict=True))
    assert not torch.equal(cut(4).lr, cut(5).lr)


@pytest.fixture
def aerial(rng):
    """A 1 m image with smooth brightness; labels only on its left half."""
    coarse = rng.integers(30, 220, (3, 21, 24))
    image = np.stack([np.kron(band, np.ones((10, 10))) for band in coarse]).astype(np.uint8)[:, :205, :235]
    isa = (image[0] > 120).astype(np.uint8)
    isa[:, 120:] = UNLABELLED
    return SimulatedSource("aerial", isa, image, BANDS)


def test_the_10_m_grid_of_a_simulated_chip_may_lie_anywhere_on_the_ground(aerial):
    isa = np.zeros_like(aerial.isa)
    isa[:, ::10] = 1
    chips = [replace(aerial, isa=isa).cut(np.random.default_rng(seed), 5) for seed in range(12)]
    assert len({int(chip.isa[0].argmax()) for chip in chips}) > 3


def test_simulated_means_match_those_of_the_image(monkeypatch, aerial, rng):
    monkeypatch.setattr("isamap.model.chips.standardise", lambda image: image.astype(np.float32))
    chip = aerial.cut(rng, 16)
    means = chip.image.reshape(3, 16, 10, 16, 10).mean(axis=(2, 4)) / 255 * REFLECTANCE_OF_WHITE
    for channel, band in enumerate(("B04", "B03", "B02")):
        inner = (chip.lr[BANDS.index(band)] - means[channel])[2:-2, 2:-2]
        assert np.abs(inner).mean() < 0.02  # blurred over a pixel's border, but here and not elsewhere
        assert abs(inner.mean()) < 0.005
    assert not chip.present[BANDS.index("B08")].any()
    assert not chip.lr[BANDS.index("B08")].any()


def test_simulated_chips_reach_the_last_row_and_never_beyond(aerial):
    chips = [aerial.cut(np.random.default_rng(seed), 20) for seed in range(8)]
    assert {chip.isa.shape for chip in chips} == {(200, 200)}
    assert {chip.lr.shape for chip in chips} == {(4, 20, 20)}


def test_labels_of_a_simulated_chip_are_those_of_its_pixels(monkeypatch, aerial, rng):
    monkeypatch.setattr("isamap.model.chips.standardise", lambda image: image.astype(np.float32))
    chip = aerial.cut(rng, 15)
    labelled = chip.isa != UNLABELLED
    assert labelled.any()
    np.testing.assert_array_equal(chip.isa[labelled], chip.image[0][labelled] > 120)


def test_chips_of_shares_are_cut_where_shares_say_something(rng):
    lr = rng.random((4, 40, 40)).astype(np.float32)
    weight = np.zeros((40, 40), np.float32)
    weight[25:, 25:] = 1
    chip = ShareSource("scene", lr, lr > 0, lr[1], weight).cut(rng, 10)
    assert (chip.weight > 0).mean() >= 0.25
    assert (chip.isa == UNLABELLED).all()
    assert not chip.known.any()
    np.testing.assert_array_equal(chip.share, chip.lr[1])


@pytest.mark.parametrize("kind", ["pair", "aerial", "scene"])
def test_ground_that_is_smaller_than_a_chip_is_refused_by_name(kind, pair, aerial, rng):
    flat = np.ones((20, 9), np.float32)
    scene = ShareSource("scene", flat[None], flat[None] > 0, flat, flat)
    source = {"pair": pair, "aerial": aerial, "scene": scene}[kind]
    with pytest.raises(InputError, match=rf"{kind} is .* a chip .*chip_px"):
        source.cut(rng, 31 if kind == "pair" else 21)


@pytest.mark.parametrize("seed", range(8))
def test_what_was_missing_stays_missing_under_any_air(pair, seed):
    chip = pair.cut(np.random.default_rng(seed), 10)
    present = chip.present.copy()
    present[2, :3] = False
    chip = replace(chip, present=present, lr=np.where(present, chip.lr, 0))
    other = jitter(chip, BANDS, np.random.default_rng(seed))
    assert not other.present[2, :3].any()
    assert not other.lr[~other.present].any()
    assert other.lr.dtype == np.float32
    assert not (other.present & ~present).any()
    np.testing.assert_array_equal(other.isa, chip.isa)


def test_now_and_then_the_near_infrared_is_taken_away(pair):
    chip = pair.cut(np.random.default_rng(0), 4)
    jittered = [jitter(chip, BANDS, np.random.default_rng(seed)) for seed in range(200)]
    gone = [not other.present[3].any() for other in jittered]
    assert 0.02 < np.mean(gone) < 0.2
    assert all(other.present[:3].all() for other in jittered)


def test_the_air_stays_in_its_bounds(pair):
    chip = pair.cut(np.random.default_rng(0), 8)
    grey = replace(chip, lr=np.full_like(chip.lr, 0.2))
    means = [jitter(grey, BANDS, np.random.default_rng(seed)).lr[:3].mean() for seed in range(100)]
    assert 0.1 < min(means) < 0.2 < max(means) < 0.3


def test_a_standardised_image_has_no_brightness_of_its_own(rng):
    image = rng.integers(60, 120, (3, 50, 50)).astype(np.uint8)
    values = standardise(image)
    np.testing.assert_allclose(values.mean(axis=(1, 2)), 0, atol=1e-4)
    assert (values.std(axis=(1, 2)) < 1).all()
    np.testing.assert_allclose(standardise((image + 40).astype(np.uint8)), values, atol=1e-4)
    assert np.isfinite(standardise(np.zeros((3, 5, 5), np.uint8))).all()


def test_a_batch_stacks_chips_with_the_axes_a_network_wants(pair, rng):
    batch = collate([pair.cut(rng, 6) for _ in range(3)])
    shapes = {name: tuple(tensor.shape) for name, tensor in vars(batch).items()}
    coarse, fine_side = (6, 6), (60, 60)
    assert shapes == {
        "lr": (3, 4, *coarse),
        "present": (3, 4, *coarse),
        "isa": (3, 1, *fine_side),
        "image": (3, 3, *fine_side),
        "known": (3, 1, *fine_side),
        "share": (3, 1, *coarse),
        "weight": (3, 1, *coarse),
    }
    assert batch.isa.dtype == torch.uint8
    assert batch.lr.dtype == batch.present.dtype == batch.known.dtype == torch.float32


def test_a_mixture_draws_from_every_source(pair, rng):
    dark = replace(pair, lr=pair.lr * 0)
    chips = [Mixture("both", (pair, dark)).cut(rng, 5) for _ in range(40)]
    assert 5 < sum(bool(chip.lr.any()) for chip in chips) < 35
