"""`isamap fetch` as the shell sees it: exit codes, streams, files, faults, secrets."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import skies
import tiny
from scenery.hostile import HOSTILE
from scenery.servers import TRANSIENT, Canary, Faults
from scenery.stac import StacApp

from isamap.core import composing

ELSEWHERE = "48N-0020-0200"
PIXELS = re.compile(r"B0[2348]|B1[12]|SCL|blue|green|red|nir|swir|scl", re.IGNORECASE)


@pytest.fixture(autouse=True)
def _fresh_composer():
    composing.release()
    yield
    composing.release()


@pytest.fixture
def fetch(isamap, sky):
    """`isamap fetch` over the scenes' tile into the folder ws."""

    def run(*more):
        composing.release()
        return isamap("fetch", *sky.arguments(Path("ws"), *more))

    return run


def contents(folder):
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")
    }


# Usage


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--year", 2021), 2, "exactly one of"),
        (("--region", "yreb", "--tiles", ELSEWHERE, "--year", 2021), 2, "one area at a time"),
        (("--tiles", ELSEWHERE), 2, "--year"),
        (("--tiles", ELSEWHERE, "--year", 2014), 2, "2014"),
        (("--tiles", ELSEWHERE, "--year", 2021, "--months", "13"), 2, "4-10"),
        (("--tiles", ELSEWHERE, "--year", 2021, "--method", "mean"), 2, "geomedian"),
        (("--tiles", ELSEWHERE, "--year", 2021, "--max-cloud", "101"), 2, "max-cloud"),
        (("--tiles", ELSEWHERE, "--year", 2021, "--source", "earth-serch"), 78, "earth-search"),
        (("--tiles", ELSEWHERE, "--year", 2021, "--source", "ftp://x/y"), 78, "ftp"),
        (("--tiles", ELSEWHERE, "--year", 2021, "--source", "./no-scenes"), 66, "no such folder"),
        (("--tiles", ELSEWHERE, "--product", "worldcover-v20"), 78, "worldcover-v200"),
        (("--tiles", ELSEWHERE, "--product", "gaia"), 78, "--product-url"),
        (
            ("--bbox=-180,-80,180,84", "--year", 2021, "-n"),
            65,
            "million tiles, and one run has 1 million at most",
        ),
    ],
)
def test_a_wrong_word_is_told_with_the_right_one(isamap, arguments, code, words):
    ended = isamap("fetch", *arguments)
    assert (ended.code, ended.out) == (code, "")
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert list(Path().iterdir()) == []


def test_settings_come_from_the_file_and_the_environment_too(isamap, sky, monkeypatch):
    Path("isamap.toml").write_text(
        f'workspace = "ws"\nsource = ["{sky.source}"]\nallow_host = ["{sky.host}"]\nmonths = "1-6"\nmethod = "best"\n'
    )
    monkeypatch.setenv("ISAMAP_METHOD", "median")
    assert isamap("fetch", "--tiles", sky.tile, "--year", 2021).code == 0
    (item,) = Path("ws/composites/2021").glob("[!.]*.json")
    properties = json.loads(item.read_text())["properties"]
    assert properties["isamap:method"] == "median"
    assert list(properties["isamap:months"]) == ["01", "02", "03", "04", "05", "06"]


# Results


def test_a_fetch_prints_paths_leaves_a_report_and_is_skipped_the_next_time(fetch, sky):
    first = fetch()
    assert first.code == 0, first.err
    assert first.out == f"ws/composites/2021/{sky.tile}.tif\n"
    assert "requested 1: 1 fetched, 0 skipped, 0 failed, 0 missing" in first.err
    made = contents(Path("ws/composites/2021"))
    assert set(made) == {f"{sky.tile}.tif", f"{sky.tile}.json"}
    report = json.loads(Path("ws/runs/fetch-2021.json").read_text())
    assert (report["command"], report["requested"], report["fetched"]) == ("fetch", 1, 1)
    assert set(report["coverage"]) == {f"{month:02d}" for month in range(1, 13)}
    months = report["tiles"][0]["months"]
    assert sum(month["scenes"] for month in months.values()) == len(sky.made.scenes) - 1, "one is too cloudy"
    empty = [name for name, month in months.items() if not month["scenes"]]
    assert empty
    assert (report["tiles"][0]["looks"]["gap_pixels"], "clear look" in first.err) == (0, False)
    hits = sky.api.hits, sky.files.hits
    again = fetch("--json")
    assert (again.code, again.document["skipped"]) == (0, 1)
    assert again.document["tiles"][0]["months"] == months
    assert (sky.api.hits, sky.files.hits) == hits, "a finished tile whose search is kept asks nobody"
    assert contents(Path("ws/composites/2021")) == made
    assert fetch("--refresh").code == 0
    assert sky.api.hits > hits[0]
    assert sky.files.hits == hits[1]


def test_a_missing_tile_among_others_is_exit_3_alone_exit_66(isamap, sky):
    both = [f"{sky.tile},{ELSEWHERE}", "--year", "2021", "--workspace", "ws", *sky.where]
    ended = isamap("fetch", "--tiles", *both)
    assert ended.code == 3
    assert ended.out == f"ws/composites/2021/{sky.tile}.tif\n"
    assert f"ERROR {ELSEWHERE}: no scene of 2021" in ended.err, (
        "named once, though its fault has the name already"
    )
    assert ended.err.rstrip().endswith("1 of 2 tiles are not fetched: the report names them, rerun to resume")
    composing.release()
    alone = isamap("fetch", "--tiles", ELSEWHERE, *both[1:])
    assert alone.code == 66
    assert alone.err.splitlines()[-1].startswith(f"isamap: {ELSEWHERE}: no scene of 2021")


def test_a_fetch_that_is_stopped_leaves_document_and_report(isamap, sky):
    where = ("--tiles", f"{ELSEWHERE},{sky.tile}", "--year", 2021, "--workspace", "ws", *sky.where)
    ended = isamap("fetch", *where, "--on-error", "stop", "--json")
    assert (ended.code, ended.document["requested"], ended.document["missing"]) == (66, 2, 1)
    assert [row["name"] for row in ended.document["tiles"]] == [ELSEWHERE]
    assert json.loads(Path("ws/runs/fetch-2021.json").read_text()) == ended.document


@pytest.mark.slow
def test_two_workers_and_shards_give_the_same_bytes(isamap, sky):
    tiles = ("--tiles", f"{sky.tile},48N-0062-0317,{ELSEWHERE}", "--year", 2021, *sky.where)
    assert isamap("fetch", *tiles, "--workspace", "one").code == 3
    ended = isamap("fetch", *tiles, "--workspace", "two", "-j", 2, "--json")
    assert ended.code == 3
    states = {row["name"]: row["state"] for row in ended.document["tiles"]}
    assert states == {sky.tile: "fetched", "48N-0062-0317": "failed", ELSEWHERE: "missing"}
    for part in (1, 2, 3):
        isamap("fetch", *tiles, "--workspace", "three", "--shard", f"{part}/3")
    assert len(list(Path("three/runs").glob("fetch-2021.shard-*-of-3.json"))) == 3
    folders = [contents(Path(name) / "composites" / "2021") for name in ("one", "two", "three")]
    assert set(folders[0]) == {f"{sky.tile}.tif", f"{sky.tile}.json"}
    assert folders[0] == folders[1] == folders[2]


def test_scenes_that_do_not_count_are_counted_by_reason(fetch, sky):
    count = len(sky.made.scenes)
    ended = fetch("--max-cloud", 0)
    assert ended.code == 66
    assert f"found {count} scenes, none counts: {count} too cloudy; e.g. S2" in ended.err
    months = {int(item["properties"]["datetime"][5:7]) for item in sky.made.items(skies.C1)}
    month = min(set(range(1, 13)) - months)
    ended = fetch("--months", month)
    assert ended.code == 66
    assert f"found {count} scenes, none counts: {count} of other months; e.g. S2" in ended.err


def test_a_dry_run_writes_nothing(fetch, sky):
    ended = fetch("--dry-run", "--json")
    assert ended.code == 0
    plan = ended.document
    assert (plan["requested"], plan["new"]) == (1, 1)
    assert plan["read_gb"] > 0
    assert plan["hours"] >= 0
    assert not Path("ws").exists()
    assert (sky.api.hits, sky.files.hits) == (0, 0)
    assert "basis" in fetch("-n").out


def test_the_whole_belt_is_planned():
    done = subprocess.run(
        [sys.executable, "-m", "isamap", "fetch", "--region", "yreb", "--year", "2021", "-n", "--json"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tiny.REPOSITORY,
    )
    plan = json.loads(done.stdout)
    assert plan["requested"] > 20_000
    assert "modelled" in plan["basis"]


# Faults


def test_an_asset_that_fails_for_good_fails_its_tile_and_is_named(isamap, sky):
    beside = "48N-0062-0317"
    scene = sky.made.items(skies.C1, sky.files.url)[2]
    href = scene["assets"]["nir"]["href"]
    sky.files.permanent["/" + href.removeprefix(sky.files.url).lstrip("/")] = "404"
    ended = isamap("fetch", *sky.arguments(Path("ws")))
    assert ended.code == 69, ended.err
    last = ended.err.splitlines()[-1]
    assert scene["id"] in last
    assert "nir" in last
    assert re.search(r"window \d+,\d+,\d+,\d+ of EPSG:32648", last)
    assert list(Path("ws/composites/2021").glob("[!.]*")) == []
    composing.release()
    both = isamap(
        "fetch", "--tiles", f"{sky.tile},{beside}", "--year", 2021, "--workspace", "ws", *sky.where, "--json"
    )
    assert both.code == 3
    assert {row["state"] for row in both.document["tiles"]} <= {"failed", "fetched"}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_transient_faults_leave_no_trace_in_the_pixels(scenes, isamap, seed, tmp_path):
    with skies.serve(scenes) as sky:
        assert isamap("fetch", *sky.arguments(tmp_path / "calm")).code == 0
    composing.release()
    kinds = [kind for kind in TRANSIENT if "stall" not in kind]
    faults = Faults.share(0.2, kinds, seed=seed, in_a_row=3, retry_after_s=0.1)
    with skies.serve(scenes, faults=faults) as sky:
        ended = isamap("fetch", *sky.arguments(tmp_path / "rough"))
        assert ended.code == 0, ended.err
        assert sum(sky.files.struck.values()) > 5
    calm, rough = (
        (tmp_path / name / "composites" / "2021" / f"{sky.tile}.tif").read_bytes()
        for name in ("calm", "rough")
    )
    assert calm == rough


def test_a_catalogue_that_never_answers_properly_is_told_and_the_run_ends(isamap, scenes, monkeypatch):
    monkeypatch.setattr("isamap.io.http.Client.sleep", lambda *_: True)
    with skies.serve(scenes, api={"manner": "not-json"}) as sky:
        ended = isamap("fetch", *sky.arguments(Path("ws")))
    assert ended.code in {69, 75}
    assert "Traceback" not in ended.err


def test_a_folder_of_scenes_needs_no_network(isamap, scenes, monkeypatch, tmp_path):
    folder = skies.folder_of(scenes, tmp_path / "scenes")

    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    with monkeypatch.context() as patch:
        patch.setattr("socket.socket.connect", refuse)
        patch.setattr("socket.getaddrinfo", refuse)
        ended = isamap(
            "fetch", "--tiles", str(scenes.tile), "--year", 2021, "--workspace", "ws", "--source", folder
        )
    assert ended.code == 0, ended.err


def test_no_secret_reaches_a_log_or_an_item(scenes, isamap, sky):
    items = json.loads(json.dumps(sky.made.items(skies.C1, sky.files.url)))
    for item in items:
        for asset in item["assets"].values():
            asset["href"] += "?sig=CANARY"
    sky.api.catalogue.items = items
    ended = isamap("fetch", *sky.arguments(Path("ws"), "-vv"))
    assert "CANARY" not in ended.out + ended.err
    for path in Path("ws").rglob("*"):
        if path.is_file() and "cache" not in path.parts:
            assert b"CANARY" not in path.read_bytes(), path


def test_hostile_items_are_dropped_and_listed_and_nobody_else_is_asked(isamap, sky, monkeypatch):
    good = sky.made.items(skies.C1, sky.files.url)
    with Canary() as canary:
        bad = [case.of(json.loads(json.dumps(good[0])), canary.url) for case in HOSTILE]
        found = [*good[1:], *bad]
        monkeypatch.setattr("isamap.io.finder.kept_search", lambda *_: found)
        ended = isamap("fetch", *sky.arguments(Path("ws"), "-v"))
        assert canary.hits == 0
    assert "Traceback" not in ended.err
    assert ended.code == 0, ended.err
    assert {path.name for path in Path("ws").iterdir()} == {"composites", "runs"}
    item = json.loads((Path("ws/composites/2021") / f"{sky.tile}.json").read_text())
    assert len(item["properties"]["isamap:dropped"]) > len(HOSTILE) / 3
    assert "/etc/passwd" not in json.dumps(item["properties"]["isamap:scenes"])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_fetch_within_seconds(scenes, tmp_path, number):
    with skies.serve(scenes, latency_s=0.5) as sky:
        process = subprocess.Popen(
            [sys.executable, "-m", "isamap", "fetch", *sky.arguments(tmp_path / "ws")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tiny.REPOSITORY,
            env={name: value for name, value in os.environ.items() if not name.startswith("ISAMAP_")},
        )
        try:
            end = time.monotonic() + 60
            while sky.files.hits < 5:
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.02)
            begin = time.monotonic()
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
            assert time.monotonic() - begin < 10
        finally:
            process.kill()
            process.communicate()
    assert (process.returncode, out) == (128 + number, "")
    assert err.splitlines()[-1] == "isamap: stopped by a signal; run the same command again to resume"
    assert list((tmp_path / "ws/composites/2021").glob("[!.]*")) == []


def test_two_fetches_of_one_year_do_not_meet(fetch):
    from isamap.io import store

    with store.lock(Path("ws/composites/2021/.isamap.lock"), what="x"):
        ended = fetch()
    assert ended.code == 75


# Other commands know of composites


def test_status_and_verify_know_the_composites(fetch, isamap, sky):
    assert fetch().code == 0
    standing = isamap("status", "--workspace", "ws", "--json").document["composites"]
    assert [(one["year"], one["done"], one["failed"]) for one in standing] == [(2021, 1, {})]
    assert "composites 2021: 1 fetched" in isamap("status", "--workspace", "ws").out
    area = ("--tiles", sky.tile, "--year", 2021, "--workspace", "ws")
    findings = isamap("verify", *area, "--json").document
    assert findings["composites"] == 1
    assert {finding["check"] for finding in findings["findings"]} == {"coverage"}, "only the map is missing"
    path = Path("ws/composites/2021") / f"{sky.tile}.tif"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = isamap("verify", *area).out
    assert "composite is not the file its item describes" in found
    item = path.with_suffix(".json")
    document = json.loads(item.read_text())
    document["properties"]["isamap:looks"]["gap_pixels"] = 7
    item.write_text(json.dumps(document))


def test_help_of_an_empty_catalogue_is_no_scene(isamap):
    with StacApp() as api:
        ended = isamap(
            "fetch",
            "--tiles",
            ELSEWHERE,
            "--year",
            2021,
            "--workspace",
            "ws",
            "--source",
            f"{api.url}#{skies.C1}",
        )
    assert ended.code == 66
