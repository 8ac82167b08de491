"""The picture beside a map: the input as a person sees it, the map, a legend and a scale bar."""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from isamap.domain.grid import Window
from isamap.domain.product import CLASSES, NODATA, Layer
from isamap.io.guard import open_raster
from isamap.io.pictures import round_length
from isamap.io.store import storage_errors
from isamap.io.strangers import signature

PANEL_PX = 1400
"""Longer side of each of the two panels."""
BAR_PX = 56
GAP_PX = 16
INK, PAPER = (40, 40, 40), (255, 255, 255)


class Thumbnail:
    """The true-colour input, thinned while its windows pass by."""

    def __init__(self, shape: tuple[int, int], bands: tuple[str, ...], gsd_m: float) -> None:
        self.gsd_m = gsd_m
        self.step = max(1, -(-max(shape) // PANEL_PX))
        self.bands = [bands.index(b) for b in ("B04", "B03", "B02") if b in bands] or [0]
        thin = tuple(-(-side // self.step) for side in shape)
        self.pixels = np.full((3, *thin), np.nan, np.float32)

    def add(self, window: Window, lr: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Keep every `step`th pixel of a window `(band, y, x)` without halo."""
        rows = np.arange(-window.row_off % self.step, window.height, self.step)
        cols = np.arange(-window.col_off % self.step, window.width, self.step)
        pixels = np.where(valid, lr[self.bands], np.nan)[:, rows[:, None], cols]
        top, left = -(-window.row_off // self.step), -(-window.col_off // self.step)
        self.pixels[:, top : top + len(rows), left : left + len(cols)] = pixels

    def picture(self, size: tuple[int, int]) -> Image.Image:
        """Stretched between the 1st and 99th percentile of its pixels, white where there are none."""
        known = np.isfinite(self.pixels)
        low, high = np.percentile(self.pixels[known], (1, 99)) if known.any() else (0.0, 1.0)
        bright = (self.pixels - low) / max(high - low, 1e-6) * 255
        values = np.where(known, np.clip(bright, 0, 255), 255).astype(np.uint8)
        return Image.fromarray(np.ascontiguousarray(values.transpose(1, 2, 0))).resize(
            size, Image.Resampling.BILINEAR
        )


def write_preview(path: Path, thumbnail: Thumbnail, classes: Path, layer: Layer = CLASSES) -> None:
    """PNG of the input (left) and the map (right), in the colours of its layer."""
    with open_raster(classes) as src:
        gsd_m = abs(src.transform.a)
        shrink = max(src.shape) / PANEL_PX
        size = tuple(max(1, round(side / shrink)) for side in src.shape[::-1])
        values = src.read(1, out_shape=size[::-1])
    table = np.full((256, 3), 255, np.uint8)
    for value, colour in layer.colours.items():
        if value != NODATA:
            table[value] = colour[:3]
    mapped = Image.fromarray(table[values])
    sheet = Image.new("RGB", (2 * size[0] + GAP_PX, size[1] + BAR_PX), PAPER)
    sheet.paste(thumbnail.picture(size), (0, 0))
    sheet.paste(mapped, (size[0] + GAP_PX, 0))
    _legend(ImageDraw.Draw(sheet), size, (gsd_m * shrink, thumbnail.gsd_m), layer)
    with storage_errors(path):
        # faster than level 1 and smaller
        sheet.save(path, format="PNG", compress_type=zlib.Z_RLE, pnginfo=signature())


def _legend(
    draw: ImageDraw.ImageDraw, size: tuple[int, int], pixels_m: tuple[float, float], layer: Layer
) -> None:
    """Scale bar under the input, colours under the map; a scheme of many classes is only named.

    Args:
        draw: the sheet.
        size: of a panel.
        pixels_m: of the sheet, and of the input.
        layer: of the map.
    """
    m_per_px, gsd_m = pixels_m
    font = ImageFont.load_default(size=20)
    top = size[1] + 16
    length_m = round_length(size[0] * m_per_px / 4)
    draw.rectangle((8, top + 10, 8 + length_m / m_per_px, top + 16), fill=INK)
    label = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    draw.text((16 + length_m / m_per_px, top), f"{label}   input, {gsd_m:g} m", fill=INK, font=font)
    left = size[0] + GAP_PX
    if layer.key != CLASSES.key:
        draw.text((left, top), layer.description, fill=INK, font=font)
        return
    for value, label in ((1, "impervious"), (0, "pervious")):
        draw.rectangle((left, top + 2, left + 24, top + 22), fill=CLASSES.colours[value][:3], outline=INK)
        draw.text((left + 32, top), label, fill=INK, font=font)
        left += 32 + int(draw.textlength(label, font=font)) + 24
