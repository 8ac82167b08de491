"""Whether a finished composite is the one that is wanted, as far as its item tells."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from isamap.domain.cloudmask import MaskRules
from isamap.domain.composite import made_of, settings_digest

_Records = Sequence[Mapping[str, Any]]
"""Scenes as items list them."""


@dataclass(frozen=True)
class Wanted:
    """What composites are wanted to be made with; None where anything will do."""

    method: str | None = None
    """How clear looks become one value."""
    months: tuple[int, ...] | None = None
    """Whose scenes count."""
    sources: tuple[str, ...] | None = None
    """Names, as items have them."""
    max_cloud: float | None = None
    """Percent."""
    max_scenes: int | None = None
    """Of a tile."""
    rules: MaskRules | None = None
    """How SCL becomes a mask."""


def differing(item: Mapping[str, Any] | None, wanted: Wanted, year: int) -> list[str]:
    """Options of the command line that a composite was made with otherwise; none if its item is not ours.

    A limit differs only where it would have chosen other scenes.

    Args:
        item: of the composite.
        wanted: what it is compared with.
        year: of the composite.
    """
    made = made_of(item).get("isamap:composite")
    if item is None or made is None:
        return []
    properties = item["properties"]
    method, source = properties.get("isamap:method"), properties.get("isamap:source")
    months = sorted(int(month) for month in properties.get("isamap:months", ()))
    used, dropped = properties.get("isamap:scenes", ()), properties.get("isamap:dropped", ())
    rules = wanted.rules
    told = {
        "--method": wanted.method not in (None, method),
        "--months": wanted.months is not None and sorted(wanted.months) != months,
        "--source": wanted.sources is not None and source not in wanted.sources,
        "--max-cloud": wanted.max_cloud is not None and _cloud_differs(wanted.max_cloud, used, dropped),
        "--max-scenes": wanted.max_scenes is not None and _number_differs(wanted.max_scenes, used, dropped),
        "--mask-snow": rules is not None
        and made.get("settings") != settings_digest(str(method), year, months, rules),
    }
    return [option for option, otherwise in told.items() if otherwise]


def _cloud_differs(limit: float, used: _Records, dropped: _Records) -> bool:
    """Whether a limit would have dropped a scene that was used, or kept one that was dropped for its clouds."""
    return any(cover > limit for cover in _told(used, "cloud_cover")) or any(
        cover <= limit for cover in _told(dropped, "cloud_cover")
    )


def _number_differs(limit: int, used: _Records, dropped: _Records) -> bool:
    """Whether more scenes were used, or a scene was dropped for another limit."""
    return len(used) > limit or any(limit != other for other in _told(dropped, "max_scenes"))


def _told(records: _Records, key: str) -> Iterator[float]:
    """What records say, of those that say it."""
    return (record[key] for record in records if record.get(key) is not None)
