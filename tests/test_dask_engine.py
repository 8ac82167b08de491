"""The Dask engine does what the local one does; its own cluster on this machine stands for any."""

import os
import subprocess
import sys
import time
from functools import partial

import pytest
import tiny
from test_local_engine import buggy, dies_once, picky, poisonous, results, square

from isamap.core.composing import Settings, composer
from isamap.engine import Engine, dask, run
from isamap.errors import ConfigError, InputError, ModelError, RemoteError

TWO = Engine("dask", 2)
# A cluster leaves sockets and loops to the garbage collector when it ends; that is not ours to warn about.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::DeprecationWarning"
)


@pytest.fixture(scope="module")
def cluster():
    """A cluster that somebody else has started: two workers of one thread, the second with a GPU."""
    distributed = pytest.importorskip("distributed")
    specs = {
        index: {
            "cls": distributed.Nanny,
            "options": {"nthreads": 1, "memory_limit": 0, "resources": {"GPU": 1} if index else {}},
        }
        for index in range(2)
    }
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
    }
    with distributed.SpecCluster(workers=specs, scheduler=scheduler, silence_logs=50) as cluster:
        yield cluster.scheduler_address


def where(job):
    from distributed import get_worker

    return bool(get_worker().state.total_resources.get("GPU"))


def rate(settings, job):
    """Documents a second that this worker may ask the first catalogue for."""
    finder = composer(settings).finder
    return finder.pixels.client(finder.sources[0][0])._pace._rate_per_s


def lingers(job):
    """The first 100 are done at once, the others take a while."""
    if job >= 100:
        time.sleep(0.3)
    return job, os.getpid()


@pytest.fixture
def futures(monkeypatch):
    """Every future that is sent, by the number of its jobs."""
    import distributed

    sent, submit = [], distributed.Client.submit

    def count(self, task, **how):
        sent.append(len(task.args[-2]))
        return submit(self, task, **how)

    monkeypatch.setattr(distributed.Client, "submit", count)
    return sent


def test_every_job_has_one_outcome_and_foreseen_faults_are_outcomes(cluster):
    outcomes = {outcome.job: outcome for outcome in run(range(12), picky, Engine("dask", scheduler=cluster))}
    assert sorted(outcomes) == list(range(12))
    assert results(outcomes.values()) == [0, 1, 3, *range(5, 12)]
    assert isinstance(outcomes[2].fault, InputError)
    assert isinstance(outcomes[4].fault, ModelError)
    assert str(outcomes[2].fault) == "2 is bad data"


def test_workers_are_not_asked_for_with_every_job(cluster, monkeypatch):
    import distributed

    asked, nthreads = [], distributed.Client.nthreads
    monkeypatch.setattr(dask, "POLL_S", 3600)
    monkeypatch.setattr(distributed.Client, "nthreads", lambda self: asked.append(1) or nthreads(self))
    assert len(results(run(range(20), square, Engine("dask", scheduler=cluster)))) == 20
    assert len(asked) == 1


def test_jobs_that_are_done_at_once_share_a_future(cluster, futures):
    outcomes = list(run(range(500), square, Engine("dask", scheduler=cluster)))
    assert sorted(outcome.job for outcome in outcomes) == list(range(500))
    assert results(outcomes) == sorted(job * job for job in range(500))
    assert len(futures) < 50
    assert max(futures) == dask.SHARED_JOBS


def test_jobs_that_take_a_while_have_a_future_each_and_keep_no_worker_idle(cluster, futures):
    outcomes = list(run(range(108), lingers, Engine("dask", scheduler=cluster)))
    slow = [outcome.result for outcome in outcomes if outcome.job >= 100]
    assert sorted(job for job, _ in slow) == list(range(100, 108))
    assert len({worker for _, worker in slow}) == 2
    assert futures[-4:] == [1, 1, 1, 1]


def test_workers_of_a_named_cluster_share_the_rate_of_a_source(cluster, tmp_path):
    settings = Settings(tmp_path, 2021, side_by_side=3)
    alone = rate(settings, 0)
    outcomes = list(run(range(4), partial(rate, settings), Engine("dask", scheduler=cluster)))
    assert [outcome.result for outcome in outcomes] == pytest.approx([alone / 2] * 4)


@pytest.mark.slow
def test_workers_of_our_own_cluster_share_it_already(tmp_path):
    settings = Settings(tmp_path, 2021, side_by_side=2)
    outcomes = list(run(range(4), partial(rate, settings), TWO))
    assert [outcome.result for outcome in outcomes] == pytest.approx([rate(settings, 0)] * 4)


def test_no_job_needs_no_cluster():
    assert list(run([], square, Engine("dask", scheduler="tcp://127.0.0.1:1"))) == []


def test_a_bug_is_raised(cluster):
    with pytest.raises(ZeroDivisionError, match="a bug"):
        list(run(range(3), buggy, Engine("dask", scheduler=cluster)))


def test_jobs_for_a_gpu_go_to_workers_that_declare_one(cluster):
    outcomes = list(run(range(6), where, Engine("dask", scheduler=cluster, gpu=True)))
    assert [outcome.result for outcome in outcomes] == [True] * 6
    outcomes = list(run(range(6), where, Engine("dask", scheduler=cluster)))
    assert {outcome.result for outcome in outcomes} == {True, False}


def test_a_worker_with_another_version_ends_the_run(cluster, monkeypatch):
    monkeypatch.setattr(dask, "__version__", "9.9")
    with pytest.raises(ConfigError, match=r"a Dask worker runs isamap .*, this is 9\.9"):
        list(run(range(3), square, Engine("dask", scheduler=cluster)))


def test_a_run_that_nobody_wants_any_more_takes_its_jobs_back(cluster):
    outcomes = run(range(50), square, Engine("dask", scheduler=cluster))
    next(outcomes)
    outcomes.close()
    assert results(run(range(3), square, Engine("dask", scheduler=cluster))) == [0, 1, 4]


@pytest.mark.slow
def test_a_cluster_of_our_own_says_nothing_of_itself():
    code = (
        "import logging, operator; from isamap import logs; from isamap.engine import Engine, run\n"
        "logs.configure(logging.INFO, 'text')\n"
        "print(len(list(run(range(3), operator.index, Engine('dask', 1)))))"
    )
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, cwd=tiny.REPOSITORY, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("3\n", "")


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_one_job_which_is_done_again(tmp_path, caplog):
    outcomes = list(run(range(6), partial(dies_once, tmp_path), TWO))
    assert results(outcomes) == list(range(6))
    assert "a worker died" in caplog.text


@pytest.mark.slow
def test_a_job_that_kills_three_workers_is_given_up_and_named_as_on_one_machine(tmp_path):
    outcomes = list(run(range(4), partial(poisonous, tmp_path), TWO))
    assert (tmp_path / "deaths").read_text() == "xxx"
    (lost,) = [outcome for outcome in outcomes if outcome.fault]
    assert lost.job == 1
    assert str(lost.fault) == "killed 3 workers: out of memory, or a bug: see the log"
    assert results(outcomes) == [0, 2, 3]


@pytest.mark.slow
def test_a_killer_among_short_jobs_is_found_and_loses_nothing_else(tmp_path, caplog):
    outcomes = list(run(range(300), partial(poisonous, tmp_path, fatal=150), TWO))
    assert (tmp_path / "deaths").read_text() == "xxx"
    assert [outcome.job for outcome in outcomes if outcome.fault] == [150]
    assert results(outcomes) == [job for job in range(300) if job != 150]
    assert caplog.text.count("a worker died") == 3


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "tcp://no.such.host.invalid:8786"])
def test_a_scheduler_that_does_not_answer_is_named(address, monkeypatch):
    monkeypatch.setattr(dask, "ANSWER_S", 0.3)
    with pytest.raises(RemoteError, match=f"no Dask scheduler answers at {address}"):
        list(run(range(3), square, Engine("dask", scheduler=address)))


def test_without_dask_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConfigError, match=r"pip install isamap\[dask\]"):
        list(run(range(3), square, TWO))
