"""Where words go: results to a stdout whose reader may go away, remarks to stderr in the form of the log."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, TextIO

import click

from isamap.errors import ConfigError

CONFIG_PATH = "isamap.config"
"""Key of a context's `meta`: which configuration file lies under its defaults."""


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
