"""The looks at a tile on their way to its composite: which count, with which offset, and what they become."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isamap.domain import cloudmask, compositing, harmonisation
from isamap.domain.composite import core
from isamap.domain.compositing import Method
from isamap.domain.scenes import Dropped, SceneItem, once_per_pass
from isamap.domain.sources import BANDS, Source
from isamap.errors import InputError, MissingInputError


@dataclass(frozen=True)
class Look:
    """Pixels of one scene on a tile's grid."""

    dn: NDArray[np.uint16]
    """As stored, (6, y, x) in the order of BANDS; 0 where the scene has none."""
    scl: NDArray[np.uint8]
    """Scene classification, (y, x)."""


class Stack:
    """Looks at one tile, in the order of its scenes. Memory is what the stack needs and no copy of it."""

    def __init__(self, tile: str, shape: tuple[int, int], count: int) -> None:
        self.tile = tile
        self.scenes: list[SceneItem] = []
        """Scenes whose looks count."""
        self.dropped: list[Dropped] = []
        """Scenes left out after a look at their pixels."""
        self.clear: NDArray[np.bool_] = np.zeros((0, *shape), np.bool_)
        """Clear looks, (n, y, x), once composed."""
        self._settled: list[dict[str, Any]] = []
        self._dn = np.zeros((count, len(BANDS), *shape), np.uint16)
        self._scl = np.zeros((count, *shape), np.uint8)

    def add(self, scene: SceneItem, look: Look | InputError) -> None:
        """One more scene, later than those before; a scene that cannot be used comes with its reason."""
        if isinstance(look, InputError):
            self.dropped.append(Dropped(scene.id, str(look)))
            return
        here = len(self.scenes)
        self._dn[here], self._scl[here] = look.dn, look.scl
        self.scenes.append(scene)

    def compose(
        self, source: Source, method: Method, rules: cloudmask.MaskRules
    ) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
        """Composite uint16 (6, y, x) and clear looks uint16 (y, x). Once only: looks are changed in place.

        Raises:
            InputError: every scene was dropped.
            MissingInputError: no look at the tile is clear.
        """
        count = len(self.scenes)
        dn, scl = self._dn[:count], self._scl[:count]
        valid = cloudmask.valid_pixels(dn)
        kept = self._settle(source, dn, scl, valid)
        for here, k in enumerate(kept):
            if here != k:
                dn[here], scl[here], valid[here] = dn[k], scl[k], valid[k]
        dn, scl, valid = dn[: len(kept)], scl[: len(kept)], valid[: len(kept)]
        self.scenes = [self.scenes[k] for k in kept]
        once_per_pass(valid, self.scenes)
        for here, record in enumerate(self._settled):
            harmonisation.harmonise(dn[here], valid[here], record["offset"])
        self.clear = cloudmask.clear_stack(scl, dn, valid, rules)
        ties = [(scene.baseline, *scene.order) for scene in self.scenes]
        order = compositing.ranked(self.clear, ties) if method == "best" else None
        values, looks = compositing.composite(method, dn, self.clear, order)
        if not core(looks).any():
            raise MissingInputError(
                f"{self.tile}: no clear look in {len(self.scenes)} scenes: raise --max-cloud, or give more --months"
            )
        return values, looks

    def _settle(
        self, source: Source, dn: NDArray[np.uint16], scl: NDArray[np.uint8], valid: NDArray[np.bool_]
    ) -> list[int]:
        """Indices of the scenes whose offset is decided and that have a pixel here; the others are dropped."""
        settled = harmonisation.settle(
            self.scenes, {source.name: source}, dn, cloudmask.usable(scl, valid), scl
        )
        kept = []
        refused = {one.id for one in settled.dropped}
        for k, offset in enumerate(settled.offsets):
            if not valid[k].any():
                self.dropped.append(Dropped(self.scenes[k].id, "has no pixel with all bands on this tile"))
                refused.discard(self.scenes[k].id)
            elif offset is not None:
                self._settled.append(harmonisation.record(offset, settled.evidence[k]))
                kept.append(k)
        self.dropped += [one for one in settled.dropped if one.id in refused]
        if not kept:
            raise InputError(_nothing_left(self.tile, self.dropped))
        return kept

    def records(self) -> list[dict[str, Any]]:
        """The scenes that count, for the item: what they are, their offset and evidence, their clear share."""
        records = []
        for scene, offset, clear in zip(self.scenes, self._settled, self.clear, strict=True):
            own = core(clear)
            records.append(
                {
                    "id": scene.id,
                    "collection": scene.collection,
                    "datetime": scene.datetime,
                    "platform": scene.platform,
                    "orbit": scene.orbit,
                    "baseline": scene.baseline,
                    "cloud_cover": scene.cloud_cover,
                    "clear_share": round(float(np.count_nonzero(own)) / own.size, 4),
                    "offset": offset,
                    "assets": {
                        band: asset.href.partition("?")[0] for band, asset in sorted(scene.assets.items())
                    },
                }
            )
        return records


def _nothing_left(tile: str, dropped: Sequence[Dropped]) -> str:
    reasons = "; ".join(f"{one.id}: {one.reason}" for one in dropped[:3])
    more = f" and {len(dropped) - 3} more" if len(dropped) > 3 else ""
    return f"{tile}: no scene can be used: {reasons}{more}"
