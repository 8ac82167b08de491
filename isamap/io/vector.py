"""Vector files: the packaged region outlines, and areas of interest of the user's own."""

import json
import logging
import math
import os
import stat
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from isamap.domain.lonlat import LONLAT, as_crs, check_bounds, numbers, polygon_parts
from isamap.domain.region import Gazetteer, Region, from_geometries
from isamap.errors import ConfigError, InputError, MissingInputError

logger = logging.getLogger(__name__)

_GEOJSON = {".geojson", ".json"}
_MAX_GEOJSON_BYTES = 512 * 1024**2
# OGR would follow these to other files or servers.
_INDIRECT = (b"<OGRVRT", b"<OGRWFS", b"<OGCAPI", b"<GDAL_WMS", b"<WFS")
_SNIFF_BYTES = 4096
_OF_SHAPEFILE = (".dbf", ".prj", ".cpg")
# With a tenth of a metre for rounding.
_POLE = math.radians(90.000001)


@cache
def load_gazetteer() -> Gazetteer:
    """The named regions that come with isamap."""
    folder = resources.files("isamap") / "data" / "regions"
    outlines = (folder / f"yreb-{level}.geojson" for level in ("provinces", "prefectures"))
    provinces, prefectures = (json.loads(outline.read_text(encoding="utf-8")) for outline in outlines)
    return Gazetteer(provinces, prefectures)


def read_aoi(given: Path) -> Region:
    """Region of all polygons of a vector file.

    Args:
        given: `FILE[:LAYER]`, GeoJSON, or anything OGR reads if `isamap[vector]` is installed.

    Raises:
        MissingInputError: there is no such file.
        InputError: the file is damaged, has no polygon or no CRS, not that layer, or several and none is named.
        ConfigError: the file is no GeoJSON and pyogrio is not installed.
    """
    path, layer = file_and_layer(str(given))
    features = read_polygons(path, layer)
    try:
        return from_geometries(features.geometries, features.crs, path.stem)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def file_and_layer(text: str) -> tuple[Path, str | None]:
    """What `FILE[:LAYER]` names; a file that is there is meant whole, whatever colons it has in its name."""
    file, colon, layer = text.rpartition(":")
    return (Path(file), layer or None) if colon and not os.path.lexists(text) else (Path(text), None)


def files_of(path: Path) -> list[Path]:
    """Every file that a vector file is made of, the named one first.

    Of a shapefile those beside it that hold attributes, CRS and encoding; of a folder (a file geodatabase) the files in
    it, but for the locks of other programs.
    """
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file() and file.suffix != ".lock")
    beside: list[Path] = []
    if path.suffix.lower() == ".shp":
        parts = (file for file in path.parent.iterdir() if file.stem == path.stem)
        beside = sorted(file for file in parts if file.suffix.lower() in _OF_SHAPEFILE)
    return [path, *beside]


@dataclass(frozen=True)
class Features:
    """What a vector file holds."""

    geometries: list[BaseGeometry]
    """In the axis order x, y."""
    crs: str
    """Theirs."""
    attributes: list[dict[str, Any]]
    """Of each geometry, by column."""
    missing: int = 0
    """Features that have no geometry, and are not among these."""

    def column(self, name: str, path: Path) -> list[Any]:
        """One attribute of every feature.

        Raises:
            InputError: no feature has it; the message lists what there is.
        """
        known = sorted({key for row in self.attributes for key in row})
        if name not in known:
            raise InputError(f"{path} has no column {name!r}: it has {', '.join(known) or 'none'}")
        return [row.get(name) for row in self.attributes]


def read_polygons(path: Path, layer: str | None = None) -> Features:
    """The features of a layer that hold polygons, without their points and lines; others are counted and said.

    Raises:
        MissingInputError, InputError, ConfigError: as `read_features`; or no feature holds a polygon.
    """
    features = read_features(path, layer)
    kept: list[tuple[BaseGeometry, dict[str, Any]]] = []
    others = Counter({"without geometry": features.missing} if features.missing else {})
    for geometry, row in zip(features.geometries, features.attributes, strict=True):
        if (surface := _surface(geometry)) is None:
            others[f"empty {geometry.geom_type}" if geometry.is_empty else geometry.geom_type] += 1
        else:
            kept.append((surface, row))
    said = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
    if not kept:
        fault = f"has no polygon (only {said})" if said else "is empty: it has no geometry"
        raise InputError(f"{path} {fault}: give polygons, or buffer it first")
    if said:
        left_out, of = others.total(), others.total() + len(kept)
        logger.warning("%s: %d of %d features hold no polygon: left out (%s)", path, left_out, of, said)
    return Features([surface for surface, _ in kept], features.crs, [row for _, row in kept])


def _surface(geometry: BaseGeometry) -> BaseGeometry | None:
    """A geometry without its points and lines; None where nothing is left."""
    parts = polygon_parts(geometry)
    if geometry.geom_type.endswith("Polygon") or not parts:
        return geometry if parts else None
    return shapely.MultiPolygon(parts)


def read_features(path: Path, layer: str | None = None) -> Features:
    """Everything in one layer of a vector file; fails like `read_aoi`."""
    try:
        head = _head(path)
    except (OSError, ValueError) as error:
        raise MissingInputError(f"{path} cannot be read: {error}") from error
    if any(mark in head for mark in _INDIRECT):
        raise InputError(f"{path} only points to other data: give the file it points to")
    if path.suffix.lower() in _GEOJSON and path.is_file():
        if layer not in (None, path.stem):  # which is what OGR calls it
            raise InputError(f"{path} has no layer {layer}: GeoJSON has no layers")
        return _placed(path, _read_geojson(path))
    return _placed(path, _read_ogr(path, layer))


def _placed(path: Path, features: Features) -> Features:
    """The features themselves, if their coordinates can be a place in their CRS."""
    if not features.geometries:
        return features
    try:
        _check_place(shapely.total_bounds(features.geometries).tolist(), features.crs)
    except InputError as error:
        degrees = path.suffix.lower() in _GEOJSON and features.crs == LONLAT
        hint = " (GeoJSON that names no other CRS is in degrees)" if degrees else ""
        raise InputError(f"{path}: {error}{hint}") from error
    return features


def _check_place(bounds: Sequence[float], crs: str) -> None:
    """Refuse coordinates too large for their CRS, and latitudes beyond the poles."""
    known = as_crs(crs)
    check_bounds(bounds, known)
    _, bottom, _, top = bounds
    if known.is_geographic and max(-bottom, top) * known.axis_info[0].unit_conversion_factor > _POLE:
        raise InputError(f"coordinates {numbers(bounds)} are no longitudes and latitudes: is the CRS right?")


def layer_names(path: Path) -> list[str]:
    """Layers with geometries of a vector file; none of GeoJSON, which has no layers, and of what cannot be read."""
    try:
        import pyogrio

        if path.suffix.lower() in _GEOJSON or any(mark in _head(path) for mark in _INDIRECT):
            return []
        return [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    except (ImportError, OSError, ValueError, InputError):
        return []  # whoever reads it will say what is wrong


def _head(path: Path) -> bytes:
    """First bytes of a file; none of a folder, which may be a file geodatabase."""
    if stat.S_ISDIR(path.stat().st_mode):
        return b""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path} is no regular file")
    with path.open("rb") as file:
        return file.read(_SNIFF_BYTES)


def _read_geojson(path: Path) -> Features:
    if path.stat().st_size > _MAX_GEOJSON_BYTES:
        raise InputError(f"{path} is over {_MAX_GEOJSON_BYTES >> 20} MiB: convert it to GeoPackage")
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"{path} is JSON but not GeoJSON")
    items = list(_geojson_items(path, document))
    there = [item for item in items if item[1] is not None]
    geometries = [_geometry(path, index, item) for index, item, _ in there]
    attributes = [row for *_, row in there]
    return Features(geometries, _geojson_crs(document), attributes, len(items) - len(there))


def _geojson_items(
    path: Path, document: dict[str, Any]
) -> Iterable[tuple[int, dict[str, Any] | None, dict[str, Any]]]:
    """Number, geometry object and attributes of each feature."""
    kind = document.get("type")
    features = document.get("features") if kind == "FeatureCollection" else [document]
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise InputError(f"{path} is JSON but not GeoJSON: its features are no list of objects")
    for index, feature in enumerate(features):
        whole = feature.get("type") == "Feature"
        geometry = feature.get("geometry") if whole else feature
        attributes = feature.get("properties") if whole else None
        yield index, geometry, attributes if isinstance(attributes, dict) else {}


def _geometry(path: Path, index: int, item: Any) -> BaseGeometry:
    fault = f"{path}: feature {index} has no readable geometry"
    kind = item.get("type") if isinstance(item, dict) else None
    if not isinstance(kind, str):
        raise InputError(f"{fault}: it says no type, such as Polygon")
    try:
        with np.errstate(invalid="ignore"):  # NaN is refused where it is used
            geometry: BaseGeometry = shapely.geometry.shape(item)
    except shapely.errors.ShapelyError as error:
        raise InputError(f"{fault}: {error}") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InputError(f"{fault}: its coordinates are not those of a {kind[:40]}") from error
    return geometry


def _geojson_crs(document: dict[str, Any]) -> str:
    """CRS of the old `crs` member, which OGR still writes; lon/lat without it (RFC 7946)."""
    try:
        name = document["crs"]["properties"]["name"]
    except (KeyError, TypeError):
        return LONLAT
    return LONLAT if "CRS84" in str(name) else str(name)


def _read_ogr(path: Path, layer: str | None) -> Features:
    try:
        import pyogrio
    except ImportError as error:
        raise ConfigError(
            f"{path} is no GeoJSON and needs pyogrio: pip install 'isamap[vector]', or convert it to GeoJSON"
        ) from error
    pyogrio.set_gdal_config_options({"GML_DOWNLOAD_SCHEMA": "NO"})
    try:
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            found = _spatial_layer(pyogrio, path, layer)
            meta, _, wkb, columns = pyogrio.raw.read(path, layer=found)
        there = [index for index, item in enumerate(wkb) if item is not None]
        geometries = shapely.from_wkb([wkb[index] for index in there])
    except (
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
        shapely.errors.ShapelyError,
    ) as error:
        raise InputError(f"{path} cannot be read as a vector file: {error}") from error
    for remark in remarks:
        logger.warning("%s: %s", path, remark.message)
    if not meta["crs"]:
        raise InputError(f"{path} has no CRS: write one into it, e.g. with `ogr2ogr -a_srs EPSG:4326`")
    names = [str(name) for name in meta["fields"]]
    attributes = [{name: column[row] for name, column in zip(names, columns, strict=True)} for row in there]
    return Features(list(geometries), meta["crs"], attributes, len(wkb) - len(there))


def _spatial_layer(pyogrio: Any, path: Path, layer: str | None) -> str:
    """The layer that was asked for, or the only one with geometries."""
    spatial = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
    if layer is None and len(spatial) == 1:
        return spatial[0]
    if layer in spatial:
        return str(layer)
    if not spatial:
        raise InputError(f"{path} has no layer with geometries")
    if layer is not None:
        raise InputError(f"{path} has no layer {layer}; it has {', '.join(spatial)}")
    raise InputError(f"{path} has the layers {', '.join(spatial)}: choose one, {path}:{spatial[0]}")
