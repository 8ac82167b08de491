"""The index of a chip store: split rasters of its shards, chips with their footprints, and what there is to say of them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from isamap import digests
from isamap.domain import chips
from isamap.domain.chips import ChipRow, ShardRow
from isamap.domain.lonlat import transformer
from isamap.domain.split_pixels import least_distance, runs
from isamap.domain.splits import CODES, TARGET, TEST, TRAIN, VAL, Block, Plan, density, plan
from isamap.domain.tiling import Source, TileRecipe
from isamap.errors import InputError
from isamap.io import splitting
from isamap.io.places import Places
from isamap.io.splitting import Known
from isamap.io.store import Publication

ENOUGH_BLOCKS = 20
"""Blocks shrink until there are so many with labels: fewer give no choice."""
LEAST_BLOCK_PX = 8
KEPT_PX = 4_000_000
"""Shards up to this size are counted once; larger ones anew whenever they are needed."""
PAIRS = ((TRAIN, VAL), (TRAIN, TEST), (VAL, TEST))
Shapes = NDArray[np.object_]


@dataclass
class Index:
    """Splits and chips of the shards in a folder."""

    folder: Path
    """Of the store."""
    data: Path
    """Folder that the recipe's paths start from."""
    recipe: TileRecipe
    """What is wanted."""
    shards: Mapping[str, tuple[ShardRow, Source]]
    """By name, with what the recipe says of them."""
    rows: list[ChipRow] = field(default_factory=list)
    """The chips, once written."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What the manifest says of splits, once written."""
    _kept: dict[str, Known] = field(default_factory=dict)

    def write(self, publication: Publication, seed: int) -> None:
        """Plan the splits and write a split raster for each shard.

        Args:
            publication: of the store's own files.
            seed: of the plan.

        Raises:
            InputError: the ground is too small for the splits, or a split raster does not fit.
        """
        places = Places(self.recipe.units)
        given = {
            name: splitting.given_codes(shard, source, self.data)
            for name, (shard, source) in self.shards.items()
        }
        ground = self._plan(places, given, seed)
        areas: dict[str, dict[str, list[Shapes]]] = defaultdict(lambda: defaultdict(list))
        totals: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        cut = self.recipe.chip_px, self.recipe.min_labelled
        for name, (shard, source) in self.shards.items():
            known = self._known(shard)
            codes = np.where(known.seen, splitting.split_codes(shard, given[name], ground), np.uint8(0))
            splitting.write_split(publication.path(f"{name}.{chips.SPLIT}.tif"), shard, codes)
            self.rows += splitting.chips_of(shard, known, codes, cut, places, source.unit or source.name)
            for split in (TRAIN, VAL, TEST, TARGET):
                mask = codes == CODES[split]
                pixel_m2 = (shard.gsd_m / (shard.scale if shard.has_labels or shard.has_hr else 1)) ** 2
                totals[split]["known_m2"] += int(known.labelled.sum(where=mask)) * pixel_m2
                totals[split]["isa_m2"] += int(known.isa.sum(where=mask)) * pixel_m2
                if split != TARGET and mask.any():
                    areas[shard.frame][split].append(runs(mask, shard.transform))
        self.facts = self._facts(ground, areas, totals)

    def _plan(self, places: Places, given: Mapping[str, Any], seed: int) -> Plan:
        """Held-out blocks with the widest buffer; where that is narrower than a block, smaller blocks are tried.

        Raises:
            InputError: the ground is too small for any.
        """
        labelled = [pair for pair in self.shards.values() if not splitting.is_target(*pair)]
        side_m = self.recipe.block_m or self._largest_chip()
        least_m = LEAST_BLOCK_PX * max((shard.gsd_m for shard, _ in labelled), default=1.0)
        best: Plan | None = None
        while True:
            blocks = self._blocks(places, given, side_m, labelled)
            last = self.recipe.block_m is not None or side_m / 2 < least_m or all(b.fixed for b in blocks)
            if last or len(blocks) >= ENOUGH_BLOCKS:
                try:
                    found = plan(blocks, side_m, self.recipe.split, np.random.default_rng(seed))
                except InputError:
                    if last and best is None:
                        raise
                else:
                    best = found if best is None or found.buffer_m > best.buffer_m else best
            if best is not None and (last or best.buffer_m >= min(side_m, best.wanted_m)):
                return best
            side_m /= 2

    def _blocks(
        self,
        places: Places,
        given: Mapping[str, Any],
        side_m: float,
        labelled: Sequence[tuple[ShardRow, Source]],
    ) -> list[Block]:
        """Blocks of all shards on one lattice."""
        blocks: list[Block] = []
        for shard, source in labelled:
            unit = source.unit or source.name
            blocks += splitting.blocks_of(shard, self._known(shard), given[shard.name], side_m, places, unit)
        return splitting.merged(blocks)

    def _largest_chip(self) -> float:
        return max(shard.gsd_m for shard, _ in self.shards.values()) * self.recipe.chip_px

    def _known(self, shard: ShardRow) -> Known:
        if shard.name in self._kept:
            return self._kept[shard.name]
        known = splitting.known_of(self.folder, shard)
        if known.labelled.size <= KEPT_PX:
            self._kept[shard.name] = known
        return known

    def _facts(
        self,
        ground: Plan,
        areas: Mapping[str, Mapping[str, Sequence[Shapes]]],
        totals: Mapping[str, Mapping[str, float]],
    ) -> dict[str, Any]:
        counted = Counter(chip.split for chip in self.rows)
        return {
            "chips": {split: counted[split] for split in CODES if split and counted[split]},
            "labelled_km2": {s: round(t["known_m2"] / 1e6, 3) for s, t in totals.items() if t["known_m2"]},
            "isa_share": {
                s: round(t["isa_m2"] / t["known_m2"], 4)
                for s, t in totals.items()
                if t["known_m2"] and s != TARGET
            },
            "buffer_m": {"wanted": ground.wanted_m, "planned": ground.buffer_m, "block": ground.side_m},
            "unplaced": sorted(name for name, (shard, _) in self.shards.items() if not shard.crs),
            "distance_m": {f"{one}-{other}": _apart(areas, one, other) for one, other in PAIRS},
            "strata": self._strata(),
        }

    def _strata(self) -> dict[str, dict[str, int]]:
        """Chips of each split by reach, unit and density of ISA."""
        found: dict[str, Counter[str]] = defaultdict(Counter)
        for chip in self.rows:
            if chip.split != TARGET:
                parts = (chip.reach, chip.unit, density(chip.isa_share or 0.0))
                found["/".join(part for part in parts if part)][chip.split] += 1
        return {stratum: dict(found[stratum]) for stratum in sorted(found)}

    def features(self, checksums: Mapping[str, Mapping[str, str]]) -> list[dict[str, Any]]:
        """The chips as GeoJSON features.

        Args:
            checksums: of the layers of each shard.
        """
        found = []
        for chip in self.rows:
            shard = self.shards[chip.source][0]
            shift = next((one for one in shard.shifts if one["trusted"]), None)
            more = {
                "shift_east_m": shift and shift["east_m"],
                "shift_north_m": shift and shift["north_m"],
                "shift_by": shift and shift["by"],
                "sensor": shard.sensor,
                "scheme": shard.scheme,
                **{
                    f"{layer}_sha256": text.removeprefix(digests.SHA256)
                    for layer, text in checksums[chip.source].items()
                },
            }
            found.append(chips.feature(chip, splitting.footprint(shard, chip), more))
        return found


def _apart(areas: Mapping[str, Mapping[str, Sequence[Shapes]]], one: str, other: str) -> float | None:
    """Least distance between the ground of two splits; None if there is no such pair, or no common frame."""
    found = []
    for frame, own in areas.items():
        near = list(own.get(other, ()))
        for elsewhere, theirs in areas.items():
            if elsewhere != frame and not {frame[:6], elsewhere[:6]} & {"image:"}:
                near += [_moved(shapes, elsewhere, frame) for shapes in theirs.get(other, ())]
        if own.get(one) and near:
            found.append(least_distance(np.concatenate(own[one]), np.concatenate(near)))
    known = [distance for distance in found if distance is not None]
    return round(min(known), 1) if known else None


def _moved(shapes: Shapes, crs: str, other: str) -> Shapes:
    """Shapes in another CRS."""
    project = transformer(crs, other)
    moved: Shapes = shapely.transform(
        shapes, lambda points: np.column_stack(project.transform(points[:, 0], points[:, 1]))
    )
    return moved
