"""Recipes: what they may say, what they extend, what they name."""

import pytest
import torch

from isamap.core.recipe import read_recipe
from isamap.errors import ConfigError, MissingInputError
from isamap.model.networks import MODELS, NetworkConfig, build

BASE = """
description = "base"
licence = "CC0-1.0"
attribution = ["nobody"]

[network]
name = "fast"
channels = 8

[schedule]
steps = 10
image_weight = 0.5

[[pairs]]
name = "town"
imagery = ["a-10m.tif", "a-20m.tif"]
isa = ["isa.tif"]
image = ["rgb.tif"]
split = "split.tif"
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "base.toml").write_text(BASE)
    return tmp_path


def write(folder, text, name="own.toml"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_recipe_lays_its_own_words_over_what_it_extends(folder):
    path = write(folder, 'extends = "base.toml"\ndescription = "own"\n[schedule]\nsteps = 20\n')
    recipe = read_recipe(path)
    assert recipe.description == "own"
    assert recipe.schedule.steps == 20
    assert recipe.schedule.image_weight == 0.5
    assert recipe.network.channels == 8
    assert recipe.pairs[0].name == "town"


def test_lists_are_replaced_whole(folder):
    path = write(folder, 'extends = "base.toml"\nattribution = ["somebody"]\npairs = []\n')
    recipe = read_recipe(path)
    assert recipe.attribution == ("somebody",)
    assert recipe.pairs == ()


def test_the_path_of_what_is_extended_starts_where_it_is_named(folder):
    write(folder, 'extends = "../base.toml"\n[schedule]\nsteps = 30\n', "stages/one.toml")
    path = write(folder, 'extends = "one.toml"\n[schedule]\nimage_weight = 0.0\n', "stages/two.toml")
    schedule = read_recipe(path).schedule
    assert (schedule.steps, schedule.image_weight) == (30, 0.0)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('extends = "own.toml"', ConfigError, "extends itself"),
        ('extends = "none.toml"', MissingInputError, r"none\.toml cannot be read"),
        ('extends = "base.toml"\n[schedule]\nstep = 3', ConfigError, "schedule.step: did you mean steps"),
        ('extends = "base.toml"\n[target]\nmethod = "dann"', ConfigError, "target.method"),
        ("[network", ConfigError, "not valid TOML"),
        ('extends = "base.toml"\nname = "../mine"', ConfigError, "cannot be the name of a model"),
        ("extends = 3", ConfigError, r"own\.toml: extends is 3: the path of a recipe, in quotes"),
    ],
)
def test_a_recipe_that_cannot_be_read_says_why(folder, text, error, message):
    with pytest.raises(error, match=message):
        read_recipe(write(folder, text))


SCHEDULE = 'extends = "base.toml"\n[schedule]\n'
SHARES = 'extends = "base.toml"\n[shares]\n'
GROUND = 'extends = "base.toml"\npairs = []\n'
PAIR = 'extends = "base.toml"\n[[pairs]]\nname = "p"\nsplit = "split.tif"\n'
SIMULATED = GROUND + '[[simulated]]\nname = "s"\nisa = "isa.tif"\nimage = "rgb.tif"\n'
SCENE = GROUND + '[[scenes]]\nname = "c"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (f"{SCHEDULE}{key} = {value}", f"schedule.{key}: ")
            for key, values in {
                "learning_rate": ("0.0", "-1e-3", "nan", "inf"),
                "weight_decay": ("-0.1", "inf"),
                "warmup_steps": ("-1",),
                "clip_norm": ("0.0", "-1.0"),
                "false_positive": ("-0.1", "1.1"),
                "ema_decay": ("-0.1", "1.0"),
                "discriminator_rate": ("0.0",),
                "isa_weight": ("-1.0", "inf"),
                "chip_px": ("0", "-8"),
                "border_px": ("0",),
                "seed": ("-1", str(2**63)),
            }.items()
            for value in values
        ),
        (SCHEDULE + "chip_px = 8", "chip_px is 8: rims of border_px = 4 leave nothing of a chip"),
        (SCHEDULE + "isa_weight = 0\nshare_weight = 0\nimage_weight = 0", "no loss that train = 'all'"),
        (SCHEDULE + 'train = "image"\nimage_weight = 0', "no loss that train = 'image' learns from"),
        (SCHEDULE + 'train = "segmentation"\nisa_weight = 0\nshare_weight = 0', "no loss that train = 'seg"),
        (
            SCHEDULE + "adversarial_weight = 0.1",
            "adversarial_weight: the network fast has no such loss: staged and",
        ),
        (
            SCHEDULE + "perceptual_weight = 1.0",
            "schedule.perceptual_weight: the network fast has no such loss",
        ),
        (SCHEDULE + "discriminator_rate = 1e-4", "schedule.discriminator_rate: the network fast has no such"),
        (SHARES + "impervious_ndvi = 0.4", "shares: impervious_ndvi lies below pervious_ndvi"),
        (SHARES + "pervious_ndvi = nan", "shares.pervious_ndvi: Input should be a finite number"),
        (SHARES + "doubt = 1.5", "shares: doubt and built_up lie from 0 to 1"),
        (SHARES + "slack_px = -1", "slack_px is 0 or more"),
        ('extends = "base.toml"\n[chips]\npairs = -2', "chips.pairs is -2: 0 or more"),
        ('extends = "base.toml"\n[target]\nweight = inf', "target.weight: "),
        (
            'extends = "base.toml"\n[target]\nmethod = "dpa"\nshare_weight = 1.0',
            "target.share_weight: the method dpa has no such loss: dpa",
        ),
        (PAIR + 'imagery = []\nisa = ["isa.tif"]', "pair p: imagery and isa name one file each at least"),
        (PAIR + 'imagery = ["a.tif"]\nisa = []', "pair p: imagery and isa name one file each at least"),
        (PAIR + 'imagery = ["a.tif"]\nisa = ["i.tif"]\ntrain = 2', "train and validate_on are both 2"),
        (SIMULATED + "exclude = [-5, 99, 0, 9]", r"exclude is \[-5, 99, 0, 9\]: top, bottom, left, right"),
        (SIMULATED + "exclude = [0, 9, 7, 2]", r"exclude is \[0, 9, 7, 2\]"),
        (SIMULATED + "exclude = [3, 3, 0, 9]", r"exclude is \[3, 3, 0, 9\]"),
        (SCENE + "dates = []", "scene c: dates are one or two lists of files"),
        (SCENE + 'dates = [["a.tif"], []]', "scene c: dates are one or two lists of files"),
        (SCENE + 'dates = [["a.tif"], ["b.tif"], ["c.tif"]]', "scene c: dates are one or two lists of files"),
        (SCENE + 'dates = [["a.tif"]]\nslack_px = -3', "scene c: slack_px is -3: 0 or more"),
        (
            GROUND + '[[patches]]\nname = "f"\nimagery = "f.tif"\nshare = "none"\npatch_px = 0',
            "patch_px is 0",
        ),
        ('extends = "base.toml"\n[[simulated]]\nname = "town"\nisa = "i"\nimage = "r"', "are called town"),
        ('extends = "base.toml"\nthreshold = 0.4\n[network]\nclasses = "fbp24"', "show the likeliest class"),
    ],
)
def test_numbers_and_words_that_cannot_work_are_refused(folder, text, message):
    with pytest.raises(ConfigError, match=message):
        read_recipe(write(folder, text))


@pytest.mark.parametrize("name", MODELS)
def test_losses_of_images_are_taken_where_the_network_has_the_images_for_them(folder, name):
    small = NetworkConfig(name=name, channels=4, blocks=1, growth=2, mid=4, mid_blocks=1, fine=4)
    made = build(small).images(torch.zeros(1, 8, 16, 16))
    assert (made.middle is not None) == MODELS[name].through_images
    text = f'{SCHEDULE}adversarial_weight = 0.1\n[network]\nname = "{name}"'
    if made.middle is not None:
        assert read_recipe(write(folder, text)).schedule.adversarial_weight == 0.1
    else:
        with pytest.raises(ConfigError, match=f"the network {name} has no such loss"):
            read_recipe(write(folder, text))


def test_a_target_may_teach_alone_and_weights_of_zero_name_no_loss(folder):
    text = (
        SCHEDULE + "isa_weight = 0\nshare_weight = 0\nimage_weight = 0\nadversarial_weight = 0.0\n[target]\n"
    )
    assert read_recipe(write(folder, text)).target is not None


def test_every_file_and_ground_is_named_once(folder):
    text = """
extends = "base.toml"
perceptual = "vgg19.safetensors"

[[scenes]]
name = "city"
dates = [["c1-10m.tif", "c1-20m.tif"], ["c2-10m.tif", "c2-20m.tif"]]

[target]
[[target.scenes]]
name = "there"
dates = [["t-10m.tif"]]
"""
    recipe = read_recipe(write(folder, text))
    assert recipe.files() == [
        *("a-10m.tif", "a-20m.tif", "c1-10m.tif", "c1-20m.tif", "c2-10m.tif", "c2-20m.tif"),
        *("isa.tif", "rgb.tif", "split.tif", "t-10m.tif", "vgg19.safetensors"),
    ]
    assert recipe.grounds == ["town", "city", "there"]
    assert recipe.imagery() == ["a-10m.tif", "c1-10m.tif", "c2-10m.tif", "t-10m.tif"]


def test_every_recipe_that_is_shipped_can_be_read_and_built(pytestconfig):
    root = pytestconfig.rootpath / "examples" / "train"
    paths = [path for path in root.rglob("*.toml") if path.name != "ground.toml"]
    assert len(paths) > 15
    for path in paths:
        recipe = read_recipe(path)
        assert recipe.attribution
        assert recipe.grounds
        assert build(recipe.network).config.name == recipe.network.name
