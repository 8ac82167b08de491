"""`isamap verify`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli import areas, engines, options, output

if TYPE_CHECKING:
    from isamap.io.audit import Subject

EXAMPLES = """
\b
Examples:
  isamap verify --region yreb/CN032070 --year 2021 --workspace /data/isamap
  isamap verify --region yreb --year 2021 --workspace /data/isamap --quick -j 8
  isamap verify /data/isamap/maps/fast/2021 --json
  isamap verify maps/town-isa.tif
  isamap verify --chips chips/dubai
"""


@click.command(epilog=EXAMPLES)
@options.config
@click.argument("maps", nargs=-1, type=click.Path(path_type=Path))
@options.stack(*areas.AREA)
@options.stack(*options.MAPS)
@options.option(
    "--chips",
    "stores",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    multiple=True,
    help="Look at a chip store of isamap tile instead; repeat it for more.",
    show_default=False,
)
@options.option("--quick", is_flag=True, help="Read items, sizes and headers only: no checksum, no pixel.")
@options.option("--strict", is_flag=True, help="Exit 5 for warnings too.")
@options.stack(*engines.PLACE)
@options.json_output
@options.stack(*options.LOGGING)
def verify(**given: Any) -> None:
    """Tell whether finished maps are all there, undamaged, of one kind, and meet without a seam.

    MAPS are folders or files; --region, --bbox, --aoi or --tiles with --year takes those of the workspace. One line
    per finding: tile, check, what was found, what to do. Exit 5 if there are problems. Nothing is changed.
    """
    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    if given["stores"]:
        _verify_stores(given)
        return
    from isamap.core import verify as recipe

    how = engines.settle(given)
    subjects, report = _subjects(given), recipe.Report()
    for finding in recipe.run(subjects, report, how):
        report.add(finding, keep=given["as_json"])
        if not given["as_json"]:
            click.echo(finding.line)
    if given["as_json"]:
        click.echo(json.dumps(report.document(), ensure_ascii=False))
    report.check(strict=given["strict"])
    if not given["quiet"] and not given["as_json"]:
        output.remark(f"{report.maps} maps and {report.edges} edges: nothing is off")


def _verify_stores(given: dict[str, Any]) -> None:
    """What is off in chip stores."""
    from isamap.core import verify_chips as recipe

    if given["maps"] or areas.area_named(given):
        raise click.UsageError("--chips looks at chip stores alone: give no MAPS and no area beside it")
    report = recipe.Report()
    for finding in recipe.run(given["stores"], report, quick=given["quick"]):
        if not given["as_json"]:
            click.echo(finding.line)
    if given["as_json"]:
        click.echo(json.dumps(report.document(), ensure_ascii=False))
    report.check()
    if not given["quiet"] and not given["as_json"]:
        counts = f"chip stores {report.stores}, shards {report.shards}, chips {report.chips}"
        output.remark(f"{counts}: nothing is off")


def _subjects(given: dict[str, Any]) -> "list[Subject]":
    """The maps that are to be looked at."""
    from isamap.core import verify as recipe

    area = areas.area_named(given)
    if bool(given["maps"]) == bool(area):
        raise click.UsageError("give MAPS, or one of --region, --bbox, --aoi and --tiles with --year")
    if given["maps"]:
        return recipe.path_subjects(given["maps"], quick=given["quick"])
    if given["year"] is None:
        raise click.UsageError("an area needs --year")
    tiles = areas.tiles_of(given)
    return recipe.tile_subjects(
        tiles, given["year"], given["workspace"], given["model"], quick=given["quick"]
    )
