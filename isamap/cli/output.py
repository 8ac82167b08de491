"""Where words go: results to a stdout whose reader may go away, remarks to stderr in the form of the log."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

import click


class _Stdout:
    """stdout whose reader may go away (`| head`): from then on it is silent, and the work goes on to its own end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_read = True
        """Whether there is a reader, as far as was noticed."""

    def write(self, text: str) -> int:
        """Print text, if anybody reads."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        """Hand on what is printed, if anybody reads."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._silence()

    def _silence(self) -> None:
        self.is_read = False
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())  # for what is buffered, and the flush at the very end
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def patient_stdout() -> Iterator[None]:
    """Let a reader of stdout go away during the block; the exit code stays that of the work."""
    # Python has no stdout at all where the shell closed it (`>&-`)
    with redirect_stdout(sys.stdout and _Stdout(sys.stdout)):
        yield


def is_read() -> bool:
    """Whether anybody reads stdout still: `status --watch` has nothing else to live for."""
    return bool(getattr(sys.stdout, "is_read", True))


def remark(text: str, level: int = logging.INFO) -> None:
    """A line on stderr beside the log: as it is, or a record of it with `--log-format json`."""
    from isamap import logs

    click.echo(logs.line(text, level), err=True)


def last_word(text: str) -> None:
    """Why a command ends without success; where it cannot be written, the exit code still counts."""
    with suppress(OSError):
        remark(f"isamap: {text}", logging.ERROR)


def refuse(fault: click.ClickException) -> None:
    """What is wrong with the command line; once the form of the log is known, in that form."""
    from isamap import logs

    if logs.is_json():
        last_word(fault.format_message())
    else:
        fault.show()
