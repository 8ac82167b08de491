"""What `isamap evaluate` prints and writes."""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli import output

if TYPE_CHECKING:
    from isamap.core.evaluation_report import Evaluation


def show(found: "Evaluation", given: dict[str, Any]) -> None:
    """Report, figures on stdout, checks."""
    from isamap.core import evaluation_report as report
    from isamap.domain.report import shown

    paths: tuple[Path, ...] = ()
    if given["out"]:
        units = None
        if given["units"] and found.tally is not None:
            from isamap.io.zones import zones_of

            units = zones_of(given["units"], allow_overlap=given["allow_overlap"])
        paths = report.write(found, _facts(given), given["out"], units)
    if given["as_json"]:
        click.echo(json.dumps(found.document()))
    else:
        for table in found.tables():
            click.echo(table.title)
            for line in _columns([table.columns, *([shown(cell) for cell in row] for row in table.rows)]):
                click.echo(line)
            click.echo()
        if paths:
            click.echo(paths[0])
    for warning in found.warnings():
        output.remark(f"warning: {warning}", logging.WARNING)
    report.check(found, given["min_f1"], given["max_bias"])


def _columns(rows: Any) -> list[str]:
    """Rows as aligned text."""
    widths = [max(len(str(cell)) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _facts(given: dict[str, Any]) -> list[tuple[str, str]]:
    """What was asked for, as the report repeats it."""
    names = (
        "maps",
        "region",
        "year",
        "model",
        "products",
        "reference",
        "labels",
        "sample",
        "strata",
        "units",
        "measures",
    )
    hidden = {"model"} if given["maps"] else set()
    shown = {name: given[name] for name in names if given[name] and name not in hidden}
    return [(name, ", ".join(map(str, v)) if isinstance(v, tuple) else str(v)) for name, v in shown.items()]


def print_products() -> None:
    """--list-products."""
    from isamap.domain.references import REFERENCES

    rows = [("name", "m", "title")]
    rows += [(name, f"{row.gsd_m:g}", row.title) for name, row in REFERENCES.items()]
    for line in _columns(rows):
        click.echo(line)
