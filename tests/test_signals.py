"""Signals while threads run: kept back, then handed on."""

import os
import signal
import threading
import time

import pytest

from isamap.engine import signals
from isamap.engine.signals import held_signals
from isamap.engine.stream import stream


class StoppedError(Exception):
    """What the handler raises."""


@pytest.fixture
def raising():
    """SIGTERM raises, as it does in the program."""

    def stop(*_):
        raise StoppedError

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def strike(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def test_a_signal_waits_for_the_end_of_the_block_and_wakes_it(raising):
    seen = []

    def block():
        with held_signals(lambda: seen.append("woken")):
            strike()
            seen.append("end")

    with pytest.raises(StoppedError):
        block()
    assert seen == ["woken", "end"]


def test_a_fault_of_the_block_does_not_swallow_the_signal(raising):
    def block():
        with held_signals(lambda: None):
            strike()
            raise ValueError

    with pytest.raises(StoppedError):
        block()


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_signals(pytest.fail):
            strike(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_handlers_are_as_before_afterwards(raising):
    before = signal.getsignal(signal.SIGTERM)
    with held_signals(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_work_cut_short_by_a_handler_that_goes_on_is_not_taken_for_whole():
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with pytest.raises(KeyboardInterrupt), held_signals(lambda: None):
            strike()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_nothing_happens_outside_the_main_thread():
    def block():
        with held_signals(pytest.fail):
            pass

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()


@pytest.mark.parametrize("stage", ["start", "compute"])
def test_no_thread_of_a_stream_outlives_a_signal(raising, stage, monkeypatch):
    """The signal may even arrive between the start of a thread and anything that would join it."""
    if stage == "start":
        start = threading.Thread.start

        def start_under_fire(thread):
            start(thread)
            if thread.name == "isamap-reader":
                strike()

        monkeypatch.setattr(threading.Thread, "start", start_under_fire)

    def compute(value):
        if stage == "compute" and value == 3:
            strike()
        return value

    written = []
    with pytest.raises(StoppedError):
        stream(range(10**6), lambda job: job, compute, written.append)
    assert len(written) < 10**6
    assert [t.name for t in threading.enumerate() if t.name.startswith("isamap-")] == []


def test_a_window_that_takes_long_is_broken_off(raising):
    """On a starved machine one takes a minute; the steps of which it consists are short."""
    steps = []

    def compute(value):
        strike()
        for step in range(1000):
            steps.append(step)
            time.sleep(0.01)
        return value

    with pytest.raises(StoppedError):
        stream(range(3), lambda job: job, compute, lambda _: pytest.fail("wrote"))
    assert len(steps) < 1000


def test_watching_for_signals_costs_no_time(monkeypatch):
    monkeypatch.setattr(signals, "POLL_S", 60.0)
    start = time.monotonic()
    with signals.ended_by_signals(lambda: None):
        pass
    assert time.monotonic() - start < 30
