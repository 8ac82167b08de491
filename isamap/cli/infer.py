"""`isamap infer`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from isamap.cli import areas, engines, options, output

if TYPE_CHECKING:
    from isamap.core.composing import Live
    from isamap.core.infer import Report
    from isamap.core.map_job import Job, Options
    from isamap.domain.standing import Wanted

EXAMPLES = """
\b
Examples:
  isamap infer --input scene-10m.tif -o maps
  isamap infer --input scene-10m.tif --input scene-20m.tif --probability -o maps
  isamap infer --input stack.tif --bands B04,B03,B02,B08 --reproject -o maps
  isamap infer --region yreb/CN032070 --year 2021 --workspace /data/isamap -j auto
  isamap infer --region yreb --year 2021 --workspace /data/isamap --shard 2/8
  isamap infer --bbox 106.18,29.55,106.28,29.62 --year 2021 --months 4-10 --keep-composites
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
    help="Added to integer values before scaling: -1000 for processing baseline 04.00 and later [default: what the file's "
    "own offset says, else 0].",
    show_default=False,
)
@options.stack(*areas.AREA)
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
    type=options.Number(0, 1, min_open=True, max_open=True),
    help="Probability from which a pixel is impervious [default: the model's].",
    show_default=False,
)
@options.option("--probability", is_flag=True, help="Write the probability raster too.")
@options.device("Where the model runs.")
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
@options.stack(*engines.ENGINE)
@options.option(
    "--no-fetch", is_flag=True, help="Never use the network: tiles without composite are missing."
)
@options.option(
    "--keep-composites", is_flag=True, help="Publish the composites made on the way, as `isamap fetch` does."
)
@options.stack(*options.COMPOSING)
@options.max_tiles
@options.on_error
@options.option("--overwrite", is_flag=True, help="Redo finished maps.")
@options.wait
@options.report_file
@options.stack(*options.OUTPUT)
@options.stack(*options.LOGGING)
def infer(**given: Any) -> None:
    """Map impervious surface at 1 m from 10 m Sentinel-2 imagery.

    Give either --input (a raster of your own) or an area (--region, --bbox, --aoi or --tiles) with --year. Tiles are
    mapped from the composites in the workspace; where there is none it is made on the way from public catalogues, as
    `isamap fetch` makes it. Finished maps are skipped; the command can be repeated at any time.
    """
    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    from isamap.core import infer as recipe
    from isamap.core import infer_plan

    how = engines.settle(given, gpu=_gpu(given))
    jobs, live = _jobs(given), _live(given)
    infer_plan.warn_of_other_composites(jobs, _wanted(given), given["year"])
    if given["dry_run"]:
        _print_plan(infer_plan.plan(jobs, _options(given), live=live), as_json=given["as_json"])
        return
    report = recipe.run(
        jobs,
        _options(given),
        how=how,
        wait=given["wait"],
        stop_at_failure=given["on_error"] == "stop",
        live=live,
    )
    try:
        for path in _reports(given):
            recipe.write_report(report, path)
    finally:
        _print(report, as_json=given["as_json"], quiet=given["quiet"])
    report.raise_for_failures()


def _gpu(given: dict[str, Any]) -> bool:
    """Whether maps may be made on a GPU, as far as the number of workers or their choice depends on it."""
    if given["device"] != "auto":
        return str(given["device"]) != "cpu"
    if given["scheduler_address"]:
        return True  # of the machines of its workers, which say themselves what they have
    if given["engine"] == "local" and given["workers"] != "auto":
        return False
    from isamap.model.device import resolve

    return resolve("auto").type == "cuda"


def _options(given: dict[str, Any]) -> "Options":
    """How to map, as the command line says."""
    from isamap.core.map_job import Options

    batch = given["batch_size"]
    if batch != "auto" and not (batch.isdigit() and int(batch) > 0):
        raise click.BadParameter("a positive number or auto", param_hint="--batch-size")
    if given["threshold"] is not None:
        _check_threshold(given["model"])
    return Options(
        model=given["model"],
        threshold=given["threshold"],
        probability=given["probability"],
        device=given["device"],
        window_px=int(given["window"]),
        batch=0 if batch == "auto" else int(batch),
        threads=0 if given["workers"] == 1 and given["engine"] == "local" else -given["workers"],
        overwrite=given["overwrite"],
        show_progress=given["workers"] == 1 and given["engine"] == "local" and not given["quiet"],
    )


def _check_threshold(model: str) -> None:
    """Refuse a threshold where a model maps the likeliest of several classes."""
    from isamap.model.checkpoint import find, load_card

    network = load_card(find(model)).network
    if network.outputs > 1:
        raise click.UsageError(
            f"--threshold goes with models of ISA: maps of {network.classes} show the likeliest class"
        )


def _live(given: dict[str, Any]) -> "Live | None":
    """How missing composites are made; None if they are not."""
    if given["no_fetch"] and given["keep_composites"]:
        raise click.UsageError("--keep-composites needs composites to be made: drop --no-fetch")
    if given["inputs"] or given["no_fetch"]:
        return None
    from isamap.core.composing import Live

    return Live(options.composing(given), keep=given["keep_composites"])


def _wanted(given: dict[str, Any]) -> "Wanted":
    """What the user said of composites: on the command line, in the environment or in the configuration."""
    from isamap.domain.cloudmask import MaskRules
    from isamap.domain.standing import Wanted
    from isamap.io.finder import open_sources

    def said(name: str) -> Any:
        default = click.get_current_context().get_parameter_source(name) is ParameterSource.DEFAULT
        return None if default else given[name]

    sources, snow = said("source"), said("mask_snow")
    return Wanted(
        method=said("method"),
        months=said("months"),
        sources=tuple(source.name for source, _ in open_sources(sources)) if sources else None,
        max_cloud=said("max_cloud"),
        max_scenes=said("max_scenes"),
        rules=None if snow is None else MaskRules(snow=snow),
    )


def _jobs(given: dict[str, Any]) -> list["Job"]:
    """The maps that the options name."""
    from isamap.core import infer as recipe

    area = areas.area_named(given)
    if bool(given["inputs"]) == bool(area):
        raise click.UsageError("give exactly one of --input, --region, --bbox, --aoi and --tiles")
    if given["inputs"]:
        if given["shard"]:
            raise click.UsageError("--shard goes with an area: --input is one map")
        said = click.get_current_context().get_parameter_source("year")
        if said is ParameterSource.COMMANDLINE:
            raise click.UsageError("--year goes with an area: the date of --input is taken from its name")
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
    tiles = areas.tiles_of(given)[: given["max_tiles"]]
    if given["shard"]:
        tiles = given["shard"].own(tiles)
    return recipe.tile_jobs(tiles, given["year"], given["workspace"], given["out"], given["model"])


def _reports(given: dict[str, Any]) -> Iterator[Path]:
    """Where the report goes: that of a run over an area into the workspace too."""
    if not given["inputs"]:
        stem = f"infer-{Path(given['model']).stem}-{given['year']}"
        yield Path(given["workspace"]) / "runs" / engines.report_name(stem, given["shard"])
    if given["report"]:
        yield given["report"]


def _print_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    """The answer to --dry-run."""
    keys = ("requested", "new", "stale", "mapped_before", "missing", "to_fetch", "read_gb")
    options.print_plan(plan, keys, 14, as_json=as_json)


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
        output.remark(f"requested {document['requested']}: {counts}")
