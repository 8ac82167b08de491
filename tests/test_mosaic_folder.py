"""`isamap mosaic` and what lies in its folder or on the way there: maps, other products, links, earlier runs."""

# ruff: noqa: F811  # fixtures of another module are named again by those who ask for them
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import tiny
from test_mosaic import TILES, files, make, maps, workspace, write_plain  # noqa: F401  # fixtures among them
from tiled import EAST, WEST, noise, write_map


def test_a_mosaic_never_lies_where_its_maps_do(isamap, tmp_path):
    write_plain(tmp_path / "town-isa" / "town-isa.tif", 600_000)
    write_plain(tmp_path / "plain.tif", 600_700)
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "a.tif").symlink_to(tmp_path / "plain.tif")
    for given, out in (
        ("town-isa", "town-isa"),
        ("town-isa/town-isa.tif", "./town-isa"),
        ("plain.tif", "."),
        ("linked", "linked"),
        ("linked", "."),
    ):
        before = files(tmp_path)
        ended = isamap("mosaic", tmp_path / given, "-o", tmp_path / out)
        assert ended.code == 65
        assert "where the mosaic would: choose another folder" in ended.err
        assert files(tmp_path) == before


def test_a_mosaic_never_lies_where_the_maps_of_its_area_do(make, workspace):
    folder = workspace / "maps" / "fast" / "2021"
    before = files(folder)
    assert make(out=folder).code == 65
    assert make("-n", out=folder).code == 65
    assert files(folder) == before


def test_map_and_mosaic_of_one_name_leave_each_other_alone(isamap, tmp_path, model):
    write_plain(tmp_path / "maps" / "a.tif", 600_000)
    assert isamap("mosaic", tmp_path / "maps", "-o", "town-isa").code == 0
    before = files(tmp_path / "town-isa")
    scene = tiny.write_scene(tmp_path / "town-10m.tif")
    ended = isamap("infer", "--input", scene, "--model", model, "-o", "town-isa")
    assert ended.code == 65
    assert "town-isa.json describes another product (a mosaic): choose another folder" in ended.err
    assert files(tmp_path / "town-isa") == before
    assert isamap("infer", "--input", scene, "--model", model, "-o", "u/town-isa").code == 0
    before = files(tmp_path / "u" / "town-isa")
    ended = isamap("mosaic", tmp_path / "maps", "-o", "u/town-isa")
    assert ended.code == 65
    assert "town-isa.json describes another product (a map): choose another folder" in ended.err
    assert files(tmp_path / "u" / "town-isa") == before


def test_two_maps_of_one_tile_are_refused(isamap, workspace, tmp_path):
    first, second = (workspace / "maps" / "fast" / str(year) for year in (2021, 2022))
    write_map(second, WEST, {(4608, 0): noise(9, (512, 512))})
    ended = isamap("mosaic", first, second, "-o", tmp_path / "both")
    assert ended.code == 65
    assert f"{first}/{WEST}.tif and {second}/{WEST}.tif are maps of one tile: leave one out" in ended.err
    assert not (tmp_path / "both").exists()


def test_a_map_that_is_given_twice_counts_once(isamap, workspace, tmp_path):
    folder = workspace / "maps" / "fast" / "2021"
    (tmp_path / "link").symlink_to(folder)
    given = (folder, os.path.relpath(folder), folder / f"{WEST}.tif", tmp_path / "link")
    ended = isamap("mosaic", *given, "-o", tmp_path / "m", "--json")
    assert ended.code == 0, ended.err
    once = isamap("mosaic", folder, "-o", tmp_path / "once", "--json").document
    assert ended.document["mapped"] == 2
    assert ended.document["mapped_km2"] == once["mapped_km2"]


def shows_maps(folder):
    """Whether every index of a mosaic and every link of its collection opens, and pixels are seen."""
    names = [*folder.glob("*.vrt"), *folder.glob("*.gti.gpkg")]
    assert len(names) == 3
    for name in names:
        with rasterio.open(name) as src:
            assert (src.read(1, out_shape=(256, 512)) != 255).any(), name
    for link in json.loads((folder / "collection.json").read_text())["links"]:
        assert (folder / link["href"]).is_file(), link
    return True


def test_an_index_behind_a_link_opens(make, tmp_path):
    (tmp_path / "far" / "away" / "disk").mkdir(parents=True)
    (tmp_path / "m").symlink_to(tmp_path / "far" / "away" / "disk")
    assert make().code == 0
    assert shows_maps(tmp_path / "m")


@pytest.mark.parametrize("linked", ["mosaics", "maps"])
def test_folders_of_a_workspace_may_be_links(make, workspace, tmp_path, linked):
    (tmp_path / "far" / "disk").mkdir(parents=True)
    if (workspace / linked).exists():
        shutil.move(workspace / linked, tmp_path / "far" / "disk" / linked)
    else:
        (tmp_path / "far" / "disk" / linked).mkdir()
    (workspace / linked).symlink_to(tmp_path / "far" / "disk" / linked)
    ended = make(out=None)
    assert ended.code == 0, ended.err
    assert shows_maps(Path(ended.document["paths"][0]).parent)


def test_a_workspace_of_which_a_folder_is_a_link_may_move(make, workspace, tmp_path):
    shutil.move(workspace / "maps", tmp_path / "disk")
    (workspace / "maps").symlink_to(tmp_path / "disk")
    made = Path(make(out=None).document["paths"][0]).parent.relative_to(workspace)
    (tmp_path / "new" / "place").mkdir(parents=True)
    shutil.move(workspace, tmp_path / "new" / "place" / "ws")
    assert shows_maps(tmp_path / "new" / "place" / "ws" / made)


def linked(folder):
    """Sheets that the collection of a mosaic links."""
    found = pystac.Collection.from_file(str(folder / "collection.json"))
    return {item.id for item in found.get_items() if "/sheets/" in item.get_self_href()}


def lying(folder):
    return {path.stem for path in (folder / "sheets").glob("*.json")}


def test_a_damaged_collection_beside_a_mosaic_of_ours_is_made_again(make, tmp_path):
    make()
    collection = tmp_path / "m" / "collection.json"
    whole = collection.read_bytes()
    collection.write_bytes(whole[:50])
    assert make().code == 0
    assert collection.read_bytes() == whole


def test_a_run_without_sheets_keeps_the_links_to_those_that_are_right(make, tmp_path):
    make("--res", 8, "--sheet-size", 1024)
    before = (tmp_path / "m" / "collection.json").read_bytes()
    ended = make()
    assert ended.code == 0
    assert "sheets" not in ended.err
    assert (tmp_path / "m" / "collection.json").read_bytes() == before


def test_sheets_of_another_grid_are_told_and_linked(make, tmp_path):
    make("--res", 8, "--sheet-size", 1024)
    first = lying(tmp_path / "m")
    ended = make("--crs", "EPSG:4326", "--res", 0.0001, "--sheet-size", 1024)
    assert "WARNING sheets of another grid lie beside those of this run: " in ended.err
    assert linked(tmp_path / "m") == lying(tmp_path / "m") > first


def test_sheets_of_other_maps_are_told_and_not_linked(make, workspace, tmp_path):
    make("--res", 8, "--sheet-size", 512)
    before = lying(tmp_path / "m")
    write_map(workspace / "maps/fast/2021", EAST, {(4608, 6144): noise(9, (512, 512))})
    ended = make()
    assert "WARNING sheets of earlier runs show other maps or settings, and are not linked: " in ended.err
    assert linked(tmp_path / "m") < before
    make("--res", 8, "--sheet-size", 512)
    assert linked(tmp_path / "m") == before


def test_odd_sheets_are_no_trouble(make, tmp_path):
    make("--res", 8, "--sheet-size", 1024)
    sheet = next((tmp_path / "m" / "sheets").glob("*.json"))
    document = json.loads(sheet.read_text())
    odd = {
        "proj:transform": [[0] * 6, [1e-300, 0, 1e300, 0, 1, 1e300], ["x"] * 6, None],
        "proj:shape": [[0, 0], [], "xy"],
        "proj:code": ["EPSG:999999", 7, "IAU_2015:30100"],
        "isamap:provenance": [None, 5],
    }
    for key, values in odd.items():
        for value in values:
            wrong = {**document, "properties": {**document["properties"], key: value}}
            sheet.write_text(json.dumps(wrong))
            assert make().code == 0, (key, value)
            assert sheet.stem not in linked(tmp_path / "m")


@pytest.mark.parametrize("text", ["[1]", "{", '{"type": "Collection", "id": "mine"}'])
def test_a_collection_of_somebody_else_stays(make, tmp_path, text):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "collection.json").write_text(text)
    ended = make()
    assert ended.code == 65
    assert "collection.json was not made by isamap: choose another folder, or move it away" in ended.err
    assert files(tmp_path / "m") == {"collection.json": text.encode()}


def test_another_area_in_the_same_folder_leaves_the_first_and_is_told(make, tmp_path):
    make()
    before = files(tmp_path / "m")
    ended = make(tiles=WEST)
    assert ended.code == 0
    assert "collection.json is of the mosaic tiles-" in ended.err
    after = files(tmp_path / "m")
    assert all(after[name] == content for name, content in before.items() if name != "collection.json")


def test_another_year_in_the_place_of_a_mosaic_is_told(make, workspace):
    make()
    shutil.copytree(workspace / "maps/fast/2021", workspace / "maps/fast/2022")
    for path in (workspace / "maps/fast/2022").glob("*.json"):
        path.write_text(path.read_text().replace("2021-", "2022-"))
    ended = make(year=2022)
    assert ended.code == 0
    assert re.search(r"WARNING .* the mosaic that is there, of 2021-01-01 to 2021-12-31", ended.err)
    ended = make("--overview-res", 250, year=2022)
    assert re.search(r"INFO .* takes the place of the mosaic that is there\n", ended.err)


def test_a_map_may_have_a_name_as_long_as_file_systems_allow(isamap, tmp_path):
    write_plain(tmp_path / f"{'y' * 245}.tif", 600_000)
    ended = isamap("mosaic", tmp_path / f"{'y' * 245}.tif", "-o", "m", "--json")
    assert ended.code == 0, ended.err
    with rasterio.open("m/m-48N.vrt") as src:
        assert np.array_equal(src.read(1), noise(5, (600, 700)))
    assert isamap("mosaic", tmp_path / f"{'y' * 245}.tif", "-o", "m", "--json").document["skipped"]


ODD = {
    "start_datetime": ["not a date", 5, "20x1-01-01T00:00:00Z", ["2021"]],
    "end_datetime": ["2021-13-01T00:00:00Z"],
    "isamap:isa_share": ["x", [1], 1e400, -1],
    "isamap:valid_share": [{"a": 1}],
    "isamap:model": [{"name": "fast", "version": "1", "threshold": [0.5]}, {"threshold": "x"}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in ODD.items() for value in values])
def test_an_odd_value_of_an_item_is_one_line_that_names_it(isamap, make, workspace, tmp_path, key, value):
    folder = workspace / "maps/fast/2021"
    path = folder / f"{EAST}.json"
    item = json.loads(path.read_text())
    path.write_text(json.dumps({**item, "properties": {**item["properties"], key: value}}))
    ended = isamap("mosaic", folder, "-o", tmp_path / "own", "--force")
    assert ended.code == 65
    said = rf"isamap: {path}: {key}(\.threshold)? is .+: make the map again\n"
    assert re.fullmatch(said, ended.err), ended.err
    ended = make("--force")
    assert ended.code == 3
    assert list(ended.document["failed"]) == [EAST]


@pytest.mark.parametrize("checksum", ["1220zz/../..", "1220", "1220" + "AB" * 32, 7])
def test_an_odd_checksum_says_nothing(make, workspace, checksum):
    path = workspace / "maps/fast/2021" / f"{EAST}.json"
    item = json.loads(path.read_text())
    item["assets"]["isa"]["file:checksum"] = checksum
    path.write_text(json.dumps(item))
    assert make().code == 0
