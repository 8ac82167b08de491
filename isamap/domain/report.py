"""What a report holds: facts, warnings, sections of tables and figures, and how a number in it is shown."""

import math
from dataclasses import dataclass
from numbers import Integral

Cell = str | int | float | None
"""None and NaN: not defined, e.g. the precision of a map without ISA."""
UNDEFINED = "\N{EN DASH}"


@dataclass(frozen=True)
class Table:
    """Rows under named columns; a CSV file of its own."""

    name: str
    """Of the CSV file, without suffix."""
    title: str
    """Above the table."""
    columns: tuple[str, ...]
    """Headings, units in them: `area (km²)`."""
    rows: tuple[tuple[Cell, ...], ...]
    """A cell for each column; the first says what the row is about."""
    note: str = ""
    """Below the table: definitions, sample size."""
    highlight: tuple[int, ...] = ()
    """Numbers of the rows that the reader should see first."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.name}: {len(row)} cells under {len(self.columns)} columns")
        if not set(self.highlight) <= set(range(len(self.rows))):
            raise ValueError(f"table {self.name}: rows {self.highlight} to highlight, of {len(self.rows)}")

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether a column holds numbers only."""
        return tuple(not any(isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns)))


@dataclass(frozen=True)
class Figure:
    """A picture; a PNG file of its own."""

    name: str
    """Of the PNG file, without suffix."""
    title: str
    """Above the caption."""
    png: bytes
    """The picture."""
    alt: str
    """What the picture says, for readers who cannot see it."""
    caption: str = ""
    """Below the title: how to read it."""


@dataclass(frozen=True)
class Section:
    """Tables and figures about one question."""

    title: str
    """Heading, and entry of the contents."""
    text: str = ""
    """Paragraphs with an empty line between them."""
    tables: tuple[Table, ...] = ()
    """In reading order."""
    figures: tuple[Figure, ...] = ()
    """In reading order, after the tables."""


@dataclass(frozen=True)
class Report:
    """All that one page says."""

    title: str
    """What was evaluated."""
    subtitle: str
    """Against what, where, when."""
    facts: tuple[tuple[str, str], ...]
    """Name and value: inputs, models, digests, versions, dates."""
    warnings: tuple[str, ...]
    """What makes the figures doubtful, one sentence each."""
    sections: tuple[Section, ...]
    """In reading order."""

    @property
    def tables(self) -> tuple[Table, ...]:
        """Those of all sections."""
        return tuple(table for section in self.sections for table in section.tables)

    @property
    def figures(self) -> tuple[Figure, ...]:
        """Those of all sections."""
        return tuple(figure for section in self.sections for figure in section.figures)


def is_defined(cell: Cell) -> bool:
    """Whether there is anything to show."""
    return cell is not None and (isinstance(cell, str) or not math.isnan(cell))


def shown(cell: Cell) -> str:
    """A cell as people read it: three digits, e.g. 0.872, 3.14, 25.0, 1234, 12 346; text as it is.

    Fractions up to 1 have three decimals, so that those of a column can be compared at a glance.
    """
    if not is_defined(cell):
        return UNDEFINED
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    number = float(cell or 0)  # -0.0 is 0 too
    if isinstance(cell, Integral) or not math.isfinite(number):
        text = _grouped(f"{cell}")
    else:
        text = _rounded(number)
    return text.replace("-", "\N{MINUS SIGN}")


def _rounded(number: float) -> str:
    """Three digits; small numbers keep them, large ones lose none before the point."""
    size = abs(number)
    if 0 < size < 0.01:
        return f"{number:.3g}"
    for limit, decimals in ((1.0005, 3), (9.995, 2), (99.95, 1)):
        if size < limit:
            return f"{number:.{decimals}f}"
    return _grouped(f"{number:.0f}")


def _grouped(digits: str) -> str:
    """Thousands apart from five digits on: years stay whole."""
    if len(digits.lstrip("-")) < 5 or not digits.lstrip("-").isdigit():
        return digits
    return f"{int(digits):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
