"""`mosaic`, `evaluate`, `change` and `verify` on the engines: the same bytes whoever does the work, and lost workers."""

import os
import random
import shutil
import signal
import sys
from pathlib import Path

import pytest
import tiny
from crashpoints import files_in
from rasterio.windows import Window

from isamap.core.differencing import make as make_change
from isamap.core.evaluate import evaluate_part
from isamap.engine import local
from isamap.io.audit import audit
from isamap.io.counts import count

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
        "ignore::DeprecationWarning",
    ),
]
SIDE_PX = 40
"""Of a scene: its map has 400 px a side."""
PLACES = [(220 + SIDE_PX * col, 300 + SIDE_PX * row) for row in (0, 1) for col in (0, 1, 2)]
ENGINES = {"two": ("-j", 2), "four": ("-j", 4), "dask": ("--engine", "dask", "-j", 2)}
WORK = {
    "mosaic": ("isamap.core.mosaic.count", count),
    "evaluate": ("isamap.core.evaluate.evaluate_part", evaluate_part),
    "change": ("isamap.core.change.make", make_change),
    "verify": ("isamap.core.verify.audit", audit),
}
"""What a job of each command calls."""
VICTIM = "s3-isa"


@pytest.fixture(scope="module")
def ground(tmp_path_factory, model):
    """Maps of six real places side by side by two models, the first with probabilities; and a copy with faults."""
    from isamap.core import infer
    from isamap.core.map_job import Options
    from isamap.core.mapping import mapper
    from isamap.io.raster import SceneInput

    folder = tmp_path_factory.mktemp("ground")
    scenes = [
        tiny.write_scene(folder / f"s{index}.tif", Window(*place, SIDE_PX, SIDE_PX), 3 * (index == 2))
        for index, place in enumerate(PLACES)
    ]
    other = tiny.write_model(folder / "weights", seed=1)
    for out, weights in (("maps", model), ("other", other)):
        jobs = [infer.raster_job(SceneInput((path,)), folder / out) for path in scenes]
        chosen = Options(model=str(weights), threads=-2, probability=out == "maps")
        assert not infer.run(jobs, chosen).faults
    mapper.cache_clear()
    shutil.copytree(folder / "maps", folder / "later")
    broken = Path(shutil.copytree(folder / "maps", folder / "broken"))
    (broken / "s1-isa.json").unlink()
    (broken / "s4-isa.tif").write_bytes((broken / "s4-isa.tif").read_bytes()[:-300])
    (broken / "s5-isa.json").write_text(
        (broken / "s5-isa.json").read_text().replace('"threshold": 0.5', '"threshold": 0.51')
    )
    return folder


def arguments(command, ground):
    """One run of each command that has a bit of everything."""
    maps, other, later = (ground / name for name in ("maps", "other", "later"))
    return {
        "mosaic": (maps, "-o", "out", "--overview-res", 30, "--res", 1, "--sheet-size", 512, "--json"),
        "evaluate": (maps, "--labels", other, "--strata", "density", "--json", "-o", "out"),
        "change": (maps, other, later, "--years", "2017,2019,2021", "--force", "--json", "-o", "out"),
        "verify": (ground / "broken",),
    }[command]


@pytest.fixture
def ended(isamap, ground, tmp_path, monkeypatch):
    """Runs a command in a folder of its own: exit code, what it printed, and every file that it left."""

    def run(command, name, *engine):
        here = tmp_path / name
        here.mkdir()
        monkeypatch.chdir(here)
        found = isamap(command, *arguments(command, ground), *engine, "-q")
        return found.code, found.out.replace(f"{here}/", ""), files_in(here)

    return run


@pytest.mark.parametrize("command", WORK)
def test_workers_orders_and_dask_leave_the_same_bytes(ended, command, monkeypatch):
    expected = ended(command, "one")
    assert expected[0] == (5 if command == "verify" else 0)
    assert len(expected[2]) > 8 or command == "verify"
    for name, engine in ENGINES.items():
        assert ended(command, name, *engine) == expected, name
    for seed in (1, 2, 3):
        monkeypatch.setattr("isamap.engine.run", shuffled(seed))
        assert ended(command, f"order{seed}") == expected, f"order {seed}"


def shuffled(seed):
    """An engine that does and gives back jobs in any order."""
    return lambda jobs, work, how: local.run(random.Random(seed).sample(list(jobs), len(jobs)), work)


def fatal(command, *given):
    """The work of a command, which kills its worker on one tile: always, or only the first time."""
    *_, job = given
    deaths = Path(os.environ["ISAMAP_TEST_DEATHS"])
    if VICTIM in str(job) and (deaths.name == "always" or not deaths.exists()):
        with deaths.open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return WORK[command][1](*given)


def fatal_mosaic(*given):
    return fatal("mosaic", *given)


def fatal_evaluate(*given):
    return fatal("evaluate", *given)


def fatal_change(*given):
    return fatal("change", *given)


def fatal_verify(*given):
    return fatal("verify", *given)


def make_fatal(command, deaths, monkeypatch):
    monkeypatch.setenv("ISAMAP_TEST_DEATHS", str(deaths))
    monkeypatch.setattr(WORK[command][0], getattr(sys.modules[__name__], f"fatal_{command}"))


@pytest.mark.parametrize("engine", ["two", "dask"])
@pytest.mark.parametrize("command", WORK)
def test_a_worker_that_is_killed_changes_nothing(ended, command, engine, tmp_path, monkeypatch):
    expected = ended(command, "one")
    make_fatal(command, tmp_path / "once", monkeypatch)
    assert ended(command, "killed", *ENGINES[engine]) == expected
    assert (tmp_path / "once").read_text() == "x"


@pytest.mark.parametrize(("command", "code"), [("mosaic", 3), ("evaluate", 1), ("change", 3), ("verify", 5)])
def test_a_tile_that_kills_three_workers_is_named(isamap, ground, command, code, tmp_path, monkeypatch):
    make_fatal(command, tmp_path / "always", monkeypatch)
    monkeypatch.chdir(tmp_path)
    found = isamap(command, *arguments(command, ground), "-j", 2)
    assert found.code == code
    assert (tmp_path / "always").read_text() == "xxx"
    told = [line for line in (found.out + found.err).splitlines() if "killed 3 workers" in line]
    assert told, found.err
    assert all(VICTIM in line for line in told)


def test_shards_of_a_change_leave_the_tiles_and_the_last_run_the_report(
    isamap, ground, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    given = arguments("change", ground)
    expected = isamap("change", *given)
    assert expected.document["made"] == 6
    whole = files_in(tmp_path / "out")
    shutil.rmtree("out")
    parts = [isamap("change", *given, "--shard", f"{index}/2") for index in (2, 1)]
    assert [part.document["made"] for part in parts] == [3, 3]
    assert not (tmp_path / "out" / "report.json").exists()
    last = isamap("change", *given)
    assert (last.document["made"], last.document["skipped"]) == (0, 6)
    assert last.document["tables"] == expected.document["tables"]
    assert visible_rasters(tmp_path / "out") == {
        name: content for name, content in whole.items() if name.endswith(".tif")
    }


def visible_rasters(folder):
    return {name: content for name, content in files_in(folder).items() if name.endswith(".tif")}


@pytest.mark.parametrize("command", ["mosaic", "evaluate", "verify"])
def test_one_product_has_no_shards(isamap, ground, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = isamap(command, *arguments(command, ground), "--shard", "1/2")
    assert found.code == 2
    assert "--shard" in found.err


def test_a_sample_is_not_for_workers(isamap, ground, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = isamap("evaluate", ground / "maps", "--design", "--size", 9, "-o", "out", "-j", 2)
    assert found.code == 2
    assert "--workers goes with --labels or --reference" in found.err
