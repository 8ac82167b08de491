import math

import pytest
import torch
from pydantic import ValidationError

from isamap.config import read_toml
from isamap.core.recipe import Recipe, read_recipe
from isamap.domain.grid import MARGIN_PX
from isamap.errors import ConfigError
from isamap.model import networks, settling
from isamap.model.networks import MODELS, Fast, NetworkConfig, SubPixel, ThinConv, build, cost_macs, crop
from isamap.model.networks.joint import anchor
from isamap.model.networks.layers import RRDB, LocalAttention, Rise, block_mean, resize

SMALL = {"channels": 8, "blocks": 1, "growth": 4, "mid": 8, "mid_blocks": 1, "fine": 4}


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


@pytest.mark.parametrize("name", ["fast", "joint"])
@pytest.mark.parametrize("halo_px", [1, 3, 4, 5, 7, 9])
def test_dropping_the_halo_early_changes_no_number(name, halo_px):
    made = network(name).to(memory_format=torch.channels_last)
    x = scene(Fast.strip_px + 30, 22).contiguous(memory_format=torch.channels_last)
    atol = 0 if name == "fast" else 1e-5  # a strip may add in another order
    with torch.inference_mode():
        whole = made.forward_with_image(x)[0]
        torch.testing.assert_close(made(x), whole, rtol=0, atol=atol)
        torch.testing.assert_close(made(x, halo_px), crop(whole, 10 * halo_px), rtol=0, atol=atol)


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
    if name != "bilinear":  # keeps the room that its maps were always made with
        assert reach >= made.radius_px - 4, "a halo much larger than the reach is work for nothing"


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("kind", "sizes"), [(SubPixel, (6, 3, 2)), (SubPixel, (6, 3, 5)), (Rise, (6, 3, 4, 10))]
)
def test_prediction_moves_rows_of_sub_pixels_to_where_training_shuffles_them(kind, sizes, dtype):
    made = kind(*sizes).to(dtype, memory_format=torch.channels_last)
    torch.nn.init.normal_(made.conv.weight)
    torch.nn.init.normal_(made.conv.bias)
    x = torch.randn(2, 6, 8, 12).to(dtype).contiguous(memory_format=torch.channels_last)
    plain = torch.relu(torch.pixel_shuffle(made.conv(x), made.factor))
    assert torch.equal(made(x), plain)
    with torch.no_grad():
        assert torch.equal(made(x), plain)
        assert made(x).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [40, 24, 22, 13])
@pytest.mark.parametrize(
    ("sizes", "batch"), [((16, 1, 3), 2), ((4, 4, 3), 1), ((4, 1, 1), 1), ((8, 17, 3), 1)]
)
def test_pixels_made_in_runs_are_those_of_a_plain_convolution(sizes, batch, width, dtype):
    made = ThinConv(*sizes).to(dtype, memory_format=torch.channels_last)
    x = torch.randn(batch, sizes[0], 9, width).to(dtype).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        plain = torch.nn.functional.conv2d(x, made.weight, made.bias, padding=made.padding)
        torch.testing.assert_close(made(x), plain, rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-2)
        assert made(x).is_contiguous(memory_format=torch.channels_last)


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
        {"scale": 21},
        {"name": "staged", "scale": 4},
        {"classes": "corine"},
        {"optional": ("B11",)},
        {"optional": ("B02", "B03", "B04", "B08")},
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
    with pytest.raises(
        ConfigError, match=r"recipe\.toml: network: .*known are fast, bilinear, staged, joint"
    ):
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


def test_a_missing_visible_band_leaves_no_image_to_make():
    config = {"bands": ("B03", "B04", "B08"), "mean": (0.1,) * 3, "std": (0.1,) * 3}
    for name in ("staged", "joint"):
        with pytest.raises(ValueError, match="B02, B03 and B04"):
            network(name, **config)
    assert network("fast", **config)(torch.zeros(1, 6, 4, 4)).shape == (1, 1, 40, 40)


@pytest.mark.parametrize(
    ("name", "scale"), [("bilinear", 1), ("bilinear", 3), ("fast", 8), ("joint", 8), ("staged", 8)]
)
def test_other_sensors_have_other_scales(name, scale):
    made = network(name, scale=scale)
    side = 2 * made.stride_px
    x = scene(side, 2 * side)
    assert made(x).shape == made.forward_with_image(x)[0].shape == (1, 1, scale * side, 2 * scale * side)


@pytest.mark.parametrize("name", MODELS)
def test_a_class_scheme_has_an_output_per_class(name):
    made = network(name, classes="fbp24")
    assert made(scene(8, 8)).shape == (1, 24, 80, 80)
    assert made.config.outputs == 24
    assert len(made.config.isa_channels) == 9
    x = scene(2 * settling.halo_of(made) + 4, 2 * settling.halo_of(made) + 4)
    with torch.inference_mode():
        each = settling.probabilities(made, x, settling.halo_of(made))
        isa = settling.impervious(each, made.config)
    torch.testing.assert_close(each.sum(dim=1), torch.ones(1, 40, 40))
    torch.testing.assert_close(isa, each[:, made.config.isa_channels].sum(dim=1))


@pytest.mark.parametrize("name", MODELS)
def test_a_band_that_is_new_says_nothing_at_first(name):
    known = network(name)
    later = network(name, bands=("B02", "B11", "B03", "B04", "B08", "B12"), mean=(0.1,) * 6, std=(0.1,) * 6)
    later.start_from(known)
    x = scene(16, 16, bands=6)
    shared = [0, 2, 3, 4, 6, 8, 9, 10]  # values, then presence, of the four bands that both read
    with torch.no_grad():
        assert torch.allclose(later(x), known(x[:, shared]), atol=1e-5)


@pytest.mark.parametrize(
    "other", [{"channels": 16}, {"bands": ("B02", "B03", "B04", "B05")}, {"blocks": 2}], ids=str
)
def test_weights_of_another_shape_are_no_start(other):
    with pytest.raises(RuntimeError):
        network("fast", bands=("B02", "B03", "B04"), mean=(0.1,) * 3, std=(0.1,) * 3).start_from(
            network("fast", **other)
        )


@pytest.mark.parametrize("changes", [{"cross_scale": True}, {"cross_scale": False}])
def test_gradients_of_the_map_reach_super_resolution(changes):
    made = network("joint", **changes)
    made(scene(8, 8)).sum().backward()
    for module in (made.stem, made.to_2_5m.conv, made.at_2_5m[0].first, made.to_1m.conv, made.at_1m.first):
        assert module.weight.grad.abs().sum() > 0
    assert made.image.weight.grad is None


def test_without_cross_scale_skips_the_head_reads_the_fine_features_alone():
    with_skips, without = network("joint"), network("joint", cross_scale=False)
    assert with_skips.join.weight.shape[1] == 4 + 2 * with_skips.skip
    assert without.join.weight.shape[1] == 4
    assert not hasattr(without, "from_10m")


def test_the_segmenter_of_staged_sees_nothing_but_the_image():
    """Two inputs with the same images have the same map: here the image branch is cut off."""
    made = network("staged")
    for generator in (made.first, made.second):
        torch.nn.init.zeros_(generator.image.weight)
        torch.nn.init.zeros_(generator.image.bias)
    x = scene(8, 8)
    other = x.clone()
    other[:, 3] += 1  # near infrared is in no image
    assert torch.equal(made(x), made(other))
    other[:, 0] += 1
    assert not torch.equal(made(x), made(other))


def test_staged_begins_at_the_interpolated_input():
    made = build(NetworkConfig(name="staged", **SMALL))
    x = scene(8, 8)
    images = made.images(x)
    middle = resize(torch.sinh(x[:, made.visible]), 1, 4)
    torch.testing.assert_close(images.middle, middle)
    torch.testing.assert_close(images.image, resize(middle, 4, 10))


def test_parts_learn_alone():
    made = network("staged")

    def learning():
        return {name.split(".")[0] for name, p in made.named_parameters() if p.requires_grad}

    made.only("segmentation")
    assert learning() == {"segment", "isa"}
    made.only("image")
    assert learning() == {"first", "second"}
    made.only("all")
    assert learning() == {"first", "second", "segment", "isa"}


def test_an_anchored_image_has_the_means_of_its_input_exactly():
    base, detail = (
        torch.randn(2, 3, 6, 5, dtype=torch.float64),
        torch.randn(2, 3, 60, 50, dtype=torch.float64),
    )
    image = anchor(detail, base, 10)
    torch.testing.assert_close(block_mean(image, 10), base, rtol=0, atol=1e-12)
    lifted = anchor(detail + 5, base, 10)  # brightness cannot be invented
    torch.testing.assert_close(lifted, image, rtol=0, atol=1e-12)


def test_the_image_of_joint_keeps_the_input_whatever_the_weights():
    made = network("joint").double()
    x = scene(8, 8).double()
    images = made.images(x)
    base = torch.sinh(x[:, made.visible])
    torch.testing.assert_close(block_mean(images.image, 10), base, rtol=0, atol=1e-9)
    torch.testing.assert_close(block_mean(images.middle, 4), base, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("old", "new"), [(4, 10), (1, 10), (4, 8), (1, 3), (1, 4), (1, 2)])
def test_resizing_is_bilinear_interpolation(old, new):
    x = torch.randn(1, 2, 3 * old, 5 * old, dtype=torch.float64)
    plain = torch.nn.functional.interpolate(x, size=(3 * new, 5 * new), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resize(x, old, new), plain)


def test_a_resized_pixel_is_the_same_wherever_the_window_begins():
    """torch's own interpolation is not: it rounds positions."""
    x = torch.randn(1, 1, 4, 8000)
    whole, part = resize(x, 4, 10), resize(x[..., 4000:], 4, 10)
    assert torch.equal(whole[..., 10010:], part[..., 10:])


@pytest.mark.parametrize(
    ("old", "new", "cell", "factor"), [(4, 10, 2, 5), (4, 8, 1, 2), (4, 6, 2, 3), (4, 5, 4, 5)]
)
def test_a_rise_by_a_broken_ratio_has_cells_and_starts_even(old, new, cell, factor):
    made = Rise(3, 2, old, new)
    x = torch.randn(1, 3, 3 * old, 2 * old)
    fine = made(x)
    assert (made.cell, made.factor) == (cell, factor)
    assert fine.shape == (1, 2, 3 * new, 2 * new)
    blocks = fine.unfold(2, factor, factor).unfold(3, factor, factor).flatten(4)
    assert torch.equal(blocks, blocks[..., :1].expand_as(blocks))


def test_attention_is_what_a_loop_over_pixels_says():
    made = LocalAttention(8, 2).double()
    torch.nn.init.normal_(made.out.weight)
    torch.nn.init.normal_(made.nearness)
    x = torch.randn(1, 8, 5, 6, dtype=torch.float64)
    query, key, value = made.ask(x)[0].chunk(3)
    heads, per_head = made.heads, made.width // made.heads
    found = torch.zeros(made.width, 5, 6, dtype=torch.float64)
    for row, col, head in [(r, c, h) for r in range(5) for c in range(6) for h in range(heads)]:
        part = slice(head * per_head, (head + 1) * per_head)
        scores, values = [], []
        for index in range(25):
            r, c = row + index // 5 - 2, col + index % 5 - 2
            inside = 0 <= r < 5 and 0 <= c < 6
            k, v = (
                t[part, r, c] if inside else torch.zeros(per_head, dtype=torch.float64) for t in (key, value)
            )
            scores.append(query[part, row, col] @ k * per_head**-0.5 + made.nearness[head, index])
            values.append(v)
        found[part, row, col] = (torch.softmax(torch.stack(scores), 0)[:, None] * torch.stack(values)).sum(0)
    torch.testing.assert_close(made(x), x + made.out(found[None]))


def test_attention_starts_as_the_identity():
    x = torch.randn(1, 8, 9, 9)
    assert torch.equal(LocalAttention(8, 3)(x), x)


def test_the_cost_of_joint_matches_a_hand_count():
    made = network("joint")
    c, mid, fine, skip = 8, 8, 4, made.skip
    width = 4
    at_10m = 9 * (8 * c + 2 * c * c) + (c * 3 * width + width * c) + 2 * width * 49 + c * skip
    to_2_5m = 9 * c * mid * 16 + 16 * 9 * 2 * mid * mid
    rises = 4 * 16 * mid * 25 * (fine + skip)  # cells of 5 m
    at_1m = 100 * 9 * (2 * fine * fine + (fine + 2 * skip) * fine + fine)
    assert cost_macs(made) == at_10m + to_2_5m + rises + at_1m


def test_the_cost_of_a_dense_block_matches_a_hand_count():
    made, c, g = RRDB(8, 4), 8, 4
    weights = sum(m.weight.numel() for m in made.modules() if isinstance(m, torch.nn.Conv2d))
    assert weights == 3 * 9 * (sum((c + g * k) * g for k in range(4)) + (c + 4 * g) * c)


@pytest.mark.parametrize("path", ["joint/2-joint.toml", "family/joint.toml"])
def test_what_joint_looks_at_fits_into_the_margin_of_a_tile(pytestconfig, path):
    made = build(read_recipe(pytestconfig.rootpath / "examples/train" / path).network)
    assert settling.halo_of(made) <= MARGIN_PX


def test_the_published_size_of_staged(pytestconfig):
    recipe = read_recipe(pytestconfig.rootpath / "examples/train/staged/3-segmentation.toml")
    config = recipe.network
    assert (config.channels, config.growth, config.blocks) == (64, 32, 23)
    made = build(config)
    assert cost_macs(made) == pytest.approx(354e6, rel=0.01)
    assert sum(p.numel() for p in made.parameters()) == pytest.approx(41.1e6, rel=0.01)
