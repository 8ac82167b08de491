"""`isamap verify`: clean maps are quiet, and everything it claims to find is broken on purpose and found."""

import fcntl
import hashlib
import json
import shutil
import sys
from pathlib import Path

import driver_cog
import numpy as np
import pytest
import rasterio
import rasterio.shutil
import tiny
from affine import Affine
from rasterio.enums import Resampling
from rasterio.windows import Window

from isamap.core import verify as recipe
from isamap.domain import audit, seams
from isamap.domain.classes import FBP24
from isamap.domain.grid import MARGIN_PX, Tile
from isamap.domain.product import CLASSES, PROBABILITY, class_layer
from isamap.domain.pyramid import halve
from isamap.errors import StorageError
from isamap.io import store
from isamap.io.cog import CogWriter
from isamap.io.placing import geobox_of

TILE, NEXT_TILE = tiny.TILES
STEM = "town-isa"
SIZE = (1920, 1280)
"""Of the town's map: columns, rows."""
GROUND = Window(220, 300, 192, 128)
"""Of the town in the bundled scene."""
EDIT = {"IGNORE_COG_LAYOUT_BREAK": "YES"}
"""What GDAL wants before it changes a COG in place."""


@pytest.fixture(scope="session")
def town(tmp_path_factory, model):
    """A folder with the small map of a town and its probability, made by `isamap infer`."""
    from isamap.cli import main

    folder = tmp_path_factory.mktemp("town")
    scene = tiny.write_scene(folder / "town.tif", GROUND, nodata_corner_px=10)
    with pytest.raises(SystemExit) as end:
        main(
            [
                "infer",
                "--input",
                str(scene),
                "--model",
                str(model),
                "--probability",
                "-q",
                "-o",
                f"{folder}/maps",
            ]
        )
    assert not end.value.code
    sys.modules["isamap.core.mapping"].mapper.cache_clear()
    return folder / "maps"


@pytest.fixture
def maps(town, tmp_path):
    """A copy of the town's map, to be broken."""
    return Path(shutil.copytree(town, tmp_path / "maps"))


def item_of(folder, stem=STEM):
    return json.loads((folder / f"{stem}.json").read_text())


def write_item(folder, item, stem=STEM):
    (folder / f"{stem}.json").write_text(json.dumps(item))


def sign(folder, stem=STEM, **properties):
    """Sizes and checksums of the files as they are now, so that only the content can give a change away."""
    item = item_of(folder, stem)
    for asset in item["assets"].values():
        path = folder / asset["href"]
        asset["file:size"] = path.stat().st_size
        asset["file:checksum"] = "1220" + hashlib.sha256(path.read_bytes()).hexdigest()
    item["properties"] |= properties
    write_item(folder, item, stem)


def remake(folder, change, layer=CLASSES, stem=STEM):
    """The raster written again as isamap writes it, with other pixels; shares and checksums follow."""
    path = folder / f"{stem}{layer.suffix}"
    with rasterio.open(path) as src:
        values, geobox, tags = src.read(1), geobox_of(src), src.tags()
    values = change(values)
    path.unlink()
    tags = {key.lower(): value for key, value in tags.items() if key.startswith("ISAMAP")}
    with CogWriter(path, geobox, layer, tags) as writer:
        writer.write(audit_window(values), values)
    shares = {}
    if layer is CLASSES:
        valid = np.count_nonzero(values != 255)
        shares["isamap:valid_share"] = round(valid / values.size, 6)
        shares["isamap:isa_share"] = round(np.count_nonzero(values == 1) / max(valid, 1), 6)
    sign(folder, stem, **shares)


def audit_window(values):
    from isamap.domain.grid import Window as GridWindow

    return GridWindow(0, 0, *values.shape)


def rewrite(folder, layer=CLASSES, overviews=None, cog=True, **profile):
    """The raster written by plain GDAL with another profile; checksums follow."""
    path = folder / f"{STEM}{layer.suffix}"
    draft = folder / "draft"
    with rasterio.open(path) as src:
        values, old, colours = src.read(1), src.profile, src.colormap(1) if layer.colours else None
        description = src.descriptions[0]
    description = profile.pop("description", description)
    old |= {"driver": "GTiff", "blockxsize": 512, "blockysize": 512, "tiled": True} | profile
    with rasterio.open(draft, "w", **old) as dst:
        dst.write(values.astype(old["dtype"]), 1)
        dst.set_band_description(1, description)
        if colours and profile.get("colours", True):
            dst.write_colormap(1, colours)
    if cog:
        with rasterio.open(draft, "r+", driver="GTiff") as dst:
            if overviews is not None:
                dst.write(overviews(values), 1)
            dst.build_overviews([2, 4], Resampling[layer.overview.lower()])
        if overviews is not None:
            with rasterio.open(draft, "r+", driver="GTiff") as dst:
                dst.write(values, 1)
        rasterio.shutil.copy(draft, path, driver="COG", **driver_cog.profile_of(layer))
    else:
        shutil.copy(draft, path)
    draft.unlink()
    sign(folder)


def checks(ended):
    """(tile, check) of every printed finding."""
    return [tuple(line.split("  ")[:2]) for line in ended.out.splitlines()]


# Clean maps


def test_a_clean_map_gives_no_finding_and_exit_0(isamap, town):
    ended = isamap("verify", town)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "1 maps and 0 edges: nothing is off\n"


@pytest.mark.parametrize("name", [f"{STEM}.tif", f"{STEM}.prob.tif", f"{STEM}.json"])
def test_a_map_may_be_named_by_any_of_its_files(isamap, town, name):
    document = isamap("verify", town / name, "--json").document
    counts = {"maps": 1, "composites": 0, "edges": 0, "problems": 0, "warnings": 0}
    assert document == {"schema": 1, "command": "verify", **counts, "findings": []}


def test_nothing_is_written(isamap, maps):
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in maps.iterdir()}
    isamap("verify", maps)
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in maps.iterdir()} == before


# Broken maps


def flip_a_byte(folder):
    path = folder / f"{STEM}.tif"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def truncate(folder):
    path = folder / f"{STEM}.tif"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncate_and_sign(folder):
    truncate(folder)
    sign(folder)


def flip_and_sign(folder):
    path = folder / f"{STEM}.prob.tif"
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = bytes(2000)
    path.write_bytes(content)
    sign(folder)


def remove(suffix):
    def break_it(folder):
        (folder / f"{STEM}{suffix}").unlink()

    return break_it


def spoil_the_item(folder):
    (folder / f"{STEM}.json").write_text("{")


def change_item(**changes):
    def break_it(folder):
        item = item_of(folder)
        for key, value in changes.items():
            place = item if key in item else item["properties"]
            place[key.replace("__", ":")] = value
        write_item(folder, item)

    return break_it


def edit_in_place(folder):
    """A pixel changed with an editor, the checksum put right."""
    with rasterio.open(folder / f"{STEM}.tif", "r+", **EDIT) as dst:
        values = dst.read(1, window=Window(600, 600, 8, 8))
        dst.write(1 - values, 1, window=Window(600, 600, 8, 8))
    sign(folder)


def other_nodata(folder):
    rewrite(folder, nodata=254)


def set_block(value, layer=CLASSES):
    def change(values):
        values[600:700, 600:700] = value
        return values

    return lambda folder: remake(folder, change, layer)


def invert_probability(folder):
    remake(folder, lambda values: np.where(values == 255, 255, 100 - values).astype(np.uint8), PROBABILITY)


def other_threshold(folder):
    with rasterio.open(folder / f"{STEM}.prob.tif") as src:
        percent = src.read(1)
    remake(folder, lambda _: np.where(percent == 255, 255, percent >= 70).astype(np.uint8))


def shift_in_the_file(folder):
    with rasterio.open(folder / f"{STEM}.tif", "r+", **EDIT) as dst:
        dst.transform = dst.transform * Affine.translation(1, 0)
    sign(folder)


def skewed(folder):
    rewrite(folder, transform=Affine(1, 0.1, 500_000, 0, -1, 3_000_000))


def disguise(folder):
    rasterio.shutil.copy(folder / f"{STEM}.prob.tif", folder / "x.vrt", driver="VRT")
    (folder / "x.vrt").rename(folder / f"{STEM}.tif")
    sign(folder)


def empty_blocks(folder):
    path = folder / f"{STEM}.tif"
    with rasterio.open(path) as src:
        profile = src.profile | {"driver": "GTiff", "sparse_ok": True}
        values, colours = src.read(1), src.colormap(1)
    values[512:, 512:1024] = 255
    with rasterio.open(path, "w", **profile) as dst:
        dst.set_band_description(1, CLASSES.description)
        dst.write_colormap(1, colours)
        dst.write(values[:512], 1, window=Window(0, 0, SIZE[0], 512))
    sign(folder)


def empty_and_sign(folder):
    (folder / f"{STEM}.tif").write_bytes(b"")
    sign(folder)


def folder_at(suffix):
    def break_it(folder):
        (folder / f"{STEM}{suffix}").unlink()
        (folder / f"{STEM}{suffix}").mkdir()

    return break_it


def drop_probability(folder):
    """As if there were none; what lies there may then be anything."""
    item = item_of(folder)
    del item["assets"]["probability"]
    write_item(folder, item)
    (folder / f"{STEM}.prob.tif").write_bytes(b"garbage")


def without_probability(folder):
    """An item of a map that was made without."""
    drop_probability(folder)
    item = item_of(folder)
    item["properties"]["isamap:provenance"]["layers"] = ["isa"]
    write_item(folder, item)


def half_written(folder):
    (folder / f"{STEM}.draft.tif").touch()
    (folder / ".x.json.tmp").touch()


def journal_without_item(folder):
    (folder / f"{STEM}.json").rename(folder / f".files-{STEM}.json")


DAMAGE = [
    pytest.param(flip_a_byte, "file", "sha256", id="flipped byte"),
    pytest.param(truncate, "file", "bytes, not", id="cut off"),
    pytest.param(truncate_and_sign, "file", "cut off", id="cut off, checksum right"),
    pytest.param(flip_and_sign, "pixels", "does not decode", id="damaged block, checksum right"),
    pytest.param(remove(".json"), "item", "no item", id="no item"),
    pytest.param(remove(".tif"), "file", "missing", id="no raster"),
    pytest.param(remove(".png"), "file", "missing", id="no picture"),
    pytest.param(spoil_the_item, "item", "no JSON", id="item is no JSON"),
    pytest.param(change_item(id="other"), "item", "id 'other'", id="id"),
    pytest.param(change_item(type="Point"), "item", "STAC", id="no STAC"),
    pytest.param(change_item(isamap__provenance=None), "item", "made from", id="no provenance"),
    pytest.param(change_item(proj__shape=[1, 1]), "item", "the raster is", id="item of another size"),
    pytest.param(change_item(isamap__isa_share=0.9), "share", "isa_share 0.9", id="wrong share"),
    pytest.param(change_item(isamap__isa_share=float("nan")), "share", "isa_share nan", id="NaN for a share"),
    pytest.param(change_item(bbox=[0, 0, 1, 1]), "item", "bbox", id="item elsewhere"),
    pytest.param(change_item(bbox=["a", 0, 1, 1]), "item", "bbox", id="bbox of words"),
    pytest.param(
        change_item(geometry={"type": "Point", "coordinates": [0, 0]}),
        "item",
        "geometry",
        id="geometry elsewhere",
    ),
    pytest.param(change_item(geometry=None), "item", "geometry", id="no geometry"),
    pytest.param(change_item(datetime="1990-01-01T00:00:00Z"), "item", "datetime", id="a date of its own"),
    pytest.param(edit_in_place, "overviews", "overview 2", id="pixels edited, checksum right"),
    pytest.param(other_nodata, "format", "nodata 254", id="nodata"),
    pytest.param(lambda f: rewrite(f, description="x"), "format", "'x'", id="band name"),
    pytest.param(lambda f: rewrite(f, colours=False), "format", "colour", id="no colours"),
    pytest.param(lambda f: rewrite(f, dtype="int16", colours=False), "format", "int16", id="dtype"),
    pytest.param(lambda f: rewrite(f, cog=False), "layout", "overviews", id="no COG"),
    pytest.param(
        lambda f: rewrite(f, overviews=lambda v: v[::-1]), "overviews", "overview 2", id="overviews"
    ),
    pytest.param(set_block(7), "pixels", "[7]", id="code 7"),
    pytest.param(set_block(130, PROBABILITY), "pixels", "[130]", id="130 percent"),
    pytest.param(set_block(255), "threshold", "10000 pixels", id="nodata added"),
    pytest.param(invert_probability, "threshold", "pixels do not follow", id="other probability"),
    pytest.param(other_threshold, "threshold", "pixels do not follow", id="other threshold"),
    pytest.param(shift_in_the_file, "item", "proj:transform", id="shifted by one pixel"),
    pytest.param(shift_in_the_file, "layout", "invalidated", id="changed in place"),
    pytest.param(skewed, "grid", "north-up", id="skewed"),
    pytest.param(lambda f: rewrite(f, crs=None), "file", "has no CRS", id="no CRS"),
    pytest.param(disguise, "file", "cannot be opened", id="VRT with the name of a TIFF"),
    pytest.param(empty_blocks, "pixels", "lacks", id="blocks missing"),
    pytest.param(empty_and_sign, "file", "is empty (0 bytes)", id="empty, checksum right"),
    pytest.param(folder_at(".tif"), "file", "is a folder", id="folder for the raster"),
    pytest.param(folder_at(".png"), "file", "is a folder", id="folder for the picture"),
    pytest.param(folder_at(".json"), "item", "is a folder", id="folder for the item"),
    pytest.param(drop_probability, "item", "no probability raster", id="asset dropped"),
    pytest.param(without_probability, "leftover", "does not list it", id="raster that no item lists"),
    pytest.param(change_item(assets={"x": {"href": f"./{STEM}.x"}}), "item", "class raster", id="no map"),
    pytest.param(journal_without_item, "item", "no item", id="publishing broken off"),
]
"""What is done to a map, and the finding that it must give."""


@pytest.mark.parametrize(("break_it", "check", "words"), DAMAGE)
def test_what_is_broken_is_found(isamap, maps, break_it, check, words):
    break_it(maps)
    ended = isamap("verify", maps)
    assert ended.code == 5
    found = [line for line in ended.out.splitlines() if line.startswith(f"{STEM}  {check}  ")]
    assert any(words in line for line in found), ended.out
    assert all(len(line.split("  ")) == 4 for line in ended.out.splitlines())
    assert ended.err.splitlines()[-1].startswith("isamap: 1 maps and 0 edges: ")
    document = isamap("verify", maps, "--json").document
    assert document["problems"] == len(document["findings"]) == len(ended.out.splitlines())
    assert {"tile", "check", "what", "todo", "level"} == set(document["findings"][0])


def obey(folder, finding):
    """Do what a finding says, up to the last step, which is the same for all."""
    match finding["todo"]:
        case audit.AGAIN | "the next isamap infer sweeps it":
            pass
        case audit.AFRESH:
            (folder / f"{finding['tile']}.json").unlink(missing_ok=True)
        case audit.REMOVED:
            for suffix in (".json", ".png", ".tif", ".prob.tif"):
                (folder / f"{finding['tile']}{suffix}").unlink(missing_ok=True)
        case audit.CLEAR:
            (folder / finding["what"].split()[0]).rmdir()
        case "remove it" | "map it again, or remove it":
            (folder / finding["what"].split()[0].rstrip(":")).unlink()
        case other:
            pytest.fail(f"nobody knows how to {other}")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("break_it", "options"),
    [
        *((one.values[0], ()) for one in DAMAGE),
        (half_written, ()),
        *((one, ("--quick",)) for one in (truncate, truncate_and_sign, empty_and_sign, skewed)),
    ],
)
def test_what_a_finding_says_to_do_clears_it(isamap, town, maps, model, break_it, options):
    break_it(maps)
    for finding in isamap("verify", maps, "--json", *options).document["findings"]:
        obey(maps, finding)
    source = ("--input", town.parent / "town.tif", "--model", model)
    layers = () if break_it is without_probability else ("--probability",)
    made = isamap("infer", *source, *layers, "-o", maps)
    assert made.code == 0, made.err
    ended = isamap("verify", maps, *options)
    assert (ended.code, ended.out) == (0, ""), ended.out


def test_one_map_gets_one_advice_in_few_words(isamap, maps):
    truncate(maps)
    ended = isamap("verify", maps, "--quick")
    cut, short = ended.out.splitlines()
    assert cut.endswith("  run isamap infer again")
    assert short.startswith(f"{STEM}  file  {STEM}.tif: is cut off: it ends at byte ")
    assert short.endswith("  run isamap infer again")
    assert "fetch" not in ended.out
    (maps / f"{STEM}.tif").write_bytes(b"")
    assert isamap("verify", maps, "--quick").out.splitlines()[1] == (
        f"{STEM}  file  {STEM}.tif: is empty (0 bytes)  run isamap infer again"
    )


def test_paths_below_the_current_folder_are_named_as_well(isamap, maps):
    truncate_and_sign(maps)
    shutil.copytree(maps, "m")
    assert f"  {STEM}.tif: is cut off" in isamap("verify", "m").out


@pytest.mark.parametrize("change", [{"bbox": [0, 0, 1, 1]}, {"proj__transform": [1, 0, 5, 0, -1, 5]}])
def test_what_is_wrong_with_an_item_is_said_once_for_all_rasters(isamap, maps, change):
    change_item(**change)(maps)
    assert checks(isamap("verify", maps)) == [(STEM, "item")]


def test_a_raster_changed_in_place_gives_findings_and_no_warnings_of_gdal(isamap, maps):
    shift_in_the_file(maps)
    ended = isamap("verify", maps)
    assert "have been, at least partly, invalidated" in ended.out
    assert len(ended.err.splitlines()) == 1


def test_the_report_of_an_evaluation_is_no_map(isamap, maps):
    (maps / "report.json").write_text('{"schema": 1, "command": "evaluate"}')
    ended = isamap("verify", maps)
    assert ended.code == 0, ended.out


def test_a_map_of_one_class_is_a_warning(isamap, maps):
    remake(maps, lambda values: np.where(values == 255, 255, 0).astype(np.uint8))
    without_probability(maps)
    (maps / f"{STEM}.prob.tif").unlink()
    ended = isamap("verify", maps)
    assert ended.code == 0
    assert "one-class  warning: the map is all pervious" in ended.out
    assert isamap("verify", maps, "--strict").code == 5


def to_land_cover(values):
    """ISA as roads and airports, the rest as farmland and lakes: the shares stay those that infer wrote."""
    columns = np.arange(values.size).reshape(values.shape) // 96 % 2
    codes = np.where(values == 1, np.where(columns, 21, 24), np.where(columns, 4, 13))
    return np.where(values == 255, 255, codes).astype(np.uint8)


@pytest.fixture
def land_cover(maps):
    """The town's map as one of 24 classes."""
    item = item_of(maps)
    item["assets"]["fbp24"] = item["assets"].pop("isa")
    write_item(maps, item)
    remake(maps, to_land_cover, class_layer(FBP24))
    return maps


def test_a_map_of_a_class_scheme_is_held_against_that_scheme(isamap, land_cover):
    ended = isamap("verify", land_cover)
    assert (ended.code, ended.out) == (0, "")


@pytest.mark.parametrize(
    ("spoil", "check", "words"),
    [
        (lambda values: np.where(values == 4, 25, values), "pixels", "holds [25]"),
        (lambda values: np.where(values == 4, 0, values), "pixels", "holds [0]"),
        (lambda values: np.where(values == 4, 12, values), "share", "isa_share"),
        (lambda values: np.where(values == 4, 255, values), "share", "valid_share"),
    ],
)
def test_what_is_wrong_with_a_map_of_a_class_scheme_is_found(isamap, land_cover, spoil, check, words):
    remake(land_cover, lambda values: spoil(values).astype(np.uint8), class_layer(FBP24))
    ended = isamap("verify", land_cover)
    assert ended.code == 5
    assert [line for line in ended.out.splitlines() if line.startswith(f"{STEM}  {check}") and words in line]


def test_colours_of_another_scheme_are_found(isamap, land_cover):
    remake(land_cover, lambda values: values, CLASSES)
    sign(land_cover, **{"isamap:isa_share": item_of(land_cover)["properties"]["isamap:isa_share"]})
    ended = isamap("verify", land_cover)
    assert "has not the colour table of its classes" in ended.out
    assert "not 'land cover, fbp24'" in ended.out


def test_an_item_of_two_class_rasters_is_no_map(isamap, maps):
    item = item_of(maps)
    item["assets"]["fbp24"] = item["assets"]["isa"]
    write_item(maps, item)
    ended = isamap("verify", maps)
    assert (ended.code, checks(isamap("verify", maps))) == (5, [(STEM, "item")])
    assert "names not one class raster, an asset isa or fbp24" in ended.out


def test_quick_reads_neither_checksums_nor_pixels(isamap, maps):
    flip_a_byte(maps)
    assert isamap("verify", maps, "--quick").code == 0
    truncate(maps)
    assert checks(isamap("verify", maps, "--quick")) == [(STEM, "file"), (STEM, "file")]


def test_a_file_that_the_disk_does_not_give_is_a_finding(isamap, maps, monkeypatch):
    def refuse(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("isamap.digests.of_file", refuse)
    ended = isamap("verify", maps)
    assert (ended.code, checks(ended)) == (5, [(STEM, "file")])
    assert "Input/output error" in ended.out


# Leftovers


def test_remains_of_dead_runs_are_named_and_those_of_a_live_one_are_not(isamap, maps):
    for name in ("dead-00000000", "live-00000000"):
        (maps / f".part-{name}").mkdir()
        (maps / f".part-{name}" / ".lock").touch()
    (maps / ".files-broken.json").write_text("{}")
    (maps / "x.tif.ovr.tmp").touch()
    shutil.copy(maps / f"{STEM}.tif", maps / "stray.prob.tif")
    with (maps / ".part-live-00000000" / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = isamap("verify", maps / f"{STEM}.tif")
    assert ended.code == 5
    assert sorted(checks(ended)) == [
        *(("-", "leftover"), ("broken", "leftover"), ("dead", "leftover"), ("stray", "leftover")),
    ]


def test_a_run_in_progress_is_a_warning(isamap, maps):
    with (maps / ".isamap.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = isamap("verify", maps)
    assert (ended.code, checks(ended)) == (0, [("-", "running")])


# Several maps


@pytest.fixture
def three(maps):
    """The map under three names."""
    for name in ("a-isa", "b-isa"):
        item = json.loads((maps / f"{STEM}.json").read_text().replace(f"{STEM}", name))
        for suffix in (".tif", ".prob.tif", ".png"):
            shutil.copy(maps / f"{STEM}{suffix}", maps / f"{name}{suffix}")
        write_item(maps, item, name)
    return maps


@pytest.mark.parametrize(
    ("trait", "change"),
    [
        ("weights", lambda p: p["isamap:provenance"].update(model="0" * 64)),
        ("settings", lambda p: p["isamap:provenance"].update(settings="0" * 64)),
        ("version", lambda p: p["isamap:provenance"].update(code="isamap 0.0.1")),
        ("model", lambda p: p["isamap:model"].update(version="7")),
        ("threshold", lambda p: p["isamap:model"].update(threshold=0.51)),
    ],
)
def test_a_tile_made_otherwise_is_named(isamap, three, trait, change):
    assert isamap("verify", three).code == 0
    item = item_of(three, "b-isa")
    change(item["properties"])
    write_item(three, item, "b-isa")
    ended = isamap("verify", three)
    assert ended.code == 5
    (line,) = [line for line in ended.out.splitlines() if line.startswith("-  mixed")]
    assert f"maps differ in {trait}: " in line
    assert "in 2; " in line
    assert "in 1 (b-isa)" in line


def test_workers_find_the_same(isamap, three):
    set_block(7)(three)
    (three / "a-isa.tif").unlink()
    one, two = (isamap("verify", three, "--json", "-j", n).document for n in (1, 2))
    assert one == two
    assert one["problems"] >= 3


# Usage


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "give MAPS"),
        (("x", "--region", "yreb"), 2, "give MAPS"),
        (("--tiles", TILE), 2, "--year"),
        (("nowhere",), 66, "nowhere"),
        ((".",), 66, "no map"),
    ],
)
def test_wrong_arguments_are_refused(isamap, arguments, code, words):
    ended = isamap("verify", *arguments)
    assert ended.code == code
    assert words in ended.err


# Seams


def ground(seed=1, shape=(2560, 600)):
    """Classes with outlines like a town's: blobs of noise, none of them along an axis."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape).astype(np.float32), 12)
    return noise / noise.std()


def cut(noise, threshold=0.0):
    return (noise > threshold).astype(np.uint8)


def seam_at(noise, change):
    before, after = cut(noise[:, : seams.STRIP_PX]), change(noise[:, seams.STRIP_PX : 2 * seams.STRIP_PX])
    return seams.compare(before, after)


def test_an_edge_through_one_map_is_no_seam():
    assert not any(seam_at(ground(seed), cut).is_visible for seed in range(20))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda n: cut(np.roll(n, 10, axis=0)), id="shifted along"),
        pytest.param(lambda n: cut(np.roll(n, 10, axis=1)), id="shifted across"),
        pytest.param(lambda n: cut(n, 0.6), id="another threshold"),
        pytest.param(lambda n: 1 - cut(n), id="inverted"),
        pytest.param(lambda n: np.ones(n.shape, np.uint8), id="one class"),
    ],
)
def test_a_tile_that_does_not_belong_is_seen_at_its_edge(change):
    assert all(seam_at(ground(seed), change).is_visible for seed in range(20))


def test_a_road_along_a_third_of_the_edge_is_no_seam():
    noise = ground()
    noise[:850, seams.STRIP_PX :] += 9
    assert not seam_at(noise, cut).is_visible


def test_nodata_and_one_class_everywhere_are_no_seam():
    nothing = np.full((2560, seams.STRIP_PX), 255, np.uint8)
    assert not seams.compare(nothing, cut(ground()[:, : seams.STRIP_PX])).is_visible
    assert seams.compare(nothing * 0, nothing * 0) == seams.Seam(0, 0.0, 0.0)


def test_edges_join_tiles_of_one_zone_only():
    east = [
        f"{zone}N-{ix:04d}-{iy:04d}"
        for zone, ix, iy in ((48, 60, 318), (48, 61, 318), (49, 62, 318), (48, 60, 317))
    ]
    targets = {store.Target(Path("maps"), name) for name in (*east, "town-isa")}
    found = {(edge.first.stem, edge.second.stem, edge.upright) for edge in recipe.edges_between(targets)}
    assert found == {(east[0], east[1], True), (east[0], east[3], False)}


# Pure checks


def test_a_mode_overview_may_take_either_class_in_a_tie():
    fine = np.array([[0, 1], [1, 0]], np.uint8)
    for code, wrong in ((0, 0), (1, 0), (255, 1), (7, 1)):
        assert audit.wrong_overview(fine, np.array([[code]], np.uint8), CLASSES) == wrong
    nothing = np.full((2, 2), 255, np.uint8)
    assert audit.wrong_overview(nothing, np.array([[255]], np.uint8), CLASSES) == 0
    assert audit.wrong_overview(nothing, np.array([[0]], np.uint8), CLASSES) == 1


def test_overviews_of_a_class_scheme_follow_as_they_are_made():
    rng = np.random.default_rng(0)
    layer, fine = class_layer(FBP24), rng.choice(np.array([1, 4, 12, 24, 255], np.uint8), (512, 512))
    coarse = halve(fine, "MODE")
    assert audit.wrong_overview(fine, coarse, layer) == 0
    for code in (3, 254, 255):
        worse = coarse.copy()
        worse[coarse == 12] = code
        assert audit.wrong_overview(fine, worse, layer) == np.count_nonzero(coarse == 12)


@pytest.mark.parametrize("threshold", [0.05, 0.325, 0.45, 0.5, 0.999])
def test_classes_from_a_probability_always_follow_from_it(threshold):
    probability = np.random.default_rng(0).random((200, 200), np.float32)
    probability.flat[:3] = threshold, np.nextafter(threshold, 0), np.nextafter(threshold, 1)
    classes = (probability >= np.float32(threshold)).astype(np.uint8)
    percent = np.round(probability * 100).astype(np.uint8)
    assert audit.wrong_classes(classes, percent, threshold) == 0
    assert audit.wrong_classes(1 - classes, percent, threshold) > 35_000


def test_input_pixels_are_compared_with_the_bounds_of_their_bands():
    some, every = np.array([[True, False]]), np.array([[True, False]])
    right = np.repeat(np.array([[1, 255]], np.uint8), 10, 1).repeat(10, 0)
    assert audit.unlike_input(right, some, every, 10) == (0, 0)
    assert audit.unlike_input(right[:, ::-1], some, every, 10) == (1, 1)


# Tiles


def write_ground(workspace, tiles):
    """Composites of neighbouring tiles cut from one piece of ground: the bundled scene, mirrored until it is enough."""
    boxes = {tile: Tile.parse(tile).geobox(margin_px=MARGIN_PX) for tile in tiles}
    west = min(box.boundingbox.left for box in boxes.values())
    with rasterio.open(tiny.CHONGQING) as src:
        real = src.read()
    for tile, box in boxes.items():
        col = int((box.boundingbox.left - west) / 10)
        need = (box.shape[0], col + box.shape[1])
        grow = [(0, max(0, side - have)) for side, have in zip(need, real.shape[1:], strict=True)]
        values = np.pad(real, ((0, 0), *grow), mode="symmetric")[:, : need[0], col : need[1]]
        path = workspace / "composites" / "2021" / f"{tile}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tiny._write(path, values, tiny.BANDS, transform=box.transform, crs=box.crs.to_wkt())


@pytest.fixture(scope="session")
def mapped(tmp_path_factory, model):
    """A workspace with two neighbours of one ground, mapped by `isamap infer`."""
    from isamap.cli import main

    workspace = tmp_path_factory.mktemp("ws")
    write_ground(workspace, tiny.TILES)
    area = ["--tiles", ",".join(tiny.TILES), "--year", "2021", "--workspace", str(workspace)]
    with pytest.raises(SystemExit) as end:
        main(["infer", *area, "--model", str(model), "-q"])
    assert not end.value.code
    sys.modules["isamap.core.mapping"].mapper.cache_clear()
    return workspace


@pytest.fixture
def workspace(mapped, tmp_path):
    return Path(shutil.copytree(mapped, tmp_path / "ws"))


def over(isamap, workspace, *arguments, tiles=tiny.TILES):
    area = ("--tiles", ",".join(tiles), "--year", 2021, "--workspace", workspace, "--model", "tiny")
    return isamap("verify", *area, *arguments)


def maps_of(workspace):
    return workspace / "maps" / "tiny" / "2021"


@pytest.mark.slow
def test_clean_tiles_give_no_finding(isamap, mapped):
    ended = over(isamap, mapped)
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "2 maps and 1 edges: nothing is off\n"


@pytest.mark.slow
def test_a_tile_that_is_not_mapped_is_named(isamap, mapped):
    ended = over(isamap, mapped, "--quick", tiles=(*tiny.TILES, "48N-0062-0318"))
    assert ended.code == 5
    assert checks(ended) == [("48N-0062-0318", "coverage")]
    assert "composites/2021/48N-0062-0318.tif" in ended.out


@pytest.mark.slow
def test_maps_of_another_year_are_refused(isamap, workspace):
    item = item_of(maps_of(workspace), TILE)
    item["properties"]["start_datetime"] = "2019-01-01T00:00:00Z"
    write_item(maps_of(workspace), item, TILE)
    ended = over(isamap, workspace, "--quick")
    assert "is of 2019, not of 2021" in ended.out


@pytest.mark.slow
def test_a_tile_shifted_by_one_pixel_is_off_its_grid(isamap, workspace):
    with rasterio.open(maps_of(workspace) / f"{TILE}.tif", "r+", **EDIT) as dst:
        dst.transform = dst.transform * Affine.translation(1, 0)
    sign(maps_of(workspace), TILE)
    ended = over(isamap, workspace, "--quick")
    assert ended.code == 5
    assert "is shifted by 1 m east and 0 m north against its tile" in ended.out


@pytest.mark.slow
def test_a_changed_composite_makes_a_map_stale(isamap, workspace):
    tiny.change_pixel(workspace / "composites" / "2021" / f"{TILE}.tif")
    ended = over(isamap, workspace, tiles=(TILE,))
    assert (ended.code, checks(ended)) == (5, [(TILE, "stale")])


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--quick",)])
def test_a_map_of_a_composite_that_is_not_its_tile_s_waits_for_the_composite(
    isamap, workspace, model, tmp_path, monkeypatch, options
):
    path = workspace / "composites" / "2021" / f"{TILE}.tif"
    right = path.read_bytes()
    path.unlink()
    tiny.write_scene(path, Window(0, 0, 100, 100))
    shutil.rmtree(maps_of(workspace))
    (finding,) = over(isamap, workspace, "--json", *options, tiles=(TILE,)).document["findings"]
    todo = "make the composite again, then run isamap infer"
    assert (finding["check"], finding["todo"]) == ("coverage", todo)
    area = ("--tiles", TILE, "--year", 2021, "--workspace", workspace, "--no-fetch", "--model", model)
    with monkeypatch.context() as before:  # maps of isamap before it compared the grids
        before.setattr("isamap.core.mapping.check_grid", lambda *_: None)
        assert isamap("infer", *area).code == 0
    for finding in over(isamap, workspace, "--json", *options, tiles=(TILE,)).document["findings"]:
        assert finding["todo"] == todo, finding
    path.write_bytes(right)
    assert isamap("infer", *area).code == 0
    assert over(isamap, workspace, *options, tiles=(TILE,)).code == 0


@pytest.mark.slow
def test_a_map_of_a_damaged_composite_waits_for_the_composite(isamap, workspace):
    path = workspace / "composites" / "2021" / f"{TILE}.tif"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    asset = {"href": f"./{TILE}.tif", "file:checksum": "1220" + digest}
    path.with_suffix(".json").write_text(json.dumps({"assets": {"composite": asset}}))
    tiny.change_pixel(path)
    ended = over(isamap, workspace, tiles=(TILE,))
    (line,) = [line for line in ended.out.splitlines() if line.startswith(f"{TILE}  nodata")]
    assert line.endswith("  make the composite again, then run isamap infer")


@pytest.mark.slow
def test_a_tile_of_another_year_is_redone_as_its_finding_says(isamap, workspace, model):
    item = item_of(maps_of(workspace), TILE)
    item["properties"]["start_datetime"] = "2019-01-01T00:00:00Z"
    write_item(maps_of(workspace), item, TILE)
    (finding,) = over(isamap, workspace, "--json", tiles=(TILE,)).document["findings"]
    obey(maps_of(workspace), finding)
    area = ("--tiles", TILE, "--year", 2021, "--workspace", workspace)
    assert isamap("infer", *area, "--model", model).code == 0
    ended = over(isamap, workspace, tiles=(TILE,))
    assert (ended.code, ended.out) == (0, "")


@pytest.mark.slow
def test_pixels_that_no_band_has_are_named_as_invented(isamap, workspace):
    composite = workspace / "composites" / "2021" / f"{TILE}.tif"
    hole = Window(500, 500, 20, 30)
    with rasterio.open(composite, "r+") as dst:
        there = np.count_nonzero(dst.read(window=hole).any(axis=0))
        dst.write(np.zeros((4, 30, 20), np.uint16), window=hole)
    item = item_of(maps_of(workspace), TILE)
    digest = hashlib.sha256(composite.read_bytes()).hexdigest()
    item["properties"]["isamap:provenance"]["inputs"] = digest
    write_item(maps_of(workspace), item, TILE)
    ended = over(isamap, workspace, tiles=(TILE,))
    assert checks(ended) == [(TILE, "nodata")]
    assert there > 100
    assert f"  {there} input pixels mapped without data, 0 left out" in ended.out


@pytest.mark.slow
def test_a_tile_whose_content_is_moved_shows_at_the_seam(isamap, workspace):
    def move(values):
        moved = np.roll(values, 20, axis=0)
        return np.where(values == 255, 255, np.where(moved == 255, 0, moved)).astype(np.uint8)

    remake(maps_of(workspace), move, stem=NEXT_TILE)
    ended = over(isamap, workspace)
    assert (ended.code, checks(ended)) == (5, [(f"{TILE} {NEXT_TILE}", "seam")])


def test_a_map_that_the_disk_does_not_give_is_not_to_be_made_again(monkeypatch, tmp_path):
    def closed(subject):
        raise StorageError(f"cannot read {subject}: Permission denied: make {subject} readable for this user")

    monkeypatch.setattr(recipe, "audit", closed)
    subject = recipe.Subject(store.Target(tmp_path, tiny.TILES[0]))
    (finding,) = recipe.run([subject], recipe.Report())
    assert (finding.check, finding.todo) == ("file", "make it readable, then verify again")
    assert finding.what == f"cannot read {tiny.TILES[0]}: Permission denied"
    assert "infer" not in finding.line


def test_a_file_that_may_not_be_read_is_named_itself(isamap, maps, monkeypatch):
    real = Path.open

    def refuse(path, *arguments, **options):
        if path.name == f"{STEM}.prob.tif":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    for options in ((), ("--quick",)):
        ended = isamap("verify", maps, *options)
        assert checks(ended) == [(STEM, "file")]
        assert f"{STEM}.prob.tif: Permission denied  make it readable" in ended.out
