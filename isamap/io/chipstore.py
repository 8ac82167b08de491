"""The chip store as training reads it: numpy arrays of one chip, or of a whole shard, blanked outside their split.

Nothing here needs torch. A store is opened by its manifest; shards that are not the ones the index was made with are
refused, because their windows and splits would mean other ground.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import rasterio
from numpy.typing import NDArray

from isamap import digests
from isamap.domain.chips import FORMAT, HR, LABELS, LR, SPLIT, STEM, ChipRow, ShardRow
from isamap.domain.classes import UNLABELLED
from isamap.domain.grid import Window
from isamap.domain.splits import CODES
from isamap.errors import InputError, MissingInputError
from isamap.io import store
from isamap.io.guard import GDAL_ENV, open_raster
from isamap.io.plain import read_window

MAX_GROUND_BYTES = 2 << 30
"""Of what is read at once."""

__all__ = ["ChipArrays", "ChipRow", "ChipStore", "ShardRow", "open_chips"]


@dataclass(frozen=True)
class ChipArrays:
    """One window of ground; `s` is its side in pixels of the imagery, `S` in fine pixels."""

    lr: NDArray[np.float32]
    """Reflectance `(band, s, s)`, 0 where missing."""
    present: NDArray[np.bool_]
    """`(band, s, s)`, True where the reflectance is real."""
    labels: NDArray[np.uint8]
    """`(S, S)`, codes of the scheme, 255 where unlabelled or of another split."""
    hr: NDArray[np.uint8] | None
    """`(3, S, S)`, red, green, blue; None if the shard has no fine image."""
    hr_valid: NDArray[np.bool_]
    """`(S, S)`, True where there is a fine image, and of this split."""


@dataclass(frozen=True)
class ChipStore:
    """An open store. Use it in `with`; one thread of one process reads."""

    folder: Path
    """Where it lies."""
    digest: str
    """sha256 over all that is in it: what a model card names."""
    sources: Mapping[str, ShardRow]
    """Shards by name."""
    chips: tuple[ChipRow, ...]
    """Every chip of every split."""
    manifest: Mapping[str, Any]
    """Properties of the store's item: settings, splits, distances, counts."""
    splits: Path | None = None
    """Where the split rasters lie while the store is being made."""

    def __enter__(self) -> Self:
        stack = ExitStack()
        stack.enter_context(rasterio.Env(**GDAL_ENV))
        object.__setattr__(self, "_stack", stack)
        object.__setattr__(self, "_open", {})
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()  # type: ignore[attr-defined]  # set on entering

    def select(
        self, split: str, source: str | None = None, *, min_labelled: float = 0.0
    ) -> tuple[ChipRow, ...]:
        """Chips of a split, of one shard or of all, with at least so much of them labelled."""
        return tuple(
            chip
            for chip in self.chips
            if chip.split == split and source in (None, chip.source) and chip.labelled_share >= min_labelled
        )

    def read(self, chip: ChipRow, bands: Sequence[str]) -> ChipArrays:
        """The arrays of a chip.

        Args:
            chip: one of `chips`.
            bands: names, in the order wanted; those the shard lacks come back missing.

        Raises:
            InputError: a file is damaged.
        """
        return self._arrays(
            self.sources[chip.source], Window(chip.row, chip.col, chip.size, chip.size), chip.split, bands
        )

    def ground(self, source: str, split: str, bands: Sequence[str]) -> ChipArrays:
        """A whole shard, blanked outside a split; as `read`, with sides of the shard.

        Raises:
            InputError: it is larger than 2 GiB, or damaged.
        """
        shard = self.sources[source]
        return self._arrays(shard, Window(0, 0, *shard.shape), split, bands)

    def validation(self, source: str, split: str, bands: Sequence[str]) -> ChipArrays | None:
        """The part of a shard around the chips of a split, None if it has none; fails like `ground`."""
        chips = self.select(split, source)
        if not chips:
            return None
        top, left = min(chip.row for chip in chips), min(chip.col for chip in chips)
        bottom = max(chip.row + chip.size for chip in chips)
        right = max(chip.col + chip.size for chip in chips)
        window = Window(top, left, bottom - top, right - left)
        return self._arrays(self.sources[source], window, split, bands)

    def _arrays(self, shard: ShardRow, window: Window, split: str, bands: Sequence[str]) -> ChipArrays:
        fine_px = window.height * window.width * shard.scale**2
        size_bytes = 4 * window.height * window.width * len(bands) + fine_px * (2 + 3 * shard.has_hr)
        if size_bytes > MAX_GROUND_BYTES:
            raise InputError(f"{shard.name} takes {size_bytes >> 20} MB at once: read it chip by chip")
        own = self._values(shard, SPLIT, window)[0] == CODES[split]
        fine = np.repeat(np.repeat(own, shard.scale, axis=0), shard.scale, axis=1)
        lr, present = self._reflectance(shard, window, bands)
        labels = np.full(fine.shape, UNLABELLED, np.uint8)
        if shard.has_labels:
            labels = np.where(fine, self._values(shard, LABELS, window)[0], np.uint8(UNLABELLED))
        hr = self._values(shard, HR, window) if shard.has_hr else None
        valid = np.zeros(fine.shape, np.bool_) if hr is None else hr.any(axis=0) & fine
        return ChipArrays(lr, present, labels, hr, valid)

    def _reflectance(
        self, shard: ShardRow, window: Window, bands: Sequence[str]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        lr = np.zeros((len(bands), *window.shape), np.float32)
        present = np.zeros(lr.shape, np.bool_)
        there = [
            (index, shard.bands.index(band) + 1) for index, band in enumerate(bands) if band in shard.bands
        ]
        if there:
            stored = self._values(shard, LR, window, [number for _, number in there])
            known = np.isfinite(stored) if stored.dtype.kind == "f" else stored != 0
            values = np.where(known, stored, 0).astype(np.float32) * np.float32(shard.gain)
            for (index, _), band, mask in zip(there, values, known, strict=True):
                lr[index], present[index] = band, mask
        return lr, present

    def _values(
        self, shard: ShardRow, layer: str, window: Window, indexes: Sequence[int] | None = None
    ) -> NDArray[Any]:
        """Stored values of a layer under a window of the imagery."""
        opened: dict[tuple[str, str], Any] = self._open  # type: ignore[attr-defined]  # set on entering
        key = shard.name, layer
        if key not in opened:
            stack: ExitStack = self._stack  # type: ignore[attr-defined]  # set on entering
            place = self.splits if layer == SPLIT and self.splits else self.folder
            opened[key] = stack.enter_context(open_raster(place / f"{shard.name}.{layer}.tif"))
        fine = window if layer in (LR, SPLIT) else window.scaled(shard.scale)
        return read_window(opened[key], fine, indexes)


def open_chips(folder: Path) -> ChipStore:
    """The store in a folder, checked against its manifest, files not yet read.

    Raises:
        MissingInputError: there is none.
        InputError: it is damaged, of another format, or its shards have been made anew since.
    """
    path = folder / f"{STEM}.json"
    item = store.read_item(path)
    if item is None:
        raise MissingInputError(f"{folder} holds no finished chip store: run isamap tile")
    try:
        properties = item["properties"]
        if properties["isamap:provenance"]["format"] != FORMAT:
            raise InputError(f"{folder} is a chip store of another format: run isamap tile again")
        shards = {name: _shard(folder, name, known) for name, known in properties["isamap:shards"].items()}
        chips = _index(folder, item)
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise InputError(f"{path} is damaged: run isamap tile again") from fault
    digest = hashlib.sha256(json.dumps(item["assets"], sort_keys=True).encode())
    digest.update(json.dumps(properties["isamap:shards"], sort_keys=True).encode())
    return ChipStore(folder, digest.hexdigest(), shards, chips, properties)


def _shard(folder: Path, name: str, known: Mapping[str, str]) -> ShardRow:
    """A shard, if it is the one the store was made with."""
    path = folder / f"{store.safe_name(name)}.json"
    item = store.read_item(path)
    if item is None:
        raise InputError(f"{path} is missing or damaged: run isamap tile again")
    try:
        made, row = checksums(item), ShardRow.parse(item["properties"]["isamap:shard"])
    except (AttributeError, KeyError, TypeError, ValueError) as fault:
        raise InputError(f"{path} is damaged: run isamap tile again") from fault
    if made != known:
        raise InputError(
            f"{folder}: shard {name} is not the one the index was made with: run isamap tile again"
        )
    for layer in known:
        if not (folder / f"{name}.{layer}.tif").is_file():
            raise InputError(f"{folder}: {name}.{layer}.tif is missing: run isamap tile again")
    return row


def checksums(item: Mapping[str, Any]) -> dict[str, str]:
    """Checksum of each layer of a shard's item."""
    return {key: str(asset["file:checksum"]) for key, asset in item["assets"].items()}


def _index(folder: Path, item: Mapping[str, Any]) -> tuple[ChipRow, ...]:
    """The rows of the index, if it is the one of the manifest."""
    path = folder / f"{STEM}.geojson"
    try:
        with store.storage_errors(path):
            text = path.read_bytes()
    except FileNotFoundError as fault:
        raise InputError(f"{path} is missing: run isamap tile again") from fault
    if item["assets"]["index"]["file:checksum"] != digests.SHA256 + hashlib.sha256(text).hexdigest():
        raise InputError(f"{path} is not the index of its manifest: run isamap tile again")
    names = ChipRow.__dataclass_fields__
    return tuple(
        ChipRow(**{key: value for key, value in feature["properties"].items() if key in names})
        for feature in json.loads(text)["features"]
    )
