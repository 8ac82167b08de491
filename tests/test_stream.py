import threading
import time

import pytest

from isamap.engine.stream import stream


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def nothing(value):
    return value


def test_every_job_passes_every_stage_in_order():
    seen = []
    stream(range(50), lambda j: j * 10, lambda r: r + 1, seen.append)
    assert seen == [j * 10 + 1 for j in range(50)]


def test_no_job_is_no_work():
    stream([], nothing, nothing, lambda _: pytest.fail("wrote"))


def test_each_stage_has_its_thread_and_computing_stays_on_the_callers():
    names = {}

    def stage(name):
        def note(value):
            names.setdefault(name, set()).add(threading.current_thread())
            return value

        return note

    stream(range(5), stage("read"), stage("compute"), stage("write"))
    assert names["compute"] == {threading.current_thread()}
    assert len(set.union(*names.values())) == 3


@pytest.mark.parametrize("ahead", [1, 2, 4])
@pytest.mark.parametrize("slow", ["compute", "write"])
def test_only_a_few_windows_are_in_memory_at_one_time(ahead, slow):
    lock, alive, peak = threading.Lock(), 0, 0

    def read(job):
        nonlocal alive, peak
        with lock:
            alive += 1
            peak = max(peak, alive)
        return job

    def compute(value):
        time.sleep(0.004 if slow == "compute" else 0)
        return value

    def write(_):
        nonlocal alive
        time.sleep(0.004 if slow == "write" else 0)
        with lock:
            alive -= 1

    stream(range(40), read, compute, write, ahead=ahead)
    assert alive == 0
    assert peak <= 2 * ahead + 4  # two queues, one at either end of each, one in each stage's hands


@pytest.mark.parametrize("stage", ["jobs", "read", "compute", "write"])
@pytest.mark.parametrize("at", [0, 7, 29])
@pytest.mark.parametrize("fault", [ValueError, MemoryError, KeyboardInterrupt, SystemExit])
def test_a_fault_in_any_stage_is_raised_once_the_others_have_ended(stage, at, fault):
    def failing(name):
        def work(value):
            if stage == name and value == at:
                raise fault(f"{name} {value}")
            return value

        return work

    def jobs():
        for job in range(30):
            yield failing("jobs")(job)

    written = []

    def write(value):
        failing("write")(value)
        written.append(value)

    with pytest.raises(fault, match=f"{stage} {at}"):
        stream(jobs(), failing("read"), failing("compute"), write)
    assert written == list(range(len(written)))
    assert len(written) <= at


def test_a_writer_that_fails_while_the_reader_waits_ends_the_reader():
    def write(_):
        raise OSError("disk full")

    start = time.perf_counter()
    with pytest.raises(OSError, match="disk full"):
        stream(iter(int, 1), nothing, nothing, write)  # jobs without end
    assert time.perf_counter() - start < 10


def test_a_fault_on_the_last_write_is_not_lost():
    def write(value):
        if value == 4:
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        stream(range(5), nothing, nothing, write)
