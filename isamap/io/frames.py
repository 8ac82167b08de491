"""The map of one year: how it is coded, how it was made, what it is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isamap import digests
from isamap.domain.product import NODATA, PROBABILITY
from isamap.errors import InputError, MissingInputError
from isamap.io import store
from isamap.io.classmap import Decode
from isamap.io.guard import one_line, open_raster
from isamap.io.products import ISA, Product

THRESHOLD = "isamap_threshold"
"""Tag of rasters with the probability from which a pixel is ISA; `isamap infer` writes it."""


@dataclass(frozen=True)
class Lineage:
    """How a map was made: maps of different lineages must not be differenced."""

    key: str
    """Equal for equal recipes; empty where nobody knows."""
    text: str
    """For people."""


@dataclass(frozen=True)
class Frame:
    """The map of one year."""

    path: Path
    """Its raster."""
    kind: str = ISA
    """How it is coded: `isa`, or a row of the references."""
    year: int = 0
    """Of the map; products of several years need it."""

    @property
    def probability(self) -> Path:
        """Where its probability raster would lie."""
        return self.path.with_name(self.path.name.removesuffix(".tif") + PROBABILITY.suffix)

    @property
    def is_probable(self) -> bool:
        """Whether its probability raster is there; published products have none."""
        return self.kind == ISA and self.probability.is_file()

    def item(self) -> dict[str, Any]:
        """Properties of the STAC item beside it, empty if there is none."""
        properties = (store.read_item(self.path.with_suffix(".json")) or {}).get("properties")
        return properties if isinstance(properties, dict) else {}

    def threshold(self) -> float:
        """Probability from which the model called a pixel impervious: that of its item, else of the tags of its rasters.

        Raises:
            InputError: nobody says.
        """
        model = self.item().get("isamap:model")
        said = [model.get("threshold")] if isinstance(model, dict) else []
        for path in (self.path, self.probability):
            with open_raster(path) as src:
                said.append(src.tags().get(THRESHOLD))
        known = next((value for value in map(_share, said) if value is not None), None)
        if known is None:
            raise InputError(
                f"nothing says from which probability {one_line(self.path)} is ISA: put its item "
                f"{self.path.stem}.json beside it, or set its tag {THRESHOLD} (0 to 1)"
            )
        return known

    @property
    def of_many_years(self) -> bool:
        """Whether its raster is a product that shows several years."""
        row = Product(self.path.name, (self.path,), self.kind).reference()
        return row is not None and bool(row.since)

    def lineage(self) -> Lineage:
        """Recipe of the map, from its item or from what the user says it is."""
        if self.kind != ISA:
            row = Product(self.path.name, (self.path,), self.kind).reference()
            assert row is not None  # what is not coded as ours has a row
            return Lineage(
                f"product {row.recipe()}", f"{self.kind} ({row.version})" if row.version else self.kind
            )
        properties = self.item()
        provenance, model = properties.get("isamap:provenance"), properties.get("isamap:model")
        if not isinstance(provenance, dict):
            return Lineage("", "of unknown make (no item beside it)")
        parts = [str(provenance.get(name)) for name in ("code", "model", "settings")]
        named = model if isinstance(model, dict) else {}
        threshold = _share(named.get("threshold"))
        said = "no threshold" if threshold is None else f"threshold {threshold:.4g}"
        return Lineage(
            " ".join([*parts, str(named.get("threshold"))]),
            f"{named.get('name')} {named.get('version')}, {said} "
            f"({parts[0]}, weights {parts[1][:8]}, settings {parts[2][:8]})",
        )

    def digest(self, *, probability: bool) -> list[str]:
        """sha256 of what will be read, and the threshold where probabilities are.

        Raises:
            InputError: a file is not the one its item describes.
        """
        probability = probability and self.is_probable
        paths = [self.path, *([self.probability] if probability else [])]
        found = [digests.of_file(path) for path in paths]
        if self.kind == ISA:
            for path, sha256 in zip(paths, found, strict=True):
                store.check_asset(path, sha256, self.path.with_suffix(".json"))
        return [*found, *([f"{self.threshold():g}"] if probability else [])]


def _share(value: object) -> float | None:
    """A number between 0 and 1, or None."""
    try:
        number = float(value) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        return None
    return number if 0 < number < 1 else None


def alike_years(
    frames: Sequence[Frame | None], years: Sequence[int], marks: Sequence[list[str] | None]
) -> tuple[tuple[int, int], ...]:
    """Pairs of years whose class maps are the same bytes, though each shows one year.

    Args:
        frames: a map per year, or None.
        years: of the maps.
        marks: digests of what is read of each, or None.
    """
    there = zip(frames, years, marks, strict=True)
    known = [(year, one[0]) for frame, year, one in there if frame and one and not frame.of_many_years]
    return tuple((a, b) for (a, one), (b, other) in combinations(known, 2) if one == other)


def read_as_classes(frames: Sequence[Frame | None], years: Sequence[int]) -> tuple[int, ...]:
    """Years whose maps have no probability raster, where probabilities are asked for.

    Args:
        frames: a map per year, or None; one is there.
        years: of the maps.

    Raises:
        MissingInputError: none has one.
    """
    there = [(year, frame) for year, frame in zip(years, frames, strict=True) if frame]
    without = tuple(year for year, frame in there if not frame.is_probable)
    if len(without) == len(there):
        raise MissingInputError(
            f"no map has a probability raster ({one_line(there[0][1].probability)} and so on): make them with "
            "isamap infer --probability, or leave out --probability to compare classes"
        )
    return without


def as_stored(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values of maps coded as ours; what does not fit in bytes becomes 2, which no map may hold."""
    if values.dtype == np.uint8:
        return values
    odd = (values != 0) & (values != 1) & (values != NODATA)
    return np.where(odd, 2, values).astype(np.uint8)


def decoding(frame: Frame) -> Decode:
    """From stored values to 0, 1, 255."""
    row = Product(frame.path.name, (frame.path,), frame.kind).reference()
    if row is None:
        return as_stored
    return (row.at(frame.year) if frame.year else row).isa
