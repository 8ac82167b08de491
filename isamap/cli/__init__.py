"""The command line: parsing and printing, exit codes, signals. The only user of click."""

import errno
import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Any

import click

from isamap import __version__
from isamap.cli.change import change
from isamap.cli.doctor import doctor
from isamap.cli.evaluate import evaluate
from isamap.cli.fetch import fetch
from isamap.cli.infer import infer
from isamap.cli.models import models
from isamap.cli.mosaic import mosaic
from isamap.cli.regions import regions
from isamap.cli.status import status
from isamap.cli.tile import tile
from isamap.cli.train import train
from isamap.cli.verify import verify
from isamap.errors import IsamapError, StorageError

EXIT_CODES = """
\b
Exit codes: 0 done or nothing to do; 1 a bug; 2 usage; 3 some maps failed; 5 a check failed;
65 bad data; 66 missing input; 69 remote refused; 70 model does not fit; 74 storage;
75 busy, try later; 78 bad configuration; 130/143 stopped cleanly by a signal.
"""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        """The command's own outcome; click would call a reader that has gone (`| head`) exit 1, a bug."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the very end
            ctx.exit(0)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="isamap")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, *, debug: bool) -> None:
    """1 m impervious-surface maps from free 10 m Sentinel-2 imagery."""
    ctx.ensure_object(dict)["debug"] = debug


for command in (fetch, infer, mosaic, evaluate, change, status, verify, doctor, tile, train, models, regions):
    cli.add_command(command)


class Stopped(SystemExit):
    """A signal asked us to stop: unwind, clean up, exit with 128 + its number."""


def _stop(signum: int, _: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_DFL)  # a second signal ends at once
    raise Stopped(128 + signum)


def _say(text: str) -> None:
    """A last word on stderr; where it cannot be written, the exit code still counts."""
    with suppress(OSError):
        click.echo(text, err=True)


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    context: dict[str, Any] = {"debug": False}
    try:
        sys.exit(cli.main(args, prog_name="isamap", obj=context, standalone_mode=False) or 0)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
    except IsamapError as fault:
        if context["debug"]:
            raise
        _say(f"isamap: {' '.join(str(fault).split())}")
        sys.exit(fault.exit_code)
    except OSError as fault:  # the disk under a redirected stdout or stderr is full
        if fault.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        _say(f"isamap: cannot write to stdout or stderr: {fault.strerror}")
        sys.exit(StorageError.exit_code)
    except Stopped as stop:
        _say("isamap: stopped by a signal; run the same command again to resume")
        sys.exit(stop.code)
