"""`isamap models`."""

import json
from typing import Any

import click

from isamap.cli import options


@click.command()
@click.argument("name", required=False)
@options.option("--json", "as_json", is_flag=True, help="Print the cards as JSON.")
def models(name: str | None, *, as_json: bool) -> None:
    """List the packaged models, or show the card of NAME (a packaged name or a weights file)."""
    from isamap.model.checkpoint import PACKAGED, find, load_card

    chosen = [find(name)] if name else sorted(PACKAGED.glob("*.safetensors"))
    cards: list[dict[str, Any]] = [load_card(path).model_dump(mode="json") for path in chosen]
    if as_json or name:
        document = {"schema": 1, "command": "models", "models": cards}
        click.echo(
            json.dumps(document if as_json else cards[0], indent=None if as_json else 1, ensure_ascii=False)
        )
        return
    for card in cards:
        click.echo(
            f"{card['name']:<12}{card['version']:<8}{','.join(card['network']['bands'])}  {card['description']}"
        )
