"""Reference samples: points with an observed class, read from tables and vector files, and written for labelling."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.geometry.base import BaseGeometry

from isamap.domain.lonlat import LONLAT
from isamap.domain.reference_sample import SAME_DEG, SAME_M, label, repeated
from isamap.errors import ConfigError, InputError, MissingInputError
from isamap.io.atomic import make_directory, sync
from isamap.io.store import storage_errors
from isamap.io.vector import read_features

COORDINATES = (("lon", "lat"), ("x", "y"))


@dataclass(frozen=True)
class Sample:
    """Points of a reference sample, in file order."""

    x: NDArray[np.float64]
    """In `crs`."""
    y: NDArray[np.float64]
    """In `crs`."""
    crs: str
    """Of the coordinates."""
    rows: list[dict[str, Any]]
    """The columns of each point."""

    def column(self, name: str, path: Path) -> list[Any]:
        """One column.

        Raises:
            InputError: there is none of that name.
        """
        known = dict.fromkeys(key for row in self.rows for key in row)
        if name not in known:
            raise InputError(f"{path} has no column {name!r}: it has {', '.join(known) or 'nothing'}")
        return [row.get(name) for row in self.rows]


def read_sample(path: Path, layer: str | None = None) -> Sample:
    """Points from a CSV (columns lon and lat, or x and y with `crs`), GeoJSON or GeoPackage.

    Args:
        path: of the file.
        layer: of several in it.

    Raises:
        MissingInputError, InputError, ConfigError: as `read_features`; or there is no point, something else than
            points, a point without place, or an unknown CRS.
    """
    table = path.suffix.lower() == ".csv"
    if table and layer:
        raise InputError(
            f"{path} is a table and has no layer {layer}: columns are named by options of their own"
        )
    sample = _read_csv(path) if table else _read_vector(path, layer)
    if not (known := np.isfinite(sample.x) & np.isfinite(sample.y)).all():
        raise InputError(f"{path}: point {int(known.argmin()) + 1} has no finite coordinates: mend it")
    try:
        in_degrees(sample.crs)
    except CRSError as error:
        raise InputError(
            f"{path}: the CRS {sample.crs[:60]!r} is unknown: write it like EPSG:32648"
        ) from error
    return sample


def in_degrees(crs: str) -> bool:
    """Whether coordinates are longitude and latitude."""
    return bool(CRS.from_user_input(crs).is_geographic)


def check_single(
    sample: Sample, rows: NDArray[np.bool_], path: Path, remedy: str = "keep one of each"
) -> None:
    """Refuse points that count twice.

    Args:
        sample: all points.
        rows: those that count, shape (point,).
        path: of the sample, for the message.
        remedy: what its reader can do.

    Raises:
        InputError: some of them lie where another one does.
    """
    number, first = repeated(sample.x[rows], sample.y[rows], SAME_DEG if in_degrees(sample.crs) else SAME_M)
    if number:
        x, y = sample.x[rows][first], sample.y[rows][first]
        raise InputError(
            f"{path}: {number} points lie where another one does (the first at {x:.10g} {y:.10g}): {remedy}"
        )


def _read_vector(path: Path, layer: str | None) -> Sample:
    features = read_features(path, layer)
    places = [_point(geometry) for geometry in features.geometries]
    others = sorted(
        {g.geom_type for g, place in zip(features.geometries, places, strict=True) if place is None}
    )
    if all(place is None for place in places):
        raise InputError(f"{path} holds no points: a sample is points with observed classes")
    if others:
        raise InputError(f"{path} also holds {', '.join(others)}: a sample is single points, take them out")
    return Sample(shapely.get_x(places), shapely.get_y(places), features.crs, features.attributes)


def _point(geometry: BaseGeometry) -> BaseGeometry | None:
    """The point that a geometry is, None for any other."""
    if geometry.geom_type == "MultiPoint" and len(geometry.geoms) == 1:
        return geometry.geoms[0]
    return geometry if geometry.geom_type == "Point" else None


def _read_csv(path: Path) -> Sample:
    rows = read_table(path)
    if not rows:
        raise InputError(f"{path} holds no points: it has no row beneath its header")
    for names in COORDINATES:
        if set(names) <= set(rows[0]):
            try:
                x, y = (np.array([float(row[name]) for row in rows]) for name in names)
            except ValueError as error:
                raise InputError(f"{path}: a coordinate is no number ({error})") from error
            return Sample(x, y, LONLAT if names == COORDINATES[0] else _crs_of(rows, path), rows)
    raise InputError(f"{path} has no columns lon and lat, nor x and y: it is no sample")


def _crs_of(rows: Sequence[Mapping[str, str]], path: Path) -> str:
    """The CRS that every row names."""
    found = list(dict.fromkeys(row.get("crs", "").strip() for row in rows))
    if not any(found):
        raise InputError(f"{path} has x and y but no column crs: add it (EPSG:32648), or give lon and lat")
    if len(found) > 1:
        named = " and ".join(repr(crs) for crs in found[:2])
        raise InputError(f"{path} has rows in the CRS {named}: bring all points to one, or give lon and lat")
    return found[0]


def read_table(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV with a header; empty lines are passed over.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is no table, or a row is longer or shorter than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV: {error}") from error
    if not lines:
        raise InputError(f"{path} is empty: a table needs a header")
    header = [name.strip() for name in lines[0][1]]
    _check_header(header, path)
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise InputError(
                f"{path}, line {number}: it has {len(cells)} cells, the header {len(header)}: mend it"
            )
    return [dict(zip(header, cells, strict=True)) for _, cells in lines[1:]]


def _check_header(header: Sequence[str], path: Path) -> None:
    for name, mark in (("semicolons", ";"), ("tabs", "\t")):
        if len(header) == 1 and mark in header[0]:
            raise InputError(f"{path} has {name} between its columns: write it with commas")
    if twice := [name for name in header if header.count(name) > 1]:
        raise InputError(f"{path} has two columns {twice[0]!r}: rename one")


def labelled(path: Path) -> int:
    """Points of a drawn sample on which somebody has worked: with an observed class, or a remark.

    Raises:
        InputError: it is no drawn sample, or open in another program.
    """
    journal = path.with_name(path.name + "-wal")
    if journal.exists() and journal.stat().st_size:
        raise InputError(f"{path} is open in another program: close it there first")
    features = read_features(path)
    worked = np.zeros(len(features.attributes), np.bool_)
    for name in ("observed", "remark"):
        worked |= np.array([bool(label(cell)) for cell in features.column(name, path)], np.bool_)
    return int(worked.sum())


def check_unlabelled(path: Path) -> None:
    """Refuse to write over somebody's work.

    Raises:
        InputError: there is a sample on which somebody has worked, or something else of that name.
    """
    if not path.exists():
        return
    try:
        worked = labelled(path)
    except InputError as error:
        raise InputError(f"{error}; it would be overwritten: choose another -o, or move it") from error
    if worked:
        raise InputError(
            f"{path} has {worked} labelled points, which would be overwritten: choose another -o, or move it"
        )


def write_points(
    path: Path, x: Sequence[float], y: Sequence[float], crs: str, columns: Mapping[str, NDArray[Any]]
) -> None:
    """A GeoPackage of points, opened by QGIS as it is; written beside and moved when whole.

    Raises:
        ConfigError: pyogrio is missing.
        StorageError: the disk refuses.
    """
    try:
        import pyogrio
    except ImportError as error:
        raise ConfigError("a GeoPackage needs pyogrio: pip install 'isamap[vector]'") from error
    part = path.with_name(f".{path.name}.part.gpkg")
    with storage_errors(path, (pyogrio.errors.DataSourceError,)):
        make_directory(path.parent)
        part.unlink(missing_ok=True)
        pyogrio.raw.write(
            part,
            geometry=shapely.to_wkb(shapely.points(np.asarray(x), np.asarray(y))),
            field_data=[np.asarray(values) for values in columns.values()],
            fields=list(columns),
            geometry_type="Point",
            crs=crs,
            driver="GPKG",
            layer="sample",
        )
        sync(part)
        part.replace(path)
        sync(path.parent)
