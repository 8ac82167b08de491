"""`isamap train` from a recipe and GeoTIFFs to weights that `isamap infer` loads, also across kills."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from click.testing import CliRunner

from isamap.cli import cli
from isamap.core import grounds, train
from isamap.core.recipe import read_recipe
from isamap.domain.reliability import Reliability
from isamap.errors import ConfigError, InputError, MissingInputError, ModelError
from isamap.io import run_folder
from isamap.io.atomic import write_atomic
from isamap.model import settling
from isamap.model.checkpoint import load
from isamap.model.checkpoint import load_card as read_card
from isamap.model.training import Trainer
from isamap.model.validation import THRESHOLDS, look, probabilities

REPOSITORY = Path(__file__).parents[1]
BANDS = ("B02", "B03", "B04", "B08")
LEFT, TOP = 600_000, 3_400_000
SIDE = 40
RECIPE = """
description = "for tests"
licence = "Apache-2.0"
attribution = ["nobody"]

[network]
name = "fast"
channels = 8
blocks = 1

[schedule]
steps = 6
warmup_steps = 2
chip_px = 8
border_px = 2
evaluate_every = 2

[chips]
pairs = 1
simulated = 1
scenes = 1
patches = 1

[[pairs]]
name = "town"
imagery = ["town-10m.tif"]
isa = ["town-isa.tif"]
image = ["town-rgb.tif"]
split = "town-split.tif"

[[simulated]]
name = "aerial"
isa = "town-isa.tif"
image = "town-rgb.tif"
exclude = [0, 100, 0, 100]

[[scenes]]
name = "unlabelled"
dates = [["town-10m.tif", "town-20m.tif"], ["town-10m.tif", "town-20m.tif"]]

[[patches]]
name = "fields"
imagery = "town-all.tif"
share = "none"
patch_px = 20
"""


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Tiny networks lose more than they win by a second thread, above all on a busy machine."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def train_run(recipe, **asked):
    return train.run(recipe, train.Run(**({"device": "cpu"} | asked)))


def write(path, values, names=(), gsd_m=10, left=LEFT, top=TOP, **profile):
    count, height, width = values.shape
    profile = {
        "crs": "EPSG:32650",
        "transform": Affine(gsd_m, 0, left, 0, -gsd_m, top),
        "dtype": values.dtype,
    } | profile
    with rasterio.open(path, "w", driver="GTiff", count=count, height=height, width=width, **profile) as dst:
        dst.write(values)
        for index, name in enumerate(names, start=1):
            dst.set_band_description(index, name)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A town of 40 x 40 pixels of 10 m, its right quarter kept for validation."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(3)
    town = np.kron(rng.random((SIDE // 4, SIDE // 4)) > 0.5, np.ones((4, 4)))
    dn = (900 + 900 * town + rng.normal(0, 40, (5, SIDE, SIDE))).astype(np.uint16)
    isa = np.kron(town, np.ones((10, 10))).astype(np.uint8)
    split = np.ones((1, SIDE, SIDE), np.uint8)
    split[:, :, 30:] = 2
    write(folder / "town-10m.tif", dn[:4], BANDS)
    write(folder / "town-20m.tif", dn[4:, ::2, ::2], ("B11",), gsd_m=20)
    write(folder / "town-all.tif", dn, (*BANDS, "B11"))
    write(folder / "town-part.tif", dn[:, :20], (*BANDS, "B11"))
    write(folder / "town-isa.tif", isa[None], gsd_m=1)
    write(folder / "town-far.tif", isa[None], gsd_m=1, left=LEFT + 5000)
    write(folder / "town-zone.tif", isa[None], gsd_m=1, crs="EPSG:32649")
    write(folder / "town-moved.tif", split, left=LEFT + 10)
    write(folder / "town-lifted.tif", dn + 1000, (*BANDS, "B11"))
    write(folder / "town-rgb.tif", np.repeat(60 + 90 * isa[None], 3, axis=0), gsd_m=1)
    write(folder / "town-split.tif", split)
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def start(*arguments):
    """`isamap ARGUMENTS` as a process of its own."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ISAMAP_")}
    return subprocess.Popen(
        [sys.executable, "-m", "isamap", *map(str, arguments)],
        env=environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def training(data, out, recipe="recipe.toml"):
    return start("train", data / recipe, "--data", data, "-o", out, "--device", "cpu")


def figures(folder):
    """Everything of a run that must not depend on the clock."""
    card = json.loads((folder / "fast.json").read_text())
    record = json.loads((folder / "training.json").read_text())
    card["training"]["seconds"] = record["seconds"] = 0
    card["training"]["cpu_seconds"] = record["cpu_seconds"] = 0
    return (folder / "fast.safetensors").read_bytes(), card, record


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """The folder of an undisturbed run in this process."""
    out = tmp_path_factory.mktemp("straight")
    assert train_run(data / "recipe.toml", data=data, out=out, device="cpu") == out / "fast.safetensors"
    return out


def test_the_log_and_the_card_say_what_was_done(straight):
    _, card, record = figures(straight)
    assert [entry["step"] for entry in record["log"]] == [2, 4, 6]
    assert card["training"]["ground"] == ["town", "aerial", "unlabelled", "fields"]
    assert card["training"]["recipe"] == record["recipe"]
    assert card["metrics"]["validation"].keys() == {"town"}
    assert record["best"] == max(entry["mean_iou"] for entry in record["log"])
    assert not list(straight.glob(".*.tmp"))


def test_the_card_is_calibrated_on_the_validation_ground_and_its_threshold_with_it(data, straight):
    """By the kept weights themselves: what they say there comes true more nearly once it is calibrated."""
    _, card, record = figures(straight)
    found = read_card(straight / "fast.safetensors")
    best = max(record["log"], key=lambda entry: entry["mean_iou"])
    assert [found.calibration.slope, found.calibration.intercept] == best["calibration"]
    assert card["threshold"] == found.calibration.of(best["threshold"])
    assert found.settled(card["threshold"]) == pytest.approx(best["threshold"], abs=1e-12)
    ground = grounds.read_grounds(read_recipe(data / "recipe.toml"), data).validations[0]
    network = load(straight / "fast.safetensors")[1]
    raw = probabilities(network, torch.from_numpy(ground.lr), torch.from_numpy(ground.present))
    eces = [
        Reliability.count(np.rint(100 * p.numpy()).astype(np.uint8), ground.isa).ece
        for p in (raw, settling.calibrated(raw, found.calibration))
    ]
    assert eces[1] < eces[0]


def test_a_threshold_of_the_recipe_speaks_of_the_networks_own_probability(data, tmp_path):
    text = 'threshold = 0.61\nlevel = "L2A"\n' + (data / "recipe.toml").read_text()
    (tmp_path / "recipe.toml").write_text(text)
    weights = train_run(tmp_path / "recipe.toml", data=data, out=tmp_path / "out", steps=2)
    card = read_card(weights)
    assert card.settled(card.threshold) == pytest.approx(0.61, abs=1e-12)
    assert card.levels == ("L2A",)


def test_a_seed_of_the_command_line_makes_another_run(data, tmp_path):
    def weights(folder, **asked):
        made = train_run(data / "recipe.toml", data=data, out=tmp_path / folder, steps=2, **asked)
        return made.read_bytes(), read_card(made).training["seed"]

    usual, again, other = weights("a"), weights("b"), weights("c", seed=7)
    assert again == usual
    assert other[0] != usual[0]
    assert other[1] == 7 != usual[1]


def test_a_stage_that_makes_no_map_has_nothing_to_calibrate(data, tmp_path):
    text = (data / "recipe.toml").read_text().replace("[schedule]", '[schedule]\ntrain = "image"')
    (tmp_path / "recipe.toml").write_text(text)
    card = read_card(train_run(tmp_path / "recipe.toml", data=data, out=tmp_path / "out", steps=2))
    assert card.calibration is None
    assert card.threshold in THRESHOLDS


def test_a_finished_run_has_nothing_left_to_do(data, straight):
    before = {path: path.stat().st_mtime_ns for path in straight.iterdir() if path.suffix}
    train_run(data / "recipe.toml", data=data, out=straight, device="cpu")
    assert before == {path: path.stat().st_mtime_ns for path in straight.iterdir() if path.suffix}


@pytest.mark.slow
def test_a_run_killed_in_the_middle_resumes_and_its_model_maps_a_scene(data, tmp_path):
    """The same bytes as an undisturbed run of the same length, whatever was half done."""
    longer = RECIPE.replace("steps = 6", "steps = 40").replace("evaluate_every = 2", "evaluate_every = 4")
    (data / "longer.toml").write_text(longer)
    killed, out = tmp_path / "killed", tmp_path / "undisturbed"
    process = training(data, killed, "longer.toml")
    while process.poll() is None and not (killed / "training-state.safetensors").is_file():
        time.sleep(0.005)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run was over too soon"
    process = training(data, killed, "longer.toml")
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    assert stdout.strip() == str(killed / "fast.safetensors")
    assert "resuming at step" in stderr
    train_run(data / "longer.toml", data=data, out=out, device="cpu")
    assert figures(killed) == figures(out)

    maps = tmp_path / "maps"
    infer = (
        "infer",
        "--input",
        data / "town-10m.tif",
        "--model",
        stdout.strip(),
        "--device",
        "cpu",
        "-o",
        maps,
    )
    process = start(*infer)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    with rasterio.open(maps / "town-isa.tif") as src:
        assert src.shape == (10 * SIDE, 10 * SIDE)
        assert set(np.unique(src.read(1))) <= {0, 1}


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("save", range(8))
def test_a_kill_between_any_two_files_of_a_save_loses_nothing(
    data, straight, tmp_path, monkeypatch, save, after
):
    written = 0

    def dying(path, content):
        nonlocal written
        written += 1
        if after or written <= save:
            write_atomic(path, content)
        if written == save + 1:
            raise Killed

    monkeypatch.setattr("isamap.core.train.store.write_atomic", dying)
    with pytest.raises(Killed):
        train_run(data / "recipe.toml", data=data, out=tmp_path, device="cpu")
    monkeypatch.undo()
    train_run(data / "recipe.toml", data=data, out=tmp_path, device="cpu")
    assert figures(tmp_path) == figures(straight)


@pytest.mark.parametrize(
    "name", ["fast.json", "fast.safetensors", "training.json", "training.png", "samples/step-000001.png"]
)
def test_files_that_no_run_wrote_are_not_replaced(data, tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=rf"{name} was not made by isamap: choose another folder"):
            train_run(data / "recipe.toml", data=data, out=tmp_path, overwrite=overwrite)
    visible = {path: content for path, content in contents(tmp_path).items() if path.name[0] != "."}
    assert visible == {tmp_path / name: b"mine"}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.suffix}


@pytest.mark.parametrize("lost", ["", "training-state.safetensors"])
def test_a_run_of_another_recipe_is_kept_unless_it_is_given_up(data, straight, tmp_path, lost):
    """Finished weights do not vanish by a second command with another number of steps, seed or recipe."""
    (data / "other.toml").write_text(RECIPE + "\n")  # the same recipe, spelled differently
    train_run(data / "other.toml", data=data, out=tmp_path, steps=2, pictures=True)
    assert [entry["step"] for entry in figures(tmp_path)[2]["log"]] == [2]
    if lost:
        (tmp_path / lost).unlink()
    before = contents(tmp_path)
    wider = changed(data, ("channels = 8", "channels = 12"))
    for recipe, other in ((data / "other.toml", {}), (data / "other.toml", {"seed": 7}), (wider, {})):
        with pytest.raises(ConfigError, match=r"holds a run of another recipe.*--overwrite replaces it"):
            train_run(recipe, data=data, out=tmp_path, **other)
    assert contents(tmp_path) == before
    train_run(data / "other.toml", data=data, out=tmp_path, overwrite=True)
    assert figures(tmp_path) == figures(straight)
    assert not (tmp_path / "training.png").exists()
    assert not list(tmp_path.glob("samples/*"))


def test_a_finished_run_that_is_overwritten_is_made_again(data, straight, tmp_path):
    train_run(data / "recipe.toml", data=data, out=tmp_path)
    before = (tmp_path / "fast.safetensors").stat().st_mtime_ns
    train_run(data / "recipe.toml", data=data, out=tmp_path, overwrite=True)
    assert (tmp_path / "fast.safetensors").stat().st_mtime_ns > before
    assert figures(tmp_path) == figures(straight)


@pytest.mark.parametrize("lost", ["", "training-state.safetensors"])
def test_a_run_whose_ground_has_changed_is_refused_unless_it_is_given_up(data, tmp_path, lost):
    own, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data, own)
    weights = train_run(own / "recipe.toml", data=own, out=out, steps=2)
    if lost:
        (out / lost).unlink()
    with rasterio.open(own / "town-rgb.tif", "r+") as dst:
        dst.write(dst.read() + 1)
    before = contents(out)
    with pytest.raises(
        InputError, match=r"data/town-rgb\.tif is not what the run in .*--overwrite trains anew"
    ):
        train_run(own / "recipe.toml", data=own, out=out, steps=2)
    assert contents(out) == before
    train_run(own / "recipe.toml", data=own, out=out, steps=2, overwrite=True)
    with rasterio.open(own / "town-rgb.tif") as src:
        assert src.read(1).min() == 61
    named = read_card(weights).training["data"]["town-rgb.tif"]
    assert named == hashlib.sha256((own / "town-rgb.tif").read_bytes()).hexdigest()


def test_a_run_of_a_version_whose_record_had_no_digests_is_held_against_its_card(data, straight, tmp_path):
    own, out, packed = tmp_path / "data", tmp_path / "out", Trainer.state
    shutil.copytree(data, own)

    def dying(path, content):
        write_atomic(path, content)
        if path.name == "training.json":
            raise Killed

    def older(run, record):
        return packed(run, {key: value for key, value in record.items() if key != "data"})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isamap.core.train.store.write_atomic", dying)
        patch.setattr(Trainer, "state", older)
        with pytest.raises(Killed):
            train_run(own / "recipe.toml", data=own, out=out)
    split = (own / "town-split.tif").read_bytes()
    (own / "town-split.tif").write_bytes(split + b"\0")
    with pytest.raises(InputError, match=r"town-split\.tif is not what the run in"):
        train_run(own / "recipe.toml", data=own, out=out)
    (own / "town-split.tif").write_bytes(split)
    train_run(own / "recipe.toml", data=own, out=out)
    assert figures(out) == figures(straight)


def last_recipe(data):
    path = data / "last.toml"
    path.write_text(RECIPE.replace("[schedule]", '[schedule]\nkeep = "last"'))
    return path


@pytest.mark.parametrize("loss", ["no weights", "no card", "card of junk", "cut weights"])
def test_a_finished_run_whose_model_is_lost_writes_it_again(data, tmp_path, loss):
    weights = train_run(last_recipe(data), data=data, out=tmp_path)
    before = figures(tmp_path)
    card = weights.with_suffix(".json")
    if loss == "no weights":
        weights.unlink()
    elif loss == "no card":
        card.unlink()
    elif loss == "card of junk":
        card.write_text("junk")
    else:
        weights.write_bytes(weights.read_bytes()[:-9])
    assert train_run(last_recipe(data), data=data, out=tmp_path) == weights
    load(weights)
    assert figures(tmp_path) == before


def test_best_weights_that_are_lost_are_not_replaced_by_worse_ones(data, tmp_path, monkeypatch):
    looks = iter([0.9, 0.5, 0.4])

    def falling(*arguments):
        found = look(*arguments)
        found.mean_iou = next(looks)
        return found

    monkeypatch.setattr("isamap.model.training.look", falling)
    weights = train_run(data / "recipe.toml", data=data, out=tmp_path)
    assert read_card(weights).training["steps"] == 2
    weights.unlink()
    with pytest.raises(
        ModelError, match=r"fast\.safetensors or its card is missing.*--overwrite trains again"
    ):
        train_run(data / "recipe.toml", data=data, out=tmp_path)
    assert not weights.exists()


def test_a_device_that_is_none_is_a_usage_error(data, tmp_path):
    done = CliRunner().invoke(
        cli, ["train", str(data / "recipe.toml"), "--data", str(data), "-o", str(tmp_path), "--device", "tpu"]
    )
    assert done.exit_code == 2
    assert "'tpu': auto, cpu, cuda or cuda:N" in done.output


def test_the_command_line_overwrites(data, tmp_path):
    def exit_code(*more):
        arguments = ["train", data / "recipe.toml", "--data", data, "-o", tmp_path, "--device", "cpu", *more]
        return CliRunner().invoke(cli, [str(one) for one in arguments], obj={}).exception

    assert exit_code("--steps", 2) is None
    assert exit_code("--steps", 4).exit_code == 78
    assert exit_code("--steps", 4, "--overwrite") is None
    assert [entry["step"] for entry in figures(tmp_path)[2]["log"]] == [2, 4]


def changed(data, *pairs):
    text = RECIPE
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    path = data / "changed.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([("town-10m.tif", "twon-10m.tif")], MissingInputError, r"twon-10m\.tif does not exist"),
        ([("chip_px = 8", "chip_px = 48")], InputError, r"a chip 48 x 48"),
        ([("warmup_steps", "warmup")], ConfigError, r"schedule\.warmup: did you mean warmup_steps"),
        ([('name = "fast"', 'name = "swift"')], ConfigError, r"no network 'swift'"),
        ([("patch_px = 20", "patch_px = 3")], InputError, r"fields-\d+ is 40 x 3"),
        ([("town-split.tif", "town-isa.tif")], InputError, r"town-isa\.tif"),
        ([("town-10m.tif", "town-20m.tif")], InputError, r"town-20m\.tif: B02, B03, B04, B08 missing"),
        (
            [('dates = [["town-10m.tif", "town-20m.tif"]', 'dates = [["town-10m.tif"]')],
            InputError,
            r"town-10m\.tif: B11 missing",
        ),
        (
            [('dates = [["town-10m.tif", "town-20m.tif"]', 'dates = [["town-part.tif"]')],
            InputError,
            "scene unlabelled: its dates differ in size",
        ),
        ([("town-all.tif", "town-rgb.tif")], InputError, r"town-rgb\.tif: B02, B03, B04, B08 missing"),
        (
            [("town-isa.tif", "town-zone.tif")],
            InputError,
            r"town-zone\.tif: lies in EPSG:32649, .* EPSG:32650",
        ),
        (
            [("town-split.tif", "town-moved.tif")],
            InputError,
            r"moved\.tif is not on the grid of .*town-10m\.tif",
        ),
        ([("town-isa.tif", "town-far.tif")], InputError, r"town-far\.tif has no label on .*town-10m\.tif"),
        ([('description = "for tests"', 'description = "t"\nthreshold = 1.5')], ConfigError, "threshold: "),
        ([("channels = 8", "channels = 8\nstd = [0.1, 0.1, 0, 0.1]")], ConfigError, r"network\.std\.2: "),
        (
            [("exclude = [0, 100, 0, 100]", "exclude = [0, 100, 0, 401]")],
            InputError,
            r"town-isa\.tif: exclude reaches beyond its \(400, 400\) rows and columns",
        ),
        ([("0, 100, 0, 100", "0, 400, 0, 400")], InputError, r"town-isa\.tif has no label to train on"),
        (
            [('split = "town-split.tif"', 'split = "town-split.tif"\ntrain = 7')],
            InputError,
            r"town-split\.tif has no labelled pixel of value 7 to train on",
        ),
        (
            [('name = "unlabelled"', 'name = "unlabelled"\nshift_px = [0, 40]')],
            InputError,
            r"scene unlabelled: shift_px is \[0, 40\]: its dates would not meet",
        ),
        (
            [("[chips]", '[target]\nmethod = "dpa"\n[chips]')],
            ConfigError,
            "the target has no ground: name scenes",
        ),
        (
            [('name = "fast"', 'name = "bilinear"'), ("chip_px = 8", "chip_px = 10")],
            ConfigError,
            "chip_px is 10: bilinear takes multiples of 4",
        ),
    ],
)
def test_a_recipe_that_cannot_work_says_why(data, tmp_path, pairs, error, message):
    with pytest.raises(error, match=message):
        train_run(changed(data, *pairs), data=data, out=tmp_path, device="cpu")


def test_imagery_with_its_baseline_offset_left_in_is_said_once_for_each_date(data, caplog):
    lifted = ('dates = [["town-10m.tif", "town-20m.tif"]', 'dates = [["town-lifted.tif"]')
    grounds.read_grounds(read_recipe(changed(data, lifted)), data)
    warned = [record.getMessage() for record in caplog.records if "04.00" in record.getMessage()]
    assert len(warned) == 1
    assert "town-lifted.tif: the darkest pixels have reflectance 0.1" in warned[0]


def test_a_pair_that_only_validates_needs_nothing_to_train_on(data):
    path = changed(
        data, ("pairs = 1", "pairs = 0"), ('split = "town-split.tif"', 'split = "town-split.tif"\ntrain = 7')
    )
    (source,), (kept,) = grounds.pair_sources(read_recipe(path), data)
    assert (source.isa == 255).all()
    assert (kept.isa != 255).any()


def test_ground_without_validation_is_named(data, tmp_path):
    path = changed(data, ('split = "town-split.tif"', 'split = "town-split.tif"\nvalidate_on = 9'))
    with pytest.raises(InputError, match=r"town-split\.tif has no labelled pixel of value 9 to validate on"):
        train_run(path, data=data, out=tmp_path, device="cpu")


def test_excluded_ground_is_unlabelled(data):
    from isamap.config import read_toml
    from isamap.core.recipe import Recipe

    recipe = read_toml(data / "recipe.toml", Recipe)
    source = grounds.simulated_source(recipe.simulated[0], recipe, data)
    assert (source.isa[:100, :100] == 255).all()
    assert (source.isa[100:] != 255).all()


def test_validation_ground_teaches_nothing(data):
    from isamap.config import read_toml
    from isamap.core.recipe import Recipe

    (source,), (validation,) = grounds.pair_sources(read_toml(data / "recipe.toml", Recipe), data)
    assert (source.isa[:, 300:] == 255).all()
    assert (source.isa[:, :300] != 255).all()
    assert validation.isa.shape == (400, 100)
    assert validation.lr.shape == (4, 40, 10)
    with rasterio.open(data / "town-isa.tif") as src:
        np.testing.assert_array_equal(validation.isa, src.read(1)[:, 300:])


def test_fine_tuning_begins_from_the_given_weights_and_is_another_run(data, straight, tmp_path):
    """A learning rate of next to nothing leaves the weights where they were, to the last bit of bfloat16."""
    still = RECIPE.replace("steps = 6", "steps = 2\nlearning_rate = 1e-12\nweight_decay = 0.0")
    (data / "still.toml").write_text(still)
    begin = straight / "fast.safetensors"
    out = train_run(data / "still.toml", data=data, out=tmp_path / "tuned", start=begin, device="cpu")
    assert out.read_bytes() == begin.read_bytes()
    tuned = json.loads(out.with_suffix(".json").read_text())["training"]["recipe"]
    train_run(data / "still.toml", data=data, out=tmp_path / "fresh", device="cpu")
    assert json.loads((tmp_path / "fresh" / "fast.json").read_text())["training"]["recipe"] != tuned


def test_fine_tuning_refuses_weights_of_another_network(data, straight, tmp_path):
    (data / "wider.toml").write_text(RECIPE.replace("channels = 8", "channels = 12"))
    with pytest.raises(ModelError, match="another network"):
        train_run(
            data / "wider.toml",
            data=data,
            out=tmp_path / "out",
            start=straight / "fast.safetensors",
            device="cpu",
        )


def test_the_second_date_is_moved_back_by_its_shift():
    """Date 2 lies one pixel right of and one below date 1."""
    first = np.zeros((4, 4), np.float32)
    first[1, 1] = 1
    second = np.roll(first, (1, 1), axis=(0, 1))
    np.testing.assert_array_equal(grounds._moved({"B04": second}, (1, 1), 1)["B04"], first)
    np.testing.assert_array_equal(grounds._moved({"B04": first}, (1, 1), -1)["B04"], second)


def target_recipe(data, method, **more):
    lines = [f"{key} = {value}" for key, value in more.items()]
    text = RECIPE + "\n".join(["", "[target]", f'method = "{method}"', "chips = 1", *lines, ""])
    path = data / f"target-{method}.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("method", ["dpa", "dpa+"])
def test_a_target_on_the_command_line_joins_the_training(data, straight, tmp_path, method):
    path = target_recipe(data, method, **({} if method == "dpa" else {"share_weight": 0.5}))
    weights = train_run(path, data=data, out=tmp_path, target=(("town-10m.tif", "town-20m.tif"),))
    card = json.loads(weights.with_suffix(".json").read_text())
    assert card["training"]["ground"][-1] == "town-10m"
    assert "town-20m.tif" in card["training"]["data"]
    log = json.loads((tmp_path / "training.json").read_text())["log"]
    assert ("agreement" in log[-1]["terms"]) == (method == "dpa+")
    assert weights.read_bytes() != (straight / "fast.safetensors").read_bytes()


def test_the_card_of_an_adapted_model_has_the_scaling_of_its_target(data, tmp_path):
    """Source and target are one town here, so its own scaling is nearly the network's; brighter ground's is not."""
    with rasterio.open(data / "town-10m.tif") as src:
        dn = src.read()
    write(data / "bright-10m.tif", (dn + 1000).astype(np.uint16), BANDS)
    path = target_recipe(data, "dpa")
    same, bright = (
        train_run(path, data=data, out=tmp_path / name, target=((f"{name}-10m.tif",),))
        for name in ("town", "bright")
    )
    plain = json.loads((tmp_path / "town" / "fast.json").read_text())["network"]
    card = json.loads((tmp_path / "bright" / "fast.json").read_text())
    moved = card["network"]
    assert card["training"]["source_network"]["mean"] == [0.115, 0.105, 0.105, 0.22]
    np.testing.assert_allclose(plain["mean"], [0.115, 0.105, 0.105, 0.22], atol=0.01)
    np.testing.assert_allclose(np.subtract(moved["mean"], plain["mean"]), 0.1, atol=1e-4)
    np.testing.assert_allclose(moved["std"], plain["std"], rtol=1e-3)
    assert same.is_file()
    assert bright.is_file()


def test_a_target_without_statistics_of_its_own_leaves_the_scaling_alone(data, tmp_path):
    path = target_recipe(data, "dpa+", own_statistics="false")
    train_run(path, data=data, out=tmp_path, target=(("town-10m.tif",),))
    assert json.loads((tmp_path / "fast.json").read_text())["network"]["mean"] == [0.115, 0.105, 0.105, 0.22]


def test_the_card_says_where_and_on_which_bytes(straight, data):
    _, card, _ = figures(straight)
    named = card["training"]["data"]
    assert named.keys() == {
        *("town-10m.tif", "town-20m.tif", "town-all.tif", "town-isa.tif", "town-rgb.tif", "town-split.tif")
    }
    assert named["town-isa.tif"] == hashlib.sha256((data / "town-isa.tif").read_bytes()).hexdigest()
    ((west, south, east, north),) = card["training"]["footprint"]
    assert west == pytest.approx(118.05, abs=0.02)
    assert north == pytest.approx(30.73, abs=0.02)
    assert 0 < east - west < 0.01
    assert 0 < north - south < 0.01


def test_pictures_and_tensorboard_are_written_where_asked_for(data, straight, tmp_path):
    from PIL import Image

    pytest.importorskip("tensorboard")
    train_run(data / "recipe.toml", data=data, out=tmp_path, pictures=True, tensorboard=True)
    assert figures(tmp_path) == figures(straight)
    with Image.open(tmp_path / "training.png") as image:
        assert image.size[0] > 400
    samples = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in samples] == [f"step-{n:06d}.png" for n in (2, 4, 6)]
    with Image.open(samples[0]) as image:
        assert image.size[0] == 4 * 100 + 3 * 8  # input, image, probability, labels of 10 pixels' width
    events = list((tmp_path / "tensorboard").iterdir())
    assert events
    assert b"IoU/town" in events[0].read_bytes()


def test_tensorboard_that_is_not_installed_is_named(data, tmp_path, monkeypatch):
    import sys as system

    monkeypatch.setitem(system.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConfigError, match=r"isamap\[train\]"):
        train_run(data / "recipe.toml", data=data, out=tmp_path, tensorboard=True)


def test_stages_follow_each_other(data, tmp_path):
    """Image, then segmentation, each from the weights of the one before."""
    head = RECIPE.replace(
        'name = "fast"\nchannels = 8', 'name = "staged"\nchannels = 4\ngrowth = 2\nmid_blocks = 1\nfine = 4'
    )
    first, second = data / "stage-1.toml", data / "stage-2.toml"
    first.write_text(
        head.replace("[schedule]", '[schedule]\ntrain = "image"\nimage_weight = 1.0\nkeep = "last"')
    )
    second.write_text(
        'extends = "stage-1.toml"\n[schedule]\ntrain = "segmentation"\nimage_weight = 0.0\nkeep = "best"\n'
    )
    one = train_run(first, data=data, out=tmp_path / "1")
    two = train_run(second, data=data, out=tmp_path / "2", start=one)
    import safetensors.torch

    before, after = (safetensors.torch.load_file(path) for path in (one, two))
    same = {name.split(".")[0] for name in before if torch.equal(before[name], after[name])}
    assert same == {"first", "second"}
    card = json.loads(two.with_suffix(".json").read_text())
    assert card["training"]["start"]["steps"] == 6


def test_what_weights_owe_goes_with_all_that_is_made_of_them(data, tmp_path):
    recipe = tmp_path / "more.toml"
    recipe.write_text(RECIPE.replace('attribution = ["nobody"]', 'attribution = ["somebody"]'))
    first = tmp_path / "1" / "recipe.toml"
    first.parent.mkdir()
    first.write_text(RECIPE)
    one = train_run(first, data=data, out=tmp_path / "1")
    two = train_run(recipe, data=data, out=tmp_path / "2", start=one)
    card = json.loads(two.with_suffix(".json").read_text())
    assert card["attribution"] == ["somebody", "nobody"]
    assert card["training"]["start"]["licence"] == json.loads(one.with_suffix(".json").read_text())["licence"]


@pytest.mark.parametrize(
    ("document", "ours"), [({"recipe": {}, "log": []}, True), ({"recipe": {}}, False), ([1], False)]
)
def test_a_record_alone_says_whose_the_folder_is(tmp_path, document, ours):
    (tmp_path / run_folder.RECORD).write_text(json.dumps(document))
    assert run_folder.is_run_s(tmp_path) is ours


def test_the_state_goes_last_so_that_what_is_left_is_known(tmp_path):
    assert run_folder.MADE[-1] == run_folder.STATE
