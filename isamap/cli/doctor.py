"""`isamap doctor`."""

import json
from pathlib import Path
from typing import Any

import click

from isamap.cli import options

EXAMPLES = """
\b
Examples:
  isamap doctor
  isamap doctor --workspace /mnt/nfs/isamap --json
"""


@click.command(epilog=EXAMPLES)
@options.config
@options.option(
    "--workspace", type=click.Path(path_type=Path), default=Path("isamap-data"), help="Where files will lie."
)
@options.json_output
@options.stack(*options.LOGGING)
def doctor(**given: Any) -> None:
    """Tell whether this installation and the disk of the workspace can do the work.

    Libraries, GDAL drivers, projections, devices, memory, disk, locks, model weights. The network is not used.
    Exit 5 if something needed is broken; with -q only what is off is printed.
    """
    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    from isamap.core import doctor as recipe

    lines = recipe.run(given["workspace"])
    if given["as_json"]:
        click.echo(json.dumps(recipe.document(lines), ensure_ascii=False))
    else:
        for line in lines:
            if line.state != "ok" or not given["quiet"]:
                todo = f"  -> {line.todo}" if line.todo else ""
                click.echo(f"{line.state:<8}  {line.name:<24}  {' '.join(line.found.split())}{todo}")
    recipe.check(lines)
