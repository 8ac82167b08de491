"""The command line: parsing and printing, exit codes, signals. The only user of click."""

import os
import signal
import sys
from itertools import pairwise
from pathlib import Path
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
from isamap.cli.output import last_word, patient_streams, refuse
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


class _Isamap(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command, once no word is empty: as a path it would be the current folder, as anything else not given."""
        for before, word in pairwise(["", *args]):
            if not word:
                option = f"{before} " if before.startswith("-") else ""
                raise click.UsageError(f"{option}'': an empty word, as of a variable that is not set")
            if word.startswith("--") and word.partition("=")[1:] == ("=", ""):
                raise click.UsageError(f"{word}: nothing after it, as of a variable that is not set")
        return super().resolve_command(ctx, args)


@click.group(cls=_Isamap, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
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


def main(args: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    with patient_streams():
        sys.exit(_run(args))


def _run(args: list[str] | None) -> int:
    """Exit code of the command line, after its last word."""
    context: dict[str, Any] = {"debug": False}
    try:
        return cli.main(args, prog_name="isamap", obj=context, standalone_mode=False) or 0
    except click.ClickException as fault:
        return refuse(fault)
    except IsamapError as fault:
        if context["debug"]:
            raise
        last_word(" ".join(str(fault).split()))
        return fault.exit_code
    except OSError as fault:
        if context["debug"] or not (word := _storage_word(fault)):
            raise
        last_word(word)
        return StorageError.exit_code
    except Stopped as stop:
        last_word("stopped by a signal; run the same command again to resume")
        return int(stop.code or 0)


def _storage_word(fault: OSError) -> str:
    """What the disk refuses, that of stdout too; empty where a fault is none of the disk."""
    from isamap.io.locks import NO_SPACE, STORAGE_FAULTS, storage_error

    if isinstance(fault.filename, str | os.PathLike) and fault.errno in STORAGE_FAULTS:
        return " ".join(str(storage_error(Path(fault.filename), fault)).split())
    return f"cannot write to stdout or stderr: {fault.strerror}" if fault.errno in NO_SPACE else ""
