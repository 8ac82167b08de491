"""`make train-family`, its last step: tables of networks that were trained at one budget, every seed of them.

    python tests/bench/family.py RUNS [--data ../shared/data] [--write docs/accuracy.md]

Weights lie at RUNS/SEED/NAME/*.safetensors, NAME being a recipe of `examples/train/family`. Figures are means over
seeds, ranges in brackets. Costs and images are of the first seed.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tables
from accuracy_cost import cost_table
from accuracy_ground import EVERY, Area, labelled_part, real_areas, simulated_areas
from accuracy_images import image_table
from accuracy_models import Linear, Model, majority, stored, weights_of
from accuracy_scores import DISTANCES_PX, SUPPORTS_PX, Scores

from isamap.engine.pages import keep_pages

NETWORKS = ("bilinear", "staged", "joint", "joint-no-image", "joint-no-skips", "fast")
SIMULATION = {
    "fast": "real alone",
    "fast-simulated": "simulated alone (no near infrared)",
    "fast-both": "both",
}
"""What `fast` learnt from, by recipe."""
SPECTRUM = {"fast": "four of 10 m", "fast-ten-bands": "and six of 20 m: red edge, short-wave infrared"}
"""Bands that `fast` reads, by recipe."""
PIXELS = ("IoU", "F1", "precision", "recall", "two-class mean F1")
SHARES = tuple(f"{figure} {support} m" for figure in ("MAE", "bias") for support in SUPPORTS_PX)
OUTLINES = tuple(f"BIoU {distance} m" for distance in DISTANCES_PX)
Figures = tuple[float, ...]


def family(runs: Path, names: Sequence[str]) -> dict[str, list[Model]]:
    """The models of each recipe, by seed."""
    found = {}
    for name in names:
        folders = sorted(runs.glob(f"*/{name}/"))
        if not folders:
            raise SystemExit(f"{runs} holds no run of {name}: make train-family makes them")
        found[name] = [stored(str(weights_of(folder))) for folder in folders]
        for model in found[name]:
            model.name = name
    return found


def spread(values: Sequence[float]) -> str:
    """Mean and range."""
    mean = statistics.mean(values)
    return f"{mean:.3f} ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else f"{mean:.3f}"


def rows(
    area: Area, models: dict[str, list[Model]], linear: Linear, figures: Callable[[Scores], Figures]
) -> Iterator[tuple[str, ...]]:
    """Yardsticks, every recipe, the bound of any 10 m map."""

    def single(name: str, mapped: np.ndarray) -> tuple[str, ...]:
        return name, *(f"{value:.3f}" for value in figures(Scores.count(mapped, area.isa)))

    yield single("everything ISA", np.ones(area.isa.shape, np.bool_))
    yield single(linear.name, linear.map(area))
    yield from seeds_rows(area, models, {}, figures)
    yield single("true 10 m majority (bound of any 10 m map)", majority(area.isa))


def seeds_rows(
    area: Area, models: dict[str, list[Model]], titles: dict[str, str], figures: Callable[[Scores], Figures]
) -> Iterator[tuple[str, ...]]:
    """Every recipe."""
    for name, seeds in models.items():
        found = [figures(Scores.count(model.map(area), area.isa)) for model in seeds]
        yield f"**{titles.get(name, name)}**", *map(spread, zip(*found, strict=True))


def f1_rows(
    areas: Sequence[Area], models: dict[str, list[Model]], titles: dict[str, str]
) -> Iterator[tuple[str, ...]]:
    """F1 of every recipe on every area, and the mean over areas."""
    for name, seeds in models.items():
        found = [
            [float(Scores.count(model.map(area), area.isa).confusion.f1) for area in areas] for model in seeds
        ]
        means = [statistics.mean(each) for each in found]
        yield f"**{titles.get(name, name)}**", *map(spread, zip(*found, strict=True)), spread(means)


def cpu_seconds(folder: Path, training: dict[str, Any]) -> float:
    """Of a whole run, not only up to its best weights, and of the stages before it."""
    before, total = training["start"], json.loads((folder / "training.json").read_text())["cpu_seconds"]
    while before is not None:
        total, before = total + before["cpu_seconds"], before["start"]
    return total


def budget(runs: Path, models: dict[str, list[Model]]) -> Iterator[str]:
    """What each recipe was trained with."""
    lines = []
    for name, seeds in models.items():
        folders = sorted(path.parent for path in runs.glob(f"*/{name}/training.json"))
        taken = [cpu_seconds(folder, m.card.training) for folder, m in zip(folders, seeds, strict=True)]
        best = ", ".join(str(model.card.training["steps"]) for model in seeds)
        lines.append((name, len(seeds), best, f"{min(taken):.0f}-{max(taken):.0f}"))
    yield from tables.table(("recipe", "seeds", "best step of the last stage", "CPU seconds"), lines)


def report(data: Path, runs: Path) -> Iterator[str]:
    """All tables as Markdown lines."""
    networks, learnt, spectrum = (family(runs, tuple(names)) for names in (NETWORKS, SIMULATION, SPECTRUM))
    train, val = real_areas(data, EVERY)
    val = labelled_part(val, "Dubai, real input")
    linear = Linear([train], val)
    yield "\n### Real Sentinel-2 of Dubai: mean over seeds (range)\n"
    yield from tables.table(("map", *PIXELS), rows(val, networks, linear, lambda s: s.pixels))
    yield ""
    heads = ("map", *OUTLINES, *SHARES)
    yield from tables.table(heads, rows(val, networks, linear, lambda s: s.outlines_and_shares))
    areas = [val, *simulated_areas(data)[1]]
    yield "\n### F1 of ISA on real and on simulated validation ground\n"
    heads = ("network", *(area.name for area in areas), "mean")
    yield from tables.table(heads, f1_rows(areas, networks, {}))
    yield "\n### What `fast` learns from real and from simulated input, F1 of ISA\n"
    yield from tables.table(("`fast`, learnt from", *heads[1:]), f1_rows(areas, learnt, SIMULATION))
    yield "\n### Bands that `fast` reads, real Sentinel-2 of Dubai\n"
    heads = ("`fast`, its bands", *PIXELS)
    yield from tables.table(heads, seeds_rows(val, spectrum, SPECTRUM, lambda s: s.pixels))
    yield "\n### Budget, cost and images\n"
    yield from budget(runs, networks | learnt | spectrum)
    yield ""
    first = [seeds[0] for seeds in networks.values()]
    yield from cost_table(first, linear, train)
    yield ""
    yield from image_table(val, first)


def main() -> None:
    """Print the tables; keep them where asked."""
    keep_pages()
    tables.of_runs(argparse.ArgumentParser(description=__doc__.splitlines()[0]), "family", report)


if __name__ == "__main__":
    main()
