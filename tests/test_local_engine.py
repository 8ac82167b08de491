import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from isamap.engine import local
from isamap.errors import InputError, IsamapError, ModelError

# Work functions stand at module level: a spawned worker imports them.


def square(job):
    return job * job


def picky(job):
    if job == 2:
        raise InputError("2 is bad data")
    if job == 4:
        raise ModelError("4 does not fit")
    return job


def buggy(job):
    if job == 1:
        raise ZeroDivisionError("a bug")
    return job


def unspeakable(job):
    return (lambda: job) if job == 1 else job


def dies_once(folder, job):
    """Job 3 kills its worker the first time it is tried."""
    if job == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def poisonous(folder, job, fatal=1):
    """One job kills whoever takes it."""
    if job == fatal:
        with (folder / "deaths").open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return job


def dies_idle(folder, job):
    """The worker of job 0 answers and dies a moment later, before it can take another job."""
    if job == 0:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return job


def slow(folder, job):
    try:
        (folder / f"started-{job}").touch()
        time.sleep(60)
    finally:
        (folder / f"cleaned-{job}").touch()


@pytest.fixture(autouse=True)
def _no_child_is_left():
    yield
    assert multiprocessing.active_children() == []


def results(outcomes):
    return sorted(outcome.result for outcome in outcomes if outcome.fault is None)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_job_has_one_outcome(workers):
    outcomes = list(local.run(range(4), square, workers))
    assert sorted(outcome.job for outcome in outcomes) == list(range(4))
    assert results(outcomes) == [0, 1, 4, 9]


def test_no_job_needs_no_worker():
    assert list(local.run([], square, 3)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_foreseen_faults_are_outcomes_and_the_rest_goes_on(workers):
    outcomes = {outcome.job: outcome for outcome in local.run(range(6), picky, workers)}
    assert results(outcomes.values()) == [0, 1, 3, 5]
    assert isinstance(outcomes[2].fault, InputError)
    assert isinstance(outcomes[4].fault, ModelError)
    assert str(outcomes[2].fault) == "2 is bad data"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_bug_is_raised(workers):
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(local.run(range(3), buggy, workers))


def test_a_result_that_cannot_travel_is_a_bug_and_no_dead_worker():
    with pytest.raises(Exception, match=r"(?i)pickle"):
        list(local.run(range(3), unspeakable, 2))


def test_a_worker_that_is_killed_is_replaced_and_its_job_done_again(tmp_path, caplog):
    outcomes = list(local.run(range(6), partial(dies_once, tmp_path), 2))
    assert results(outcomes) == list(range(6))
    assert "a worker died (exit -9) on 3" in caplog.text


def test_a_job_that_kills_three_workers_is_given_up_and_named(tmp_path):
    outcomes = list(local.run(range(4), partial(poisonous, tmp_path), 2))
    assert (tmp_path / "deaths").read_text() == "x" * local.MAX_DEATHS
    (lost,) = [outcome for outcome in outcomes if outcome.fault]
    assert lost.job == 1
    assert isinstance(lost.fault, IsamapError)
    assert "killed 3 workers" in str(lost.fault)
    assert results(outcomes) == [0, 2, 3]


def test_a_worker_that_dies_between_two_jobs_loses_neither(tmp_path):
    outcomes = []
    for outcome in local.run(range(4), partial(dies_idle, tmp_path), 2):
        outcomes.append(outcome)
        time.sleep(0.3)  # the parent is busy: it learns of the death only when it hands out the next job
    assert results(outcomes) == list(range(4))


def test_handing_a_job_to_a_dead_worker_is_no_fault():
    farm = local._Farm([7, 8], square, 1)
    here, there = multiprocessing.Pipe()
    there.close()
    farm._hand(here, None)
    assert farm.held == {here: (None, 0)}
    here.close()


def test_workers_are_ended_and_clean_up_when_the_caller_stops(tmp_path):
    def stopped(signum, frame):
        raise SystemExit(143)

    before = signal.signal(signal.SIGALRM, stopped)
    try:
        outcomes = local.run(range(2), partial(slow, tmp_path), 2)
        with pytest.raises(SystemExit):
            _next_until_started(outcomes, tmp_path)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert {path.name for path in tmp_path.glob("cleaned-*")} == {"cleaned-0", "cleaned-1"}


def _next_until_started(outcomes, folder: Path):
    """Wait for an outcome; a signal arrives once both workers are at work."""

    def watch():
        while len(list(folder.glob("started-*"))) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGALRM)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        next(outcomes)
    finally:
        watcher.join()


def test_a_run_that_nobody_wants_any_more_ends_its_workers():
    outcomes = local.run(range(6), square, 2)
    next(outcomes)
    outcomes.close()
