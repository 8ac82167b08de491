"""Chips of a store too large for memory: read when they are cut."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from isamap.domain.chips import ChipRow
from isamap.domain.classes import SCHEMES
from isamap.errors import InputError
from isamap.model.chips import Chip, Float, known, standardise
from isamap.model.networks import NetworkConfig

COUNTED_CHIPS = 200
"""Chips whose labels are counted for class weights."""


class Arrays(Protocol):
    """What a store says of a chip; `s` is its side in pixels of the imagery, `S` in fine pixels."""

    lr: Float
    """`(band, s, s)`."""
    present: NDArray[np.bool_]
    """`(band, s, s)`."""
    labels: NDArray[np.uint8]
    """`(S, S)`, codes of the scheme, 255 where unlabelled."""
    hr: NDArray[np.uint8] | None
    """`(3, S, S)`."""


class Reader(Protocol):
    """An open store; one thread at a time may read."""

    def read(self, chip: ChipRow, bands: Sequence[str], /) -> Any:
        """The arrays of a chip."""
        ...


class StoreSource:
    """A shard of a store."""

    def __init__(
        self,
        name: str,
        opener: Callable[[], AbstractContextManager[Reader]],
        rows: Sequence[ChipRow],
        network: NetworkConfig,
    ) -> None:
        self.name, self.network, self.rows = name, network, tuple(rows)
        self._opener = opener  # gives a store that no other thread has

    def read(self, number: int) -> Arrays:
        """Arrays of one of the shard's chips, in whatever thread."""
        with self._opener() as store:
            arrays: Arrays = store.read(self.rows[number], self.network.bands)
        return arrays

    def cut(self, rng: np.random.Generator, size: int) -> Chip:
        """A random piece of a random chip."""
        number = int(rng.integers(len(self.rows)))
        wide, scale = self.rows[number].size, self.network.scale
        if wide < size:
            raise InputError(f"chips of {self.name} are {wide} pixels wide: lower chip_px or cut larger ones")
        got = self.read(number)
        row, col = (int(rng.integers(wide - size + 1)) for _ in range(2))
        coarse = slice(row, row + size), slice(col, col + size)
        fine = tuple(slice(s.start * scale, s.stop * scale) for s in coarse)
        image = np.zeros((3, size * scale, size * scale), np.uint8) if got.hr is None else got.hr[:, *fine]
        isa = SCHEMES[self.network.classes].channel_of(got.labels[fine])
        return Chip(
            lr=got.lr[:, *coarse],
            present=got.present[:, *coarse],
            isa=isa,
            image=standardise(image),
            known=known(image, isa),
            share=np.zeros((size, size), np.float32),
            weight=np.zeros((size, size), np.float32),
        )

    def counts(self) -> NDArray[np.int64]:
        """Labelled pixels of each class in some of the chips, shape (256,)."""
        scheme, found = SCHEMES[self.network.classes], np.zeros(256, np.int64)
        picked = np.unique(np.linspace(0, len(self.rows) - 1, COUNTED_CHIPS).astype(int))
        for number in picked.tolist():
            found += np.bincount(scheme.channel_of(self.read(number).labels).ravel(), minlength=256)
        return found
