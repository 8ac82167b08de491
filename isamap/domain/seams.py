"""Whether two neighbouring tiles meet as if they had been mapped in one piece.

Across the shared edge classes change from one pixel to the next about as often as along the lines beside it. Where
a tile is shifted, or cut at another threshold, nearly every outline breaks at the edge, so there are many more
changes, and along the whole of it. A road or a shore that happens to run along the edge makes as many, but on a
part of it: so the edge is judged in segments, by rank among its own neighbour lines, and by the median excess.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isamap.domain.grid import SCALE
from isamap.domain.product import NODATA

SEGMENT_PX = 256
LINES = 10
"""Neighbour lines on each side, one per input pixel: the network repeats itself with those."""
STRIP_PX = (LINES + 1) * SCALE
"""Pixels that are needed on each side of the edge."""
MIN_SEGMENTS = 8
MIN_CHANGES = 1.0
"""Segments with fewer changes in a line, on average, say nothing."""
MAX_RANK_Z = 3.0
MAX_EXCESS = 2.5
"""A line inside one map passes one of them now and then, but not both; an edge at which a map is moved by a
few pixels, or its threshold by 0.15, passes both."""


@dataclass(frozen=True)
class Seam:
    """How an edge compares with the lines beside it."""

    segments: int
    """Segments in which classes change at all."""
    rank_z: float
    """Mean rank of the edge among its neighbour lines, in standard errors above chance."""
    excess: float
    """Changes across the edge / changes across a neighbour line, median of the segments."""

    @property
    def is_visible(self) -> bool:
        """Whether the two sides do not belong together."""
        enough = self.segments >= MIN_SEGMENTS
        return enough and self.rank_z > MAX_RANK_Z and self.excess > MAX_EXCESS


def compare(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Seam:
    """The seam between two strips of classes that lie on either side of an edge.

    Args:
        before: 0, 1 and 255, shape (length, STRIP_PX); its last column lies at the edge.
        after: the same on the other side; its first column lies at the edge.
    """
    at = np.arange(SCALE, STRIP_PX, SCALE)
    edge = _changes(before[:, -1:], after[:, :1])
    beside = [_changes(strip[:, at - 1], strip[:, at]) for strip in (before, after)]
    lines = np.concatenate(beside, axis=1)
    active = np.concatenate([edge, lines], axis=1).mean(axis=1) >= MIN_CHANGES
    edge, lines = edge[active], lines[active]
    if not len(edge):
        return Seam(0, 0.0, 0.0)
    rank = ((lines < edge).mean(axis=1) + (lines <= edge).mean(axis=1)) / 2
    z = (rank.mean() - 0.5) * np.sqrt(12 * len(edge))  # of a mean of uniform ranks
    excess = np.median(edge[:, 0] / np.maximum(lines.mean(axis=1), MIN_CHANGES / 2))
    return Seam(len(edge), float(z), float(excess))


def _changes(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Class changes between two sets of lines, per segment: (length, line) to (segment, line)."""
    length = len(first) // SEGMENT_PX * SEGMENT_PX
    changed = ((first != second) & (first != NODATA) & (second != NODATA))[:length]
    counts: NDArray[np.int64] = changed.reshape(-1, SEGMENT_PX, first.shape[1]).sum(axis=1)
    return counts
