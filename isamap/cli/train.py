"""`isamap train`."""

from pathlib import Path
from typing import Any

import click

from isamap.cli import options


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@options.config
@options.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder that the recipe's paths start from.",
)
@options.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@options.option(
    "--start",
    metavar="NAME|FILE",
    help="Begin from these weights: fine-tuning on ground of your own.",
    show_default=False,
)
@options.device("Where the model is trained.")
@options.option("--steps", type=click.IntRange(1), help="Steps in place of the recipe's.", show_default=False)
@options.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), help="Seed in place of the recipe's.", show_default=False
)
@options.option(
    "--target",
    "targets",
    metavar="FILE[,FILE]",
    multiple=True,
    help="Unlabelled imagery to adapt to, 10 m and 20 m files of one date; repeat it for more (see docs/training.md).",
    show_default=False,
)
@options.option("--tensorboard", is_flag=True, help="Write logs that TensorBoard reads.")
@options.option("--pictures", is_flag=True, help="Draw curves and a sample at every look.")
@options.option("--overwrite", is_flag=True, help="Redo what is done, and replace a run of another recipe.")
@options.wait
@options.stack(*options.LOGGING)
def train(recipe: Path, **given: Any) -> None:
    """Train the model that RECIPE (TOML) describes.

    A run that was stopped goes on where it was; in a folder with a run of another recipe, seed or number of steps nothing
    is begun without --overwrite. The folder gets <name>.safetensors and its card <name>.json,
    the training log, and the state to resume from. Several GPUs: torchrun --nproc-per-node N -m isamap train ...
    """
    options.start_logging(
        verbose=max(given["verbose"], 1), quiet=given["quiet"], log_format=given["log_format"]
    )
    from isamap.core import train as recipes
    from isamap.core.training_run import Run
    from isamap.model.checkpoint import find

    asked = Run(
        data=given["data"],
        out=given["out"],
        start=find(given["start"]) if given["start"] else None,
        device=given["device"],
        steps=given["steps"],
        seed=given["seed"],
        target=tuple(tuple(files.split(",")) for files in given["targets"]),
        tensorboard=given["tensorboard"],
        pictures=given["pictures"],
        overwrite=given["overwrite"],
        wait=given["wait"],
    )
    weights = recipes.run(recipe, asked)
    click.echo(weights)
