"""`isamap fetch` killed at system calls and at random moments: no partial composite, and a rerun heals everything.

ISAMAP_FETCH_KILLS is how many random SIGKILLs are tried (4 in the suite, 50 for the record).
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import skies
import tiny
from crashpoints import arm, broken_products, files_in, fork, visible

from isamap.io import store
from isamap.io.sweeping import sweep

KILLS = int(os.environ.get("ISAMAP_FETCH_KILLS", "4"))
ENV = {name: value for name, value in os.environ.items() if not name.startswith("ISAMAP_")}


def start(sky, workspace, *more):
    return subprocess.Popen(
        [sys.executable, "-m", "isamap", "fetch", *sky.arguments(workspace, "-q", *more)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=tiny.REPOSITORY,
        env=ENV,
    )


def finish(sky, workspace, *more):
    process = start(sky, workspace, *more)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()


def composites(workspace):
    return visible(files_in(workspace / "composites"))


def partial(workspace, want):
    """What is wrong at final names."""
    faults = broken_products(workspace / "composites") if (workspace / "composites").exists() else []
    for name, content in composites(workspace).items():
        if content != want[name]:
            faults.append(f"{name} is not the finished file")
    return faults


@pytest.fixture(scope="module")
def undisturbed(scenes, tmp_path_factory):
    """An undisturbed run: catalogue, composites, seconds."""
    workspace = tmp_path_factory.mktemp("calm") / "ws"
    with skies.serve(scenes) as sky:
        begin = time.monotonic()
        finish(sky, workspace)
        yield sky, composites(workspace), time.monotonic() - begin


@pytest.mark.slow
def test_random_kills_leave_nothing_bad_and_a_rerun_gives_the_same_bytes(undisturbed, tmp_path):
    sky, want, run_s = undisturbed
    rng = random.Random(20_211)
    killed = 0
    for case in range(KILLS):
        workspace = tmp_path / str(case)
        process = start(sky, workspace)
        time.sleep(rng.uniform(0.1, 0.8) * run_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        assert partial(workspace, want) == [], case
        finish(sky, workspace)
        assert composites(workspace) == want, case
        assert [name for name in files_in(workspace) if ".part-" in name] == [], case
    print(f"{killed} of {KILLS} killed before their end, 0 bad files")


@pytest.mark.slow
def test_no_crash_point_of_the_publication_shows_a_partial_composite(tmp_path):
    from isamap.core.composing import publish
    from isamap.io.composite import Made

    def made(letter):
        item = {"properties": {"isamap:provenance": {"v": letter}}, "assets": {"c": {"href": "./t.tif"}}}
        return Made(letter.encode() * 5000, "", item)

    point = 0
    while True:
        point += 1
        folder = tmp_path / str(point)
        target = store.Target(folder, "t")
        publish(target, made("a"))
        pid = fork(lambda target=target, point=point: (arm(point), publish(target, made("b"))))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert broken_products(folder) == [], point
        shown = visible(files_in(folder))
        assert shown.get("t.tif") in (None, b"a" * 5000, b"b" * 5000), point
        sweep(folder)
        publish(target, made("b"))
        assert files_in(folder)["t.tif"] == b"b" * 5000
        if code == 0:
            break
    assert point > 20


@pytest.mark.slow
def test_a_kept_search_that_is_cut_off_is_asked_for_again(undisturbed, tmp_path):
    sky, want, _ = undisturbed
    workspace = tmp_path / "ws"
    finish(sky, workspace)
    kept = [path for path in (workspace / "cache").rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for path in (workspace / "composites" / "2021").glob("[!.]*"):
        Path(path).unlink()
    finish(sky, workspace)
    assert composites(workspace) == want
