"""A drawn sample on disk: points to be labelled, the strata that they stand for, and pictures of their ground."""

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isamap.domain.lonlat import LONLAT, transformer
from isamap.io.sample import write_points
from isamap.io.sample_chips import write_chips
from isamap.io.store import write_atomic

SAMPLE, STRATA = "sample.gpkg", "strata.csv"


@dataclass(frozen=True)
class DrawnPoints:
    """The points, in the order in which they are labelled."""

    x: NDArray[np.float64]
    """In `crs`."""
    y: NDArray[np.float64]
    """Likewise."""
    crs: str
    """Of the coordinates, in metres."""
    stratum: Sequence[str]
    """Its name, of each point."""
    gsd_m: float
    """Pixels of the map."""


@dataclass(frozen=True)
class StratumRow:
    """A row of the table of strata."""

    stratum: str
    """Its name."""
    n_pixels: int
    """Pixels of the map."""
    area_km2: float
    """Their area."""
    n_points: int
    """Points drawn there."""
    n_isa: int
    """Pixels that the map shows as ISA."""


def write_drawn(
    points: DrawnPoints, strata: Sequence[StratumRow], out: Path, image: Path | None = None
) -> tuple[Path, Path]:
    """The points (GeoPackage) and the strata with their sizes (CSV), and a chip of an image for every point.

    Raises:
        MissingInputError, InputError: the image cannot be read.
        ConfigError: pyogrio is missing.
        StorageError: the disk refuses.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(StratumRow))
    writer.writerows(
        [f"{cell:.12g}" if isinstance(cell, float) else cell for cell in astuple(row)] for row in strata
    )
    columns = {
        "id": np.arange(1, points.x.size + 1),
        "stratum": np.array(points.stratum, object),
        "observed": np.full(points.x.size, np.nan),
        "remark": np.full(points.x.size, "", object),
    }
    if image is not None:
        names = write_chips(image, out, (points.x, points.y), points.crs, points.gsd_m)
        columns["chip"] = np.array(names, object)
    lon, lat = transformer(points.crs, LONLAT).transform(points.x, points.y)
    write_points(out / SAMPLE, lon, lat, LONLAT, columns)
    write_atomic(out / STRATA, text.getvalue().encode())
    return out / SAMPLE, out / STRATA
