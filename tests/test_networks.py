import math

import pytest
import torch
from pydantic import ValidationError

from isamap.config import read_toml
from isamap.core.recipe import Recipe
from isamap.errors import ConfigError
from isamap.model import networks, settling
from isamap.model.networks import MODELS, Fast, NetworkConfig, SubPixel, build, cost_macs, crop

SMALL = {"channels": 8, "blocks": 1}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(autouse=True)
def _same_weights():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        yield


def network(name, **changes):
    """A small network whose every weight matters: blocks do not start as the identity."""
    made = build(NetworkConfig(name=name, **(SMALL | changes))).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made


def scene(height, width, bands=4):
    return torch.cat((torch.randn(1, bands, height, width), torch.ones(1, bands, height, width)), dim=1)


@pytest.mark.parametrize("name", MODELS)
def test_every_input_pixel_becomes_ten_by_ten(name):
    made = network(name)
    x = torch.zeros(2, 8, 8, 12)
    logits, image = made.forward_with_image(x)
    assert made(x).shape == logits.shape == (2, 1, 80, 120)
    assert image.shape == (2, 3, 80, 120)


@pytest.mark.parametrize("halo_px", [1, 3, 4, 5, 7, 9])
def test_dropping_the_halo_early_changes_no_number(halo_px):
    made = network("fast").to(memory_format=torch.channels_last)
    x = scene(Fast.strip_px + 30, 22).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        whole = made.forward_with_image(x)[0]
        assert torch.equal(made(x), whole)
        assert torch.equal(made(x, halo_px), crop(whole, 10 * halo_px))


@pytest.mark.parametrize("name", MODELS)
def test_a_window_with_its_halo_gives_the_numbers_of_the_whole(name):
    made = network(name)
    halo = -(-made.radius_px // made.stride_px) * made.stride_px
    assert halo % made.stride_px == 0
    x = scene(2 * halo + 16, 2 * halo + 24).double()
    made = made.double()  # so that nothing but rounding differs
    with torch.inference_mode():
        whole = made(x, halo)
        part = made(x[..., 8:, 4 : 4 + 2 * halo + 8], halo)
    torch.testing.assert_close(part, whole[..., 80:, 40 : 40 + 80], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_beyond_the_radius_reaches_a_pixel(name):
    """The gradient of the output pixels of one input pixel is exactly 0 beyond `radius_px`."""
    made = network(name)
    centre = -(-made.radius_px // 4) * 4 + 4
    side = 2 * centre + 4
    x = scene(side, side).requires_grad_()
    made(x)[..., 10 * centre : 10 * centre + 10, 10 * centre : 10 * centre + 10].sum().backward()
    rows, cols = torch.nonzero(x.grad.abs().sum(dim=(0, 1)), as_tuple=True)
    reach = max(centre - int(rows.min()), int(rows.max()) - centre, int(cols.max()) - centre)
    assert 1 < reach <= made.radius_px


def test_an_impulse_changes_only_its_neighbourhood():
    made = network("fast")
    x = scene(31, 31)
    changed = x.clone()
    changed[:, 0, 15, 15] += 3
    with torch.inference_mode():
        moved = (made(x) != made(changed))[0, 0]
    rows, cols = (torch.nonzero(moved.any(dim=dim)).flatten() for dim in (1, 0))
    reach = 10 * made.radius_px
    assert moved[150:160, 150:160].any()
    assert min(rows.min(), cols.min()) >= 150 - reach
    assert max(rows.max(), cols.max()) < 160 + reach


@pytest.mark.parametrize("factor", [2, 5])
def test_all_sub_pixels_start_equal(factor):
    made = SubPixel(6, 3, factor)
    fine = made(torch.randn(1, 6, 7, 7))
    assert fine.shape == (1, 3, 7 * factor, 7 * factor)
    assert fine.std() > 0
    blocks = fine.unfold(2, factor, factor).unfold(3, factor, factor).flatten(4)  # (n, c, y, x, factor**2)
    assert torch.equal(blocks, blocks[..., :1].expand_as(blocks))


def test_residual_blocks_start_as_the_identity():
    made = build(NetworkConfig(name="fast", **SMALL))
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(made.trunk(x), x)


def test_what_stands_in_a_missing_band_does_not_matter():
    config = NetworkConfig(name="fast", **SMALL)
    lr, present = torch.rand(1, 4, 6, 6), torch.ones(1, 4, 6, 6)
    present[:, 3] = 0
    other = lr.clone()
    other[:, 3] = 77
    x = config.prepare(lr, present)
    assert torch.equal(x, config.prepare(other, present))
    assert not torch.equal(x, config.prepare(lr, torch.ones_like(present)))
    assert x.shape == (1, 8, 6, 6)


def test_the_mean_becomes_0_and_one_deviation_above_becomes_asinh_1():
    config = NetworkConfig(name="fast", **SMALL)
    lr = torch.tensor([config.mean, [m + s for m, s in zip(config.mean, config.std, strict=True)]])
    x = config.prepare(lr[:, :, None, None], torch.ones(2, 4, 1, 1)).squeeze()
    torch.testing.assert_close(x[:, :4], torch.tensor([[0.0] * 4, [math.asinh(1)] * 4]), atol=1e-5, rtol=0)


def test_the_cost_of_the_production_network_matches_a_hand_count():
    c, b, mid, fine = 8, 1, 48, 16
    at_10m = 9 * (8 * c + 2 * b * c * c + c * 4 * mid)
    at_5m = 4 * 9 * (4 * mid * mid + mid * 25 * fine)
    at_1m = 100 * 9 * (fine * fine + fine)
    assert cost_macs(network("fast")) == at_10m + at_5m + at_1m


def test_the_cost_of_the_baseline_matches_a_hand_count():
    w1, w2, w3, w4 = (8 * g for g in (1, 2, 4, 6))
    levels = [
        (8 * w1 + w1 * w1) + ((w2 + w1) * w1 + w1 * w1) + w1,
        (w1 * w2 + w2 * w2) + ((w3 + w2) * w2 + w2 * w2),
    ]
    levels += [(w2 * w3 + w3 * w3) + ((w4 + w3) * w3 + w3 * w3), w3 * w4 + w4 * w4]
    assert cost_macs(network("bilinear")) == sum(9 * 100 * n // 4**k for k, n in enumerate(levels))


def test_the_shipped_recipe_costs_two_to_three_million_multiply_adds(pytestconfig):
    recipe = read_toml(pytestconfig.rootpath / "examples/train/fast.toml", Recipe)
    assert 2e6 < cost_macs(build(recipe.network)) < 3.2e6


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "unet"},
        {"mean": (0.1, 0.1)},
        {"std": ()},
        {"bands": (), "mean": (), "std": ()},
        {"scale": 5},
        {"scale": 0},
        {"channels": 10**9},
        {"blocks": 10**9},
        {"chanels": 8},
    ],
)
def test_a_network_that_cannot_be_built_is_refused(wrong):
    with pytest.raises(ValidationError):
        NetworkConfig(**({"name": "fast"} | wrong))


def test_an_unknown_network_in_a_recipe_is_a_configuration_error(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(
        'description = ""\nlicence = ""\nattribution = []\npairs = []\n[network]\nname = "unet"\n'
    )
    with pytest.raises(ConfigError, match=r"recipe\.toml: network: .*known are fast, bilinear"):
        read_toml(path, Recipe)


def test_logits_are_finite_at_the_start():
    made = build(NetworkConfig(name="fast", **SMALL))
    assert made(scene(6, 6)).isfinite().all()


@pytest.mark.parametrize("scale", [3, 4, 10])
def test_settling_averages_over_one_coarse_pixel_around_each_fine_one(scale):
    """Against the plain mean; an even width takes half of both end pixels."""
    fine = torch.rand(2, 6 * scale, 5 * scale, dtype=torch.float64)
    taps = torch.ones(scale, dtype=torch.float64)
    if scale % 2 == 0:
        taps = torch.tensor([0.5, *[1.0] * (scale - 1), 0.5], dtype=torch.float64)
    kernel = taps[:, None] * taps[None, :] / scale**2
    plain = torch.nn.functional.conv2d(fine[:, None], kernel[None, None])[:, 0]
    drop = scale - len(taps) // 2
    torch.testing.assert_close(settling.settle(fine, scale), networks.crop(plain, drop))


def test_settling_removes_whatever_repeats_with_the_coarse_pixels():
    cell = torch.rand(10, 10)
    pattern = cell.repeat(8, 7)[None]
    settled = settling.settle(pattern, 10)
    assert settled.shape == (1, 60, 50)
    torch.testing.assert_close(settled, torch.full_like(settled, float(cell.mean())), atol=1e-6, rtol=0)


def test_a_settled_pixel_is_the_same_wherever_the_window_begins():
    fine = torch.rand(1, 90, 90)
    torch.testing.assert_close(
        settling.settle(fine[:, 20:, 10:], 10), settling.settle(fine, 10)[:, 20:, 10:], atol=0, rtol=0
    )
