"""Soft impervious shares at 10 m from spectra: weak targets for scenes nobody has labelled.

Labels of one city leave a network blind to what that city lacks (in Dubai only water is blue, so blue steel
roofs elsewhere become water). These shares are coarse, but they exist for every scene on Earth, and they only
say how much of a 10 m pixel is impervious: where in it, the 1 m labels teach.

Impervious ground is never green. Bare soil is not green today but often on another date: where two dates are
at hand the greener one decides. Reflectances are top of atmosphere, arrays `(y, x)` float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Bands = Mapping[str, NDArray[np.float32]]

SOIL_NOW, GREEN_THEN = 0.25, 0.35
"""A pixel below the first NDVI now and above the second on the other date: soil, or built since."""
SOIL_NDVI, FULL_COVER_NDVI = 0.05, 0.55
"""NDVI of ground without a leaf and of closed vegetation, top of atmosphere."""
CONTEXT_PX = 5
"""What is built up is judged from the 11 x 11 pixels around."""
BARE_SOIL, BRIGHT = 0.12, 0.25
"""Above this bare-soil index spectra cannot tell soil from roof: nothing is said. Soil is never this bright."""


def normalised_difference(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """(a - b) / (a + b), 0 where both are 0."""
    total = a + b
    ratio = np.zeros_like(total)
    np.divide(a - b, total, out=ratio, where=np.abs(total) > 1e-6)
    return ratio


def ndvi(bands: Bands) -> NDArray[np.float32]:
    """Normalised difference vegetation index (Rouse et al. 1974) of B08 and B04."""
    return normalised_difference(bands["B08"], bands["B04"])


def water(bands: Bands) -> NDArray[np.bool_]:
    """Open water: NDWI (McFeeters 1996) above 0.05 and, where B11 is at hand, dark in the short-wave infrared.

    Blue steel roofs pass the first test; only B11 tells them from water.
    """
    wet = normalised_difference(bands["B03"], bands["B08"]) > 0.05
    return wet & (bands["B11"] < 0.10) if "B11" in bands else wet


def bare_soil_index(bands: Bands) -> NDArray[np.float32]:
    """(B11 + B04 - B08 - B02) / sum (Rikimaru et al. 2002)."""
    return normalised_difference(bands["B11"] + bands["B04"], bands["B08"] + bands["B02"])


def blue_roof(bands: Bands) -> NDArray[np.bool_]:
    """Blue and violet steel roofs: bright in the blue, darker in the red, bright in the short-wave infrared.

    Their near infrared is high, so that their NDVI reads like sparse grass.
    """
    bluish = normalised_difference(bands["B02"], bands["B04"]) > 0.12
    return bluish & (bands["B02"] > 0.15) & (bands["B11"] > 0.12)


def grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its neighbours (3 x 3)."""
    reached: NDArray[np.bool_] = lowest_neighbour(np.where(mask, 0, 1).astype(np.float32)) == 0
    return reached


def lowest_neighbour(values: NDArray[np.float32], reach_px: int = 1) -> NDArray[np.float32]:
    """Minimum over the pixels up to `reach_px` away in row and column; the edge repeats itself."""
    side = 2 * reach_px + 1
    padded = np.pad(values, reach_px, mode="edge")
    lowest: NDArray[np.float32] = np.lib.stride_tricks.sliding_window_view(padded, (side, side)).min(
        axis=(2, 3)
    )
    return lowest


def mean_around(values: NDArray[np.float32], reach_px: int) -> NDArray[np.float32]:
    """Mean over the pixels up to `reach_px` away in row and column; the edge repeats itself."""
    side = 2 * reach_px + 1
    total = np.pad(values, reach_px, mode="edge").astype(np.float64).cumsum(axis=0).cumsum(axis=1)
    total = np.pad(total, ((1, 0), (1, 0)))
    boxes = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    mean: NDArray[np.float32] = (boxes / side**2).astype(np.float32)
    return mean


def green_cover(green: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fraction of a pixel under vegetation: the square of its scaled NDVI (Carlson and Ripley 1997).

    In built-up ground the rest is impervious (Carlson and Arthur 2000); on fields it would be soil.
    """
    scaled: NDArray[np.float32] = np.clip((green - SOIL_NDVI) / (FULL_COVER_NDVI - SOIL_NDVI), 0, 1)
    return scaled**2


@dataclass(frozen=True)
class ShareRules:
    """How spectra become shares."""

    impervious_ndvi: float = 0.15
    """Up to this NDVI a pixel counts as all impervious, if it is neither water nor bare soil."""
    pervious_ndvi: float = 0.38
    """From this NDVI a pixel counts as not impervious at all."""
    slack_px: int = 1
    """How far two dates may lie apart: the other date's NDVI is lowered to the lowest this near,
    so that a road does not drown in its verges."""
    doubt: float = 0.5
    """Weight where only the other date was green: soil, or built since."""
    built_up: float = 1.0
    """Mean share of the surroundings from which mixed pixels are roof and tree, not sparse crops: there the share
    is 1 - cover, cover from NDVI by a square law. 1 switches it off."""


def impervious_share(
    bands: Bands, other: Bands | None = None, rules: ShareRules | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Soft impervious share of each pixel, and how much it is worth.

    Args:
        bands: B02, B03, B04, B08 and B11 of the date in question.
        other: the same ground on another date.
        rules: thresholds and weights; the defaults if left out.

    Returns:
        share, 0-1, and weight: 1, less where dates disagree, 0 where spectra say nothing.
    """
    rules = rules or ShareRules()
    green = ndvi(bands)
    weight = np.ones_like(green)
    if other is not None:
        elsewhen = lowest_neighbour(ndvi(other), rules.slack_px)
        weight[(green < SOIL_NOW) & (elsewhen > GREEN_THEN)] = rules.doubt
        green = np.maximum(green, elsewhen)
    share = np.clip((rules.pervious_ndvi - green) / (rules.pervious_ndvi - rules.impervious_ndvi), 0, 1)
    built = mean_around(share, CONTEXT_PX) > rules.built_up
    share[built] = np.maximum(share, 1 - green_cover(green))[built]
    share[blue_roof(bands)] = 1
    wet = water(bands)
    weight[grown(wet) & ~wet & (share > 0)] = 0  # shores are as dark as roads
    share[wet] = 0
    dull = (bands["B02"] + bands["B03"] + bands["B04"]) / 3 < BRIGHT
    weight[(bare_soil_index(bands) > BARE_SOIL) & dull & (share > 0)] = 0
    return share.astype(np.float32), weight
