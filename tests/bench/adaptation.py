"""`make train-adapt`, its last step: tables of what adaptation wins on ground without labels.

    PYTHONPATH=docs python tests/bench/adaptation.py RUNS [--data ../shared/data] [--write docs/accuracy.md]
        [--picture docs/adaptation.png]

Weights lie at RUNS/NAME/*.safetensors. Every model started from the same source (labelled Dubai of 2015) and had the
same steps more. Recall at equal false alarms: the threshold is moved until as much ground without ISA is
called ISA as by the source alone.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import tables
from accuracy_ground import EVERY, OUTSIDE, SCALE, Area, labelled_part, real_areas, simulated_area
from accuracy_models import Model, stored, weights_of
from accuracy_places import AROUND_PX, chongqing_table, eurosat_table, leipzig_table
from picture import SIDE, sheet
from PIL import Image
from targets import SIMULATED

from isamap.domain.accuracy import Confusion
from isamap.engine.pages import keep_pages
from isamap.io.ground import read_reflectance
from isamap.model.networks import NetworkConfig
from isamap.model.networks.config import VISIBLE

CITIES = {
    "source": "source alone",
    "further": "source alone, further",
    "dpa": "DPA",
    "dpa-plus": "DPA+",
    "dpa-plus-weak": "DPA+, weak targets",
}
"""Runs for the eight cities, by folder."""
TOP, LEFT, PANEL_PX = 64, 64, 400
"""Corner of the picture in the scene of Chongqing, pixels of 10 m, and side of its panels."""
ONE = {"dpa": "DPA", "dpa-plus": "DPA+", "upper": "labels of the target"}
"""Runs for one target, by the end of their folder's name."""


def models_of(runs: Path, names: dict[str, str]) -> list[Model]:
    """The models of some runs under the names that the tables use."""
    found = []
    for folder, title in names.items():
        found.append(stored(str(weights_of(runs / folder))))
        found[-1].name = title
    return found


def at_home(model: Model) -> Model:
    """The model as it sees its source: where it was adapted by statistics, its card describes the target's view."""
    config = model.card.training.get("source_network")
    if config is None:
        return model
    network = type(model.network)(NetworkConfig(**config))
    network.load_state_dict(model.network.state_dict())
    return replace(model, network=network.eval(), kept={})


def scored_half(data: Path, name: str) -> Area:
    """The right half of a simulated target: labels of the left one may have been learnt from."""
    area = simulated_area(data, name)
    height, width = area.lr.shape[1:]
    return area.crop(slice(0, height), slice(width // 2, width), name)


def at_false_alarms(model: Model, areas: list[Area], share: float) -> float:
    """Recall where `share` of the ground without ISA is called ISA."""
    on = [(model.on(area), area.isa) for area in areas]
    threshold = np.quantile(np.concatenate([p[isa == 0] for p, isa in on]), 1 - share)
    isa = np.concatenate([p[isa == 1] for p, isa in on])
    return float((isa > threshold).mean())


def false_alarms(model: Model, areas: list[Area]) -> float:
    """Share of the ground without ISA that a model calls ISA."""
    return float(np.concatenate([model.map(area)[area.isa == 0] for area in areas]).mean())


def labelled(source: Model, models: list[Model], areas: list[Area]) -> Iterator[str]:
    """Scores of several areas together."""
    alarms = false_alarms(source, areas)
    rows = []
    for model in (source, *models):
        counted = Confusion()
        for area in areas:
            counted += Confusion.count(model.map(area).astype(np.uint8), area.isa)
        figures = counted.iou, counted.f1, counted.precision, counted.recall
        rows.append((f"**{model.name}**", *map(float, figures), at_false_alarms(model, areas, alarms)))
    heads = ("model", "IoU", "F1", "precision", "recall", f"recall at {100 * alarms:.1f} % false alarms")
    yield from tables.table(heads, rows)


def report(data: Path, runs: Path) -> Iterator[str]:
    """All tables as Markdown lines."""
    source, *cities = models_of(runs, CITIES)
    home = labelled_part(real_areas(data, EVERY)[1], "Dubai 2015")
    later = labelled_part(real_areas(data, EVERY, "20180330")[1], "Dubai 2018")
    there = [scored_half(data, name) for name in SIMULATED]
    yield "\n### The source: Dubai 2015, validation ground\n"
    yield from labelled(source, [at_home(model) for model in cities], [home])
    yield "\n### Eight cities: Chongqing, photo-interpreted points\n"
    yield from chongqing_table(data, [source, *cities], [])
    yield "\n### Eight cities: Leipzig, buildings\n"
    yield from leipzig_table(data, [source, *cities])
    yield "\n### Eight cities: EuroSAT, ISA share per scene class\n"
    yield from eurosat_table(data, [source, *cities])
    for target, areas in (("2018", [later]), ("simulated", there)):
        models = models_of(runs, {f"{target}-{end}": title for end, title in ONE.items()})
        yield f"\n### {TITLES[target]}\n"
        yield from labelled(source, models, areas)
        yield "\nThe same models on the source's validation ground:\n"
        yield from labelled(source, [at_home(model) for model in models], [home])


TITLES = {
    "2018": "Dubai 2018: another date, labels of 2015",
    "simulated": "Simulated tiles 3, 5 and 6: other days and colours, no near infrared; right halves",
}


def picture(data: Path, runs: Path) -> Image.Image:
    """A square of Chongqing: input, then the maps of the source, of `DPA`, of `DPA+` and of `DPA+` with weak targets."""
    scene = data / "s2-oscd-change" / "chongqing"
    files = [scene / f"chongqing-20180402-{gsd}m.tif" for gsd in (10, 20)]
    lr, present, _ = read_reflectance(files, EVERY, optional=EVERY)
    unknown = np.full((lr.shape[1] * SCALE, lr.shape[2] * SCALE), OUTSIDE, np.uint8)
    wide = [slice(start - AROUND_PX, start + SIDE + AROUND_PX) for start in (TOP, LEFT)]
    area = Area("Chongqing", lr, present, unknown, EVERY).crop(*wide)
    inner = slice(AROUND_PX * SCALE, -AROUND_PX * SCALE)
    shown = {name: title for name, title in CITIES.items() if name != "further"}
    maps = [model.map(area)[inner, inner].astype(np.uint8) for model in models_of(runs, shown)]
    own = slice(AROUND_PX, -AROUND_PX)
    return sheet(area.of(VISIBLE)[0][:, own, own], maps, PANEL_PX)


def main() -> None:
    """Print the tables and draw the picture; keep them where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path)
    keep_pages()
    args = tables.of_runs(parser, "adaptation", report)
    if args.picture:
        picture(args.data, args.runs).save(args.picture, optimize=True)


if __name__ == "__main__":
    main()
