"""A miniature of Five-Billion-Pixels, made from a seed: same folders, names, band order, colours and indices.

    python tests/fbp_folder.py FOLDER [IMAGES [SIDE]]

`Image__8bit_NirRGB/<image>.tif`: uint8, near infrared, red, green, blue, without a position, as the original.
`Annotation__color/<image>_24label.tif`: RGB. `Annotation__index/<image>_24label.png`: 0 unlabelled, 1-24.
The pixels are patches of flat colours with noise: enough to go through every step, nothing to learn a country from.
"""

import sys
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from isamap.domain.classes import FBP24  # noqa: E402  # the script runs from any folder

NAME = "GF2_PMS1__L1A{:010d}-MSS1"
UNLABELLED_SHARE = 0.25
CELL_PX = 24


def spectra() -> np.ndarray:
    """Near infrared, red, green, blue of each class, uint8 `(25, 4)`: green things bright in the infrared, water dark."""
    table = np.zeros((25, 4), np.float32)
    for one in FBP24.classes:
        green = one.name.split()[-1] in ("field", "cropland", "land", "forest", "meadow", "park")
        wet = one.name.split()[-1] in ("river", "lake", "pond")
        base = (190, 60, 80, 55) if green else (25, 50, 70, 80) if wet else (120, 130, 125, 120)
        table[one.code] = np.array(base) + ((one.code * 37) % 40 - 20)
    return table


def make_image(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels `(4, y, x)` and codes `(y, x)`, 0 unlabelled, of one image with every class in it."""
    cells = -(-side // CELL_PX)
    codes = rng.integers(1, 25, (cells, cells))
    codes[rng.random(codes.shape) < UNLABELLED_SHARE] = 0
    codes.ravel()[:24] = rng.permutation(24) + 1
    fine = np.kron(codes, np.ones((CELL_PX, CELL_PX), np.int64))[:side, :side]
    table = spectra()
    table[0] = (110, 110, 110, 110)
    pixels = table[fine].transpose(2, 0, 1) + rng.normal(0, 8, (4, side, side))
    return pixels.clip(1, 255).astype(np.uint8), fine.astype(np.uint8)


def make_folder(folder: Path, images: int = 3, side: int = 192, seed: int = 0) -> Path:
    """The folder."""
    rng = np.random.default_rng(seed)
    places = {
        name: folder / name for name in ("Image__8bit_NirRGB", "Annotation__color", "Annotation__index")
    }
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    colours = np.zeros((25, 3), np.uint8)
    for one in FBP24.classes:
        colours[one.code] = one.colour
    for number in range(images):
        pixels, codes = make_image(rng, side)
        name = NAME.format(564539 + number)
        write_tiff(places["Image__8bit_NirRGB"] / f"{name}.tif", pixels)
        write_tiff(places["Annotation__color"] / f"{name}_24label.tif", colours[codes].transpose(2, 0, 1))
        Image.fromarray(codes).save(places["Annotation__index"] / f"{name}_24label.png")
    return folder


def write_tiff(path: Path, values: np.ndarray, **place: object) -> Path:
    """A GeoTIFF without a position, unless one is given."""
    import warnings

    count, height, width = values.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        shape = {"count": count, "height": height, "width": width, "dtype": values.dtype}
        with rasterio.open(path, "w", driver="GTiff", compress="deflate", **shape, **place) as dst:
            dst.write(values)
    return path


if __name__ == "__main__":
    make_folder(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
