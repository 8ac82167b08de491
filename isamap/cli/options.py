"""Options that commands share: one place for each word, its environment variable and its help."""

import functools
import json
import logging
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from isamap.cli.output import CONFIG_PATH

if TYPE_CHECKING:
    from isamap.core.composing import Settings

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
DEFAULT_CONFIG = Path("isamap.toml")


class Number(click.FloatRange):
    """A finite number in a range; click's own lets NaN pass, which no comparison refuses."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or a usage error."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def option(*names: str, **settings: Any) -> Callable[[AnyFunction], AnyFunction]:
    """A click option that also listens to `ISAMAP_<NAME>` and shows its default."""
    long = next(name for name in names if name.startswith("--")).split("/")[0]
    variable = "ISAMAP_" + long.removeprefix("--").replace("-", "_").upper()
    return click.option(*names, **{"envvar": variable, "show_default": True, **settings})


def _read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Lay the configuration file under this command's defaults."""
    chosen = path or (DEFAULT_CONFIG if DEFAULT_CONFIG.is_symlink() or DEFAULT_CONFIG.exists() else None)
    if chosen is None:
        return
    from isamap.config import Config, read_toml

    known = {parameter.name for parameter in ctx.command.params}
    values = read_toml(chosen, Config).model_dump(exclude_none=True)
    ctx.default_map = {name: value for name, value in values.items() if name in known}
    ctx.meta[CONFIG_PATH] = chosen


config = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    envvar="ISAMAP_CONFIG",
    callback=_read_config,
    is_eager=True,
    expose_value=False,
    help="TOML file with defaults for these options [default: ./isamap.toml if it exists].",
)

json_output = option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
workspace = option(
    "--workspace", type=click.Path(path_type=Path), default=Path("isamap-data"), help="Where maps lie."
)
wait = option("--wait", is_flag=True, help="Wait for another run on the same folder instead of exit 75.")
report_file = option(
    "--report",
    type=click.Path(path_type=Path),
    help="Also write the report here, as JSON.",
    show_default=False,
)
of_model = option("--model", default="fast", metavar="NAME", help="Whose maps of the workspace.")
max_tiles = option(
    "--max-tiles", type=click.IntRange(1), help="Stop after this many tiles.", show_default=False
)
on_error = option(
    "--on-error", type=click.Choice(["stop", "continue"]), default="continue", help="After a failed tile."
)


def _months(_: click.Context, __: click.Parameter, text: str) -> tuple[int, ...]:
    """Months as numbers."""
    from isamap.domain.fetch_plan import parse_months
    from isamap.errors import ConfigError

    try:
        return parse_months(text)
    except ConfigError as fault:
        raise click.BadParameter(str(fault)) from fault


months = option(
    "--months",
    metavar="4-10|4,5,6",
    default="1-12",
    callback=_months,
    help="Months of --year whose scenes count; 11-2: January, February, November and December of it.",
)
source = option(
    "--source",
    metavar="NAME|URL|FOLDER",
    multiple=True,
    help="A known catalogue, a STAC API, or a folder of scenes; repeat it: the next one is asked where one fails or "
    "has nothing [default: earth-search-c1, earth-search, planetary-computer].",
    show_default=False,
)
COMPOSING = (
    months,
    source,
    option(
        "--method",
        type=click.Choice(["median", "geomedian", "best"]),
        default="median",
        help="How clear looks become one value.",
    ),
    option(
        "--max-cloud",
        type=Number(0, 100),
        default=60.0,
        help="Percent of cloud up to which a scene is read.",
    ),
    option(
        "--max-scenes",
        type=click.IntRange(1, 400),
        default=60,
        help="Scenes of a tile, those with the least cloud.",
    ),
    option("--mask-snow", is_flag=True, help="Snow is no clear look either."),
    option(
        "--allow-host",
        metavar="HOST[:PORT]",
        multiple=True,
        help="Read pixels from this host too; repeat it. Needed where a catalogue of --source keeps them elsewhere.",
        show_default=False,
    ),
    option("--refresh", is_flag=True, help="Ask the catalogues again instead of taking kept answers."),
)
"""How composites are made of scenes."""
MAPS = (
    option("--year", type=click.IntRange(2015, 2100), help="Year of the maps in the workspace."),
    workspace,
    of_model,
)
"""Which finished maps of a workspace."""
OUTPUT = (option("-n", "--dry-run", is_flag=True, help="Say what would be done and stop."), json_output)
LOGGING = (
    option("-v", "--verbose", count=True, help="More log lines; twice for debugging.", show_default=False),
    option("-q", "--quiet", is_flag=True, help="Only errors."),
    option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", help="Form of the log lines."
    ),
)


def stack(*options: Callable[[AnyFunction], AnyFunction]) -> Callable[[AnyFunction], AnyFunction]:
    """Several options as one decorator, in the order given."""

    def decorate(function: AnyFunction) -> AnyFunction:
        return functools.reduce(lambda f, add: add(f), reversed(options), function)

    return decorate


def start_logging(*, verbose: int, quiet: bool, log_format: str) -> None:
    """Log to stderr as asked."""
    from isamap.logs import configure

    level = logging.ERROR if quiet else (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose + 1, 2)]
    configure(level, log_format)


def composing(given: dict[str, Any]) -> "Settings":
    """How composites are made, as the command line says."""
    from isamap.core.composing import Settings
    from isamap.domain.cloudmask import MaskRules
    from isamap.domain.scenes import Selection
    from isamap.domain.sources import DEFAULT

    return Settings(
        workspace=given["workspace"],
        year=given["year"],
        sources=tuple(given["source"]) or DEFAULT,
        method=given["method"],
        selection=Selection(given["max_cloud"], given["max_scenes"], given["months"]),
        rules=MaskRules(snow=given["mask_snow"]),
        refresh=given["refresh"],
        allowed=tuple(given["allow_host"]),
        side_by_side=side_by_side(given),
    )


def side_by_side(given: dict[str, Any]) -> int:
    """Processes that share the rate of requests: workers of this run, and the runs of other shards.

    The workers of a cluster that was named are counted by the engine.
    """
    shard, workers = given["shard"], 1 if given["scheduler_address"] else int(given["workers"])
    return workers * (shard.count if shard else 1)


def device(text: str) -> Callable[[Any], Any]:
    """The option that says where a network runs; `text` is its help."""
    return option("--device", default="auto", metavar="auto|cpu|cuda[:N]", callback=_device, help=text)


def _device(_: click.Context, __: click.Parameter, name: str) -> str:
    """A device, if it is written as one."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise click.BadParameter(f"{name!r}: auto, cpu, cuda or cuda:N")
    return name


def print_plan(plan: dict[str, Any], keys: Iterable[str], width: int, *, as_json: bool) -> None:
    """The answer to --dry-run: one JSON document, or a line for each key."""
    if as_json:
        click.echo(json.dumps(plan))
        return
    for key in keys:
        value = plan[key]
        shown = " x ".join(map(str, value)) if isinstance(value, list) else value
        click.echo(f"{key.replace('_', ' '):>{width}}  {shown}")
