"""`make accuracy`: every accuracy figure of the documentation, from the stored weights. Trains no network.

Real input with 1 m labels first (Dubai), then simulated input, then real input of other places with what
labels there are. The yardsticks stand beside the models: calling everything impervious, a linear model, and
the best that any 10 m map could reach.

    python tests/bench/accuracy.py --data ../shared/data [--models NAME|FILE ...] [--write docs/accuracy.md]
"""

import argparse
import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import tables
import torch
from affine import Affine

from isamap.domain.accuracy import Confusion
from isamap.domain.share import ndvi, water
from isamap.engine.pages import keep_pages
from isamap.io.ground import lay, read_plate, read_reflectance
from isamap.model.checkpoint import find, load
from isamap.model.simulate import REFLECTANCE_OF_WHITE, RGB_BANDS, blur
from isamap.model.training import probabilities

BANDS = ("B02", "B03", "B04", "B08")
SCALE = 10
OUTSIDE = 255


@dataclass(frozen=True)
class Area:
    """Ground with 1 m labels and its 10 m input."""

    name: str
    lr: np.ndarray
    present: np.ndarray
    isa: np.ndarray


def fine(mask: np.ndarray) -> np.ndarray:
    """A 10 m array at 1 m."""
    return mask.repeat(SCALE, -2).repeat(SCALE, -1)


def real_areas(data: Path) -> tuple[Area, Area]:
    """Training and validation ground of s2-dubai-1m."""
    root = data / "s2-dubai-1m"
    lr, present, transform = read_reflectance([root / "s2-20151211-10m.tif"], BANDS)
    shape = lr.shape[1] * SCALE, lr.shape[2] * SCALE
    tiles = [root / "isa" / f"tile-{name}.tif" for name in ("8", "7a", "7b")]
    isa = lay(tiles, transform * Affine.scale(1 / SCALE), shape, OUTSIDE)[0]
    split = fine(read_plate(root / "split-10m.tif").values[0])
    train, val = (Area("Dubai", lr, present, np.where(split == value, isa, OUTSIDE)) for value in (1, 2))
    return train, val


def simulated_area(data: Path, name: str, rows: slice = slice(None), cols: slice = slice(None)) -> Area:
    """Simulated input of a tile of dubai-aerial-1m: Gaussian sigma 4 px, 10 x 10 mean, no noise."""
    root = data / "dubai-aerial-1m"
    image = torch.from_numpy(
        read_plate(root / "images" / f"{name}.tif").values[:, rows, cols].astype(np.float32)
    )
    coarse = torch.nn.functional.avg_pool2d(blur(image / 255 * REFLECTANCE_OF_WHITE, 4), SCALE).numpy()
    lr = np.stack([coarse[RGB_BANDS[b]] if b in RGB_BANDS else np.zeros_like(coarse[0]) for b in BANDS])
    present = np.stack([np.full(coarse.shape[1:], b in RGB_BANDS) for b in BANDS])
    return Area(
        f"{name} (simulated)", lr, present, read_plate(root / "isa" / f"{name}.tif").values[0, rows, cols]
    )


def simulated_areas(data: Path) -> tuple[list[Area], list[Area]]:
    """Training and validation ground of dubai-aerial-1m (its splits.json)."""
    train = [simulated_area(data, name) for name in ("tile-7a", "tile-7b")]
    train.append(simulated_area(data, "tile-8", cols=slice(0, 4290)))
    val = [simulated_area(data, "tile-8", slice(1510, 2930), slice(4330, 6440))]
    return train, val + [simulated_area(data, name) for name in ("tile-3", "tile-5", "tile-6")]


class Linear:
    """Ridge regression of the 100 sub-pixels on 5 x 5 pixels of 10 m; its threshold is the best on `tune`."""

    reach = 2

    def __init__(self, train: list[Area], tune: Area) -> None:
        gram, moment = 0.0, 0.0
        for area in train:
            for x, y in self._rows(area):
                gram, moment = gram + x.T @ x, moment + x.T @ y
        self.weights = np.linalg.solve(gram + 1e-3 * np.eye(len(gram)), moment)
        shares = self.predict(tune.lr, tune.present)
        scores = {t: Confusion.count(shares >= t, tune.isa).iou for t in np.arange(0.2, 0.61, 0.01)}
        self.threshold = max(scores, key=scores.get)

    def _features(self, lr: np.ndarray) -> np.ndarray:
        padded = np.pad(lr, ((0, 0), (self.reach,) * 2, (self.reach,) * 2), mode="reflect")
        side = 2 * self.reach + 1
        views = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
        x = views.transpose(1, 2, 0, 3, 4).reshape(*lr.shape[1:], -1)
        return np.concatenate([x, np.ones((*lr.shape[1:], 1))], axis=-1).astype(np.float64)

    def _rows(self, area: Area) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        x = self._features(area.lr)
        height, width = area.lr.shape[1:]
        cells = area.isa.reshape(height, SCALE, width, SCALE).transpose(0, 2, 1, 3).reshape(height, width, -1)
        whole = (cells != OUTSIDE).all(axis=-1) & area.present.any(axis=0)
        yield x[whole], (cells[whole] == 1).astype(np.float64)

    def predict(self, lr: np.ndarray, _: np.ndarray) -> np.ndarray:
        """ISA share at 1 m."""
        cells = (self._features(lr) @ self.weights).reshape(*lr.shape[1:], SCALE, SCALE)
        return cells.transpose(0, 2, 1, 3).reshape(lr.shape[1] * SCALE, lr.shape[2] * SCALE)


def majority(isa: np.ndarray) -> np.ndarray:
    """The best 10 m map: each pixel what most of it is."""
    height, width = (side // SCALE for side in isa.shape)
    cells = isa[: height * SCALE, : width * SCALE].reshape(height, SCALE, width, SCALE)
    return fine((cells == 1).sum(axis=(1, 3)) > (cells == 0).sum(axis=(1, 3)))


@dataclass
class Model:
    """A stored model as a function from input to probability."""

    name: str
    threshold: float
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray]


def stored(name: str) -> Model:
    """The model `name`, loaded."""
    card, network = load(find(name))

    def predict(lr: np.ndarray, present: np.ndarray) -> np.ndarray:
        return probabilities(network, torch.from_numpy(lr), torch.from_numpy(present)).numpy()

    return Model(card.name, card.threshold, predict)


def scores(confusion: Confusion) -> tuple[float, ...]:
    """What the tables show."""
    c = confusion
    return float(c.iou), float(c.f1), float(c.precision), float(c.recall), float(c.mean_f1)


def labelled_table(area: Area, models: list[Model], linear: Linear) -> Iterator[str]:
    """One area with 1 m labels."""
    share = float((area.isa == 1).sum() / (area.isa != OUTSIDE).sum())
    yield f"\n### {area.name}, ISA share {share:.3f}\n"
    yield tables.row("map", "IoU", "F1", "precision", "recall", "two-class mean F1")
    yield tables.row(*["---"] * 6)
    count = partial(Confusion.count, reference=area.isa)
    yield tables.row("everything ISA", *scores(count(np.ones(area.isa.shape, np.bool_))))
    yield tables.row(
        "linear, 5 x 5 pixels", *scores(count(linear.predict(area.lr, area.present) >= linear.threshold))
    )
    for model in models:
        mapped = model.predict(area.lr, area.present) >= model.threshold
        yield tables.row(f"**{model.name}**", *scores(count(mapped)))
        yield tables.row(
            f"{model.name}, as a 10 m product", *scores(count(majority(mapped.astype(np.uint8))))
        )
    yield tables.row("true 10 m majority (bound of any 10 m map)", *scores(count(majority(area.isa))))


def leipzig_table(data: Path, models: list[Model]) -> Iterator[str]:
    """Real Sentinel-2 of Leipzig: buildings of OSM, easy zeros drawn by hand."""
    root = data / "s2-leipzig-north"
    lr, present, _ = read_reflectance([root / "s2-leipzig.tif"], BANDS)
    buildings = read_plate(root / "building-1m.tif").values[0] == 1
    isa = read_plate(root / "isa-1m.tif").values[0]
    yield tables.row("map", "building recall", "building recall, 3 m tolerance", "false alarms", "ISA share")
    yield tables.row(*["---"] * 5)
    for model in models:
        mapped = model.predict(lr, present) >= model.threshold
        near = (
            torch.nn.functional.max_pool2d(torch.from_numpy(mapped)[None, None].float(), 7, 1, 3)[
                0, 0
            ].numpy()
            > 0
        )
        recalls = float(mapped[buildings].mean()), float(near[buildings].mean())
        yield tables.row(f"**{model.name}**", *recalls, float(mapped[isa == 0].mean()), float(mapped.mean()))


def chongqing_table(data: Path, models: list[Model]) -> Iterator[str]:
    """Photo-interpreted points in Chongqing: stratified, weighted, with bootstrap standard errors."""
    scene = data / "s2-oscd-change" / "chongqing"
    files = [scene / f"chongqing-20180402-{gsd}m.tif" for gsd in (10, 20)]
    five = (*BANDS, "B11")
    bands = dict(zip(five, read_reflectance(files, five)[0], strict=True))
    lr, present, _ = read_reflectance(files[:1], BANDS)
    root = data / "chongqing-points-north"
    points = [f["properties"] for f in json.loads((root / "points.geojson").read_text())["features"]]
    with (root / "strata.csv").open() as file:
        worth = {s["stratum"]: int(s["n_pixels"]) / int(s["n_points"]) for s in csv.DictReader(file)}
    rule = (ndvi(bands) < 0.25) & ~water(bands)
    yield tables.row("map", "F1", "SE", "precision", "recall", "F1 with low-confidence points")
    yield tables.row(*["---"] * 6)
    yield tables.row("NDVI < 0.25 and not water", *point_scores(rule, points, worth))
    for model in models:
        isa = model.predict(lr, present) >= model.threshold
        height, width = lr.shape[1:]
        share = isa.reshape(height, SCALE, width, SCALE).mean(axis=(1, 3))
        yield tables.row(f"**{model.name}**", *point_scores(share > 0.5, points, worth))


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
    """ISA share per scene class of EuroSAT."""
    files = sorted((data / "s2-eurosat-270").glob("*.tif"))
    yield tables.row("class", "patches", *(f"**{m.name}**" for m in models))
    yield tables.row(*["---"] * (2 + len(models)))
    for path in files:
        lr, present, _ = read_reflectance([path], BANDS)
        tops = range(0, lr.shape[1], 64)
        shares = [
            np.mean(
                [(m.predict(lr[:, t : t + 64], present[:, t : t + 64]) >= m.threshold).mean() for t in tops]
            )
            for m in models
        ]
        yield tables.row(path.stem, len(tops), *(float(s) for s in shares))


def report(data: Path, names: list[str]) -> Iterator[str]:
    """All tables as Markdown lines."""
    models = [stored(name) for name in names]
    train, val = real_areas(data)
    yield "\n## Real Sentinel-2 input with 1 m labels\n"
    yield "Validation split of s2-dubai-1m, 3.1 km2 that share no ground with training."
    rows, cols = (slice(a.min(), a.max() + 1) for a in np.nonzero((val.isa != OUTSIDE)[::SCALE, ::SCALE]))
    inner = val.isa[rows.start * SCALE : rows.stop * SCALE, cols.start * SCALE : cols.stop * SCALE]
    val = Area("Dubai, real input", val.lr[:, rows, cols], val.present[:, rows, cols], inner)
    yield from labelled_table(val, models, Linear([train], val))
    yield "\n## Simulated input with 1 m labels\n"
    yield "Validation areas of dubai-aerial-1m; red, green and blue only, the near infrared is missing."
    train_sim, val_sim = simulated_areas(data)
    linear = Linear(train_sim, val_sim[0])
    for area in val_sim:
        yield from labelled_table(area, models, linear)
    yield "\n## Leipzig: real input, buildings of OpenStreetMap\n"
    yield from leipzig_table(data, models)
    yield "\n## Chongqing: real input, photo-interpreted points\n"
    yield from chongqing_table(data, models)
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
