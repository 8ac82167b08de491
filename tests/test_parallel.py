"""Two processes that share the chips of a step take the step of one process with all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch
from test_train_cli import RECIPE, REPOSITORY, data  # noqa: F401  # the town of the tests of `isamap train`

TOLERANCE = 2e-5
"""Largest difference of any weight after 6 steps in float32: the two add in another order."""


def run(recipe, folder, out, processes):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    start = launcher if processes > 1 else []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ISAMAP_")}
    return subprocess.run(
        [
            sys.executable,
            *start,
            "-m",
            "isamap",
            "train",
            recipe,
            "--data",
            folder,
            "-o",
            out,
            "--device",
            "cpu",
        ],
        env=environment | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def recipe(data):  # noqa: F811
    """Four chips of several kinds, so that the processes hold different numbers of labelled pixels."""
    path = data / "parallel.toml"
    path.write_text(
        RECIPE.replace("[schedule]", '[schedule]\nprecision = "float32"\nkeep = "last"').replace(
            'name = "fast"', 'name = "joint"\nmid = 8\nmid_blocks = 1\nfine = 4'
        )
    )
    return path


@pytest.mark.slow
def test_two_processes_equal_one_at_the_same_global_batch(recipe, data, tmp_path):  # noqa: F811
    for processes in (1, 2):
        done = run(recipe, data, tmp_path / str(processes), processes)
        assert done.returncode == 0, done.stderr
        assert str(tmp_path / str(processes) / "joint.safetensors") in done.stdout
    one, two = (safetensors.torch.load_file(tmp_path / n / "training-state.safetensors") for n in "12")
    assert one.keys() == two.keys()
    for name in one:
        if name.startswith(("network.", "average.")):
            torch.testing.assert_close(one[name], two[name], rtol=0, atol=TOLERANCE)
    logs = [json.loads((tmp_path / n / "training.json").read_text())["log"] for n in "12"]
    for first, second in zip(*logs, strict=True):
        assert first["loss"] == pytest.approx(second["loss"], abs=1e-4)
    cards = [json.loads((tmp_path / n / "joint.json").read_text())["training"] for n in "12"]
    assert [card["processes"] for card in cards] == [1, 2]


@pytest.mark.slow
def test_more_processes_than_chips_are_refused(recipe, data, tmp_path):  # noqa: F811
    path = Path(recipe)
    path.write_text(
        path.read_text().replace(
            "simulated = 1\nscenes = 1\npatches = 1", "simulated = 0\nscenes = 0\npatches = 0"
        )
    )
    done = run(path, data, tmp_path, 2)
    assert done.returncode != 0
    assert "1 chips a step are too few for 2 processes" in done.stderr
