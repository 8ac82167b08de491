"""The ground that `accuracy.py` scores on: input, labels and, where there is one, the 1 m image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isamap.domain.grid import refine
from isamap.domain.sensors import REFLECTANCE_OF_WHITE, observe
from isamap.io.ground import read_reflectance
from isamap.io.plate import lay, read_plate
from isamap.model.simulate import RGB_BANDS

BANDS = ("B02", "B03", "B04", "B08")
"""What every scene has."""
EVERY = (*BANDS, "B05", "B06", "B07", "B8A", "B11", "B12")
"""What a scene may have; each model takes its own."""
SCALE = 10
OUTSIDE = 255
SIGMA_PX = 4
"""Point spread of simulated input, in 1 m pixels."""


@dataclass(frozen=True)
class Area:
    """Ground with 1 m labels and its 10 m input."""

    name: str
    lr: np.ndarray
    """Reflectance `(band, y, x)`, 0 where missing."""
    present: np.ndarray
    """`(band, y, x)`."""
    isa: np.ndarray
    """`(Y, X)` at 1 m: 0, 1, 255."""
    bands: tuple[str, ...] = BANDS
    """Of the input."""
    image: np.ndarray | None = None
    """`(3, Y, X)` display values at 1 m, 0 where there is none."""

    def of(self, bands: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Reflectance and presence of some bands, in that order."""
        at = [self.bands.index(band) for band in bands]
        return self.lr[at], self.present[at]

    def crop(self, rows: slice, cols: slice, name: str | None = None) -> "Area":
        """A window, in 10 m pixels."""
        tall, wide = (slice(part.start * SCALE, part.stop * SCALE) for part in (rows, cols))
        return Area(
            name or self.name,
            self.lr[:, rows, cols],
            self.present[:, rows, cols],
            self.isa[tall, wide],
            self.bands,
            None if self.image is None else self.image[:, tall, wide],
        )


def fine(mask: np.ndarray) -> np.ndarray:
    """A 10 m array at 1 m."""
    return mask.repeat(SCALE, -2).repeat(SCALE, -1)


def real_areas(data: Path, bands: Sequence[str] = BANDS, date: str = "20151211") -> tuple[Area, Area]:
    """Training and validation ground of s2-dubai-1m; labels are those of 2015 at every date."""
    root = data / "s2-dubai-1m"
    files = [root / f"s2-{date}-{gsd}m.tif" for gsd in (10, 20)]
    lr, present, grid = read_reflectance(files, bands)
    at_1m = refine(grid, SCALE)
    tiles = [f"tile-{name}.tif" for name in ("8", "7a", "7b")]
    isa = lay([root / "isa" / tile for tile in tiles], at_1m, OUTSIDE)[0]
    image = lay([root / "images" / tile for tile in tiles], at_1m, 0)
    split = fine(read_plate(root / "split-10m.tif").values[0])
    train, val = (
        Area("Dubai", lr, present, np.where(split == value, isa, OUTSIDE), tuple(bands), image)
        for value in (1, 2)
    )
    return train, val


def labelled_part(area: Area, name: str) -> Area:
    """The smallest window that holds all labels."""
    rows, cols = (slice(a.min(), a.max() + 1) for a in np.nonzero((area.isa != OUTSIDE)[::SCALE, ::SCALE]))
    return area.crop(rows, cols, name)


def simulated_area(data: Path, name: str, rows: slice = slice(None), cols: slice = slice(None)) -> Area:
    """Simulated input of a tile of dubai-aerial-1m: Gaussian sigma 4 px, 10 x 10 mean, no noise."""
    root = data / "dubai-aerial-1m"
    image = read_plate(root / "images" / f"{name}.tif").values[:, rows, cols]
    seen = observe(image.astype(np.float32) * np.float32(REFLECTANCE_OF_WHITE / 255), SIGMA_PX, SCALE)
    lr = np.stack([seen[RGB_BANDS[b]] if b in RGB_BANDS else np.zeros_like(seen[0]) for b in EVERY])
    present = np.stack([np.full(seen.shape[1:], b in RGB_BANDS) for b in EVERY])
    isa = read_plate(root / "isa" / f"{name}.tif").values[0, rows, cols]
    return Area(f"{name} (simulated)", lr, present, isa, EVERY)


def simulated_areas(data: Path) -> tuple[list[Area], list[Area]]:
    """Training and validation ground of dubai-aerial-1m (its splits.json)."""
    train = [simulated_area(data, name) for name in ("tile-7a", "tile-7b")]
    train.append(simulated_area(data, "tile-8", cols=slice(0, 4290)))
    val = [simulated_area(data, "tile-8", slice(1510, 2930), slice(4330, 6440))]
    return train, val + [simulated_area(data, name) for name in ("tile-3", "tile-5", "tile-6")]
