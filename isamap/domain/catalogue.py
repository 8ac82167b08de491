"""STAC documents of a mosaic: the collection that links its tiles' items, and rows of its table of tiles."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from isamap.domain.lonlat import bbox_of
from isamap.domain.mosaic import Make, Member
from isamap.domain.product import FAR_FUTURE, FIRST_ACQUISITION


def collection(
    name: str, title: str, members: Sequence[tuple[Member, str]], items: Sequence[str]
) -> dict[str, Any]:
    """STAC collection of a mosaic.

    Args:
        name: of the collection.
        title: for people.
        members: each with the href of its raster.
        items: hrefs of the mosaic's own items.
    """
    import pystac

    starts, ends = zip(*(span(member) for member, _ in members), strict=True)
    bounds = bbox_of(member.footprint for member, _ in members)
    pixels = " and ".join(f"{gsd:g}" for gsd in sorted({member.gsd for member, _ in members}))
    extent = pystac.Extent(
        pystac.SpatialExtent([bounds]),
        pystac.TemporalExtent([[datetime.fromisoformat(min(starts)), datetime.fromisoformat(max(ends))]]),
    )
    made = pystac.Collection(
        id=name,
        title=title,
        description=f"{title}: impervious surface at {pixels} m, {len(members)} maps, and their overview.",
        extent=extent,
        license="other",
        summaries=pystac.Summaries(
            {"isamap:model": sorted({str(Make.of(m.properties)) for m, _ in members})}
        ),
    )
    hrefs = [*items, *(_item_href(href) for member, href in members if member.properties)]
    links = [
        {"rel": "root", "href": "./collection.json", "type": "application/json"},
        *({"rel": "item", "href": href, "type": "application/geo+json"} for href in hrefs),
    ]
    document: dict[str, Any] = made.to_dict(include_self_link=False, transform_hrefs=False)
    return document | {"links": links}


def _item_href(raster: str) -> str:
    href = raster.removesuffix(".tif") + ".json"
    return href if href.startswith(".") else f"./{href}"


def span(member: Member) -> tuple[str, str]:
    """Time that a member speaks of."""
    properties = member.properties
    return (
        str(properties.get("start_datetime") or FIRST_ACQUISITION),
        str(properties.get("end_datetime") or FAR_FUTURE),
    )


def table(members: Sequence[tuple[Member, str]]) -> dict[str, list[Any]]:
    """Columns of the table of tiles."""
    makes = [Make.of(member.properties) for member, _ in members]
    own = [member.properties for member, _ in members]
    return {
        "id": [member.name for member, _ in members],
        "year": [int(str(p["start_datetime"])[:4]) if p.get("start_datetime") else None for p in own],
        "model": [make.model or None for make in makes],
        "threshold": [make.threshold for make in makes],
        "weights": [make.weights or None for make in makes],
        "code": [make.code or None for make in makes],
        "sha256": [member.sha256 for member, _ in members],
        "isa_share": [p.get("isamap:isa_share") for p in own],
        "valid_share": [p.get("isamap:valid_share") for p in own],
        "crs": [member.crs for member, _ in members],
        "href": [href for _, href in members],
    }
