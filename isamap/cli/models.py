"""`isamap models`: list, show, add, export."""

import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from isamap.cli import options


class _Models(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """`isamap models NAME` shows that model."""
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_Models, invoke_without_command=True)
@options.json_output
@click.pass_context
def models(ctx: click.Context, *, as_json: bool) -> None:
    """List the models that --model knows, show one, keep one of your own, or make it a program.

    Alone it lists. `isamap models NAME` shows the card of NAME (a known name or a weights file).
    """
    options.start_logging(verbose=0, quiet=False, log_format="text")
    if ctx.invoked_subcommand is None:
        _list(as_json=as_json)
    given = ctx.get_parameter_source("as_json") is ParameterSource.COMMANDLINE
    if given and ctx.invoked_subcommand in ("add", "export"):
        raise click.UsageError(f"--json goes with list and show, not with {ctx.invoked_subcommand}")


@models.command("list")
@options.json_output
def list_(*, as_json: bool) -> None:
    """List packaged and registered models."""
    _list(as_json=as_json or _of_group())


def _of_group() -> bool:
    """Whether --json was said before the name of the command."""
    group = click.get_current_context().parent
    return group is not None and bool(group.params["as_json"])


def _list(*, as_json: bool) -> None:
    from isamap.core import models as recipe

    found = recipe.entries()
    if as_json:
        cards = [entry.card.model_dump(mode="json") | {"name": entry.name} for entry in found]
        click.echo(json.dumps({"schema": 1, "command": "models", "models": cards}, ensure_ascii=False))
        return
    for entry in found:
        origin = "" if entry.packaged else "  (registered)"
        bands = ",".join(entry.card.network.bands)
        click.echo(f"{entry.name:<12}{entry.card.version:<8}{bands}  {entry.card.description}{origin}")


@models.command()
@click.argument("name")
@options.json_output
@options.option("--stac", is_flag=True, help="Print a STAC item (Machine Learning Model extension) instead.")
def show(name: str, *, as_json: bool, stac: bool) -> None:
    """Show the card of NAME: a known model or a weights file."""
    as_json = as_json or _of_group()
    if stac:
        from isamap.core import models as recipe

        click.echo(json.dumps(recipe.item(name), indent=None if as_json else 1, ensure_ascii=False))
        return
    from isamap.model.checkpoint import find, load_card

    card: dict[str, Any] = load_card(find(name)).model_dump(mode="json")
    document = {"schema": 1, "command": "models", "models": [card]}
    click.echo(json.dumps(document if as_json else card, indent=None if as_json else 1, ensure_ascii=False))


@models.command()
@click.argument("weights", type=click.Path(path_type=Path))
@options.option("--name", help="What --model shall call it [default: the file's name].", show_default=False)
@options.option("--overwrite", is_flag=True, help="Replace a registered model of that name.")
def add(weights: Path, name: str | None, *, overwrite: bool) -> None:
    """Keep WEIGHTS (a .safetensors file with its card beside it) under a name, after checking it.

    Registered models lie in ISAMAP_MODELS, or in isamap/models among the user's data.
    """
    from isamap.core import models as recipe
    from isamap.model.checkpoint import find

    click.echo(recipe.add(find(str(weights)), name, overwrite=overwrite))


@models.command()
@click.argument("name")
@options.option(
    "--format",
    "kind",
    type=click.Choice(["torch", "onnx"]),
    required=True,
    help="torch.export (.pt2), or ONNX.",
)
@options.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="File to write.")
@options.option(
    "--export-window",
    "window_px",
    type=click.IntRange(8, 1024),
    default=256,
    help="Side of its window in input pixels.",
)
def export(**given: Any) -> None:
    """Write NAME as a program of its own: reflectance in, probability out.

    It holds scaling, network and settling. Prints what its user must know, as JSON.
    """
    from isamap.core import models as recipe

    made = recipe.export(given["name"], given["kind"], given["out"], given["window_px"])
    click.echo(json.dumps(made, indent=1))
