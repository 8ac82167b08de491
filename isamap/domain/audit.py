"""What finished maps must satisfy, and how a fault in one is told."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.classes import SCHEMES, Scheme
from isamap.domain.footprint import footprint_of
from isamap.domain.lonlat import bbox_of
from isamap.domain.product import NODATA, PROBABILITY, Layer, footprint
from isamap.errors import InputError

Check = Literal[
    "coverage",
    "item",
    "file",
    "layout",
    "grid",
    "format",
    "pixels",
    "overviews",
    "threshold",
    "share",
    "nodata",
    "stale",
    "one-class",
    "leftover",
    "mixed",
    "seam",
    "running",
]
AGAIN = "run isamap infer again"
"""It sees for itself that the map must be redone: an input has changed, a file is not that of the item, or there is none."""
AFRESH = "remove its .json and run isamap infer again"
"""Of anything else infer knows nothing: it would take the map for done."""
REMOVED = "remove its files if isamap made them, then run isamap infer again"
"""Of a raster that does not tell whose it is infer would write nothing in its place."""
UNCLEAR = "map it again, or remove it"
"""Nobody but the user knows whether it is a map of theirs."""
CLEAR = "remove that folder and run isamap infer again"
"""It refuses to write where a folder is."""

PIXEL_ERROR_M = 1e-6
PLACE_ERROR_DEG = 1e-6
SHARE_ERROR = 2e-6
"""The item rounds to six digits."""
MAX_DEEP_SHARE = 0.15
"""Deeper overviews may be made from the base or from one another: up to 8 % of their pixels then differ."""


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that is off."""

    tile: str
    """Tile id or stem; two ids for a seam; `-` where it is about the whole area."""
    check: Check
    """What was looked at."""
    what: str
    """What was found."""
    todo: str
    """What to do about it."""
    level: Literal["problem", "warning"] = "problem"
    """A warning may well be right: sea and desert have one class."""

    @property
    def line(self) -> str:
        """The finding as one line of four columns, two spaces between them."""
        what = f"warning: {self.what}" if self.level == "warning" else self.what
        return "  ".join(" ".join(text.split()) for text in (self.tile, self.check, what, self.todo))

    def document(self) -> dict[str, str]:
        """The finding for JSON."""
        return asdict(self)


def scheme_of(item: Mapping[str, Any]) -> Scheme:
    """The class scheme of a map without `item_faults`: its class raster is the asset that is called so."""
    return next(scheme for key, scheme in SCHEMES.items() if key in item["assets"])


def item_faults(item: Mapping[str, Any], stem: str, year: int | None) -> Iterator[str]:
    """What a map's STAC item lacks, or says wrongly.

    Args:
        item: JSON object.
        stem: of the map's files.
        year: that the map must be of, if that is known.
    """
    if item.get("type") != "Feature" or not str(item.get("stac_version", "")).startswith("1."):
        yield "is no STAC 1.x item"
    if item.get("id") != stem:
        yield f"has the id {item.get('id')!r}"
    properties, assets = (
        value if isinstance(value, dict) else {} for value in (item.get("properties"), item.get("assets"))
    )
    if len(SCHEMES.keys() & assets) != 1:
        yield f"names not one class raster, an asset {' or '.join(SCHEMES)}"
    for key, asset in assets.items():
        href = asset.get("href") if isinstance(asset, dict) else None
        if not isinstance(href, str) or not href.startswith(f"./{stem}.") or "/" in href[2:]:
            yield f"has an asset {key} that is not a file ./{stem}.*"
    provenance, model = (properties.get(f"isamap:{name}") for name in ("provenance", "model"))
    if fault := _provenance_fault(provenance, listed=PROBABILITY.key in assets):
        yield fault
    if not isinstance(model, dict) or not 0 <= number_of(model.get("threshold")) <= 1:
        yield "says not with which model and threshold (isamap:model)"
    if properties.get("datetime") is not None:
        yield "has a datetime beside the span that it speaks of"
    if year is not None and not str(properties.get("start_datetime")).startswith(f"{year}-"):
        yield f"is of {str(properties.get('start_datetime'))[:4]}, not of {year}"


def _provenance_fault(provenance: object, *, listed: bool) -> str | None:
    """What is wrong with what an item says of the making of its map, or None; `listed`: it lists a probability raster."""
    if not isinstance(provenance, dict) or {"code", "model", "inputs", "settings"} - set(provenance):
        return "says not what the map was made from (isamap:provenance)"
    layers = provenance.get("layers")
    if not isinstance(layers, list) or (PROBABILITY.key in layers) == listed:
        return None
    said = ", ".join(map(str, layers))
    return f"lists {'a' if listed else 'no'} probability raster, but the map was made with the layers {said}"


def place_fault(item: Mapping[str, Any], geobox: GeoBox) -> str | None:
    """Where an item and its raster disagree on the place, or None."""
    properties = item.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    epsg = geobox.crs.epsg if geobox.crs is not None else None
    said = properties.get("proj:code"), properties.get("proj:shape")
    if said != (f"EPSG:{epsg}" if epsg else None, list(geobox.shape)):
        return f"says {said[0]} {said[1]}, the raster is EPSG:{epsg} {list(geobox.shape)}"
    transform = _numbers(properties.get("proj:transform"))[:6]
    if not _alike(transform, list(geobox.transform)[:6], PIXEL_ERROR_M):
        return "has another proj:transform than the raster"
    bounds = bbox_of([footprint(geobox)])
    if not all(
        _alike(said, bounds, PLACE_ERROR_DEG) for said in (_numbers(item.get("bbox")), _bounds_of(item))
    ):
        return "has a bbox or geometry that is not the raster's footprint"
    return None


def number_of(value: object) -> float:
    """A number that an item gives; NaN where it is none."""
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.nan


def _numbers(value: object) -> list[float]:
    """The numbers of a list that an item gives; none where it is no list."""
    return [number_of(one) for one in value] if isinstance(value, list) else []


def _alike(said: Sequence[float], found: Sequence[float], error: float) -> bool:
    return len(said) == len(found) and np.allclose(said, found, 0, error)


def _bounds_of(item: Mapping[str, Any]) -> list[float]:
    """West, south, east and north of an item's geometry; nothing where it has none that can be read."""
    try:
        outline = footprint_of({"geometry": item.get("geometry")})
    except InputError:
        return []
    return [] if outline is None else bbox_of([outline])


def grid_fault(geobox: GeoBox, expected: GeoBox | None) -> str | None:
    """Why a raster does not lie on its grid, or None.

    Args:
        geobox: of the raster.
        expected: grid of the tile; None for a raster of the user's own, which must be north-up with square pixels.
    """
    a, b, left, d, e, top = geobox.transform[:6]
    if expected is None:
        square = b == 0 and d == 0 and a > 0 and abs(a + e) <= PIXEL_ERROR_M
        return None if square else f"is not north-up with square pixels: {a:.9g} x {e:.9g}"
    if geobox.crs != expected.crs:
        return f"lies in {geobox.crs}, its tile in {expected.crs}"
    if geobox.shape != expected.shape or not np.allclose(
        [a, b, d, e], [*expected.transform[:2], *expected.transform[3:5]], 0, PIXEL_ERROR_M
    ):
        return f"has {geobox.shape[1]} x {geobox.shape[0]} pixels of {a:.9g} m, its tile {expected.shape[1]} x {expected.shape[0]} of {expected.transform.a:g}"
    east, north = left - expected.transform.c, top - expected.transform.f
    if max(abs(east), abs(north)) > PIXEL_ERROR_M:
        return f"is shifted by {east:g} m east and {north:g} m north against its tile"
    return None


def wrong_codes(values: NDArray[np.uint8], layer: Layer) -> list[int]:
    """Values that a raster of that layer may not hold."""
    if layer.key in SCHEMES:
        codes = [one.code for one in SCHEMES[layer.key].classes] + [NODATA]
        whole = sum(np.count_nonzero(values == code) for code in codes) == values.size
        return [] if whole else np.setdiff1d(values, codes).tolist()
    bad = (values > 100) & (values != NODATA) if np.any(values > 100) else None
    return [] if bad is None else np.unique(values[bad]).tolist()


def wrong_overview(fine: NDArray[np.uint8], coarse: NDArray[np.uint8], layer: Layer) -> int:
    """Pixels of an overview that do not follow from the four under them: their mode (any, in a tie) or mean."""
    four = [fine[row::2, col::2] for row in (0, 1) for col in (0, 1)]
    if layer.key in SCHEMES:
        return _wrong_modes(four, coarse)
    count = sum((part != NODATA).astype(np.uint8) for part in four)
    total = sum(np.where(part == NODATA, 0, part).astype(np.uint16) for part in four)
    near = np.abs(coarse.astype(np.float32) - total / np.maximum(count, 1)) <= 1
    fits = np.where(count == 0, coarse == NODATA, near)
    return int(fits.size - np.count_nonzero(fits))


def _wrong_modes(four: Sequence[NDArray[np.uint8]], coarse: NDArray[np.uint8]) -> int:
    """Pixels that are not the commonest class, or one of several, of those under them; nodata where there is none."""
    mixed = coarse != four[0]
    for part in four[1:]:
        mixed |= coarse != part
    four, coarse = [part[mixed] for part in four], coarse[mixed]  # where all agree there is nothing to count
    most = np.zeros(coarse.shape, np.uint8)
    for one in four:
        count = sum((one == other).astype(np.uint8) for other in four)
        np.maximum(most, np.where(one == NODATA, 0, count), out=most)
    own = sum((part == coarse).astype(np.uint8) for part in four)
    fits = np.where(coarse == NODATA, most == 0, (own == most) & (own > 0))
    return int(fits.size - np.count_nonzero(fits))


def wrong_classes(classes: NDArray[np.uint8], percent: NDArray[np.uint8], threshold: float) -> int:
    """Pixels whose class does not follow from their probability."""
    half_known = (classes == NODATA) != (percent == NODATA)
    return int(np.count_nonzero(half_known | unlike(classes, percent, threshold)))


def unlike(classes: NDArray[np.uint8], percent: NDArray[np.uint8], threshold: float) -> NDArray[np.bool_]:
    """Where class and probability are known and the one does not follow from the other."""
    slack = 0.5 + 1e-4  # percent is rounded
    low, high = 100 * threshold - slack, 100 * threshold + slack
    fits = np.where(classes == 1, percent >= low, percent <= high)
    found: NDArray[np.bool_] = ~fits & (classes != NODATA) & (percent != NODATA)
    return found


def unlike_input(
    classes: NDArray[np.uint8], some: NDArray[np.bool_], every: NDArray[np.bool_], scale: int
) -> tuple[int, int]:
    """Input pixels that were mapped without any band, and those left out though every band was there.

    Args:
        classes: of a window, `(y * scale, x * scale)`.
        some: where at least one band of the input is there, `(y, x)`.
        every: where all are.
        scale: map pixels per input pixel and side.
    """
    empty = classes == NODATA
    if every.all() and not empty.any():
        return 0, 0
    cells = empty.reshape(some.shape[0], scale, some.shape[1], scale).sum(axis=(1, 3))
    invented = np.count_nonzero((cells < scale * scale) & ~some)
    lost = np.count_nonzero((cells > 0) & every)
    return int(invented), int(lost)
