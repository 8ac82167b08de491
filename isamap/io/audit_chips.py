"""The audit of a chip store: its files against their checksums, its layers against their items, its index against both."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from isamap.domain.audit import Finding
from isamap.domain.chips import HR, LABELS, LR, SPLIT, STEM, ChipRow, ShardRow
from isamap.domain.grid import Window, windows
from isamap.domain.splits import CODES
from isamap.errors import InputError, MissingInputError
from isamap.io import store
from isamap.io.chip_leftovers import chip_leftovers
from isamap.io.chipstore import ChipStore, open_chips
from isamap.io.guard import GDAL_ENV, check_complete, open_raster
from isamap.io.holders import RUN_LOCK, holder
from isamap.io.plain import read_window
from isamap.io.splitting import STRIP_PX, chips_of, known_of
from isamap.io.telling import file_fault

AGAIN = "run isamap tile again"
"""It sees for itself what must be redone."""
AFRESH = "run isamap tile again with --overwrite"
"""The files match their checksums, so tile would take the store for done."""
FETCH = ("fetch it again", "fetch it again, or convert it")
"""What is said of a damaged input."""
NAMED = 3
"""Chips that a line about many chips names."""


@dataclass(frozen=True)
class AuditedStore:
    """What an audit says of one store."""

    findings: tuple[Finding, ...]
    """What is off."""
    shards: int
    """That the manifest names."""
    chips: int
    """In the index."""


def audit_chips(folder: Path, *, quick: bool = False) -> AuditedStore:
    """Look at a store from its manifest down to the pixels.

    Args:
        folder: of the store.
        quick: read items, sizes, headers and the index only: no checksum, no pixel.

    Raises:
        MissingInputError: there is no store.
        StorageError: the disk does not give a file.
    """
    manifest = folder / f"{STEM}.json"
    if not manifest.is_file():
        raise MissingInputError(f"{folder} holds no finished chip store ({STEM}.json): run isamap tile")
    with store.storage_errors(manifest):
        findings: list[Finding] = []
        try:
            findings += _files(folder, quick=quick)
            damaged = {finding.tile for finding in findings}
            with open_chips(folder) as chips:
                findings += _contents(chips, damaged, quick=quick)
                if holder(folder / RUN_LOCK) is None:  # a run at work has not written its manifest
                    findings += chip_leftovers(folder, chips.sources)
                return AuditedStore(tuple(findings), len(chips.sources), len(chips.chips))
        except (InputError, MissingInputError) as fault:
            todo = AGAIN if findings else AFRESH
            findings.append(Finding(STEM, "item", _brief(fault, folder), todo))
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as fault:
            text = f"the manifest or an item of its shards has a value of a wrong kind ({fault})"
            findings.append(Finding(STEM, "item", text, AFRESH))
        return AuditedStore(tuple(findings), 0, 0)


def _brief(fault: Exception, folder: Path) -> str:
    """A message without the folder, and without its advice."""
    text = (
        str(fault).replace(f"{folder.absolute()}/", "").replace(f"{folder}/", "").replace(f"{folder}: ", "")
    )
    for advice in (AGAIN, *FETCH):
        text = text.removesuffix(f": {advice}")
    return text


def _files(folder: Path, *, quick: bool) -> Iterator[Finding]:
    """Files that are not what the manifest and the items of its shards say."""
    manifest = store.read_item(folder / f"{STEM}.json") or {}
    properties = manifest.get("properties")
    shards = properties.get("isamap:shards") if isinstance(properties, dict) else None
    for stem in (STEM, *(shards if isinstance(shards, dict) else ())):
        item = store.read_item(folder / f"{store.safe_name(stem)}.json") or {}
        assets = item.get("assets")
        if not isinstance(assets, dict) or not assets:
            yield Finding(stem, "item", f"{stem}.json is no item of a chip store", AGAIN)
            continue
        for asset in assets.values():
            if not isinstance(asset, dict):
                yield Finding(stem, "file", "an asset is no object", AGAIN)
                continue
            path = folder / store.safe_name(str(asset.get("href")).removeprefix("./"))
            if fault := file_fault(path, asset, quick=quick):
                yield Finding(stem, "file", f"{path.name} {fault}", AGAIN)


def _contents(chips: ChipStore, damaged: set[str], *, quick: bool) -> Iterator[Finding]:
    """What is off in shards whose files are all there, and in the index."""
    for name, shard in chips.sources.items():
        headers = list(_headers(chips.folder, shard, AGAIN if damaged & {name, STEM} else AFRESH))
        yield from headers
        own = [chip for chip in chips.chips if chip.source == name]
        yield from _windows(shard, own)
        if quick or headers or damaged & {name, STEM}:
            continue
        try:
            yield from _pixels(chips, shard, own)
        except (InputError, RasterioError) as fault:
            yield Finding(name, "pixels", _brief(fault, chips.folder), AFRESH)
    yield from _counts(chips)


def _headers(folder: Path, shard: ShardRow, todo: str) -> Iterator[Finding]:
    """Layers that do not lie on the grid of their shard, or have other bands."""
    for layer in (*shard.layers, SPLIT):
        fine = shard.scale if layer in (HR, LABELS) else 1
        bands = {LR: len(shard.bands), HR: 3}.get(layer, 1)
        name = f"{shard.name}.{layer}.tif"
        try:
            with rasterio.Env(**GDAL_ENV), open_raster(folder / name) as src:
                check_complete(src, bands)
                found = (src.count, tuple(src.shape))
                placed = not shard.crs or (
                    src.crs == rasterio.CRS.from_user_input(shard.crs)
                    and np.allclose(_step(src.transform, fine), shard.transform[:6], rtol=0, atol=1e-6)
                )
        except MissingInputError:
            continue  # said of the file already
        except InputError as fault:
            yield Finding(shard.name, "file", _brief(fault, folder), todo)
            continue
        wanted = (bands, tuple(side * fine for side in shard.shape))
        if found != wanted:
            words = [f"{count} bands of {shape[1]} x {shape[0]}" for count, shape in (found, wanted)]
            yield Finding(shard.name, "format", f"{name} has {words[0]} pixels, not {words[1]}", AFRESH)
        elif not placed:
            yield Finding(shard.name, "grid", f"{name} lies elsewhere than its item says", AFRESH)


def _step(transform: Any, fine: int) -> list[float]:
    """Six figures of the grid whose pixels have `fine` x `fine` of these."""
    a, b, c, d, e, f = transform[:6]
    return [a * fine, b * fine, c, d * fine, e * fine, f]


def _windows(shard: ShardRow, own: list[ChipRow]) -> Iterator[Finding]:
    """Chips that are no windows of their shard, or stand there twice."""
    height, width = shard.shape
    outside = [
        chip.id
        for chip in own
        if min(chip.row, chip.col) < 0 or chip.row + chip.size > height or chip.col + chip.size > width
    ]
    twice = [name for name, number in Counter(chip.id for chip in own).items() if number > 1]
    for names, words in ((outside, "reach beyond the imagery"), (twice, "stand in the index twice")):
        if names:
            yield Finding(shard.name, "format", f"chips {words}: {_named(names)}", AFRESH)


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f", ... ({len(names)})" if len(names) > NAMED else "")


def _pixels(chips: ChipStore, shard: ShardRow, own: list[ChipRow]) -> Iterator[Finding]:
    """Label codes that the item does not count so, and chips that do not follow from labels and splits."""
    if shard.has_labels and (found := _codes(chips.folder, shard)) != _counted(shard.counts):
        yield Finding(shard.name, "share", f"labels count {found}, the item {_counted(shard.counts)}", AFRESH)
    settings = chips.manifest["isamap:settings"]
    splits = _split_codes(chips.folder, shard)
    expected = {
        chip.id: chip
        for chip in chips_of(
            shard,
            known_of(chips.folder, shard),
            splits,
            (settings["chip_px"], settings["min_labelled"]),
            None,
            "",
        )
    }
    indexed = {chip.id: replace(chip, unit="", reach="") for chip in own}
    missing, extra = expected.keys() - indexed.keys(), indexed.keys() - expected.keys()
    other = [name for name in expected.keys() & indexed.keys() if expected[name] != indexed[name]]
    for names, words in (
        (missing, "are missing from the index"),
        (extra, "are in the index without labels or split of theirs"),
        (other, "have other shares than the index says"),
    ):
        if names:
            yield Finding(shard.name, "share", f"chips {words}: {_named(sorted(names))}", AFRESH)


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of codes that occur."""
    return {code: int(number) for code, number in sorted(counts.items()) if number}


def _codes(folder: Path, shard: ShardRow) -> dict[str, int]:
    """Fine pixels of each label code."""
    counts = np.zeros(256, np.int64)
    with rasterio.Env(**GDAL_ENV), open_raster(folder / f"{shard.name}.{LABELS}.tif") as src:
        for window in windows(shard.shape, STRIP_PX):
            counts += np.bincount(read_window(src, window.scaled(shard.scale))[0].ravel(), minlength=256)
    return _counted({str(code): int(number) for code, number in enumerate(counts)})


def _split_codes(folder: Path, shard: ShardRow) -> NDArray[np.uint8]:
    """The split raster of a shard.

    Raises:
        InputError: it holds a code that means nothing.
    """
    with rasterio.Env(**GDAL_ENV), open_raster(folder / f"{shard.name}.{SPLIT}.tif") as src:
        codes: NDArray[np.uint8] = read_window(src, Window(0, 0, *shard.shape))[0]
    strange = sorted(set(np.unique(codes).tolist()) - set(CODES.values()))
    if strange:
        raise InputError(f"{shard.name}.{SPLIT}.tif holds {strange}, which are no splits")
    return codes


def _counts(chips: ChipStore) -> Iterator[Finding]:
    """Whether the manifest counts the chips that the index has."""
    said = chips.manifest.get("isamap:facts", {}).get("chips")
    found = dict(Counter(chip.split for chip in chips.chips))
    if said != found:
        yield Finding(STEM, "share", f"the manifest counts {said} chips, the index has {found}", AFRESH)
    strays = sorted({chip.source for chip in chips.chips} - set(chips.sources))
    if strays:
        yield Finding(STEM, "format", f"the index names shards that are not there: {_named(strays)}", AFRESH)
