"""Processing levels: read from names and items, named by recipes, and told once where they do not fit."""

import logging
from pathlib import Path

import pytest
from test_predict import CARD
from tiny import write_scene

from isamap.config import read_toml
from isamap.core.recipe import Recipe, read_recipe
from isamap.domain.level import level_of
from isamap.model import fitting
from isamap.model.checkpoint import Card, load_card
from isamap.model.fitting import warn_if_other_level

EXAMPLES = Path(__file__).parents[1] / "examples" / "train"
COMPOSITE = {"properties": {"isamap:provenance": {"code": "isamap 0", "settings": "", "scenes": "ab"}}}


@pytest.mark.parametrize(
    ("paths", "level"),
    [
        (["S2A_MSIL1C_20180402T032541_N0206_R018_T48RXU_20180402T062351.SAFE/B02.jp2"], "L1C"),
        (["/data/S2B_MSIL2A_20210714T025549_N0301_R032_T50RQU_x.SAFE/GRANULE/L2A_T50RQU/B08_10m.jp2"], "L2A"),
        (["S2_L2A_sample.tif"], "L2A"),
        (["bolzano-L2A-10m.tif", "bolzano-L2A-20m.tif"], "L2A"),
        (["chongqing-20180402-10m.tif"], None),
        (["XL2A1.tif", "HL1C.tif"], None),
        (["one-L1C.tif", "other-L2A.tif"], None),
        ([], None),
    ],
)
def test_the_level_is_read_from_names(paths, level):
    assert level_of([Path(path) for path in paths]) == level


def test_composites_of_ours_are_surface_reflectance_whatever_their_names():
    assert level_of([Path("48N-0060-0318.tif")], COMPOSITE) == "L2A"
    assert level_of([Path("48N-0060-0318.tif")], {"properties": {"title": "of somebody else"}}) is None


def card(*levels, weights="0"):
    return Card.model_validate(CARD | {"weights_sha256": weights * 64, "levels": levels})


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    monkeypatch.setattr(fitting, "_SAID", set())


def test_another_level_is_told_once(caplog):
    caplog.set_level(logging.WARNING)
    for tile in ("48N-0060-0318", "48N-0061-0318"):
        warn_if_other_level(card("L1C"), [Path(f"{tile}.tif")], COMPOSITE)
    assert len(caplog.records) == 1
    text = caplog.records[0].getMessage()
    assert "surface reflectance (L2A), small was trained on top-of-atmosphere reflectance (L1C)" in text
    warn_if_other_level(card("L1C", weights="1"), [Path("x.tif")], COMPOSITE)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("levels", [("L2A",), ("L1C", "L2A"), ()])
def test_a_level_that_fits_or_that_nobody_knows_is_silent(caplog, levels):
    caplog.set_level(logging.WARNING)
    warn_if_other_level(card(*levels), [Path("x.tif")], COMPOSITE)
    warn_if_other_level(card("L1C"), [Path("chongqing-10m.tif")])
    assert not caplog.records


@pytest.mark.parametrize("name", ["fast", "bilinear"])
def test_the_packaged_models_know_their_level(name):
    from isamap.model.checkpoint import find

    assert load_card(find(name)).levels == ("L1C",)


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(EXAMPLES.rglob("*.toml")) if path.name != "ground.toml"],
    ids=lambda path: str(path.relative_to(EXAMPLES)),
)
def test_every_example_on_sentinel_2_names_its_level(path):
    recipe = read_recipe(path)
    expected = () if recipe.network.gsd_m != 10 else ("L1C",)
    assert recipe.levels == expected


def test_a_ground_of_its_own_level_counts_and_an_unknown_one_leaves_it_open():
    text = EXAMPLES / "equal" / "fast.toml"
    recipe = read_toml(text, Recipe)
    pair = recipe.pairs[0].model_copy(update={"level": "L2A"})
    assert recipe.model_copy(update={"pairs": (pair,)}).levels == ("L1C", "L2A")
    assert recipe.model_copy(update={"pairs": (pair,), "level": None}).levels == ()
    alone = {"pairs": (pair,), "scenes": (), "patches": (), "level": None}
    assert recipe.model_copy(update=alone).levels == ("L2A",)


def test_infer_tells_it_and_maps_all_the_same(isamap, tmp_path):
    path = write_scene(tmp_path / "S2_L2A_town.tif")
    ended = isamap("infer", "--input", path, "-o", tmp_path / "maps", "--device", "cpu")
    assert ended.code == 0, ended.err
    assert (
        ended.err.count("the input is surface reflectance (L2A), fast was trained on top-of-atmosphere") == 1
    )
    assert (tmp_path / "maps" / "S2_L2A_town-isa.tif").is_file()
