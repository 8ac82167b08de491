"""The order in which a raster's windows are mapped: down one panel of columns after the other, in batches of one shape."""

from collections.abc import Iterator
from dataclasses import replace

from isamap.domain.grid import Window, windows


def batches(shape: tuple[int, int], step: int, size: int, panel_px: int) -> Iterator[list[Window]]:
    """The windows of a raster, down one panel of columns after the other, in groups of one shape, at most `size` in each."""
    group: list[Window] = []
    for window in _down_panels(shape, step, -(-panel_px // step) * step):
        if group and (window.shape != group[0].shape or len(group) == size):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def _down_panels(shape: tuple[int, int], step: int, panel_px: int) -> Iterator[Window]:
    """Each window once."""
    for left in range(0, shape[1], panel_px):
        for window in windows((shape[0], min(panel_px, shape[1] - left)), step):
            yield replace(window, col_off=left + window.col_off)
