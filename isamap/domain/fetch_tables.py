"""Tables of a fetch: what became of every tile, and what nobody has seen of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from isamap.errors import IsamapError, PartialError

SCHEMA = 1
"""Of the report and of `--json`."""
NAMED = 5
"""Tiles that a line of text names."""
State = Literal["fetched", "skipped", "failed", "missing"]
STATES: tuple[State, ...] = ("fetched", "skipped", "failed", "missing")


@dataclass(frozen=True)
class Row:
    """One tile of a fetch."""

    name: str
    """Tile id."""
    state: State
    """`fetched`, `skipped` because it was done, `failed`, or `missing`: no look at this ground exists."""
    path: str | None = None
    """The composite."""
    source: str | None = None
    """Catalogue its scenes come from."""
    used: int | None = None
    """Scenes in it."""
    dropped: int | None = None
    """Scenes left out, each with its reason in the item."""
    looks: Mapping[str, Any] | None = None
    """Clear looks: min, median, max, gaps."""
    months: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Scenes and share seen clear of every month that was asked for."""
    error: str | None = None
    """Why it failed."""

    def document(self) -> dict[str, Any]:
        """As JSON, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value not in (None, {})}


@dataclass
class Report:
    """Every tile that was asked for."""

    what: dict[str, Any]
    """What was fetched: year, or product."""
    requested: int = 0
    """Tiles; after a stop there are fewer rows."""
    rows: list[Row] = field(default_factory=list)
    """One for each tile that was worked on."""
    faults: list[IsamapError] = field(default_factory=list)
    """Of those that failed, as they came."""
    stopped: IsamapError | None = None
    """Fault that the run did not go on after."""

    def document(self) -> dict[str, Any]:
        """The report as a JSON document."""
        return {
            "schema": SCHEMA,
            "command": "fetch",
            **self.what,
            "requested": self.requested,
            **counts(self.rows),
            "coverage": coverage(self.rows),
            "tiles": [row.document() for row in self.rows],
        }

    def raise_for_failures(self) -> None:
        """A lone tile and a run that was stopped fail with their own error, several tiles with PartialError."""
        if self.stopped is not None:
            raise self.stopped
        if self.faults and self.requested == 1:
            raise self.faults[0]
        if self.faults:
            raise PartialError(
                f"{len(self.faults)} of {self.requested} tiles are not fetched: the report names them, rerun to resume"
            )


def row_of_item(name: str, state: State, path: str, item: Mapping[str, Any]) -> Row:
    """Line of a tile whose composite is there."""
    properties = item["properties"]
    return Row(
        name,
        state,
        path,
        source=properties.get("isamap:source"),
        used=len(properties.get("isamap:scenes", ())),
        dropped=len(properties.get("isamap:dropped", ())),
        looks=properties.get("isamap:looks"),
        months=properties.get("isamap:months", {}),
    )


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Rows in each state."""
    return {state: sum(row.state == state for row in rows) for state in STATES}


def coverage(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Each month: tiles looked at, scenes, mean share seen clear, and tiles of which nothing was seen."""
    table: dict[str, dict[str, Any]] = {}
    for month in sorted({month for row in rows for month in row.months}):
        cells = {row.name: row.months[month] for row in rows if month in row.months}
        shares = [float(cell["seen_share"]) for cell in cells.values()]
        table[month] = {
            "tiles": len(cells),
            "scenes": sum(int(cell["scenes"]) for cell in cells.values()),
            "seen_share": round(sum(shares) / len(shares), 4),
            "unseen": [name for name, cell in cells.items() if not cell["seen_share"]],
        }
    return table


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """What an analyst should know of the run, for a terminal: a line for each of the tiles with the largest gaps."""
    gaps = sorted((-_gap_share(row), row.name, _unseen(row)) for row in rows if _gap_share(row))
    for share, name, months in gaps[:NAMED]:
        unseen = f"; no clear look in month {', '.join(months)}" if months else ""
        yield f"{name}: {-100 * share:.2f} % of its pixels have no clear look and are nodata{unseen}"
    if len(gaps) > NAMED:
        yield f"... and gaps on {len(gaps) - NAMED} more tiles: the report lists them"


def _gap_share(row: Row) -> float:
    """Share of a tile without a clear look, 0-1."""
    return float(row.looks["gap_share"]) if row.looks and row.looks["gap_pixels"] else 0.0


def _unseen(row: Row) -> list[str]:
    """Months in which a tile was never seen clear."""
    return [month for month, cell in sorted(row.months.items()) if not cell["seen_share"]]
