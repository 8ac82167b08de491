import pytest
from pydantic import ValidationError

from isamap.config import Config, Settings, read_toml
from isamap.core.recipe import Recipe
from isamap.errors import ConfigError, MissingInputError

RECIPE = """
description = ""
licence = ""
attribution = []
[network]
name = "fast"
[[pairs]]
name = "a"
imagery = ["a.tif"]
isa = ["b.tif"]
image = ["c.tif"]
split = "d.tif"
"""


def read(tmp_path, text, kind=Config):
    path = tmp_path / "isamap.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_toml(path, kind)


def fault(tmp_path, text, kind=Config):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, kind)
    assert caught.value.exit_code == 78
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "isamap.toml"))
    assert "\n" not in message
    return message


def test_a_good_file_is_read(tmp_path):
    config = read(tmp_path, 'model = "fast"\nthreshold = 0.4\nwindow = "256"\nworkers = 2\n')
    assert (config.model, config.threshold, config.window, config.workers) == ("fast", 0.4, "256", 2)
    assert config.device is None


def test_an_empty_file_says_nothing(tmp_path):
    assert read(tmp_path, "") == Config()


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Config().threshold = 0.5


@pytest.mark.parametrize(
    ("key", "near"),
    [("thresold", "threshold"), ("batchsize", "batch_size"), ("worker", "workers"), ("on-error", "on_error")],
)
def test_an_unknown_key_names_the_nearest(tmp_path, key, near):
    assert f"unknown key {key}: did you mean {near}?" in fault(tmp_path, f"{key} = 1\n")


def test_a_key_like_no_other_names_none(tmp_path):
    message = fault(tmp_path, "qqq = 1\n")
    assert message.endswith("unknown key qqq")


def test_unknown_keys_of_a_table_and_of_a_list_of_tables_say_where(tmp_path):
    nested = RECIPE.replace('name = "fast"', 'name = "fast"\nchanels = 3')
    assert "unknown key network.chanels: did you mean channels?" in fault(tmp_path, nested, Recipe)
    shares = RECIPE + "[shares]\nslak_px = 2\n"
    assert "unknown key shares.slak_px: did you mean slack_px?" in fault(tmp_path, shares, Recipe)
    listed = RECIPE.replace("split =", "splits =")
    message = fault(tmp_path, listed, Recipe)
    assert "pairs.0.split" in message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('threshold = "high"', "threshold: "),
        ("workers = 1.5", "workers: "),
        ('window = "300"', "window: "),
        ("window = 500", "window: "),
        ("batch_size = true", "batch_size: "),
        ("model = 3", "model: "),
        ('on_error = "ignore"', "on_error: "),
        ("[model]\nname = 1", "model: "),
    ],
)
def test_a_wrong_value_names_its_key(tmp_path, text, where):
    assert where in fault(tmp_path, text)


@pytest.mark.parametrize("key", ["max_scenes", "max_cloud", "threshold", "workers", "batch_size"])
def test_true_is_no_number(tmp_path, key):
    assert fault(tmp_path, f"{key} = true").partition(f": {key}: ")[2]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[chips]\npairs = true\n", "chips.pairs"),
        ("[schedule]\nsteps = true\n", "schedule.steps"),
        ("[shares]\nslack_px = true\n", "shares.slack_px"),
        (
            "[target]\nscenes = [{name = 'a', dates = [], shift_px = [0, true]}]\n",
            "target.scenes.0.shift_px.1",
        ),
    ],
)
def test_true_is_no_number_of_a_recipe_at_any_depth(tmp_path, text, where):
    assert f": {where}: true and false are no numbers" in fault(tmp_path, RECIPE + text, Recipe)


def test_flags_are_flags_and_whole_numbers_are_numbers(tmp_path):
    read_so = read(tmp_path, "mask_snow = true\nmax_cloud = 40\n")
    assert (read_so.mask_snow, read_so.max_cloud) == (True, 40.0)
    assert read(tmp_path, RECIPE.replace('"fast"', '"fast"\ncross_scale = false'), Recipe)


@pytest.mark.parametrize("text", ["threshold = ", "[model", "a = 1\na = 2", "{}", "key: value", "\0"])
def test_what_is_not_toml_says_so(tmp_path, text):
    assert "is not valid TOML" in fault(tmp_path, text)


@pytest.mark.parametrize("text", [b"\xff\xfem\0", "model = 'é'".encode("latin-1")])
def test_what_is_not_utf8_says_so(tmp_path, text):
    assert "is not UTF-8 text" in fault(tmp_path, text)


@pytest.mark.parametrize("name", ["absent.toml", "."])
def test_a_file_that_cannot_be_read_is_missing(tmp_path, name):
    with pytest.raises(MissingInputError, match="cannot be read") as caught:
        read_toml(tmp_path / name, Config)
    assert caught.value.exit_code == 66


def test_every_setting_is_an_option_of_some_command():
    from isamap.cli import cli

    options = {parameter.name for command in cli.commands.values() for parameter in command.params}
    assert set(Config.model_fields) <= options


def test_every_kind_of_settings_refuses_unknown_keys():
    def kinds(kind):
        return {kind}.union(*(kinds(part) for part in kind.__subclasses__()))

    assert all(kind.model_config["extra"] == "forbid" for kind in kinds(Settings))


def test_no_kind_of_settings_takes_numbers_that_are_none(tmp_path):
    from isamap.domain.tiling import TileRecipe

    source = '[[sources]]\nname = "a"\nimagery = ["a.tif"]\n'
    for line in (
        "block_m = inf",
        "max_shift_m = nan",
        "max_shift_m = -3",
        "min_labelled = 7",
        "split = {buffer_m = inf}",
        "split = {buffer_m = true}",
    ):
        path = tmp_path / "recipe.toml"
        path.write_text(f"{line}\n{source}")
        with pytest.raises(ConfigError, match=line.split()[0]):
            read_toml(path, TileRecipe).checked()
    path.write_text(f"{source}gain = 0.0\n")
    with pytest.raises(ConfigError, match="gain"):
        read_toml(path, TileRecipe).checked()


def test_whole_numbers_need_no_quotes(tmp_path):
    config = read(tmp_path, "window = 512\nbatch_size = 4\n")
    assert (config.window, config.batch_size) == ("512", "4")
