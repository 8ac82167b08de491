"""Clear looks: the scene classification (SCL) cleaned, and bright ground kept that it calls cloud.

Works at the composite's 10 m; SCL is 20 m, each class on 2 x 2 pixels. Opening and dilation reach 12 px from a pixel,
less than the margin of a tile.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isamap.domain.bright_ground import bright_ground
from isamap.domain.morphology import dilated, opened

MASKED = (0, 1, 3, 8, 9, 10)
"""SCL classes that are no clear look: no data, saturated, shadow, cloud medium and high, cirrus."""
UNSEEN = (0, 1)
"""Of these, those that are no weather: masked pixel by pixel."""
CLOUD = (8, 9, 10)
"""Of these, those that bright ground is mistaken for."""
SNOW = 11


@dataclass(frozen=True)
class MaskRules:
    """How SCL becomes a mask."""

    snow: bool = False
    """Whether snow (11) is masked too; off by default, for white roofs are taken for snow."""
    opening_px: int = 2
    """10 m pixels: what is narrower than twice this and one vanishes. Mostly it is roofs and noise, not weather.
    With the bright ground kept, more of it only lets small clouds through."""
    dilation_px: int = 8
    """10 m pixels added around what remains: 90 m from clouds that people drew (s2-cloud-mask), land was still 150 DN
    brighter than far from them, 30 m from them 700 DN."""
    protect: bool = True
    """Whether looks at persistent bright ground are kept (`bright_ground.py`)."""


def valid_pixels(stack: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """(n, y, x): every band is nonzero. `stack` is uint16, (n, band, y, x)."""
    valid: NDArray[np.bool_] = stack[:, 0] != 0
    for band in range(1, stack.shape[1]):
        valid &= stack[:, band] != 0
    return valid


def usable(scl: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels that may testify on the offset: valid and of no masked class, without morphology; any shape."""
    return valid & ~_of(scl, MASKED)


def cloudy(
    scl: NDArray[np.uint8], rules: MaskRules | None = None, ground: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Masked pixels of one scene: weather opened, then dilated; no data and saturated pixels just as they are.

    Args:
        scl: uint8, (y, x), 10 m pixels.
        rules: the defaults if left out.
        ground: pixels whose cloud class is an error, (y, x); none if left out.
    """
    rules = rules or MaskRules()
    weather = _of(scl, (*(c for c in MASKED if c not in UNSEEN), *((SNOW,) if rules.snow else ())))
    if ground is not None:
        weather &= ~ground
    return dilated(opened(weather, rules.opening_px), rules.dilation_px) | _of(scl, UNSEEN)


def clear_stack(
    scl: NDArray[np.uint8],
    stack: NDArray[np.uint16],
    valid: NDArray[np.bool_],
    rules: MaskRules | None = None,
) -> NDArray[np.bool_]:
    """Clear looks of a tile, those at persistent bright ground among them.

    Args:
        scl: uint8, (n, y, x).
        stack: harmonised DN, uint16, (n, 6, y, x).
        valid: (n, y, x).
        rules: the defaults if left out.

    Returns:
        (n, y, x), True where a look is valid and not masked.
    """
    rules = rules or MaskRules()
    ground = None
    if rules.protect:
        ground = bright_ground(stack, _of(scl, CLOUD), _of(scl, MASKED), valid)
    clear = valid.copy()
    for k, classes in enumerate(scl):
        clear[k] &= ~cloudy(classes, rules, None if ground is None else ground[k])
    return clear


def _of(scl: NDArray[np.uint8], classes: tuple[int, ...]) -> NDArray[np.bool_]:
    table = np.zeros(256, bool)
    table[list(classes)] = True
    found: NDArray[np.bool_] = table[scl]
    return found
