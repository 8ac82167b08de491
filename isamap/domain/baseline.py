"""The +1000 of processing baseline 04.00 in imagery that somebody gives: what its names, tags and pixels say of it.

A catalogue says more of its scenes: see `harmonisation.py`. Here nothing is proved, so nothing is taken off: it is said.
"""

import re
from collections.abc import Iterable
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bands import QUANTIFICATION
from isamap.domain.offset_evidence import PROOF_REMOVED, VERY_LOW
from isamap.domain.scene_items import is_synthetic

VISIBLE = ("B02", "B03", "B04")
"""Where shadow and water are darkest for certain: the bands that betray a left-over offset."""
OFFSET_REFLECTANCE = 0.1
"""Baseline 04.00 adds 1000 DN; without it some water or shadow is darker than this."""
DARK_SHARE, DARK_PX, MOST_DARK_SHARE = 0.001, 50, 0.01
"""Darkest is what so large a share of the pixels is darker than, and at least so many: a few bad ones say nothing. Of
fewer than 5000 pixels that would be too large a share."""
FIRST = "04.00"
"""Baseline that began to add it, on 25 January 2022; scenes of before that are processed again have it, too."""

_PRODUCT = re.compile(r"S2[A-Z]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(\d\d)(\d\d)_")
_BASELINE = re.compile(r"0?(\d)\.?(\d\d)")  # 5.09, 05.09, 0509


def keeps_offset(paths: Iterable[PurePath], tags: Iterable[tuple[str, str]]) -> bool | None:
    """Whether imagery has the offset as ESA delivers it, by the baseline that it names; None if it names none.

    A date says nothing: old scenes that are processed again have the offset.

    Args:
        paths: files, ESA's folders among their parents.
        tags: names and values of the files' tags.
    """
    baselines = [".".join(pair) for path in paths for pair in _PRODUCT.findall(str(path))]
    for name, value in tags:
        match = _BASELINE.fullmatch(value.strip()) if name.upper().endswith("PROCESSING_BASELINE") else None
        baselines += [f"0{match[1]}.{match[2]}"] if match else []
    baselines = [one for one in baselines if not is_synthetic(one)]
    return max(baselines) >= FIRST if baselines else None


def darkest_of(visible: NDArray[np.float32]) -> float | None:
    """The reflectance that next to no pixel lies below, in the darkest band; None without pixels.

    Args:
        visible: reflectance of VISIBLE bands, shape (band, pixel), without pixels that are missing.
    """
    if not visible.size:
        return None
    share = max(DARK_SHARE, min(MOST_DARK_SHARE, DARK_PX / visible.shape[1]))
    return float(np.percentile(visible, 100 * share, axis=1).min())


def why_lifted(visible: NDArray[np.float32], *, keeps: bool | None = None) -> str:
    """What speaks for the offset being in the pixels still, as the beginning of a sentence; empty where nothing does.

    Args:
        visible: as for `darkest_of`.
        keeps: what `keeps_offset` said.
    """
    darkest = darkest_of(visible)
    if darkest is None or keeps is False:
        return ""
    if darkest >= OFFSET_REFLECTANCE:
        why = f"the darkest pixels have reflectance {darkest:.3f}: if these are of processing baseline {FIRST} or later"
        return f"{why} with the offset left in"
    if not keeps or _is_removed(visible):
        return ""
    return f"name or tags say processing baseline {FIRST} or later: if these have the offset left in"


def _is_removed(visible: NDArray[np.float32]) -> bool:
    """Whether pixels prove it; B02 alone proves nothing, for atmospheric correction overdoes it."""
    low = np.count_nonzero(visible < VERY_LOW / QUANTIFICATION, axis=0) >= min(2, len(visible))
    return bool(low.mean() >= PROOF_REMOVED)
