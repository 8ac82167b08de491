"""`isamap infer` on tiles without composite: the same maps as fetch then infer, and no network where none is needed."""

import json
from pathlib import Path

import pytest
import skies
import tiny
from crashpoints import files_in

from isamap.core import composing
from isamap.core.map_job import Mapped
from isamap.io import store

MAPPED = Mapped("mapped", ())
BESIDE = "48N-0062-0317"
"""Right of the scenes' tile: they show a strip of it, too narrow to tell what their offset is."""


@pytest.fixture(autouse=True)
def _fresh_composer():
    composing.release()
    yield
    composing.release()


@pytest.fixture
def infer(isamap, sky, model):
    """`isamap infer` with the tiny model into a workspace."""

    def run(workspace, *more, tiles=None, where=sky.where):
        composing.release()
        area = ("--tiles", tiles or sky.tile, "--year", skies.YEAR, "--workspace", workspace)
        return isamap("infer", *area, "--model", model, *where, *more)

    return run


@pytest.fixture
def fetch(isamap, sky):
    def run(workspace, *more, tiles=None):
        composing.release()
        area = ("--tiles", tiles or sky.tile, "--year", skies.YEAR, "--workspace", workspace)
        return isamap("fetch", *area, *sky.where, *more)

    return run


def maps(workspace):
    folder = Path(workspace) / "maps" / "tiny" / "2021"
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")
    }


@pytest.fixture
def no_sockets(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)


@pytest.mark.slow
def test_fetch_then_infer_and_live_infer_give_the_same_files(infer, fetch, sky, monkeypatch):
    assert fetch("two").code == 0
    hits = sky.api.hits, sky.files.hits
    assert infer("two").code == 0
    assert (sky.api.hits, sky.files.hits) == hits, "a tile with a composite asks nobody"
    live = infer("one")
    assert live.code == 0, live.err
    assert maps("one") == maps("two")
    item = json.loads(maps("one")[f"{sky.tile}.json"])
    assert item["properties"]["isamap:source"] == sky.api.url.rstrip("/")
    assert not (Path("one") / "composites").exists()
    assert [name for name in files_in(Path("one")) if ".part-" in name] == []

    hits = sky.files.hits
    again = infer("one", "--json")
    assert (again.document["skipped"], again.document["mapped"]) == (1, 0)
    assert sky.files.hits == hits, "a finished map is known by its scenes: no pixel is read"
    assert fetch("one").code == 0
    kept = infer("one", "--json", "--no-fetch")
    assert (kept.document["skipped"], kept.document["mapped"]) == (1, 0), "its composite has come since"

    (Path("one") / "composites" / "2021" / f"{sky.tile}.tif").unlink()
    sky.api.catalogue.items = sky.made.items(skies.C1, sky.files.url, only=[0, 2, 3])
    made = []
    monkeypatch.setattr(
        "isamap.core.mapping.Mapper.map",
        lambda self, job, made_now=None, **how: made.append(job.name) or MAPPED,
    )
    after = infer("one", "--refresh", "--json")
    assert (after.document["mapped"], made) == (1, [sky.tile]), "it was made of other scenes"


def test_kept_composites_are_those_that_fetch_makes(fetch, sky):
    settings = composing.Settings(Path("ws"), skies.YEAR, (sky.source,), allowed=(sky.host,))
    errand = composing.Errand(sky.made.tile, store.Target(Path("ws/maps"), sky.tile))
    ready = composing.prepare(composing.Live(settings, keep=True), None, errand)
    assert (ready.done, ready.made) == (False, None)
    assert fetch("other").code == 0
    folders = [Path(name) / "composites" / "2021" for name in ("ws", "other")]
    files = [{p.name: p.read_bytes() for p in folder.iterdir() if p.name[0] != "."} for folder in folders]
    assert files[0] == files[1]
    assert fetch("ws", "--json").document["skipped"] == 1


def test_no_fetch_means_missing_as_ever(infer, no_sockets):
    ended = infer("ws", "--no-fetch")
    assert ended.code == 66
    assert "ws/composites/2021" in ended.err
    assert [path.name for path in Path("ws").iterdir()] == ["runs"]


def test_no_fetch_and_keep_composites_contradict_each_other(infer):
    assert infer("ws", "--no-fetch", "--keep-composites").code == 2


@pytest.fixture
def damaged():
    """A workspace whose two composites are no rasters: they fail at once."""
    folder = Path("ws/composites/2021")
    folder.mkdir(parents=True)
    for tile in tiny.TILES:
        (folder / f"{tile}.tif").write_bytes(b"no raster")


def test_tiles_with_composites_open_no_socket(infer, no_sockets, damaged):
    ended = infer("ws", "--json", tiles=",".join(tiny.TILES), where=())
    assert ended.code == 3
    assert all("cannot be opened as GTiff" in row["error"] for row in ended.document["maps"])


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_several_tiles_are_prefetched_and_the_lost_ones_named(infer, sky, workers, damaged):
    tiles = (sky.tile, BESIDE, "48N-0020-0200", tiny.TILES[0])
    ended = infer("ws", "--json", "-j", workers, tiles=",".join(tiles))
    assert ended.code == 3
    states = {row["name"]: row["state"] for row in ended.document["maps"]}
    assert states == {
        sky.tile: "mapped",
        BESIDE: "failed",
        "48N-0020-0200": "missing",
        tiny.TILES[0]: "failed",
    }
    assert f"{sky.tile}.tif" in maps("ws")
    assert [name for name in files_in(Path("ws")) if ".part-" in name] == []


def test_a_dry_run_says_how_many_tiles_would_be_fetched(infer, sky, no_sockets):
    tiny.write_composite(Path("ws"), skies.YEAR, tiny.TILES[0])
    ended = infer("ws", "--dry-run", "--json", tiles=f"{sky.tile},{tiny.TILES[0]}")
    plan = ended.document
    assert (plan["requested"], plan["new"], plan["to_fetch"], plan["missing"]) == (2, 2, 1, 0)
    offline = infer("ws", "--dry-run", "--json", "--no-fetch", tiles=f"{sky.tile},{tiny.TILES[0]}").document
    assert (offline["new"], offline["to_fetch"], offline["missing"]) == (1, 0, 1)


def standing(plan):
    return {key: plan[key] for key in ("new", "stale", "mapped_before", "missing", "to_fetch") if plan[key]}


@pytest.mark.slow
def test_a_dry_run_tells_maps_that_will_be_redone(infer, fetch, sky):
    assert fetch("ws").code == 0
    assert infer("ws").code == 0
    hits = sky.api.hits, sky.files.hits

    def plan(*more, where=sky.where):
        return standing(infer("ws", "--dry-run", "--json", *more, where=where).document)

    assert plan() == {"mapped_before": 1}
    assert plan("--no-fetch") == {"mapped_before": 1}
    for more in (("--overwrite",), ("--threshold", 0.9), ("--probability",), ("--window", 256)):
        assert plan(*more) == {"stale": 1}, more
    folder = Path("ws/composites/2021")
    item = folder / f"{sky.tile}.json"
    document = json.loads(item.read_text())
    document["assets"]["composite"]["file:checksum"] = "1220" + "0" * 64
    item.write_text(json.dumps(document))
    assert plan() == {"stale": 1}, "it was made of another composite"
    for path in (item, item.with_suffix(".tif")):
        path.unlink()
    assert plan() == {"mapped_before": 1}, "its item tells of what composite it was made"
    assert plan("--method", "best") == {"stale": 1, "to_fetch": 1}
    assert plan(where=("--source", "earth-search")) == {"stale": 1, "to_fetch": 1}
    assert plan("--no-fetch") == {"missing": 1}
    map_file = Path("ws/maps/tiny/2021") / f"{sky.tile}.tif"
    map_file.write_bytes(map_file.read_bytes()[:-1])
    assert plan() == {"stale": 1, "to_fetch": 1}
    assert (sky.api.hits, sky.files.hits) == hits


@pytest.mark.slow
def test_options_that_finished_composites_were_not_made_with_are_told_once(infer, fetch, sky):
    assert fetch("ws").code == 0
    tif = Path("ws/composites/2021") / f"{sky.tile}.tif"
    for suffix in (".tif", ".json"):  # a second composite made in the same way
        tif.with_name(BESIDE + suffix).write_bytes(tif.with_suffix(suffix).read_bytes())
    both = f"{sky.tile},{BESIDE}"
    hits = sky.api.hits, sky.files.hits

    def told(*more):
        ended = infer("ws", "--dry-run", *more, tiles=both, where=())
        return [line for line in ended.err.splitlines() if "composites on disk" in line]

    assert told() == []
    used = json.loads(tif.with_suffix(".json").read_text())["properties"]["isamap:scenes"]
    cloud = max(scene["cloud_cover"] for scene in used)
    for same in (
        ("--method", "median"),
        ("--months", "1-12"),
        ("--source", sky.source),
        ("--max-cloud", 60),
        ("--max-cloud", cloud),
        ("--max-scenes", len(used)),
    ):
        assert told(*same) == [], same
    for option, value in (
        ("--method", "best"),
        ("--months", "4-10"),
        ("--source", "earth-search"),
        ("--max-cloud", cloud - 0.1),
        ("--max-cloud", 100),
        ("--max-scenes", len(used) - 1),
        ("--mask-snow", None),
    ):
        (line,) = told(*filter(None, (option, value)))
        assert f"2 of 2 composites on disk were made with another {option} and are used as they are" in line
        assert "isamap fetch" in line
    (line,) = told("--method", "best", "--months", "4-10")
    assert "another --method, --months and" in line
    assert (sky.api.hits, sky.files.hits) == hits
    Path("isamap.toml").write_text('method = "geomedian"\n')
    assert len(told()) == 1, "the configuration is the user's word, too"


def test_a_composite_without_an_item_of_ours_is_not_spoken_of(infer, no_sockets):
    tiny.write_composite(Path("ws"), skies.YEAR, tiny.TILES[0])
    ended = infer("ws", "--dry-run", "--method", "best", tiles=tiny.TILES[0], where=())
    assert (ended.code, "composites on disk" in ended.err) == (0, False)


def test_a_composite_whose_item_is_damaged_is_not_trusted(infer, no_sockets):
    tiny.write_composite(Path("ws"), skies.YEAR, tiny.TILES[0])
    item = Path("ws/composites/2021") / f"{tiny.TILES[0]}.json"
    item.write_text('{"type": "Fea')
    ended = infer("ws", "--no-fetch", tiles=tiny.TILES[0], where=())
    assert (ended.code, "is no STAC item" in ended.err) == (65, True)
    assert maps("ws") == {}


def test_a_source_nobody_knows_is_told_at_once(infer):
    ended = infer("ws", where=("--source", "earth-serch"))
    assert ended.code == 78
    assert "earth-search" in ended.err
