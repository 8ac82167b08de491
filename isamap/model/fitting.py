"""Whether a model fits what it is asked to map."""

import logging
from typing import Any

from isamap.model.checkpoint import Card

log = logging.getLogger(__name__)

NEAR_DEG = 0.5
"""Ground this near to training ground counts as known: about 50 km."""


def footprint_boxes(card: Card) -> list[tuple[float, float, float, float]]:
    """West, south, east and north, in degrees, of the ground a model was trained on; none where its card says nothing."""
    boxes = card.training.get("footprint") or []
    return [(float(w), float(s), float(e), float(n)) for w, s, e, n in boxes]


def far_from_training(card: Card, geobox: Any) -> float | None:
    """Degrees from a raster to the nearest training ground, if that is far; None where it is near or not known."""
    boxes = footprint_boxes(card)
    if not boxes:
        return None
    west, south, east, north = geobox.footprint("EPSG:4326").boundingbox

    def gap(box: tuple[float, float, float, float]) -> float:
        across = max(box[0] - east, west - box[2], 0.0)
        along = max(box[1] - north, south - box[3], 0.0)
        return float(max(across, along))

    nearest = min(gap(box) for box in boxes)
    return nearest if nearest > NEAR_DEG else None


def warn_if_far(card: Card, geobox: Any, name: str) -> None:
    """Say once per map that the model has seen nothing like this place."""
    far = far_from_training(card, geobox)
    if far is not None:
        log.warning(
            "%s lies %.0f degrees from the ground %s was trained on: check the map before you trust it",
            *(name, far, card.name),
        )
