"""`make accuracy`: every accuracy figure of the documentation, from the stored weights. Trains no network.

Real input with 1 m labels first (Dubai), then simulated input, then real input of other places with what
labels there are; images, cost, and what probabilities are worth. The yardsticks stand beside the models: calling
everything impervious, a linear model, a random forest, and the best that any 10 m map could reach.

    python tests/bench/accuracy.py --data ../shared/data [--models NAME|FILE ...] [--write docs/accuracy.md]
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import tables
from accuracy_cost import cost_table
from accuracy_ground import BANDS, EVERY, labelled_part, real_areas, simulated_areas
from accuracy_images import image_table
from accuracy_models import SCENE_BANDS, Forest, Linear, stored, told_apart
from accuracy_places import chongqing_table, eurosat_table, leipzig_table, point_scores
from accuracy_scores import labelled_table, reliability_table

from isamap.engine.pages import keep_pages
from isamap.io.ground import read_reflectance
from isamap.model.validation import probabilities

__all__ = ["point_scores", "probabilities", "read_reflectance", "real_areas"]


def report(data: Path, names: list[str]) -> Iterator[str]:
    """All tables as Markdown lines."""
    models = told_apart([stored(name) for name in names], names)
    train, val = real_areas(data, EVERY)
    val = labelled_part(val, "Dubai, real input")
    linear, forest = Linear([train], val), Forest(data, BANDS)
    yield "\n## Real Sentinel-2 input with 1 m labels\n"
    yield "Validation split of s2-dubai-1m, 3.1 km2 that share no ground with training."
    yield from labelled_table(val, models, linear, forest)
    yield "\n## Cost\n"
    yield f"Forward pass and settling (the moving average over 10 m of its probabilities), CPU time, medians of interleaved rounds. {tables.machine()}\n"
    yield from cost_table(models, linear, train)
    yield "\n## Super-resolved images\n"
    yield "Dubai, pieces of 480 m of the validation ground, against the 1 m image in the units of the input.\n"
    yield from image_table(val, models)
    yield "\n## Simulated input with 1 m labels\n"
    yield "Validation areas of dubai-aerial-1m; red, green and blue only, the near infrared is missing."
    train_sim, val_sim = simulated_areas(data)
    linear = Linear(train_sim, val_sim[0])
    for area in val_sim:
        yield from labelled_table(area, models, linear)
    yield "\n## What probabilities are worth\n"
    yield "Expected calibration error in ten bins, and Brier score; calibrated by ground that is not scored.\n"
    yield from reliability_table(val, val_sim[1:], models)
    yield "\n## Leipzig: real input, buildings of OpenStreetMap\n"
    yield from leipzig_table(data, models)
    yield "\n## Chongqing: real input, photo-interpreted points\n"
    forests = [forest, Forest(data, SCENE_BANDS)]
    yield from chongqing_table(data, models, forests)
    yield "\nThe median of 2017-04-14 and 2018-04-02, as `isamap fetch` makes composites:\n"
    yield from chongqing_table(data, models, forests, ("20170414", "20180402"))
    yield "\n## EuroSAT: ISA share per scene class\n"
    yield from eurosat_table(data, models)


def main() -> None:
    """Print the tables; keep them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--models", nargs="+", default=["bilinear", "fast"])
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    keep_pages()
    lines = []
    for line in report(args.data, args.models):
        print(line, flush=True)
        lines.append(line)
    if args.write:
        tables.keep(args.write, "accuracy", lines)


if __name__ == "__main__":
    main()
