"""Classes on a grid of another projection: every pixel shows the source pixel in which its centre lies.

Only the outlines of a class are drawn, as polygons are filled: down a column of the grid the class changes where the
centres pass an outline. Every outline flips the pixels just below it; then each row is added to the next one (exclusive
or). What lies between outlines costs nothing, and from one turn to the next an outline is one line.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bits import UNKNOWN, WORD_PX, Bits, Plane, plane_of

STRIP_PX = 1 << 18
"""Source pixels whose outlines are drawn at a time."""
CENTRE = 0.5
LOWEST = np.array([(1 << count) - 1 for count in range(WORD_PX + 1)], np.uint64)
"""So many bits of a word, the lowest first."""
Places = tuple[NDArray[np.intp], NDArray[np.intp]]
"""Rows and columns of corners of source pixels."""


@dataclass(frozen=True)
class Corners:
    """Where the corners of source pixels lie on the grid: known at nodes, in line between them; the last nodes lie beyond."""

    x: NDArray[np.float64]
    """Column of the grid, `(node row, node)`."""
    y: NDArray[np.float64]
    """Row of the grid."""
    step: int
    """Source pixels between nodes."""
    ahead: tuple[int, int]
    """Rows and columns of corners from the first node to the corner of the source."""


class _Mesh:
    """Corners of a source of some rows."""

    def __init__(self, corners: Corners, rows: int) -> None:
        self.step, self.ahead = corners.step, corners.ahead
        self._stretches = corners.x.shape[1] - 1
        above, down = np.divmod(np.arange(rows + 1) + self.ahead[0], self.step)
        part = down[:, None] / self.step
        (self._x, self._x_step), (self._y, self._y_step) = (
            self._stretched(nodes[above] * (1 - part) + nodes[above + 1] * part)
            for nodes in (corners.x, corners.y)
        )

    def _stretched(self, lines: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where rows of corners begin at the nodes, and the step to the next corner: stretch by stretch between nodes."""
        return lines[:, :-1].reshape(-1), np.diff(lines, axis=1).reshape(-1) / self.step

    def stretches(self, places: Places) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """The stretches on which some corners lie, and how far along."""
        row, col = places
        col = col + self.ahead[1]
        stretch = col // self.step
        return row * self._stretches + stretch, col - stretch * self.step

    def x(self, stretch: NDArray[np.intp], along: NDArray[np.intp]) -> NDArray[np.float64]:
        """Columns of the grid."""
        return self._x.take(stretch) + along * self._x_step.take(stretch)

    def y(self, stretch: NDArray[np.intp], along: NDArray[np.intp]) -> NDArray[np.float64]:
        """Rows of the grid."""
        return self._y.take(stretch) + along * self._y_step.take(stretch)

    def outlines(self, mask: NDArray[np.bool_], top: int) -> tuple[Places, Places]:
        """Both ends of the lines around the True pixels of a mask that begins at some row; they are straight on the grid.

        An outline turns at a corner where one or three of the four pixels are True. From one turn to the next it runs
        along a row of corners, from there along a column.
        """
        closed = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.bool_)
        closed[1:-1, 1:-1] = mask
        beside = closed[1:] ^ closed[:-1]
        row, col = np.divmod(np.flatnonzero(beside[:, 1:] ^ beside[:, :-1]), mask.shape[1] + 1)
        row += top
        level = _cut(row[::2], (col[::2], col[1::2]), self.ahead[1], self.step)
        down = np.argsort(col.astype(np.min_scalar_type(closed.shape[1])), kind="stable")
        row, col = row.take(down), col.take(down)
        upright = _cut(col[::2], (row[::2], row[1::2]), self.ahead[0], self.step)
        starts, ends = (
            (np.concatenate([level[0], upright[side]]), np.concatenate([level[side], upright[0]]))
            for side in (1, 2)
        )
        return starts, ends


def _cut(
    beside: NDArray[np.intp], ends: tuple[NDArray[np.intp], NDArray[np.intp]], ahead: int, step: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Lines along rows or columns, cut at nodes: the row or column, first and last corner."""
    first, last = ends
    node = ((first + ahead) // step + 1) * step - ahead
    more = -((node - last) // step)
    crossing = np.flatnonzero(more > 0)
    line, number = _repeated(more.take(crossing))
    line = crossing.take(line)
    begin = node.take(line) + number * step
    return (
        np.concatenate([beside, beside.take(line)]),
        np.concatenate([first, begin]),
        np.concatenate([np.minimum(last, node), np.minimum(last.take(line), begin + step)]),
    )


def _repeated(count: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Every index so many times, and which time it is."""
    index = np.arange(count.size).repeat(count)
    return index, np.arange(index.size) - (np.cumsum(count) - count).take(index)


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
    def between(cls, mesh: _Mesh, starts: Places, ends: Places, columns: int) -> Self:
        """Lines between corners; what lies beside the columns of the grid is left out."""
        (start, along), (end, further) = mesh.stretches(starts), mesh.stretches(ends)
        x, other = mesh.x(start, along), mesh.x(end, further)
        near, far = (np.clip(np.ceil(place - CENTRE), 0, columns).astype(np.intp) for place in (x, other))
        passing = np.flatnonzero(near != far)
        start, along, end, further, near, far = (
            one.take(passing) for one in (start, along, end, further, near, far)
        )
        x, y = x.take(passing), mesh.y(start, along)
        slope = (mesh.y(end, further) - y) / (other.take(passing) - x)
        return cls(x, y, slope, np.minimum(near, far), np.maximum(near, far))

    def row(self, col: NDArray[np.intp], line: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.intp]:
        """The first row whose centre lies below a line, in a column of each."""
        y = self.y[line] + (col + CENTRE - self.x[line]) * self.slope[line]
        return np.ceil(y - CENTRE).astype(np.intp)

    def level(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Pieces that have one such row in all their columns: the row, first column, and the one behind the last.

        Gentle lines are cut where they pass from row to row, steep ones into single columns.
        """
        row, columns = self.row(self.first), self.last - self.first
        down = self.row(self.last - 1) - row
        count = np.minimum(columns, np.abs(down) + 1)
        line, number = _repeated(count)
        begin, at = self.first.take(line) + number, row.take(line)
        bent = np.flatnonzero(count.take(line) > 1)
        steep = (count == columns).take(line.take(bent))
        single, gentle = bent[steep], bent[~steep]
        at[single] = self.row(begin[single], line[single])
        at[gentle] += np.sign(down).take(line[gentle]) * number[gentle]
        begin[gentle] = self._passed(line[gentle], at[gentle] - np.sign(down).take(line[gentle]) * CENTRE)
        begin[np.cumsum(count) - count] = self.first
        end = np.append(begin[1:], 0)
        end[np.cumsum(count) - 1] = self.last
        return at, begin, end

    def _passed(self, line: NDArray[np.intp], y: NDArray[np.float64]) -> NDArray[np.intp]:
        """The first column whose centre lies behind the place where a line passes a row of the grid."""
        col = self.x[line] + (y - self.y[line]) / self.slope[line]
        return np.clip(np.ceil(col - CENTRE), self.first[line], self.last[line]).astype(np.intp)


def nearest(classes: NDArray[np.uint8], corners: Corners, shape: tuple[int, int]) -> Bits:
    """Classes on another grid; nothing is known beyond the source.

    Args:
        classes: the source `(y, x)`, 1 ISA, 0 not, anything above unknown.
        corners: where its pixels lie on the grid.
        shape: rows and columns of the grid.
    """
    mesh = _Mesh(corners, len(classes))
    isa, edges = (_edges(mask, mesh, shape) for mask in (classes == 1, classes < UNKNOWN))
    everywhere = np.array_equal(edges[:1], plane_of(np.ones((1, shape[1]), np.uint8)))
    if everywhere and not edges[1:-1].max(initial=0):
        return Bits(_filled(isa), None)
    return Bits(_filled(isa), _filled(edges))


def _filled(edges: Plane) -> Plane:
    """The plane whose bits change from row to row where those of the edges are set."""
    return np.bitwise_xor.accumulate(edges, axis=0, out=edges)[:-1]


def _edges(mask: NDArray[np.bool_], mesh: _Mesh, shape: tuple[int, int]) -> Plane:
    """Bits of the grid that are not those of the row above, and one more row for all outlines below."""
    edges: Plane = np.zeros((shape[0] + 1, -(-shape[1] // WORD_PX)), np.uint64)
    rows = max(1, STRIP_PX // mask.shape[1])
    for top in range(0, len(mask), rows):
        lines = _Lines.between(mesh, *mesh.outlines(mask[top : top + rows], top), shape[1])
        _flip(edges, *lines.level())
    return edges


def _flip(edges: Plane, row: NDArray[np.intp], first: NDArray[np.intp], last: NDArray[np.intp]) -> None:
    """Flip the bits of some columns in some rows; outlines above the grid flip its first row."""
    words = edges.shape[1]
    word = first // WORD_PX
    place, ahead = np.clip(row, 0, len(edges) - 1) * words + word, word * WORD_PX
    first, last = first - ahead, last - ahead
    bits = LOWEST.take(last, mode="clip") ^ LOWEST.take(first)
    while place.size:
        np.bitwise_xor.at(edges.reshape(-1), place, bits)
        longer = np.flatnonzero(last > WORD_PX)
        place, last = place.take(longer) + 1, last.take(longer) - WORD_PX
        bits = LOWEST.take(last, mode="clip")
