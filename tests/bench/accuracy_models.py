"""What `accuracy.py` compares: stored models, and yardsticks that learn from the same ground."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accuracy_ground import BANDS, EVERY, OUTSIDE, SCALE, Area, fine
from sklearn.ensemble import RandomForestRegressor

from isamap.core.grounds import read_grounds
from isamap.core.recipe import read_recipe
from isamap.domain.accuracy import Confusion
from isamap.model.checkpoint import Card, find, load
from isamap.model.chips import PairSource, ShareSource
from isamap.model.networks import Network
from isamap.model.validation import probabilities

RECIPE = Path(__file__).parents[2] / "examples" / "train" / "fast.toml"
"""Whose real ground the random forest learns from."""
SCENE_BANDS = (*BANDS, "B05", "B8A", "B11", "B12")
"""What all of that ground has."""
DRAWN = {"pairs": 45_000, "scenes": 45_000, "patches": 15_000}
"""Pixels of 10 m that the random forest sees: 3 to 3 to 1, as the chips of the recipe."""


@dataclass
class Model:
    """A stored model as a function from input to its own probability."""

    name: str
    card: Card
    network: Network
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    """Probability by area: areas are scored more than once."""

    @property
    def threshold(self) -> float:
        """From which its own probability is ISA."""
        return self.card.settled(self.card.threshold)

    @property
    def bands(self) -> tuple[str, ...]:
        """That it reads."""
        return self.card.network.bands

    def predict(self, lr: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Probability `(Y, X)` from its bands."""
        return probabilities(self.network, torch.from_numpy(lr), torch.from_numpy(present)).numpy()

    def on(self, area: Area) -> np.ndarray:
        """Probability `(Y, X)` on an area."""
        if area.name not in self.kept:
            self.kept[area.name] = self.predict(*area.of(self.bands))
        return self.kept[area.name]

    def map(self, area: Area) -> np.ndarray:
        """Its class map of an area, bool `(Y, X)`."""
        return self.on(area) >= self.threshold


def stored(name: str) -> Model:
    """The model `name`, loaded; a file among several of one name is called by its folder too."""
    path = find(name)
    card, network = load(path)
    if card.network.scale != SCALE or set(card.network.bands) - set(EVERY):
        raise SystemExit(f"{name}: only models of 10 m Sentinel-2 input and 1 m maps are compared here")
    return Model(card.name, card, network)


def weights_of(folder: Path) -> Path:
    """The weights that a training run left in its folder."""
    found = [path for path in folder.glob("*.safetensors") if path.stem != "training-state"]
    if len(found) != 1:
        raise SystemExit(f"{folder} holds no weights: make accuracy-train makes them")
    return found[0]


def told_apart(models: list[Model], names: list[str]) -> list[Model]:
    """The models, those of one name called by their folders too."""
    for model, name in zip(models, names, strict=True):
        if sum(other.card.name == model.card.name for other in models) > 1:
            folder = find(name).parent.name
            model.name = f"{model.card.name} ({folder})"
    return models


class Linear:
    """Ridge regression of the 100 sub-pixels on 5 x 5 pixels of 10 m; its threshold is the best on `tune`."""

    name = "linear, 5 x 5 pixels"
    reach = 2

    def __init__(self, train: list[Area], tune: Area) -> None:
        gram, moment = 0.0, 0.0
        for area in train:
            for x, y in self._rows(area):
                gram, moment = gram + x.T @ x, moment + x.T @ y
        self.weights = np.linalg.solve(gram + 1e-3 * np.eye(len(gram)), moment)
        shares = self.on(tune)
        scores = {t: Confusion.count(shares >= t, tune.isa).iou for t in np.arange(0.2, 0.61, 0.01)}
        self.threshold = max(scores, key=scores.get)

    def _features(self, lr: np.ndarray) -> np.ndarray:
        padded = np.pad(lr, ((0, 0), (self.reach,) * 2, (self.reach,) * 2), mode="reflect")
        side = 2 * self.reach + 1
        views = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(1, 2))
        x = views.transpose(1, 2, 0, 3, 4).reshape(*lr.shape[1:], -1)
        return np.concatenate([x, np.ones((*lr.shape[1:], 1))], axis=-1).astype(np.float64)

    def _rows(self, area: Area) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        lr, present = area.of(BANDS)
        cells = in_cells(area.isa)
        whole = (cells != OUTSIDE).all(axis=-1) & present.any(axis=0)
        yield self._features(lr)[whole], (cells[whole] == 1).astype(np.float64)

    def predict(self, lr: np.ndarray) -> np.ndarray:
        """ISA share at 1 m from `BANDS`."""
        cells = (self._features(lr) @ self.weights).reshape(*lr.shape[1:], SCALE, SCALE)
        return cells.transpose(0, 2, 1, 3).reshape(lr.shape[1] * SCALE, lr.shape[2] * SCALE)

    def on(self, area: Area) -> np.ndarray:
        """ISA share at 1 m of an area."""
        return self.predict(area.of(BANDS)[0])

    def map(self, area: Area) -> np.ndarray:
        """Its class map of an area."""
        return self.on(area) >= self.threshold


class Forest:
    """A random forest from the spectrum of one 10 m pixel to its ISA share.

    It learns from the ground of the shipped `fast`: labels of Dubai, soft shares of unlabelled scenes, patches of
    one scene class. A map is where its share is above a half.
    """

    def __init__(self, data: Path, bands: tuple[str, ...]) -> None:
        self.bands = bands
        self.name = f"random forest, spectrum of {len(bands)} bands (10 m)"
        recipe = read_recipe(RECIPE)
        network = recipe.network.model_copy(
            update={
                "bands": bands,
                "optional": tuple(band for band in bands if band not in BANDS),
                "mean": (0.0,) * len(bands),
                "std": (1.0,) * len(bands),
            }
        )
        grounds = read_grounds(recipe.model_copy(update={"network": network, "simulated": ()}), data)
        rng, drawn = np.random.default_rng(0), []
        for kind, count in DRAWN.items():
            members = getattr(grounds, kind)
            drawn += [self._draw(member, count // len(members), rng) for member in members]
        x, y, weight = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        self.trees = RandomForestRegressor(
            100, min_samples_leaf=10, max_features=0.5, n_jobs=2, random_state=0
        )
        self.trees.fit(x, y, weight)

    @staticmethod
    def _draw(
        source: PairSource | ShareSource, count: int, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Spectra `(n, band)`, shares and weights of random pixels about which something is known."""
        if isinstance(source, PairSource):
            cells = in_cells(source.isa)
            weight = (cells != OUTSIDE).all(axis=-1).astype(np.float32)
            share = (cells == 1).mean(axis=-1)
        else:
            share, weight = source.share, source.weight
        known = np.flatnonzero((weight > 0) & source.present.all(axis=0))
        picked = rng.choice(known, min(count, known.size), replace=False)
        return source.lr.reshape(len(source.lr), -1).T[picked], share.ravel()[picked], weight.ravel()[picked]

    def predict(self, lr: np.ndarray) -> np.ndarray:
        """ISA share of each 10 m pixel from its bands."""
        return self.trees.predict(lr.reshape(len(lr), -1).T).reshape(lr.shape[1:])

    def map(self, area: Area) -> np.ndarray:
        """Its class map of an area, at 1 m."""
        return fine(self.predict(area.of(self.bands)[0]) > 0.5)


def in_cells(isa: np.ndarray) -> np.ndarray:
    """1 m labels by 10 m pixel, `(y, x, 100)`."""
    height, width = (side // SCALE for side in isa.shape)
    return isa.reshape(height, SCALE, width, SCALE).transpose(0, 2, 1, 3).reshape(height, width, -1)


def majority(isa: np.ndarray) -> np.ndarray:
    """The best 10 m map: each pixel what most of it is."""
    cells = in_cells(isa)
    return fine((cells == 1).sum(axis=-1) > (cells == 0).sum(axis=-1))
