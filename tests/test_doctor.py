"""`isamap doctor`: quiet where all is well, and right about what is broken."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import tiny

from isamap.core import doctor as recipe
from isamap.engine import machine
from isamap.io import system


@pytest.fixture(autouse=True)
def _all_cores(monkeypatch):
    """Whatever the tests themselves run with."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def state_of(ended, name):
    (line,) = [line for line in ended.document["checks"] if line["name"] == name]
    return line


def test_all_is_well_here(isamap):
    ended = isamap("doctor", "--json")
    assert ended.code == 0
    assert (ended.document["schema"], ended.document["command"], ended.document["problems"]) == (
        1,
        "doctor",
        0,
    )
    names = [line["name"] for line in ended.document["checks"]]
    assert len(set(names)) == len(names)
    assert {
        "isamap",
        "torch",
        "GDAL",
        "PROJ",
        "GDAL driver GTI",
        "device",
        "memory",
        "disk",
        "model fast",
    } <= {*names}
    assert not any(line["todo"] for line in ended.document["checks"] if line["state"] == "ok")
    assert not list(Path().iterdir())


def test_every_check_is_one_line(isamap):
    ended = isamap("doctor")
    assert ended.code == 0
    assert all(line.split()[0] in {"ok", "warning"} for line in ended.out.splitlines())
    assert len(ended.out.splitlines()) > 25
    assert ended.err == ""


def test_quiet_prints_only_what_is_off(isamap, monkeypatch):
    monkeypatch.setattr(recipe, "free_bytes", lambda: 500_000_000)
    ended = isamap("doctor", "-q")
    assert (ended.code, ended.err) == (0, "")
    (line,) = ended.out.splitlines()
    assert line.startswith("warning   memory ")
    assert "-> end other programs, or use --window 256" in line


@pytest.mark.parametrize(
    ("place", "answer", "name", "state"),
    [
        (
            "missing_drivers",
            lambda names: [n for n in names if n in {"COG", "GTI"}],
            "GDAL driver COG",
            "problem",
        ),
        ("missing_drivers", lambda names: [n for n in names if n == "GTI"], "GDAL driver GTI", "warning"),
        ("cog_fault", lambda: "no ZSTD", "COG with ZSTD", "problem"),
        ("proj_faults", lambda: {"GDAL": "no proj.db"}, "PROJ of GDAL", "problem"),
        ("memory_gb", lambda: None, "memory", "warning"),
        ("free_bytes", lambda _: 10**9, "disk", "warning"),
        ("mount", lambda _: ("nfs4", frozenset({"rw", "local_lock=all"})), "locks", "warning"),
        ("missing_modules", lambda names: list(names)[:1], "extra vector", "warning"),
        ("versions", dict.fromkeys, "torch", "problem"),
        ("writable_fault", lambda _: "file locks do not", "workspace", "problem"),
    ],
)
def test_what_is_broken_is_told_with_what_to_do(isamap, monkeypatch, place, answer, name, state):
    monkeypatch.setattr(system, place, answer)
    ended = isamap("doctor", "--json")
    line = state_of(ended, name)
    assert line["state"] == state
    assert line["todo"]
    assert ended.code == (5 if state == "problem" else 0)
    assert (name in ended.err) == (state == "problem")


def test_a_workspace_behind_a_link_to_nothing_is_a_problem(isamap, tmp_path):
    link = tmp_path / "disk"
    link.symlink_to(tmp_path / "unmounted")
    for workspace in (link, link / "isamap"):
        ended = isamap("doctor", "--json", "--workspace", workspace)
        assert (ended.code, state_of(ended, "workspace")["state"]) == (5, "problem")
        assert f"{link} is a link to nothing ({tmp_path}/unmounted)" in state_of(ended, "workspace")["found"]
    (tmp_path / "unmounted").mkdir()
    assert isamap("doctor", "--workspace", link).code == 0


def test_damaged_weights_are_a_problem(isamap, monkeypatch, model, tmp_path):
    from isamap.model import facts

    for suffix in (".safetensors", ".json"):
        (tmp_path / f"tiny{suffix}").write_bytes(model.with_suffix(suffix).read_bytes())
    weights = tmp_path / "tiny.safetensors"
    monkeypatch.setattr(facts, "PACKAGED", tmp_path)
    assert state_of(isamap("doctor", "--json"), "model tiny")["state"] == "ok"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    line = state_of(isamap("doctor", "--json"), "model tiny")
    assert (line["state"], "sha256" in line["found"]) == ("problem", True)
    weights.unlink()
    assert state_of(isamap("doctor", "--json"), "models")["state"] == "problem"


def test_a_user_without_home_is_told_of_the_models_that_he_cannot_keep(isamap, monkeypatch):
    for name in ("ISAMAP_MODELS", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    line = state_of(isamap("doctor", "--json"), "own models")
    assert (line["state"], line["found"].partition(":")[0]) == (
        "warning",
        "no home directory to keep models in",
    )
    monkeypatch.setenv("ISAMAP_MODELS", "/srv/models")
    line = state_of(isamap("doctor", "--json"), "own models")
    assert (line["state"], line["found"]) == ("ok", "/srv/models")


def test_a_library_that_does_not_load_is_a_problem_not_a_crash(isamap, monkeypatch):
    def refuse(*_):
        raise ImportError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(system, "missing_drivers", refuse)
    ended = isamap("doctor", "--json")
    assert ended.code == 5
    assert "libgomp" in state_of(ended, "import")["found"]
    assert state_of(ended, "memory")


def test_a_second_library_that_does_not_load_is_told_too(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    monkeypatch.setitem(sys.modules, "isamap.model.facts", None)
    lines = recipe.run(tmp_path)
    assert sum(line.state == "problem" and line.name.startswith("import") for line in lines) >= 2
    assert any(line.name == "workspace" and line.state == "ok" for line in lines)


# The disk


def test_the_probe_leaves_nothing_behind(tmp_path):
    assert system.writable_fault(tmp_path / "not" / "yet" / "there") is None
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_locks_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    assert system.writable_fault(tmp_path) == "file locks do not keep a second holder out"

    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    assert system.writable_fault(tmp_path) == "file locks do not keep a second holder out"
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written_is_found():
    assert system.writable_fault(Path("/proc/isamap"))


def test_the_mount_of_a_path_is_the_innermost(tmp_path, monkeypatch):
    (tmp_path / "a b").mkdir()
    point = str(tmp_path / "a b").replace(" ", "\\040")
    table = tmp_path / "mounts"
    table.write_text(f"disk / ext4 rw 0 0\nserver:/x {point} nfs4 rw,local_lock=none 0 0\n")
    monkeypatch.setattr(system, "MOUNTS", table)
    assert system.mount(tmp_path / "a b" / "new") == ("nfs4", frozenset({"rw", "local_lock=none"}))
    assert system.mount(tmp_path)[0] == "ext4"
    table.unlink()
    assert system.mount(tmp_path) == ("?", frozenset())


# A whole environment that is broken


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ({"PROJ_DATA": "/nowhere", "PROJ_LIB": "/nowhere"}, "PROJ of GDAL"),
        ({"GDAL_SKIP": "COG"}, "GDAL driver COG"),
    ],
    ids=["proj", "driver"],
)
def test_a_broken_environment_is_exit_5(broken, name, tmp_path):
    code = f"import isamap.cli as c;c.main(['doctor', '--json', '--workspace', {str(tmp_path)!r}])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=tiny.REPOSITORY,
        env={**os.environ, **broken},
    )
    assert done.returncode == 5, done.stderr
    states = {line["name"]: line["state"] for line in json.loads(done.stdout)["checks"]}
    assert states[name] == "problem"


def test_cores_are_those_that_workers_are_counted_by(isamap, tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # no Linux
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    (tmp_path / "cpu.max").write_text("300000 100000")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert state_of(isamap("doctor", "--json"), "CPU")["found"].startswith("3 cores, ")


def test_everything_that_is_installed_with_isamap_is_looked_at():
    needed, extras = set(), set()
    for line in metadata.requires("isamap"):
        name = re.match(r"[\w-]+", line)[0]
        extra = re.search(r'extra == "(\w+)"', line)
        if extra is None:
            needed.add(name)
        elif extra[1] not in {"test", "dev"}:
            extras.add((extra[1], name.replace("-", "_")))
    assert needed == set(recipe.LIBRARIES)
    assert extras == {(name, module) for name, (modules, *_) in recipe.EXTRAS.items() for module in modules}
