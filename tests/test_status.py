"""`isamap status`: the truth about a run, from outside, without touching it."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from isamap.core import status as recipe
from isamap.io import holders

TILE, NEXT_TILE = tiny.TILES
ALL = (TILE, NEXT_TILE, "48N-0062-0318", "48N-0063-0318")
NOW = 1_700_000_000


def put(path, when=NOW, content="{}"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (when, when))


@pytest.fixture
def workspace(tmp_path):
    """Four tiles are wanted: one is done, one is done from an older composite, one failed, one has no composite."""
    folder = tmp_path / "ws"
    maps = folder / "maps" / "fast" / "2021"
    for tile in ALL[:3]:
        put(folder / "composites" / "2021" / f"{tile}.tif", NOW - 100)
    for tile, when in ((TILE, NOW), (NEXT_TILE, NOW - 200)):
        put(maps / f"{tile}.tif", when, "x" * 1000)
        put(maps / f"{tile}.json", when)
    rows = [
        {"name": TILE, "state": "failed", "error": "made since"},
        {"name": ALL[2], "state": "failed", "error": "B08 is\nmissing"},
        {"name": ALL[3], "state": "missing", "error": "no such file"},
    ]
    put(folder / "runs" / "infer-fast-2021.json", NOW - 50, json.dumps({"maps": rows}))
    return folder


def over(isamap, workspace, *arguments):
    return isamap("status", "--tiles", ",".join(ALL), "--year", 2021, "--workspace", workspace, *arguments)


def test_reports_of_shards_count_too_and_the_last_word_holds(isamap, workspace):
    runs = workspace / "runs"
    failed, fine = ({"name": ALL[2], "state": state, "error": "of a shard"} for state in ("failed", "mapped"))
    put(runs / "infer-fast-2021.shard-2-of-8.json", NOW - 40, json.dumps({"maps": [failed]}))
    put(runs / "infer-fast-2021.shard-x.json", NOW, json.dumps({"maps": [fine]}))
    put(runs / "infer-fast-2021.shard-1-of-8.json", NOW, "no JSON")
    (standing,) = over(isamap, workspace, "--json").document["products"]
    assert standing["failed"] == {ALL[2]: "of a shard"}
    put(runs / "infer-fast-2021.shard-1-of-4.json", NOW - 30, json.dumps({"maps": [fine]}))
    (standing,) = over(isamap, workspace, "--json").document["products"]
    assert standing["failed"] == {}


def test_every_tile_is_counted_once(isamap, workspace):
    ended = over(isamap, workspace, "--json")
    assert ended.code == 0
    (standing,) = ended.document["products"]
    numbers = [standing[key] for key in ("year", "wanted", "done", "waiting", "no_input")]
    assert (standing["model"], numbers) == ("fast", [2021, 4, 2, 0, 1])
    assert standing["stale"] == [NEXT_TILE]
    assert standing["failed"] == {ALL[2]: "B08 is\nmissing"}
    assert standing["missing"] == {ALL[3]: "no such file"}
    assert standing["to_make"] == [ALL[2], ALL[3]]
    assert (standing["at_work"], standing["unclaimed"], standing["pid"]) == ({}, [], None)
    assert standing["size_bytes"] == 2004
    assert standing["last"] == "2023-11-14T22:13:20Z"
    assert ended.document["free_bytes"] > 0


def test_without_an_area_all_that_is_known_is_wanted(workspace):
    (standing,) = recipe.run(workspace, now=NOW)
    assert (standing.wanted, standing.done, standing.waiting, standing.no_input) == (4, 2, 0, 1)


def test_the_table_names_failed_tiles_on_a_line_each(isamap, workspace):
    ended = over(isamap, workspace)
    head, row, failed, missing, to_make, disk = ended.out.splitlines()
    assert head.split()[:4] == ["model", "year", "wanted", "done"]
    assert row.split()[:6] == ["fast", "2021", "4", "2", "1", "1"]
    assert failed == f"failed  fast 2021  {ALL[2]}  B08 is missing"
    assert missing == f"missing  fast 2021  1  {ALL[3]}"
    assert to_make == f"to make  fast 2021  2  {ALL[2]}, {ALL[3]}"
    assert disk.endswith(" GB free")


def test_a_tile_without_input_is_missing_until_it_has_one(isamap, workspace):
    put(workspace / "composites" / "2021" / f"{ALL[3]}.tif")
    (standing,) = over(isamap, workspace, "--json").document["products"]
    assert (standing["missing"], standing["waiting"], standing["no_input"]) == ({}, 1, 0)
    assert standing["to_make"] == [ALL[2], ALL[3]]
    put(workspace / "maps" / "fast" / "2021" / f"{ALL[3]}.json")
    (standing,) = over(isamap, workspace, "--json").document["products"]
    assert standing["to_make"] == [ALL[2]]


def test_of_many_tiles_to_make_the_first_are_named_and_json_names_all(isamap, workspace):
    many = [f"48N-0060-{number:04}" for number in range(300, 310)]
    asked = ("status", "--tiles", ",".join(many), "--workspace", workspace)
    (line,) = [line for line in isamap(*asked).out.splitlines() if line.startswith("to make")]
    assert line == f"to make  fast 2021  10  {many[0]}, {many[1]}, {many[2]} and 7 more"
    assert isamap(*asked, "--json").document["products"][0]["to_make"] == many


def test_of_an_area_without_maps_all_tiles_are_to_make(isamap, tmp_path):
    (product,) = over(isamap, tmp_path, "--json").document["products"]
    assert (product["model"], product["year"], product["wanted"], product["done"]) == ("fast", 2021, 4, 0)
    assert product["to_make"] == sorted(ALL)
    put(tmp_path / "maps" / "own" / "2021" / f"{TILE}.json")
    (product,) = over(isamap, tmp_path, "--json").document["products"]
    assert (product["model"], product["done"]) == ("own", 1)
    assert isamap("status", "--workspace", tmp_path, "--year", 2020, "--json").document["products"] == []


def test_what_a_fetch_found_nothing_for_is_named(isamap, workspace):
    rows = [{"name": ALL[3], "state": "missing", "error": "no look is clear"}]
    put(workspace / "runs" / "fetch-2021.json", NOW - 50, json.dumps({"tiles": rows}))
    (composites,) = over(isamap, workspace, "--json").document["composites"]
    assert composites["missing"] == {ALL[3]: "no look is clear"}
    assert f"missing  composite 2021  1  {ALL[3]}" in over(isamap, workspace).out
    put(workspace / "composites" / "2021" / f"{ALL[3]}.tif")
    (composites,) = over(isamap, workspace, "--json").document["composites"]
    assert composites["missing"] == {}


def test_model_and_year_choose(isamap, workspace):
    put(workspace / "maps" / "other" / "2019" / "x.json")
    assert len(isamap("status", "--workspace", workspace, "--json").document["products"]) == 2
    chosen = isamap("status", "--workspace", workspace, "--model", "other.safetensors", "--json").document
    assert [(row["model"], row["year"]) for row in chosen["products"]] == [("other", 2019)]
    ended = isamap("status", "--workspace", workspace, "--model", "new", "--year", 2021, "--json")
    assert [(row["done"], row["waiting"]) for row in ended.document["products"]] == [(0, 3)]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"maps": 3}', '{"maps": [3]}', '{"maps": [{}]}'])
def test_a_report_that_cannot_be_understood_is_no_report(workspace, content):
    put(workspace / "runs" / "infer-fast-2021.json", content=content)
    (standing,) = recipe.run(workspace, now=NOW)
    assert standing.failed == {}


def test_no_workspace_is_exit_66_and_two_areas_exit_2(isamap):
    ended = isamap("status", "--workspace", "nowhere")
    assert (ended.code, "nowhere" in ended.err) == (66, True)
    assert isamap("status", "--tiles", TILE, "--region", "yreb").code == 2


def test_a_folder_that_may_not_be_read_is_exit_74_in_one_line(workspace):
    closed = workspace / "maps" / "fast" / "2021"
    closed.chmod(0)
    plain = []
    if os.geteuid() == 0:  # root may read anything
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is not installed")
        plain = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    try:
        done = subprocess.run(
            [*plain, sys.executable, "-m", "isamap", "status", "--workspace", str(workspace)],
            check=False,
            capture_output=True,
            text=True,
            cwd=tiny.REPOSITORY,
        )
    finally:
        closed.chmod(0o755)
    assert (done.returncode, done.stdout) == (74, "")
    assert done.stderr == (
        f"isamap: cannot read {closed}: Permission denied: make {closed} readable for this user\n"
    )


def test_an_empty_workspace_has_nothing_to_tell(isamap, tmp_path):
    ended = isamap("status", "--workspace", tmp_path, "--json")
    assert (ended.code, ended.document["products"]) == (0, [])


# Rate


def test_the_rate_is_that_of_the_shortest_time_with_enough_maps():
    assert recipe.maps_per_hour([NOW - 60 * n for n in range(11)], NOW) == 60
    assert recipe.maps_per_hour([NOW - 1200 * n for n in range(4)], NOW) == 3
    assert recipe.maps_per_hour([NOW, NOW - 1], NOW) is None
    assert recipe.maps_per_hour([NOW - 10**6] * 9, NOW) is None


def test_a_run_that_halts_slows_down():
    times = [NOW - 60 * n for n in range(11)]
    assert recipe.maps_per_hour(times, NOW + 300) < recipe.maps_per_hour(times, NOW)


def test_hours_left_follow_from_rate_and_waiting_tiles(workspace):
    for n in range(60):
        put(workspace / "composites" / "2021" / f"w{n}.tif")
        put(workspace / "maps" / "fast" / "2021" / f"d{n}.json", NOW - n)
    (standing,) = recipe.run(workspace, now=NOW)
    assert standing.waiting == 60
    assert standing.hours_left == pytest.approx(60 / standing.maps_per_hour, abs=0.01)


# Locks


def test_who_holds_a_lock_is_known_without_touching_it(tmp_path):
    path = tmp_path / "lock"
    assert holders.holder(path) is None
    path.touch()
    assert holders.holder(path) is None
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert holders.holder(path) == holders.Holder(os.getpid())
    assert holders.holder(path) is None


def test_a_device_number_that_differs_is_settled_by_the_open_file(tmp_path, monkeypatch):
    path, table = tmp_path / "lock", tmp_path / "locks"
    path.touch()
    inode = path.stat().st_ino
    table.write_text(
        f"1: -> FLOCK  ADVISORY  WRITE 1 00:ff:{inode} 0 EOF\n"
        f"1: POSIX  ADVISORY  WRITE 1 00:ff:{inode} 0 EOF\n"
        f"2: FLOCK  ADVISORY  WRITE {os.getpid()} 00:ff:{inode} 0 EOF\n"
    )
    monkeypatch.setattr(holders, "LOCKS", table)
    assert holders.holder(path) is None
    with path.open():
        assert holders.holder(path) == holders.Holder(os.getpid())
    table.unlink()
    assert holders.holder(path) is None


def test_no_lock_is_taken_and_nothing_is_written(isamap, workspace, monkeypatch):
    def refuse(*_):
        raise AssertionError("status takes no lock")

    (workspace / "maps" / "fast" / "2021" / f".part-{TILE}-0").mkdir()
    monkeypatch.setattr("fcntl.flock", refuse)
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*")}
    assert over(isamap, workspace).code == 0
    assert {path: path.stat().st_mtime_ns for path in workspace.rglob("*")} == before


# A real run


def wait_until(true, timeout_s=120):
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


@pytest.mark.slow
def test_a_real_run_is_seen_at_work_and_when_it_was_killed(isamap, model, tmp_path):
    workspace = tmp_path / "ws"
    tiny.write_composite(workspace, 2021, TILE)
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "isamap", "infer", "--tiles", TILE, "--year", "2021"),
            *("--workspace", workspace, "--model", model, "-q"),
        ],
        cwd=tiny.REPOSITORY,
        stdout=subprocess.DEVNULL,
    )

    def standing():
        found = isamap("status", "--workspace", workspace, "--json").document["products"]
        return found[0] if found else {"at_work": {}}

    try:
        wait_until(lambda: standing()["at_work"] == {TILE: run.pid})
        seen = standing()
        assert (seen["pid"], seen["done"], seen["waiting"]) == (run.pid, 0, 1)
        assert f"process {run.pid}" in isamap("status", "--workspace", workspace).out
        assert run.poll() is None
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    seen = standing()
    assert (seen["pid"], seen["at_work"], seen["unclaimed"]) == (None, {}, [TILE])
    assert "1 part folders of a dead run" in isamap("status", "--workspace", workspace).out


def test_watching_goes_on_until_it_is_stopped(workspace):
    code = (
        "import isamap.cli as c;"
        f"c.main(['status', '--json', '--watch', '0.1', '--workspace', {str(workspace)!r}])"
    )
    watch = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=tiny.REPOSITORY,
    )
    lines = [watch.stdout.readline() for _ in range(2)]
    watch.send_signal(signal.SIGTERM)
    watch.communicate()
    assert watch.returncode == 143
    assert all(json.loads(line)["command"] == "status" for line in lines)
    assert Path(workspace).is_dir()
