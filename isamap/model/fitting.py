"""Whether a model fits what it is asked to map."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from isamap.domain.level import MEANING, level_of
from isamap.domain.lonlat import polygon_parts
from isamap.domain.product import footprint
from isamap.model.checkpoint import Card

log = logging.getLogger(__name__)

NEAR_DEG = 0.5
"""Ground this near to training ground counts as known: about 50 km."""
KM_PER_DEG = 111
"""Along a meridian; an upper bound along a parallel."""

_SAID: set[tuple[object, ...]] = set()
"""Of what this process has warned."""


def warn_of_misfit(
    card: Card, place: tuple[str, Any], paths: Sequence[PurePath], composite_item: Mapping[str, Any] | None
) -> None:
    """Say what about an input the model was not trained for, though it can be mapped.

    Args:
        card: of the model.
        place: name and GeoBox of the map.
        paths: files of the input.
        composite_item: STAC item of the composite that a tile is mapped from, if it has one.
    """
    warn_if_far(card, place[1], place[0])
    warn_if_other_level(card, paths, composite_item)


def footprint_boxes(card: Card) -> list[tuple[float, float, float, float]]:
    """West, south, east and north, in degrees, of the ground a model was trained on; none where its card says nothing."""
    boxes = card.training.get("footprint") or []
    return [(float(w), float(s), float(e), float(n)) for w, s, e, n in boxes]


def far_from_training(card: Card, geobox: Any) -> float | None:
    """Kilometres from a raster to the nearest training ground, if that is far; None where it is near or not known."""
    boxes = footprint_boxes(card)
    if not boxes:
        return None
    parts = polygon_parts(footprint(geobox))
    nearest = min(_gap_deg(part.bounds, box) for part in parts for box in boxes)
    return nearest * KM_PER_DEG if nearest > NEAR_DEG else None


def _gap_deg(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """What lies between two boxes, the shorter way round: the larger of degrees of longitude and of latitude."""
    around = (max(other[0] + turn - one[2], one[0] - other[2] - turn, 0.0) for turn in (-360, 0, 360))
    return max(min(around), other[1] - one[3], one[1] - other[3], 0.0)


def warn_if_far(card: Card, geobox: Any, name: str) -> None:
    """Say that the model has seen nothing like this place: once per process, for a region's tiles are all far."""
    far_km = far_from_training(card, geobox)
    if far_km is not None and _is_first("far", card.weights_sha256):
        log.warning(
            "%s lies %.0f km from the nearest ground %s was trained on, others may, too: check maps before you trust them",
            *(name, far_km, card.name),
        )


def warn_if_other_level(
    card: Card, paths: Sequence[PurePath], composite_item: Mapping[str, Any] | None = None
) -> None:
    """Say once per process that the input is of a processing level that the model was not trained on.

    No reason to refuse: training varies air and gain over the range between the levels, but has no label there.

    Args:
        card: of the model; says nothing if it does not know its levels.
        paths: files of the input.
        composite_item: as for `level_of`.
    """
    level = level_of(paths, composite_item)
    if level is None or not card.levels or level in card.levels:
        return
    if _is_first("level", level, card.weights_sha256):
        log.warning(
            "the input is %s, %s was trained on %s: what its scores say was measured there",
            *(MEANING[level], card.name, " and ".join(MEANING[one] for one in card.levels)),
        )


def _is_first(*what: object) -> bool:
    """Whether this process has not warned of this before; it counts as warned of from now on."""
    if what in _SAID:
        return False
    _SAID.add(what)
    return True
