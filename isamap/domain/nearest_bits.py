"""Classes on a grid of another projection, as bits: every pixel shows the source pixel in which its centre lies.

Only the outlines of a class are drawn, as polygons are filled: down a column of the grid the class changes where the
centres pass an outline. Every side of a source pixel with another class beyond it flips the pixels just below it; then
each row is added to the next one (exclusive or). What lies between outlines costs nothing.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bits import UNKNOWN, WORD_PX, Bits, Plane, plane_of

STRIP_PX = 1 << 18
"""Source pixels whose sides are drawn at a time."""
CENTRE = 0.5
LOWEST = np.array([(1 << count) - 1 for count in range(WORD_PX + 1)], np.uint64)
"""So many bits of a word, the lowest first."""


@dataclass(frozen=True)
class Corners:
    """Where the corners of source pixels lie on the grid: known at nodes, in line between them."""

    x: NDArray[np.float64]
    """Column of the grid, `(node row, node)`."""
    y: NDArray[np.float64]
    """Row of the grid."""
    step: int
    """Source pixels between nodes."""
    ahead: tuple[int, int]
    """Rows and columns of corners from the first node to the corner of the source; at least one each."""


class _Mesh:
    """Corners of a source with a ring of one pixel around it, numbered along its rows like the pixels below and right of them."""

    def __init__(self, corners: Corners, shape: tuple[int, ...]) -> None:
        self._step, self._ahead = corners.step, corners.ahead[1] - 1
        self.width = shape[1]
        above, down = np.divmod(np.arange(shape[0]) + corners.ahead[0] - 1, corners.step)
        self._stretches = corners.x.shape[1] - 1
        (self._x, self._x_step), (self._y, self._y_step) = (
            self._lines(nodes, above, down[:, None] / corners.step) for nodes in (corners.x, corners.y)
        )

    def _lines(
        self, nodes: NDArray[np.float64], above: NDArray[np.intp], down: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Every row of corners at the nodes, and the step to its next corner: stretch by stretch between nodes."""
        lines = nodes[above] * (1 - down) + nodes[above + 1] * down
        return lines[:, :-1].reshape(-1), np.diff(lines, axis=1).reshape(-1) / self._step

    def stretches(self, corner: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The stretches on which some corners lie, and how far along."""
        row = corner // self.width
        col = corner - row * self.width + self._ahead
        stretch = col // self._step
        return row * self._stretches + stretch, col - stretch * self._step

    def x(self, stretch: NDArray[np.intp], along: NDArray[np.intp]) -> NDArray[np.float64]:
        """Columns of the grid."""
        return self._x.take(stretch) + along * self._x_step.take(stretch)

    def y(self, stretch: NDArray[np.intp], along: NDArray[np.intp]) -> NDArray[np.float64]:
        """Rows of the grid."""
        return self._y.take(stretch) + along * self._y_step.take(stretch)


@dataclass(frozen=True)
class _Lines:
    """Straight lines on the grid that pass the centres of at least one column, each at one place."""

    x: NDArray[np.float64]
    """Column of one end."""
    y: NDArray[np.float64]
    """Its row."""
    slope: NDArray[np.float64]
    """Rows to a column."""
    first: NDArray[np.intp]
    """First column passed."""
    last: NDArray[np.intp]
    """The one behind the last."""

    @classmethod
    def between(cls, mesh: _Mesh, starts: NDArray[np.intp], ends: NDArray[np.intp], columns: int) -> Self:
        """Lines between corners; what lies beside the columns of the grid is left out."""
        (start, along), (end, further) = mesh.stretches(starts), mesh.stretches(ends)
        x, other = mesh.x(start, along), mesh.x(end, further)
        first, last = (
            np.clip(np.ceil(place - CENTRE), 0, columns).astype(np.intp)
            for place in (np.minimum(x, other), np.maximum(x, other))
        )
        passing = np.flatnonzero(first < last)
        start, along, end, further, first, last = (
            one.take(passing) for one in (start, along, end, further, first, last)
        )
        x, y = x.take(passing), mesh.y(start, along)
        slope = (mesh.y(end, further) - y) / (other.take(passing) - x)
        return cls(x, y, slope, first, last)

    def row(self, col: NDArray[np.intp], line: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.intp]:
        """The first row whose centre lies below a line, in a column of each."""
        y = self.y[line] + (col + CENTRE - self.x[line]) * self.slope[line]
        return np.ceil(y - CENTRE).astype(np.intp)


def nearest_bits(classes: NDArray[np.uint8], corners: Corners, shape: tuple[int, int]) -> Bits:
    """Classes on another grid; nothing is known beyond the source.

    Args:
        classes: the source `(y, x)`, 1 ISA, 0 not, anything above unknown.
        corners: where its pixels lie on the grid.
        shape: rows and columns of the grid.
    """
    mesh = _Mesh(corners, (classes.shape[0] + 2, classes.shape[1] + 2))
    isa, edges = (_outlines(mask, mesh, shape) for mask in (classes == 1, classes < UNKNOWN))
    everywhere = np.array_equal(edges[:1], plane_of(np.ones((1, shape[1]), np.uint8)))
    if everywhere and not edges[1:-1].max(initial=0):
        return Bits(_filled(isa), None)
    return Bits(_filled(isa), _filled(edges))


def _filled(edges: Plane) -> Plane:
    """The plane whose bits change from row to row where those of the edges are set."""
    return np.bitwise_xor.accumulate(edges, axis=0, out=edges)[:-1]


def _outlines(mask: NDArray[np.bool_], mesh: _Mesh, shape: tuple[int, int]) -> Plane:
    """Bits of the grid that are not those of the row above, and one more row for all outlines below."""
    edges: Plane = np.zeros((shape[0] + 1, -(-shape[1] // WORD_PX)), np.uint64)
    ring, width = np.pad(mask, 1).reshape(-1), mesh.width
    strip = max(1, STRIP_PX // width) * width
    for begin in range(width, ring.size, strip):
        end = min(begin + strip, ring.size)
        above, before = (ring[begin:end] ^ ring[begin - back : end - back] for back in (width, 1))
        either = np.flatnonzero(above | before)
        upper, left = (begin + either.take(np.flatnonzero(one.take(either))) for one in (above, before))
        starts, ends = np.concatenate([upper, left]), np.concatenate([upper + 1, left + width])
        _draw(edges, _Lines.between(mesh, starts, ends, shape[1]))
    return edges


def _draw(edges: Plane, lines: _Lines) -> None:
    """Flip the bits just below some lines: together where they lie in one row and two words, else one by one."""
    below, words = len(edges) - 1, edges.shape[1]
    row, word = lines.row(lines.first), lines.first // WORD_PX
    first, last = lines.first - word * WORD_PX, lines.last - word * WORD_PX
    level = (row == lines.row(lines.last - 1)) & (last <= 2 * WORD_PX)

    def flip(row: NDArray[np.intp], word: NDArray[np.intp], bits: NDArray[np.uint64]) -> None:
        np.bitwise_xor.at(edges.reshape(-1), np.clip(row, 0, below) * words + word, bits)

    whole, over = np.flatnonzero(level), np.flatnonzero(level & (last > WORD_PX))
    bits = LOWEST.take(last.take(whole), mode="clip") ^ LOWEST.take(first.take(whole))
    flip(row.take(whole), word.take(whole), bits)
    flip(row.take(over), word.take(over) + 1, LOWEST.take(last.take(over) - WORD_PX))
    tilted = np.flatnonzero(~level)
    count = (lines.last - lines.first).take(tilted)
    line = tilted.repeat(count)
    col = lines.first.take(line) + np.arange(line.size) - (np.cumsum(count) - count).repeat(count)
    flip(lines.row(col, line), col // WORD_PX, np.uint64(1) << (col % WORD_PX).astype(np.uint64))
