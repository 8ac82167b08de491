"""Training chips: what the network sees in one step, cut from sources held in memory.

A source is ground with something known about it. `PairSource`: real 10 m bands and 1 m labels.
`SimulatedSource`: a 1 m image and labels, the 10 m input made from them on the fly. `ShareSource`: real 10 m
bands and a soft impervious share. All of them answer `cut(rng, size)` with a `Chip`.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isamap.domain.classes import UNLABELLED
from isamap.errors import InputError
from isamap.model.simulate import simulate

Float = NDArray[np.float32]

PATH_RADIANCE = {"B02": 0.075, "B03": 0.045, "B04": 0.025, "B08": 0.010}
"""Reflectance that the atmosphere adds at the top in clear air: the step from top-of-atmosphere to surface."""

HALF, NO_INFRARED = 0.5, 0.08
"""Share of the chips seen through other air (and of built-up ones), and of those without near infrared."""


@dataclass(frozen=True)
class Chip:
    """One square of ground; `s` is its side at 10 m, `S` at 1 m."""

    lr: Float
    """Reflectance `(band, s, s)`, 0 where missing."""
    present: NDArray[np.bool_]
    """`(band, s, s)`, True where the reflectance is real."""
    isa: NDArray[np.uint8]
    """`(S, S)`, 0 or 1 (of a class scheme, the number of the class from 0), 255 where unlabelled."""
    image: Float
    """`(3, S, S)`, standardised 1 m image; 0 where there is none."""
    known: NDArray[np.bool_]
    """`(S, S)`, True where there is a 1 m image to learn from."""
    share: Float
    """`(s, s)`, soft impervious share."""
    weight: Float
    """`(s, s)`, weight of the share, 0 where nothing is said."""


class Source(Protocol):
    """Ground that chips are cut from."""

    @property
    def name(self) -> str:
        """For logs."""
        ...

    def cut(self, rng: np.random.Generator, size: int) -> Chip:
        """A random chip of `size` 10 m pixels."""
        ...


def _blank(lr: Float, present: NDArray[np.bool_], scale: int) -> Chip:
    """A chip about which nothing is known but its input."""
    side = lr.shape[-1]
    return Chip(
        lr=lr,
        present=present,
        isa=np.full((side * scale, side * scale), UNLABELLED, np.uint8),
        image=np.zeros((3, side * scale, side * scale), np.float32),
        known=np.zeros((side * scale, side * scale), np.bool_),
        share=np.zeros((side, side), np.float32),
        weight=np.zeros((side, side), np.float32),
    )


def _check_side(name: str, shape: tuple[int, ...], side: int) -> None:
    """Refuse ground that no chip fits into."""
    if min(shape) < side:
        raise InputError(
            f"{name} is {shape[1]} x {shape[0]} pixels, a chip {side} x {side}: lower chip_px or give more ground"
        )


def _corner(
    rng: np.random.Generator, useful: NDArray[np.bool_], size: int, least: float = 0.25
) -> tuple[int, int]:
    """Corner of a random square of which at least `least` is useful (the best of 30 tries otherwise)."""
    height, width = useful.shape
    best, corner = -1.0, (0, 0)
    for _ in range(30):
        row, col = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
        found = float(useful[row : row + size, col : col + size].mean())
        if found > best:
            best, corner = found, (row, col)
        if best >= least:
            break
    return corner


@dataclass(frozen=True)
class PairSource:
    """Real 10 m bands with 1 m labels and image of the same ground."""

    name: str
    lr: Float
    """Reflectance `(band, y, x)`, 0 where missing."""
    present: NDArray[np.bool_]
    """`(band, y, x)`."""
    isa: NDArray[np.uint8]
    """`(y * scale, x * scale)`."""
    image: NDArray[np.uint8]
    """`(3, y * scale, x * scale)`, 0 where there is none."""
    scale: int = 10

    def cut(self, rng: np.random.Generator, size: int) -> Chip:
        """A random chip with labels."""
        _check_side(self.name, self.lr.shape[1:], size)
        row, col = _corner(rng, self.isa[:: self.scale, :: self.scale] != UNLABELLED, size)
        coarse = slice(row, row + size), slice(col, col + size)
        fine = tuple(slice(s.start * self.scale, s.stop * self.scale) for s in coarse)
        image = self.image[:, *fine]
        return replace(
            _blank(self.lr[:, *coarse].copy(), self.present[:, *coarse].copy(), self.scale),
            isa=self.isa[fine],
            image=standardise(image),
            known=known(image, self.isa[fine]),
        )


@dataclass(frozen=True)
class SimulatedSource:
    """A 1 m RGB image with labels; its 10 m input is simulated anew for every chip."""

    name: str
    isa: NDArray[np.uint8]
    """`(Y, X)` at 1 m."""
    image: NDArray[np.uint8]
    """`(3, Y, X)`, red, green, blue."""
    bands: tuple[str, ...]
    """Bands of the network; those the image does not have stay missing."""
    scale: int = 10

    def cut(self, rng: np.random.Generator, size: int) -> Chip:
        """A random chip at any 1 m offset, so that the 10 m grid lies anywhere on the ground."""
        side = size * self.scale
        _check_side(self.name, self.isa.shape, side)
        row, col = _corner(rng, self.isa[:: self.scale, :: self.scale] != UNLABELLED, size)
        top = min(row * self.scale + int(rng.integers(self.scale)), self.isa.shape[0] - side)
        left = min(col * self.scale + int(rng.integers(self.scale)), self.isa.shape[1] - side)
        fine = slice(top, top + side), slice(left, left + side)
        image = self.image[:, *fine]
        lr, present = simulate(image, self.bands, self.scale, rng)
        return replace(
            _blank(lr, present, self.scale),
            isa=self.isa[fine],
            image=standardise(image),
            known=known(image, self.isa[fine]),
        )


@dataclass(frozen=True)
class ShareSource:
    """Real 10 m bands with a soft impervious share and no labels."""

    name: str
    lr: Float
    """Reflectance `(band, y, x)`, 0 where missing."""
    present: NDArray[np.bool_]
    """`(band, y, x)`."""
    share: Float
    """`(y, x)`."""
    weight: Float
    """`(y, x)`."""
    scale: int = 10

    def cut(self, rng: np.random.Generator, size: int) -> Chip:
        """A random chip about which the shares say something; every other one is built-up."""
        _check_side(self.name, self.share.shape, size)
        built = self.share * self.weight > HALF
        row, col = _corner(rng, built if rng.random() < HALF and built.any() else self.weight > 0, size)
        coarse = slice(row, row + size), slice(col, col + size)
        chip = _blank(self.lr[:, *coarse].copy(), self.present[:, *coarse].copy(), self.scale)
        return replace(chip, share=self.share[coarse], weight=self.weight[coarse])


def known(image: NDArray[np.uint8], isa: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where the 1 m image may be learnt from: where there is one, and labels. Ground kept back has none."""
    there: NDArray[np.bool_] = np.any(image, axis=0) & (isa != UNLABELLED)
    return there


def standardise(image: NDArray[np.uint8]) -> Float:
    """`(3, y, x)` display values as zero mean and unit deviation per chip: colour stretch drops out."""
    values = image.astype(np.float32)
    values -= values.mean(axis=(1, 2), keepdims=True)
    values /= values.std(axis=(1, 2), keepdims=True) + 8.0
    return values


def turn(chip: Chip, quarter_turns: int, *, mirror: bool) -> Chip:
    """The chip turned and mirrored: the eight ways to lay a square."""

    def lay(array: NDArray[np.generic]) -> NDArray[np.generic]:
        turned = np.rot90(array, quarter_turns, axes=(-2, -1))
        return turned[..., ::-1] if mirror else turned

    return Chip(**{name: lay(value) for name, value in vars(chip).items()})  # type: ignore[arg-type]  # lay keeps the dtype


def jitter(
    chip: Chip,
    bands: tuple[str, ...],
    rng: np.random.Generator,
    optional: tuple[str, ...] = (),
    hidden_share: float = 0.0,
) -> Chip:
    """The chip under another sun and air, sometimes without its near infrared or its optional bands.

    Between top-of-atmosphere and surface reflectance lie a path radiance that falls with wavelength and a
    gain; both are drawn wide enough that one network serves either level. The optional bands come and go together,
    as they do in scenes.
    """
    path = np.array([PATH_RADIANCE.get(b, 0.0) for b in bands], np.float32)[:, None, None]
    air = float(rng.uniform(-0.2, 1.0)) if rng.random() < HALF else 0.0
    gain = rng.uniform(0.88, 1.15) * rng.uniform(0.96, 1.04, (len(bands), 1, 1))
    lr = (chip.lr - air * path) * (1 + 0.12 * air) * gain
    lr += rng.normal(0, 0.002, lr.shape)
    present = chip.present.copy()
    if "B08" in bands and rng.random() < NO_INFRARED:
        present[bands.index("B08")] = False
    if optional and rng.random() < hidden_share:
        present[[bands.index(band) for band in optional]] = False
    return replace(chip, lr=np.where(present, lr, 0).astype(np.float32), present=present)


@dataclass(frozen=True)
class Batch:
    """Chips as tensors: float32 `(n, ..., y, x)`, isa uint8."""

    lr: Tensor
    """`(n, band, s, s)` reflectance."""
    present: Tensor
    """`(n, band, s, s)`, 1 where the reflectance is real."""
    isa: Tensor
    """`(n, 1, S, S)`."""
    image: Tensor
    """`(n, 3, S, S)`."""
    known: Tensor
    """`(n, 1, S, S)`."""
    share: Tensor
    """`(n, 1, s, s)`."""
    weight: Tensor
    """`(n, 1, s, s)`."""


def collate(chips: list[Chip]) -> Batch:
    """The chips stacked."""

    def stack(arrays: list[NDArray[np.generic]]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.stack(arrays)))

    return Batch(
        lr=stack([c.lr for c in chips]),
        present=stack([c.present for c in chips]).float(),
        isa=stack([c.isa[None] for c in chips]),
        image=stack([c.image for c in chips]),
        known=stack([c.known[None] for c in chips]).float(),
        share=stack([c.share[None] for c in chips]),
        weight=stack([c.weight[None] for c in chips]),
    )


@dataclass(frozen=True)
class Mixture:
    """Several sources drawn from at random, each as often as any other."""

    name: str
    sources: tuple[Source, ...]

    def cut(self, rng: np.random.Generator, size: int) -> Chip:
        """A chip of a random source."""
        return self.sources[int(rng.integers(len(self.sources)))].cut(rng, size)
