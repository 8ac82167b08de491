"""Composites: what they depend on, what their items say, which are made again."""

import copy
import hashlib
import json
import os
import random
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pystac
import pytest
import skies
from rio_cogeo.cogeo import cog_validate

from isamap.core import composing
from isamap.core import fetch as recipe
from isamap.core.composing import Settings
from isamap.domain import composite, fetch_plan, fetch_tables
from isamap.domain.cloudmask import MaskRules
from isamap.domain.composite import BAND_NAMES
from isamap.domain.fetch_tables import Row
from isamap.domain.grid import MARGIN_PX, Tile
from isamap.domain.scenes import Selection
from isamap.domain.sources import source_of
from isamap.errors import BusyError, ConfigError, InputError, MissingInputError, RemoteError
from isamap.io import finder, store
from isamap.io.composite import encode_composite, read_composite

EVERY = tuple(range(1, 13))


@pytest.fixture(autouse=True)
def _fresh_composer():
    composing.release()
    yield
    composing.release()


@pytest.fixture
def settings(sky, tmp_path):
    """Composites of the scenes' tile in a workspace of its own."""
    return Settings(tmp_path / "ws", skies.YEAR, (sky.source,), allowed=(sky.host,))


def fetch(settings, *tiles, **how):
    composing.release()
    return recipe.run([Tile.parse(str(tile)) for tile in tiles], settings, **how)


def states(report):
    return {row.name: row.state for row in report.rows}


# Words


@pytest.mark.parametrize(
    ("text", "months"),
    [
        ("4-10", range(4, 11)),
        ("4,5,6", (4, 5, 6)),
        ("11-2", (1, 2, 11, 12)),
        (" 1 - 12 ", EVERY),
        ("7", (7,)),
        ("6,4-5,5", (4, 5, 6)),
    ],
)
def test_months_are_read_as_people_write_them(text, months):
    assert fetch_plan.parse_months(text) == tuple(months)


@pytest.mark.parametrize("text", ["", "0", "13", "4-", "-4", "a", "4-5-6", "4;5", "1.5", "٤"])
def test_months_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match="4-10"):
        fetch_plan.parse_months(text)


def test_the_period_of_some_months_ends_with_the_last_of_them():
    assert composite.period(2021, (4, 5, 6)) == ("2021-04-01T00:00:00Z", "2021-06-30T23:59:59Z")
    assert composite.period(2020, (2,))[1] == "2020-02-29T23:59:59Z"
    assert composite.period(2021, fetch_plan.parse_months("11-2")) == composite.period(2021)


# Provenance


def asked(year=skies.YEAR, **selection):
    return finder.Query((), year, Selection(**selection))


def test_provenance_changes_with_what_changes_pixels_and_with_nothing_else(sky):
    source = source_of(sky.source)
    items = sky.made.items(skies.C1, sky.files.url)
    found = finder.chosen(items, source, sky.made.tile, asked(max_cloud=100))
    scenes = list(found.scenes)
    assert len(scenes) == len(items)

    def key(scenes=scenes, method="median", year=2021, months=EVERY, rules=composing.RULES):
        return json.dumps(composite.provenance(scenes, method, year, months, rules), sort_keys=True)

    first = scenes[0]
    moved = {band: replace(asset, href="https://elsewhere/x") for band, asset in first.assets.items()}
    assert key() == key() == key(months=EVERY[::-1])
    assert key() == key([replace(first, assets=moved, cloud_cover=1.0), *scenes[1:]])
    others = [
        key(scenes[1:]),
        key([replace(first, id="another"), *scenes[1:]]),
        key([replace(first, baseline="05.11"), *scenes[1:]]),
        key([replace(first, declared_offset=0), *scenes[1:]]),
        key([replace(first, source="another"), *scenes[1:]]),
        key(method="best"),
        key(year=2020),
        key(months=(4, 5)),
        key(rules=MaskRules(snow=True)),
        key(rules=MaskRules(dilation_px=9)),
    ]
    assert len({key(), *others}) == len(others) + 1


def test_a_scene_of_a_catalogue_is_known_by_its_id_one_of_a_folder_by_its_files(sky):
    source = source_of(sky.source)
    items = sky.made.items(skies.C1, sky.files.url)
    scenes = finder.chosen(items, source, sky.made.tile, asked(max_cloud=100)).scenes

    def listed(scenes):
        return composite.provenance(scenes, "median", 2021, EVERY, composing.RULES)["scenes"]

    known = [[s.source, s.collection, s.id, s.datetime, s.baseline, s.declared_offset] for s in scenes]
    assert listed(scenes) == hashlib.sha256(json.dumps(known).encode()).hexdigest()
    here, there, other = (
        [replace(scene, source=name, stamp=f"{stamp}{scene.id}") for scene in scenes]
        for name, stamp in (("folder:a", "x"), ("folder:b", "x"), ("folder:a", "y"))
    )
    assert listed(here) == listed(there)
    assert listed(here) != listed(other)


def test_scenes_found_do_not_depend_on_order_or_repetition(sky):
    source, items = source_of(sky.source), sky.made.items(skies.C1, sky.files.url)
    broken = [{**items[0], "id": "broken", "assets": {}}, {"id": "../x"}, 7, None]
    want = finder.chosen([*items, *broken], source, sky.made.tile, asked(max_scenes=3))
    assert len(want.scenes) == 3
    reasons = {one.id: one.reason for one in want.dropped}
    assert "no asset for B02" in reasons["broken"]
    rng = random.Random(0)
    for _ in range(20):
        mixed = [*items, *broken, *rng.choices(items, k=4)]
        rng.shuffle(mixed)
        assert finder.chosen(mixed, source, sky.made.tile, asked(max_scenes=3)) == want


def test_scenes_of_another_year_are_dropped_whatever_a_folder_or_catalogue_holds(sky):
    source, items = source_of(sky.source), sky.made.items(skies.C1, sky.files.url)
    late = copy.deepcopy(items[0])
    late["id"] = late["id"].replace(str(skies.YEAR), str(skies.YEAR + 1))
    late["properties"]["datetime"] = str(skies.YEAR + 1) + late["properties"]["datetime"][4:]
    found = finder.chosen([*items, late], source, sky.made.tile, asked(max_cloud=100))
    assert {scene.datetime[:4] for scene in found.scenes} == {str(skies.YEAR)}
    assert len(found.scenes) == len(items)
    assert f"is of {skies.YEAR + 1}, {skies.YEAR} is asked for" in {one.reason for one in found.dropped}
    assert not finder.chosen(items, source, sky.made.tile, asked(skies.YEAR - 1)).scenes


# Files


def some_pixels(seed=0, gaps=True):
    geobox = Tile.parse("48N-0061-0317").geobox(margin_px=MARGIN_PX)
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 3000, (6, *geobox.shape), dtype=np.uint16)
    looks = rng.integers(1, 9, geobox.shape, dtype=np.uint16)
    if gaps:
        values[:, 100:110, 200:220] = 0
        looks[100:110, 200:220] = 0
    return values, looks, geobox


def test_the_file_of_a_composite_is_a_cog_that_depends_on_its_pixels_alone(tmp_path):
    values, looks, geobox = some_pixels()
    content = encode_composite(values, looks, geobox, {"isamap_method": "median"})
    assert content == encode_composite(values, looks, geobox, {"isamap_method": "median"})
    path = tmp_path / "c.tif"
    path.write_bytes(content)
    assert cog_validate(path, strict=True, quiet=True)[0]
    back = read_composite(path)
    assert np.array_equal(back[0], values)
    assert np.array_equal(back[1], looks)


def test_clear_looks_are_counted_without_the_margin():
    _, looks, _ = some_pixels()
    facts = composite.look_statistics(looks)
    own = looks[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    assert (facts["min"], facts["max"], facts["gap_pixels"]) == (0, 8, 200)
    assert facts["gap_share"] == round(200 / own.size, 6)
    assert facts["median"] == float(np.median(own))


# Tables


def months(**shares):
    return {name.removeprefix("m"): {"scenes": 2, "seen_share": share} for name, share in shares.items()}


def test_the_table_of_months_names_tiles_that_nobody_has_seen():
    rows = [
        Row("a", "fetched", months=months(m01=0.5, m02=0.0), looks={"gap_pixels": 3, "gap_share": 0.25}),
        Row("b", "skipped", months=months(m01=1.0, m02=0.0), looks={"gap_pixels": 0, "gap_share": 0.0}),
        Row("c", "missing", error="no scene"),
    ]
    table = fetch_tables.coverage(rows)
    assert table["01"] == {"tiles": 2, "scenes": 4, "seen_share": 0.75, "unseen": []}
    assert table["02"]["unseen"] == ["a", "b"]
    text = "\n".join(fetch_tables.lines(rows))
    assert text.splitlines() == [
        "a: 25.00 % of its pixels have no clear look and are nodata; no clear look in month 02",
    ]


def test_the_terminal_has_one_line_for_each_of_the_tiles_with_the_largest_gaps():
    rows = [
        Row(
            f"t{k}", "fetched", months=months(m01=0.0, m02=0.0), looks={"gap_pixels": k, "gap_share": k / 100}
        )
        for k in range(9)
    ]
    told = list(fetch_tables.lines(rows))
    assert [line.split(":")[0] for line in told[:5]] == ["t8", "t7", "t6", "t5", "t4"]
    assert told[0].endswith("; no clear look in month 01, 02")
    assert told[5:] == ["... and gaps on 3 more tiles: the report lists them"]


# Whole composites


def test_a_composite_says_of_every_scene_what_became_of_it(settings, sky):
    items = sky.made.items(skies.C1, sky.files.url)
    cloudy = {
        **items[0],
        "id": "S2A_T48RXT_cloudy",
        "properties": {**items[0]["properties"], "eo:cloud_cover": 99},
    }
    lame = {**items[1], "id": "S2A_T48RXT_lame", "assets": {}}
    cloudy["properties"]["datetime"] = "2021-12-30T03:35:39Z"
    sky.api.publish([cloudy, lame])
    (row,) = fetch(settings, sky.tile).rows
    assert row.state == "fetched"
    item = store.read_item(settings.target(sky.made.tile).item_path)
    assert pystac.Item.from_dict(item).id == sky.tile
    facts = item["properties"]
    used = {record["id"]: record for record in facts["isamap:scenes"]}
    dropped = {record["id"]: record["reason"] for record in facts["isamap:dropped"]}
    assert set(used) | set(dropped) == {one["id"] for one in [*items, cloudy, lame]}
    assert "99" in dropped[cloudy["id"]]
    assert "B02" in dropped[lame["id"]]
    covers = {record["id"]: record["cloud_cover"] for record in facts["isamap:dropped"] if len(record) > 2}
    assert covers == {
        cloudy["id"]: 99,
        **{one["id"]: one["properties"]["eo:cloud_cover"] for one in items if one["id"] not in used},
    }
    for record in used.values():
        assert record["offset"]["offset"] == -1000
        assert record["offset"]["basis"]
        assert 0 <= record["clear_share"] <= 1
    values, looks = read_composite(Path(row.path))
    assert facts["isamap:looks"] == composite.look_statistics(looks)
    assert facts["isamap:source"] == sky.source.split("#")[0]
    assert "Contains modified Copernicus Sentinel data 2021" in facts["isamap:attribution"]
    assert sum(month["scenes"] for month in facts["isamap:months"].values()) == len(used)
    assert (values == 0).any(axis=0).tolist() == (looks == 0).tolist()
    assert (item["properties"]["start_datetime"], item["properties"]["end_datetime"]) == (
        "2021-01-01T00:00:00Z",
        "2021-12-31T23:59:59Z",
    )
    with skies.rasterio.open(row.path) as src:
        assert src.descriptions == BAND_NAMES
        assert src.transform == sky.made.tile.geobox(margin_px=MARGIN_PX).transform


def test_the_composite_is_near_the_truth_and_nothing_is_made_up(settings, sky):
    (row,) = fetch(settings, sky.tile).rows
    values, looks = read_composite(Path(row.path))
    truth = sky.made.place.truth[:, *sky.made.window]
    seen = looks > 0
    off = np.abs(values[:, seen].astype(int) - truth[:, seen])
    assert np.median(off) < 60
    assert np.quantile(off, 0.99) < 500


@pytest.mark.parametrize("method", ["geomedian", "best"])
def test_every_method_makes_a_composite_of_its_own(settings, sky, method):
    (row,) = fetch(replace(settings, method=method), sky.tile).rows
    item = store.read_item(Path(row.path).with_suffix(".json"))
    assert item["properties"]["isamap:method"] == method


def digest(settings, tile):
    return hashlib.sha256((settings.directory / f"{tile}.tif").read_bytes()).hexdigest()


def test_results_in_any_order_and_number_give_the_same_bytes(scenes, tmp_path):
    digests = set()
    for seed in (None, 1, 2):
        with skies.serve(
            scenes, api={"seed": seed, "manner": "honest" if seed is None else "duplicates"}
        ) as sky:
            settings = Settings(tmp_path / str(seed), skies.YEAR, (sky.source,), allowed=(sky.host,))
            fetch(settings, sky.tile)
            digests.add(digest(settings, sky.tile))
    assert len(digests) == 1


# What is made again


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    """A catalogue and a workspace in which the tile is done."""
    workspace = tmp_path_factory.mktemp("finished") / "ws"
    with skies.serve(scenes) as sky:
        settings = Settings(workspace, skies.YEAR, (sky.source,), allowed=(sky.host,))
        assert states(fetch(settings, sky.tile)) == {sky.tile: "fetched"}
        yield sky, settings


def rewritten(path, change):
    path.write_bytes(change(bytearray(path.read_bytes())))


def flipped(content):
    content[len(content) // 2] ^= 1
    return content


def other_code(content):
    item = json.loads(content)
    item["properties"]["isamap:provenance"]["code"] = "isamap 0"
    return json.dumps(item).encode()


def reprocessed(items):
    newer = json.loads(json.dumps(items[0]))
    for key in ("s2:processing_baseline", "processing:version"):
        newer["properties"][key] = "05.12"
    return [newer, *items[1:]]


SETTINGS = {
    "method": {"method": "best"},
    "months": {"selection": Selection(months=EVERY[:-1])},
    "mask": {"rules": MaskRules(snow=True)},
    "fewer scenes": {"selection": Selection(max_scenes=3)},
    "less cloud": {"selection": Selection(max_cloud=5)},
}
FILES = {
    "other code": (".json", lambda path: rewritten(path, other_code)),
    "item lost": (".json", Path.unlink),
    "file lost": (".tif", Path.unlink),
    "file cut off": (".tif", lambda path: rewritten(path, lambda content: content[:-100])),
    "one bit": (".tif", lambda path: rewritten(path, flipped)),
}
CATALOGUES = {"scene withdrawn": lambda items: items[1:], "scene reprocessed": reprocessed}


@pytest.mark.slow
@pytest.mark.parametrize("how", [*SETTINGS, *FILES, *CATALOGUES])
def test_a_single_change_makes_exactly_the_tiles_that_depend_on_it_again(
    finished, tmp_path, how, monkeypatch
):
    sky, before = finished
    settings = replace(before, workspace=tmp_path / "ws")
    shutil.copytree(before.workspace, settings.workspace)
    made = []
    real = composing.Composer.make
    monkeypatch.setattr(
        composing.Composer,
        "make",
        lambda self, tile, found: made.append(str(tile)) or real(self, tile, found),
    )
    assert states(fetch(settings, sky.tile)) == {sky.tile: "skipped"}
    assert made == []
    if how in FILES:
        suffix, change = FILES[how]
        change(settings.directory / f"{sky.tile}{suffix}")
    if how in CATALOGUES:
        items = sky.made.items(skies.C1, sky.files.url)
        monkeypatch.setattr(sky.api.catalogue, "items", CATALOGUES[how](items))
    after = replace(settings, refresh=how in CATALOGUES, **SETTINGS.get(how, {}))
    assert states(fetch(after, sky.tile)) == {sky.tile: "fetched"}
    assert made == [sky.tile]
    assert states(fetch(replace(after, refresh=False), sky.tile)) == {sky.tile: "skipped"}


def test_settings_that_leave_the_scenes_as_they_are_leave_the_composite(finished):
    sky, settings = finished
    wider = replace(settings, selection=Selection(max_cloud=60.5, max_scenes=61))
    assert states(fetch(wider, sky.tile)) == {sky.tile: "skipped"}


def test_a_finished_tile_stays_when_no_catalogue_answers(finished, monkeypatch, caplog):
    sky, settings = finished

    def silent(*_, **__):
        raise BusyError("the catalogue does not answer")

    monkeypatch.setattr(finder, "fresh_search", silent)
    monkeypatch.setattr(finder, "kept_search", lambda *_: None)
    assert states(fetch(settings, sky.tile)) == {sky.tile: "skipped"}
    assert "stays as it is" in caplog.text
    (row,) = fetch(replace(settings, method="best"), sky.tile).rows
    assert (row.state, row.error) == ("failed", "the catalogue does not answer")


# Sources


def test_a_source_that_fails_or_has_nothing_hands_over_to_the_next(settings, sky, monkeypatch):
    from scenery.stac import StacApp

    real = finder.fresh_search

    def search(source, *args, **kwargs):
        if "planetary" in source.name:
            raise RemoteError("planetary-computer refuses")
        return real(source, *args, **kwargs)

    monkeypatch.setattr(finder, "fresh_search", search)
    with StacApp() as empty:
        sources = ("planetary-computer", f"{empty.url}#{skies.C1}", sky.source)
        (row,) = fetch(replace(settings, sources=sources), sky.tile).rows
    assert (row.state, row.source) == ("fetched", sky.source.split("#")[0])
    item = store.read_item(Path(row.path).with_suffix(".json"))
    first, second = item["properties"]["isamap:passed_over"]
    assert first == "planetary-computer: planetary-computer refuses"
    assert "no scene here" in second


def test_a_dead_catalogue_hands_over_early_and_says_so(settings, sky, caplog):
    """Two collections of one dead server cost one wait, and neither is asked in small pages."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        dead = f"http://127.0.0.1:{listening.getsockname()[1]}"
    own = composing.composer(replace(settings, sources=(f"{dead}#a", f"{dead}#b", sky.source)))
    found = own.find(Tile.parse(sky.tile))
    assert found.source.name == sky.source.split("#")[0]
    assert len(found.passed_over) == 2
    name = sky.source.split("#")[0]
    (said,) = [text for text in caplog.messages if "does not answer" in text]
    assert said.startswith(f"{dead} does not answer, trying {name}: {dead}/search: takes no connection")
    asked = own.finder.pixels.client(own.finder.sources[0][0]).requests
    assert asked < 10, "with all its patience it would be asked 10 times, and as often in small pages"


def test_the_last_catalogue_is_asked_with_patience(settings, sky, monkeypatch):
    hasty = {}

    def search(source, *_, limits):
        hasty[source.name] = limits.haste is not None
        raise BusyError("busy")

    monkeypatch.setattr(finder, "fresh_search", search)
    own = composing.composer(replace(settings, sources=("earth-search-c1", "earth-search", "cdse")))
    with pytest.raises(BusyError):
        own.find(Tile.parse(sky.tile))
    assert hasty == {"earth-search-c1": True, "earth-search": True, "cdse": False}


def test_a_catalogue_that_does_not_answer_is_not_asked_for_every_tile(settings, sky, monkeypatch):
    asked = []

    def silent(*args, **_):
        asked.append(args)
        raise BusyError("the catalogue does not answer")

    monkeypatch.setattr(finder, "fresh_search", silent)
    monkeypatch.setattr(finder, "kept_search", lambda *_: None)
    report = fetch(settings, "48N-0020-0200", "48N-0040-0200", "48N-0060-0200")
    assert set(states(report).values()) == {"failed"}
    assert len(asked) == 1


def test_a_tile_without_a_scene_is_missing_and_says_who_was_asked(settings, sky):
    report = fetch(settings, "48N-0020-0200")
    (row,) = report.rows
    assert row.state == "missing"
    assert row.error.startswith("no scene of 2021")
    with pytest.raises(MissingInputError, match=r"^48N-0020-0200: no scene of 2021"):
        report.raise_for_failures()


def test_gaps_stay_nodata_and_are_counted(settings, sky):
    (row,) = fetch(replace(settings, selection=Selection(months=(5,))), sky.tile).rows
    values, looks = read_composite(Path(row.path))
    assert 0.2 < row.looks["gap_share"] < 0.9
    assert row.looks["gap_pixels"] == np.count_nonzero(composite.core(looks) == 0)
    assert not values[:, looks == 0].any()
    assert values[:, looks > 0].all()
    assert any("% of its pixels" in line for line in fetch_tables.lines([row]))


def test_a_folder_that_is_not_there_is_missing_and_a_misspelt_name_is_told():
    with pytest.raises(MissingInputError, match="no such folder"):
        finder.open_source("./nowhere")
    with pytest.raises(ConfigError, match="earth-search"):
        finder.open_source("earth-serch")


# Folders


@pytest.fixture
def folder(scenes, tmp_path):
    """A folder of scenes."""
    return skies.folder_of(scenes, tmp_path / "town")


@pytest.fixture
def local(folder, tmp_path):
    return Settings(tmp_path / "ws", skies.YEAR, (str(folder),))


def counted(scenes):
    """Index of the first scene that is not too cloudy to count."""
    covers = [item["properties"]["eo:cloud_cover"] for item in scenes.items(skies.C1)]
    return next(index for index, cover in enumerate(covers) if cover < 30)


def file_of(scenes, folder, band="B04"):
    """A file of that scene in the folder."""
    return folder / scenes.path(counted(scenes), skies.C1, band).relative_to(scenes.folder)


def properties(settings, tile):
    return store.read_item(settings.directory / f"{tile}.json")["properties"]


def edited(path):
    """Some pixels changed in place: same name, same size, same header, same modification time."""
    times = path.stat()
    with skies.rasterio.open(path) as src:
        profile, pixels = src.profile, src.read()
    pixels[0, 400:500, 400:500] += 40
    with skies.rasterio.open(path, "w", **profile) as dst:
        dst.write(pixels)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def uncompressed(path):
    """The same pixels in a file whose size does not depend on them."""
    with skies.rasterio.open(path) as src:
        profile, pixels = src.profile, src.read()
    profile.update(driver="GTiff", compress=None, predictor=1)
    with skies.rasterio.open(path, "w", **profile) as dst:
        dst.write(pixels)


@pytest.mark.slow
def test_pixels_that_are_replaced_under_the_same_name_make_the_composite_again(local, folder, scenes):
    tile = str(scenes.tile)
    file = file_of(scenes, folder)
    uncompressed(file)
    assert states(fetch(local, tile)) == {tile: "fetched"}
    assert states(fetch(local, tile)) == {tile: "skipped"}
    before, size = digest(local, tile), file.stat().st_size
    edited(file)
    assert file.stat().st_size == size
    assert states(fetch(local, tile)) == {tile: "fetched"}
    assert digest(local, tile) != before
    assert states(fetch(local, tile)) == {tile: "skipped"}


@pytest.mark.slow
def test_a_folder_that_is_touched_copied_or_renamed_leaves_the_composite(local, folder, scenes, tmp_path):
    tile = str(scenes.tile)
    assert states(fetch(local, tile)) == {tile: "fetched"}
    before = digest(local, tile)
    for path in folder.rglob("*.tif"):
        os.utime(path)
    assert states(fetch(local, tile)) == {tile: "skipped"}
    shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    moved = replace(local, sources=(str(tmp_path / "elsewhere" / "copy"),))
    assert states(fetch(moved, tile)) == {tile: "skipped"}
    fresh = replace(moved, workspace=tmp_path / "other")
    assert states(fetch(fresh, tile)) == {tile: "fetched"}
    assert digest(fresh, tile) == before
    both = [properties(one, tile) for one in (local, fresh)]
    assert [one["isamap:source"] for one in both] == ["folder:town", "folder:copy"]
    assert both[0]["isamap:provenance"] == both[1]["isamap:provenance"]
    assert both[0]["isamap:scenes"] == both[1]["isamap:scenes"]


@pytest.mark.slow
def test_items_of_folders_name_them_and_no_absolute_path(scenes, tmp_path):
    tile = str(scenes.tile)
    first, second, third = (tmp_path / name / "scenes" for name in "abc")
    first.mkdir(parents=True)
    skies.folder_of(scenes, second, year=skies.YEAR - 1)
    skies.folder_of(scenes, third)
    broken = min(third.glob("*.json"))
    item = json.loads(broken.read_text())
    item["assets"]["blue"]["href"] = str(tmp_path / "outside.tif")
    broken.write_text(json.dumps(item))
    local = Settings(tmp_path / "ws", skies.YEAR, tuple(map(str, (first, second, third))))
    (row,) = fetch(local, tile).rows
    assert (row.state, row.source) == ("fetched", "folder:scenes-3")
    facts = properties(local, tile)
    empty, old = facts["isamap:passed_over"]
    assert empty.startswith("folder:scenes: no Sentinel-2 L2A scene")
    assert old.startswith(f"folder:scenes-2: found {len(scenes.scenes)} scenes, none counts: ")
    assert "of other years" in old
    hrefs = [href for record in facts["isamap:scenes"] for href in record["assets"].values()]
    assert hrefs
    assert all((third / href).is_file() for href in hrefs)
    assert not any(Path(href).is_absolute() for href in hrefs)
    assert "asset blue: 'outside.tif' lies outside the folder" in {
        one["reason"] for one in facts["isamap:dropped"]
    }
    assert str(tmp_path) not in json.dumps(store.read_item(local.directory / f"{tile}.json"))


@pytest.mark.parametrize("left", [0, 4, 300])
def test_a_broken_file_of_a_folder_fails_its_tile(local, folder, scenes, left):
    file = file_of(scenes, folder)
    file.write_bytes(file.read_bytes()[:left])
    (row,) = fetch(local, str(scenes.tile)).rows
    assert row.state == "failed"
    assert scenes.items(skies.C1)[counted(scenes)]["id"] in row.error
    assert file.name in row.error
    assert str(folder) not in row.error


def test_the_same_scene_twice_in_a_folder_is_chosen_by_its_place_alone(scenes, tmp_path):
    folder = skies.folder_of(scenes, tmp_path / "town")
    shutil.copytree(folder, folder / "copy")
    row, _ = finder.open_source(str(folder))
    items = finder.folder_items(folder)
    found = {
        asset.href
        for seed in range(20)
        for scene in finder.chosen(
            random.Random(seed).sample(items, len(items)), row, scenes.tile, asked(max_cloud=100)
        ).scenes
        for asset in scene.assets.values()
    }
    assert found
    assert len({href.startswith("copy/") for href in found}) == 1


# Plans


def test_a_plan_asks_nobody_and_says_so(settings, sky):
    tiles = [sky.made.tile]
    plan = recipe.plan(tiles, settings)
    assert (plan["requested"], plan["new"], plan["fetched_before"]) == (1, 1, 0)
    assert "modelled from orbits" in plan["basis"]
    assert plan["scenes"] > 10
    assert plan["read_gb"] > 0
    assert sky.api.searches == []
    fetch(settings, sky.tile)
    asked = len(sky.api.searches)
    composing.release()
    (settings.directory / f"{sky.tile}.json").unlink()
    plan = recipe.plan(tiles, settings)
    assert "kept search results of 1 tiles" in plan["basis"]
    assert plan["scenes"] == len(sky.made.scenes) - 1
    assert len(sky.api.searches) == asked


def test_a_plan_looks_only_at_tiles_that_have_an_item_and_once_at_each_latitude(settings, monkeypatch):
    tiles = [Tile(48, "N", ix, iy) for ix in range(30, 60) for iy in range(300, 320)]
    for name in (str(tiles[7]), str(tiles[-1]), "48N-0016-0000"):
        store.write_atomic(settings.directory / f"{name}.json", b"{}")
    looked, rows = [], []
    standing, expected = recipe.standing, fetch_plan.revisit.expected_scenes
    monkeypatch.setattr(
        recipe,
        "standing",
        lambda target, *given, **more: looked.append(target.stem) or standing(target, *given, **more),
    )
    monkeypatch.setattr(
        fetch_plan.revisit,
        "expected_scenes",
        lambda lat, *given: rows.append(lat) or expected(lat, *given),
    )
    plan = recipe.plan(tiles, replace(settings, selection=Selection(max_cloud=7.25)))
    assert sorted(looked) == sorted(map(str, (tiles[7], tiles[-1])))
    assert len(rows) == 20
    assert (plan["requested"], plan["new"], plan["stale"]) == (600, 598, 2)
    every = sum(fetch_plan.modelled_scenes(tile, settings.year, Selection(max_cloud=7.25)) for tile in tiles)
    assert plan["scenes"] == round(every)


CHANGES = {
    "nothing": ({}, {}, "fetched_before"),
    "overwrite": ({}, {"overwrite": True}, "stale"),
    "method": ({"method": "best"}, {}, "stale"),
    "months": ({"selection": Selection(months=EVERY[:-1])}, {}, "stale"),
    "mask": ({"rules": MaskRules(snow=True)}, {}, "stale"),
    "fewer scenes": ({"selection": Selection(max_scenes=3)}, {}, "stale"),
    "less cloud": ({"selection": Selection(max_cloud=5)}, {}, "stale"),
    "wider limits": ({"selection": Selection(max_cloud=60.5, max_scenes=61)}, {}, "fetched_before"),
    "more cloud": ({"selection": Selection(max_cloud=100)}, {}, "stale"),
    "source": ({"sources": ("earth-search",)}, {}, "stale"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", CHANGES)
def test_a_plan_tells_composites_that_will_be_redone_and_the_run_agrees(finished, tmp_path, how, monkeypatch):
    sky, before = finished
    changes, options, want = CHANGES[how]
    settings = replace(before, workspace=tmp_path / "ws", **changes)
    shutil.copytree(before.workspace, settings.workspace)
    composing.release()
    hits = sky.api.hits, sky.files.hits
    plan = recipe.plan([sky.made.tile], settings, **options)
    assert {key: plan[key] for key in ("new", "stale", "fetched_before", "to_compare")} == {
        "new": 0,
        "stale": 0,
        "fetched_before": 0,
        "to_compare": 0,
        want: 1,
    }
    assert (plan["basis"] == "no composite is to be made") == (want == "fetched_before")
    assert (plan["scenes"] > 0) == (want == "stale")
    assert (sky.api.hits, sky.files.hits) == hits
    if how == "source":
        return  # of another machine
    monkeypatch.setattr(
        composing.Composer, "make", lambda *_: pytest.fail("made") if want != "stale" else MADE
    )
    monkeypatch.setattr(composing, "publish", lambda *_: None)
    (row,) = fetch(settings, sky.tile, **options).rows
    assert row.state == ("fetched" if want == "stale" else "skipped")


MADE = composing.Made(b"", "", {"properties": {}})


@pytest.mark.parametrize("how", ["cut off", "item damaged", "other code"])
def test_a_plan_sees_composites_that_are_not_whole(finished, tmp_path, how):
    sky, before = finished
    settings = replace(before, workspace=tmp_path / "ws")
    shutil.copytree(before.workspace, settings.workspace)
    path = settings.directory / f"{sky.tile}.tif"
    if how == "cut off":
        rewritten(path, lambda content: content[:-100])
    else:
        change = other_code if how == "other code" else lambda content: content[:-100]
        rewritten(path.with_suffix(".json"), change)
    composing.release()
    plan = recipe.plan([sky.made.tile], settings)
    assert (plan["stale"], plan["fetched_before"]) == (1, 0)


@pytest.mark.slow
def test_a_plan_reads_no_pixels_of_a_folder_and_says_what_it_cannot_know(local, folder, scenes, monkeypatch):
    def counts():
        composing.release()
        plan = recipe.plan([scenes.tile], local)
        return {key: plan[key] for key in ("new", "stale", "fetched_before", "to_compare") if plan[key]}

    monkeypatch.setattr("isamap.io.stamps.SETTLED_S", -1)  # as if nobody had written them lately
    assert counts() == {"new": 1}
    assert states(fetch(local, str(scenes.tile))) == {str(scenes.tile): "fetched"}
    assert counts() == {"fetched_before": 1}
    os.utime(file_of(scenes, folder))
    assert counts() == {"to_compare": 1}
    assert states(fetch(local, str(scenes.tile))) == {str(scenes.tile): "skipped"}
    assert counts() == {"fetched_before": 1}
    min(folder.glob("*.json")).unlink()
    assert counts() == {"stale": 1}


def test_what_was_found_elsewhere_scales_what_is_modelled():
    assert fetch_plan.scaled([10, 20], [20, 40]) == 0.5
    assert fetch_plan.scaled([], []) == 1


def test_a_composite_that_is_none_is_refused(tmp_path):
    import tiny

    with pytest.raises(InputError, match="no composite"):
        read_composite(tiny.write_scene(tmp_path / "x.tif"))
