"""Maps of a report: classes with scale bar, map against reference, chips where they disagree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isamap.domain.lonlat import M_PER_DEGREE
from isamap.domain.product import NODATA
from isamap.domain.report import Figure, shown
from isamap.io.sheet import INK, MUTED, PAPER, WIDTH_IN, Heading, finish, label, new_sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

MAP_PX, CHIP_PX = 800, 200
"""Longer side of a map, and of each picture of a chip, when drawn."""
PLATE = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85}
"""Behind scale bar and north arrow."""
AGREEMENT = {
    3: ("hit: ISA in both", "#3b3f46"),
    2: ("false alarm: ISA in the map only", "#e66100"),
    1: ("miss: ISA in the reference only", "#1a85ff"),
    0: ("neither", "#eceee8"),
    NODATA: ("not compared", "#b9bec4"),
}
"""Codes are 2 x map + reference. Orange and blue differ for colour-blind eyes, and all five in lightness."""


@dataclass(frozen=True)
class Extent:
    """Where a picture lies."""

    bounds: tuple[float, float, float, float]
    """Left, bottom, right, top."""
    geographic: bool = False
    """In degrees; else metres."""

    @property
    def shrink(self) -> float:
        """Length of a unit to the east, in units to the north."""
        middle = (self.bounds[1] + self.bounds[3]) / 2
        return float(np.cos(np.radians(middle))) if self.geographic else 1.0

    @property
    def m_per_unit(self) -> float:
        """Metres in a unit to the east."""
        return M_PER_DEGREE * self.shrink if self.geographic else 1.0

    @property
    def tallness(self) -> float:
        """Height over width, on the ground."""
        left, bottom, right, top = self.bounds
        return (top - bottom) / (right - left) / self.shrink


@dataclass(frozen=True)
class Chip:
    """A place where map and reference disagree."""

    title: str
    """Where, and by how much."""
    mapped: NDArray[np.uint8]
    """1 ISA, 0 not, 255 nodata; shape (y, x)."""
    reference: NDArray[np.uint8]
    """Likewise."""
    rgb: NDArray[np.uint8] | NDArray[np.float32] | None = None
    """Shape (y, x, 3) at any resolution: uint8 as it is, reflectance stretched; None if there is no image."""


def class_map(
    heading: Heading,
    codes: NDArray[np.uint8],
    extent: Extent,
    legend: Mapping[int, tuple[str, str]],
    *,
    north_arrow: bool = False,
) -> Figure:
    """A map of classes with legend and scale bar.

    Args:
        heading: name, title, caption.
        codes: classes, shape (y, x); thinned for drawing.
        extent: of the array, north up.
        legend: label and colour `#rrggbb` of each code; other codes stay white.
        north_arrow: whether to draw one.
    """
    codes = thin(codes, MAP_PX)
    sheet = new_sheet(float(np.clip(WIDTH_IN * extent.tallness, 2, 9)) + 0.2 * -(-len(legend) // 2) + 0.1)
    axes = _map_axes(sheet, codes, extent, legend)
    _scale_bar(axes, extent)
    if north_arrow:
        _north_arrow(axes)
    _legend(sheet, legend)
    return finish(sheet, heading, _shares_in_words(codes, legend))


def agreement_map(
    heading: Heading,
    mapped: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    extent: Extent,
    *,
    north_arrow: bool = False,
) -> Figure:
    """Where map and reference agree and where not.

    Args:
        heading: name, title, caption.
        mapped: 1 ISA, 0 not, 255 nodata; shape (y, x).
        reference: likewise.
        extent: of both arrays, north up.
        north_arrow: whether to draw one.
    """
    codes = agreement(thin(mapped, MAP_PX), thin(reference, MAP_PX))
    return class_map(heading, codes, extent, AGREEMENT, north_arrow=north_arrow)


def agreement(mapped: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """2 x map + reference; 255 where either has anything but 0 and 1."""
    known = (mapped <= 1) & (reference <= 1)
    return np.where(known, 2 * (mapped == 1) + (reference == 1), NODATA).astype(np.uint8)


def chips(heading: Heading, pictures: Sequence[Chip]) -> Figure:
    """A row for each chip: image, reference, map against reference."""
    with_image = any(chip.rgb is not None for chip in pictures)
    titles = [*(["image"] if with_image else []), "reference", "map against reference"]
    rows = max(len(pictures), 1)
    sheet = new_sheet(rows * (WIDTH_IN / len(titles) + 0.2) + 0.9)
    grid = sheet.subplots(rows, len(titles), squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(MUTED)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=10, color=MUTED)
    for row, chip in zip(grid, pictures, strict=False):
        _draw_chip(row, chip, with_image=with_image)
    _legend(sheet, AGREEMENT)
    return finish(sheet, heading, "Map and reference side by side: " + "; ".join(c.title for c in pictures))


def _draw_chip(row: "NDArray[np.object_]", chip: Chip, *, with_image: bool) -> None:
    """Panels of one chip, its title under the first."""
    reference = np.where(chip.reference <= 1, 3 * (chip.reference == 1), NODATA)  # in the colours of a hit
    panels = [coloured(codes, AGREEMENT) for codes in (reference, agreement(chip.mapped, chip.reference))]
    if with_image:
        panels.insert(0, _bright(chip.rgb))
    for axes, panel in zip(row, panels, strict=True):
        axes.imshow(thin(panel, CHIP_PX), interpolation="nearest")
    row[0].set_xlabel(label(chip.title, 80), loc="left", fontsize=9, color=INK)


def _bright(rgb: NDArray[np.uint8] | NDArray[np.float32] | None) -> NDArray[np.uint8]:
    """The image as it is drawn; reflectance stretched between its 2nd and 98th percentile."""
    if rgb is None:
        return np.full((1, 1, 3), 255, np.uint8)
    if rgb.dtype == np.uint8:
        return rgb.astype(np.uint8)
    known = np.isfinite(rgb)
    low, high = np.percentile(rgb[known], (2, 98)) if known.any() else (0.0, 1.0)
    scaled = (rgb.astype(np.float64) - low) / max(high - low, 1e-6) * 255
    return np.where(known, np.clip(scaled, 0, 255), 255).astype(np.uint8)


def thin(array: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Every nth row and column, so that the longer side has at most `side_px` pixels."""
    step = max(1, -(-max(array.shape[:2]) // side_px))
    return array[::step, ::step]


def coloured(codes: NDArray[np.integer], legend: Mapping[int, tuple[str, str]]) -> NDArray[np.uint8]:
    """Codes 0-255 as RGB, shape (y, x, 3)."""
    table = np.full((256, 3), 255, np.uint8)
    for code, (_, colour) in legend.items():
        table[code] = tuple(bytes.fromhex(colour.removeprefix("#")))
    rgb: NDArray[np.uint8] = table[codes]
    return rgb


def _map_axes(
    sheet: "Sheet", codes: NDArray[np.uint8], extent: Extent, legend: Mapping[int, tuple[str, str]]
) -> "Axes":
    left, bottom, right, top = extent.bounds
    axes = sheet.add_subplot()
    box = (left, right, bottom, top)
    axes.imshow(coloured(codes, legend), extent=box, aspect=1 / extent.shrink, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color(MUTED)
    axes.autoscale(enable=False)
    return axes


def _scale_bar(axes: "Axes", extent: Extent) -> None:
    """In the lower left corner, about a quarter of the width long."""
    from matplotlib.offsetbox import AnchoredOffsetbox, AuxTransformBox, TextArea, VPacker
    from matplotlib.patches import Rectangle

    left, _, right, _ = extent.bounds
    length_m = round_length((right - left) * extent.m_per_unit / 4)
    text = f"{length_m / 1000:g} km" if length_m >= 1000 else f"{length_m:g} m"
    bar = AuxTransformBox(axes.transData)
    bar.add_artist(Rectangle((0, 0), length_m / extent.m_per_unit, 0, edgecolor=INK, linewidth=3))
    lines = VPacker(children=[TextArea(text, textprops={"color": INK}), bar], align="center", pad=0, sep=5)
    box = AnchoredOffsetbox("lower left", child=lines, pad=0.5, borderpad=0.7)
    box.patch.set(**PLATE)
    axes.add_artist(box)


def round_length(length: float) -> float:
    """The largest of 1, 2, 5 x 10^n that is not longer."""
    power = 10.0 ** np.floor(np.log10(max(length, 1e-3)))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * 1.0001))


def _north_arrow(axes: "Axes") -> None:
    """In the upper right corner."""
    from matplotlib.offsetbox import AnchoredText

    box = AnchoredText("N\n▲", "upper right", pad=0.3, borderpad=0.7, prop={"ha": "center", "color": INK})
    box.patch.set(**PLATE)
    axes.add_artist(box)


def _legend(sheet: "Sheet", legend: Mapping[int, tuple[str, str]]) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(facecolor=colour, edgecolor=MUTED, linewidth=0.6, label=label(text))
        for text, colour in legend.values()
    ]
    sheet.legend(handles=patches, loc="outside lower left", ncols=2, frameon=False, fontsize=9)


def _shares_in_words(codes: NDArray[np.uint8], legend: Mapping[int, tuple[str, str]]) -> str:
    shares = np.bincount(codes.ravel(), minlength=256) / max(codes.size, 1)
    parts = [f"{text} {shown(100 * float(shares[code]))} %" for code, (text, _) in legend.items()]
    return "Map. " + ", ".join(parts)
