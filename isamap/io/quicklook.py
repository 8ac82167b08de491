"""The picture of a mosaic: its overview in steps of impervious share, with legend, scale bar and north arrow."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Geod

from isamap.domain.lonlat import LONLAT, transformer
from isamap.domain.product import NODATA
from isamap.io.counts import thinned
from isamap.io.guard import open_raster
from isamap.io.pictures import MAP_PX, Extent, class_map
from isamap.io.placing import geobox_of
from isamap.io.sheet import Heading
from isamap.io.store import storage_errors

STEPS = (1, 5, 10, 20, 40, 60, 80)
"""Percent at which a colour begins, the first one at 0."""
COLOURS = ("#f4f4ee", "#f7e3c8", "#f3c79b", "#eaa06f", "#dc7350", "#c2473f", "#952436", "#5e1126")
UNMAPPED = "#cfd6dc"


@dataclass(frozen=True)
class GroundExtent(Extent):
    """Where a picture lies, with the lengths on the ground of its units."""

    east_m: float = 1.0
    """Ground length of a unit to the east."""
    north_m: float = 1.0
    """Of a unit to the north."""

    @property
    def shrink(self) -> float:
        """Length of a unit to the east, in units to the north."""
        return self.east_m / self.north_m

    @property
    def m_per_unit(self) -> float:
        """Metres in a unit to the east."""
        return self.east_m


def ground_extent(grid: GeoBox) -> GroundExtent:
    """Extent of a grid, with lengths on the ground in its middle."""
    left, bottom, right, top = grid.boundingbox
    x, y, size = (left + right) / 2, (bottom + top) / 2, float(abs(grid.transform.a))
    to_lonlat = transformer(str(grid.crs), LONLAT)
    lon, lat = to_lonlat.transform([x, x + size, x], [y, y, y + size])
    globe = Geod(ellps="WGS84")
    east, north = (globe.inv(lon[0], lat[0], lon[i], lat[i])[2] / size for i in (1, 2))
    return GroundExtent((left, bottom, right, top), east_m=east, north_m=north)


def write_quicklook(path: Path, overview: Path, title: str) -> None:
    """PNG of an overview.

    Args:
        path: of the picture.
        overview: impervious share in percent.
        title: over the picture's steps.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    with open_raster(overview) as src:
        grid = geobox_of(src)
    share = thinned(overview, MAP_PX)
    codes = np.where(share == NODATA, NODATA, np.digitize(share, STEPS)).astype(np.uint8)
    ends = [*(step - 1 for step in STEPS), 100]
    names = [
        f"{low} to {high} % impervious" if high > low else f"{low} % impervious"
        for low, high in zip((0, *STEPS), ends, strict=True)
    ]
    legend = dict(enumerate(zip(names, COLOURS, strict=True))) | {NODATA: ("not mapped", UNMAPPED)}
    figure = class_map(Heading(path.stem, title), codes, ground_extent(grid), legend, north_arrow=True)
    with storage_errors(path):
        path.write_bytes(figure.png)
