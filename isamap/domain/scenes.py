"""Scenes of a tile: which of those a catalogue offers count, once each, in an order nothing else decides."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from isamap.domain.grid import Tile
from isamap.domain.scene import Asset, DropKind, Dropped, SceneItem
from isamap.domain.scene_items import is_synthetic, item_id, scene_of

__all__ = [
    "Asset",
    "Dropped",
    "SceneItem",
    "Selection",
    "deduplicate",
    "item_id",
    "once_per_pass",
    "passes",
    "scene_of",
    "select",
    "why_none",
]

_PASS = timedelta(minutes=50)
"""Half an orbit (100 minutes): looks of one satellite that are nearer than that are one look; catalogues give the time
of the granule or of the start of its datatake, which is up to 40 minutes long."""
_NEW_SHARE = 0.02
"""A second item of a look counts if it adds this much of the ground: datatakes are cut at receiving stations."""

_KINDS: dict[DropKind, str] = {
    "cloud": "too cloudy",
    "month": "of other months",
    "year": "of other years",
    "zone": "in another UTM zone",
    "elsewhere": "of other ground",
    "look": "seen twice",
    "number": "beyond --max-scenes",
    "unusable": "unusable",
}
"""What to say of the scenes dropped for one kind of reason."""


@dataclass(frozen=True)
class Selection:
    """Which scenes of a year count."""

    max_cloud: float = 60.0
    """Percent of eo:cloud_cover; scenes that do not say stay."""
    max_scenes: int = 60
    """At most this many a tile: those that promise most clear ground."""
    months: tuple[int, ...] = tuple(range(1, 13))
    """Months of the year."""


def passes(scenes: Sequence[SceneItem]) -> list[int]:
    """For each scene the number of its pass: scenes of one satellite within minutes of each other share it."""
    labels = [0] * len(scenes)
    before, label = None, -1
    for k in sorted(range(len(scenes)), key=lambda k: (scenes[k].platform, *scenes[k].order)):
        here = scenes[k].platform, datetime.fromisoformat(scenes[k].datetime)
        if before is None or before[0] != here[0] or here[1] - before[1] > _PASS:
            label += 1
        labels[k], before = label, here
    return labels


def once_per_pass(valid: NDArray[np.bool_], scenes: Sequence[SceneItem]) -> None:
    """Let every pixel count once per pass, in place: neighbouring granules show the same pixels of the same minute.

    Args:
        valid: (n, y, x); of the scenes of a pass the first in order keeps a pixel.
        scenes: in the order of the stack.
    """
    labels = passes(scenes)
    taken: dict[int, NDArray[np.bool_]] = {}
    for k, label in enumerate(labels):
        if labels.count(label) == 1:
            continue
        if label in taken:
            valid[k] &= ~taken[label]
            taken[label] |= valid[k]
        else:
            taken[label] = valid[k].copy()


def deduplicate(
    scenes: Iterable[SceneItem], sources: Sequence[str] = (), ground: Any = None
) -> tuple[list[SceneItem], list[Dropped]]:
    """One scene per satellite, MGRS tile and pass: newest baseline, then first source, then first id.

    A further one stays if it adds ground: a datatake cut in two comes as two items, each a part of the granule.

    Args:
        scenes: in any order.
        sources: names of sources, preferred first; those not named come after, by name.
        ground: lon/lat polygons to compare footprints on; the footprints as a whole if left out.

    Returns:
        kept scenes by (datetime, id), and what was dropped by id; independent of the order of `scenes`.
    """
    unique = sorted(set(scenes), key=lambda scene: (*scene.order, scene.source, repr(scene), _hrefs(scene)))
    labels = dict(zip(map(id, unique), passes(unique), strict=True))

    def look(scene: SceneItem) -> tuple[str, str, int]:
        return scene.platform, scene.mgrs, labels[id(scene)]

    kept: list[SceneItem] = []
    dropped: list[Dropped] = []
    for _, group in groupby(sorted(unique, key=look), key=look):
        best, *others = sorted(group, key=lambda scene: _preference(scene, sources))
        chosen = [best]
        for scene in others:
            if _adds_ground(scene, chosen, ground):
                chosen.append(scene)
            else:
                reason = f"the same look as {best.id} of {best.source}, which is preferred"
                dropped.append(Dropped(scene.id, reason, "look"))
        kept += chosen
    return sorted(kept, key=lambda scene: scene.order), sorted(dropped)


def _hrefs(scene: SceneItem) -> list[str]:
    return sorted(asset.href for asset in scene.assets.values())


def _preference(scene: SceneItem, sources: Sequence[str]) -> tuple[Any, ...]:
    """Sort key of the items of one look."""
    number = 0 if is_synthetic(scene.baseline) else int(scene.baseline.replace(".", "") or -1)
    place = sources.index(scene.source) if scene.source in sources else len(sources)
    return -number, place, scene.source, scene.id


def _adds_ground(scene: SceneItem, chosen: Sequence[SceneItem], ground: Any) -> bool:
    """Whether a scene shows a part of the ground that the chosen ones do not."""
    if scene.footprint is None or any(other.footprint is None for other in chosen):
        return False
    whole = scene.footprint if ground is None else ground
    seen = shapely.intersection(scene.footprint, whole)
    new = shapely.difference(seen, shapely.union_all([other.footprint for other in chosen]))
    return bool(new.area > _NEW_SHARE * whole.area)


def select(
    scenes: Iterable[SceneItem], tile: Tile, selection: Selection
) -> tuple[list[SceneItem], list[Dropped]]:
    """Scenes of a tile that count: its UTM zone, its ground, cloud, months, number.

    Returns:
        kept scenes by (datetime, id), and what was dropped by id; independent of the order of `scenes`.
    """
    ground = tile.footprint()
    ranking: list[tuple[float, SceneItem]] = []
    dropped: list[Dropped] = []
    for scene in scenes:
        covered = _covered(scene, ground)
        if fault := _fault(scene, tile, covered, selection):
            dropped.append(fault)
        else:
            cloud = 100.0 if scene.cloud_cover is None else scene.cloud_cover
            ranking.append((round(covered * (100 - cloud), 6), scene))
    ranking.sort(key=lambda entry: (-entry[0], entry[1].order, entry[1].source))
    for promise, scene in ranking[selection.max_scenes :]:
        reason = (
            f"promises {promise:.0f} % clear ground, {selection.max_scenes} others promise as much or more"
        )
        dropped.append(Dropped(scene.id, reason, "number", max_scenes=selection.max_scenes))
    kept = [scene for _, scene in ranking[: selection.max_scenes]]
    return sorted(kept, key=lambda scene: (*scene.order, scene.source)), sorted(dropped)


def _covered(scene: SceneItem, ground: Any) -> float:
    """Share of the ground within the footprint; 1 where it is not known."""
    if scene.footprint is None or not ground.area:
        return 1.0
    return float(shapely.intersection(scene.footprint, ground).area / ground.area)


def _fault(scene: SceneItem, tile: Tile, covered: float, selection: Selection) -> Dropped | None:
    """Why a scene does not count; None if it does."""
    if scene.epsg is not None and scene.epsg != tile.epsg:
        return Dropped(scene.id, f"other UTM zone: EPSG:{scene.epsg}", "zone")
    if covered <= 0:
        return Dropped(scene.id, "does not meet the tile", "elsewhere")
    if (month := int(scene.datetime[5:7])) not in selection.months:
        return Dropped(scene.id, f"month {month} is not asked for", "month")
    if scene.cloud_cover is not None and scene.cloud_cover > selection.max_cloud:
        reason = f"cloud cover {scene.cloud_cover:g} %, more than {selection.max_cloud:g} %"
        return Dropped(scene.id, reason, "cloud", cloud_cover=scene.cloud_cover)
    return None


def why_none(dropped: Sequence[Dropped]) -> str:
    """Why a source has no scene of a tile: how many were found, what was wrong with how many, and one of them."""
    if not dropped:
        return "has no scene here"
    kinds = Counter(one.kind for one in sorted(dropped)).most_common()
    example = min(one for one in dropped if one.kind == kinds[0][0])
    counted = ", ".join(f"{number} {_KINDS[kind]}" for kind, number in kinds)
    found = f"{len(dropped)} scene{'s' if len(dropped) > 1 else ''}"
    return f"found {found}, none counts: {counted}; e.g. {example.id}: {example.reason}"
