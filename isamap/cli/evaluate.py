"""`isamap evaluate`."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from isamap.cli import areas, engines, options
from isamap.cli.evaluate_output import print_products, show
from isamap.cli.evaluate_sample import survey
from isamap.cli.once import OnceEach

if TYPE_CHECKING:
    from isamap.core.evaluation_report import Evaluation
    from isamap.engine import Engine
    from isamap.io.products import Product

EXAMPLES = """
\b
Examples:
  isamap evaluate maps/ --reference worldcover-v200=worldcover.tif -o report
  isamap evaluate maps/ --labels isa-1m.tif --product worldcover-v200=worldcover.tif
  isamap evaluate maps/ --design --size 400 -o sample
  isamap evaluate maps/ --sample sample/sample.gpkg --stratum stratum --strata-sizes sample/strata.csv
  isamap evaluate --region yreb/CN032010 --year 2021 --reference gaia=gaia.tif --min-f1 0.7
"""
TRUTHS = ("reference", "labels", "sample", "design")
SHARE = options.Number(0, 1)
BELONGS = {
    "classes": {"reference", "labels", "sample", "design"},
    "observed": {"sample"},
    "stratum": {"sample"},
    "strata_sizes": {"sample"},
    "where": {"sample"},
    "support": {"sample"},
    "shares": {"sample"},
    "plain_intervals": {"sample"},
    "measures": {"reference", "labels"},
    "size": {"design"},
    "target_se": {"design"},
    "spacing": {"design"},
    "seed": {"design"},
    "strata": {"reference", "labels", "design"},
    "image": {"design"},
    "units": {"reference", "labels", "sample", "design"},
    "allow_overlap": {"reference", "labels", "sample", "design"},
    "min_f1": {"reference", "labels", "sample"},
    "max_bias": {"reference", "labels", "sample"},
    "as_json": {"reference", "labels", "sample"},
    **{name: {"reference", "labels"} for name in ("workers", "memory", "engine", "scheduler_address")},
}
"""Options that say nothing without one of these."""


@click.command(cls=OnceEach, epilog=EXAMPLES)
@options.config
@click.argument("maps", nargs=-1, type=click.Path(path_type=Path))
@options.stack(*areas.AREA)
@options.stack(*options.MAPS)
@options.option(
    "--product",
    "products",
    multiple=True,
    metavar="NAME=PATH",
    help="One more product to compare; a name of --list-products says how it is coded.",
)
@options.option("--reference", metavar="NAME=PATH", help="Hold the maps against this product.")
@options.option(
    "--classes",
    multiple=True,
    metavar="[NAME:]CODE,...",
    help="Codes that are ISA in a --reference, in rasters of --labels, or in product NAME.",
)
@options.option(
    "--labels",
    metavar="FILE[:LAYER][:COLUMN]",
    help="Hold the maps against labels: a raster with 0, 1 and 255, or polygons with 0 and 1 in a column.",
)
@options.option(
    "--measures",
    metavar="NAME,...",
    help="Count these alone: confusion (always), fraction, boundary, calibration, pictures. Confusion alone runs at "
    "the speed of decoding.",
    show_default="all",
)
@options.option("--sample", metavar="FILE[:LAYER]", help="Hold the maps against labelled points.")
@options.option("--observed", default="observed", metavar="COLUMN", help="Column of the observed class.")
@options.option("--stratum", metavar="COLUMN", help="Column of the stratum of each point.")
@options.option(
    "--strata-sizes",
    type=click.Path(path_type=Path),
    help="CSV with the columns stratum and n_pixels (or area_km2, size).",
)
@options.option("--where", metavar="COLUMN=VALUE", help="Only points for which this holds (also !=).")
@options.option(
    "--support",
    type=options.Number(0, 1000),
    default=0.0,
    help="Compare the majority of a square this wide, in m.",
)
@options.option(
    "--shares", is_flag=True, help="The observed column holds ISA shares, 0 to 1, of squares --support wide."
)
@options.option(
    "--plain-intervals",
    is_flag=True,
    help="Estimate -+ 1.96 SE alone, as Olofsson et al. 2014 print it, also where errors are rare.",
)
@options.option("--design", is_flag=True, help="Draw a sample to be labelled instead.")
@options.option("--size", type=click.IntRange(1), help="Points of --design in all.", show_default=False)
@options.option(
    "--target-se",
    type=options.Number(0, 1, min_open=True),
    help="Or as many as this standard error of the overall accuracy needs.",
    show_default=False,
)
@options.option("--spacing", type=options.Number(0), default=0.0, help="Least distance of points, in m.")
@options.option("--seed", type=click.IntRange(0), default=1, help="Of --design.")
@options.option(
    "--image",
    type=click.Path(path_type=Path),
    help="Cut the ground around each point of --design from this raster, as PNG.",
)
@options.option(
    "--strata",
    metavar="density|FILE[:LAYER][:COLUMN]",
    help="Also tell accuracy per stratum, of polygons or of a raster's codes; with --design, draw in each by itself.",
)
@options.option(
    "--units",
    metavar="provinces|prefectures|FILE[:LAYER][:COLUMN]",
    help="And per unit; with --design, draw in each unit by itself.",
)
@options.option(
    "--allow-overlap", is_flag=True, help="Count ground that two units share for the later one alone."
)
@options.option("-o", "--out", type=click.Path(path_type=Path), help="Folder of the report.")
@options.option("--min-f1", type=SHARE, help="Exit 5 if the first map's F1 is less.", show_default=False)
@options.option("--max-bias", type=SHARE, help="Exit 5 if its ISA share is off by more.", show_default=False)
@options.stack(*engines.PLACE)
@options.option("--list-products", is_flag=True, help="Print the products whose codes are known, and stop.")
@options.json_output
@options.stack(*options.LOGGING)
def evaluate(**given: Any) -> None:
    """Tell how accurate maps are, against a product, labels or a reference sample.

    MAPS are files or folders of tiles; --region or --tiles with --year takes those of the workspace. The first map
    sets the pixels on which all are compared.
    """
    options.start_logging(verbose=given["verbose"], quiet=given["quiet"], log_format=given["log_format"])
    if given["list_products"]:
        print_products()
        return
    chosen = [name for name in TRUTHS if given[name]]
    if len(chosen) != 1:
        raise click.UsageError("give exactly one of --reference, --labels, --sample and --design")
    _check_options(chosen[0])
    how = engines.settle(dict(given))  # the report repeats paths as they were given
    products = _products(given)
    if chosen[0] in ("sample", "design"):
        if "" in _codes(given):
            raise click.UsageError(f"--classes needs the NAME of a product with --{chosen[0]}")
        _check_codes(given, products)
    if given["design"]:
        _draw(products, given)
        return
    if given["out"]:
        from isamap.core.evaluation_report import prepare

        prepare(given["out"])
    found = survey(products, given) if given["sample"] else _compare(products, given, how)
    show(found, given)


def _check_options(chosen: str) -> None:
    """Refuse options that the chosen truth would pass over."""
    context = click.get_current_context()
    for name, truths in BELONGS.items():
        source = context.get_parameter_source(name)
        if source is click.core.ParameterSource.COMMANDLINE and chosen not in truths:
            needed = " or ".join(f"--{truth}" for truth in sorted(truths))
            word = name.removeprefix("as_").replace("_", "-")
            raise click.UsageError(f"--{word} goes with {needed}, not with --{chosen}")


def _codes(given: dict[str, Any]) -> dict[str, str]:
    """ISA codes by product name; those of the reference under ``."""
    entries = (text.rpartition(":") for text in given["classes"])
    return {name: codes for name, _, codes in entries}


def _check_codes(given: dict[str, Any], products: "Iterable[Product]") -> None:
    """Refuse codes of a product that is not compared: nothing would read them."""
    names = [product.name for product in products]
    for name in _codes(given):
        if name and name not in names:
            raise click.UsageError(f"--classes {name}: no product has this name, but {', '.join(names)}")


def _products(given: dict[str, Any]) -> "tuple[Product, ...]":
    """All that is compared, the first map first."""
    from isamap.io.products import Product, parse_product

    area = areas.area_named(given)
    if bool(given["maps"]) == bool(area):
        raise click.UsageError("give MAPS, or one of --region, --bbox, --aoi and --tiles with --year")
    if area:
        from isamap.core.workspace import finished_maps

        if given["year"] is None:
            raise click.UsageError("an area needs --year")
        files = finished_maps(given["workspace"], given["model"], given["year"], areas.tiles_of(given))
        products = [Product(f"{given['model']} {given['year']}", files)]
    else:
        products = [parse_product(str(path), _codes(given)) for path in given["maps"]]
    return *products, *(parse_product(text, _codes(given)) for text in given["products"])


def _compare(products: "tuple[Product, ...]", given: dict[str, Any], how: "Engine") -> "Evaluation":
    """Against a truth that covers ground."""
    from isamap.core import evaluate as recipe
    from isamap.core.evaluation_report import Evaluation
    from isamap.core.label_remarks import remarks

    truth = recipe.parse_truth(given["reference"], _codes(given), given["labels"])
    published = [truth.product] if truth.product and truth.published else []
    _check_codes(given, (*products, *published))
    comparison = recipe.Comparison(
        products,
        truth,
        given["strata"],
        given["units"],
        areas.outline_of(given),
        _measures(given["measures"]),
        given["allow_overlap"],
    )
    tally = recipe.run(comparison, how)
    return Evaluation(tally, remarks=remarks(comparison, tally))


def _measures(text: str | None) -> tuple[str, ...]:
    """What --measures asks for, the confusion matrix first."""
    from isamap.domain.evaluation import CONFUSION, MEASURES

    asked = MEASURES if text is None else [name.strip() for name in text.split(",")]
    if unknown := [name for name in asked if name not in MEASURES]:
        raise click.BadParameter(f"{unknown[0]!r} is none of {', '.join(MEASURES)}", param_hint="--measures")
    return tuple(name for name in MEASURES if name in {CONFUSION, *asked})


def _draw(products: "tuple[Product, ...]", given: dict[str, Any]) -> None:
    """--design."""
    from isamap.core import design as recipe
    from isamap.io.raster_zones import strata_layer
    from isamap.io.views import DENSITY

    if (given["size"] is None) == (given["target_se"] is None):
        raise click.UsageError("--design needs --size or --target-se")
    if given["out"] is None:
        raise click.UsageError("--design needs a folder: -o DIR")
    if given["strata"] == DENSITY:
        raise click.UsageError("--design tells strata apart by the map itself: --strata takes a file there")
    wanted = [given[name] for name in ("units", "strata") if given[name]]
    zones = tuple(strata_layer(text, allow_overlap=given["allow_overlap"]) for text in wanted)
    asked = recipe.Design(
        given["size"],
        given["target_se"],
        spacing_m=given["spacing"],
        seed=given["seed"],
        zones=zones,
        image=given["image"],
        ground=areas.outline_of(given),
    )
    for path in recipe.run(products[0], products[1:], asked, given["out"]):
        click.echo(path)
