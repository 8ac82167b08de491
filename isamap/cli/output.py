"""Where words go: results to stdout, remarks to stderr in the form of the log; the reader of either may go away."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

import click

from isamap.errors import ConfigError

CONFIG_PATH = "isamap.config"
"""Key of a context's `meta`: which configuration file lies under its defaults."""


class _Patient:
    """A stream whose reader may go away (`| head`): from then on it is silent, and the work goes on to its own end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_read = True
        """Whether there is a reader, as far as was noticed."""

    def write(self, text: str) -> int:
        """Hand on text, if anybody reads."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._silence()
            return len(text)

    def flush(self) -> None:
        """Hand on what was written, if anybody reads."""
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
def patient_streams() -> Iterator[None]:
    """Let the readers of stdout and stderr go away during the block; the exit code stays that of the work."""
    _open_closed()
    with redirect_stdout(_Patient(sys.stdout)), redirect_stderr(_Patient(sys.stderr)):
        yield


def _open_closed() -> None:
    """What the shell closed (`>&-`) leads nowhere: Python has no such stream, and the next file would get its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # noqa: FBT003
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


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


def refuse(fault: click.ClickException) -> int:
    """Exit code of what is wrong with the command line, or with a value from elsewhere, which is said.

    Once the form of the log is known, it is said in that form.
    """
    from isamap import logs

    told = _elsewhere(fault)
    if told:
        last_word(told)
        return ConfigError.exit_code
    if logs.is_json():
        last_word(fault.format_message())
    else:
        fault.show()
    return fault.exit_code


def _elsewhere(fault: click.ClickException) -> str:
    """Whose value is refused, and why, if it stands in the configuration file or the environment; else nothing."""
    if not isinstance(fault, click.BadParameter) or not fault.ctx:
        return ""
    hinted = (one for one in fault.ctx.command.params if fault.param_hint in one.opts)
    param = fault.param or next(hinted, None)
    if param is None or param.name is None:
        return ""
    source = fault.ctx.get_parameter_source(param.name)
    if source is click.core.ParameterSource.DEFAULT_MAP:
        return f"{fault.ctx.meta[CONFIG_PATH]}: {param.name}: {fault.message}"
    if source is click.core.ParameterSource.ENVIRONMENT:
        return f"{param.envvar} in the environment: {fault.message}"
    return ""
