"""What a fetch will cost, said before it begins; and how months are written."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from isamap.domain import revisit
from isamap.domain.composite import ALL_MONTHS
from isamap.domain.grid import MARGIN_PX, TILE_M, TILE_PX, Tile
from isamap.domain.scenes import Selection
from isamap.domain.utm import EQUATOR_M
from isamap.errors import ConfigError

MEGABITS_PER_S = 200
"""Bandwidth that the hours are said for."""
COMPOSITE_BYTES = 12_000_000
"""Of one published tile, as real ones turn out."""
NORTHING_M_PER_DEGREE = 110_700
"""Of latitude, about; it grows by 1 % from the equator to the poles."""


def parse_months(text: str) -> tuple[int, ...]:
    """Months of `4-10`, `4,5,6` or `11-2`, sorted.

    `11-2` turns over the end of the year, but all months are of the one year that is asked for: January, February,
    November and December of it.

    Raises:
        ConfigError: it says something else.
    """
    months: set[int] = set()
    for part in text.split(","):
        first, dash, last = (side.strip() for side in part.partition("-"))
        ends = [first, last] if dash else [first, first]
        if not all(end.isascii() and end.isdigit() and 1 <= int(end) <= 12 for end in ends):
            raise ConfigError(f"months {text!r}: write 4-10 or 4,5,6, each from 1 to 12")
        begin, stop = map(int, ends)
        months.update(range(begin, stop + 1) if begin <= stop else [*range(begin, 13), *range(1, stop + 1)])
    return tuple(sorted(months))


@dataclass(frozen=True)
class Estimate:
    """What composites of some tiles cost."""

    scenes: int
    """Scenes that will be read, over all tiles."""
    read_gb: float
    """Gigabytes from the source."""
    write_gb: float
    """Gigabytes of composites."""
    hours: float
    """Time of the transfer at MEGABITS_PER_S."""
    basis: str
    """Where the number of scenes comes from."""

    def document(self) -> dict[str, Any]:
        """As JSON, with the bandwidth that is assumed."""
        return {**asdict(self), "assumed_megabits_per_s": MEGABITS_PER_S}


def modelled_scenes(tile: Tile, year: int, selection: Selection) -> float:
    """Scenes of a tile that pass the limits, from orbits: a share of max_cloud percent passes."""
    return _modelled(_latitude(tile), year, selection)


@cache
def _modelled(lat: float, year: int, selection: Selection) -> float:
    """The same for all tiles of a row."""
    every = revisit.expected_scenes(lat, year, selection.months or ALL_MONTHS)
    return min(every * selection.max_cloud / 100, float(selection.max_scenes))


def _latitude(tile: Tile) -> float:
    """Of the tile's centre, to a tenth of a degree."""
    northing_m = (tile.iy + 0.5) * TILE_M - (EQUATOR_M if tile.hemisphere == "S" else 0)
    return northing_m / NORTHING_M_PER_DEGREE


def estimate(scenes: float, tiles: int, basis: str) -> Estimate:
    """Costs of that many scenes over that many tiles."""
    pixels = (TILE_PX + 2 * MARGIN_PX) ** 2
    read_gb = scenes * revisit.scene_bytes(pixels) / 1e9
    return Estimate(
        scenes=round(scenes),
        read_gb=round(read_gb, 2),
        write_gb=round(tiles * COMPOSITE_BYTES / 1e9, 2),
        hours=round(revisit.hours(read_gb, MEGABITS_PER_S), 2),
        basis=basis,
    )


def scaled(found: Sequence[float], modelled: Sequence[float]) -> float:
    """How many times the model's scenes were really found on the tiles whose search is known; 1 without any."""
    total = sum(modelled)
    return sum(found) / total if found and total else 1.0
