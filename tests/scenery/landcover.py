"""A land cover product of known ground, on the sheets and the grid of ESA WorldCover v200.

Classes are those of the ground's own scene classification, by rule: vegetation is cropland (40), bare or built is
built-up (50), water is water (80), dark is tree cover (10). No truth: something to run `evaluate` against.
"""

from pathlib import Path

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.windows import Window
from scenery.ground import Ground

SIDE, DEGREES = 36_000, 3
_CODES = np.zeros(256, np.uint8)
_CODES[[2, 4, 5, 6, 7]] = (10, 40, 50, 80, 60)


def worldcover_sheet(folder: Path, place: Ground, name: str = "{ll}.tif") -> Path:
    """The 3-degree sheet over the middle of a ground; nodata where the ground ends.

    Args:
        folder: where to.
        place: what it shows.
        name: of the file, `{ll}` standing for the sheet's, e.g. N27E105.
    """
    lon, lat = place.geobox.footprint("EPSG:4326").centroid.coords[0]
    west, south = (int(np.floor(value / DEGREES)) * DEGREES for value in (lon, lat))
    sheet = f"{'S' if south < 0 else 'N'}{abs(south):02d}{'W' if west < 0 else 'E'}{abs(west):03d}"
    transform = rasterio.Affine(DEGREES / SIDE, 0, west, 0, -DEGREES / SIDE, south + DEGREES)
    path = folder / name.replace("{ll}", sheet)
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "crs": "EPSG:4326", "transform": transform, "dtype": "uint8", "nodata": 0}
    profile |= {"count": 1, "height": SIDE, "width": SIDE, "compress": "deflate", "sparse_ok": True}
    window, classes = _classes(place, transform)
    with rasterio.open(path, "w", tiled=True, blockxsize=1024, blockysize=1024, **profile) as dst:
        dst.write(classes, 1, window=window)
    return path


def _classes(place: Ground, transform: rasterio.Affine) -> tuple[Window, np.ndarray]:
    """Where the ground lies on the sheet, and the class of each pixel by its middle."""
    box = place.geobox.footprint("EPSG:4326").boundingbox
    (left, top), (right, bottom) = (
        ~transform * corner for corner in ((box.left, box.top), (box.right, box.bottom))
    )
    col, row = int(left), int(top)
    cols, rows = np.meshgrid(np.arange(col, int(right) + 1), np.arange(row, int(bottom) + 1))
    lon, lat = transform * (cols + 0.5, rows + 0.5)
    x, y = Transformer.from_crs(4326, place.geobox.crs.epsg, always_xy=True).transform(lon, lat)
    px, py = (np.floor(each / 2).astype(int) for each in ~place.geobox.transform * (x, y))
    inside = (px >= 0) & (py >= 0) & (px < place.scl.shape[1]) & (py < place.scl.shape[0])
    classes = np.zeros(cols.shape, np.uint8)
    classes[inside] = _CODES[place.scl[py[inside], px[inside]]]
    return Window(col, row, *cols.shape[::-1]), classes
