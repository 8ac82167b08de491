"""Simulated scenes as files: targets that `isamap train --target` can adapt to.

python tests/bench/targets.py ../shared/data FOLDER
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
from accuracy_ground import BANDS, SCALE, simulated_area
from affine import Affine

SIMULATED = ("tile-3", "tile-5", "tile-6")
"""Pictures of other days and colours than those of the labelled ground."""
PER_REFLECTANCE = 10_000


def write(data: Path, folder: Path) -> None:
    """`NAME.tif` of every simulated target: uint16 at 10 m as Sentinel-2 products hold it, 0 in the near infrared."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SIMULATED:
        area = simulated_area(data, name)
        with rasterio.open(data / "dubai-aerial-1m" / "images" / f"{name}.tif") as src:
            place = {"crs": src.crs, "transform": src.transform * Affine.scale(SCALE)}
        digital = np.rint(area.of(BANDS)[0] * PER_REFLECTANCE).astype(np.uint16)
        shape = {"count": len(BANDS), "nodata": 0, "height": digital.shape[1], "width": digital.shape[2]}
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", dtype="uint16", **shape, **place
        ) as out:
            out.write(digital)
            out.descriptions = BANDS


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]))
