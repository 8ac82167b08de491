"""Pictures of the ground around the points of a sample, for whoever labels them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from isamap.errors import InputError
from isamap.io.contact import TRUE_COLOUR
from isamap.io.guard import one_line, open_raster, reason
from isamap.io.store import storage_errors

CHIP_M, CHIP_PX = 240.0, 480
"""Ground that a chip shows, north up, and its pixels: 24 pixels of Sentinel-2, each drawn 20 wide."""
MARK_M = 10.0
"""Side of the square around the point, unless the map's pixels are larger."""
INK = (255, 40, 40)
STRETCH, THIN_PX = (2, 98), 512


class ChipImage:
    """An image from which chips are cut: true colour by its band names, else its first three bands, or the first one.

    Use it as `with ChipImage.open(path) as image`.
    """

    def __init__(self, src: Any) -> None:
        named = {name: number for number, name in enumerate(src.descriptions, start=1) if name}
        first = (1, 2, 3) if src.count >= 3 else (1, 1, 1)
        self._bands = tuple(named[band] for band in TRUE_COLOUR) if set(TRUE_COLOUR) <= set(named) else first
        self._src = src
        self._range = self._limits()

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator["ChipImage"]:
        """The image of a file.

        Raises:
            MissingInputError, InputError: it is not there, no image, or damaged.
        """
        with open_raster(path) as src:
            if src.crs is None:
                raise InputError(f"{one_line(path)} has no CRS: chips cannot be cut from it")
            try:
                yield cls(src)
            except RasterioError as error:
                raise InputError(f"{one_line(path)} is damaged: {reason(error)}") from error

    def _limits(self) -> NDArray[np.float64] | None:
        """Darkest and brightest value of each band, shape (band, 2); None for an image that is ready to be shown."""
        if set(self._src.dtypes) == {"uint8"}:
            return None
        shrink = max(1, max(self._src.shape) / THIN_PX)
        shape = (3, *(max(1, round(side / shrink)) for side in self._src.shape))
        pixels = self._src.read(self._bands, out_shape=shape, masked=True).astype(float).filled(np.nan)
        known = pixels[:, np.isfinite(pixels).all(axis=0)]
        if not known.size:
            return np.array([[0.0, 1.0]] * 3)
        limits: NDArray[np.float64] = np.percentile(known, STRETCH, axis=1).T
        return limits

    def around(self, x: float, y: float, crs: str, mark_m: float) -> Image.Image | None:
        """The ground around a point with a square on it; None where the image shows nothing.

        Args:
            x: of the point, in metres.
            y: likewise.
            crs: theirs.
            mark_m: side of the square.
        """
        scale = CHIP_M / CHIP_PX
        place = Affine(scale, 0, x - CHIP_M / 2, 0, -scale, y + CHIP_M / 2)
        with WarpedVRT(
            self._src, crs=crs, transform=place, width=CHIP_PX, height=CHIP_PX, resampling=Resampling.nearest
        ) as chip:
            pixels = chip.read(self._bands, masked=True)
            seen = chip.dataset_mask() > 0
        values = pixels.astype(float).filled(np.nan)
        seen &= np.isfinite(values).all(axis=0)
        if not seen.any():
            return None
        if self._range is not None:
            low, high = self._range[:, 0, None, None], self._range[:, 1, None, None]
            values = (values - low) / np.maximum(high - low, 1e-6) * 255
        shown = np.where(seen, np.clip(values, 0, 255), 255).astype(np.uint8)
        picture = Image.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0)))
        half = mark_m / scale / 2
        box = (CHIP_PX / 2 - half, CHIP_PX / 2 - half, CHIP_PX / 2 + half, CHIP_PX / 2 + half)
        ImageDraw.Draw(picture).rectangle(box, outline=INK, width=2)
        return picture


def write_chips(
    path: Path,
    folder: Path,
    places: tuple[NDArray[np.float64], NDArray[np.float64]],
    crs: str,
    gsd_m: float,
) -> list[str]:
    """A PNG for each point, named by its number from 1; the names, empty where the image shows nothing.

    Args:
        path: of the image.
        folder: where the PNGs go, in `chips`; names are relative to it.
        places: x and y of the points, in metres.
        crs: theirs.
        gsd_m: pixels of the map.

    Raises:
        MissingInputError, InputError: as `ChipImage.open`.
        StorageError: the disk refuses.
    """
    names = []
    with ChipImage.open(path) as image, storage_errors(folder / "chips"):
        (folder / "chips").mkdir(parents=True, exist_ok=True)
        for number, (x, y) in enumerate(zip(*places, strict=True), start=1):
            picture = image.around(float(x), float(y), crs, max(MARK_M, gsd_m))
            name = f"chips/{number:05d}.png" if picture else ""
            if picture:
                picture.save(folder / name)
            names.append(name)
    return names
