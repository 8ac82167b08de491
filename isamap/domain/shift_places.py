"""Where maps of two years are looked at to measure the shift between them: windows of one shape, spread over both."""

from math import ceil

import numpy as np

from isamap.domain.grid import Window
from isamap.domain.product import BLOCK_PX

SAMPLE_PX = 384
"""Side of a window; in a large map each lies in one block."""
SAMPLES = 3
"""Windows in each direction of a large map."""
LARGE_PX = 8 * BLOCK_PX
"""Side from which a map is large: a tile of 1 m has 20 blocks."""
COVERING = 4
"""Most windows in each direction of a smaller map: three blocks are covered."""
FURTHER = 6
"""Most windows in each direction where the first ones show nothing."""


def places(within: Window) -> list[Window]:
    """Windows that are looked at first: all of the ground of a small map, a sample of that of a large one.

    Args:
        within: the ground of both maps.
    """
    return _windows(within, _starts(within.height), _starts(within.width))


def further_places(within: Window) -> list[Window]:
    """Windows to look at, too, where those of `places` show nothing: water, cloud; none where they show all."""
    first = places(within)
    both = _windows(within, _spread(within.height, FURTHER), _spread(within.width, FURTHER))
    return [window for window in both if window not in first]


def _windows(within: Window, rows: list[int], cols: list[int]) -> list[Window]:
    height, width = min(SAMPLE_PX, within.height), min(SAMPLE_PX, within.width)
    return [Window(within.row_off + row, within.col_off + col, height, width) for row in rows for col in cols]


def _starts(side: int) -> list[int]:
    """Beginnings of the first windows along a side."""
    if side < LARGE_PX:
        return _spread(side, COVERING)
    return sorted(
        {int(at) // BLOCK_PX * BLOCK_PX for at in np.linspace(0, side - BLOCK_PX, SAMPLES + 2)[1:-1]}
    )


def _spread(side: int, most: int) -> list[int]:
    """Beginnings of windows from end to end of a side: as many as cover it, or that many, each in a block."""
    count = min(most, ceil(side / SAMPLE_PX))
    at = np.linspace(0, max(0, side - SAMPLE_PX), count)
    if count * SAMPLE_PX < side:
        at = at // BLOCK_PX * BLOCK_PX
    return sorted({int(one) for one in at})
