"""From `isamap tile` through `isamap train` to maps: ISA of a town, and 24 classes of Gaofen-2 at 4 m."""

import json
from dataclasses import replace

import fbp_folder
import numpy as np
import pytest
import rasterio
import tiny
import torch
import towns
from affine import Affine
from click.testing import CliRunner

from isamap.cli import cli
from isamap.core import grounds, tile, train
from isamap.core.recipe import read_recipe
from isamap.domain.classes import FBP24
from isamap.domain.splits import Rules
from isamap.domain.tiling import Source, TileRecipe
from isamap.errors import ConfigError, InputError
from isamap.model.checkpoint import load, load_card
from isamap.model.stores import StoreSource

HEAD = """
description = "for tests"
licence = "CC0-1.0"
attribution = ["nobody"]
"""
TOWN = (
    HEAD
    + """
[network]
name = "fast"
channels = 8
blocks = 1

[schedule]
steps = 4
warmup_steps = 1
chip_px = 16
border_px = 2
evaluate_every = 2

[[stores]]
name = "town"
folder = "chips"
"""
)
FBP = (
    HEAD
    + """
[network]
name = "bilinear"
classes = "fbp24"
scale = 1
gsd_m = 4.0
bands = ["B02", "B03", "B04", "B08"]
mean = [0.363, 0.390, 0.371, 0.506]
std = [0.231, 0.231, 0.244, 0.254]
channels = 8

[schedule]
steps = 200
ema_decay = 0.98
learning_rate = 5e-3
warmup_steps = 10
chip_px = 48
border_px = 4
image_weight = 0.0
share_weight = 0.0
evaluate_every = 100

[chips]
stores = 4

[[stores]]
name = "fbp"
folder = "chips"
"""
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def cut(data, out, source, **settings):
    tile.run(tile.Request(TileRecipe(sources=(source,), **settings).checked(), data, out))


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    towns.write_town(folder, towns.make_town(128, 128))
    source = Source(
        name="town", imagery=("imagery.tif",), image=("image.tif",), labels=("isa.tif",), licence="CC0-1.0"
    )
    cut(folder, folder / "chips", source, chip_px=32, split=Rules(val=0.2, buffer_m=160))
    (folder / "recipe.toml").write_text(TOWN)
    return folder


def asked(data, out):
    return train.Run(data=data, out=out, device="cpu")


def test_a_store_trains_and_its_val_ground_judges(town, tmp_path):
    weights = train.run(town / "recipe.toml", asked(town, tmp_path))
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["metrics"]["validation"].keys() == {"town"}
    assert card["training"]["ground"] == ["town"]
    assert card["training"]["data"].keys() == {"chips"}
    west, south, east, north = card["training"]["footprint"][0]
    assert west < east < west + 0.02
    assert south < north < south + 0.02


def test_no_pixel_of_the_val_ground_teaches(town):
    recipe = read_recipe(town / "recipe.toml")
    (source,), (kept,) = grounds.store_sources(recipe, town)
    assert (source.isa != 255).any()
    assert (kept.isa != 255).any()
    with rasterio.open(town / "chips" / "town.split.tif") as src:
        split = np.kron(src.read(1), np.ones((10, 10), np.uint8))
    assert (source.isa[split != 1] == 255).all()


def test_a_store_too_large_for_memory_gives_the_chips_it_was_cut_into(town, monkeypatch):
    recipe = read_recipe(town / "recipe.toml")
    (whole,), _ = grounds.store_sources(recipe, town)
    monkeypatch.setattr(grounds, "IN_MEMORY_BYTES", 0)
    (source,), _ = grounds.store_sources(recipe, town)
    assert isinstance(source, StoreSource)
    for seed in range(5):
        chip = source.cut(np.random.default_rng(seed), 16)
        assert chip.lr.shape == (4, 16, 16)
        assert chip.isa.shape == chip.known.shape == (160, 160)
        places = np.argwhere(np.isclose(whole.lr[0], chip.lr[0, 0, 0]))
        row, col = next(
            (r, c) for r, c in places if np.array_equal(whole.lr[:, r : r + 16, c : c + 16], chip.lr)
        )
        fine = whole.isa[row * 10 : row * 10 + 160, col * 10 : col * 10 + 160]
        known = chip.isa != 255
        np.testing.assert_array_equal(chip.isa[known], fine[known])
    counts = source.counts()
    assert counts[0] > 0
    assert counts[1] > 0
    with pytest.raises(InputError, match="32 pixels wide"):
        source.cut(np.random.default_rng(0), 33)


def test_a_store_of_another_scale_is_refused(town, tmp_path):
    path = town / "other.toml"
    path.write_text(TOWN.replace("channels = 8", "channels = 8\nscale = 8"))
    with pytest.raises(InputError, match=r"no source at all of scale 8 and class scheme isa"):
        train.run(path, asked(town, tmp_path))
    path.write_text(TOWN.replace('folder = "chips"', 'folder = "chips"\nsources = ["village"]'))
    with pytest.raises(InputError, match="no source village"):
        train.run(path, asked(town, tmp_path))


def test_a_store_without_any_band_of_the_network_is_refused(town, tmp_path):
    path = town / "other.toml"
    path.write_text(TOWN.replace("channels = 8", 'channels = 8\nbands = ["B05", "B8A", "B11", "B12"]'))
    with pytest.raises(InputError, match=r"chips: town holds B02, B03, B04, B08: B05, B8A, B11, B12 missing"):
        train.run(path, asked(town, tmp_path))
    path.write_text(
        TOWN + 'sources = ["town"]\n[[target.stores]]\nname = "t"\nfolder = "chips"\nsources = ["village"]\n'
    )
    with pytest.raises(InputError, match=r"chips has no source village"):
        train.run(path, asked(town, tmp_path))


def test_a_store_without_a_band_that_the_network_needs_is_refused(town, tmp_path):
    path = town / "other.toml"
    path.write_text(TOWN.replace("channels = 8", 'channels = 8\nbands = ["B02", "B04", "B11", "B12"]'))
    with pytest.raises(
        InputError, match=r"chips: town holds B02, .*B08: B11, B12 missing, which the network needs"
    ):
        train.run(path, asked(town, tmp_path))
    path.write_text(path.read_text().replace("channels = 8", 'channels = 8\noptional = ["B12"]'))
    with pytest.raises(InputError, match=r": B11 missing"):
        train.run(path, asked(town, tmp_path))
    target = '[[target.stores]]\nname = "t"\nfolder = "chips"\nsources = ["town"]\n'
    path.write_text(path.read_text().replace("[[stores]]\n", f"{target}[[stores]]\n"))
    recipe = read_recipe(path)
    with pytest.raises(InputError, match=r": B11 missing"):
        grounds.target_sources(recipe, town)


def test_a_store_without_an_optional_band_says_so_and_teaches_the_others(town, caplog):
    path, bands = town / "other.toml", ("B02", "B03", "B04", "B08", "B11")
    asked_for = f'bands = {[*bands]}\noptional = ["B11"]\nmean = {[0.1] * 5}\nstd = {[0.1] * 5}'
    path.write_text(TOWN.replace("channels = 8", f"channels = 8\n{asked_for}"))
    caplog.set_level("INFO")
    (source,), _ = grounds.store_sources(read_recipe(path), town)
    assert source.present.any(axis=(1, 2)).tolist() == [band != "B11" for band in bands]
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"{town / 'chips'}: town without B11 (1 of 1 sources)" in said
    caplog.clear()
    grounds.store_sources(read_recipe(town / "recipe.toml"), town)
    assert not caplog.records


def test_simulated_chips_may_lack_bands_that_the_network_needs(tmp_path, caplog):
    towns.write_town(tmp_path, towns.make_town(64, 64))
    source = Source(name="aerial", image=("image.tif",), labels=("isa.tif",), licence="CC0-1.0")
    cut(tmp_path, tmp_path / "chips", source, chip_px=32, split=Rules(val=0.2, buffer_m=0))
    (tmp_path / "recipe.toml").write_text(TOWN)
    caplog.set_level("INFO")
    (taught,), _ = grounds.store_sources(read_recipe(tmp_path / "recipe.toml"), tmp_path)
    assert taught.present.any(axis=(1, 2)).tolist() == [True, True, True, False]
    assert "chips: aerial without B08 (1 of 1 sources)" in caplog.text


@pytest.fixture
def retiled(town, tmp_path):
    """Cuts the town anew, with other labels or another split; the recipe of its store."""

    def make(labels=lambda isa: isa, **settings):
        made = towns.make_town(128, 128)
        towns.write_town(tmp_path, replace(made, isa=labels(made.isa)))
        source = {"imagery": ("imagery.tif",), "labels": ("isa.tif",), "licence": "CC0-1.0"}
        source |= {key: settings.pop(key) for key in ("only",) if key in settings}
        cut(tmp_path, tmp_path / "chips", Source(name="town", **source), chip_px=32, **settings)
        (tmp_path / "recipe.toml").write_text(TOWN)
        return tmp_path / "recipe.toml"

    return make


def test_the_image_of_unlabelled_ground_teaches_neither_from_memory_nor_chip_by_chip(tmp_path, monkeypatch):
    made = towns.make_town(128, 128)
    towns.write_town(
        tmp_path,
        replace(made, isa=np.where(np.arange(made.isa.shape[1]) % 7, made.isa, 255).astype(np.uint8)),
    )
    files = {"imagery": ("imagery.tif",), "image": ("image.tif",), "labels": ("isa.tif",)}
    source = Source(name="town", licence="CC0-1.0", **files)
    cut(tmp_path, tmp_path / "chips", source, chip_px=32, split=Rules(val=0.2, buffer_m=160))
    (tmp_path / "recipe.toml").write_text(TOWN)
    recipe = read_recipe(tmp_path / "recipe.toml")
    for size in (grounds.IN_MEMORY_BYTES, 0):
        monkeypatch.setattr(grounds, "IN_MEMORY_BYTES", size)
        (source,), _ = grounds.store_sources(recipe, tmp_path)
        chip = source.cut(np.random.default_rng(0), 32)
        assert (chip.isa == 255).any()
        assert chip.known.any()
        assert not chip.known[chip.isa == 255].any()


def no_validation(town, path, *more):
    path.write_text(TOWN.replace("[schedule]", "\n".join(["[schedule]", *more])) + "validate_on = false\n")
    return path


def test_without_validation_ground_the_last_weights_are_kept_with_a_threshold_of_a_half(
    town, tmp_path, caplog
):
    path = no_validation(town, tmp_path / "recipe.toml")
    card = load_card(train.run(path, asked(town, tmp_path / "out")))
    said = "no validation ground: threshold 0.5, no calibration, the last weights are kept"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [said]
    assert (card.threshold, card.calibration, card.training["steps"]) == (0.5, None, 4)
    log = json.loads((tmp_path / "out" / "training.json").read_text())["log"]
    assert [entry["best_step"] for entry in log] == [2, 4]


def test_patience_without_validation_ground_is_refused(town, tmp_path):
    path = no_validation(town, tmp_path / "recipe.toml", "patience = 1")
    with pytest.raises(ConfigError, match="patience needs ground to validate on"):
        train.run(path, asked(town, tmp_path / "out"))


def test_validation_grounds_of_one_name_are_refused(town):
    path = town / "twice.toml"
    path.write_text(TOWN + '\n[[stores]]\nname = "again"\nfolder = "chips"\n')
    with pytest.raises(InputError, match="two grounds to validate on are called town"):
        grounds.read_grounds(read_recipe(path), town)


def test_a_threshold_of_infer_goes_with_models_of_isa(tmp_path):
    weights = tiny.write_model(tmp_path, classes="fbp24")
    infer = ["infer", "--input", tmp_path / "none.tif", "--model", weights, "--threshold", 0.4]
    done = CliRunner().invoke(cli, [*map(str, infer), "-o", str(tmp_path)], obj={})
    assert done.exit_code == 2
    assert "--threshold goes with models of ISA: maps of fbp24 show the likeliest class" in done.output


def test_labels_of_one_class_are_told(retiled, town, tmp_path, caplog):
    recipe = read_recipe(retiled(np.ones_like, split=Rules(val=0.2, buffer_m=160)))
    grounds.store_sources(recipe, tmp_path)
    assert "every label is of class 1" in caplog.text
    caplog.clear()
    grounds.store_sources(recipe, town)
    assert "every label" not in caplog.text


def test_a_store_that_only_judges_has_no_chips_to_train_on(retiled, tmp_path):
    path = retiled(only="val")
    with pytest.raises(InputError, match=r"chips: no chips to train on"):
        train.run(path, asked(tmp_path, tmp_path / "out"))


@pytest.fixture(scope="module")
def fbp(tmp_path_factory):
    """A miniature of Five-Billion-Pixels, tiled and learnt."""
    folder = tmp_path_factory.mktemp("fbp")
    fbp_folder.make_folder(folder / "fbp", images=4, side=192)
    source = Source(name="fbp", folder=".", sensor="gaofen-2")
    cut(folder / "fbp", folder / "chips", source, scheme="fbp24", chip_px=64, split=Rules(val=0.3))
    (folder / "recipe.toml").write_text(FBP)
    return folder, train.run(folder / "recipe.toml", asked(folder, folder / "run"))


@pytest.mark.slow
def test_five_billion_pixels_goes_from_its_folder_to_a_map_of_24_classes(fbp, tmp_path):
    weights = fbp[1]
    card, network = load(weights)
    assert (card.network.classes, network.config.outputs, network.radius_px) == ("fbp24", 24, 62)
    assert card.metrics["validation"]
    pixels, codes = fbp_folder.make_image(np.random.default_rng(77), 192)
    scene = tmp_path / "gf2.tif"
    place = {"crs": "EPSG:32650", "transform": Affine(4, 0, 500_000, 0, -4, 3_400_000)}
    fbp_folder.write_tiff(scene, pixels.astype(np.float32) / 255, **place)
    infer = ["infer", "--input", scene, "--bands", "B08,B04,B03,B02", "--model", weights, "--probability"]
    done = CliRunner().invoke(
        cli, [*map(str, infer), "--device", "cpu", "-o", str(tmp_path)], standalone_mode=False, obj={}
    )
    assert done.exception is None, done.exception
    with rasterio.open(tmp_path / "gf2-isa.tif") as src:
        classes, colours = src.read(1), src.colormap(1)
        assert src.res == (4, 4)
        assert src.descriptions == ("land cover, fbp24",)
    assert set(np.unique(classes)) <= set(range(1, 25))
    assert {code: colours[code][:3] for code in range(1, 25)} == {
        one.code: one.colour for one in FBP24.classes
    }
    known = codes > 0
    isa, truth = (FBP24.to_isa(part) == 1 for part in (classes, codes))
    # Of 24: in the miniature only brightness, which training jitters, tells most of them apart.
    assert np.mean((classes == codes)[known]) > 0.1
    assert np.mean((isa == truth)[known]) > 0.8
    with rasterio.open(tmp_path / "gf2-isa.prob.tif") as src:
        percent = src.read(1)
    assert percent[isa].mean() > percent[~isa].mean() + 20
    item = json.loads((tmp_path / "gf2-isa.json").read_text())
    assert item["properties"]["isamap:isa_share"] == pytest.approx(isa.mean(), abs=1e-5)
    assert "fbp24" in item["assets"]


@pytest.mark.slow
def test_a_10_m_scene_does_not_fit_a_4_m_model(fbp, tmp_path):
    values = np.full((4, 32, 32), 0.2, np.float32)
    place = {"crs": "EPSG:32650", "transform": Affine(10, 0, 500_000, 0, -10, 3_400_000)}
    scene = fbp_folder.write_tiff(tmp_path / "s2.tif", values, **place)
    infer = ["infer", "--input", scene, "--bands", "B08,B04,B03,B02", "--model", fbp[1], "-o", tmp_path]
    done = CliRunner().invoke(cli, list(map(str, infer)), standalone_mode=False, obj={})
    assert isinstance(done.exception, InputError)
    assert "not 4 m" in str(done.exception)
