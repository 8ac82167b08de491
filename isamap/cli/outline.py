"""The outline of an area where ground outside of it does not count."""

from typing import TYPE_CHECKING, Any

from isamap.cli import options

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry


def outline_of(given: dict[str, Any]) -> "BaseGeometry | None":
    """The lon/lat outline of --region, --aoi or --bbox; None without them: tiles have none."""
    named = given["region"] or given["aoi"] or given["bbox"]
    return options.area_of(given).geometry if named else None
