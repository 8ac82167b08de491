"""Outcomes come in the order of the jobs, whoever is done first."""

import multiprocessing
import random
import time
from functools import partial

import pytest
from test_local_engine import buggy, picky, poisonous, slow

from isamap import engine
from isamap.engine import LOCAL, Engine, local
from isamap.engine.order import run_in_order


def slow_first(job):
    """The earlier a job the longer it takes."""
    time.sleep(0.3 - 0.1 * job)
    return -job


@pytest.mark.parametrize("workers", [1, 3])
def test_early_outcomes_wait_for_their_turn(workers):
    outcomes = list(run_in_order(range(3), slow_first, Engine(workers=workers)))
    assert [(outcome.job, outcome.result) for outcome in outcomes] == [(0, 0), (1, -1), (2, -2)]


@pytest.mark.parametrize("seed", range(5))
def test_whatever_order_an_engine_takes(seed, monkeypatch):
    def shuffled(jobs, work, how):
        return local.run(random.Random(seed).sample(list(jobs), len(jobs)), work)

    monkeypatch.setattr(engine, "run", shuffled)
    outcomes = list(run_in_order(range(9), picky, LOCAL))
    assert [outcome.job for outcome in outcomes] == list(range(9))
    assert [outcome.job for outcome in outcomes if outcome.fault] == [2, 4]


def test_what_is_added_up_does_not_wait_for_the_end():
    """An outcome whose turn has come is given at once: nothing piles up."""
    outcomes = run_in_order(range(10**6), buggy, LOCAL)
    assert next(outcomes).job == 0
    with pytest.raises(ZeroDivisionError):
        next(outcomes)


def test_a_job_that_kills_its_workers_is_logged_by_its_own_name(tmp_path, caplog):
    outcomes = list(run_in_order(range(3), partial(poisonous, tmp_path), Engine(workers=2)))
    assert [outcome.result for outcome in outcomes] == [0, None, 2]
    assert caplog.messages == ["a worker died (exit -9) on 1"] * 3


def test_no_worker_outlives_a_run_that_nobody_wants_any_more(tmp_path):
    outcomes = run_in_order(["a", 0.0, "b"], partial(quick_or_slow, tmp_path), Engine(workers=2))
    with pytest.raises(ZeroDivisionError):
        next(outcomes)
    outcomes.close()
    assert multiprocessing.active_children() == []


def quick_or_slow(folder, job):
    if job == 0.0:
        time.sleep(0.5)
        return buggy(1)
    return slow(folder, job)
