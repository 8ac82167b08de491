"""Reference samples: points with an observed class, read from tables and vector files, and written for labelling."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from isamap.domain.lonlat import LONLAT
from isamap.errors import ConfigError, InputError, MissingInputError
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
        if not self.rows or name not in self.rows[0]:
            known = ", ".join(self.rows[0]) if self.rows else "nothing"
            raise InputError(f"{path} has no column {name!r}: it has {known}")
        return [row.get(name) for row in self.rows]


def read_sample(path: Path) -> Sample:
    """Points from a CSV (columns lon and lat, or x and y with `crs`), GeoJSON or GeoPackage.

    Raises:
        MissingInputError, InputError, ConfigError: as `read_features`; or there is no point.
    """
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    features = read_features(path)
    points = [
        (g, row)
        for g, row in zip(features.geometries, features.attributes, strict=True)
        if g.geom_type == "Point"
    ]
    if not points:
        raise InputError(f"{path} holds no points: a sample is points with observed classes")
    x, y = shapely.get_x([g for g, _ in points]), shapely.get_y([g for g, _ in points])
    return Sample(x, y, features.crs, [row for _, row in points])


def _read_csv(path: Path) -> Sample:
    rows = read_table(path)
    for names in COORDINATES:
        if rows and set(names) <= set(rows[0]):
            try:
                x, y = (np.array([float(row[name]) for row in rows]) for name in names)
            except ValueError as error:
                raise InputError(f"{path}: a coordinate is no number ({error})") from error
            crs = LONLAT if names == COORDINATES[0] else rows[0].get("crs", "")
            if not crs:
                raise InputError(
                    f"{path} has x and y but no column crs: add it (EPSG:32648), or give lon and lat"
                )
            return Sample(x, y, crs, rows)
    raise InputError(f"{path} has no columns lon and lat, nor x and y: it is no sample")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV with a header.

    Raises:
        MissingInputError: there is no such file.
        InputError: it is no table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file, strict=True))
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV: {error}") from error


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
        part.replace(path)
