"""Regions: what an area is called, where it lies and how large it is."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from isamap.domain.grid import TILE_M, Tile, tiles_over
from isamap.domain.lonlat import (
    LONLAT,
    as_crs,
    check_bounds,
    check_lonlat_bbox,
    checked_bbox,
    geodesic_area_km2,
    into_lonlat,
    leaps_over_180,
    made_valid,
    numbers,
    polygon_parts,
)
from isamap.errors import InputError, MissingInputError

BELT = "yreb"
_BELT_TITLE = "Yangtze River Economic Belt"
_BELT_TITLE_ZH = "长江经济带"

MAX_TILES = 1_000_000
"""Of one run: 105 million km2, two thirds of all land."""

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?", re.ASCII)
_MAX_NAME = 120


@dataclass(frozen=True)
class Region:
    """An area with a name that is safe in paths."""

    name: str
    """Canonical name: `yreb`, `yreb/CN032070`, `bbox_118.7_32_118.9_32.1`."""
    title: str
    """English name."""
    title_zh: str
    """Chinese name; empty if there is none."""
    kind: str
    """`region`, `province`, `prefecture`, `bbox`, `aoi` or `tiles`."""
    geometry: BaseGeometry
    """Valid polygon or multipolygon, lon/lat (EPSG:4326), split at 180 degrees."""
    area_km2: float
    """Geodesic area on WGS84."""

    def __post_init__(self) -> None:
        if len(self.name) > _MAX_NAME or not _SAFE_NAME.fullmatch(self.name):
            raise ValueError(f"region name {self.name[:80]!r} is not safe in a path")

    @property
    def slug(self) -> str:
        """Name as one path component: `yreb-CN032070`."""
        return self.name.replace("/", "-")


class Gazetteer:
    """Named regions: the Yangtze River Economic Belt, its provinces and its prefectures.

    A name may be a code (`CN032070`, `yreb/CN032070`, `CN-JS`, `320000`), an English name with or without
    `Province`, `Municipality`, ... , or a Chinese one with or without its ending. Where a province and a prefecture
    share a name (Shanghai, Chongqing), the province is meant; the prefecture has its code.

    Args:
        provinces: GeoJSON FeatureCollection; properties `name_en`, `name_zh`, `pcode`, `iso_3166_2`, `adcode`.
        prefectures: GeoJSON FeatureCollection; properties `name_en`, `name_zh`, `pcode`.
    """

    def __init__(self, provinces: Mapping[str, Any], prefectures: Mapping[str, Any]) -> None:
        self._features: dict[str, tuple[str, Mapping[str, Any]]] = {}
        self._codes: dict[str, list[str]] = {}
        for kind, collection in (("province", provinces), ("prefecture", prefectures)):
            for feature in collection["features"]:
                self._add(kind, feature)

    def _add(self, kind: str, feature: Mapping[str, Any]) -> None:
        properties = feature["properties"]
        code = properties["pcode"]
        self._features[code] = kind, feature
        names = {code, properties.get("iso_3166_2"), properties.get("adcode")}
        for name in names | {*_variants(properties["name_en"]), *_variants(_chinese(properties["name_zh"]))}:
            if name:
                self._codes.setdefault(_key(name), []).append(code)

    @cached_property
    def _belt(self) -> Region:
        provinces = [region.geometry for region in self._regions("province")]
        return _region(BELT, _BELT_TITLE, _BELT_TITLE_ZH, "region", shapely.union_all(provinces))

    def _regions(self, wanted: str) -> list[Region]:
        return [self._region(code) for code, (kind, _) in self._features.items() if kind == wanted]

    def _region(self, code: str) -> Region:
        kind, feature = self._features[code]
        properties = feature["properties"]
        title, title_zh = properties["name_en"], _chinese(properties["name_zh"])
        return _region(f"{BELT}/{code}", title, title_zh, kind, shapely.geometry.shape(feature["geometry"]))

    def regions(self) -> list[Region]:
        """All regions: the belt, then its provinces, then its prefectures."""
        return [self._belt, *self._regions("province"), *self._regions("prefecture")]

    def find(self, name: str) -> Region:
        """Region called `name`.

        Raises:
            MissingInputError: no region has that name; the message has the nearest ones.
            InputError: several regions have it; the message has their codes.
        """
        belt, _, member = name.strip().partition("/")
        if _key(belt) not in {BELT, _key(_BELT_TITLE), _BELT_TITLE_ZH}:
            member = name
        elif not member:
            return self._belt
        codes = sorted({code for key in map(_key, _variants(member)) for code in self._codes.get(key, [])})
        first_kind = [code for code in codes if self._features[code][0] == "province"] or codes
        if len(first_kind) > 1:
            raise InputError(
                f"several regions are called {name[:80]!r}: give the code, {self._listing(first_kind)}"
            )
        if not first_kind:
            raise MissingInputError(f"no region is called {name[:80]!r}{self._nearest(member)}")
        return self._region(first_kind[0])

    def _nearest(self, name: str) -> str:
        close = get_close_matches(_key(name)[:80], self._codes, n=3)
        codes = list(dict.fromkeys(code for key in close for code in self._codes[key]))
        listing = f"; nearest: {self._listing(codes)}" if codes else ""
        return f"{listing} (`isamap regions` lists all)"

    def _listing(self, codes: Iterable[str]) -> str:
        return ", ".join(f"{BELT}/{code} ({self._place(code)})" for code in codes)

    def _place(self, code: str) -> str:
        properties = self._features[code][1]["properties"]
        place = [properties["name_en"], _chinese(properties["name_zh"]), properties.get("province_en", "")]
        return ", ".join(filter(None, place))


_PEOPLES_EN = "Tibetan|Qiang|Yi|Bai|Dai|Jingpo|Hani|Lisu|Zhuang|Miao|Tujia|Dong|Buyi|and"
_PEOPLES_ZH = "土家|哈尼|傈僳|布依|景颇|苗|藏|羌|彝|白|傣|壮|侗"
_ENDING_EN = re.compile(
    r"\s+(province|municipality|prefecture-level city|autonomous prefecture|prefecture|forestry district|city)$",
    re.IGNORECASE,
)
_ENDING_ZH = re.compile(r"(省|市|自治州|林区)$")


def _variants(name: str) -> list[str]:
    """The name, and the name without what kind of unit it is and which peoples it is named after."""
    if not name:
        return []
    stem = _ENDING_EN.sub("", _ENDING_ZH.sub("", name.strip()))
    place = re.sub(rf"(\s+({_PEOPLES_EN}))+$", "", stem, flags=re.IGNORECASE)
    place = re.sub(rf"(.)(({_PEOPLES_ZH})族)+$", r"\1", place)
    short_zh = [f"{place}州"] if name.endswith("自治州") else []
    return [name, stem, place, *short_zh]


def _chinese(name: str) -> str:
    """Name without the footnote marks that the source has, such as `潜江市[1]`."""
    return re.sub(r"\[\d+\]$", "", name)


def _key(name: str) -> str:
    """Name as compared: without case, accents, blanks, apostrophes and hyphens."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", name) if not unicodedata.combining(char))
    return re.sub(r"[\s'\u2019`_-]+", "", plain.casefold())


def from_bbox(bbox: Sequence[float], crs: Any = LONLAT) -> Region:
    """Region between (xmin, ymin, xmax, ymax); in lon/lat, xmin > xmax crosses the 180th meridian.

    Raises:
        InputError: the box is empty, turned round or outside the globe, or the CRS is unknown.
    """
    xmin, ymin, xmax, ymax = checked_bbox(bbox)
    source = as_crs(crs)
    if source.is_geographic:
        check_lonlat_bbox(xmin, ymin, xmax, ymax)
        xmax += 360 if xmin > xmax else 0
    elif xmin >= xmax:
        raise InputError(f"bbox {numbers(bbox)} has no width: give XMIN,YMIN,XMAX,YMAX")
    name = "bbox_" + numbers(bbox, "_")
    if not source.equals(CRS.from_user_input(LONLAT), ignore_axis_order=True):
        name += f"_{_crs_label(source)}"
    geometry = into_lonlat(shapely.box(xmin, ymin, xmax, ymax), source)
    return _region(name, f"bbox {numbers(bbox)}", "", "bbox", geometry)


def from_geometries(
    geometries: Iterable[BaseGeometry | None], crs: Any = LONLAT, name: str = "area"
) -> Region:
    """Region of the polygons of a file: united, repaired where they cross themselves, without heights.

    Args:
        geometries: in the axis order x, y (lon, lat); points and lines beside polygons are left out.
        crs: anything pyproj understands.
        name: what to call it, e.g. the file's stem; made safe and unique for this shape.

    Raises:
        InputError: no polygon, coordinates that are not on the globe, edges round the globe, or an unknown CRS.
    """
    source = as_crs(crs)
    given = [shapely.force_2d(item) for item in geometries if item is not None and not item.is_empty]
    if not given:
        raise InputError(f"{name} is empty: it has no geometry")
    if not np.isfinite(shapely.get_coordinates(given)).all():
        raise InputError(f"{name} has coordinates that are not finite")
    check_bounds(shapely.total_bounds(given).tolist(), source)
    if source.is_geographic and any(
        leaps_over_180(polygon) for item in given for polygon in polygon_parts(item)
    ):
        raise InputError(
            f"{name} has an edge over more than 180 degrees of longitude: cut what crosses the 180th meridian there "
            "into a MultiPolygon, or give --bbox with XMIN > XMAX; an area so wide needs points between"
        )
    polygons = [polygon for item in given for polygon in polygon_parts(made_valid(item))]
    if not polygons:
        kinds = ", ".join(sorted({item.geom_type for item in given}))
        raise InputError(f"{name} has no surface (only {kinds}): give polygons, or buffer it first")
    geometry = into_lonlat(shapely.union_all(polygons), source)
    digest = hashlib.sha256(shapely.to_wkb(shapely.normalize(geometry))).hexdigest()[:8]
    return _region(f"aoi-{_safe(name)}-{digest}", name, "", "aoi", geometry)


def from_tiles(tiles: Sequence[Tile]) -> Region:
    """Region of the tiles' parts inside their own zones.

    Raises:
        InputError: no tile, or one that lies outside its zone.
    """
    if not tiles:
        raise InputError("no tile is given")
    footprints = [tile.footprint() for tile in tiles]
    for tile, footprint in zip(tiles, footprints, strict=True):
        if not polygon_parts(footprint):
            raise InputError(f"tile {tile} lies outside its zone {tile.zone:02d}{tile.hemisphere}")
    ids = sorted({str(tile) for tile in tiles})
    name = ids[0] if len(ids) == 1 else f"tiles-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:8]}"
    title = f"tile {ids[0]}" if len(ids) == 1 else f"{len(ids)} tiles, {ids[0]} to {ids[-1]}"
    return _region(name, title, "", "tiles", shapely.union_all(footprints))


def tiles_of(area: Region) -> list[Tile]:
    """Tiles over a region, sorted.

    Raises:
        InputError: there would be more than MAX_TILES, or the region lies outside the grids.
    """
    tiles = area.area_km2 * 1e6 / TILE_M**2
    if tiles > MAX_TILES:
        raise InputError(
            f"{area.title} has {area.area_km2 / 1e6:.0f} million km2, that is {tiles / 1e6:.1f} million tiles, and one run "
            f"has {MAX_TILES / 1e6:g} million at most: give its parts one after the other"
        )
    return tiles_over(area.geometry)


def _region(name: str, title: str, title_zh: str, kind: str, geometry: BaseGeometry) -> Region:
    parts = polygon_parts(made_valid(geometry))
    if not parts:
        raise InputError(f"{title} has no surface")
    shape = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return Region(name, title, title_zh, kind, shape, geodesic_area_km2(shape))


def _safe(name: str) -> str:
    """Name with only letters that are safe in a path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:60].strip("-.") or "area"


def _crs_label(crs: CRS) -> str:
    authority = crs.to_authority()
    return "".join(authority) if authority else hashlib.sha256(crs.to_wkt().encode()).hexdigest()[:8]
