"""`isamap tile` in folders where something lies: imagery, hand-made labels, other stores, other ground."""

import json
import shutil

import pytest
import tiny
import towns

TOWN = "dubai"
LOCK = ".isamap.lock"


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return towns.write_town(tmp_path_factory.mktemp("town"), towns.make_town(64, 64))


@pytest.fixture
def folder(tmp_path, ground):
    """Imagery and labels of a user."""
    for name, own in ((f"{TOWN}.tif", "imagery"), ("isa.tif", "isa"), ("aerial.tif", "image")):
        (tmp_path / "own").mkdir(exist_ok=True)
        shutil.copy(ground / f"{own}.tif", tmp_path / "own" / name)
    return tmp_path / "own"


@pytest.fixture
def cut(isamap, folder):
    """`isamap tile` into the folder of the imagery."""

    def run(*more, imagery=folder / f"{TOWN}.tif", labels=folder / "isa.tif", out=folder):
        given = ("tile", "--imagery", imagery, "--labels", labels, "-o", out, "--chip-px", 32, "--buffer", 0)
        return isamap(*given, *more)

    return run


def files_in(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != LOCK}


def test_what_an_item_of_the_user_names_stays(cut, folder):
    assets = {"labels": {"href": "./my-labels.geojson"}, "image": {"href": f"./{TOWN}.tif"}}
    (folder / f"{TOWN}.json").write_text(json.dumps({"assets": assets}))
    (folder / "my-labels.geojson").write_text("a week of work")
    before = files_in(folder)
    ended = cut()
    assert ended.code == 65
    assert f"{TOWN}.json was not made by isamap: choose another folder, or move it away" in ended.err
    assert files_in(folder) == before


@pytest.mark.parametrize(
    "name",
    [f"{TOWN}.lr.tif", f"{TOWN}.split.tif", f"{TOWN}.json", "chips.json", "chips.geojson", "chips.png"],
)
def test_no_file_of_the_user_is_replaced(cut, folder, name):
    if name.endswith(".tif"):
        tiny.write_scene(folder / name)
    else:
        (folder / name).write_text("mine")
    before = files_in(folder)
    ended = cut("--preview")
    assert ended.code == 65
    assert f"{name} was not made by isamap" in ended.err
    assert files_in(folder) == before


@pytest.mark.parametrize("name", [f"{TOWN}.labels.tif", f"{TOWN}.lr.tif", f"{TOWN}.split.tif"])
def test_the_labels_that_chips_are_made_of_stay(cut, folder, name):
    (folder / "isa.tif").rename(folder / name)
    before = files_in(folder)
    assert cut(labels=folder / name).code == 65
    assert files_in(folder) == before


def test_a_layer_of_the_store_is_no_input_of_it(cut, folder, tmp_path):
    assert cut(out=tmp_path / "chips").code == 0
    before = files_in(tmp_path / "chips")
    ended = cut(labels=tmp_path / "chips" / f"{TOWN}.labels.tif", out=tmp_path / "chips")
    assert ended.code == 65
    assert f"{TOWN}.labels.tif would be replaced by the chips: choose another folder" in ended.err
    assert files_in(tmp_path / "chips") == before


def test_a_mosaic_called_chips_is_no_store(cut, tmp_path):
    (tmp_path / "chips").mkdir()
    item = {"properties": {"isamap:tiles": 2}, "assets": {"index": {"href": "./chips.gti.gpkg"}}}
    (tmp_path / "chips" / "chips.json").write_text(json.dumps(item))
    before = files_in(tmp_path / "chips")
    ended = cut(out=tmp_path / "chips")
    assert ended.code == 65
    assert "chips.json describes another product (a mosaic): choose another folder" in ended.err
    assert files_in(tmp_path / "chips") == before


@pytest.mark.parametrize("lost", [[f"{TOWN}.json"], ["chips.json"], [f"{TOWN}.json", "chips.json"]])
def test_a_store_whose_items_got_lost_is_made_again(cut, tmp_path, lost):
    out = tmp_path / "chips"
    assert cut("--preview", out=out).code == 0
    before = files_in(out)
    for name in lost:
        (out / name).unlink()
    assert cut("--preview", out=out).code == 0
    assert files_in(out) == before


def test_other_imagery_under_the_same_name_is_told(cut, folder, tmp_path):
    other = towns.write_town(tmp_path / "other", towns.make_town(64, 64, seed=1))
    assert cut(out=tmp_path / "chips").code == 0
    (other / "imagery.tif").rename(other / f"{TOWN}.tif")
    ended = cut(imagery=other / f"{TOWN}.tif", labels=other / "isa.tif", out=tmp_path / "chips")
    assert ended.code == 0
    said = f"WARNING {TOWN} is made of other imagery than the source of that name in {tmp_path}/chips"
    assert said in ended.err
    ended = cut("--align", imagery=other / f"{TOWN}.tif", labels=other / "isa.tif", out=tmp_path / "chips")
    assert "is made of other imagery" not in ended.err
