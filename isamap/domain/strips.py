"""Strips of a raster on their way through the decoder: each is read once, and its patches are joined to its neighbours'."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise

from isamap.domain.decoded import Decoded
from isamap.domain.grid import Window
from isamap.domain.patches import Patches, Rim, Runs, small_at_rim
from isamap.domain.product import BLOCK_PX
from isamap.domain.words import WORD_PX

STRIP_PX = BLOCK_PX
"""Rows of a strip: one row of blocks."""
PANEL_PX = 24 * BLOCK_PX
"""Columns of a strip at most: a tile has fewer, and a wider raster is read panel by panel."""


@dataclass(frozen=True)
class Piece:
    """A strip, decoded, with the columns beside it."""

    window: Window
    """The strip alone, in the raster."""
    decoded: Decoded
    """Its reading, in the columns beside it too."""
    left: int
    """How many of them come before it."""
    small: tuple[Runs, ...] = ()
    """Its changes in patches that are too small to be shown, each once."""

    def settled(self) -> Decoded:
        """The strip's reading without changes in small patches; once."""
        for runs in self.small:
            self.decoded.undo(runs)
        return self.decoded.crop(slice(self.left, self.left + self.window.width))


def pieces(shape: tuple[int, int], min_px: int, decode: Callable[[Window], Decoded]) -> Iterator[Piece]:
    """The strips of a raster, decoded one after the other.

    Args:
        shape: of the raster.
        min_px: patches of change with fewer pixels are too small; those longer than `STRIP_PX` never are.
        decode: reading of a window.
    """
    height, width = shape
    for left in range(0, width, PANEL_PX):
        panel = [
            Window(top, left, min(STRIP_PX, height - top), min(PANEL_PX, width - left))
            for top in range(0, height, STRIP_PX)
        ]
        yield from _panel(panel, shape, min_px, decode)


def _panel(
    panel: list[Window], shape: tuple[int, int], min_px: int, decode: Callable[[Window], Decoded]
) -> Iterator[Piece]:
    """Strips below each other; one is given away when the next has been decoded."""
    margin = min(max(min_px - 1, 0), STRIP_PX)

    def read(window: Window) -> tuple[Piece, Rim | None]:
        left = min(-(-margin // WORD_PX) * WORD_PX, window.col_off)  # so that the strip begins a word
        beside = Window(window.row_off, window.col_off - left, window.height, window.width + left + margin)
        decoded = decode(beside.clip(shape))
        if not margin:
            return Piece(window, decoded, left), None
        patches = Patches.of(decoded.changed())
        return Piece(window, decoded, left, (patches.small(min_px),)), patches.rim(min_px)

    above: list[Rim] = []
    for here, after in pairwise(chain(map(read, panel), [None])):
        assert here is not None  # only the last one has nothing after it
        piece, rim = here
        if rim is None:
            yield piece
            continue
        below = [after[1]] if after and after[1] else []
        yield replace(piece, small=(*piece.small, small_at_rim(above, rim, below, min_px)))
        above = [rim]
