"""`isamap change`."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli import areas, engines, options, output
from isamap.cli.once import OnceEach
from isamap.errors import InputError

if TYPE_CHECKING:
    from isamap.core.change_survey import Points
    from isamap.core.differencing import Job, Options, Outcome
    from isamap.domain.change_sample import Sampled
    from isamap.domain.report import Table

EXAMPLES = """
\b
Examples:
  isamap change maps-2017 maps-2019 maps-2021 maps-2023 --years 2017,2019,2021,2023 -o change
  isamap change --region yreb/CN032010 --years 2017,2019,2021,2023 --units prefectures
  isamap change 2017-isa.tif 2023-isa.tif --years 2017,2023 --probability --align -o change
  isamap change maps-2017 maps-2023 --years 2017,2023 --sample points.csv -o change
  isamap change maps-2017 maps-2023 --years 2017,2023 --sample points.csv --stratum stratum --strata-sizes strata.csv
"""
PRINTED = ("estimates", "points", "strata", "methods", "areas", "rates", "shifts", "failures")
"""Tables on stdout; the report has all of them."""
RATE = options.Number(0, 0.5, min_open=True, max_open=True)


@click.command(cls=OnceEach, epilog=EXAMPLES)
@options.config
@click.argument("maps", nargs=-1, metavar="[MAP]...")
@options.stack(*areas.AREA)
@options.option("--years", metavar="YEAR,...", help="Years of the maps, ascending.")
@options.workspace
@options.of_model
@options.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of rasters and report [default: change, or <workspace>/change/<model>/<first>-<last>].",
    show_default=False,
)
@options.option(
    "--method",
    type=click.Choice(["raw", "monotone", "viterbi"]),
    default="viterbi",
    help="Reading that the rasters show; the statistics compare all three.",
)
@options.option("--probability", is_flag=True, help="Use <map>.prob.tif where it lies beside the map.")
@options.option("--false-alarm", type=RATE, default=0.05, help="Pervious ground mapped impervious by chance.")
@options.option("--miss", type=RATE, default=0.1, help="Impervious ground mapped pervious by chance.")
@options.option(
    "--gain-rate", type=RATE, default=0.02, help="Pervious ground sealed within a year (viterbi)."
)
@options.option(
    "--loss-rate", type=RATE, default=0.01, help="Impervious ground unsealed within a year (viterbi)."
)
@options.option(
    "--start-share",
    type=options.Number(0, 1, min_open=True, max_open=True),
    default=0.2,
    help="Share of impervious ground in the first year (viterbi, and ground whose patch is too small).",
)
@options.option(
    "--min-area",
    type=options.Number(0),
    default=100.0,
    help="Smallest patch of change that stays in the written reading, in m2.",
)
@options.option(
    "--min-looks", type=click.IntRange(1, 10), default=2, help="Flag pixels mapped in fewer years than this."
)
@options.option("--align", is_flag=True, help="Bring the years onto the first by their measured shifts.")
@options.option("--units", metavar="provinces|prefectures|FILE[:LAYER][:COLUMN]", help="And per unit.")
@options.option(
    "--allow-overlap", is_flag=True, help="Count ground that two units share for the later one alone."
)
@options.option(
    "--sample",
    metavar="FILE[:LAYER]",
    help="Points with the observed change (column change, or isa_<year>): areas with 95 % intervals.",
)
@options.option("--stratum", metavar="COLUMN", help="Column of the stratum of each point of --sample.")
@options.option(
    "--strata-sizes",
    type=click.Path(path_type=Path),
    help="CSV with the columns stratum and area_km2 (or n_pixels, size).",
)
@options.option("--force", is_flag=True, help="Difference maps of different recipes: a version change.")
@options.stack(*engines.ENGINE)
@options.wait
@options.stack(*options.OUTPUT)
@options.stack(*options.LOGGING)
def change(**given: Any) -> None:
    """Find what became impervious, when, and what only flickers, from maps of several years.

    Give a MAP per year (a file or a folder of tiles; PRODUCT=FILE for a published product), or an area whose maps
    lie in the workspace. Finished tiles are skipped. Maps made by different models or settings are refused. A run with
    --shard makes tiles alone; the report is that of a last run without it, which finds them all made.
    """
    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    from isamap.core import change as recipe
    from isamap.core import change_report
    from isamap.core.change_checks import check
    from isamap.core.change_survey import survey
    from isamap.io.report import check_place, check_report_libraries

    _check_strata(given)
    how = engines.settle(dict(given))
    years = _years(given["years"])
    if given["min_looks"] > len(years):
        raise click.UsageError(f"--min-looks {given['min_looks']}: there are only {len(years)} years")
    jobs = _jobs(given, years)
    maps = check(jobs, years, force=given["force"])
    jobs = _own(jobs, given)
    points = _points(given, years)
    chosen = _options(given, years, versions=maps.versions)
    if given["dry_run"]:
        _print_plan(recipe.plan(jobs, chosen), as_json=given["as_json"])
        return
    if jobs:
        check_place(jobs[0].target.directory, change_report.COMMAND)
    if not given["shard"]:
        check_report_libraries()
    outcome = recipe.run(jobs, chosen, maps.lineages, maps.remarks, how=how, wait=given["wait"])
    if given["shard"]:
        if given["as_json"]:
            _print_json(outcome, None)
    elif outcome.made:
        directory = jobs[0].target.directory
        sampled = survey(outcome, points, directory) if points else None
        change_report.write(outcome, sampled, directory)
        if given["as_json"]:
            _print_json(outcome, sampled)
        else:
            _print(change_report.all_tables(outcome, sampled), change_report.warnings_of(outcome, sampled))
    outcome.raise_for_failures()


def _check_strata(given: dict[str, Any]) -> None:
    """Refuse options of a sample that nothing would read."""
    context = click.get_current_context()
    for name, needed in (("stratum", "sample"), ("strata_sizes", "stratum")):
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE and not given[needed]:
            raise click.UsageError(f"--{name.replace('_', '-')} goes with --{needed}")


def _points(given: dict[str, Any], years: tuple[int, ...]) -> "Points | None":
    """The points of --sample."""
    from isamap.core.change_survey import Survey, read_points
    from isamap.io.vector import file_and_layer

    if not given["sample"]:
        return None
    path, layer = file_and_layer(given["sample"])
    return read_points(Survey(path, layer, given["stratum"], given["strata_sizes"]), years)


def _own(jobs: "list[Job]", given: dict[str, Any]) -> "list[Job]":
    """The tiles of this run's shard."""
    if not given["shard"]:
        return jobs
    if given["sample"]:
        raise click.UsageError("--sample needs all tiles: give it to the last run, without --shard")
    own: list[Job] = given["shard"].own(jobs, lambda job: job.name)
    return own


def _years(text: str | None) -> tuple[int, ...]:
    """Years from `2017,2019`."""
    from isamap.domain.transition import check_years

    if not text:
        raise click.UsageError("give --years, one per map: 2017,2019,2021,2023")
    try:
        return check_years([int(part) for part in text.replace(",", " ").split()])
    except ValueError as fault:
        raise click.BadParameter("years like 2017,2019,2021", param_hint="--years") from fault
    except InputError as fault:
        raise click.BadParameter(str(fault), param_hint="--years") from fault


def _jobs(given: dict[str, Any], years: tuple[int, ...]) -> "list[Job]":
    """The tiles that the options name."""
    from isamap.core import change as recipe

    area = areas.area_named(given)
    if bool(given["maps"]) == bool(area):
        raise click.UsageError("give a MAP per year, or one of --region, --bbox, --aoi and --tiles")
    if area:
        span = f"{years[0]}-{years[-1]}"
        out = given["out"] or given["workspace"] / "change" / given["model"] / span
        return recipe.tile_jobs(areas.tiles_of(given), years, given["workspace"], given["model"], out)
    from isamap.io.products import parse_product

    if len(given["maps"]) != len(years):
        raise click.UsageError(
            f"{len(given['maps'])} maps for {len(years)} years ({', '.join(map(str, years))}): give one each"
        )
    products = [parse_product(text) for text in given["maps"]]
    series = [(product.files, product.kind) for product in products]
    folders = any(Path(text.partition("=")[2] or text).is_dir() for text in given["maps"])
    return recipe.map_jobs(series, years, given["out"] or Path("change"), folders=folders)


def _options(given: dict[str, Any], years: tuple[int, ...], *, versions: bool) -> "Options":
    """How to find change, as the command line says."""
    from isamap.core.differencing import Options
    from isamap.domain.transition import Chances

    chances = Chances(
        false_alarm=given["false_alarm"],
        miss=given["miss"],
        gain=given["gain_rate"],
        loss=given["loss_rate"],
        start=given["start_share"],
    )
    return Options(
        years=years,
        method=given["method"],
        chances=chances,
        min_looks=given["min_looks"],
        min_area_m2=given["min_area"],
        probability=given["probability"],
        align=given["align"],
        units=given["units"],
        versions=versions,
        allow_overlap=given["allow_overlap"],
    )


def _print_json(outcome: "Outcome", sampled: "Sampled | None") -> None:
    """The answer to --json: the document of the report, and what the run had to do."""
    from isamap.core import change_report

    click.echo(json.dumps({**change_report.document(outcome, sampled), **change_report.progress(outcome)}))


def _print_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    """The answer to --dry-run."""
    keys = ("requested", "new", "stale", "made_before", "incomplete")
    options.print_plan(plan, keys, 14, as_json=as_json)


def _print(tables: "list[Table]", warnings: tuple[str, ...]) -> None:
    """Tables on stdout, warnings on stderr."""
    from isamap.domain.report import shown

    for table in (table for table in tables if table.name in PRINTED):
        click.echo(f"{table.title}")
        lines = [list(table.columns), *([shown(cell) for cell in row] for row in table.rows)]
        widths = [max(len(line[index]) for line in lines) for index in range(len(table.columns))]
        for line in lines:
            cells = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
            click.echo("  " + "  ".join(cells).rstrip())
        click.echo()
    for text in warnings:
        output.remark(f"warning: {text}", logging.WARNING)
