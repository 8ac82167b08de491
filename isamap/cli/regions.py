"""`isamap regions`."""

import json

import click

from isamap.cli import options


@click.command()
@click.argument("name", required=False)
@options.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def regions(name: str | None, *, as_json: bool) -> None:
    """List the packaged regions, or show what NAME (English, Chinese or a code) stands for."""
    from isamap.domain.grid import tiles_over
    from isamap.io.vector import load_gazetteer

    gazetteer = load_gazetteer()
    chosen = [gazetteer.find(name)] if name else gazetteer.regions()
    rows = [
        {
            "name": r.name,
            "kind": r.kind,
            "title": r.title,
            "title_zh": r.title_zh,
            "area_km2": round(r.area_km2),
        }
        for r in chosen
    ]
    if name:
        rows[0]["tiles"] = len(tiles_over(chosen[0].geometry))
    if as_json:
        click.echo(json.dumps({"schema": 1, "command": "regions", "regions": rows}, ensure_ascii=False))
        return
    for row in rows:
        tiles = f"  {row['tiles']} tiles" if "tiles" in row else ""
        click.echo(
            f"{row['name']:<16}{row['kind']:<12}{row['area_km2']:>9} km2  {row['title']} {row['title_zh']}{tiles}"
        )
