"""`isamap infer`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli import options

if TYPE_CHECKING:
    from isamap.core.infer import Report
    from isamap.core.mapping import Job, Options

EXAMPLES = """
\b
Examples:
  isamap infer --input scene-10m.tif -o maps
  isamap infer --input scene-10m.tif --input scene-20m.tif --probability -o maps
  isamap infer --input stack.tif --bands B04,B03,B02,B08 --reproject -o maps
  isamap infer --region yreb/CN032070 --year 2021 --workspace /data/isamap -j 2
"""


@click.command(epilog=EXAMPLES)
@options.config
@options.option(
    "--input",
    "inputs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A raster of your own; repeat it for more files (10 m, 20 m) of the same date and place.",
)
@options.option(
    "--bands",
    metavar="NAME,...",
    help="What the bands of --input are, in order, if the file does not say: B02,B03,B04,B08; - skips one.",
)
@options.option("--reproject", is_flag=True, help="Bring --input to the UTM 10 m grid if it is on another.")
@options.option(
    "--offset",
    type=int,
    default=0,
    help="Added to integer values before scaling: -1000 for processing baseline 04.00 and later.",
)
@options.stack(*options.AREA)
@options.option("--year", type=click.IntRange(2015, 2100), help="Year of the composites.")
@options.option(
    "--workspace",
    type=click.Path(path_type=Path),
    default=Path("isamap-data"),
    help="Where composites, maps and reports lie.",
)
@options.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the maps [default: with --input the current one, else <workspace>/maps/<model>/<year>].",
    show_default=False,
)
@options.option(
    "--model", default="fast", metavar="NAME|FILE", help="A model of `isamap models`, or weights."
)
@options.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Probability from which a pixel is impervious [default: the model's].",
    show_default=False,
)
@options.option("--probability", is_flag=True, help="Write the probability raster too.")
@options.option("--device", default="auto", metavar="auto|cpu|cuda[:N]", help="Where the model runs.")
@options.option(
    "--window",
    type=click.Choice(["256", "512", "768", "1024"]),
    default="512",
    help="Side of a window in input pixels.",
)
@options.option(
    "--batch-size",
    default="auto",
    metavar="auto|N",
    help="Windows in one forward pass; halved when the device runs out of memory.",
)
@options.option("-j", "--workers", type=click.IntRange(1, 256), default=1, help="Maps made at the same time.")
@options.option("--max-tiles", type=click.IntRange(1), help="Stop after this many maps.", show_default=False)
@options.option(
    "--on-error", type=click.Choice(["stop", "continue"]), default="continue", help="After a failed map."
)
@options.option("--overwrite", is_flag=True, help="Redo finished maps.")
@options.wait
@options.report_file
@options.stack(*options.OUTPUT)
@options.stack(*options.LOGGING)
def infer(**given: Any) -> None:
    """Map impervious surface at 1 m from 10 m Sentinel-2 imagery.

    Give either --input (a raster of your own) or an area (--region, --bbox, --aoi or --tiles) with --year, for
    which composites lie in the workspace. Finished maps are skipped; the command can be repeated at any time.
    """
    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    from isamap.core import infer as recipe

    jobs = _jobs(given)
    if given["dry_run"]:
        _print_plan(recipe.plan(jobs), as_json=given["as_json"])
        return
    report = recipe.run(
        jobs,
        _options(given),
        workers=given["workers"],
        wait=given["wait"],
        stop_at_failure=given["on_error"] == "stop",
    )
    if path := _report_path(given):
        recipe.write_report(report, path)
    _print(report, as_json=given["as_json"], quiet=given["quiet"])
    report.raise_for_failures()


def _options(given: dict[str, Any]) -> "Options":
    """How to map, as the command line says."""
    from isamap.core.mapping import Options

    batch = given["batch_size"]
    if batch != "auto" and not (batch.isdigit() and int(batch) > 0):
        raise click.BadParameter("a positive number or auto", param_hint="--batch-size")
    return Options(
        model=given["model"],
        threshold=given["threshold"],
        probability=given["probability"],
        device=given["device"],
        window_px=int(given["window"]),
        batch=0 if batch == "auto" else int(batch),
        threads=0 if given["workers"] == 1 else -given["workers"],
        overwrite=given["overwrite"],
        show_progress=given["workers"] == 1 and not given["quiet"],
    )


def _jobs(given: dict[str, Any]) -> list["Job"]:
    """The maps that the options name."""
    from isamap.core import infer as recipe

    area = [name for name in ("region", "bbox", "aoi", "tiles") if given[name]]
    if bool(given["inputs"]) == bool(area) or len(area) > 1:
        raise click.UsageError("give exactly one of --input, --region, --bbox, --aoi and --tiles")
    if given["inputs"]:
        from isamap.domain.bands import parse_bands
        from isamap.io.raster import SceneInput

        bands = parse_bands(given["bands"]) if given["bands"] else None
        source = SceneInput(given["inputs"], bands, given["offset"], given["reproject"])
        return [recipe.raster_job(source, given["out"] or Path())]
    if given["year"] is None:
        raise click.UsageError("an area needs --year")
    foreign = [f"--{name}" for name in ("bands", "offset", "reproject") if given[name]]
    if foreign:
        raise click.UsageError(f"{foreign[0]} goes with --input: composites say themselves what they hold")
    tiles = options.tiles_of(given)[: given["max_tiles"]]
    return recipe.tile_jobs(tiles, given["year"], given["workspace"], given["out"], given["model"])


def _report_path(given: dict[str, Any]) -> Path | None:
    """Where the report goes: a run over an area always leaves one in the workspace."""
    if given["report"] or given["inputs"]:
        path: Path | None = given["report"]
        return path
    model = Path(given["model"]).stem
    return Path(given["workspace"]) / "runs" / f"infer-{model}-{given['year']}.json"


def _print_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    """The answer to --dry-run."""
    if as_json:
        click.echo(json.dumps(plan))
        return
    for key in ("requested", "new", "mapped_before", "missing", "read_gb"):
        click.echo(f"{key.replace('_', ' '):>14}  {plan[key]}")


def _print(report: "Report", *, as_json: bool, quiet: bool) -> None:
    """Paths on stdout, the table on stderr."""
    document = report.document()
    if as_json:
        click.echo(json.dumps(document))
        return
    for row in report.rows:
        for path in row.paths:
            click.echo(path)
    if not quiet and (len(report.rows) > 1 or not report.faults):  # a lone fault speaks for itself
        counts = ", ".join(f"{document[key]} {key}" for key in ("mapped", "skipped", "failed", "missing"))
        click.echo(f"requested {document['requested']}: {counts}", err=True)
