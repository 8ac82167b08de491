"""`isamap tile` killed: never a file that is not what its item says, never an index of other shards."""

import itertools

import pytest
import towns
from crashpoints import broken_products, files_in, killed_in_command, visible

from isamap.errors import IsamapError
from isamap.io.chipstore import open_chips

STEP = 61
"""Every so many crash points: a share of all, each a process of two seconds."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return towns.write_town(tmp_path_factory.mktemp("town"), towns.make_town(64, 64))


def command(ground, out, *more):
    return [
        *("isamap", "tile", "--imagery", str(ground / "imagery.tif"), "--labels", str(ground / "isa.tif")),
        *("-o", str(out), "--chip-px", "32", "--buffer", "0", "--preview", "-q", *more),
    ]


def undisturbed(ground, out, *more):
    assert not killed_in_command(command(ground, out, *more), 0, capture_output=True)
    return visible(files_in(out))


def _check(folder):
    assert broken_products(folder) == []
    try:
        with open_chips(folder) as store:
            for chip in store.chips:
                store.read(chip, ("B02",))
    except IsamapError:
        return  # said so


@pytest.mark.slow
def test_killed_anywhere_the_next_run_ends_as_if_nothing_had_happened(ground, tmp_path):
    expected = undisturbed(ground, tmp_path / "whole")
    for n in itertools.count(1, STEP):
        out = tmp_path / str(n)
        if not killed_in_command(command(ground, out), n, capture_output=True):
            break
        _check(out) if out.exists() else None
        assert undisturbed(ground, out) == expected
        assert not list(out.glob(".part-*"))
    assert n > 2 * STEP, "it was killed at several points"


@pytest.mark.slow
def test_killed_while_other_chips_replace_older_ones(ground, tmp_path):
    other = ("--val", "0.4", "--align")
    expected = undisturbed(ground, tmp_path / "whole", *other)
    for n in itertools.count(5, 2 * STEP):
        out = tmp_path / str(n)
        undisturbed(ground, out)
        if not killed_in_command(command(ground, out, *other), n, capture_output=True):
            break
        _check(out)
        assert undisturbed(ground, out, *other) == expected
    assert n > STEP
