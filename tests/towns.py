"""Towns made from a seed: 1 m truth, the 1 m image of it, and the 10 m imagery that a sensor would have seen."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from isamap.domain.sensors import SENSORS, observe

EPSG = "EPSG:32648"
WEST, NORTH = 640_000.0, 3_280_000.0
GREEN, ROOF, SOIL = (0.04, 0.07, 0.05, 0.38), (0.17, 0.17, 0.18, 0.21), (0.09, 0.11, 0.15, 0.22)
"""Reflectance in B02, B03, B04, B08."""


@dataclass(frozen=True)
class Town:
    """A piece of ground; all arrays lie on each other."""

    isa: np.ndarray
    """uint8 `(Y, X)` at 1 m: 0, 1."""
    image: np.ndarray
    """uint8 `(3, Y, X)`: red, green, blue."""
    lr: np.ndarray
    """uint16 `(4, y, x)` at the sensor's pixel: B02, B03, B04, B08."""


def make_town(height: int = 96, width: int = 96, seed: int = 0, scale: int = 10) -> Town:
    """A town of roofs and roads on fields, denser towards the east."""
    rng = np.random.default_rng(seed)
    shape = height * scale, width * scale
    isa, soil = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
    for _ in range(shape[0] * shape[1] // 1500):
        top, left = int(rng.integers(shape[0])), int(shape[1] * rng.beta(2, 1.2))
        tall, wide = rng.integers(8, 40, 2)
        isa[top : top + tall, left : left + wide] = 1
    for _ in range(shape[0] * shape[1] // 9000):
        top, left = int(rng.integers(shape[0])), int(rng.integers(shape[1]))
        soil[top : top + 60, left : left + 90] = True
    isa[::170], isa[1::170], isa[:, ::210], isa[:, 1::210], isa[:, 2::210] = 1, 1, 1, 1, 1
    ground = np.empty((4, *shape), np.float32)
    for band in range(4):
        ground[band] = np.where(isa == 1, ROOF[band], np.where(soil, SOIL[band], GREEN[band]))
    ground *= 1 + 0.15 * np.kron(
        rng.normal(size=(shape[0] // scale, shape[1] // scale)), np.ones((scale, scale))
    ).clip(-2, 2)
    sigma_px = SENSORS["sentinel-2"].bands[0].psf_sigma_m * scale / 10
    lr = np.rint(observe(ground, sigma_px, scale) * 10_000).clip(1, 20_000).astype(np.uint16)
    image = (ground[2::-1] / 0.3 * 255).clip(1, 255).astype(np.uint8)
    return Town(isa, image, lr)


def write(
    path: Path, values: np.ndarray, gsd_m: float, names: tuple[str, ...] = (), **changes: object
) -> Path:
    """A GeoTIFF whose upper left corner is that of the town, moved by `east_m` and `north_m` if given."""
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    west, north = WEST + float(changes.pop("east_m", 0)), NORTH + float(changes.pop("north_m", 0))
    profile = {
        "crs": EPSG,
        "transform": Affine(gsd_m, 0, west, 0, -gsd_m, north),
        "compress": "deflate",
    } | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as dst:
        dst.write(values)
        for index, name in enumerate(names, start=1):
            dst.set_band_description(index, name)
    return path


def write_town(folder: Path, town: Town, gsd_m: float = 10, *, east_m: float = 0, north_m: float = 0) -> Path:
    """imagery.tif, image.tif and isa.tif in a folder; image and labels moved against the imagery."""
    fine_m = gsd_m * town.lr.shape[1] / town.isa.shape[0]
    write(folder / "imagery.tif", town.lr, gsd_m, ("B02", "B03", "B04", "B08"), nodata=0)
    write(folder / "image.tif", town.image, fine_m, east_m=east_m, north_m=north_m)
    write(folder / "isa.tif", town.isa, fine_m, nodata=255, east_m=east_m, north_m=north_m)
    return folder
