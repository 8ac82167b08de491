"""Strata of the user's own, from polygons or from a raster of codes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from isamap.domain.product import NODATA
from isamap.domain.view import Zones
from isamap.errors import InputError
from isamap.io.classmap import ClassMap, map_files
from isamap.io.zones import zones_of

RASTERS = (".tif", ".tiff", ".jp2", ".vrt", ".img")
"""Endings by which a raster is told from a vector file."""


class ZoneLayer(Protocol):
    """Anything that says which zone a pixel belongs to."""

    @property
    def names(self) -> Mapping[int, str]:
        """By code."""
        ...

    @property
    def listed(self) -> bool:
        """Whether tables show every zone, also those without ground."""
        ...

    def on(self, grid: GeoBox) -> Zones:
        """The zones of a grid."""
        ...


@dataclass
class RasterZones:
    """A raster whose codes 0 to 254 are strata; 255 and nodata belong nowhere."""

    files: tuple[Path, ...]
    """One raster, or tiles."""
    listed: bool = False
    """The codes that a raster has are known only when all of it is read."""

    @property
    def names(self) -> Mapping[int, str]:
        """The code itself."""
        return {code: str(code) for code in range(NODATA)}

    def on(self, grid: GeoBox) -> Zones:
        """The zones of a grid, to the nearest pixel.

        Raises:
            InputError: the raster is damaged, or has other values than 0 to 255.
        """
        with ClassMap(self.files, _codes) as layer:
            return Zones(layer.on(grid), self.names)


def _codes(values: NDArray[Any]) -> NDArray[np.uint8]:
    codes = values.astype(np.uint8)
    if not np.array_equal(codes, values):
        raise InputError("a raster of strata has whole numbers from 0 to 254, and 255 where nothing is")
    return codes


def strata_layer(text: str, *, allow_overlap: bool = False) -> ZoneLayer:
    """Strata from a raster (by its ending, or a folder of rasters), or as `zones_of`.

    Raises:
        MissingInputError: there is no such file.
        InputError: as `zones_of`.
    """
    path = Path(text)
    if path.is_dir() or path.suffix.lower() in RASTERS:
        return RasterZones(map_files(path))
    return zones_of(text, allow_overlap=allow_overlap)
