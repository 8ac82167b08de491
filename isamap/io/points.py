"""Values of rasters at points."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterWindow

from isamap.domain.product import NODATA
from isamap.errors import InputError
from isamap.io.guard import one_line, open_raster, reason


def values_at(
    paths: Sequence[Path], x: NDArray[np.float64], y: NDArray[np.float64], crs: str
) -> NDArray[np.uint8]:
    """Value of the pixel under each point, 255 where no raster has any; the first raster that knows counts.

    Args:
        paths: one-band uint8 rasters with nodata 255.
        x: of the points, in `crs`.
        y: likewise.
        crs: of the points.

    Raises:
        InputError: a raster is damaged.
    """
    found = np.full(x.shape, NODATA, np.uint8)
    for path in paths:
        with open_raster(path) as src:
            there = Transformer.from_crs(crs, src.crs.to_wkt(), always_xy=True).transform(x, y)
            inverse = ~src.transform
            cols, rows = (np.floor(place) for place in inverse * there)
            inside = (rows >= 0) & (rows < src.height) & (cols >= 0) & (cols < src.width) & (found == NODATA)
            try:
                for point in np.flatnonzero(inside).tolist():
                    area = RasterWindow(int(cols[point]), int(rows[point]), 1, 1)
                    found[point] = src.read(1, window=area)[0, 0]
            except RasterioError as error:
                raise InputError(f"{one_line(path)} is damaged: {reason(error)}") from error
    return found
