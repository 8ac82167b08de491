"""Looks that SCL calls cloud although they show the ground: bright roofs, concrete, sand.

Sen2Cor knows one date; a stack knows more. A look that is called cloud shows the ground

- if it has the spectrum of the pixel's trusted looks: those that SCL calls clear, away from weather, at least TRUSTED of
  them; a cloud so like the ground would do no harm in a composite either;
- or, where a pixel is hardly ever called clear, if it has the spectrum that the pixel shows whenever it is called cloud
  while its surroundings are clear, on at least LONELY dates that nearly all agree. Clouds come with others and differ
  from date to date; roofs stand alone and do not.

With one such date only, or in surroundings that are never clear, nothing is protected: a persistent cloud (10 of 12
dates) must not pass for a roof. Such ground is a gap of the composite, and counted as one. So few dates, and cities under
broken cloud on every date, still lose roofs.
"""

import numpy as np
from numpy.typing import NDArray

from isamap.domain.compositing import composite
from isamap.domain.morphology import dilated

BLOCK_PX = 8
"""Surroundings are judged in blocks of this size."""
REACH_BLOCKS = 5
"""Surroundings are the 11 x 11 blocks (880 m) around a pixel's block."""
CROWDED = 0.4
"""Surroundings with more than this share called cloud are not clear; halls of up to 500 x 500 m stay below it."""
NEAR_PX = 8
"""Looks as near as this to weather are not trusted."""
TRUSTED, LONELY = 3, 2
"""Looks needed."""
AGREE = 2 / 3
"""Share of the lonely looks that must be alike."""
ALIKE, ALIKE_TWO, SAME = 0.15, 0.10, 0.20
"""Mean over bands of the relative difference: of lonely looks from their median, of two lonely looks from theirs, and of
a look from what the pixel is known to be. Real roofs one to two years apart: 0.03-0.09 (median of a city), below 0.2
for nine in ten; pixels of real clouds on two dates: 0.2-0.6 for three in four."""
DARK_DN = 500
"""Differences are relative to at least this."""
STRIP_LOOKS = 1 << 20
"""Looks in a strip of rows; each needs some 30 bytes."""

Mask = NDArray[np.bool_]
Stack = NDArray[np.uint16]


def bright_ground(stack: Stack, flagged: Mask, masked: Mask, valid: Mask) -> Mask:
    """Flagged looks that show the ground, (n, y, x).

    Args:
        stack: harmonised DN, uint16, (n, 6, y, x).
        flagged: looks called cloud, (n, y, x).
        masked: looks of any masked class, those among them, (n, y, x).
        valid: (n, y, x).
    """
    count, _, height, width = stack.shape
    ground = np.zeros_like(flagged)
    if not flagged.any():
        return ground
    lonely, trusted = np.empty_like(flagged), np.empty_like(flagged)
    for k in range(count):
        lonely[k] = flagged[k] & valid[k]
        lonely[k] &= _clear_around(lonely[k], valid[k])
        trusted[k] = valid[k] & ~masked[k] & ~dilated(masked[k] & valid[k] & ~lonely[k], NEAR_PX)
    step = max(1, STRIP_LOOKS // (count * width))
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        part = stack[:, :, rows]
        known = _known(part, trusted[:, rows], lonely[:, rows])
        # A mean of SAME over six bands leaves no band further away than this; most clouds end here.
        brightest = np.maximum(known[0], DARK_DN) * (SAME * len(known)) + known[0]
        for k in range(count):
            at = flagged[k, rows] & valid[k, rows] & (known[0] > 0) & (part[k, 0] <= brightest)
            ground[k, rows][at] = _difference(part[k][:, at], known[:, at]) <= SAME
    return ground


def _clear_around(flagged: Mask, valid: Mask) -> Mask:
    """Whether the surroundings of each pixel are clear, (y, x)."""
    cloud, seen = (_around(_per_block(mask)) for mask in (flagged, valid))
    clear = cloud <= CROWDED * seen
    height, width = flagged.shape
    return clear.repeat(BLOCK_PX, 0).repeat(BLOCK_PX, 1)[:height, :width]


def _per_block(mask: Mask) -> NDArray[np.int64]:
    """Number of True pixels in each block; blocks at the lower and right edge may be cut."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % BLOCK_PX), (0, -width % BLOCK_PX)))
    split = padded.reshape(padded.shape[0] // BLOCK_PX, BLOCK_PX, padded.shape[1] // BLOCK_PX, BLOCK_PX)
    counts: NDArray[np.int64] = split.sum(axis=(1, 3))
    return counts


def _around(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum over the surroundings of each block; beyond the edges there is nothing."""
    for axis in (0, 1):
        size = counts.shape[axis]
        running = np.insert(counts.cumsum(axis=axis), 0, 0, axis=axis)
        here = np.arange(size)
        upper = running.take(np.minimum(here + REACH_BLOCKS + 1, size), axis=axis)
        counts = upper - running.take(np.maximum(here - REACH_BLOCKS, 0), axis=axis)
    return counts


def _known(stack: Stack, trusted: Mask, lonely: Mask) -> NDArray[np.uint16]:
    """What each pixel is known to be, (6, y, x); 0 where that is not known."""
    known, looks = composite("median", stack, trusted)
    doubtful = looks < TRUSTED
    ask = doubtful & (np.count_nonzero(lonely, axis=0) >= LONELY)
    few = known[:, ask]  # the one or two trusted looks, where there are any
    known[:, doubtful] = 0
    if few.size:
        known[:, ask] = _typical(stack[:, :, ask], lonely[:, ask], few)
    return known


def _typical(looks: Stack, lonely: Mask, few: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """What pixels show whenever they alone are called cloud, (6, pixel); 0 where such looks do not agree.

    Args:
        looks: (n, 6, pixel).
        lonely: looks that count, (n, pixel).
        few: median of the pixel's trusted looks, (6, pixel), 0 where there are none.
    """
    typical = composite("median", looks[:, :, None], lonely[:, None])[0][:, 0]
    count = np.count_nonzero(lonely, axis=0)
    limit = np.where(count == LONELY, ALIKE_TWO, ALIKE)
    votes = np.zeros_like(count)
    for look, there in zip(looks, lonely, strict=True):
        votes += there & (_difference(look, typical) <= limit)
    agreed = (votes >= LONELY) & (votes >= AGREE * count)
    agreed &= (few[0] == 0) | (_difference(few, typical) <= SAME)
    return np.where(agreed, typical, np.uint16(0))


def _difference(look: NDArray[np.uint16], other: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Mean over bands of the relative difference from `other`, both (6, ...)."""
    total = np.zeros(look.shape[1:], np.float32)
    for a, b in zip(look, other, strict=True):
        reference = b.astype(np.float32)
        total += np.abs(a - reference) / np.maximum(reference, DARK_DN)
    total /= len(look)
    return total
