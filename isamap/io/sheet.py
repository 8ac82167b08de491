"""The sheet that charts and pictures of a report are drawn on: one look, no global state, the same bytes every time."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image

from isamap.domain.report import Figure
from isamap.errors import ConfigError
from isamap.io.strangers import signature

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

DPI = 150
"""Sharp on screens with two device pixels for one; `io/report.py` shows a sheet at its size in inches."""
WIDTH_IN = 6.0
INK, MUTED, RULE, PAPER = "#1f2933", "#52606d", "#d9dee3", "#ffffff"
SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a7a7a")
"""Colours that stay apart for colour-blind eyes (Okabe and Ito 2008)."""
FONT = "DejaVu Sans"
CHINESE = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "PingFang SC", "Microsoft YaHei")
"""Fonts for what the first one, which comes with matplotlib, cannot write."""
LABEL_LENGTH = 44


@contextmanager
def report_libraries() -> Iterator[None]:
    """Around the imports of libraries that only reports need.

    Raises:
        ConfigError: one is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"reports need matplotlib, jinja2 and pyarrow: pip install 'isamap[report]' ({error})"
        ) from error


@dataclass(frozen=True)
class Heading:
    """The words around a figure."""

    name: str
    """Of the PNG file, without suffix."""
    title: str
    """What is shown."""
    caption: str = ""
    """How to read it."""
    alt: str = ""
    """What it says, for readers who cannot see it; a summary of the figures if left empty."""


def new_sheet(height_in: float, width_in: float = WIDTH_IN) -> "Sheet":
    """An empty sheet, not known to pyplot: threads can draw side by side."""
    with report_libraries():
        from matplotlib.figure import Figure as Sheet
    return Sheet(figsize=(width_in, height_in), dpi=DPI, facecolor=PAPER, layout="constrained")


def plain_axes(axes: "Axes", grid: str) -> "Axes":
    """Axes with a frame on two sides and lines across `grid`: x, y or both."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, length=3)
    axes.grid(axis=grid, color=RULE, linewidth=0.8)  # type: ignore[arg-type]  # a Literal in the stubs
    axes.set_axisbelow(True)
    return axes


def label(text: str, length: int = LABEL_LENGTH) -> str:
    """Text that can be drawn: of a bearable length, boxes for unknown letters, nothing that matplotlib obeys."""
    known = _fonts()[1]
    letters = [letter if ord(letter) in known or letter == "\n" else "□" for letter in text]
    short = letters if len(letters) <= length else [*letters[: length - 1], "…"]
    plain = "".join(short).replace("$", r"\$")  # else it begins a formula
    return f" {plain}" if plain.startswith("_") else plain  # else the legend leaves it out


@cache
def _fonts() -> tuple[tuple[str, ...], frozenset[int]]:
    """Families to draw with, and the code points they know."""
    from matplotlib import font_manager

    installed = font_manager.fontManager.get_font_names()
    families = (FONT, *(family for family in CHINESE if family in installed))
    files = [font_manager.findfont(family) for family in families]
    return families, frozenset().union(*(font_manager.get_font(file).get_charmap() for file in files))


def finish(sheet: "Sheet", heading: Heading, alt: str) -> Figure:
    """The drawn sheet as a figure of a report; `alt` stands in for the heading's if that is empty."""
    from matplotlib.text import Text

    for text in sheet.findobj(Text):
        text.set_fontfamily(_fonts()[0])
    drawn = io.BytesIO()
    sheet.savefig(drawn, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
    return Figure(heading.name, heading.title, _smaller(drawn), heading.alt or alt, heading.caption)


def _smaller(drawn: io.BytesIO) -> bytes:
    """The PNG with a palette, and no more text than whose it is: half the size; large areas keep their exact colour."""
    with Image.open(drawn) as image:
        few = image.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    few.save(buffer, "PNG", dpi=(DPI, DPI), pnginfo=signature())
    return buffer.getvalue()
