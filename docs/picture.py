"""The picture of the README: a square of the demo's input beside its map, from what `make demo` wrote.

python docs/picture.py [--scene FILE --map FILE --at ROW COLUMN --out FILE]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

SCENE = Path("examples/chongqing/chongqing-20180402-10m.tif")
MAP = Path("demo/chongqing-20180402-isa.tif")
TOP, LEFT, SIDE = 60, 60, 150
"""A square of the input, in pixels of 10 m."""
PANEL_PX = 750
GAP_PX = 12
COLOURS = np.array([(236, 240, 232), (178, 34, 52)], np.uint8)
"""Other ground, ISA."""


def sheet(pixels: np.ndarray, maps: Sequence[np.ndarray], panel_px: int = PANEL_PX) -> Image.Image:
    """Input `(3, y, x)` in true colours and maps of it `(Y, X)`, side by side."""
    low, high = np.percentile(pixels, (1, 98))
    colours = (np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
    size = panel_px, panel_px
    panels = [Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)]
    panels += [
        Image.fromarray(COLOURS[np.minimum(isa, 1)]).resize(size, Image.Resampling.BOX) for isa in maps
    ]
    side_by_side = Image.new("RGB", (len(panels) * (panel_px + GAP_PX) - GAP_PX, panel_px), "white")
    for index, panel in enumerate(panels):
        side_by_side.paste(panel, (index * (panel_px + GAP_PX), 0))
    return side_by_side.quantize(128)


def main() -> None:
    """Write the picture of a scene (10 m file) and its map; without arguments docs/chongqing.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", type=Path, default=SCENE)
    parser.add_argument("--map", type=Path, default=MAP)
    parser.add_argument("--at", type=int, nargs=2, default=(TOP, LEFT), metavar=("ROW", "COLUMN"))
    parser.add_argument("--out", type=Path, default=Path("docs/chongqing.png"))
    args = parser.parse_args()
    top, left = args.at
    with rasterio.open(args.scene, driver="GTiff") as src:
        window = rasterio.windows.Window(left, top, SIDE, SIDE)
        bands = [src.descriptions.index(name) + 1 for name in ("B04", "B03", "B02")]
        pixels = src.read(bands, window=window).astype(np.float32)
    with rasterio.open(args.map, driver="GTiff") as src:
        isa = src.read(1, window=rasterio.windows.Window(left * 10, top * 10, SIDE * 10, SIDE * 10))
    sheet(pixels, [isa]).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
