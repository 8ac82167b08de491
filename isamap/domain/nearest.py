"""A raster of bytes on a finer grid of another projection: every pixel shows the source pixel in which its centre lies.

Eight pixels of a row, a word, lie in one source pixel or in two neighbours of a row of the source: a word needs two
looks, and the place where one ends and the other begins. The few words that lie in two rows of the source are
looked up pixel by pixel. Positions are known at nodes and interpolated between them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WORD = 8
"""Pixels to a word."""
NODE_PX = 512
"""Pixels between nodes."""
STRIP_ROWS = 64
"""Rows that are worked on at a time: what is made of them on the way stays in the cache."""
RIM = 2
"""Pixels of nothing around the source, so that what lies beyond it needs no other way."""
MAX_SIDE_PX = 4000
"""Of the source: all its pixels can then be numbered in 32-bit floats."""
FINEST = 1 / WORD
"""Source pixels to a pixel, at most."""
FIRST = np.arange(0, NODE_PX, WORD, dtype=np.float32) + np.float32(0.5)
"""Centre of the first pixel of each word, counted from its node."""
KEPT = np.array([(1 << 8 * count) - 1 for count in range(WORD + 1)], np.uint64)
"""Bits of the first bytes of a word, the lowest first."""


def node_places(side: int) -> NDArray[np.float64]:
    """Where the nodes of a side of so many pixels lie: the last one at its end or beyond it."""
    return np.arange(-(-side // NODE_PX) + 1, dtype=np.float64) * NODE_PX


@dataclass(frozen=True)
class Nodes:
    """Columns and rows of the source, counted from its corner, at the nodes of the finer grid: shape (node row, node)."""

    cols: NDArray[np.float64]
    """Column."""
    rows: NDArray[np.float64]
    """Row."""

    def fit(self) -> bool:
        """Whether words lie in two neighbouring pixels of the source at most."""
        across, tilt = np.diff(self.cols, axis=1) / NODE_PX, np.diff(self.rows, axis=1) / NODE_PX
        return bool(across.min() > 0 and max(across.max(), np.abs(tilt).max()) < FINEST)

    def lines(self, part: slice) -> tuple[NDArray[np.float32], ...]:
        """Column and row at the nodes of some rows between two nodes, and their steps to the next pixel: shape (row, node)."""
        above, inside = divmod(part.start, NODE_PX)
        down = ((inside + 0.5 + np.arange(part.stop - part.start)) / NODE_PX)[:, None]
        places, steps = [], []
        for nodes in (self.cols, self.rows):
            edge = nodes[above] * (1 - down) + nodes[above + 1] * down
            steps.append((np.diff(edge, axis=1) / NODE_PX).astype(np.float32))
            places.append(edge[:, :-1].astype(np.float32))
        return (*places, *steps)


def nearest(
    values: NDArray[np.uint8], nodes: Nodes, shape: tuple[int, int], fill: np.uint8
) -> NDArray[np.uint8]:
    """Source pixels on a finer grid.

    Args:
        values: the source, shape (y, x).
        nodes: where the grid lies on it; they must `fit`.
        shape: rows and columns of the grid.
        fill: value of what lies beyond the source.
    """
    source = np.pad(values, RIM, constant_values=fill)
    words = (source.astype(np.uint64) * np.uint64(0x0101010101010101)).reshape(-1)
    found = np.empty((shape[0], (nodes.cols.shape[1] - 1) * NODE_PX), np.uint8)
    for top in range(0, shape[0], STRIP_ROWS):
        part = slice(top, min(top + STRIP_ROWS, shape[0]))
        _fill(found[part], source, words, nodes.lines(part))
    return found[:, : shape[1]]


def _fill(
    found: NDArray[np.uint8],
    source: NDArray[np.uint8],
    words: NDArray[np.uint64],
    at: tuple[NDArray[np.float32], ...],
) -> None:
    """Some rows."""
    left, top, across, tilt = (one[..., None] for one in at)
    x, y = left + across * FIRST, top + tilt * FIRST
    col, row = np.floor(x), np.floor(y)
    ends = (col + 1 - x) / across  # pixels of the word, as a number, before the next source pixel begins
    count = np.minimum(np.ceil(ends), WORD).astype(np.intp)
    place = place_of(col, row, source.shape)
    one, other = np.take(words, place, mode="clip"), np.take(words, place + 1, mode="clip")
    one ^= other
    one &= np.take(KEPT, count, mode="clip")
    one ^= other
    found.view("<u8")[:] = one.reshape(len(found), -1)
    cut = np.flatnonzero(np.floor(y + (WORD - 1) * tilt) != row)
    line, rest = np.divmod(cut, col[0].size)
    node = rest // (NODE_PX // WORD)
    every = [
        one.reshape(-1)[cut][:, None] + step[line, node] * np.arange(WORD, dtype=np.float32)
        for one, step in ((x, across), (y, tilt))
    ]
    place = place_of(np.floor(every[0]), np.floor(every[1]), source.shape)
    found.reshape(-1, WORD)[cut] = source.reshape(-1)[place]


def place_of(col: NDArray[np.float32], row: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Where a pixel lies in the flattened source with its rim; its right neighbour is the next one."""
    height, width = shape
    rows = np.clip(row, -RIM, height - 2 * RIM)
    rows += RIM
    rows *= width
    rows += np.clip(col, -RIM, width - 2 * RIM)
    rows += RIM
    return rows.astype(np.intp)
