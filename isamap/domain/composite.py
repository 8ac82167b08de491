"""What a composite is: its bands, its file, its numbers, and the STAC item beside it."""

from calendar import monthrange
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap import __version__, digests
from isamap.domain.cloudmask import MaskRules
from isamap.domain.grid import MARGIN_PX
from isamap.domain.product import BLOCK_PX, raster_item
from isamap.domain.scenes import Dropped, SceneItem
from isamap.domain.sources import BANDS, LICENCE_URL

LOOKS = "clear_looks"
"""Last band: number of clear looks of each pixel."""
BAND_NAMES = (*BANDS, LOOKS)
NODATA = 0
ASSET = "composite"
"""Asset key in the item."""
ALL_MONTHS = tuple(range(1, 13))
Json = dict[str, Any]


def cog_profile() -> dict[str, Any]:
    """Creation options of GDAL's COG driver."""
    return {
        "COMPRESS": "ZSTD",
        "LEVEL": 9,
        "PREDICTOR": "STANDARD",
        "BLOCKSIZE": BLOCK_PX,
        "OVERVIEW_RESAMPLING": "AVERAGE",
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": 1,
    }


def provenance(
    scenes: Sequence[SceneItem], method: str, year: int, months: Sequence[int], rules: MaskRules
) -> Json:
    """Everything the bytes of a composite and the time it speaks of depend on.

    How scenes were chosen (sources, cloud limit, number) is in it only as their list: settings that leave the list of
    a tile as it is leave its composite as it is.
    """
    listed = [scene.identity for scene in scenes]
    settings = settings_digest(method, year, months, rules)
    return {"code": f"isamap {__version__}", "settings": settings, "scenes": digests.of_json(listed)}


def settings_digest(method: str, year: int, months: Sequence[int], rules: MaskRules) -> str:
    """Digest of everything in the provenance of a composite but its scenes and the code."""
    settings = {
        "method": method,
        "year": year,
        "months": sorted(months),
        "mask": asdict(rules),
        "bands": BAND_NAMES,
        "margin_px": MARGIN_PX,
    }
    return digests.of_json(settings)


def period(year: int, months: Sequence[int] = ALL_MONTHS) -> tuple[str, str]:
    """Shortest span of a year that holds the months, RFC 3339; which of them are meant, `isamap:months` says."""
    last = monthrange(year, max(months))[1]
    return f"{year}-{min(months):02d}-01T00:00:00Z", f"{year}-{max(months):02d}-{last:02d}T23:59:59Z"


def core(pixels: NDArray[Any]) -> NDArray[Any]:
    """The tile without its margin; the last two axes are rows and columns."""
    inner = slice(MARGIN_PX, -MARGIN_PX)
    return pixels[..., inner, inner]


def look_statistics(looks: NDArray[np.uint16]) -> Json:
    """Clear looks of a tile, its margin left out.

    Args:
        looks: uint16, (y, x), with the margin.
    """
    own = core(looks)
    gaps = int(np.count_nonzero(own == 0))
    return {
        "min": int(own.min()),
        "median": float(np.median(own)),
        "max": int(own.max()),
        "gap_pixels": gaps,
        "gap_share": round(gaps / own.size, 6),
    }


def monthly(scenes: Sequence[SceneItem], clear: NDArray[np.bool_], months: Sequence[int]) -> Json:
    """Scenes of each month that was asked for, and the share of the tile they show clear at least once.

    Args:
        scenes: that made the composite.
        clear: (n, y, x), True where a look counts.
        months: that were asked for.
    """
    table = {}
    for month in sorted(months):
        of_month = [i for i, scene in enumerate(scenes) if scene.datetime[5:7] == f"{month:02d}"]
        seen = np.zeros(core(clear[:1])[0].shape, np.bool_) if len(clear) else np.zeros((1, 1), np.bool_)
        for index in of_month:
            seen |= core(clear[index])
        table[f"{month:02d}"] = {
            "scenes": len(of_month),
            "seen_share": round(float(np.count_nonzero(seen)) / seen.size, 4),
        }
    return table


def drop_records(dropped: Sequence[Dropped]) -> list[Json]:
    """Scenes left out, for the item: which, why, and what limits they did not keep."""
    records = []
    for one in sorted(dropped):
        limits = {"cloud_cover": one.cloud_cover, "max_scenes": one.max_scenes}
        known = {key: value for key, value in limits.items() if value is not None}
        records.append({"id": one.id, "reason": one.reason, **known})
    return records


def item(stem: str, geobox: GeoBox, span: tuple[str, str], properties: Mapping[str, Any]) -> Json:
    """STAC item of a composite, without checksums.

    Args:
        stem: tile id.
        geobox: of the raster, margin included.
        span: start and end of the time it speaks of, RFC 3339.
        properties: more item properties, provenance among them.
    """
    import pystac

    made = raster_item(stem, geobox, span, {**properties, "gsd": abs(geobox.resolution.x)})
    bands = [
        {"name": name, "data_type": "uint16", "nodata": NODATA}
        | ({} if name == LOOKS else {"raster:scale": 0.0001})
        for name in BAND_NAMES
    ]
    made.add_asset(
        ASSET,
        pystac.Asset(
            f"./{stem}.tif",
            "Cloud-free surface reflectance x 10000 and number of clear looks, 10 m; 0 nodata",
            media_type=pystac.MediaType.COG,
            roles=["data", "reflectance"],
            extra_fields={"bands": bands},
        ),
    )
    made.add_link(pystac.Link("license", LICENCE_URL, title="Terms of the Sentinel data"))
    document: Json = made.to_dict(include_self_link=False, transform_hrefs=False)
    return document


def made_of(composite_item: Mapping[str, Any] | None) -> Json:
    """What the item of a map repeats of its composite's: how it was made, from whose scenes.

    Nothing for a composite without an item of ours.
    """
    properties = (composite_item or {}).get("properties")
    if not isinstance(properties, Mapping):
        return {}
    made = properties.get("isamap:provenance")
    if not isinstance(made, Mapping) or "scenes" not in made:
        return {}
    known = {key: properties[key] for key in ("isamap:source", "isamap:attribution") if key in properties}
    return {"isamap:composite": dict(made), **known}
