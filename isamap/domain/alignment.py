"""How far labels or a fine image lie off the imagery they shall teach: found to a part of a metre, from the pixels.

A fine image is brought to the imagery's pixels and compared by phase correlation (`registration`). Labels look unlike
imagery, so imagery is first made to look like them: the impervious share that a linear model reads from the
bands, fitted on this very ground, is compared with the share that the labels give.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import hypot

import numpy as np
from numpy.typing import NDArray

from isamap.domain.registration import measure

Float = NDArray[np.float32]

REACH_PX = 10
"""How far a shift is looked for; labels that lie further off are no labels of this ground."""
LOWPASS = 0.15
"""Cycles per pixel: point spreads differ, and what is left of finer detail is noise."""
TRUSTED = {"image": 0.3, "labels": 0.3}
"""Height of the correlation peak from which a shift counts as measured."""
LIMITS_M = {"image": 5.0, "labels": 10.0}
"""Beyond it ground is refused. Shadows and leaning walls pull what labels show by some metres, an image by tenths."""
TOGETHER_M = 5.0
"""Labels that lie no further than this off the image go with it, which is measured to half a metre: labels are pulled by as much."""
KNOWN_SHARE = 0.7
"""Least part of a window that must be known in both."""
LABELLED = 0.98
"""Least part of a pixel that must be labelled, or seen, for its share to count."""
RIDGE = 1e-3
TINY = 1e-3


@dataclass(frozen=True)
class Alignment:
    """Where fine image or labels lie against the imagery."""

    east_m: float
    """How far east of where they should be."""
    north_m: float
    """How far north."""
    peak: float
    """Height of the correlation peak, 0-1."""
    by: str
    """`image` or `labels`: what was compared."""
    windows: int
    """How many windows."""

    @property
    def trusted(self) -> bool:
        """Whether the two look alike enough for the shift to mean something."""
        return self.peak >= TRUSTED[self.by]

    @property
    def length_m(self) -> float:
        """Of the shift."""
        return hypot(self.east_m, self.north_m)

    def __str__(self) -> str:
        return f"{self.east_m:+.1f} m east, {self.north_m:+.1f} m north of its imagery (by {self.by}, peak {self.peak:.2f})"


def brightness(lr: Float, valid: NDArray[np.bool_], bands: Sequence[str]) -> Float:
    """Mean of the visible bands, or of all if there are none; NaN where not valid."""
    visible = [index for index, band in enumerate(bands) if band in ("B02", "B03", "B04")]
    mean: Float = lr[visible or slice(None)].mean(axis=0, dtype=np.float32)
    return np.where(valid, mean, np.float32(np.nan))


def predictors(lr: Float) -> Float:
    """What a linear model reads a share from: each band, and each pair's normalised difference, `(n, y, x)`."""
    pairs = [
        (lr[i] - lr[j]) / (np.abs(lr[i]) + np.abs(lr[j]) + TINY) for i, j in combinations(range(len(lr)), 2)
    ]
    return np.stack([*lr, *pairs]).astype(np.float32)


def likeness(windows: Sequence[tuple[Float, Float]]) -> list[tuple[Float, Float]]:
    """Windows of imagery turned into the share a linear model reads from them, beside the share of the labels.

    Args:
        windows: imagery `(band, y, x)` and share `(y, x)`, NaN where unknown.
    """
    if not windows:
        return []
    stacks = [predictors(lr) for lr, _ in windows]
    known = [
        np.isfinite(stack).all(axis=0) & np.isfinite(share)
        for stack, (_, share) in zip(stacks, windows, strict=True)
    ]
    x = np.concatenate([stack[:, mask].T for stack, mask in zip(stacks, known, strict=True)]).astype(
        np.float64
    )
    y = np.concatenate([share[mask] for mask, (_, share) in zip(known, windows, strict=True)]).astype(
        np.float64
    )
    if len(y) <= x.shape[1] + 1:
        return []
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-9
    scaled = (x - mean) / spread
    penalty = RIDGE * len(y) * np.eye(x.shape[1])
    weights = np.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ (y - y.mean())) / spread
    read = [
        (np.tensordot(weights, stack - mean[:, None, None], 1) + y.mean()).astype(np.float32)
        for stack in stacks
    ]
    blanks = [np.where(mask, np.float32(0), np.float32(np.nan)) for mask in known]
    return [
        (one + blank, share + blank) for one, blank, (_, share) in zip(read, blanks, windows, strict=True)
    ]


def align(pairs: Iterable[tuple[Float, Float]], by: str, gsd_m: float) -> Alignment | None:
    """Shift of the second of each pair against the first; None if nothing shows it.

    Args:
        pairs: imagery and what shall match it, each `(y, x)`, NaN where unknown, all of one shape.
        by: `image` or `labels`.
        gsd_m: pixel of both.
    """
    useful = [pair for pair in pairs if np.isfinite(pair[0] + pair[1]).mean() >= KNOWN_SHARE]
    shift = measure(useful, REACH_PX, LOWPASS)
    if shift is None:
        return None
    return Alignment(
        round(shift.cols * gsd_m, 2), round(-shift.rows * gsd_m, 2), round(shift.peak, 3), by, len(useful)
    )


def moved_back(shifts: Sequence[Alignment], fine_m: float) -> dict[str, tuple[int, int]]:
    """Whole fine rows and columns by which image and labels are each moved back.

    Labels go by their own shift. Where it is not known, or not far from that of the image, they go with the image:
    mostly it is the imagery that lies off, and then both do.

    Args:
        shifts: as measured.
        fine_m: pixel of image and labels.
    """
    own = {one.by: one for one in shifts if one.trusted}
    image, labels = own.get("image"), own.get("labels")
    if image and (labels is None or _apart_m(image, labels) <= TOGETHER_M):
        labels = image
    return {"image": _whole(image, fine_m), "labels": _whole(labels, fine_m)}


def _apart_m(one: Alignment, other: Alignment) -> float:
    return hypot(one.east_m - other.east_m, one.north_m - other.north_m)


def _whole(shift: Alignment | None, fine_m: float) -> tuple[int, int]:
    """A shift in whole fine rows and columns."""
    return (0, 0) if shift is None else (round(-shift.north_m / fine_m), round(shift.east_m / fine_m))
