"""What becomes of the jobs of a run: a row for each, the faults, and when there is no point in going on."""

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from typing import Any, Literal, Protocol, TypeVar

from isamap.engine.local import Job, Outcome, Result
from isamap.errors import IsamapError, MissingInputError
from isamap.progress import Progress

log = logging.getLogger(__name__)


class Line(Protocol):
    """One line of a report."""

    @property
    def name(self) -> str:
        """Of the job."""

    @property
    def error(self) -> str | None:
        """Why it failed."""


Row = TypeVar("Row", bound=Line)


class Table(Protocol[Row]):
    """A report that grows as jobs end."""

    rows: list[Row]
    """A line for each."""
    faults: list[IsamapError]
    """Of those that failed, as they came."""
    stopped: IsamapError | None
    """The one that nothing could go on after."""


def collect(
    report: Table[Row],
    outcomes: Iterable[Outcome[Job, Result]],
    row: Callable[[Outcome[Job, Result]], Row],
    *,
    count: int,
    unit: str,
    label: str,
    stop_on: type[IsamapError] | tuple[type[IsamapError], ...],
) -> None:
    """Take every outcome into the report, whose rows are in the order of their names in the end.

    Args:
        report: takes rows and faults.
        outcomes: as jobs end. They are closed in the end, whatever it is: no worker outlives its run.
        row: the line of an outcome.
        count: jobs. Of a lone one there is no bar, and its fault is not logged: it will be the command's last word.
        unit: what the bar counts.
        label: what the bar says.
        stop_on: faults that the next job would meet as well, or that nobody wants to go on after: the first one ends it.
    """
    try:
        with closing(_each(outcomes)) as ended, Progress(count, unit, label, show=count > 1) as bar:
            for outcome in ended:
                line = row(outcome)
                report.rows.append(line)
                if outcome.fault is not None:
                    if count > 1:
                        log.error("%s: %s", line.name, line.error)
                    report.faults.append(outcome.fault)
                    if isinstance(outcome.fault, stop_on):
                        report.stopped = outcome.fault
                        return
                bar.advance()
    finally:
        report.rows.sort(key=lambda line: line.name)


def _each(outcomes: Iterable[Outcome[Job, Result]]) -> Generator[Outcome[Job, Result], None, None]:
    """The outcomes; to close this is to close them."""
    yield from outcomes


def failure(name: str, outcome: Outcome[Any, Any]) -> tuple[Literal["missing", "failed"], str]:
    """State of a job that failed, and why.

    A fault that may be a command's only word opens with the job's name; beside that name it is not said again.
    """
    reason = str(outcome.fault).removeprefix(f"{name}: ")
    return "missing" if isinstance(outcome.fault, MissingInputError) else "failed", reason
