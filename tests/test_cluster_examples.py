"""What lies in examples/cluster works as it is written."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import tiny
from crashpoints import broken_products, files_in

EXAMPLES = tiny.REPOSITORY / "examples" / "cluster"
TILES = ",".join(tiny.TILES)


@pytest.fixture
def command(tmp_path):
    """An environment in which `isamap` is a command, as after pip install."""
    program = tmp_path / "bin" / "isamap"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m isamap "$@"\n')
    program.chmod(0o755)
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "ISAMAP"))}
    return keep | {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(tiny.REPOSITORY),
    }


def start(script, *arguments, **environment):
    return subprocess.Popen(
        [str(EXAMPLES / script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_two_tasks_of_a_slurm_array_share_the_tiles(command, model, tmp_path):
    workspace = tmp_path / "ws"
    for turn, tile in enumerate(tiny.TILES):
        tiny.write_composite(workspace, 2021, tile, turn=turn)
    area = ("--tiles", TILES, "--year", 2021, "--workspace", workspace, "--model", model)
    slurm = command | {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_MEM_PER_NODE": "16384"}
    tasks = [start("slurm-array.sh", *area, **slurm, SLURM_ARRAY_TASK_ID=str(task)) for task in (1, 2)]
    ends = [task.communicate() for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], ends
    for (printed, log), tile in zip(ends, tiny.TILES, strict=True):
        assert [line.split("/")[-1] for line in printed.splitlines()] == [
            f"{tile}.tif",
            f"{tile}.png",
            f"{tile}.json",
        ]
        assert log == ""
    maps = workspace / "maps" / "tiny" / "2021"
    assert broken_products(maps) == []
    assert {name for name in files_in(maps) if name.startswith(".")} == {".isamap.lock"}
    runs = workspace / "runs"
    assert [path.name for path in sorted(runs.iterdir())] == [
        "infer-tiny-2021.shard-1-of-2.json",
        "infer-tiny-2021.shard-2-of-2.json",
    ]
    status = [sys.executable, "-m", "isamap", "status", "--json", "--workspace", str(workspace)]
    found = subprocess.run(status, check=True, capture_output=True, text=True, env=command)
    (product,) = json.loads(found.stdout)["products"]
    assert (product["wanted"], product["done"], product["failed"]) == (2, 2, {})


def test_the_array_script_says_what_it_misses(command):
    run = start("slurm-array.sh", "--region", "yreb", **command)
    assert "submit this with sbatch" in run.communicate()[1]
    assert run.returncode


def test_a_part_of_an_array_may_be_submitted_again(command, tmp_path):
    echo = tmp_path / "bin" / "isamap"
    echo.write_text('#!/bin/sh\necho "$@"\n')
    slurm = {"SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_ID": "5", "SHARDS": "8"}
    printed, _ = start("slurm-array.sh", "--region", "a b", **command, **slurm).communicate()
    assert printed.split() == [
        "infer",
        "--region",
        "a",
        "b",
        "--shard",
        "5/8",
        "--workers",
        "auto",
        "--quiet",
        "--log-format",
        "json",
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_dask_workers_of_a_batch_system_make_a_map(command, model, tmp_path):
    pytest.importorskip("dask_jobqueue")
    scene = tiny.write_scene(tmp_path / "town.tif")
    script = [sys.executable, str(EXAMPLES / "dask-jobqueue.py"), "local", "1"]
    asked = ["--input", str(scene), "--model", str(model), "-o", str(tmp_path / "out")]
    done = subprocess.run(
        [*script, *asked], check=False, capture_output=True, text=True, env=command, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert broken_products(tmp_path / "out") == []
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shell_scripts_are_clean():
    scripts = sorted(map(str, EXAMPLES.glob("*.sh")))
    assert scripts
    done = subprocess.run(["shellcheck", *scripts], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def commands():
    """Every isamap command that cron or systemd would run."""
    for line in (EXAMPLES / "isamap.cron").read_text().splitlines():
        if match := re.match(r"(?:[\d*]+ +){5}(isamap .*)", line):
            yield re.split(r" >/dev/null | \|\| ", match[1])[0]
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(EXAMPLES / "isamap.service")
    for key in ("ExecStartPre", "ExecStart", "ExecStartPost"):
        yield unit["Service"][key].removeprefix("/opt/isamap/bin/")


@pytest.mark.parametrize("line", list(commands()))
def test_cron_and_systemd_run_commands_that_there_are(line):
    import click
    from click.testing import CliRunner

    from isamap.cli import cli

    program, name, *arguments = line.split()
    assert program == "isamap"
    root = click.Context(cli, **cli.context_settings)  # click remembers a help option without -h otherwise
    context = cli.commands[name].make_context(name, arguments, parent=root)
    assert context.params["workspace"].is_absolute()
    assert CliRunner().invoke(cli, [name, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("code", "mailed"),
    [
        (0, ""),
        (75, ""),
        (3, "isamap: 1 of 2 maps are not made\n"),
        (143, "isamap: 1 of 2 maps are not made\n"),
    ],
)
def test_cron_mails_the_last_word_of_a_run_that_failed_and_nothing_else(command, tmp_path, code, mailed):
    fake = tmp_path / "bin" / "isamap"
    fake.write_text(
        f'#!/bin/sh\necho maps/a.tif\necho "a tile" >&2\necho "isamap: 1 of 2 maps are not made" >&2\nexit {code}\n'
    )
    lines = (EXAMPLES / "isamap.cron").read_text().splitlines()
    (log,) = (line.removeprefix("LOG=") for line in lines if line.startswith("LOG="))
    (infer,) = (line for line in lines if " isamap infer " in line)
    words = re.split(" +", infer, maxsplit=5)[5]
    assert words.replace(" --workers auto", "") in re.sub(
        r"^.*\* +", "", (tiny.REPOSITORY / "docs" / "infer.md").read_text(), flags=re.MULTILINE
    )
    environment = command | {"LOG": str(tmp_path / "infer.log")}
    done = subprocess.run(
        ["sh", "-c", words], check=False, capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert (done.stdout, done.stderr) == (mailed, "")
    assert (tmp_path / "infer.log").read_text().count("\n") == 2
    assert log.startswith("/data/isamap/"), "where the user of the crontab may write"


def test_stopping_the_service_is_no_failure():
    assert "SuccessExitStatus=75 130 143\n" in (EXAMPLES / "isamap.service").read_text()


def test_a_task_that_is_queued_again_keeps_its_log():
    assert "#SBATCH --open-mode=append\n" in (EXAMPLES / "slurm-array.sh").read_text()


CLUSTER = """
class LocalCluster:
    scheduler_address = "tcp://nowhere"
    def __init__(self, **_): pass
    def scale(self, jobs): pass
    def __enter__(self): return self
    def __exit__(self, *_): print("closed", flush=True)
SLURMCluster = PBSCluster = SGECluster = LSFCluster = LocalCluster
"""
RUN = """
import signal, sys
def stop(*_):
    print("cleaned up", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, stop)
print("at work", flush=True)
signal.pause()
"""


def test_a_signal_ends_the_run_cleanly_and_then_the_dask_workers(command, tmp_path):
    for name, text in {
        "dask_jobqueue/__init__.py": CLUSTER,
        "dask_jobqueue/local.py": CLUSTER,
        "isamap.py": RUN,
    }.items():
        path = tmp_path / "stubs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    script = [sys.executable, str(EXAMPLES / "dask-jobqueue.py"), "local", "1", "--region", "yreb"]
    environment = command | {"PYTHONPATH": str(tmp_path / "stubs")}
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as run:
        assert run.stdout.readline() == "at work\n"
        run.terminate()
        said = run.stdout.read()
    assert (said, run.returncode) == ("cleaned up\nclosed\n", 143)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path):
    for name in ("isamap.service", "isamap.timer"):
        text = (EXAMPLES / name).read_text().replace("/opt/isamap/bin/isamap", "/bin/true")
        (tmp_path / name).write_text(text)
    units = [str(tmp_path / "isamap.service"), str(tmp_path / "isamap.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *units], check=False, capture_output=True, text=True)
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line], done.stderr
