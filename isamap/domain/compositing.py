"""One value per pixel and band from the clear looks of a stack: median, geometric median, or best date.

Works in strips of pixels: scratch memory stays at some megabytes beside a stack of a gigabyte, and in the cache.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isamap.domain.geomedian import geometric_median

Method = Literal["median", "geomedian", "best"]

_ABSENT = np.iinfo(np.uint16).max
_MEDIAN_BYTES = 1 << 21
"""Scratch of a median strip: as much as a second-level cache."""
_GEOMEDIAN_LOOKS = 1 << 17
"""Looks of a geomedian strip; each needs some 150 bytes."""


def composite(
    method: Method,
    stack: NDArray[np.uint16],
    clear: NDArray[np.bool_],
    order: Sequence[int] | None = None,
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Composite and number of clear looks; the stack is left as it is.

    Args:
        method: `median` per band (of an even number the mean of the middle two, half up); `geomedian` of all bands
            together (`geomedian.py`), rounded; `best`: the first clear look in `order`, all bands of one date.
        stack: harmonised DN, uint16, (n, band, y, x), at most 65534 where clear.
        clear: True where a look counts, (n, y, x).
        order: precedence of the scenes for `best` (`ranked`); most clear pixels first if left out.

    Returns:
        values, uint16, (band, y, x), 0 where there is no clear look; and looks, uint16, (y, x).
    """
    count, bands, height, width = stack.shape
    looks = clear.sum(axis=0, dtype=np.uint16)
    values = np.zeros((bands, height, width), np.uint16)
    if method == "best":
        _first(stack, clear, ranked(clear) if order is None else order, values)
        return values, looks
    size = _MEDIAN_BYTES // 2 if method == "median" else _GEOMEDIAN_LOOKS
    for rows in _strips(height, max(1, size // max(1, count * width))):
        seen = np.flatnonzero(clear[:, rows].any(axis=(1, 2)))
        if not seen.size:
            continue
        if method == "median":
            _median_strip(stack, clear, seen, rows, looks, values)
        else:
            part = stack[seen, :, rows].reshape(seen.size, bands, -1)
            middle = geometric_median(part, clear[seen, rows].reshape(seen.size, -1))
            values[:, rows] = middle.reshape(bands, -1, width)
    return values, looks


def ranked(clear: NDArray[np.bool_], ties: Sequence[tuple[str, ...]] | None = None) -> list[int]:
    """Scenes by clear pixels, most first; where they are equal the greater of `ties` comes first.

    Args:
        clear: (n, y, x).
        ties: per scene, e.g. (baseline, datetime, id).
    """
    shares = np.count_nonzero(clear, axis=(1, 2)).tolist()
    keys = [(share, ties[k] if ties else (), -k) for k, share in enumerate(shares)]
    return sorted(range(len(keys)), key=keys.__getitem__, reverse=True)


def middle(looks: NDArray[np.uint16], clear: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Median of the clear looks of each pixel, 0 where there is none.

    Args:
        looks: uint16, (n, pixel), at most 65534 where clear.
        clear: (n, pixel).
    """
    return _middle(
        [np.where(c, look, _ABSENT) for look, c in zip(looks, clear, strict=True)], clear.sum(axis=0)
    )


def _strips(height: int, step: int) -> Iterator[slice]:
    for row in range(0, height, step):
        yield slice(row, min(row + step, height))


def _first(
    stack: NDArray[np.uint16],
    clear: NDArray[np.bool_],
    order: Sequence[int],
    values: NDArray[np.uint16],
) -> None:
    """Each pixel from the first scene in which it is clear."""
    open_pixels = np.ones(clear.shape[1:], bool)
    for k in order:
        fill = open_pixels & clear[k]
        np.copyto(values, stack[k], where=fill)
        open_pixels &= ~fill


def _median_strip(
    stack: NDArray[np.uint16],
    clear: NDArray[np.bool_],
    seen: NDArray[np.intp],
    rows: slice,
    looks: NDArray[np.uint16],
    values: NDArray[np.uint16],
) -> None:
    absent = [~clear[k, rows] for k in seen]
    counts = looks[rows].ravel()
    for band in range(stack.shape[1]):
        sheets = [stack[k, band, rows].copy() for k in seen]
        for sheet, missing in zip(sheets, absent, strict=True):
            sheet[missing] = _ABSENT
        values[band, rows] = _middle([sheet.ravel() for sheet in sheets], counts).reshape(
            values[band, rows].shape
        )


def _middle(sheets: list[NDArray[np.uint16]], counts: NDArray[np.integer]) -> NDArray[np.uint16]:
    """Median over sheets in which absent looks hold the highest number; the sheets are used up.

    Absent looks sort to the end, so the number of clear ones says which ranks are the middle two.
    """
    low, high = (np.maximum(counts, 1) - 1) // 2, counts // 2
    first, last = int(low.min()), min(int(high.max()), len(sheets) - 1)
    spare = np.empty_like(sheets[0])
    for i, j in _network(len(sheets), first, last):
        a, b = sheets[i], sheets[j]
        np.minimum(a, b, out=spare)
        np.maximum(a, b, out=b)
        sheets[i], spare = spare, a
    found: NDArray[np.uint16] = sheets[first].copy()
    upper = sheets[first].copy()
    for rank in range(first + 1, last + 1):
        np.copyto(found, sheets[rank], where=low == rank)
        np.copyto(upper, sheets[rank], where=high == rank)
    # (a + b + 1) >> 1 without a wider type: both halves, and one if either is odd.
    odd = (found | upper) & 1
    found >>= 1
    found += (upper >> 1) + odd
    found[counts == 0] = 0
    return found


@lru_cache(maxsize=512)
def _network(size: int, first: int, last: int) -> tuple[tuple[int, int], ...]:
    """Exchanges (Batcher's merge-exchange, Knuth 5.2.2 M) that put ranks `first` to `last` in their places."""
    exchanges: list[tuple[int, int]] = []
    p = top = 1 << max(0, (size - 1).bit_length() - 1)
    while p:
        q, r, d = top, 0, p
        while True:
            exchanges += [(i, i + d) for i in range(size - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    needed, kept = set(range(first, last + 1)), []
    for i, j in reversed(exchanges):
        if i in needed or j in needed:
            needed |= {i, j}
            kept.append((i, j))
    return tuple(reversed(kept))
