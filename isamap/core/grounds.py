"""The ground a training recipe names, read into memory: what chips are cut from, and what is kept to judge by."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.core.recipe import Ground, Pair, Patches, Recipe, UnlabelledScene
from isamap.domain.classes import SCHEMES, UNLABELLED
from isamap.domain.grid import refine
from isamap.domain.share import impervious_share
from isamap.errors import ConfigError, InputError
from isamap.io.chipstore import ChipStore, open_chips
from isamap.io.ground import read_reflectance, warn_of_offset
from isamap.io.plate import check_on, lay, read_bytes, read_plate
from isamap.io.teaching import Needs, check_bands, ground_bytes, teachers
from isamap.model.adapt import Scaling
from isamap.model.chips import PairSource, ShareSource, SimulatedSource, Source
from isamap.model.stores import StoreSource
from isamap.model.validation import Validation

SHARE_BANDS = ("B02", "B03", "B04", "B08", "B11")
"""What the spectral share needs."""
IN_MEMORY_BYTES = 4 << 30
"""Stores up to this size are read whole: chips can then begin at any pixel."""


@dataclass(frozen=True)
class Grounds:
    """Everything a recipe trains on and judges by."""

    pairs: list[Source]
    simulated: list[Source]
    scenes: list[Source]
    patches: list[Source]
    stores: list[Source]
    target: list[Source]
    """Unlabelled ground to adapt to, seen as the recipe says."""
    validations: list[Validation]
    source_scaling: Scaling | None
    """Mean and deviation of the labelled ground, where a target is seen through its own."""
    target_scaling: Scaling | None
    """Mean and deviation of the target."""

    @property
    def labelled(self) -> list[Source]:
        """Ground with labels."""
        return [*self.pairs, *self.simulated, *self.stores]


def read_grounds(recipe: Recipe, data: Path) -> Grounds:
    """All ground of a recipe."""
    pairs, validations = pair_sources(recipe, data)
    stores, more = store_sources(recipe, data)
    _check_names(validations + more)
    target = target_sources(recipe, data)
    real = [*pairs, *(source for source in stores if isinstance(source, PairSource))]
    own = scaling(real) if recipe.target and recipe.target.own_statistics else None
    there = scaling(target, own) if own else None
    if own is not None and there is not None:
        target = [replace(source, lr=_moved_onto(source, there, own)) for source in target]
    return Grounds(
        pairs=[*pairs],
        simulated=[simulated_source(ground, recipe, data) for ground in recipe.simulated],
        scenes=[source for scene in recipe.scenes for source in scene_sources(scene, recipe, data)],
        patches=[source for group in recipe.patches for source in patch_sources(group, recipe, data)],
        stores=[*stores],
        target=[*target],
        validations=validations + more,
        source_scaling=own,
        target_scaling=there,
    )


def _check_names(validations: Sequence[Validation]) -> None:
    """Refuse validation ground whose scores could not be told apart: shards of two stores may be called the same."""
    names = [ground.name for ground in validations]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two grounds to validate on are called {twice}: tile one under another name")


def target_sources(recipe: Recipe, data: Path) -> list[ShareSource]:
    """Unlabelled ground to adapt to: scenes with their soft shares, target chips of stores without any."""
    if recipe.target is None:
        return []
    taught = recipe.target.share_weight > 0
    found = [
        source
        for scene in recipe.target.scenes
        for source in scene_sources(scene, recipe, data, shares=taught)
    ]
    for store in recipe.target.stores:
        with open_chips(data / store.folder) as chips:
            names = store.sources or tuple(name for name in chips.sources if chips.select("target", name))
            check_bands(chips, names, recipe.network.bands, recipe.network.optional)
            for name in names:
                ground = chips.ground(name, "target", recipe.network.bands)
                nothing = np.zeros(ground.lr.shape[1:], np.float32)
                seen = ground.lr, ground.present, nothing, nothing
                found.append(ShareSource(name, *seen, recipe.network.scale))
    if not found:
        raise ConfigError("the target has no ground: name scenes, stores with target chips, or give --target")
    return found


def scaling(sources: "list[PairSource] | list[ShareSource]", unseen: Scaling | None = None) -> Scaling:
    """Mean and deviation over real ground; of a band that it lacks, those of `unseen`."""
    if not sources:
        raise ConfigError("own_statistics needs real labelled ground: name pairs or stores, or set it false")
    return Scaling.of([(source.lr, source.present) for source in sources], unseen)


def _moved_onto(source: ShareSource, own: Scaling, other: Scaling) -> NDArray[np.float32]:
    return np.where(source.present, own.onto(other, source.lr), 0).astype(np.float32)


def labels_of(codes: NDArray[np.uint8], recipe: Recipe) -> NDArray[np.uint8]:
    """Label codes as the network's outputs number them."""
    scheme = SCHEMES[recipe.network.classes]
    return scheme.channel_of(scheme.check(codes))


def class_counts(grounds: Grounds, recipe: Recipe) -> NDArray[np.int64]:
    """Labelled pixels of each class on the ground that teaches."""
    counts = np.zeros(256, np.int64)
    for source in grounds.labelled:
        if isinstance(source, PairSource | SimulatedSource):
            counts += np.bincount(source.isa.ravel(), minlength=256)
        elif isinstance(source, StoreSource):
            counts += source.counts()
    return counts[: max(2, recipe.network.outputs)]


def pair_sources(recipe: Recipe, data: Path) -> tuple[list[PairSource], list[Validation]]:
    """Real pairs: the ground to train on and the ground to validate on."""
    made = [_pair(pair, recipe, data) for pair in recipe.pairs]
    return [source for source, _ in made], [validation for _, validation in made]


def _pair(pair: Pair, recipe: Recipe, data: Path) -> tuple[PairSource, Validation]:
    """One pair, split."""
    lr, present, grid = _reflectance(pair.imagery, recipe, data)
    scale = recipe.network.scale
    fine = refine(grid, scale)
    codes = lay([data / p for p in pair.isa], fine, UNLABELLED)[0]
    image = lay([data / p for p in pair.image], fine, 0) if pair.image else _no_image(codes.shape)
    plate = read_plate(data / pair.split)
    check_on(data / pair.split, plate.grid, data / pair.imagery[0], grid)
    split = plate.values[0]
    _check_labels(codes, f"{data / pair.isa[0]} has no label on {data / pair.imagery[0]}")
    cell = np.ones((scale, scale), np.bool_)
    taught, kept = (
        np.where(np.kron(split == value, cell), codes, UNLABELLED).astype(np.uint8)
        for value in (pair.train, pair.validate_on)
    )
    none = f"{data / pair.split} has no labelled pixel of value"
    _check_labels(kept, f"{none} {pair.validate_on} to validate on")
    if recipe.chips.pairs:
        _check_labels(taught, f"{none} {pair.train} to train on")
    rows, cols = _extent(split == pair.validate_on)
    truth = SCHEMES[recipe.network.classes].to_isa(
        kept[rows.start * scale : rows.stop * scale, cols.start * scale : cols.stop * scale]
    )
    source = PairSource(pair.name, lr, present, labels_of(taught, recipe), image, scale)
    return source, Validation(pair.name, lr[:, rows, cols], present[:, rows, cols], truth)


def _check_labels(labels: NDArray[np.uint8], fault: str) -> None:
    if not (labels != UNLABELLED).any():
        raise InputError(fault)


def _reflectance(
    files: Sequence[str], recipe: Recipe, data: Path, *, placed: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.bool_], GeoBox]:
    """What the network sees of one date."""
    config = recipe.network
    paths = [data / name for name in files]
    seen = read_reflectance(paths, config.bands, config.optional, gsd_m=config.gsd_m, placed=placed)
    warn_of_offset(paths, config.bands, *seen[:2])
    return seen


def _no_image(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.broadcast_to(np.zeros((3, 1, 1), np.uint8), (3, *shape))


def store_sources(recipe: Recipe, data: Path) -> tuple[list[Source], list[Validation]]:
    """Chip stores: shards as ground in memory, or, where that is too much, chips read when they are cut."""
    sources: list[Source] = []
    validations: list[Validation] = []
    for store in recipe.stores:
        with open_chips(data / store.folder) as chips:
            network = recipe.network
            needs = Needs(network.bands, network.optional, network.scale, network.classes)
            names = teachers(chips, store.sources, needs)
            size = sum(ground_bytes(chips, name, len(recipe.network.bands)) for name in names)
            for name in names:
                rows = chips.select("train", name)
                if rows and size <= IN_MEMORY_BYTES:
                    sources.append(_shard_ground(chips, name, recipe))
                elif rows:
                    sources.append(StoreSource(name, partial(replace, chips), rows, recipe.network))
                if store.validate_on:
                    validations += _shard_validation(chips, name, recipe)
    return sources, validations


def _shard_ground(chips: ChipStore, name: str, recipe: Recipe) -> PairSource:
    ground, scale = chips.ground(name, "train", recipe.network.bands), recipe.network.scale
    image = _no_image(ground.labels.shape) if ground.hr is None else ground.hr
    return PairSource(name, ground.lr, ground.present, labels_of(ground.labels, recipe), image, scale)


def _shard_validation(chips: ChipStore, name: str, recipe: Recipe) -> list[Validation]:
    kept = chips.validation(name, "val", recipe.network.bands)
    if kept is None:
        return []
    return [Validation(name, kept.lr, kept.present, SCHEMES[recipe.network.classes].to_isa(kept.labels))]


def _extent(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Smallest window around the True pixels."""
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


def simulated_source(ground: Ground, recipe: Recipe, data: Path) -> SimulatedSource:
    """A 1 m image and its labels, the excluded window unlabelled."""
    codes, place = read_bytes(data / ground.isa)
    image, grid = read_bytes(data / ground.image)
    check_on(data / ground.isa, place, data / ground.image, grid)
    isa = labels_of(codes[0], recipe)
    if ground.exclude:
        top, bottom, left, right = ground.exclude
        if bottom > isa.shape[0] or right > isa.shape[1]:
            raise InputError(f"{data / ground.isa}: exclude reaches beyond its {isa.shape} rows and columns")
        isa[top:bottom, left:right] = UNLABELLED
    _check_labels(isa, f"{data / ground.isa} has no label to train on")
    return SimulatedSource(ground.name, isa, image, recipe.network.bands, recipe.network.scale)


def scene_sources(
    scene: UnlabelledScene, recipe: Recipe, data: Path, *, shares: bool = True
) -> list[ShareSource]:
    """One source per date of a place; each date is judged with the other's help.

    Raises:
        InputError: no reflectance, the dates differ in size, or, for `shares`, a band that they need is missing.
    """
    gsd_m, spare = recipe.network.gsd_m, () if shares else SHARE_BANDS
    dates = [
        read_reflectance([data / name for name in files], SHARE_BANDS, spare, gsd_m=gsd_m)
        for files in scene.dates
    ]
    if len({lr.shape for lr, _, _ in dates}) > 1:
        raise InputError(f"scene {scene.name}: its dates differ in size: cut them to the same ground")
    if max(map(abs, scene.shift_px)) >= min(dates[0][0].shape[1:]):
        raise InputError(f"scene {scene.name}: shift_px is {list(scene.shift_px)}: its dates would not meet")
    spectra = [dict(zip(SHARE_BANDS, lr, strict=True)) for lr, _, _ in dates]
    rules = recipe.shares if scene.slack_px is None else replace(recipe.shares, slack_px=scene.slack_px)
    sources: list[ShareSource] = []
    for index, files in enumerate(scene.dates):
        other = _moved(spectra[1 - index], scene.shift_px, 1 - 2 * index) if len(spectra) > 1 else None
        share, weight = impervious_share(spectra[index], other, rules)
        weight[~dates[index][1].all(axis=0)] = 0
        lr, present, _ = _reflectance(files, recipe, data)
        sources.append(ShareSource(f"{scene.name}-{index}", lr, present, share, weight, recipe.network.scale))
    return sources


def _moved(
    spectra: dict[str, NDArray[np.float32]], shift_px: tuple[int, int], sign: int
) -> dict[str, NDArray[np.float32]]:
    """Another date on the pixels of this one; what moves out on one side comes in on the other."""
    dx, dy = (-sign * shift for shift in shift_px)
    return {band: np.roll(values, (dy, dx), axis=(0, 1)) for band, values in spectra.items()}


def patch_sources(patches: Patches, recipe: Recipe, data: Path) -> list[Source]:
    """Patches of one scene class, stacked downwards in one file."""
    lr, present, _ = _reflectance([patches.imagery], recipe, data, placed=False)
    if patches.share == "none":
        share, weight = np.zeros(lr.shape[1:], np.float32), np.ones(lr.shape[1:], np.float32)
    else:
        path, gsd_m = [data / patches.imagery], recipe.network.gsd_m
        seen = read_reflectance(path, SHARE_BANDS, gsd_m=gsd_m, placed=False)[0]
        share, weight = impervious_share(dict(zip(SHARE_BANDS, seen, strict=True)), rules=recipe.shares)
    size, scale = patches.patch_px, recipe.network.scale
    sources: list[Source] = []
    for top in range(0, lr.shape[1], size):
        rows, name = slice(top, top + size), f"{patches.name}-{top // size}"
        sources.append(ShareSource(name, lr[:, rows], present[:, rows], share[rows], weight[rows], scale))
    return sources
