"""Which ground trains and which is kept back: blocks, never pixels, with a strip between that nobody sees.

Pixels beside each other are nearly the same pixel; a network validated 100 m from where it learnt is validated on what
it has seen. So ground is held out in blocks, and what lies nearer to them than the buffer is left out of training. The
buffer is 3 km, as the sample points of the 1 m map of the Yangtze belt are apart (arXiv 2505.05367), where the ground
allows that; where it does not, the widest that leaves enough to train on is taken, and said.

Blocks are chosen one by one: each time the one whose stratum (reach, unit, density of ISA) is wanted most and whose
buffer costs the least ground, so that held-out blocks gather where one buffer serves several. Where that leaves too
little to train on, cost is given more weight before the buffer is narrowed: a leak is worse than a split that is less
like the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isamap.errors import InputError

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""
TRAIN, VAL, TEST, TARGET = "train", "val", "test", "target"
CODES: Mapping[str, int] = {"": 0, TRAIN: 1, VAL: 2, TEST: 3, TARGET: 4}
"""In split rasters; 0 is ground of no split, among it the buffer; targets are imagery without labels."""
LADDER_M = (3000, 2500, 2000, 1500, 1000, 750, 500, 300, 200, 100, 50, 0)
"""Buffers that are tried after the wanted one."""
DENSITY = ((0.05, "sparse"), (0.30, "mixed"), (1.01, "dense"))
"""Strata of impervious share: up to, name."""
WEIGHTS = (1.0, 4.0, 16.0)
"""Of cost against need, one after the other at each buffer."""
CHANCE = 0.1
"""How much chance has to say against need and cost, both of 1 at most."""
ENOUGH = 0.5
"""Part of a wanted share that must be reached."""


@dataclass(frozen=True)
class Rules:
    """What splits are wanted."""

    val: float = 0.15
    """Share of the labelled ground for validation."""
    test: float = 0.0
    """Share for the last test."""
    buffer_m: float = 3000.0
    """Between splits, where the ground allows."""
    least_train: float = 0.5
    """Share of the labelled ground that must be left to train on; the buffer shrinks until it is."""
    seed: int = 20180402
    """Of the order in which equal blocks are taken."""


@dataclass(frozen=True)
class Block:
    """A square of the lattice with labelled ground in it."""

    frame: str
    """CRS, or the name of an image without position: blocks of different frames are far apart."""
    ix: int
    """Column: left edge / side."""
    iy: int
    """Row: lower edge / side."""
    known: float
    """Labelled ground, m2."""
    isa: float
    """Of which impervious, m2."""
    unit: str = ""
    """Administrative unit, or source."""
    reach: str = ""
    """Reach of the Yangtze."""
    fixed: str = ""
    """Split that its ground was given beforehand."""

    @property
    def stratum(self) -> tuple[str, str, str]:
        """Reach, unit and density: what a split should have as much of as the whole."""
        share = self.isa / self.known if self.known else 0.0
        return self.reach, self.unit, density(share)


@dataclass(frozen=True)
class Plan:
    """Where the held-out blocks are."""

    side_m: float
    """Of the lattice."""
    buffer_m: float
    """Between splits."""
    wanted_m: float
    """What was asked for."""
    held: Mapping[tuple[str, int, int], str]
    """Split of each held-out block by frame, column and row."""

    def boxes(self) -> list[tuple[str, str, Box]]:
        """Frame, split and bounds of the held-out blocks."""
        side = self.side_m
        return [
            (frame, name, (ix * side, iy * side, (ix + 1) * side, (iy + 1) * side))
            for (frame, ix, iy), name in self.held.items()
        ]


def density(share: float) -> str:
    """Name of a class of impervious share."""
    return next(name for limit, name in DENSITY if share < limit)


def plan(blocks: Sequence[Block], side_m: float, rules: Rules, rng: np.random.Generator) -> Plan:
    """Held-out blocks with the widest buffer, up to the wanted one, that leaves enough ground to train on.

    Args:
        blocks: all with labelled ground.
        side_m: of the lattice.
        rules: shares and buffer.
        rng: breaks ties.

    Raises:
        InputError: the ground is too small for the splits that are wanted.
    """
    wanted = [rules.buffer_m, *(step for step in LADDER_M if step < rules.buffer_m)]
    free = [block for block in blocks if not block.fixed]
    asked = (rules.val > 0 or rules.test > 0) and free
    fixed = {(b.frame, b.ix, b.iy): b.fixed for b in blocks if b.fixed not in ("", TRAIN)}
    if not asked:
        return Plan(side_m, rules.buffer_m, rules.buffer_m, fixed)
    chance = CHANCE * rng.random(len(blocks))
    for buffer_m in wanted:
        near = _neighbours(blocks, side_m, buffer_m)
        for weight in WEIGHTS:
            state = _Choice(blocks, near, rules, weight)
            state.choose(chance)
            if state.enough():
                return Plan(side_m, buffer_m, rules.buffer_m, state.held())
    raise InputError(
        f"{len(free)} blocks of {side_m:g} m with labels are too few to hold out {rules.val:.0%} and {rules.test:.0%} "
        "of them: give more ground, lower the shares, or say with `only` what each source is for"
    )


class _Choice:
    """Blocks being chosen at one buffer."""

    def __init__(self, blocks: Sequence[Block], near: NDArray[np.intp], rules: Rules, weight: float) -> None:
        self.blocks, self.rules, self.near = blocks, rules, near
        self.known = np.array([block.known for block in blocks])
        self.split = np.array([block.fixed if block.fixed != TRAIN else "" for block in blocks], dtype="U8")
        self.barred = np.array([bool(block.fixed) for block in blocks])
        strata = {one: number for number, one in enumerate(dict.fromkeys(block.stratum for block in blocks))}
        self.stratum = np.array([strata[block.stratum] for block in blocks], np.intp)
        self.share = np.bincount(self.stratum, self.known, len(strata)) / max(self.known.sum(), 1e-9)
        widest = max(1, int((near >= 0).sum(axis=1).max()))
        self.price = weight / max(float(self.known.mean()) * widest, 1e-9)
        self.targets = {name: part * self._free_ground() for name, part in self._parts().items() if part > 0}

    def _parts(self) -> dict[str, float]:
        return {VAL: self.rules.val, TEST: self.rules.test}

    def _free_ground(self) -> float:
        return float(self.known[~self.barred].sum())

    def choose(self, chance: NDArray[np.float64]) -> None:
        """Hold out blocks until each split has its share, or none can be added."""
        open_splits = set(self.targets)
        while open_splits:
            name = min(sorted(open_splits), key=lambda one: self._ground(one) / self.targets[one])
            if self._ground(name) >= self.targets[name] or not self._add(name, chance):
                open_splits.remove(name)

    def _ground(self, name: str) -> float:
        return float(self.known[(self.split == name) & ~self.barred].sum())

    def _add(self, name: str, chance: NDArray[np.float64]) -> bool:
        """Hold out the best block for a split; False if none can be."""
        others = (self.split != "") & (self.split != name)
        allowed = (self.split == "") & ~self.barred & (self.known > 0) & ~self._touches(others)
        if not allowed.any():
            return False
        lost = self._touches(self.split != "")
        costs = self._around(np.where((self.split == "") & ~lost, self.known, 0.0)) * self.price
        target = self.share * self.targets[name]
        have = np.bincount(self.stratum, self.known * (self.split == name), len(self.share))
        need = ((target - have) / np.maximum(target, 1e-9)).clip(-1, 1)[self.stratum]
        score = np.where(allowed, costs - need + chance, np.inf)
        self.split[int(score.argmin())] = name
        return True

    def _around(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the blocks within the buffer of each."""
        padded = np.append(values, 0.0)
        total: NDArray[np.float64] = padded[self.near].sum(axis=1)
        return total

    def _touches(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether a block of the mask lies within the buffer of each."""
        padded = np.append(mask, False)  # the value that is appended
        return np.asarray(padded[self.near].any(axis=1))

    def enough(self) -> bool:
        """Whether every split has its ground, and training the rest."""
        held = self.split != ""
        train = self.known[~held & ~self._touches(held) & ~self.barred].sum()
        fair = all(self._ground(name) >= ENOUGH * target for name, target in self.targets.items())
        return bool(fair and train >= self.rules.least_train * self._free_ground() > 0)

    def held(self) -> dict[tuple[str, int, int], str]:
        return {
            (block.frame, block.ix, block.iy): str(name)
            for block, name in zip(self.blocks, self.split, strict=True)
            if name
        }


def _neighbours(blocks: Sequence[Block], side_m: float, buffer_m: float) -> NDArray[np.intp]:
    """Numbers of the blocks nearer than the buffer to each, shape (block, k); -1 where there are fewer."""
    frames = {name: number for number, name in enumerate(dict.fromkeys(block.frame for block in blocks))}
    places = {(frames[b.frame], b.ix, b.iy): number for number, b in enumerate(blocks)}
    reach = int(np.ceil(buffer_m / side_m)) + 1
    steps = np.arange(-reach, reach + 1)
    gap = np.maximum(np.abs(steps) - 1, 0) * side_m
    close = np.hypot(gap[:, None], gap) < max(buffer_m, 1e-6)
    close[reach, reach] = False
    offsets = [(int(steps[i]), int(steps[j])) for i, j in np.argwhere(close)] if buffer_m > 0 else []
    rows = [
        [places.get((frames[b.frame], b.ix + dx, b.iy + dy), -1) for dx, dy in offsets] or [-1]
        for b in blocks
    ]
    return np.array(rows, np.intp).reshape(len(blocks), -1)
