"""`isamap mosaic`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli import areas, engines, options, output

if TYPE_CHECKING:
    from isamap.core.assembly import Options, Request
    from isamap.core.mosaic import Report
    from isamap.domain.region import Region

EXAMPLES = """
\b
Examples:
  isamap mosaic --region yreb/CN032070 --year 2021 --workspace /data/isamap
  isamap mosaic --bbox 107.9,29.9,108.1,30.1 --year 2021 -o shizhu
  isamap mosaic --region yreb/CN032070 --year 2021 --crs EPSG:4326 --res 0.00001 --cutline -j 4
  isamap mosaic maps/ -o mosaic
"""


@click.command(epilog=EXAMPLES)
@options.config
@click.argument("maps", nargs=-1, type=click.Path(path_type=Path))
@options.stack(*areas.AREA)
@options.stack(*options.MAPS)
@options.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the mosaic [default: mosaic, or <workspace>/mosaics/<model>/<year>/<region>].",
    show_default=False,
)
@options.option("--crs", default="EPSG:6933", help="CRS of the overview and of sheets.")
@options.option(
    "--overview-res", type=options.Number(1), default=100.0, help="Side of the overview's cells, in m."
)
@options.option(
    "--res",
    type=options.Number(0, min_open=True),
    help="Also write sheets in --crs with pixels of this size, in its units.",
    show_default=False,
)
@options.option("--sheet-size", type=click.IntRange(512), default=10_240, help="Side of a sheet in pixels.")
@options.option("--cutline", is_flag=True, help="Leave out what lies outside the area's outline.")
@options.option("--force", is_flag=True, help="Put maps of different makes together.")
@options.stack(*engines.PLACE)
@options.option("--overwrite", is_flag=True, help="Redo what is done.")
@options.wait
@options.report_file
@options.stack(*options.OUTPUT)
@options.stack(*options.LOGGING)
def mosaic(**given: Any) -> None:
    """Put finished maps together: index, overview, STAC collection and, with --res, sheets on another grid.

    MAPS are files or folders of tiles; --region, --bbox, --aoi or --tiles with --year takes those of the workspace.
    Tiles without a map are named at the end (exit 3); the mosaic holds the others. Finished parts are skipped.
    """
    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    from isamap.core import mosaic as recipe

    how = engines.settle(given)
    request = _request(given)
    differ = recipe.check(request, force=given["force"])
    if given["dry_run"]:
        _print_plan(recipe.plan(request), as_json=given["as_json"])
        return
    recipe.check_libraries()
    report = recipe.run(request, differ, how=how, wait=given["wait"])
    try:
        if given["report"]:
            recipe.write_report(report, given["report"])
    finally:
        _print(report, as_json=given["as_json"], quiet=given["quiet"])
    report.raise_for_failures()


def _request(given: dict[str, Any]) -> "Request":
    """What the options ask for."""
    from isamap.core import assembly

    area = areas.area_named(given)
    if bool(given["maps"]) == bool(area):
        raise click.UsageError("give MAPS, or one of --region, --bbox, --aoi and --tiles with --year")
    if given["cutline"] and (not area or given["tiles"]):
        raise click.UsageError("--cutline needs an outline: --region, --bbox or --aoi")
    if not area:
        return assembly.of_maps(given["maps"], given["out"] or Path("mosaic"), _options(given))
    if given["year"] is None:
        raise click.UsageError("an area needs --year")
    asked = assembly.Area(
        _region(given), tuple(areas.tiles_of(given)), given["year"], given["workspace"], given["model"]
    )
    return assembly.of_area(asked, given["out"], _options(given), cutline=given["cutline"])


def _options(given: dict[str, Any]) -> "Options":
    """How to put maps together, as the command line says."""
    from isamap.core.assembly import Options
    from isamap.domain.product import BLOCK_PX

    if given["sheet_size"] % BLOCK_PX:
        raise click.BadParameter(f"a multiple of {BLOCK_PX}", param_hint="--sheet-size")
    return Options(
        crs=given["crs"],
        overview_res_m=given["overview_res"],
        res=given["res"],
        sheet_px=given["sheet_size"],
        overwrite=given["overwrite"],
    )


def _region(given: dict[str, Any]) -> "Region":
    """The area by name, as the folder of the mosaic is called after it."""
    from isamap.domain import region

    return region.from_tiles(areas.tiles_of(given)) if given["tiles"] else areas.area_of(given)


def _print_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    """The answer to --dry-run."""
    keys = [key for key in plan if key not in ("schema", "command")]
    options.print_plan(plan, keys, 18, as_json=as_json)


def _print(report: "Report", *, as_json: bool, quiet: bool) -> None:
    """Paths on stdout, the table on stderr."""
    document = report.document()
    if as_json:
        click.echo(json.dumps(document))
        return
    for path in document["paths"]:
        click.echo(path)
    if not quiet:
        counts = f"{document['mapped']} mapped, {len(document['missing'])} missing, {len(document['failed'])} failed"
        ground = "no pixel is mapped"
        if document["isa_share"] is not None:
            ground = f"{100 * document['isa_share']:.2f} % of {document['mapped_km2']:g} km2 impervious"
        output.remark(f"requested {document['requested']}: {counts}; {ground}")
