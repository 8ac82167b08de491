"""How wide a road is on the ground that is only known as a line: OpenStreetMap's and Overture's classes.

A road that says its width has that width; one that says its lanes has 3.3 m for each and 0.5 m of edge on either side
(1 m on motorways); the others have what is usual for their class. Lane width and lanes by class are those of
s2-singapore-punggol in the project's data, whose raster this table gives back; German and Chinese standards (RAA 2008,
JTG D20-2017) have 3.25 to 3.75 m. Paths and service roads are a judgement: what a machine of their users needs.

Unpaved roads and those under ground or not yet built are no impervious surface that a satellite sees.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LANE_M = 3.3
"""One lane with its markings."""
MAX_WIDTH_M = 60.0
"""A road that claims more is a typing error."""
MAX_LANES = 12


@dataclass(frozen=True)
class RoadClass:
    """What is usual for a class of road."""

    lanes: int
    """In both directions together, or of the one direction of a dual carriageway, which is two lines."""
    edge_m: float = 1.0
    """What is paved beside the lanes, both sides together."""
    width_m: float | None = None
    """In place of lanes, for ways without."""
    paved: bool = True
    """Whether it is paved unless it says so itself."""

    def width(self, lanes: int | None = None) -> float:
        """Paved width in metres."""
        if self.width_m is not None and lanes is None:
            return self.width_m
        return (lanes or self.lanes) * LANE_M + self.edge_m


ROADS: Mapping[str, RoadClass] = {
    "motorway": RoadClass(3, edge_m=2.0),
    "motorway_link": RoadClass(1, edge_m=2.0),
    "trunk": RoadClass(3),
    "trunk_link": RoadClass(1),
    "primary": RoadClass(3),
    "primary_link": RoadClass(1),
    "secondary": RoadClass(2),
    "secondary_link": RoadClass(1),
    "tertiary": RoadClass(2),
    "tertiary_link": RoadClass(1),
    "residential": RoadClass(2),
    "unclassified": RoadClass(2),
    "road": RoadClass(2),
    "unknown": RoadClass(2),
    "living_street": RoadClass(1, width_m=5.0),
    "service": RoadClass(1, width_m=4.0),
    "busway": RoadClass(1, width_m=4.0),
    "pedestrian": RoadClass(1, width_m=5.0),
    "cycleway": RoadClass(1, width_m=2.5),
    "footway": RoadClass(1, width_m=1.5),
    "steps": RoadClass(1, width_m=1.5),
    "path": RoadClass(1, width_m=1.5, paved=False),
    "bridleway": RoadClass(1, width_m=2.0, paved=False),
    "track": RoadClass(1, width_m=3.0, paved=False),
}
"""By the value of `highway` (OpenStreetMap) or `class` (Overture); other values are no road that is there."""

CLASS_FIELDS = ("highway", "class", "fclass")
"""Columns that hold the class: OpenStreetMap's, Overture's, Geofabrik's."""
SURFACE_FIELDS = ("surface", "road_surface")
UNPAVED = frozenset(
    (
        "unpaved",
        "gravel",
        "fine_gravel",
        "dirt",
        "earth",
        "ground",
        "grass",
        "mud",
        "sand",
        "compacted",
        "pebblestone",
    )
)
COVERED = frozenset(("yes", "true", "1", "t", "culvert", "building_passage"))
"""Values of `tunnel` that hide a road."""
UNBUILT = frozenset(("construction", "proposed", "planned", "abandoned", "razed", "demolished", "ruins"))
"""Values of `building` and `highway` that say that the thing is not, or no longer, there."""


def road_width(attributes: Mapping[str, Any]) -> float | None:
    """Paved width in metres of a road that a satellite sees; None for what is none.

    Args:
        attributes: of the line, with a class in one of `CLASS_FIELDS`; `width`, `lanes`, `surface` and `tunnel` count if
            they are there.
    """
    kind = ROADS.get(_first(attributes, CLASS_FIELDS))
    surface = _first(attributes, SURFACE_FIELDS)
    if (
        kind is None
        or surface in UNPAVED
        or not (kind.paved or surface)
        or _text(attributes.get("tunnel")) in COVERED
    ):
        return None
    width = _number(attributes.get("width"))
    if width is not None and 0 < width <= MAX_WIDTH_M:
        return width
    lanes = _number(attributes.get("lanes"))
    whole = round(lanes) if lanes is not None and 1 <= lanes <= MAX_LANES else None
    return kind.width(whole)


def is_unbuilt(attributes: Mapping[str, Any]) -> bool:
    """Whether a building is under construction or gone: what lies there today is not known."""
    return _text(attributes.get("building")) in UNBUILT


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """The first of several columns that says anything."""
    return next((text for name in names if (text := _text(attributes.get(name)))), "")


def _text(value: Any) -> str:
    text = "" if value is None else str(value).strip().lower()
    return "" if text in ("nan", "none", "null") else text


def _number(value: Any) -> float | None:
    """`3`, `3.5`, `3,5 m`; None for anything else."""
    match = re.fullmatch(r"(\d{1,4}(?:[.,]\d{1,3})?)\s*m?", _text(value))
    return float(match[1].replace(",", ".")) if match else None
