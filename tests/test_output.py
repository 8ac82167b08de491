"""Words of commands: streams that nobody reads any more or that are closed, and lines beside a JSON log."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest
import tiny


@contextmanager
def unread():
    """stdout is a pipe whose reader has gone, as in `isamap ... | true`."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream, redirect_stdout(stream):
        yield


@pytest.fixture
def damaged(tmp_path):
    """A workspace whose two composites are no rasters, and the words that would map them."""
    for tile in tiny.TILES:
        path = tmp_path / "ws" / "composites" / "2021" / f"{tile}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no raster")
    return ("--tiles", ",".join(tiny.TILES), "--year", 2021, "--workspace", tmp_path / "ws")


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["paths", "json"])
def test_a_reader_that_goes_away_changes_neither_exit_code_nor_report(isamap, damaged, model, tmp_path, form):
    with unread():
        ended = isamap("infer", *damaged, "--model", model, "--report", "r.json", *form)
    assert (ended.code, ended.out) == (3, "")
    report = json.loads(Path("r.json").read_text())
    assert report["failed"] == 2
    assert json.loads((tmp_path / "ws/runs/infer-tiny-2021.json").read_text()) == report
    assert ended.err.splitlines()[-1].startswith("isamap: 2 of 2 maps are not made")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("regions",), 0),
        (("verify", "--tiles", tiny.TILES[0], "--year", 2021), 5),
    ],
    ids=["help", "version", "regions", "verify"],
)
def test_so_it_is_with_every_command(isamap, arguments, code):
    with unread():
        ended = isamap(*arguments)
    assert (ended.code, "Traceback" in ended.err) == (code, False)


def test_no_stdout_at_all_is_no_fault():
    words = [sys.executable, "-m", "isamap", "regions"]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh"]
    done = subprocess.run([*closed, *words], check=False, stderr=subprocess.PIPE, cwd=tiny.REPOSITORY)
    assert (done.returncode, done.stderr) == (0, b"")


def isamap_with(streams, *words):
    """`python -m isamap WORDS` with the shell's `>&-` and the like, and what it says on stdout."""
    words = [sys.executable, "-m", "isamap", *map(str, words)]
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {streams}', "bash", *words],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tiny.REPOSITORY,
    )


GONE = "2> >(:)"
"""stderr is a pipe whose reader ends at once."""


@pytest.mark.parametrize("streams", ["2>&-", "2>&- <&-", GONE])
def test_a_stderr_that_nobody_reads_stops_no_work_and_its_lines_go_nowhere_else(
    streams, scene, model, tmp_path
):
    words = ("infer", "--input", scene, "--model", model, "-o", tmp_path / "out", "-v")
    done = isamap_with(streams, *words)
    assert done.returncode == 0
    assert [Path(line).suffix for line in done.stdout.splitlines()] == [".tif", ".png", ".json"]
    assert all(Path(line).is_file() for line in done.stdout.splitlines())


@pytest.mark.parametrize("streams", ["2>&-", GONE])
@pytest.mark.parametrize(
    ("words", "code"), [(("regions", "atlantis"), 66), (("fetch", "--yaer"), 2), (("fetch",), 2)]
)
def test_faults_have_their_exit_codes_without_a_stderr_too(streams, words, code):
    done = isamap_with(streams, *words)
    assert (done.returncode, done.stdout) == (code, "")


def test_so_have_runs_of_several_workers(damaged, model):
    done = isamap_with("2>&-", "infer", *damaged, "--model", model, "-j", 2, "-v", "--json")
    assert (done.returncode, json.loads(done.stdout)["failed"]) == (3, 2)


def test_nobody_is_watched_for_who_has_gone(isamap, tmp_path):
    with unread():
        assert isamap("status", "--workspace", tmp_path, "--watch", 3600).code == 0


def records(ended):
    return [json.loads(line) for line in ended.err.splitlines()]


def test_with_a_json_log_every_line_of_stderr_is_a_record(isamap, damaged, model):
    ended = isamap("infer", *damaged, "--model", model, "--log-format", "json")
    *log, counts, last = records(ended)
    assert [record["level"] for record in log] == ["error", "error"]
    assert (counts["level"], counts["event"]) == (
        "info",
        "requested 2: 0 mapped, 0 skipped, 2 failed, 0 missing",
    )
    assert (last["level"], last["event"][:15]) == ("error", "isamap: 2 of 2 ")
    assert all({"ts", "level", "logger", "event"} <= record.keys() for record in (counts, last))


def test_a_wrong_use_that_the_command_finds_is_a_record_too(isamap):
    ended = isamap("infer", "--year", 2021, "--log-format", "json")
    (last,) = records(ended)
    assert (ended.code, last["level"]) == (2, "error")
    assert "--region" in last["event"]
    assert isamap("infer", "--yaer", 2021).code == 2


def test_a_warning_of_a_library_is_a_record_too():
    said = (
        "import logging, warnings; from isamap import logs; logs.configure(logging.WARNING, 'json'); "
        "warnings.warn('odd\\nnumbers', RuntimeWarning)"
    )
    ended = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    records = [json.loads(line) for line in ended.stderr.splitlines()]
    assert len(records) == 1
    assert "odd" in str(records[0])
