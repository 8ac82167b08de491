"""Publishing, state and names: what a user finds on disk."""

import copy
import json
import os
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isamap.errors import InputError, StorageError
from isamap.io import strangers
from isamap.io.store import (
    State,
    Target,
    lock,
    publish,
    read_item,
    safe_name,
    state,
    storage_errors,
    write_atomic,
)
from isamap.io.sweeping import sweep

PROVENANCE = {
    "model": "fast-1",
    "inputs": [{"id": "S2B_51N", "sha256": "ab"}],
    "threshold": 0.5,
    "years": [2021],
}


@pytest.fixture(autouse=True)
def free_fsync(monkeypatch):
    """Shared disks make fsync slow; that it is called, and when, is tested in faults/test_store_faults.py."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def write(target, names=("t.tif", "t.prob.tif"), provenance=PROVENANCE, salt=b""):
    with publish(target, names) as publication:
        for name in names:
            publication.path(name).write_bytes(name.encode() * 100 + salt)
        item = {
            "id": target.stem,
            "properties": {"isamap:provenance": provenance},
            "assets": {name: {"href": f"./{name}"} for name in names},
        }
        publication.commit(item)
    return item


@pytest.fixture
def target(tmp_path):
    target = Target(tmp_path / "maps" / "2021", "t")
    write(target)
    return target


def names_in(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_published_product_is_its_assets_and_the_item_and_nothing_else(target):
    assert names_in(target.directory) == ["t.json", "t.prob.tif", "t.tif"]
    assert (target.directory / "t.tif").read_bytes() == b"t.tif" * 100
    assert sweep(target.directory) == []


def test_the_item_on_disk_is_the_item_committed_with_size_and_checksum(target):
    item = write(target)
    assert read_item(target.item_path) == item
    assert item["assets"]["t.tif"]["file:size"] == 500
    assert item["assets"]["t.tif"]["file:checksum"].startswith("1220")
    assert len(item["assets"]["t.tif"]["file:checksum"]) == 4 + 64


def test_publishing_the_same_again_gives_the_same_bytes(target):
    before = target.item_path.read_bytes()
    write(target)
    assert target.item_path.read_bytes() == before
    assert before.endswith(b"}\n")


def test_the_order_of_keys_does_not_reach_the_disk(tmp_path):
    for directory, provenance in (("a", {"x": 1, "y": 2}), ("b", {"y": 2, "x": 1})):
        write(Target(tmp_path / directory, "t"), provenance=provenance)
    assert (tmp_path / "a" / "t.json").read_bytes() == (tmp_path / "b" / "t.json").read_bytes()


def test_published_files_have_the_permissions_the_umask_gives(tmp_path):
    before = os.umask(0o027)
    try:
        write(Target(tmp_path / "maps", "t"))
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "maps").iterdir()} == {0o640}
    assert (tmp_path / "maps").stat().st_mode & 0o777 == 0o750


def test_assets_that_the_new_version_lacks_are_removed(target):
    write(target, names=["t.tif"])
    assert names_in(target.directory) == ["t.json", "t.tif"]


def test_files_of_other_products_and_of_the_user_stay(target):
    write(Target(target.directory, "u"), names=["u.tif"])
    (target.directory / "t.qml").touch()
    write(target, names=["t.tif"])
    assert names_in(target.directory) == ["t.json", "t.qml", "t.tif", "u.json", "u.tif"]


def test_a_file_no_asset_names_is_not_published(target):
    with publish(target, ["t.tif"]) as publication:
        for name in ("t.tif", "t.tif.aux.xml"):
            publication.path(name).write_bytes(b"x")
        publication.commit({"properties": {}, "assets": {"t.tif": {"href": "./t.tif"}}})
    assert names_in(target.directory) == ["t.json", "t.tif"]


@pytest.mark.parametrize("reason", [None, ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_left_without_commit_changes_nothing(target, reason):
    before = {path: path.read_bytes() for path in target.directory.iterdir()}

    def leave():
        with publish(target, []) as publication:
            publication.path("t.tif").write_bytes(b"half")
            if reason:
                raise reason

    if reason:
        with pytest.raises(reason):
            leave()
    else:
        leave()
    assert {path: path.read_bytes() for path in target.directory.iterdir()} == before


@pytest.mark.parametrize(
    ("item", "error"),
    [
        ({"assets": {}}, ValueError),
        ({"assets": {"map": {"href": "./t.json"}}}, ValueError),
        ({"assets": {"map": {"href": "./missing.tif"}}}, FileNotFoundError),
        ({"assets": {"map": {"href": "t.tif"}}}, InputError),
        ({"assets": {"map": {"href": "./../t.tif"}}}, InputError),
        ({"assets": {"map": {"href": "./t.tif"}}, "properties": {"x": float("nan")}}, ValueError),
    ],
    ids=["no-assets", "the-item-as-asset", "not-written", "not-beside", "outside", "nan"],
)
def test_an_item_that_cannot_be_published_leaves_the_old_product(target, item, error):
    with publish(target, []) as publication:
        publication.path("t.tif").write_bytes(b"new")
        with pytest.raises(error):
            publication.commit(item)
    assert state(target, PROVENANCE) is State.DONE
    assert names_in(target.directory) == ["t.json", "t.prob.tif", "t.tif"]


def test_the_part_directory_lies_beside_the_product_and_is_hidden(target):
    with publish(target, []) as publication:
        assert publication.directory.parent == target.directory
        assert publication.directory.name.startswith(".part-t-")
        assert publication.path("t.tif").parent == publication.directory


def test_a_product_is_new_then_done(tmp_path):
    target = Target(tmp_path / "not" / "yet", "t")
    assert state(target, PROVENANCE) is State.NEW
    write(target)
    assert state(target, PROVENANCE) is State.DONE


def test_assets_without_an_item_are_new(target):
    target.item_path.unlink()
    assert state(target, PROVENANCE) is State.NEW


def test_provenance_is_compared_as_json(tmp_path):
    target = Target(tmp_path, "t")
    write(target, provenance={"years": (2021, 2023)})
    assert state(target, {"years": [2021, 2023]}) is State.DONE
    assert state(target, {"years": [2021, True]}) is State.STALE


def flip_byte(target):
    path = target.directory / "t.tif"
    content = bytearray(path.read_bytes())
    content[250] ^= 1
    path.write_bytes(content)


def edit_item(change):
    def mutate(target):
        item = json.loads(target.item_path.read_text())
        change(item)
        target.item_path.write_text(json.dumps(item))

    return mutate


MUTATIONS = {
    "truncated": lambda target: os.truncate(target.directory / "t.tif", 499),
    "emptied": lambda target: os.truncate(target.directory / "t.tif", 0),
    "longer": lambda target: os.truncate(target.directory / "t.tif", 501),
    "flipped": flip_byte,
    "missing": lambda target: (target.directory / "t.prob.tif").unlink(),
    "a directory": lambda target: [
        (target.directory / "t.tif").unlink(),
        (target.directory / "t.tif").mkdir(),
    ],
    "item cut": lambda target: os.truncate(target.item_path, 100),
    "item empty": lambda target: os.truncate(target.item_path, 0),
    "item not utf-8": lambda target: target.item_path.write_bytes(b"\xff\xfe{}"),
    "item too deep": lambda target: target.item_path.write_text("[" * 100_000),
    "item a list": lambda target: target.item_path.write_text("[]"),
    "item dangling": lambda target: [target.item_path.unlink(), target.item_path.symlink_to("nowhere")],
    "no provenance": edit_item(lambda item: item["properties"].pop("isamap:provenance")),
    "no properties": edit_item(lambda item: item.pop("properties")),
    "no assets": edit_item(lambda item: item.update(assets={})),
    "assets a list": edit_item(lambda item: item.update(assets=["./t.tif"])),
    "asset a string": edit_item(lambda item: item.update(assets={"map": "./t.tif"})),
    "no href": edit_item(lambda item: item["assets"]["t.tif"].pop("href")),
    "href a number": edit_item(lambda item: item["assets"]["t.tif"].update(href=7)),
    "href elsewhere": edit_item(lambda item: item["assets"]["t.tif"].update(href="./../2021/t.tif")),
    "no size": edit_item(lambda item: item["assets"]["t.tif"].pop("file:size")),
    "no checksum": edit_item(lambda item: item["assets"]["t.tif"].pop("file:checksum")),
    "other checksum": edit_item(
        lambda item: item["assets"]["t.tif"].update({"file:checksum": "1220" + "0" * 64})
    ),
    "nan": edit_item(lambda item: item["properties"].update({"isamap:provenance": float("nan")})),
}


@pytest.mark.parametrize("mutate", MUTATIONS.values(), ids=MUTATIONS)
def test_a_product_with_one_thing_wrong_is_stale(target, mutate):
    mutate(target)
    assert state(target, PROVENANCE) is State.STALE


@pytest.mark.parametrize(
    "change",
    [
        lambda provenance: provenance.update(model="fast-2"),
        lambda provenance: provenance.update(threshold=0.50001),
        lambda provenance: provenance.update(more=None),
        lambda provenance: provenance.pop("years"),
        lambda provenance: provenance["years"].append(2022),
        lambda provenance: provenance["inputs"][0].update(sha256="ac"),
    ],
)
def test_a_product_made_from_anything_else_is_stale(target, change):
    provenance = copy.deepcopy(PROVENANCE)
    change(provenance)
    assert state(target, provenance) is State.STALE


UNSIGNED = {"no provenance", "no properties"}
"""Items that no longer say that they are of isamap."""


@pytest.mark.parametrize("mutate", [m for n, m in MUTATIONS.items() if n not in {"a directory", *UNSIGNED}])
def test_a_stale_product_is_replaced(target, mutate, monkeypatch):
    monkeypatch.setattr(strangers, "is_ours", lambda path: True)  # they are no rasters
    mutate(target)
    write(target)
    assert state(target, PROVENANCE) is State.DONE


@pytest.mark.parametrize("name", sorted(UNSIGNED))
def test_what_an_item_of_somebody_else_names_stays(target, name):
    MUTATIONS[name](target)
    before = {path: path.read_bytes() for path in target.directory.iterdir()}
    with pytest.raises(InputError, match=r"t\.json was not made by isamap"):
        write(target, names=["t.tif"])
    assert {path: path.read_bytes() for path in target.directory.iterdir()} == before


def test_what_somebody_put_into_an_item_of_ours_stays(target):
    (target.directory / "my-labels.geojson").write_text("{}")
    edit_item(lambda item: item["assets"].update(labels={"href": "./my-labels.geojson"}))(target)
    write(target, names=["t.tif"])
    assert names_in(target.directory) == ["my-labels.geojson", "t.json", "t.tif"]


def test_a_file_that_comes_during_the_work_stays(target):
    before = read_item(target.item_path)
    with publish(target, ["t.tif", "t.png"]) as publication:
        for name in ("t.tif", "t.png"):
            publication.path(name).write_bytes(b"new")
        (target.directory / "t.png").write_bytes(b"mine")
        assets = {name: {"href": f"./{name}"} for name in ("t.tif", "t.png")}
        with pytest.raises(InputError, match=r"t\.png was not made by isamap"):
            publication.commit({"properties": {}, "assets": assets})
    assert (target.directory / "t.png").read_bytes() == b"mine"
    assert read_item(target.item_path) == before


def test_a_directory_where_a_file_belongs_is_a_storage_error(target):
    MUTATIONS["a directory"](target)
    before = names_in(target.directory)
    with pytest.raises(StorageError, match=r"t\.tif: a folder is there: remove it"), publish(target, []):
        pytest.fail("the work has begun")
    assert names_in(target.directory) == before


def test_a_directory_that_comes_during_the_work_unpublishes_nothing(target):
    item, before = read_item(target.item_path), names_in(target.directory)
    with publish(target, []) as publication:
        publication.path("t.prob.tif").write_bytes(b"new")
        (target.directory / "t.prob.tif").unlink()
        (target.directory / "t.prob.tif").mkdir()
        new = {"id": "t", "properties": {}, "assets": {"t.prob.tif": {"href": "./t.prob.tif"}}}
        with pytest.raises(StorageError, match=r"t\.prob\.tif: a folder is there: remove it"):
            publication.commit(new)
    assert names_in(target.directory) == before
    assert read_item(target.item_path) == item


@pytest.mark.parametrize("path", ["/proc/r.json", "/proc/x/r.json", "/proc/x/y/r.json"])
def test_a_folder_in_which_the_kernel_lets_nobody_write_is_a_storage_error(path):
    with pytest.raises(StorageError, match=f"cannot use {path}: No such file"):
        write_atomic(Path(path), b"{}")
    with pytest.raises(StorageError, match=f"cannot use {path}: No such file"), lock(Path(path), what="it"):
        pass


def test_a_link_to_nothing_on_the_way_is_named(tmp_path):
    (tmp_path / "disk").symlink_to(tmp_path / "unmounted")
    path = tmp_path / "disk" / "runs" / "r.json"
    told = f"cannot use {path}: {tmp_path}/disk is a link to nothing"
    with pytest.raises(StorageError, match=told):
        write_atomic(path, b"{}")
    with pytest.raises(StorageError, match=told), lock(path, what="it"):
        pass


def test_an_item_that_is_missing_or_damaged_reads_as_none(tmp_path):
    assert read_item(tmp_path / "missing.json") is None
    (tmp_path / "x.json").write_text('{"id": ')
    assert read_item(tmp_path / "x.json") is None


def test_an_item_that_cannot_be_read_is_a_storage_error(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(StorageError, match=r"x\.json"):
        read_item(tmp_path / "x.json")


def test_a_sweep_removes_leftovers_and_follows_no_symlink(target, tmp_path):
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "t.tif").touch()
    here = target.directory
    (here / ".part-t-link").symlink_to(treasure)
    dead = here / ".part-t-dead"
    (dead / "inner").mkdir(parents=True)
    (dead / "link").symlink_to(treasure)
    (here / "t.tif.ovr.tmp").touch()
    (here / ".files-t.json").touch()
    (here / ".files-u.json").touch()
    assert names_in(here)[3:] != []
    assert sweep(here) == [here / name for name in (".files-t.json", ".part-t-dead", "t.tif.ovr.tmp")]
    assert names_in(here) == [".files-u.json", ".part-t-link", "t.json", "t.prob.tif", "t.tif"]
    assert names_in(treasure) == ["t.tif"]


def test_a_sweep_of_a_missing_directory_does_nothing(tmp_path):
    assert sweep(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("there", "comes"), [("isamap:model", "isamap:tiles"), ("isamap:tiles", "isamap:model")]
)
def test_a_product_never_takes_the_place_of_one_of_another_kind(target, there, comes):
    edit_item(lambda item: item["properties"].update({there: 1}))(target)
    before = {path: path.read_bytes() for path in target.directory.iterdir()}
    item = {"properties": {comes: 1}, "assets": {"t.tif": {"href": "./t.tif"}}}
    with publish(target, ["t.tif"]) as publication:
        publication.path("t.tif").write_bytes(b"new")
        with pytest.raises(InputError, match=r"another product \(a m(ap|osaic)\): choose another folder"):
            publication.commit(item)
    assert {path: path.read_bytes() for path in target.directory.iterdir()} == before
    with (
        pytest.raises(InputError, match="another product"),
        publish(target, ["t.tif"], strangers.kind_of(item)),
    ):
        pytest.fail("the work began")


def test_what_the_older_version_had_beside_is_named_when_it_is_gone(target):
    with publish(target, []) as publication:
        publication.path("t.tif").write_bytes(b"new")
        item = {"properties": {"isamap:provenance": {}}, "assets": {"t.tif": {"href": "./t.tif"}}}
        assert publication.commit(item) == ("t.prob.tif",)


def refused(target, name, names=("t.tif", "t.prob.tif", "t.png")):
    before = {path: path.read_bytes() for path in target.directory.iterdir()}
    with (
        pytest.raises(InputError, match=rf"/{name} was not made by isamap: choose another folder, or move"),
        publish(target, names),
    ):
        pytest.fail("the work began")
    return {path: path.read_bytes() for path in target.directory.iterdir()} == before


@pytest.mark.parametrize("name", ["t.tif", "t.prob.tif", "t.png"])
def test_a_file_that_isamap_did_not_make_is_not_replaced(tmp_path, name):
    (tmp_path / name).write_bytes(b"labels")
    assert refused(Target(tmp_path, "t"), name)


@pytest.mark.parametrize("text", ["[1]", "{", '{"type": "FeatureCollection"}', '{"properties": {"a": 1}}'])
def test_json_that_is_no_item_of_isamap_is_not_replaced(tmp_path, text):
    (tmp_path / "t.json").write_text(text)
    assert refused(Target(tmp_path, "t"), "t.json")


def test_a_file_that_the_item_does_not_list_is_not_replaced(target):
    (target.directory / "t.png").write_bytes(b"somebody's")
    assert refused(target, "t.png")


def test_what_an_item_or_a_journal_lists_may_be_anything(target):
    with publish(target, ["t.tif", "t.prob.tif"]):
        pass
    target.item_path.rename(target.journal_path)
    with publish(target, ["t.tif", "t.prob.tif"]):
        pass


def test_an_empty_file_and_a_link_to_nothing_are_nobody_s(tmp_path):
    (tmp_path / "t.tif").touch()
    (tmp_path / "t.png").symlink_to("nowhere")
    with publish(Target(tmp_path, "t"), ["t.tif", "t.png"]):
        pass


@given(st.text())
def test_safe_name_lets_only_plain_names_through(text):
    plain = all(c.isalnum() or c in "._-" for c in text)
    if text and plain and len(text.encode()) <= 120 and text[0] != ".":
        assert safe_name(text) == text
    else:
        with pytest.raises(InputError):
            safe_name(text)


@given(st.text(alphabet=string.ascii_letters + string.digits + "._-/\n", min_size=1, max_size=125))
def test_a_safe_name_stays_in_its_directory(text):
    try:
        name = safe_name(text)
    except InputError:
        return
    assert os.path.normpath(os.path.join("/a/b", name)) == f"/a/b/{name}"  # noqa: PTH118  # pathlib hides `..`


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        "a\0b",
        "a:b",
        "a\n",
        "x" * 121,
        "长" * 41,
        "a\u202eb",
        ".part-t",
        "a b",
    ],
)
def test_names_that_could_leave_the_output_tree_are_refused(text):
    with pytest.raises(InputError, match="cannot be a file name") as caught:
        Target(os.curdir, text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_storage_error_inside_another_keeps_its_message(tmp_path):
    with pytest.raises(StorageError, match=r"^inner$"), storage_errors(tmp_path):
        raise StorageError("inner")
