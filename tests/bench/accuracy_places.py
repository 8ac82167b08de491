"""Tables of real input elsewhere, with what labels there are: Leipzig, Chongqing, EuroSAT."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tables
from accuracy_ground import EVERY, OUTSIDE, SCALE, Area
from accuracy_models import Forest, Model
from sklearn.metrics import roc_auc_score

from isamap.domain.accuracy import Confusion
from isamap.domain.boundary import BoundaryScore
from isamap.domain.compositing import composite
from isamap.domain.share import ndvi, water
from isamap.io.ground import read_reflectance
from isamap.io.plate import read_plate

TOLERANCE_PX = 3
PATCH_PX = 64
AROUND_PX = 64
"""More than any network for a CPU looks around a pixel."""
BUILT_UP = ("Industrial", "Residential")
NATURAL = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Pasture", "PermanentCrop", "SeaLake")
"""Highway and River hold both, and are in neither."""


def leipzig_table(data: Path, models: list[Model]) -> Iterator[str]:
    """Real Sentinel-2 of Leipzig: buildings of OSM, easy zeros drawn by hand."""
    root = data / "s2-leipzig-north"
    lr, present, _ = read_reflectance([root / "s2-leipzig.tif"], EVERY, optional=EVERY)
    buildings = read_plate(root / "building-1m.tif").values[0]
    area = Area("Leipzig", lr, present, read_plate(root / "isa-1m.tif").values[0], EVERY)
    rows = []
    for model in models:
        mapped = model.map(area).astype(np.uint8)
        around = [np.pad(one, TOLERANCE_PX, constant_values=OUTSIDE) for one in (mapped, buildings)]
        near = BoundaryScore.count(*around, TOLERANCE_PX, TOLERANCE_PX)
        zeros = Confusion.count(mapped, np.where(area.isa == 0, 0, OUTSIDE).astype(np.uint8))
        recall = Confusion.count(mapped, buildings).recall
        figures = float(recall), float(near.recall), float(zeros.isa_share), float(mapped.mean())
        rows.append((f"**{model.name}**", *figures))
    yield from tables.table(
        ("map", "building recall", "building recall, 3 m tolerance", "false alarms", "ISA share"), rows
    )


def chongqing_table(
    data: Path, models: list[Model], forests: list[Forest], dates: tuple[str, ...] = ("20180402",)
) -> Iterator[str]:
    """Photo-interpreted points in Chongqing: stratified, weighted, with bootstrap standard errors.

    Input is one date, or the median composite of several.
    """
    lr, present = median_of(data / "s2-oscd-change" / "chongqing", "chongqing", dates)
    root = data / "chongqing-points-north"
    points = [f["properties"] for f in json.loads((root / "points.geojson").read_text())["features"]]
    rows = slice(0, max(p["row"] for p in points) + AROUND_PX)  # the south holds no points
    lr, present = lr[:, rows], present[:, rows]
    nothing = np.full((lr.shape[1] * SCALE, lr.shape[2] * SCALE), OUTSIDE, np.uint8)
    area = Area(f"Chongqing, {dates}", lr, present, nothing, EVERY)
    bands = dict(zip(EVERY, lr, strict=True))
    with (root / "strata.csv").open() as file:
        worth = {s["stratum"]: int(s["n_pixels"]) / int(s["n_points"]) for s in csv.DictReader(file)}
    maps = [("NDVI < 0.25 and not water", (ndvi(bands) < 0.25) & ~water(bands))]
    maps += [(forest.name, forest.predict(area.of(forest.bands)[0]) > 0.5) for forest in forests]
    for model in models:
        cells = model.map(area).reshape(lr.shape[1], SCALE, lr.shape[2], SCALE)
        maps.append((f"**{model.name}**", cells.mean(axis=(1, 3)) > 0.5))
    yield from tables.table(
        ("map", "F1", "SE", "precision", "recall", "F1 with low-confidence points"),
        ((name, *point_scores(mapped, points, worth)) for name, mapped in maps),
    )


def median_of(folder: Path, city: str, dates: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance and presence `(band, y, x)` of the median of some dates, as `isamap fetch` makes it."""
    looks = [
        read_reflectance([folder / f"{city}-{date}-{gsd}m.tif" for gsd in (10, 20)], EVERY, optional=EVERY)
        for date in dates
    ]
    stack = np.stack([np.rint(lr * 10_000) for lr, _, _ in looks]).astype(np.uint16)
    present = np.stack([bands for _, bands, _ in looks])
    values, _ = composite("median", stack, present.any(axis=1))
    return values.astype(np.float32) / 10_000, present.all(axis=0)


def point_scores(mapped: np.ndarray, points: list[dict], worth: dict[str, float]) -> tuple[float, ...]:
    """Weighted F1, its SE, precision and recall without low-confidence points, and F1 with them."""
    said = np.array([mapped[p["row"], p["col"]] for p in points])
    truth = np.array([p["isa_majority"] for p in points], np.uint8)
    weight = np.array([worth[p["stratum"]] for p in points])
    sure = np.array([p["confidence"] != "low" for p in points])
    strata = np.array([p["stratum"] for p in points])
    best = Confusion.count(said[sure], truth[sure], weight[sure])
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        picks = [
            rng.choice(np.flatnonzero(sure & (strata == s)), int((sure & (strata == s)).sum())) for s in worth
        ]
        pick = np.concatenate(picks)
        drawn.append(Confusion.count(said[pick], truth[pick], weight[pick]).f1)
    every = Confusion.count(said, truth, weight)
    return float(best.f1), float(np.std(drawn)), float(best.precision), float(best.recall), float(every.f1)


def eurosat_table(data: Path, models: list[Model]) -> Iterator[str]:
    """ISA share of each patch of EuroSAT: mean by class, their order, and how well it tells built-up from natural."""
    shares: dict[str, np.ndarray] = {}
    for path in sorted((data / "s2-eurosat-270").glob("*.tif")):
        lr, present, _ = read_reflectance([path], EVERY, optional=EVERY, placed=False)
        tops = range(0, lr.shape[1], PATCH_PX)
        patches = [
            Area(path.stem, lr[:, t : t + PATCH_PX], present[:, t : t + PATCH_PX], np.empty((0, 0)), EVERY)
            for t in tops
        ]
        shares[path.stem] = np.array(
            [[(m.predict(*one.of(m.bands)) >= m.threshold).mean() for one in patches] for m in models]
        )
    heads = ("class", "patches", *(f"**{m.name}**" for m in models))
    rows: list[tuple[object, ...]] = [
        (name, found.shape[1], *map(float, found.mean(axis=1))) for name, found in shares.items()
    ]
    aucs = [float(built_up_auc(shares, index)) for index in range(len(models))]
    rows.append(("**area under the curve, built-up against natural**", "", *aucs))
    taught = ["yes" if "Forest" in str(m.card.training.get("ground")) else "no" for m in models]
    rows.append(("weak shares of these patches were in training", "", *taught))
    yield from tables.table(heads, rows)
    yield ""
    for index, model in enumerate(models):
        order = sorted(shares, key=lambda name: -float(shares[name][index].mean()))
        yield f"- {model.name}: {' > '.join(order)}"


def built_up_auc(shares: dict[str, np.ndarray], index: int) -> float:
    """Chance that a built-up patch has a larger ISA share than a natural one, ties counting half."""
    groups = [np.concatenate([shares[name][index] for name in names]) for names in (NATURAL, BUILT_UP)]
    truth = np.repeat([0, 1], [len(group) for group in groups])
    return roc_auc_score(truth, np.concatenate(groups))
