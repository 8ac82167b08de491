"""Charts of a report: confusion matrix, reliability, bars and time series with their confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isamap.domain.report import Figure, shown
from isamap.io.pictures import Chip, Extent, agreement_map, chips, class_map
from isamap.io.sheet import (
    INK,
    MUTED,
    PAPER,
    RULE,
    SERIES,
    WIDTH_IN,
    Heading,
    finish,
    label,
    new_sheet,
    plain_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

__all__ = [
    "Chip",
    "Extent",
    "Heading",
    "Series",
    "agreement_map",
    "bars",
    "chips",
    "class_map",
    "confusion_matrix",
    "reliability_curve",
    "time_series",
]

RIGHT, WRONG = (0, 114, 178), (213, 94, 0)
"""What cells on the diagonal of a confusion matrix, and beside it, darken to."""
MARKERS = "osD^vPX"
LABELS = 12
"""Years that an axis has room to name."""
MAX_HEIGHT_IN = 60.0
MANY = 1e5
"""Numbers from here on have no decimals."""
SPOKEN = 12
"""Values that a text alternative lists."""


@dataclass(frozen=True)
class Series:
    """Estimates of one product or method."""

    label: str
    """In the legend."""
    values: Sequence[float]
    """NaN where not defined."""
    low: Sequence[float] | None = None
    """Lower ends of the 95 % confidence intervals; NaN where there is none."""
    high: Sequence[float] | None = None
    """Their upper ends."""

    @property
    def points(self) -> NDArray[np.float64]:
        """The values as an array."""
        return np.asarray(self.values, np.float64)

    @property
    def interval(self) -> NDArray[np.float64]:
        """Lower and upper ends, shape (2, n); NaN where there is none."""
        if self.low is None or self.high is None:
            return np.full((2, len(self.values)), np.nan)
        return np.array([self.low, self.high], np.float64)


def confusion_matrix(
    heading: Heading,
    labels: Sequence[str],
    matrix: ArrayLike,
    sides: tuple[str, str] = ("map", "reference"),
) -> Figure:
    """A cell for each pair of classes, with its value and its share of all.

    Args:
        heading: name, title, caption.
        labels: of the classes, in the order of the matrix.
        matrix: counts, areas or proportions, shape (n, n).
        sides: what rows and columns are.
    """
    cells = np.asarray(matrix, np.float64)
    shares = cells / cells.sum() if np.nansum(cells) else np.zeros_like(cells)
    side_in = max(3.2, 1.6 + 0.9 * len(labels))
    sheet = new_sheet(min(side_in, WIDTH_IN) * 0.85, min(side_in + 0.6, WIDTH_IN))
    axes = sheet.add_subplot()
    axes.imshow(_tints(shares), aspect="auto", interpolation="nearest")
    size = 11 if len(labels) <= 4 else 8
    for (row, column), value in np.ndenumerate(cells):
        text = f"{shown(float(value))}\n{shown(100 * float(shares[row, column]))} %"
        ink = PAPER if shares[row, column] > 0.45 else INK
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=size)
    names = ["\n".join(wrap(label(text, 30), 12)) for text in labels]
    axes.set_xticks(range(len(names)), names, fontsize=size)
    axes.set_yticks(
        range(len(names)), names, fontsize=size, rotation=90, va="center", multialignment="center"
    )
    axes.set_xlabel(label(sides[1]), color=MUTED)
    axes.set_ylabel(label(sides[0]), color=MUTED)
    axes.xaxis.set_label_position("top")
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=PAPER, linewidth=3)
    axes.tick_params(which="minor", length=0, top=False)
    return finish(sheet, heading, _matrix_in_words(labels, cells, sides))


def _tints(shares: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Colours of the cells: the larger the share, the darker; blue where the sides agree, else orange."""
    full = np.where(np.eye(len(shares), dtype=bool)[..., None], RIGHT, WRONG)
    depth = 0.08 + 0.92 * np.sqrt(np.nan_to_num(shares))[..., None]
    tints: NDArray[np.uint8] = (255 - depth * (255 - full)).astype(np.uint8)
    return tints


def _matrix_in_words(labels: Sequence[str], cells: NDArray[np.float64], sides: tuple[str, str]) -> str:
    pairs = [
        f"{sides[0]} {labels[row]}, {sides[1]} {labels[column]}: {_said(value)}"
        for (row, column), value in np.ndenumerate(cells)
    ]
    return "Confusion matrix. " + "; ".join(pairs[: SPOKEN + 4])


def reliability_curve(
    heading: Heading, predicted: ArrayLike, observed: ArrayLike, count: ArrayLike
) -> Figure:
    """Observed share of ISA against predicted probability, over the number of pixels in each bin.

    Args:
        heading: name, title, caption.
        predicted: mean probability of each bin, 0-1.
        observed: share of ISA among its pixels, 0-1, NaN in empty bins.
        count: pixels in each bin.
    """
    x, y, pixels = (np.asarray(values, np.float64) for values in (predicted, observed, count))
    sheet = new_sheet(5.2, 4.6)
    curve, columns = sheet.subplots(2, 1, sharex=True, height_ratios=(3.4, 1))
    plain_axes(curve, "both")
    curve.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1, label="perfectly calibrated")
    curve.plot(x, y, color=SERIES[0], marker="o", markersize=5, label="map")
    curve.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="observed share of ISA")
    curve.legend(frameon=False, loc="upper left")
    plain_axes(columns, "y")
    columns.bar(x, pixels, width=0.7 / max(len(x), 1), color=SERIES[0])
    columns.set(xlabel="predicted probability of ISA", ylabel="pixels")
    columns.yaxis.set_major_formatter(_tick)
    columns.locator_params(axis="y", nbins=3)
    pairs = [f"{_said(one)} observed {_said(other)}" for one, other in zip(x, y, strict=True)]
    return finish(sheet, heading, "Reliability curve. Predicted " + "; ".join(pairs[:SPOKEN]))


def bars(heading: Heading, labels: Sequence[str], series: Sequence[Series], axis: str) -> Figure:
    """Horizontal bars with confidence intervals, those of all series side by side.

    Args:
        heading: name, title, caption.
        labels: of the rows, at most some hundred.
        series: estimates, a value for each label.
        axis: what the values are, with unit: `ISA (km²)`.
    """
    height_in = 1.1 + len(labels) * (0.14 + 0.24 * len(series)) + 0.3 * (len(series) > 1)
    sheet = new_sheet(min(height_in, MAX_HEIGHT_IN))
    axes = plain_axes(sheet.add_subplot(), "x")
    rows, thick = np.arange(len(labels)), 0.8 / max(len(series), 1)
    for number, one in enumerate(series):
        y = rows + (number - (len(series) - 1) / 2) * thick
        axes.barh(y, one.points, thick * 0.9, color=_colour(number), label=label(one.label))
        _whiskers(axes, np.array([y, y]), one.interval, "|")
        ends = np.fmax(np.fmax(one.points, np.fmax(*one.interval)), 0)
        for place, value, end in zip(y, one.points, np.nan_to_num(ends), strict=True):
            _beside(axes, shown(float(value)), (float(end), float(place)))
    axes.set_yticks(rows, [label(text) for text in labels])
    axes.tick_params(axis="y", length=0)
    axes.spines.left.set_visible(False)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.margins(x=0.14)
    axes.xaxis.set_major_formatter(_tick)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_xlabel(label(axis, 80))
    _legend(sheet, series)
    return finish(sheet, heading, _in_words(f"Bars of {axis}", labels, series))


def time_series(heading: Heading, years: Sequence[int], series: Sequence[Series], axis: str) -> Figure:
    """Lines over years with confidence intervals.

    Args:
        heading: name, title, caption.
        years: in ascending order; a year without data need not be among them.
        series: estimates, a value for each year.
        axis: what the values are, with unit: `ISA (km²)`.
    """
    sheet = new_sheet(3.6 + 0.3 * (len(series) > 1))
    axes = plain_axes(sheet.add_subplot(), "y")
    for number, one in enumerate(series):
        x = np.asarray(years, np.float64) + (number - (len(series) - 1) / 2) * 0.06
        mark = MARKERS[number % len(MARKERS)]
        axes.plot(x, one.points, color=_colour(number), marker=mark, markersize=5, label=label(one.label))
        _whiskers(axes, one.interval, np.array([x, x]), "_", _colour(number))
    ticks = ticks_of(years)
    axes.set_xticks(ticks, [str(year) for year in ticks])
    axes.margins(x=0.05, y=0.1)
    axes.set_xlabel("year")
    axes.set_ylabel(label(axis))
    axes.yaxis.set_major_formatter(_tick)
    _legend(sheet, series)
    return finish(sheet, heading, _in_words(f"Time series of {axis}", [str(y) for y in years], series))


def ticks_of(years: Sequence[int]) -> list[int]:
    """Years whose labels have room beside each other: the ends, and what lies far enough from them and the one before."""
    kept, last = list(years[:1]), list(years[-1:])
    for year in years[1:-1]:
        if min(year - kept[-1], last[0] - year) * (LABELS - 1) >= last[0] - years[0]:
            kept.append(year)
    return [*kept, *last] if kept[-1:] != last else kept


def _colour(number: int) -> str:
    return SERIES[number % len(SERIES)]


def _tick(value: float, _: float) -> str:
    """A number beside an axis; thousands apart, and no powers of ten: axes end at some thousand million."""
    text = f"{value:,.0f}" if abs(value) >= MANY else f"{value:,.6g}"
    return text.replace("-", "\N{MINUS SIGN}").replace(",", "\N{NARROW NO-BREAK SPACE}")


def _whiskers(
    axes: "Axes",
    y: NDArray[np.float64],
    x: NDArray[np.float64],
    cap: str,
    colour: str = INK,
) -> None:
    """A line with caps for each interval, also where the estimate lies outside of it; shape (2, n)."""
    if x.shape[1]:
        axes.plot(x, y, color=colour, linewidth=1.2, marker=cap, markersize=6)


def _beside(axes: "Axes", text: str, end: tuple[float, float]) -> None:
    axes.annotate(text, end, (5, 0), textcoords="offset points", va="center", color=INK, fontsize=9)


def _legend(sheet: "Sheet", series: Sequence[Series]) -> None:
    if len(series) > 1:
        columns = 2 if max(len(one.label) for one in series) > 20 else 3
        sheet.legend(loc="outside upper left", ncols=columns, frameon=False, edgecolor=RULE)


def _in_words(what: str, labels: Sequence[str], series: Sequence[Series]) -> str:
    """Text alternative: the first values of each series with their intervals."""
    spoken = []
    for one in series:
        pairs = zip(labels, one.points, *one.interval, strict=True)
        values = [f"{name} {_said(value)}{_range(low, high)}" for name, value, low, high in pairs]
        more = f" and {len(values) - SPOKEN} more" if len(values) > SPOKEN else ""
        spoken.append(f"{one.label}: {', '.join(values[:SPOKEN])}{more}")
    return f"{what}. " + ". ".join(spoken)


def _range(low: float, high: float) -> str:
    return f" ({_said(low)} to {_said(high)})" if np.isfinite([low, high]).all() else ""


def _said(value: float) -> str:
    """A number in a text that is read aloud."""
    return shown(float(value)) if np.isfinite(value) else "not defined"
