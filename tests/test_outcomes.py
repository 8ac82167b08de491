"""What a run makes of the outcomes of its jobs: rows, faults, log lines, and when it stops."""

import io
import logging
import sys
from dataclasses import dataclass, field

import pytest

from isamap.core.outcomes import collect, failure
from isamap.engine.local import Outcome
from isamap.errors import InputError, IsamapError, MissingInputError, StorageError


@dataclass(frozen=True)
class Row:
    name: str
    state: str
    error: str | None = None


@dataclass
class Report:
    rows: list[Row] = field(default_factory=list)
    faults: list[IsamapError] = field(default_factory=list)
    stopped: IsamapError | None = None


def row_of(outcome):
    if outcome.fault is None:
        return Row(outcome.job, outcome.result)
    return Row(outcome.job, *failure(outcome.job, outcome))


def run(jobs, stop_on=StorageError):
    """A report of jobs, each of them a name and a fault or None, and what was still open when they were collected."""
    report, left = Report(), list(jobs)

    def outcomes():
        try:
            while left:
                name, fault = left.pop(0)
                yield Outcome(name, "made" if fault is None else None, fault)
        finally:
            left.insert(0, "closed")

    collect(report, outcomes(), row_of, count=len(jobs), unit="tile", label="test", stop_on=stop_on)
    return report, left, report.stopped


MISSING = MissingInputError("b: no scene of 2021")
DAMAGED = InputError("S2A_x: is cut off")
FULL = StorageError("the disk is full")


def test_rows_are_in_the_order_of_names_and_faults_as_they_came():
    report, left, stopped = run([("c", DAMAGED), ("a", None), ("b", MISSING)])
    assert report.rows == [
        Row("a", "made"),
        Row("b", "missing", "no scene of 2021"),
        Row("c", "failed", "S2A_x: is cut off"),
    ]
    assert (report.faults, left, stopped) == ([DAMAGED, MISSING], ["closed"], None)


def test_every_fault_is_logged_with_its_job_named_once(caplog):
    run([("c", DAMAGED), ("b", MISSING), ("a", None)])
    assert caplog.messages == ["c: S2A_x: is cut off", "b: no scene of 2021"]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_a_lone_fault_is_left_to_the_command(caplog):
    report, _, stopped = run([("b", MISSING)])
    assert (report.faults, stopped, caplog.messages) == ([MISSING], None, [])


@pytest.mark.parametrize(
    ("stop_on", "stopped_by", "left"),
    [
        (StorageError, FULL, [("e", None)]),
        ((StorageError, MissingInputError), MISSING, [("d", FULL), ("e", None)]),
        (IsamapError, DAMAGED, [("b", MISSING), ("d", FULL), ("e", None)]),
    ],
)
def test_a_run_stops_at_the_first_fault_that_it_must_not_go_on_after(stop_on, stopped_by, left):
    jobs = [("a", None), ("c", DAMAGED), ("b", MISSING), ("d", FULL), ("e", None)]
    report, open_still, stopped = run(jobs, stop_on)
    assert stopped is stopped_by
    assert report.faults[-1] is stopped_by
    assert open_still == ["closed", *left], "engines end their workers when outcomes are closed"


def test_rows_are_in_order_after_a_stop_too():
    report, _, _ = run([("c", None), ("a", None), ("b", FULL)])
    assert [row.name for row in report.rows] == ["a", "b", "c"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_bar_counts_what_has_ended_unless_it_is_alone(count, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    run([(str(number), None) for number in range(count)])
    assert ("test" in terminal.getvalue()) == (count > 1)
