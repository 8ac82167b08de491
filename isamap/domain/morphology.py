"""Opening and dilation of masks by octagons, `(y, x)` bool; nothing is known beyond the edges."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def dilated(mask: Mask, radius_px: int) -> Mask:
    """The mask and what lies within an octagon of that radius around it; edges add nothing."""
    found = mask.copy()
    diamond = radius_px // 2
    for _ in range(diamond):
        found = _cross(found)
    for axis in (0, 1):
        found = _along(found, radius_px - diamond, axis)
    return found


def eroded(mask: Mask, radius_px: int) -> Mask:
    """Pixels whose octagon of that radius lies within the mask; edges take nothing away."""
    return ~dilated(~mask, radius_px)


def opened(mask: Mask, radius_px: int) -> Mask:
    """The mask without what no octagon of that radius fits into; a part cut by an edge may go on beyond it."""
    return dilated(eroded(mask, radius_px), radius_px) & mask


def _cross(mask: Mask) -> Mask:
    """The mask and its four neighbours."""
    found = mask.copy()
    found[1:] |= mask[:-1]
    found[:-1] |= mask[1:]
    found[:, 1:] |= mask[:, :-1]
    found[:, :-1] |= mask[:, 1:]
    return found


def _along(mask: Mask, reach_px: int, axis: int) -> Mask:
    """The mask spread along one axis by `reach_px` both ways, in steps that double."""
    found, done, size = mask, 0, mask.shape[axis]
    while done < min(reach_px, size - 1):
        step = min(done + 1, reach_px - done, size - 1)
        ahead = (slice(None),) * axis + (slice(step, None),)
        behind = (slice(None),) * axis + (slice(None, -step),)
        spread = found.copy()
        spread[ahead] |= found[behind]
        spread[behind] |= found[ahead]
        found, done = spread, done + step
    return found
