"""`isamap tile`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli import options, output

if TYPE_CHECKING:
    from isamap.core.tile import Report, Request
    from isamap.domain.tiling import TileRecipe

EXAMPLES = """
\b
Examples:
  isamap tile --imagery s2-10m.tif --imagery s2-20m.tif --labels isa-1m.tif -o chips --preview
  isamap tile --imagery s2.tif --vectors buildings=osm.gpkg:buildings --vectors roads=osm.gpkg:roads -o chips
  isamap tile --image aerial-1m.tif --labels isa-1m.tif --sensor gaofen-1 -o chips
  isamap tile examples/tile/dubai.toml --data ../shared/data -o chips/dubai
"""
SOURCE = ("imagery", "image", "labels", "vectors", "folder")
"""Options that name ground."""
IN_RECIPE = {
    "sensor": 'sensor = "NAME"',
    "bands": 'bands = ["NAME", ...]',
    "reproject": "reproject = true",
    "offset": "offset = NUMBER",
    "split": 'split = "FILE"',
    "only": 'only = "SPLIT"',
}
"""Options about that ground, and what a recipe writes to its source instead."""


@click.command(epilog=EXAMPLES)
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@options.config
@options.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder that the recipe's paths start from [default: the current one].",
    show_default=False,
)
@options.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the chips.")
@options.option(
    "--imagery",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Imagery to learn from; repeat it for more files (10 m, 20 m) of the same date and place.",
)
@options.option(
    "--image",
    type=click.Path(path_type=Path),
    multiple=True,
    help="1 m image of the same ground; without --imagery the sensor is simulated from it.",
)
@options.option(
    "--labels",
    type=click.Path(path_type=Path),
    multiple=True,
    help="1 m label raster: 0, 1 and 255; the first one lies on top.",
)
@options.option(
    "--vectors",
    metavar="KIND=FILE[:LAYER]",
    multiple=True,
    help="Vector labels: buildings, roads, impervious, pervious or unknown; repeat it.",
)
@options.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="A folder like Five-Billion-Pixels, or of images without labels.",
)
@options.option(
    "--sensor",
    help="Whose imagery it is, or which is simulated [default: sentinel-2].",
    show_default=False,
)
@options.option(
    "--bands",
    metavar="NAME,...",
    help="What the bands of --imagery are, in order, if the file does not say: B02,B03,B04,B08.",
)
@options.option("--reproject", is_flag=True, help="Bring --imagery to the UTM 10 m grid if it is on another.")
@options.option(
    "--offset",
    type=int,
    help="Added to integer values of --imagery before scaling: -1000 for processing baseline 04.00 and later, where it was "
    "left in.",
)
@options.option("--scheme", help="Classes of the labels: isa or fbp24 [default: isa].", show_default=False)
@options.option(
    "--chip-px", type=int, help="Side of a chip in pixels of the imagery [default: 64].", show_default=False
)
@options.option(
    "--split",
    type=click.Path(path_type=Path),
    help="Raster that says what each pixel is for: 1 train, 2 val, 3 test.",
)
@options.option(
    "--only", type=click.Choice(["train", "val", "test", "target"]), help="What all of this ground is for."
)
@options.option(
    "--val",
    type=options.Number(0, 1, max_open=True),
    help="Share of the ground for validation [default: 0.15].",
    show_default=False,
)
@options.option(
    "--test",
    type=options.Number(0, 1, max_open=True),
    help="Share of the ground for a last test [default: 0].",
    show_default=False,
)
@options.option(
    "--buffer",
    type=options.Number(0),
    help="Metres between splits, where the ground allows [default: 3000].",
    show_default=False,
)
@options.option(
    "--max-shift",
    type=options.Number(0),
    help="Metres by which image and labels may lie off the imagery [default: 5 for an image, 10 for labels].",
    show_default=False,
)
@options.option("--align", is_flag=True, help="Move image and labels back, each by its measured shift.")
@options.option("--preview", is_flag=True, help="Draw a contact sheet, chips.png.")
@options.option(
    "-j", "--workers", type=click.IntRange(1, 256), default=1, help="Sources made at the same time."
)
@options.option("--overwrite", is_flag=True, help="Redo what is done.")
@options.wait
@options.report_file
@options.stack(*options.OUTPUT)
@options.stack(*options.LOGGING)
def tile(recipe: Path | None, **given: Any) -> None:
    """Cut training chips from imagery and labels of the same ground, with splits that keep apart.

    RECIPE (TOML) names sources; one source can be given by options instead. The folder gets GeoTIFFs of each source,
    an index that any GIS opens (chips.geojson) and a manifest (chips.json). Finished sources are skipped; labels that
    lie off their imagery are refused.
    """
    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    from isamap.core import tile as recipes

    request = _request(recipe, given)
    if given["dry_run"]:
        _print_plan(recipes.describe(request), as_json=given["as_json"])
        return
    report = recipes.run(request, workers=given["workers"], wait=given["wait"])
    try:
        if given["report"]:
            recipes.write_report(report, given["report"])
    finally:
        _print(report, as_json=given["as_json"], quiet=given["quiet"])


def _request(path: Path | None, given: dict[str, Any]) -> "Request":
    """What the options ask for."""
    from isamap.config import read_toml
    from isamap.core.tile import Request
    from isamap.domain.tiling import TileRecipe

    named = [name for name in SOURCE if given[name]]
    if (path is None) == (not named):
        raise click.UsageError("give a RECIPE, or one source by --imagery, --image or --folder")
    if path is not None:
        _check_options(given)
    recipe = _single(given) if path is None else read_toml(path, TileRecipe)
    recipe = _changed(recipe, given).checked()
    return Request(recipe, given["data"] or Path(), given["out"], given["preview"], given["overwrite"])


def _check_options(given: dict[str, Any]) -> None:
    """Refuse options about one source beside a recipe, whose sources say that for themselves."""
    for name, line in IN_RECIPE.items():
        if given[name] is not None and given[name] is not False:
            raise click.UsageError(
                f"--{name} is about a source that options name: in a RECIPE, write {line} to the source"
            )


def _single(given: dict[str, Any]) -> "TileRecipe":
    """A recipe of the one source that the options name."""
    from isamap.domain.tiling import Source, TileRecipe, Vectors
    from isamap.io.vector import file_and_layer

    layers = []
    for text in given["vectors"]:
        kind, equals, file = text.partition("=")
        path, layer = file_and_layer(file)
        if not equals or kind not in ("buildings", "roads", "impervious", "pervious", "unknown"):
            raise click.BadParameter(
                "KIND=FILE[:LAYER] with buildings, roads, impervious, pervious or unknown",
                param_hint="--vectors",
            )
        layers.append(Vectors(path=str(path), layer=layer, kind=kind))
    first = (given["imagery"] or given["image"] or (given["folder"],))[0]
    name = (
        "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(first).stem).lstrip(".")
        if first
        else ""
    )
    source = Source(
        name=name if name not in ("", "chips") else "ground",
        sensor=given["sensor"] or "sentinel-2",
        imagery=tuple(str(path) for path in given["imagery"]),
        image=tuple(str(path) for path in given["image"]),
        labels=tuple(str(path) for path in given["labels"]),
        vectors=tuple(layers),
        folder=str(given["folder"]) if given["folder"] else None,
        bands=tuple(part.strip() for part in given["bands"].split(",")) if given["bands"] else None,
        split=str(given["split"]) if given["split"] else None,
        split_values={"train": 1, "val": 2, "test": 3},
        only=given["only"],
        reproject=given["reproject"],
        **({} if given["offset"] is None else {"offset": given["offset"]}),
    )
    return TileRecipe(sources=(source,))


def _changed(recipe: "TileRecipe", given: dict[str, Any]) -> "TileRecipe":
    """The recipe with what the command line says otherwise."""
    from dataclasses import replace

    names = {"val": "val", "test": "test", "buffer": "buffer_m"}
    rules = {own: given[name] for name, own in names.items() if given[name] is not None}
    changes: dict[str, Any] = {name: given[name] for name in ("scheme", "chip_px") if given[name] is not None}
    if given["max_shift"] is not None:
        changes["max_shift_m"] = given["max_shift"]
    if given["align"]:
        changes["align"] = True
    return recipe.model_copy(update={**changes, "split": replace(recipe.split, **rules)})


def _print_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    """The answer to --dry-run."""
    options.print_plan(plan, ("shards", "made_before", "read_gb"), 12, as_json=as_json)
    if not as_json:
        for path in plan["missing"]:
            click.echo(f"{'missing':>12}  {path}")


def _print(report: "Report", *, as_json: bool, quiet: bool) -> None:
    """The index on stdout, the table on stderr."""
    document = report.document()
    if as_json:
        click.echo(json.dumps(document))
        return
    click.echo(document["index"])
    if quiet:
        return
    for shard in document["shards"]:
        for shift in shard["shifts"]:
            sure = "" if shift["trusted"] else ", too faint to be trusted"
            output.remark(
                f"{shard['name']}: lies {shift['east_m']:+.1f} m east, {shift['north_m']:+.1f} m north of its imagery "
                f"by {shift['by']} (peak {shift['peak']:.2f}{sure})"
            )
    for split, count in document["chips"].items():
        share = document["isa_share"].get(split)
        ground = document["labelled_km2"].get(split, 0.0)
        text = "" if share is None else f", {100 * share:.1f} % ISA"
        output.remark(f"{split:>8}  {count} chips, {ground:g} km2{text}")
    for pair, metres in document["distance_m"].items():
        if metres is not None:
            output.remark(f"{pair:>11}  {metres:g} m apart ({document['buffer_m']['wanted']:g} m wanted)")
