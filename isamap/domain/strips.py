"""Strips of a raster on their way through the decoder: each is read once, and sees where its neighbours change."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise

import numpy as np

from isamap.domain.bits import Plane
from isamap.domain.decoded import Decoded
from isamap.domain.grid import Window
from isamap.domain.patches import small_patches
from isamap.domain.product import BLOCK_PX
from isamap.domain.words import WORD_PX

STRIP_PX = BLOCK_PX
"""Rows of a strip: one row of blocks. A strip sees no further beside it, so longer patches are kept."""
PANEL_PX = 24 * BLOCK_PX
"""Columns of a strip at most: a tile has fewer, and a wider raster is read panel by panel."""


@dataclass(frozen=True)
class Piece:
    """A strip, decoded, with the columns beside it and the changes around it."""

    window: Window
    """The strip alone, in the raster."""
    decoded: Decoded
    """Its reading, in the columns beside it too."""
    left: int
    """How many of them come before it."""
    changes: Plane | None
    """Where it and the rows around it change; None if nobody asks."""
    above: int
    """Rows of the changes that come before it."""

    def settled(self, min_px: int) -> Decoded:
        """The strip's reading without changes in patches of fewer than `min_px` pixels; once."""
        if self.changes is not None:
            small = small_patches(self.changes, self.decoded.shape[1], min_px, STRIP_PX)
            self.decoded.undo(small.rows(self.above, self.above + self.window.height))
        return self.decoded.crop(slice(self.left, self.left + self.window.width))


def pieces(shape: tuple[int, int], margin: int, decode: Callable[[Window], Decoded]) -> Iterator[Piece]:
    """The strips of a raster, decoded one after the other.

    Args:
        shape: of the raster.
        margin: rows and columns around a strip whose changes it needs to know, at most `STRIP_PX`; 0: nobody asks.
        decode: reading of a window.
    """
    height, width = shape
    for left in range(0, width, PANEL_PX):
        panel = [
            Window(top, left, min(STRIP_PX, height - top), min(PANEL_PX, width - left))
            for top in range(0, height, STRIP_PX)
        ]
        yield from _panel(panel, shape, margin, decode)


def _panel(
    panel: list[Window], shape: tuple[int, int], margin: int, decode: Callable[[Window], Decoded]
) -> Iterator[Piece]:
    """Strips below each other; one is given away when the next has been decoded."""

    def read(window: Window) -> Piece:
        left = min(-(-margin // WORD_PX) * WORD_PX, window.col_off)  # so that the strip begins a word
        beside = Window(window.row_off, window.col_off - left, window.height, window.width + left + margin)
        decoded = decode(beside.clip(shape))
        return Piece(window, decoded, left, decoded.changed() if margin else None, 0)

    above: list[Plane] = []
    for here, below in pairwise(chain(map(read, panel), [None])):
        assert here is not None  # only the last one has nothing below
        if here.changes is None:
            yield here
            continue
        around = [*above, here.changes]
        if below is not None and below.changes is not None:
            around.append(below.changes[:margin])
        yield replace(here, changes=np.concatenate(around), above=sum(map(len, above)))
        above = [here.changes[here.window.height - margin :]]
