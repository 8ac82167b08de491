"""What the pixels of one scene say of the +1000 of processing baseline 04.00."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from isamap.domain.sources import BANDS

OFFSET = -1000
"""BOA_ADD_OFFSET of all bands from baseline 04.00 on."""

Verdict = Literal["left-in", "removed", "mixed", "unknown"]
VALUES: Mapping[Verdict, int] = {"removed": 0, "left-in": OFFSET}

VEGETATION, BARE, WATER = 4, 5, 6
"""SCL classes: the red of the first and the shortwave infrared of the last are dark, the second has an even spectrum."""
LOW, VERY_LOW = 900, 800
"""DN that hardly any pixel, and that no pixel but a faulty one, has with the offset left in."""
PROOF_REMOVED, NO_LOW = 0.01, 0.0005
"""Share of very low pixels that proves removal; share of low ones above which nothing is proved to be left in."""
LIFTED_RED, LIFTED_SWIR = 1050, 1000
"""Vegetation and water so bright are so by the offset alone; thin cloud and dry grass are kept out by NO_LOW."""
VEGETATION_SHARE, WATER_SHARE = 0.10, 0.005
"""Least shares of usable pixels for such a proof; measured, see docs/design/0012-composites.md."""
MIN_PIXELS, MIN_CLASS_PX = 60_000, 200
"""Fewer usable pixels prove nothing to be left in, fewer of a class prove nothing at all."""
DARK = (500, 800, 800, 900, 900, 900)
"""By band: darkest DN below it are none of a band that keeps the offset; atmospheric correction overdoes B02 most."""
EDGE = 950
"""Darkest DN of a band that may keep the offset."""
JUMP = 600
"""DN between the darkest of two neighbouring bands: whole real scenes stay below, unless one band keeps the offset."""
BARE_SHARE = 0.10
"""Least share of bare ground whose spectrum excuses a jump."""
BARE_STEPS = ((-400, 600), (-250, 900), (-50, 1300), (-850, 1200), (-1000, 150))
"""Least and largest median step of bare ground from each band to the next in DN, measured, with a margin of 50."""
SAMPLE_PX = 1 << 18
"""Pixels looked at, spread evenly over a scene."""


@dataclass(frozen=True)
class Evidence:
    """What the pixels of one scene say of the offset."""

    pixels: int
    """Usable pixels looked at."""
    low_share: float
    """Share with a band below 900: reflectance below -0.01 if the offset were left in."""
    very_low_share: float
    """Share with B03, B04, B11 or B12 below 800; B02 is left out, which atmospheric correction overdoes most."""
    vegetation_share: float
    """Share that SCL calls vegetation."""
    vegetation_red: int | None
    """Median B04 of it; None where it is too little."""
    water_share: float
    """Share that SCL calls water."""
    water_swir: int | None
    """Median B12 of it; None where it is too little."""
    darkest: Mapping[str, int]
    """0.1th percentile of the DN of each band; empty without usable pixels."""
    bare_steps: tuple[int, ...] | None
    """Median over bare ground of each band's DN less those of the band before it, five; None where it is too little."""

    @property
    def disagreement(self) -> str:
        """Why the offset cannot be the same in all bands; empty if it can.

        Shadow and water are dark in every band. So where the darkest pixels of a band lie below `DARK`, those of a
        neighbouring band lie close to them, not `JUMP` above and beyond `EDGE` - unless nothing there is dark in that
        band. Bare ground shows it: taking 1000 off the band would leave a spectrum that no bare ground has.
        """
        darkest = list(self.darkest.items())
        for k, pair in enumerate(pairwise(zip(darkest, DARK, strict=False))):
            ((low_band, low), dark), ((high_band, high), _) = sorted(pair, key=lambda one: one[0][1])
            if low >= dark or high < EDGE or high - low < JUMP or self._bare_ground_excuses(k, high_band):
                continue
            return f"the darkest pixels of {low_band} lie at {low}, those of {high_band} at {high}"
        return ""

    def _bare_ground_excuses(self, k: int, high_band: str) -> bool:
        """Whether the step from band k to the next is too small for the brighter of the two to keep the offset."""
        if self.bare_steps is None:
            return False
        least, largest = BARE_STEPS[k]
        if high_band == BANDS[k + 1]:
            return self.bare_steps[k] + OFFSET < least
        return self.bare_steps[k] - OFFSET > largest

    @property
    def verdict(self) -> Verdict:
        """What that proves: `unknown` in deserts, and in windows without shadow, water and vegetation."""
        if self.disagreement:
            return "mixed"
        red, swir = self.vegetation_red, self.water_swir
        many_low = self.very_low_share >= max(PROOF_REMOVED, MIN_CLASS_PX / max(self.pixels, 1))
        if many_low or (red is not None and red < LOW) or (swir is not None and swir < LOW):
            return "removed"
        green = red is not None and red >= LIFTED_RED and self.vegetation_share >= VEGETATION_SHARE
        wet = swir is not None and swir >= LIFTED_SWIR and self.water_share >= WATER_SHARE
        if self.pixels >= MIN_PIXELS and self.low_share <= NO_LOW and (green or wet):
            return "left-in"
        return "unknown"

    def __str__(self) -> str:
        """The figures in one line."""
        parts = [f"{self.low_share:.2%} of pixels below {LOW}"]
        if self.vegetation_red is not None:
            parts.append(f"vegetation B04 {self.vegetation_red}")
        if self.water_swir is not None:
            parts.append(f"water B12 {self.water_swir}")
        return ", ".join(parts)


def evidence(dn: NDArray[np.uint16], usable: NDArray[np.bool_], scl: NDArray[np.uint8]) -> Evidence:
    """What the pixels of one scene say of the offset.

    Args:
        dn: as stored, uint16, (6, y, x) in the order of BANDS.
        usable: True where every band is valid and SCL names no cloud, (y, x).
        scl: uint8, (y, x); Sen2Cor made it before the offset was added, so that it names the same ground either way.
    """
    step = max(1, isqrt(usable.size // SAMPLE_PX))
    there = usable[::step, ::step]
    values, classes = dn[:, ::step, ::step][:, there], scl[::step, ::step][there]
    count = values.shape[1]
    if not count:
        return Evidence(0, 0, 0, 0, None, 0, None, {}, None)
    _, b03, b04, _, b11, b12 = values
    green, wet = classes == VEGETATION, classes == WATER
    very_low = (b03 < VERY_LOW) | (b04 < VERY_LOW) | (b11 < VERY_LOW) | (b12 < VERY_LOW)
    darkest = np.percentile(values, 0.1, axis=1, method="lower").astype(int).tolist()
    return Evidence(
        pixels=count,
        low_share=float((values < LOW).any(axis=0).mean()),
        very_low_share=float(very_low.mean()),
        vegetation_share=float(green.mean()),
        vegetation_red=_median(b04[green]),
        water_share=float(wet.mean()),
        water_swir=_median(b12[wet]),
        darkest=dict(zip(BANDS, darkest, strict=True)),
        bare_steps=_steps(values[:, classes == BARE], count),
    )


def _steps(bare: NDArray[np.uint16], count: int) -> tuple[int, ...] | None:
    """Median step from band to band over bare ground, (6, n) of `count` pixels; None where it is too little."""
    if bare.shape[1] < max(MIN_CLASS_PX, BARE_SHARE * count):
        return None
    steps = np.median(np.diff(bare.astype(np.int32), axis=0), axis=1)
    return tuple(steps.astype(int).tolist())


def _median(values: NDArray[np.uint16]) -> int | None:
    return int(np.median(values)) if values.size >= MIN_CLASS_PX else None
