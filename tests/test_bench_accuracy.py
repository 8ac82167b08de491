"""The figures of `make accuracy` mean what their names say: on images, maps and patches whose truth is known."""

import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from test_predict import CARD
from tiny import write_model

sys.path.insert(0, str(Path(__file__).parent / "bench"))

import accuracy_images as images
import accuracy_models as models
import accuracy_scores as scores
import tables
import targets
from accuracy_ground import BANDS, Area
from accuracy_places import built_up_auc

from isamap.io.ground import read_reflectance
from isamap.model.checkpoint import pack
from isamap.model.networks import NetworkConfig, build

SMALL = {"channels": 8, "blocks": 1, "growth": 2, "mid": 8, "mid_blocks": 1, "fine": 4, "attention_px": 1}


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="module")
def town():
    """80 x 80 pixels of 10 m: blocks of roofs at 1 m, and the input that is their mean."""
    rng = np.random.default_rng(5)
    isa = np.kron(rng.random((100, 100)) < 0.3, np.ones((8, 8))).astype(np.uint8)
    image = np.stack([60 + 120 * isa + shade for shade in (0, 5, 9)]) + rng.integers(0, 12, (3, 800, 800))
    image = image.astype(np.uint8)
    means = image.reshape(3, 80, 10, 80, 10).mean(axis=(2, 4)) / 255 * 0.3
    lr = np.stack([means[2], means[1], means[0], means[0] + 0.1]).astype(np.float32)
    return Area("town", lr, np.ones(lr.shape, np.bool_), isa, BANDS, image)


def model(folder, name, **training):
    """A network of that name that was never trained."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = NetworkConfig(name=name, **SMALL)
        document, card = pack(
            build(config).state_dict(),
            CARD | {"name": name, "network": config.model_dump(), "training": training},
        )
    path = folder / f"{name}.safetensors"
    path.write_bytes(document)
    path.with_suffix(".json").write_bytes(card)
    return models.stored(str(path))


@pytest.fixture(scope="module")
def three():
    """Truth, what interpolation makes of it, and noise of the same contrast: `(3, 240, 240)`."""
    rng = np.random.default_rng(0)
    truth = 0.1 + 0.1 * np.kron(rng.random((3, 60, 60)), np.ones((4, 4)))
    plain = truth.reshape(3, 24, 10, 24, 10).mean(axis=(2, 4)).repeat(10, 1).repeat(10, 2)
    return truth, plain, plain + (truth - plain)[:, ::-1, ::-1]


def test_the_truth_is_improvement_the_input_omission_and_other_detail_hallucination(three):
    truth, plain, invented = three
    shares = [images.correctness(image, truth, plain) for image in (invented, plain, truth)]
    for found in shares:
        assert sum(found) == pytest.approx(1)
    assert np.argmax(shares, axis=1).tolist() == [0, 1, 2]
    assert shares[1][1] > 0.9
    assert shares[2][2] > 0.9


def test_a_perfect_image_has_no_error_and_full_similarity(three):
    truth, plain, invented = three
    assert images.psnr(truth, truth) == np.inf
    assert images.ssim(truth, truth) == pytest.approx(1)
    assert images.ssim(invented, truth) < images.ssim(plain, truth) < 1
    assert images.psnr(truth + 0.003, truth) == pytest.approx(40)  # a hundredth of the peak


def test_ssim_is_that_of_its_definition_at_one_pixel(three):
    truth, plain, _ = three
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    a, b = (image[0, :11, :11] for image in (plain, truth))
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
    both = (weights * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = (0.01 * 0.3) ** 2, (0.03 * 0.3) ** 2
    expected = (
        (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    )
    assert images.ssim_map(plain, truth)[0, 5, 5] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["fast", "bilinear", "staged", "joint"])
def test_every_network_of_the_family_gets_its_row_of_images(town, tmp_path, name):
    lines = list(images.image_table(town, [model(tmp_path, name)]))
    names = [line.split(" | ")[0] for line in lines[2:]]
    assert names == ["| bicubic", f"| **{name}**"]
    for line in lines[2:]:
        figures = [float(cell) for cell in line.strip("| ").split(" | ")[1:]]
        assert np.isfinite(figures).all()
        assert sum(figures[3:]) == pytest.approx(1, abs=2e-3)


def test_a_model_that_no_image_loss_ever_taught_has_no_row(town, tmp_path):
    untaught = model(tmp_path, "joint", images=False, start={"images": False, "start": None})
    lines = list(images.image_table(town, [untaught]))
    assert len(lines) == 4
    assert lines[-1].endswith("without a row: joint.")
    later = model(tmp_path, "joint", images=False, start={"images": True})
    assert images.makes_image(later)


def test_joint_agrees_with_its_input_at_10_m(town, tmp_path):
    lines = list(images.image_table(town, [model(tmp_path, "joint")]))
    assert float(lines[-1].split(" | ")[3]) < 0.5  # thousandths of reflectance


def test_the_scores_of_the_truth_are_perfect_and_nothing_beyond_labels_counts(town):
    isa = town.isa.copy()
    isa[:, 400:] = 255
    mapped = town.isa.copy()
    mapped[:, 400:] = 1 - mapped[:, 400:]
    found = scores.Scores.count(mapped, isa)
    assert found.pixels == (1.0,) * 5
    assert found.outlines_and_shares == (1.0,) * 3 + (0.0,) * 6


def test_halves_share_no_pixel_and_hold_all_labels(town):
    left, right = scores.halves(town)
    assert not ((left != 255) & (right != 255)).any()
    assert (left != 255).sum() == (right != 255).sum() == town.isa.size // 2


def test_reliability_is_better_on_the_other_half_after_calibration(town, tmp_path):
    untrained = model(tmp_path, "fast")
    rng = np.random.default_rng(2)
    untrained.kept["town"] = np.where(rng.random(town.isa.shape) < 0.2 + 0.5 * town.isa, 0.9, 0.7).astype(
        np.float32
    )
    lines = list(scores.reliability_table(town, [], [untrained]))
    before, after = (float(cell) for cell in lines[2].split(" | ")[2:4])
    assert before > 0.3
    assert after < 0.02


def test_the_area_under_the_curve_is_a_chance():
    names = ("Industrial", "Residential", "AnnualCrop", "Forest", "HerbaceousVegetation", "Pasture")
    names += ("PermanentCrop", "SeaLake")
    shares = {name: np.array([[0.0, 0.2]]) for name in names}
    assert built_up_auc(shares, 0) == 0.5
    shares |= {name: np.array([[0.3, 0.2]]) for name in names[:2]}
    assert built_up_auc(shares, 0) == pytest.approx((1 + 0.75) / 2)


def test_a_model_reads_its_own_bands_and_models_of_one_name_are_told_apart(town, tmp_path):
    paths = [str(write_model(tmp_path / seed)) for seed in ("one", "two")]
    both = models.told_apart([models.stored(path) for path in paths], paths)
    assert [one.name for one in both] == ["tiny (one)", "tiny (two)"]
    lr, present = town.of(("B08", "B02"))
    np.testing.assert_array_equal(lr, town.lr[[3, 0]])
    assert both[0].map(town).shape == town.isa.shape
    assert present.all()


def test_tables_are_markdown():
    assert list(tables.table(("a", "b"), [("x", 0.12345)])) == ["| a | b |", "| --- | --- |", "| x | 0.123 |"]


def test_simulated_targets_are_scenes_that_training_takes(tmp_path, monkeypatch):
    def area(data, name):
        lr = np.stack([np.full((6, 5), value, np.float32) for value in (0.11, 0.12, 0.13, 0.0)])
        return Area(name, lr, lr > 0, np.zeros((60, 50), np.uint8))

    images = tmp_path / "data" / "dubai-aerial-1m" / "images"
    images.mkdir(parents=True)
    for name in targets.SIMULATED:
        place = {"crs": "EPSG:32640", "transform": Affine(1, 0, 300_000, 0, -1, 2_780_000)}
        with rasterio.open(
            images / f"{name}.tif", "w", driver="GTiff", dtype="uint8", count=3, height=60, width=50, **place
        ):
            pass
    monkeypatch.setattr(targets, "simulated_area", area)
    targets.write(tmp_path / "data", tmp_path / "targets")
    for name in targets.SIMULATED:
        lr, present, grid = read_reflectance([tmp_path / "targets" / f"{name}.tif"], BANDS)
        np.testing.assert_allclose(lr[:, 0, 0], [0.11, 0.12, 0.13, 0.0], atol=1e-6)
        assert present.all(axis=(1, 2)).tolist() == [True, True, True, False]
        assert not present[3].any()
        assert grid.transform == Affine(10, 0, 300_000, 0, -10, 2_780_000)
