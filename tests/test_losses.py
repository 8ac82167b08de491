import math

import pytest
import torch

from isamap.domain.classes import UNLABELLED
from isamap.model.losses import image_loss, segmentation_loss, share_loss


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(3)


def gradient(loss, probability, *rest):
    probability = probability.clone().requires_grad_()
    loss(probability, *rest).backward()
    return probability.grad


def labels(rng, side=20):
    return torch.randint(0, 2, (1, 1, side, side), generator=rng).to(torch.uint8)


def test_a_small_example_matches_the_hand():
    p = [0.5, 0.75, 0.25]
    probability = torch.tensor([*p, 0.99]).reshape(1, 1, 2, 2)
    target = torch.tensor([1, 0, 1, UNLABELLED], dtype=torch.uint8).reshape(1, 1, 2, 2)
    bce = -(math.log(p[0]) + math.log(1 - p[1]) + math.log(p[2])) / 3
    hit, alarm, miss = p[0] + p[2], p[1], 0.5 + 0.75
    index = (hit + 1) / (hit + 0.4 * alarm + 0.6 * miss + 1)
    assert float(segmentation_loss(probability, target)) == pytest.approx(bce + 0.5 * (1 - index), rel=1e-6)


def test_unlabelled_pixels_take_no_part(rng):
    probability, target = torch.rand(1, 1, 20, 20, generator=rng), labels(rng)
    target[..., 5:9] = UNLABELLED
    other = probability.clone()
    other[..., 5:9] = torch.rand(1, 1, 20, 4, generator=rng)
    assert float(segmentation_loss(probability, target)) == float(segmentation_loss(other, target))
    grad = gradient(segmentation_loss, other, target)
    assert not grad[..., 5:9].any()
    assert torch.equal(grad, gradient(segmentation_loss, probability, target))


def test_nothing_labelled_is_no_loss_and_no_gradient(rng):
    probability = torch.rand(2, 1, 20, 20, generator=rng)
    target = torch.full(probability.shape, UNLABELLED, dtype=torch.uint8)
    assert float(segmentation_loss(probability, target)) == 0
    assert not gradient(segmentation_loss, probability, target).any()


def test_a_miss_costs_more_than_a_false_alarm():
    target = torch.tensor([[1] * 8, [0] * 8], dtype=torch.uint8).reshape(1, 1, 2, 8)
    right = torch.where(target == 1, 0.98, 0.02)
    missed, alarmed = right.clone(), right.clone()
    missed[..., 0, 0] = 0.02
    alarmed[..., 1, 0] = 0.98
    miss, alarm = (float(segmentation_loss(x, target)) for x in (missed, alarmed))
    assert miss > alarm > float(segmentation_loss(right, target))
    assert float(segmentation_loss(missed, target, false_positive=0.5)) < miss


def test_better_probabilities_cost_less(rng):
    target = labels(rng)
    costs = [
        float(segmentation_loss(0.5 + (target.float() - 0.5) * sharp, target))
        for sharp in (-0.5, 0, 0.5, 0.9, 1)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == pytest.approx(0, abs=2e-4)


@pytest.mark.parametrize("certain", [0.0, 1.0])
def test_certainty_costs_no_infinity(rng, certain):
    probability = torch.full((1, 1, 20, 20), certain)
    share, weight = torch.full((1, 1, 2, 2), 0.3), torch.ones(1, 1, 2, 2)
    for loss in (segmentation_loss(probability, labels(rng)), share_loss(probability, share, weight)):
        assert math.isfinite(float(loss))
    assert gradient(share_loss, probability, share, weight).isfinite().all()


def test_a_share_does_not_say_where_in_the_pixel(rng):
    probability = torch.rand(1, 1, 20, 20, generator=rng)
    moved = probability.clone()
    block = probability[0, 0, 10:, :10].flatten()
    moved[0, 0, 10:, :10] = block[torch.randperm(100, generator=rng)].reshape(10, 10)
    share, weight = torch.rand(1, 1, 2, 2, generator=rng), torch.ones(1, 1, 2, 2)
    here, there = (share_loss(x, share, weight) for x in (probability, moved))
    torch.testing.assert_close(here, there, rtol=1e-6, atol=0)


def test_the_share_loss_of_one_pixel_matches_the_hand():
    probability = torch.zeros(1, 1, 10, 10)
    probability[..., :4, :5] = 1  # a fifth of the pixel
    cost = share_loss(probability, torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 1.0))
    assert float(cost) == pytest.approx(-0.5 * (math.log(0.2) + math.log(0.8)), rel=1e-5)


def test_a_share_without_weight_takes_no_part(rng):
    probability, share = torch.rand(1, 1, 20, 20, generator=rng), torch.rand(1, 1, 2, 2, generator=rng)
    weight = torch.tensor([[1.0, 0.0], [0.5, 1.0]])[None, None]
    other = share.clone()
    other[..., 0, 1] = 1 - other[..., 0, 1]
    assert float(share_loss(probability, share, weight)) == float(share_loss(probability, other, weight))
    assert not gradient(share_loss, probability, share, weight)[..., :10, 10:].any()
    assert float(share_loss(probability, share, torch.zeros_like(weight))) == 0


def test_the_image_loss_looks_where_there_is_an_image(rng):
    image, target = (torch.randn(1, 3, 8, 8, generator=rng) for _ in range(2))
    known = torch.zeros(1, 1, 8, 8)
    assert float(image_loss(image, target, known)) == 0
    known[..., :4] = 1
    expected = (image - target)[..., :4].abs().mean()
    torch.testing.assert_close(image_loss(image, target, known), expected)
