"""The same maps, byte for byte, whoever makes them: workers, orders, engines, shards, and workers that are killed."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny
from crashpoints import broken_products, files_in
from rasterio.windows import Window

from isamap.engine import Engine, machine
from isamap.engine.shard import Shard
from isamap.errors import BusyError
from isamap.io import claims
from isamap.io.occupy import occupy
from isamap.io.sweeping import sweep

KILLS = int(os.environ.get("ISAMAP_KILLS", "2"))
"""Runs with a worker that is killed, for each engine."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
        "ignore::DeprecationWarning",
    ),
]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Six small scenes of different sizes."""
    folder = tmp_path_factory.mktemp("scenes")
    sizes = [(96, 64), (70, 90), (64, 64), (120, 40), (50, 130), (88, 88)]
    return [
        tiny.write_scene(folder / f"s{index}.tif", Window(40 * index, 30 * index, *size))
        for index, size in enumerate(sizes)
    ]


def make(scenes, model, out, how, shard=None):
    """Map them; names of those that were made."""
    from isamap.core import infer as recipe
    from isamap.core.map_job import Options
    from isamap.io.raster import SceneInput

    jobs = [recipe.raster_job(SceneInput((path,)), out) for path in scenes]
    jobs = shard.own(jobs, lambda job: job.name) if shard else jobs
    report = recipe.run(jobs, Options(model=str(model), threads=-max(2, how.workers)), how=how)
    assert [row.error for row in report.rows if row.error] == []
    return [row.name for row in report.rows if row.state == "mapped"]


@pytest.fixture(scope="module")
def expected(scenes, model, tmp_path_factory):
    """The folder as one worker leaves it."""
    out = tmp_path_factory.mktemp("expected")
    make(scenes, model, out, Engine())
    assert broken_products(out) == []
    return files_in(out)


@pytest.mark.parametrize(("workers", "order"), [(1, 1), (2, 2), (2, 3), (4, 1), (4, 3)])
def test_local_workers_and_orders(workers, order, scenes, model, expected, tmp_path):
    mixed = random.Random(order).sample(scenes, len(scenes))
    make(mixed, model, tmp_path, Engine(workers=workers))
    assert files_in(tmp_path) == expected


@pytest.mark.parametrize("order", [1, 2])
def test_a_dask_cluster_of_our_own(order, scenes, model, expected, tmp_path):
    mixed = random.Random(order).sample(scenes, len(scenes))
    make(mixed, model, tmp_path, Engine("dask", 2))
    assert files_in(tmp_path) == expected


def work_shard(scenes, model, out, index, count):
    make(scenes, model, out, Engine(shard=Shard(index, count)), Shard(index, count))


def test_three_shards_at_the_same_time(scenes, model, expected, tmp_path):
    context = multiprocessing.get_context("spawn")
    runs = [
        context.Process(target=work_shard, args=(scenes, model, tmp_path, index, 3)) for index in (1, 2, 3)
    ]
    for process in runs:
        process.start()
    for process in runs:
        process.join()
    assert [process.exitcode for process in runs] == [0, 0, 0]
    assert files_in(tmp_path) == expected


def dying(options, job):
    """A map; the first time the chosen one is made, its worker is killed at some moment of it."""
    from isamap.core.mapping import map_job

    mark = Path(os.environ["ISAMAP_TEST_MARK"])
    name, delay = mark.read_text().split()
    if job.name == name and not mark.with_suffix(".died").exists():
        mark.with_suffix(".died").touch()
        threading.Timer(float(delay), os.kill, (os.getpid(), signal.SIGKILL)).start()
    return map_job(options, job)


@pytest.mark.parametrize("kill", range(KILLS))
@pytest.mark.parametrize("kind", ["local", "dask"])
def test_a_worker_killed_at_any_moment(kind, kill, scenes, model, expected, tmp_path, monkeypatch):
    rng = random.Random(kill)
    mark, out = tmp_path / "mark", tmp_path / "out"
    mark.write_text(f"{rng.choice(scenes).stem}-isa {rng.uniform(0, 0.6):.3f}")
    monkeypatch.setenv("ISAMAP_TEST_MARK", str(mark))
    monkeypatch.setattr("isamap.core.infer.map_job", dying)
    make(scenes, model, out, Engine(kind, 2))
    assert mark.with_suffix(".died").exists()
    again = make(scenes, model, out, Engine())  # a run sweeps what the dead worker left
    assert again == []
    assert files_in(out) == expected


# Who may work beside whom


def refused(**asked):
    with pytest.raises(BusyError) as caught, occupy(**asked):
        pass
    return str(caught.value)


def test_a_run_without_shard_and_one_with_do_not_work_side_by_side(tmp_path):
    with occupy(tmp_path):
        assert "another run holds" in refused(directory=tmp_path, shard="1-of-2")
        assert "another run holds" in refused(directory=tmp_path)
    with occupy(tmp_path, shard="1-of-2"):
        assert "another run holds" in refused(directory=tmp_path)
    with occupy(tmp_path):
        pass


@pytest.mark.parametrize("shard", [None, "1-of-2"])
def test_what_a_dead_worker_leaves_is_gone_when_the_run_ends(shard, tmp_path):
    with occupy(tmp_path, shard=shard):
        (tmp_path / ".part-48N-0060-0318-0badcafe").mkdir()
        (tmp_path / ".claim-48N-0060-0318.lock").touch()
        (tmp_path / "48N-0060-0318.tif.ovr.tmp").touch()
        (tmp_path / "48N-0060-0318.tif").touch()
    assert set(files_in(tmp_path)) == {".isamap.lock", "48N-0060-0318.tif"}


def test_a_shard_is_worked_on_by_one_run(tmp_path, monkeypatch):
    monkeypatch.setattr("isamap.io.occupy.SWEEP_S", 0.1)
    with occupy(tmp_path, shard="1-of-2"), occupy(tmp_path, shard="2-of-2"), occupy(tmp_path, shard="2-of-3"):
        monkeypatch.setattr(claims, "_own", claims.Counter())  # as another process
        assert "at work on shard 1-of-2" in refused(directory=tmp_path, shard="1-of-2")
        monkeypatch.undo()
    assert set(files_in(tmp_path)) == {".isamap.lock"}


# The command line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", "0"), "neither auto nor a number"),
        (("--workers", "many"), "neither auto nor a number"),
        (("--memory", "much"), "is no size: write 16G"),
        (("--memory", "0G"), "is no size"),
        (("--shard", "3/2"), "count from 1"),
        (("--shard", "0/2"), "a Slurm array that begins with 0"),
        (("--shard", "half"), "write I/N"),
        (("--scheduler-address", "tcp://127.0.0.1:1"), "goes with --engine dask"),
        (("--engine", "ray"), "is not one of"),
    ],
)
def test_a_wrong_word_is_a_usage_error(isamap, arguments, words):
    ended = isamap("infer", "--tiles", tiny.TILES[0], "--year", 2021, *arguments)
    assert ended.code == 2
    assert words in " ".join(ended.err.split())


def test_a_raster_of_ones_own_has_no_shards(isamap, scenes):
    ended = isamap("infer", "--input", scenes[0], "--shard", "1/2")
    assert ended.code == 2
    assert "--input is one map" in ended.err


def test_a_plan_of_a_shard_counts_its_tiles_alone(isamap, tmp_path):
    area = (
        "--tiles",
        ",".join(tiny.TILES),
        "--year",
        2021,
        "--workspace",
        tmp_path,
        "--no-fetch",
        "-n",
        "--json",
    )
    assert isamap("infer", *area).document["requested"] == 2
    assert isamap("infer", *area, "--shard", "1/2").document["requested"] == 1
    assert isamap("infer", *area, "--shard", "3/3").document["requested"] == 0


def test_a_shard_without_tiles_has_nothing_to_do(isamap, model, tmp_path):
    area = ("--tiles", ",".join(tiny.TILES), "--year", 2021, "--workspace", tmp_path, "--no-fetch")
    ended = isamap("infer", *area, "--model", model, "--shard", "3/3")
    assert ended.code == 0
    assert (tmp_path / "runs" / "infer-tiny-2021.shard-3-of-3.json").is_file()


@pytest.mark.parametrize(
    ("cores", "memory", "free", "gpu", "workers"),
    [
        (16, None, 100 << 30, None, 8),
        (16, 6_000_000_000, 0, None, 4),
        (16, None, 4_600_000_000, None, 3),
        (1, None, 0, None, 1),
        (16, None, 100 << 30, 140_000_000_000, 6),
        (16, None, 100 << 30, 8_500_000_000, 2),
        (16, None, 100 << 30, 2_000_000_000, 1),
        (4, None, 100 << 30, 140_000_000_000, 2),
        (16, 3_000_000_000, 0, 140_000_000_000, 2),
    ],
)
def test_workers_are_as_many_as_cores_and_memory_carry(cores, memory, free, gpu, workers, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "free_bytes", lambda: free)
    assert machine.workers(memory, gpu) == workers


def test_a_container_has_the_cores_and_memory_of_its_control_group(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(64)))
    assert machine.cores() == 64
    (tmp_path / "cpu.max").write_text("350000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert (machine.cores(), machine.free_bytes()) == (3, 600_000)
    (tmp_path / "memory.stat").write_text("anon 100000\ninactive_file 250000\nactive_file 5000\n")
    assert machine.free_bytes() == 850_000
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.cores() == 64
    assert machine.free_bytes() > 600_000


def test_a_signal_ends_a_run_on_dask_and_what_it_leaves_is_swept(model, tmp_path):
    workspace, out = tmp_path / "ws", tmp_path / "out"
    tiny.write_composite(workspace, 2021, tiny.TILES[0])
    area = (
        "--tiles",
        tiny.TILES[0],
        "--year",
        2021,
        "--workspace",
        workspace,
        "--no-fetch",
        "--model",
        model,
    )
    command = [sys.executable, "-m", "isamap", "infer", *map(str, area), "-o", str(out), "--engine", "dask"]
    with subprocess.Popen(
        command, cwd=tiny.REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        while not list(out.glob(".part-*/*.spool")):
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.05)
        run.terminate()
        log = run.communicate(timeout=60)[1]
    assert run.returncode == 143
    assert "isamap: stopped by a signal; run the same command again to resume" in log
    assert "Traceback" not in log
    end = time.monotonic() + 20
    while set(files_in(out)) != {".isamap.lock"}:  # the worker ends a moment after the run
        assert time.monotonic() < end
        time.sleep(0.2)
        sweep(out)
