"""`isamap evaluate --sample`: from options to estimates."""

from typing import TYPE_CHECKING, Any

from isamap.cli import areas

if TYPE_CHECKING:
    from isamap.core.evaluation_report import Evaluation
    from isamap.io.products import Product


def survey(products: "tuple[Product, ...]", given: dict[str, Any]) -> "Evaluation":
    """Against a reference sample."""
    from isamap.core import survey as recipe
    from isamap.core.evaluation_report import Evaluation
    from isamap.domain.sample_tables import Points
    from isamap.io.vector import file_and_layer
    from isamap.io.zones import zones_of

    path, layer = file_and_layer(given["sample"])
    units = zones_of(given["units"], allow_overlap=given["allow_overlap"]) if given["units"] else None
    asked = recipe.Survey(
        path,
        given["observed"],
        given["stratum"],
        given["strata_sizes"],
        given["where"],
        given["support"],
        layer,
        units,
        given["plain_intervals"],
        areas.outline_of(given),
    )
    if given["shares"]:
        blocks, unit = recipe.run_shares(products, asked)
        points = {
            name: Points(one.used, one.left_out, one.unlabelled, units=one.units, sizes=one.sizes)
            for name, one in blocks.items()
        }
        return Evaluation(
            shares={name: one.accuracy for name, one in blocks.items()}, points=points, unit=unit
        )
    results, unit = recipe.run(products, asked)
    return Evaluation(
        samples={name: result.accuracy for name, result in results.items()},
        points={
            name: Points(
                *(r.used, r.left_out, r.unlabelled, r.counted, r.rare, r.strata, r.units, r.sizes),
                plain=given["plain_intervals"],
            )
            for name, r in results.items()
        },
        unit=unit,
    )
