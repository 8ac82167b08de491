"""Processing levels of Sentinel-2: what is known of the imagery that a model saw, and of what it is asked to map."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal

from isamap.domain.composite import made_of

Level = Literal["L1C", "L2A"]
MEANING: Mapping[Level, str] = {
    "L1C": "top-of-atmosphere reflectance (L1C)",
    "L2A": "surface reflectance (L2A)",
}
COMPOSITES: Level = "L2A"
"""Of what isamap fetch makes: its sources have no other."""
_NAMED = re.compile(r"(?<![A-Za-z0-9])(?:MSI)?(L1C|L2A)(?![A-Za-z0-9])")
"""As in ESA's names of products (S2A_MSIL1C_...), granules (L2A_T32...) and what people call their files."""


def level_of(paths: Sequence[PurePath], composite_item: Mapping[str, Any] | None = None) -> Level | None:
    """Level of an input, None where nothing tells.

    Args:
        paths: its files, ESA's folders among their parents.
        composite_item: STAC item of the composite that a tile is mapped from, if it has one.
    """
    if made_of(composite_item):
        return COMPOSITES
    said = {level for path in paths for level in _NAMED.findall(str(path))}
    if len(said) != 1:
        return None
    return "L1C" if said == {"L1C"} else "L2A"
