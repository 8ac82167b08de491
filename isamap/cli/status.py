"""`isamap status`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli import areas, options, output

if TYPE_CHECKING:
    from isamap.core.status import Composites, Standing

EXAMPLES = """
\b
Examples:
  isamap status --workspace /data/isamap
  isamap status --region yreb --year 2021 --workspace /data/isamap --watch 60
"""
HEAD = (
    *("model", "year", "wanted", "done", "failed", "stale?", "waiting", "no input"),
    *("at work", "maps/h", "h left", "GB", "last", "run"),
)

NAMED = 3
"""Tiles that are named of those to be made; --json names all."""


@click.command(epilog=EXAMPLES)
@options.config
@options.stack(*areas.AREA)
@options.option("--year", type=click.IntRange(2015, 2100), help="Only this year.")
@options.workspace
@options.option("--model", metavar="NAME", help="Only this model.", default=None, show_default=False)
@options.option(
    "--watch",
    type=options.Number(0.1),
    metavar="SECONDS",
    help="Say it again that often, until stopped.",
    show_default=False,
)
@options.json_output
@options.stack(*options.LOGGING)
def status(**given: Any) -> None:
    """Tell where the maps of a workspace stand, while a run goes on or after it.

    Per model and year: tiles wanted, done, failed, waiting, at work, rate and time left; then each
    failed tile with its error, and how many are to be made (--json names them all); then the composites that
    were fetched. Only looks: no lock is taken, nothing is written.
    """
    import time

    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    from isamap.core import status as recipe
    from isamap.errors import MissingInputError

    area = areas.area_named(given)
    if not given["workspace"].is_dir():
        raise MissingInputError(f"{given['workspace']} is no folder: give the workspace of the runs")
    tiles = {str(tile) for tile in areas.tiles_of(given)} if area else None
    model = Path(given["model"]).stem if given["model"] else None
    while True:
        standings = recipe.run(given["workspace"], model, given["year"], tiles)
        fetched = recipe.composites(given["workspace"], given["year"], tiles)
        document = recipe.document(standings, given["workspace"], fetched)
        if given["as_json"]:
            click.echo(json.dumps(document, ensure_ascii=False))
        else:
            _print(standings, fetched, document["free_bytes"])
        if given["watch"] is None or not output.is_read():
            return
        time.sleep(given["watch"])


def _print(standings: "list[Standing]", fetched: "list[Composites]", free_bytes: int) -> None:
    """A table, then what failed and what is to be made, then composites, then the disk."""
    rows = [HEAD, *(_row(standing) for standing in standings)]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for standing in standings:
        for tile, text in standing.failed.items():
            click.echo(f"failed  {standing.model} {standing.year}  {tile}  {' '.join(text.split())}")
        _name_some(f"missing  {standing.model} {standing.year}", list(standing.missing))
        _name_some(f"to make  {standing.model} {standing.year}", standing.to_make)
    for one in fetched:
        if one.fetched:
            run = f", process {one.pid}" if one.pid is not None else ""
            click.echo(
                f"composites {one.year}: {one.done} fetched, {one.foreign} others, {len(one.failed)} failed, "
                f"{len(one.at_work)} at work, {one.size_bytes / 1e9:.3f} GB{run}"
            )
        for tile, text in one.failed.items():
            click.echo(f"failed  composite {one.year}  {tile}  {' '.join(text.split())}")
        _name_some(f"missing  composite {one.year}", list(one.missing))
    click.echo(f"{free_bytes / 1e9:.1f} GB free")


def _name_some(label: str, tiles: Sequence[str]) -> None:
    """How many tiles, and the first of them by name."""
    if tiles:
        others = f" and {len(tiles) - NAMED} more" if len(tiles) > NAMED else ""
        click.echo(f"{label}  {len(tiles)}  {', '.join(tiles[:NAMED])}{others}")


def _row(standing: "Standing") -> tuple[str, ...]:
    """One model and year."""
    run = f"process {standing.pid}" if standing.pid is not None else "-"
    if standing.unclaimed and standing.pid is None:
        run = f"{len(standing.unclaimed)} part folders of a dead run or another machine"
    cells = (
        *(standing.model, standing.year, standing.wanted, standing.done, len(standing.failed)),
        *(len(standing.stale), standing.waiting, standing.no_input, len(standing.at_work)),
        *(
            standing.maps_per_hour,
            standing.hours_left,
            f"{standing.size_bytes / 1e9:.3f}",
            standing.last,
            run,
        ),
    )
    return tuple(
        "-" if cell is None else f"{cell:g}" if isinstance(cell, float) else str(cell) for cell in cells
    )
