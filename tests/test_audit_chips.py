"""What `verify --chips` finds in a store: nothing in a sound one, and each kind of damage by its name."""

import json
import re
import shutil

import numpy as np
import pytest
import rasterio
import towns
from rasterio.windows import Window

from isamap.core import tile, verify_chips
from isamap.domain.splits import Rules
from isamap.domain.tiling import Source, TileRecipe
from isamap.errors import CheckError, MissingInputError
from isamap.io import store
from isamap.io.sweeping import sweep

PAIR = Source(
    name="town", imagery=("imagery.tif",), image=("image.tif",), labels=("isa.tif",), licence="CC0-1.0"
)


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return towns.write_town(tmp_path_factory.mktemp("town"), towns.make_town(96, 96))


@pytest.fixture(scope="module")
def made(ground, tmp_path_factory):
    rules = Rules(val=0.2, buffer_m=160)
    recipe = TileRecipe(sources=(PAIR,), chip_px=32, split=rules, units="prefectures").checked()
    out = tmp_path_factory.mktemp("made") / "chips"
    tile.run(tile.Request(recipe, ground, out))
    return out


@pytest.fixture
def chips(made, tmp_path):
    return shutil.copytree(made, tmp_path / "chips")


def verified(folder, *, quick=False):
    report = verify_chips.Report()
    found = list(verify_chips.run([folder], report, quick=quick))
    assert found == report.findings
    return report


def set_pixel(path, value, band=1, row=40, col=40):
    """One pixel of another value, in a raster of any layout."""
    with rasterio.open(path, "r+") as dst:
        dst.write(np.array([[value]], dst.dtypes[0]), band, window=Window(col, row, 1, 1))


def reseal(folder, stem, name):
    """Give the item the size and checksum that a file has now, as if it had been made so."""
    path = folder / f"{stem}.json"
    item = json.loads(path.read_text())
    for asset in item["assets"].values():
        if asset["href"] == f"./{name}":
            asset["file:size"] = (folder / name).stat().st_size
            asset["file:checksum"] = store._checksum(folder / name)
    path.write_text(json.dumps(item))
    if stem != "chips":
        manifest = json.loads((folder / "chips.json").read_text())
        manifest["properties"]["isamap:shards"][stem] = {
            key: asset["file:checksum"] for key, asset in item["assets"].items()
        }
        (folder / "chips.json").write_text(json.dumps(manifest))


def edit_index(folder, change):
    path = folder / "chips.geojson"
    document = json.loads(path.read_text())
    change(document["features"])
    path.write_text(json.dumps(document))
    reseal(folder, "chips", "chips.geojson")


def test_a_sound_store_has_nothing_off(chips):
    report = verified(chips)
    assert not report.findings
    report.check()
    assert (report.stores, report.shards) == (1, 1)
    assert report.chips == len(json.loads((chips / "chips.geojson").read_text())["features"]) > 4


def flip_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def append_byte(path):
    path.write_bytes(path.read_bytes() + b"0")


@pytest.mark.parametrize(
    ("harm", "tile_name", "check", "words"),
    [
        (lambda f: flip_byte(f / "town.lr.tif"), "town", "file", r"town.lr.tif is not the file .*sha256"),
        (lambda f: flip_byte(f / "town.split.tif"), "chips", "file", "town.split.tif is not the file"),
        (lambda f: (f / "town.hr.tif").unlink(), "town", "file", "town.hr.tif is missing"),
        (lambda f: append_byte(f / "town.hr.tif"), "town", "file", r"has \d+ bytes, not \d+"),
        (lambda f: (f / "chips.geojson").write_text("{}"), "chips", "item", "not the index of its manifest"),
        (lambda f: (f / "town.json").write_text("{}"), "town", "item", "no item of a chip store"),
        (lambda f: (f / "chips.json").write_text("[1]"), "chips", "item", "no item of a chip store"),
        (
            lambda f: edit_index(f, lambda chips: chips.pop()),
            *("town", "share", "chips are missing from the index: town_"),
        ),
        (
            lambda f: edit_index(f, lambda chips: chips[0]["properties"].update(isa_share=0.987)),
            *("town", "share", "chips have other shares than the index says: town_"),
        ),
        (
            lambda f: edit_index(f, lambda chips: chips[1]["properties"].update(row=80)),
            *("town", "format", "chips reach beyond the imagery: town_"),
        ),
        (
            lambda f: edit_index(f, lambda chips: chips.append(chips[0])),
            *("town", "format", "chips stand in the index twice: town_"),
        ),
    ],
)
def test_damage_is_named_and_fails_the_check(chips, harm, tile_name, check, words):
    harm(chips)
    report = verified(chips)
    hits = [one for one in report.findings if (one.tile, one.check) == (tile_name, check)]
    assert any(re.search(words, one.what) for one in hits), report.findings
    with pytest.raises(CheckError):
        report.check()


def test_the_manifest_counts_its_chips(chips):
    edit_index(chips, lambda rows: rows.pop())
    said = [one.what for one in verified(chips).findings if one.tile == "chips"]
    assert len(said) == 1
    assert said[0].startswith("the manifest counts")


def test_labels_that_changed_with_their_checksum_are_found_by_counting(chips):
    path = chips / "town.labels.tif"
    with rasterio.open(path) as src:
        value = int(src.read(1)[40, 40])
    set_pixel(path, 1 - value)
    reseal(chips, "town", path.name)
    found = verified(chips).findings
    assert [one.check for one in found] == ["share"] * len(found)
    assert any("labels count" in one.what for one in found)


def test_a_layer_that_moved_is_found_though_its_checksum_fits(chips):
    path = chips / "town.hr.tif"
    with rasterio.open(path, "r+") as dst:
        dst.transform = dst.transform * dst.transform.translation(1, 0)
    reseal(chips, "town", path.name)
    assert [(one.check, one.what.split()[0]) for one in verified(chips).findings] == [("grid", "town.hr.tif")]


def listing(folder):
    return {path.name for path in folder.rglob("*")}


def test_a_source_that_the_recipe_names_no_longer_is_a_leftover(isamap, ground, tmp_path):
    out = tmp_path / "out"
    (out / "mine").mkdir(parents=True)
    (out / "notes.json").write_text('{"properties": {"title": "of the user"}}')
    (out / "list.json").write_text("[1]")
    (out / "field.tif").write_bytes(b"")
    for names in (("town", "two"), ("town", "second")):
        text = 'imagery = ["imagery.tif"]\nlabels = ["isa.tif"]\n'
        sources = "".join(f'[[sources]]\nname = "{name}"\n{text}' for name in names)
        (tmp_path / "r.toml").write_text(f"chip_px = 32\n[split]\nbuffer_m = 0\n{sources}")
        ended = isamap("tile", tmp_path / "r.toml", "--data", ground, "-o", out)
        assert ended.code == 0, ended.err
    assert "holds sources that this recipe does not name: two (" in ended.err
    (found,) = verified(out).findings
    assert (found.tile, found.check) == ("two", "leftover")
    assert found.what.startswith("two.json, two.lr.tif, two.labels.tif: of a source")
    for name in ("two.json", "two.lr.tif", "two.labels.tif"):
        (out / name).unlink()
    before = listing(out)
    assert not verified(out).findings
    assert {"notes.json", "list.json", "field.tif", "mine"} <= before == listing(out)


def test_remains_of_a_dead_run_are_leftovers_until_tile_sweeps_them(chips):
    (chips / ".part-town-1").mkdir()
    (finding,) = verified(chips, quick=True).findings
    assert (finding.tile, finding.check) == ("town", "leftover")
    assert finding.todo == "the next isamap tile sweeps it"
    sweep(chips)
    assert not verified(chips).findings


@pytest.mark.parametrize("quick", [True, False])
def test_damage_that_is_sealed_asks_for_overwrite_and_damage_that_is_not_does_not(chips, quick):
    path = chips / "town.lr.tif"
    path.write_bytes(path.read_bytes()[:-2000])
    assert {finding.todo for finding in verified(chips, quick=quick).findings} == {"run isamap tile again"}
    reseal(chips, "town", "town.lr.tif")
    findings = verified(chips, quick=quick).findings
    assert {finding.todo for finding in findings} == {"run isamap tile again with --overwrite"}
    assert not any("fetch" in finding.what or str(chips) in finding.what for finding in findings)


def test_half_written_files_are_to_be_removed(chips):
    (chips / ".chips.json.tmp").touch()
    (finding,) = verified(chips, quick=True).findings
    assert finding.todo == "remove it"


def test_sources_of_a_run_at_work_are_no_leftovers(chips):
    shutil.copy(chips / "town.json", chips / "new.json")
    assert [one.tile for one in verified(chips).findings] == ["new"]
    with store.lock(chips / ".isamap.lock", what="chips"):
        assert not verified(chips).findings


def test_quick_reads_sizes_and_headers_but_no_pixel(chips):
    flip_byte(chips / "town.lr.tif")
    assert not verified(chips, quick=True).findings
    (chips / "town.lr.tif").unlink()
    assert verified(chips, quick=True).findings


def test_a_folder_without_a_store_is_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match="holds no finished chip store"):
        verified(tmp_path)


def test_the_command_prints_lines_or_json_and_exits_5_when_something_is_off(isamap, chips):
    ended = isamap("verify", "--chips", chips)
    assert (ended.code, ended.out) == (0, "")
    assert "chip stores 1, shards 1" in ended.err
    flip_byte(chips / "town.hr.tif")
    ended = isamap("verify", "--chips", chips)
    assert ended.code == 5
    assert ended.out.split("  ")[:2] == ["town", "file"]
    document = isamap("verify", "--chips", chips, "--json")
    assert (document.code, document.document["problems"]) == (5, 1)
    assert isamap("verify", "--chips", chips, chips).code == 2
    assert isamap("verify", "--chips", chips.parent / "nowhere").code == 66
