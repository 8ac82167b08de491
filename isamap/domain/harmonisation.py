"""The +1000 of processing baseline 04.00: whether the pixels of a scene still carry it.

Catalogues are known to say it wrongly (Element84/earth-search#66, #71), so what an item declares is compared with
its pixels and with the other dates of the same ground. A scene nothing tells of, or whose evidence contradicts
itself, is dropped with its reason: no composite is made of doubtful DN. So is a scene whose bands disagree, some with
and some without the offset (`Evidence.disagreement`): whatever else tells, no one value is right for it.

Three witnesses, strongest first:

- Pixels. With the offset left in, DN below 800 mean reflectances below -0.02, which do not occur: one percent of them
  proves that it was removed, and so do dark vegetation and water, where SCL names them. Bright vegetation or water proves
  that it was left in, if there is no DN below 900. Deserts, and windows without shadow, prove nothing.
- Rules. A baseline before 04.00 never had the offset, whoever serves it; Planetary Computer, CDSE and Collection 1 of
  Earth Search leave it in. A rule stands unless pixels contradict it. Flags of an item alone are no rule.
- Neighbours. Decided scenes of the same ground on other dates: 1000 more in the median of all bands is no season.

The steps for a tile: `settle` decides every scene of the stack, `harmonise` applies an offset in place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isamap.domain.compositing import middle
from isamap.domain.offset_evidence import NO_LOW, OFFSET, VALUES, Evidence, evidence
from isamap.domain.scene import Dropped, SceneItem
from isamap.domain.scene_items import is_synthetic
from isamap.domain.sources import Source
from isamap.errors import InputError

__all__ = [
    "OFFSET",
    "Evidence",
    "Offset",
    "Settled",
    "cross_check",
    "decide",
    "evidence",
    "harmonise",
    "record",
    "rule",
    "settle",
]

MAX_DN = 65534
"""Highest harmonised DN; 65535 stays free."""

CROSS_PX = 1 << 12
"""Pixels compared between dates."""
MIN_COMMON = 200
"""Fewer in common say nothing."""
NEAR, APART = 450, 600
"""DN: the median difference between dates with the right offset, and how much larger it must be with the wrong one."""


@dataclass(frozen=True)
class Offset:
    """A decision."""

    value: int
    """Added to DN: 0 or -1000."""
    basis: str
    """One line for the record."""
    proof: Literal["pixels", "neighbours", "rule"]
    """What it rests on: the scene's own pixels, other dates of the same ground, or baseline and provider alone."""


@dataclass(frozen=True)
class Settled:
    """Decisions on all scenes of a tile."""

    offsets: tuple[Offset | None, ...]
    """One per scene, in order; None: dropped."""
    evidence: tuple[Evidence, ...]
    """One per scene, in order."""
    dropped: tuple[Dropped, ...]
    """Scenes nothing tells of, or whose evidence contradicts itself."""


def rule(scene: SceneItem, source: Source) -> tuple[int | None, str]:
    """The offset that baseline and provider make certain, and why; None if they do not."""
    if scene.baseline and not is_synthetic(scene.baseline):
        if scene.baseline < "04.00":
            return 0, f"baseline {scene.baseline} never had the offset"
        if source.offset == "removed":
            return 0, f"baseline {scene.baseline}, {source.name} removes the offset"
        if source.offset == "left-in":
            if scene.declared_offset == 0:
                return None, f"baseline {scene.baseline} of {source.name}, but {scene.declaration}"
            return OFFSET, f"baseline {scene.baseline}, {source.name} leaves the offset in"
        return None, f"baseline {scene.baseline}, {scene.declaration or 'nothing declared'}"
    said = f"baseline {scene.baseline} says nothing" if scene.baseline else "no baseline"
    return None, f"{said}, {scene.declaration or 'nothing declared'}"


def decide(scene: SceneItem, source: Source, seen: Evidence) -> Offset:
    """The offset of one scene by itself.

    Raises:
        InputError: neither a rule nor the pixels tell, they contradict each other, or the bands do.
    """
    certain, why = rule(scene, source)
    if seen.verdict == "mixed":
        raise InputError(f"its bands disagree on the offset of 1000: {seen.disagreement} ({seen}); {why}")
    if seen.verdict == "unknown":
        if certain is None:
            raise InputError(f"nothing tells whether the offset of 1000 was removed: {why}; {seen}")
        return Offset(certain, f"{why}; pixels do not contradict ({seen})", "rule")
    value = VALUES[seen.verdict]
    if certain is not None and certain != value:
        raise InputError(f"{why}, but pixels prove that it was {seen.verdict.replace('-', ' ')} ({seen})")
    doubt = (
        "" if scene.declared_offset in (None, value) else f", although the item says {scene.declared_offset}"
    )
    return Offset(value, f"pixels prove it {seen.verdict.replace('-', ' ')}{doubt} ({seen}); {why}", "pixels")


def cross_check(
    stack: NDArray[np.uint16], usable: NDArray[np.bool_], known: Sequence[int | None]
) -> list[int | None]:
    """Offset of each scene as the known others say, from the same ground on different dates.

    Each scene is compared with the median of the other known ones, harmonised. Its offset is told if with one of the
    two values the median over bands of the difference is below NEAR and APART smaller than with the other.

    Args:
        stack: DN as stored, uint16, (n, 6, y, x).
        usable: (n, y, x) as for `evidence`.
        known: offset of each scene that is decided, else None.

    Returns:
        0 or -1000 where the others tell, None where they do not.
    """
    if all(offset is None for offset in known):
        return [None] * len(known)
    step = max(1, isqrt(usable[0].size // CROSS_PX))
    there = usable[:, ::step, ::step].reshape(len(known), -1)
    values = stack[:, :, ::step, ::step].reshape(*stack.shape[:2], -1).astype(np.int32)
    harmonised = np.stack([dn + (offset or 0) for dn, offset in zip(values, known, strict=True)])
    harmonised = np.clip(harmonised, 1, MAX_DN).astype(np.uint16)
    told: list[int | None] = []
    for k, dn in enumerate(values):
        others = [j for j, offset in enumerate(known) if offset is not None and j != k]
        common = there[k] & there[others].any(axis=0)
        told.append(None)
        if np.count_nonzero(common) < MIN_COMMON:
            continue
        looks = harmonised[others][:, :, common]
        clear = np.broadcast_to(there[others][:, None, common], looks.shape)
        reference = middle(looks.reshape(len(others), -1), clear.reshape(len(others), -1)).reshape(
            len(dn), -1
        )
        shift = np.median(dn[:, common] - reference.astype(np.int32), axis=1)
        misfit = {offset: float(np.median(np.abs(shift + offset))) for offset in VALUES.values()}
        best = min(misfit, key=misfit.__getitem__)
        if misfit[best] <= NEAR and misfit[OFFSET - best] - misfit[best] >= APART:
            told[k] = best
    return told


def settle(
    scenes: Sequence[SceneItem],
    sources: Mapping[str, Source],
    stack: NDArray[np.uint16],
    usable: NDArray[np.bool_],
    scl: NDArray[np.uint8],
) -> Settled:
    """Decide the offset of every scene of a tile.

    First each by itself; then the undecided by the decided ones; then every decision that does not rest on low pixels
    is compared with the others, and dropped if they contradict it.

    Args:
        scenes: of one tile, in order of the stack.
        sources: by name.
        stack: DN as stored, uint16, (n, 6, y, x).
        usable: (n, y, x): valid in every band and no cloud by SCL (`cloudmask.usable`).
        scl: uint8, (n, y, x).
    """
    seen = [evidence(*scene) for scene in zip(stack, usable, scl, strict=True)]
    offsets: list[Offset | None] = []
    reasons: dict[int, str] = {}
    for k, scene in enumerate(scenes):
        try:
            offsets.append(decide(scene, sources[scene.source], seen[k]))
        except InputError as error:
            offsets.append(None)
            reasons[k] = str(error)
    open_scenes = [k for k in reasons if seen[k].verdict == "unknown"]
    for k, told in enumerate(_told(stack, usable, offsets)):
        if fault := _contradiction(offsets[k], told, seen[k]):
            offsets[k], reasons[k] = None, fault
    decided = _told(stack, usable, offsets) if open_scenes else []
    for k in open_scenes:
        offsets[k], reasons[k] = _from_neighbours(decided[k], seen[k], reasons[k])
    dropped = [Dropped(scenes[k].id, reason) for k, reason in sorted(reasons.items()) if offsets[k] is None]
    return Settled(tuple(offsets), tuple(seen), tuple(dropped))


def _told(
    stack: NDArray[np.uint16], usable: NDArray[np.bool_], offsets: Sequence[Offset | None]
) -> list[int | None]:
    return cross_check(stack, usable, [None if offset is None else offset.value for offset in offsets])


def _contradiction(offset: Offset | None, told: int | None, seen: Evidence) -> str:
    """Why a decision cannot stand beside the other dates; empty if it can.

    A veil of cloud is bright as an offset is, so that low pixels excuse a scene which others find 1000 too bright.
    """
    if offset is None or told in (None, offset.value) or (offset.value == 0 and seen.low_share > NO_LOW):
        return ""
    return f"{offset.basis}, but the same ground on other dates says {told}"


def _from_neighbours(told: int | None, seen: Evidence, reason: str) -> tuple[Offset | None, str]:
    """The decision of the other dates on an undecided scene, and why there is none."""
    if told is None:
        return None, f"{reason}; other dates do not tell"
    if told and seen.low_share > NO_LOW:
        return None, f"{reason}; other dates say {told}, but low pixels speak against it"
    return Offset(told, f"the same ground on other dates says {told} ({seen})", "neighbours"), reason


def harmonise(dn: NDArray[np.uint16], valid: NDArray[np.bool_], offset: int) -> None:
    """Add the offset to one scene in place: 1 to 65534 where valid, 0 elsewhere.

    Args:
        dn: uint16, (6, y, x).
        valid: every band is nonzero, (y, x).
        offset: 0 or -1000.
    """
    for band in dn:
        np.maximum(band, 1 - offset, out=band)
        np.subtract(band, np.uint16(-offset), out=band)
        np.minimum(band, MAX_DN, out=band)
        band[~valid] = 0


def record(offset: Offset, seen: Evidence) -> dict[str, Any]:
    """Decision and evidence as a JSON document for the composite's item."""
    return {
        "offset": offset.value,
        "basis": offset.basis,
        "proof": offset.proof,
        "low_share": round(seen.low_share, 6),
        "vegetation_red": seen.vegetation_red,
        "water_swir": seen.water_swir,
        "darkest": dict(seen.darkest),
    }
