"""`isamap infer` killed, stopped, started twice and on a full disk: a share of faults/soak.py, and whole processes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from crashpoints import broken_products, files_in
from rasterio.windows import Window

GRACE_S = 10
CAMPAIGNS = {
    "crash points, empty folder": 9,
    "crash points, older map": 9,
    "random SIGKILL": 5,
    "double starts": 2,
    "SIGTERM, SIGINT": 2,
    "file size limit": 1,
}


@pytest.fixture(scope="module")
def soak():
    """What each campaign of soak.py says of every tenth case."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("soak.py")), "--every", "10"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tiny.REPOSITORY,
    )
    figures = re.findall(r"^(\S.*?)  +(\d+) of (\d+)", done.stdout, re.MULTILINE)
    assert figures, done.stderr
    return {name: (int(good), int(tried)) for name, good, tried in figures}, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("campaign", "least"), CAMPAIGNS.items())
def test_no_case_leaves_a_partial_map_and_a_rerun_is_as_if_undisturbed(soak, campaign, least):
    figures, printed = soak
    good, tried = figures[campaign]
    assert good == tried >= least, printed


def start(*arguments):
    """A run in a session of its own, so that we can see whether all its processes have ended."""
    return subprocess.Popen(
        [sys.executable, "-m", "isamap", "infer", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tiny.REPOSITORY,
        start_new_session=True,
    )


def wait_until(true, timeout_s=120):
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def drafts(folder):
    """Maps being written."""
    return list(folder.glob(".part-*/*.spool"))


def is_running(session):
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def town(tmp_path):
    """A scene of a few seconds."""
    return tiny.write_scene(tmp_path / "in" / "town.tif", Window(0, 100, 512, 512))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_run_cleanly_and_the_next_run_resumes(number, town, model, tmp_path):
    out = tmp_path / "out"
    run = ("--input", town, "--model", model, "-o", out, "--window", 256)
    process = start(*run)
    wait_until(lambda: drafts(out))
    begin = time.monotonic()
    process.send_signal(number)
    printed, log = process.communicate(timeout=60)
    assert time.monotonic() - begin < GRACE_S
    assert (process.returncode, printed) == (128 + number, "")
    assert log.splitlines()[-1] == "isamap: stopped by a signal; run the same command again to resume"
    assert "Traceback" not in log
    assert set(files_in(out)) == {".isamap.lock"}
    if number == signal.SIGTERM:
        again = start(*run)
        assert again.communicate()[0].count("\n") == 3
        assert again.returncode == 0
        assert broken_products(out) == []


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Two composites."""
    workspace = tmp_path_factory.mktemp("ws")
    for tile in tiny.TILES:
        tiny.write_composite(workspace, 2021, tile)
    return workspace


def start_two_workers(workspace, model, out):
    tiles = ",".join(tiny.TILES)
    process = start(
        *("--tiles", tiles, "--year", 2021, "--workspace", workspace, "--model", model, "-o", out, "-j", 2)
    )
    wait_until(lambda: len(drafts(out)) == 2 or process.poll() is not None)
    assert process.poll() is None, process.stderr.read()
    return process


@pytest.mark.slow
def test_a_signal_stops_the_workers_too(workspace, model, tmp_path):
    process = start_two_workers(workspace, model, tmp_path / "out")
    begin = time.monotonic()
    process.terminate()
    _, log = process.communicate(timeout=60)
    assert time.monotonic() - begin < GRACE_S
    assert process.returncode == 143
    assert "Traceback" not in log
    wait_until(lambda: not is_running(process.pid), 2)
    assert set(files_in(tmp_path / "out")) == {".isamap.lock"}


@pytest.mark.slow
def test_workers_do_not_outlive_a_killed_run(workspace, model, tmp_path):
    process = start_two_workers(workspace, model, tmp_path / "out")
    process.kill()
    process.communicate()
    wait_until(lambda: not is_running(process.pid), GRACE_S)
    assert not list((tmp_path / "out").glob("*.tif"))
