"""Domain adaptation: what is selected, counted by hand, and what it does for a town under another sun."""

import math

import numpy as np
import pytest
import torch
from town import CPU, SHORT, TINY, end_of, ground, same, town, trainer, unlabelled

from isamap.errors import ConfigError
from isamap.model.adapt import (
    Adaptation,
    Scaling,
    class_weights,
    entropy,
    kept_share,
    lowest,
    lowest_of_each,
    pseudo_labels,
)
from isamap.model.chips import ShareSource
from isamap.model.training import Extras
from isamap.model.validation import Validation, judge


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def test_the_kept_share_grows_in_a_line_to_its_top():
    shares = [kept_share(step, 120, 0.5) for step in range(120)]
    assert shares[0] == pytest.approx(0.5 / 120)  # 0.4 % in the published 120 epochs
    assert shares[59] == pytest.approx(0.25)
    assert shares[119] == 0.5
    np.testing.assert_allclose(np.diff(shares), 0.5 / 120)


def test_entropy_is_0_where_certain_and_1_where_all_are_alike():
    p = torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.9, 0.1]]).T.reshape(1, 2, 1, 3)
    half = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(2)
    assert entropy(p).flatten().tolist() == pytest.approx([0, 1, half], abs=1e-6)
    assert float(entropy(torch.full((1, 24, 1, 1), 1 / 24))) == pytest.approx(1)


VALUES = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.2, 0.8, 0.7, 0.4])
EVERY = torch.ones(8, dtype=torch.bool)


@pytest.mark.parametrize(
    ("share", "chosen"),
    [(0.0, []), (0.12, []), (0.125, [1]), (0.25, [1, 4]), (0.5, [1, 3, 4, 7]), (1.0, list(range(8)))],
)
def test_the_lowest_share_is_counted_over_the_whole_batch(share, chosen):
    assert lowest(VALUES, share, EVERY).nonzero().flatten().tolist() == chosen


def test_only_candidates_are_counted_and_chosen():
    candidates = EVERY.clone()
    candidates[[1, 4]] = False
    assert lowest(VALUES, 0.5, candidates).nonzero().flatten().tolist() == [2, 3, 7]


def test_ties_are_broken_by_position_and_the_count_stays():
    chosen = lowest(torch.zeros(10), 0.3, torch.ones(10, dtype=torch.bool))
    assert chosen.nonzero().flatten().tolist() == [0, 1, 2]


def test_a_quota_takes_the_same_share_of_every_class():
    """Class 0 is surer everywhere: published, it takes all places; by quota, each class keeps half of its own."""
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    values = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.8, 0.9])
    every = torch.ones(6, dtype=torch.bool)
    assert lowest(values, 0.5, every).nonzero().flatten().tolist() == [0, 1, 2]
    assert lowest_of_each(values, labels, 0.5, every).nonzero().flatten().tolist() == [0, 1, 4]


def test_pseudo_labels_are_the_likeliest_classes_of_the_surest_pixels():
    isa = torch.tensor([[0.99, 0.6], [0.55, 0.02]])
    probability = torch.stack((1 - isa, isa))[None]  # (1, 2, 2, 2)
    seen = torch.ones(1, 2, 2, dtype=torch.bool)
    half = pseudo_labels(probability, 0.5, seen, per_class=False)
    assert half.dtype == torch.uint8
    assert half.flatten().tolist() == [1, 255, 255, 0]
    seen[0, 0, 0] = False
    assert pseudo_labels(probability, 0.5, seen, per_class=False).flatten().tolist() == [255, 255, 255, 0]
    quota = pseudo_labels(probability, 1 / 3, torch.ones_like(seen), per_class=True)
    assert quota.flatten().tolist() == [1, 255, 255, 255]  # a third of one pervious pixel is none


def test_class_weights_are_those_of_the_published_code():
    counts = np.array([0, 300, 700], np.int64)
    expected = [1 / math.log(1.02), 1 / math.log(1.32), 1 / math.log(1.72)]
    assert class_weights(counts) == pytest.approx(expected)


def test_a_domain_laid_onto_another_has_its_mean_and_deviation():
    rng = np.random.default_rng(0)
    there = (rng.normal(0.3, 0.1, (4, 9, 9)).astype(np.float32), np.ones((4, 9, 9), np.bool_))
    here = (rng.normal(0.1, 0.02, (4, 7, 7)).astype(np.float32), np.ones((4, 7, 7), np.bool_))
    target, source = Scaling.of([there]), Scaling.of([here])
    laid = target.onto(source, there[0])
    np.testing.assert_allclose(laid.mean(axis=(1, 2)), source.mean, rtol=1e-4)
    np.testing.assert_allclose(laid.std(axis=(1, 2)), source.std, rtol=1e-4)


def test_statistics_count_present_pixels_only():
    lr, present = np.full((1, 2, 2), 0.2, np.float32), np.ones((1, 2, 2), np.bool_)
    lr[0, 0] = 0
    present[0, 0] = False
    scaling = Scaling.of([(lr, present), (lr + 0.2, present)])
    assert scaling.mean[0] == pytest.approx(0.3)
    assert scaling.std[0] == pytest.approx(0.1)


def test_a_band_that_the_target_lacks_keeps_the_scaling_of_the_source():
    rng = np.random.default_rng(2)
    lr, present = rng.uniform(0.02, 0.5, (4, 6, 6)).astype(np.float32), np.ones((4, 6, 6), np.bool_)
    source = Scaling.of([(lr, present)])
    present[3] = False
    target = Scaling.of([(lr / 2, present)], source)
    assert target.mean == pytest.approx(source.mean * [0.5, 0.5, 0.5, 1])
    config = TINY["fast"]
    card = target.config(source, config)
    assert (card.mean[3], card.std[3]) == pytest.approx((config.mean[3], config.std[3]))
    assert card.std[0] == pytest.approx(config.std[0] / 2)


def test_the_card_of_an_adapted_network_sees_plain_reflectance_as_training_saw_it():
    rng = np.random.default_rng(1)
    lr = rng.uniform(0.02, 0.5, (4, 6, 6)).astype(np.float32)
    target = Scaling(np.array([0.2, 0.1, 0.3, 0.4]), np.array([0.1, 0.05, 0.07, 0.2]))
    source = Scaling(np.array([0.1, 0.12, 0.2, 0.25]), np.array([0.03, 0.04, 0.05, 0.06]))
    config = TINY["fast"]
    ones = torch.ones(1, 4, 6, 6)
    in_training = config.prepare(torch.from_numpy(target.onto(source, lr))[None], ones)
    on_the_card = target.config(source, config).prepare(torch.from_numpy(lr)[None], ones)
    torch.testing.assert_close(on_the_card, in_training, rtol=1e-4, atol=1e-4)


COUNTS = np.array([600, 400], np.int64)


def adapting(method, steps=6, target=None, **changes):
    adaptation = Adaptation(method=method, chips=2, **changes)
    schedule = SHORT.model_copy(
        update={"steps": steps, "evaluate_every": max(2, steps // 2), "learning_rate": 1e-2}
    )
    return trainer(schedule, extras=Extras(adaptation, target or [unlabelled()], COUNTS))


@pytest.mark.parametrize(
    ("method", "terms"),
    [("dpa", {"target"}), ("dpa+", {"target", "agreement", "target-share"})],
)
def test_the_target_adds_its_terms(method, terms):
    progress = next(adapting(method).run())
    assert progress.terms.keys() == {"labels", "share", "image"} | terms


@pytest.mark.parametrize("method", ["dpa", "dpa+"])
def test_an_adapting_run_resumes_to_the_bit(method):
    straight = end_of(adapting(method))
    first = adapting(method)
    next(first.run())
    again = adapting(method)
    again.restore(first.state({}), first.progress)
    assert same(end_of(again)[1], straight[1])


def test_published_selection_and_loss_match_a_hand_count():
    """A step's target loss against one made from the parts by hand."""
    training = adapting("dpa", steps=4)
    batch = training.target.feeder.batches(3)[0]
    made = training.target._probability(training.network, batch).detach()
    doubt = entropy(made)
    count = int(0.5 * doubt.numel())  # the last step keeps half
    chosen = torch.zeros(doubt.numel(), dtype=torch.bool)
    chosen[torch.argsort(doubt.flatten(), stable=True)[:count]] = True
    labels = made.argmax(dim=1).flatten()
    weights = torch.tensor(class_weights(COUNTS))[labels] * chosen
    given = made.permute(0, 2, 3, 1).reshape(-1, 2).gather(1, labels[:, None])[:, 0].clamp(min=1e-4)
    expected = float((-given.log() * weights).sum() / weights.sum())
    _, value = training.target.terms(training.network, training.average, 3)["target"]
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)


def test_the_teacher_learns_nothing_and_sees_the_target_as_it_is():
    training = adapting("dpa+")
    plain, changed = training.target.feeder.batches(0)
    assert not torch.equal(plain.lr, changed.lr)
    source = training.target.feeder.sources[0][0]
    assert set(np.round(plain.lr.numpy().ravel(), 6)) <= set(np.round(source.lr.ravel(), 6))
    terms = training.target.terms(training.network, training.average, 0)
    sum(value for _, value in terms.values()).backward()
    assert all(p.grad is None for p in training.average.parameters())


def test_a_target_without_labels_on_the_source_is_refused():
    with pytest.raises(ConfigError, match="labels on the source"):
        trainer(extras=Extras(Adaptation(), [unlabelled()], None))
    with pytest.raises(ConfigError, match="needs imagery"):
        trainer(extras=Extras(Adaptation(), [], COUNTS))


@pytest.mark.slow
def test_adaptation_helps_a_town_of_another_colour():
    """The target is brighter by more than ISA differs from the rest: a network of the source calls all of it ISA."""
    shift = 0.10
    target = unlabelled(shift=shift)
    lr, isa = ground(7, shift=shift)
    there = Validation("there", lr, np.ones(lr.shape, np.bool_), isa)
    here = Validation("here", *_plain(8))
    alone = trainer(SHORT.model_copy(update={"steps": 80, "evaluate_every": 80, "learning_rate": 1e-2}))
    end_of(alone)
    own = Scaling.of([(town().lr, town().present)])
    other = Scaling.of([(target.lr, target.present)])
    laid = ShareSource("field", other.onto(own, target.lr), target.present, target.share, 0 * target.weight)
    scores = {}
    for method in ("dpa", "dpa+"):
        training = adapting(method, steps=80, target=[laid])
        end_of(training)
        seen = Validation("there", other.onto(own, there.lr), there.present, there.isa)
        scores[method] = judge(training.average, seen, CPU)[0].max()
        assert judge(training.average, here, CPU)[0].max() > 0.8
    assert min(scores.values()) > judge(alone.average, there, CPU)[0].max() + 0.2


def _plain(seed):
    lr, isa = ground(seed)
    return lr, np.ones(lr.shape, np.bool_), isa
