"""How wide a road is on the ground that is only known as a line: OpenStreetMap's and Overture's classes.

A road that says its width has that width; one that says its lanes has 3.3 m for each and 0.5 m of edge on either side
(1 m on motorways); the others have what is usual for their class. Lane width and lanes by class are those of
s2-singapore-punggol in the project's data, whose raster this table gives back; German and Chinese standards (RAA 2008,
JTG D20-2017) have 3.25 to 3.75 m. Paths and service roads are a judgement: what a machine of their users needs.

Unpaved roads and those under ground or not yet built are no impervious surface that a satellite sees.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LANE_M = 3.3
"""One lane with its markings."""
MAX_WIDTH_M = 60.0
"""A road that claims more is a typing error."""
MAX_LANES = 12
FOOT_M, INCHES = 0.3048, 12


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
NO_ROADS = frozenset(("rail", "water"))
"""Values of `subtype` for the other segments of Overture, some of which share class `unknown` with roads."""
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
HIDDEN_BY = ("tunnel", "is_tunnel", "is_indoor", "is_under_construction", "is_abandoned")
"""Tags that hide a road: OpenStreetMap's, and flags of Overture."""
COVERED = frozenset(("yes", "true", "1", "t", "culvert", "building_passage"))
"""Their values that do."""
UNBUILT = frozenset(("construction", "proposed", "planned", "abandoned", "razed", "demolished", "ruins"))
"""Values of `building` and `highway` that say that the thing is not, or no longer, there."""
RULES = {"road_surface": "surface", "width_rules": "width"}
"""Columns in which Overture lists what holds where along a segment, and the tags that say it of a whole road."""
MOST = 0.5
"""Share of a segment's length: what holds on more of it is taken for all of it."""

_DECIMAL = r"\d{1,4}(?:[.,]\d+)?"
_FEET = re.compile(rf"""({_DECIMAL})\s*(?:'|ft)\s*(?:({_DECIMAL})\s*(?:"|''|in))?""")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_HSTORE = re.compile(r'"((?:[^"\\]|\\.)*)"\s*=>\s*"((?:[^"\\]|\\.)*)"', re.DOTALL)


def road_width(attributes: Mapping[str, Any]) -> float | None:
    """Paved width in metres of a road that a satellite sees; None for what is none.

    Args:
        attributes: of the line, as `tags_of` understands them, with a class in one of `CLASS_FIELDS`; `width`, `lanes`,
            `surface` and what `HIDDEN_BY` names count if they are there.
    """
    tags = tags_of(attributes)
    kind, surface = _class_of(tags), tags.get("surface", "unknown")
    if (
        kind is None
        or surface in UNPAVED
        or (surface == "unknown" and not kind.paved)
        or any(tags.get(name) in COVERED for name in HIDDEN_BY)
    ):
        return None
    width = _metres(tags.get("width", ""))
    if width is not None and 0 < width <= MAX_WIDTH_M:
        return width
    lanes = _number(tags.get("lanes", ""))
    whole = round(lanes) if lanes is not None and 1 <= lanes <= MAX_LANES else None
    return kind.width(whole)


def is_unbuilt(attributes: Mapping[str, Any]) -> bool:
    """Whether a building is under construction or gone: what lies there today is not known."""
    return tags_of(attributes).get("building") in UNBUILT


def tags_of(attributes: Mapping[str, Any]) -> dict[str, str]:
    """What a feature says of itself, names and values in lower case; columns that say nothing are left out.

    Columns win over OpenStreetMap's `other_tags` (hstore or JSON, whichever OGR wrote). Overture's rules become the tags
    of `RULES`, each of its `road_flags` a tag of its own.
    """
    columns = {name.lower(): value for name, value in attributes.items()}
    found = {**_texts(_other_tags(columns.get("other_tags"))), **_texts(columns)}
    for column, tag in RULES.items():
        if values := _mostly(columns.get(column)):
            found.setdefault(tag, values[0])
    return found | dict.fromkeys(_mostly(columns.get("road_flags")), "yes")


def _class_of(tags: Mapping[str, str]) -> RoadClass | None:
    """The class of a road; Overture has links as a subclass."""
    if tags.get("subtype") in NO_ROADS:
        return None
    name = next((tags[field] for field in CLASS_FIELDS if field in tags), "")
    link = ROADS.get(f"{name}_link") if tags.get("subclass") == "link" else None
    return link or ROADS.get(name)


def _other_tags(tags: Any) -> dict[str, Any]:
    r"""OpenStreetMap's tags without a column: `"width"=>"3","note"=>"\"new\""`, a JSON object or its text."""
    if isinstance(tags, str):
        pairs = _HSTORE.findall(tags)
        hstore = {_ESCAPED.sub(r"\1", name): _ESCAPED.sub(r"\1", value) for name, value in pairs}
        tags = _json(tags) if tags.lstrip().startswith("{") else hstore
    return tags if isinstance(tags, dict) else {}


def _mostly(rules: Any) -> list[str]:
    """What holds on most of a segment by Overture's rules: a list, its JSON text, or one value for all of it."""
    if isinstance(rules, str) and rules.lstrip().startswith("["):
        rules = _json(rules)
    shares: defaultdict[str, float] = defaultdict(float)
    for rule in rules if isinstance(rules, list) else [rules]:
        scoped = rule if isinstance(rule, dict) else {"value": rule}
        values = scoped.get("values")
        for value in values if isinstance(values, list) else [scoped.get("value")]:
            shares[_text(value)] += _share(scoped.get("between"))
    return [value for value, share in shares.items() if value and share > MOST]


def _share(between: Any) -> float:
    """Share of a segment between two places on it, each from 0 to 1; all of it where none are named."""
    match between:
        case None:
            return 1.0
        case [int() | float() as start, int() | float() as end]:
            return end - start
    return 0.0


def _json(text: str) -> Any:
    """What a JSON text says; None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _texts(columns: Mapping[str, Any]) -> dict[str, str]:
    return {name.lower(): text for name, value in columns.items() if (text := _text(value))}


def _text(value: Any) -> str:
    text = "" if value is None else str(value).strip().lower()
    return "" if text in ("nan", "none", "null") else text


def _metres(text: str) -> float | None:
    """A length as OpenStreetMap writes it: `3.5`, `3,5 m`, `11'6"`, `12 ft`; None for anything else."""
    if feet := _FEET.fullmatch(text):
        whole, inches = (_number(part or "0") or 0.0 for part in feet.groups())
        return (whole + inches / INCHES) * FOOT_M
    return _number(re.sub(r"\s*m$", "", text))


def _number(text: str) -> float | None:
    """`3`, `3.5`, `3,5`; None for anything else."""
    return float(text.replace(",", ".")) if re.fullmatch(_DECIMAL, text) else None
