"""Recipes: what they may say, what they extend, what they name."""

import pytest

from isamap.core.recipe import read_recipe
from isamap.errors import ConfigError, MissingInputError
from isamap.model.networks import build

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
    ],
)
def test_a_recipe_that_cannot_be_read_says_why(folder, text, error, message):
    with pytest.raises(error, match=message):
        read_recipe(write(folder, text))


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
        assert recipe.schedule.border_px * 2 < recipe.schedule.chip_px
        assert build(recipe.network).config.name == recipe.network.name
