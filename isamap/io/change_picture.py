"""The change rasters of a run as one picture."""

from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from rasterio.enums import Resampling

from isamap.domain.changes import CHANGE, NAMES
from isamap.domain.product import NODATA
from isamap.domain.report import Figure
from isamap.io.guard import open_raster
from isamap.io.pictures import MAP_PX, Extent, class_map
from isamap.io.placing import check_position, geobox_of
from isamap.io.sheet import Heading


def change_picture(rasters: Sequence[Path], title: str) -> Figure:
    """All rasters that lie in the CRS of the first, thinned, north up.

    Args:
        rasters: change rasters.
        title: of the figure.
    """
    grids = []
    for path in rasters:
        with open_raster(path) as src:
            check_position(src)
            grids.append(geobox_of(src))
    shown = [number for number, grid in enumerate(grids) if grid.crs == grids[0].crs]
    boxes = np.array([grids[number].boundingbox.bbox for number in shown])
    (left, bottom), (right, top) = boxes[:, :2].min(axis=0).tolist(), boxes[:, 2:].max(axis=0).tolist()
    step = max(right - left, top - bottom) / MAP_PX
    step = max(step, min(abs(float(grids[number].resolution.x)) for number in shown))
    canvas = np.full((ceil((top - bottom) / step), ceil((right - left) / step)), NODATA, np.uint8)
    for number, box in zip(shown, boxes, strict=True):
        first_row, last_row = round((top - box[3]) / step), round((top - box[1]) / step)
        first_col, last_col = round((box[0] - left) / step), round((box[2] - left) / step)
        size = max(1, last_row - first_row), max(1, last_col - first_col)
        with open_raster(rasters[number]) as src:
            codes = src.read(1, out_shape=size, resampling=Resampling.nearest)
        part = canvas[first_row : first_row + size[0], first_col : first_col + size[1]]
        codes = codes[: part.shape[0], : part.shape[1]]
        part[:] = np.where(codes == NODATA, part, codes)
    legend = {
        code: (NAMES[code], "#{:02x}{:02x}{:02x}".format(*CHANGE.colours[code][:3]))
        for code in NAMES
        if (canvas == code).any()
    }
    rest = len(rasters) - len(shown)
    caption = "Thinned to the most frequent class: the smallest patches show in the rasters alone."
    caption += f" {rest} tiles in other UTM zones are not shown." if rest else ""
    crs = grids[0].crs
    extent = Extent((left, bottom, right, top), geographic=crs is not None and crs.geographic)
    return class_map(Heading("change-map", title, caption), canvas, extent, legend, north_arrow=True)
