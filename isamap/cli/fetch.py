"""`isamap fetch`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli import areas, engines, options, output

if TYPE_CHECKING:
    from isamap.domain.fetch_tables import Report
    from isamap.domain.grid import Tile
    from isamap.engine import Engine

EXAMPLES = """
\b
Examples:
  isamap fetch --bbox 106.18,29.55,106.28,29.62 --year 2021 --workspace /data/isamap
  isamap fetch --region yreb/CN032070 --year 2021 --months 4-10 --workspace /data/isamap -j 4
  isamap fetch --aoi town.geojson --year 2021 --source scenes/ --method best
  isamap fetch --region yreb --year 2021 --dry-run
  isamap fetch --region yreb/CN032070 --product worldcover-v200 --workspace /data/isamap
"""


@click.command(epilog=EXAMPLES)
@options.config
@options.stack(*areas.AREA)
@options.option("--year", type=click.IntRange(2015, 2100), help="Year of the composites.")
@options.stack(*options.COMPOSING)
@options.option(
    "--product",
    "products",
    metavar="NAME",
    multiple=True,
    envvar="ISAMAP_FETCH_PRODUCT",
    help="Fetch this reference product for `isamap evaluate` instead: worldcover-v200, worldcover-v100.",
    show_default=False,
)
@options.option(
    "--product-url",
    metavar="URL|FILE",
    help="Another place of --product; {ll} is the name of a 3-degree sheet, N30E105.",
    show_default=False,
)
@options.workspace
@options.stack(*engines.ENGINE)
@options.max_tiles
@options.on_error
@options.option("--overwrite", is_flag=True, help="Redo finished tiles.")
@options.wait
@options.report_file
@options.stack(*options.OUTPUT)
@options.stack(*options.LOGGING)
def fetch(**given: Any) -> None:
    """Make cloud-free Sentinel-2 composites of an area from public catalogues.

    One file per 10.24 km tile in <workspace>/composites/<year>, its STAC item beside it: every scene used or dropped
    with the reason, the offset decided on for each, clear looks, gaps. Finished tiles are skipped; the command can be
    repeated at any time. The report has a table of scenes and clear ground per tile and month.
    """
    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    if areas.area_named(given) is None:
        raise click.UsageError("give exactly one of --region, --bbox, --aoi and --tiles")
    if len(given["products"]) > 1:
        raise click.UsageError("one --product at a time")
    if not given["products"] and given["year"] is None:
        raise click.UsageError("composites need --year")
    how = engines.settle(given)
    tiles = areas.tiles_of(given)[: given["max_tiles"]]
    if given["shard"]:
        tiles = given["shard"].own(tiles)
    if given["products"]:
        _fetch_product(tiles, given, how)
    else:
        _fetch_composites(tiles, given, how)


def _fetch_composites(tiles: "list[Tile]", given: dict[str, Any], how: "Engine") -> None:
    """Composites of the tiles."""
    from isamap.core import fetch as recipe

    settings = options.composing(given)
    if given["dry_run"]:
        _print_plan(recipe.plan(tiles, settings, overwrite=given["overwrite"]), as_json=given["as_json"])
        return
    report = recipe.run(
        tiles,
        settings,
        how=how,
        wait=given["wait"],
        overwrite=given["overwrite"],
        stop_at_failure=given["on_error"] == "stop",
    )
    _finish(report, given, f"fetch-{given['year']}")


def _fetch_product(tiles: "list[Tile]", given: dict[str, Any], how: "Engine") -> None:
    """A reference product over the tiles."""
    from isamap.core import reference_products as recipe

    request = recipe.Request(
        given["products"][0],
        given["product_url"],
        given["workspace"],
        side_by_side=options.side_by_side(given),
        allowed=tuple(given["allow_host"]),
    )
    if given["dry_run"]:
        _print_plan(recipe.plan(tiles, request, overwrite=given["overwrite"]), as_json=given["as_json"])
        return
    report = recipe.run(
        tiles,
        request,
        how=how,
        wait=given["wait"],
        overwrite=given["overwrite"],
        stop_at_failure=given["on_error"] == "stop",
    )
    _finish(report, given, f"fetch-{request.product.name}")


def _finish(report: "Report", given: dict[str, Any], name: str) -> None:
    """Keep and show the report; the exit code says whether all is well."""
    from isamap.io.store import write_json

    own = Path(given["workspace"]) / "runs" / engines.report_name(name, given["shard"])
    try:
        for path in filter(None, (own, given["report"])):
            write_json(path, report.document())
    finally:
        _print(report, as_json=given["as_json"], quiet=given["quiet"])
    report.raise_for_failures()


def _print(report: "Report", *, as_json: bool, quiet: bool) -> None:
    """Paths on stdout, the tables on stderr."""
    from isamap.domain.fetch_tables import lines

    document = report.document()
    if as_json:
        click.echo(json.dumps(document))
        return
    for row in document["tiles"]:
        if "path" in row:
            click.echo(row["path"])
    if quiet:
        return
    for line in lines(report.rows):
        output.remark(line)
    if report.requested > 1 or not report.faults:  # a lone fault speaks for itself
        counts = ", ".join(f"{document[key]} {key}" for key in ("fetched", "skipped", "failed", "missing"))
        output.remark(f"requested {document['requested']}: {counts}")


def _print_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    """The answer to --dry-run."""
    keys = [key for key in plan if key not in ("schema", "command")]
    options.print_plan(plan, keys, 24, as_json=as_json)
