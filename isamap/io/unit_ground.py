"""How much of a map lies in each unit: sizes that a sample need not estimate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from shapely.geometry.base import BaseGeometry

from isamap.domain.estimation import Stratum
from isamap.domain.ground_area import SQUARE_KM, pixel_area_m2
from isamap.domain.product import NODATA
from isamap.io.cover import looks
from isamap.io.products import Product
from isamap.io.zones import Units

SAME_GROUND = 0.01
"""Strata that together are this much larger or smaller than the map stand for other ground."""


@dataclass(frozen=True)
class UnitGround:
    """Ground that a map shows, everywhere and by unit."""

    pixels: Mapping[str, float]
    """Mapped pixels of each unit that has any."""
    km2: Mapping[str, float]
    """Their area."""
    whole: tuple[float, float]
    """Pixels and km2 of everything that is mapped."""

    def sizes(self, strata: Sequence[Stratum]) -> Mapping[str, float]:
        """Size of each unit in the unit of the strata, if these are the map's ground, all of it or that in units.

        None of them, where the strata are other ground, or sizes in a unit that nobody knows: `pixels` are tried
        first, then km2.
        """
        total = sum(one.size for one in strata)
        for sizes, whole in zip((self.pixels, self.km2), self.whole, strict=True):
            if any(abs(total - mapped) <= SAME_GROUND * mapped for mapped in (whole, sum(sizes.values()))):
                return sizes
        return {}


def unit_ground(product: Product, units: Units, ground: BaseGeometry | None = None) -> UnitGround:
    """Count the mapped pixels of every unit, inside a lon/lat polygon if one is given.

    Raises:
        InputError: a raster is damaged, or lies nowhere.
    """
    most = max(units.names, default=0)
    pixels, km2, whole = np.zeros(most + 1), np.zeros(most + 1), np.zeros(2)
    for look in looks([product], ground=ground):
        pixel_km2 = pixel_area_m2(look.grid) / SQUARE_KM
        codes = units.on(look.grid).codes[look.own != NODATA]
        found = np.bincount(codes, minlength=most + 1)
        pixels += found
        km2 += found * pixel_km2
        whole += codes.size * np.array([1, pixel_km2])
    there = [(code, name) for code, name in units.names.items() if pixels[code]]
    return UnitGround(
        {name: float(pixels[code]) for code, name in there},
        {name: float(km2[code]) for code, name in there},
        (float(whole[0]), float(whole[1])),
    )
