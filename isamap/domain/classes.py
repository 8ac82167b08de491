"""Class schemes: what the codes of a label raster mean, how they look, and which of them are impervious.

`isa` is the scheme of the maps. `fbp24` is that of Five-Billion-Pixels (Tong, Xia and Zhu 2023, ISPRS J. 196, 178-196);
codes and colours are those of its masks, and decoding by colour also reads GID's 15 classes, which share them. Its
polygons are land use at 4 m: a residential block has lawns and trees, so the mapping to ISA overstates it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isamap.errors import ConfigError, InputError

UNLABELLED = 255
"""Code of ground that nobody labelled, in every scheme."""


@dataclass(frozen=True)
class LandClass:
    """One class of a scheme."""

    code: int
    """In label rasters."""
    name: str
    """For legends."""
    colour: tuple[int, int, int]
    """Red, green, blue."""
    isa: bool
    """Whether it counts as impervious."""


@dataclass(frozen=True)
class Scheme:
    """A set of classes."""

    name: str
    """As recipes and cards call it."""
    classes: tuple[LandClass, ...]
    """In the order of their codes."""

    @cached_property
    def colours(self) -> Mapping[int, tuple[int, int, int, int]]:
        """Colour table of a raster; unlabelled ground is transparent."""
        return {one.code: (*one.colour, 255) for one in self.classes} | {UNLABELLED: (0, 0, 0, 0)}

    def to_isa(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels of this scheme, uint8 of any shape, as ISA: 1, 0, 255 where unlabelled."""
        table = np.full(256, UNLABELLED, np.uint8)
        for one in self.classes:
            table[one.code] = int(one.isa)
        return table[labels]

    def count_isa(self, labels: NDArray[np.uint8]) -> int:
        """Impervious pixels among labels of this scheme."""
        return sum(int(np.count_nonzero(labels == one.code)) for one in self.classes if one.isa)

    def channel_of(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels as the numbers of a network's outputs, 0 to n - 1; 255 where unlabelled."""
        table = np.full(256, UNLABELLED, np.uint8)
        for channel, one in enumerate(self.classes):
            table[one.code] = channel
        return table[labels]

    def code_of(self, channels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The way back from `channel_of`."""
        table = np.full(256, UNLABELLED, np.uint8)
        table[: len(self.classes)] = [one.code for one in self.classes]
        return table[channels]

    def check(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Labels as they are, if all their codes belong to the scheme.

        Raises:
            InputError: others do; the message names them.
        """
        known = np.zeros(256, np.bool_)
        known[[one.code for one in self.classes] + [UNLABELLED]] = True
        counts = np.bincount(labels.ravel(), minlength=256)
        if odd := np.flatnonzero((counts > 0) & ~known).tolist():
            listed = ", ".join(map(str, odd[:5]))
            own = f"{self.classes[0].code}-{self.classes[-1].code}"
            raise InputError(
                f"label codes {listed} are not in the scheme {self.name} ({own}, 255 unlabelled)"
            )
        return labels

    def decode_rgb(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Codes of a picture whose colours are the classes; black is unlabelled.

        Args:
            rgb: uint8 `(3, y, x)`.

        Raises:
            InputError: a colour belongs to no class; the message has it, and how often it occurs.
        """
        key = (rgb[0].astype(np.uint32) << 16) | (rgb[1].astype(np.uint32) << 8) | rgb[2]
        table = np.full(1 << 24, UNLABELLED - 1, np.uint8)
        table[0] = UNLABELLED
        for one in self.classes:
            red, green, blue = one.colour
            table[(red << 16) | (green << 8) | blue] = one.code
        codes: NDArray[np.uint8] = table[key]
        odd = codes == UNLABELLED - 1
        if odd.any():
            first = int(key[odd][0])
            colour = first >> 16, first >> 8 & 255, first & 255
            raise InputError(
                f"colour {colour} belongs to no class of {self.name} ({np.count_nonzero(odd)} pixels of such colours): "
                "labels must be stored without loss"
            )
        return codes


ISA = Scheme(
    "isa",
    (
        LandClass(0, "pervious", (236, 240, 232), isa=False),
        LandClass(1, "impervious", (178, 34, 52), isa=True),
    ),
)
FBP24 = Scheme(
    "fbp24",
    (
        LandClass(1, "industrial area", (200, 0, 0), isa=True),
        LandClass(2, "paddy field", (0, 200, 0), isa=False),
        LandClass(3, "irrigated field", (150, 250, 0), isa=False),
        LandClass(4, "dry cropland", (150, 200, 150), isa=False),
        LandClass(5, "garden land", (200, 0, 200), isa=False),
        LandClass(6, "arbor forest", (150, 0, 250), isa=False),
        LandClass(7, "shrub forest", (150, 150, 250), isa=False),
        LandClass(8, "park", (200, 150, 200), isa=False),
        LandClass(9, "natural meadow", (250, 200, 0), isa=False),
        LandClass(10, "artificial meadow", (200, 200, 0), isa=False),
        LandClass(11, "river", (0, 0, 200), isa=False),
        LandClass(12, "urban residential", (250, 0, 150), isa=True),
        LandClass(13, "lake", (0, 150, 200), isa=False),
        LandClass(14, "pond", (0, 200, 250), isa=False),
        LandClass(15, "fish pond", (150, 200, 250), isa=False),
        LandClass(16, "snow", (250, 250, 250), isa=False),
        LandClass(17, "bareland", (200, 200, 200), isa=False),
        LandClass(18, "rural residential", (200, 150, 150), isa=True),
        LandClass(19, "stadium", (250, 200, 150), isa=True),
        LandClass(20, "square", (150, 150, 0), isa=True),
        LandClass(21, "road", (250, 150, 150), isa=True),
        LandClass(22, "overpass", (250, 150, 0), isa=True),
        LandClass(23, "railway station", (250, 200, 250), isa=True),
        LandClass(24, "airport", (200, 150, 0), isa=True),
    ),
)
SCHEMES = {scheme.name: scheme for scheme in (ISA, FBP24)}


def scheme_of(name: str) -> Scheme:
    """The scheme called so.

    Raises:
        ConfigError: there is none; the message has those there are.
    """
    if name not in SCHEMES:
        raise ConfigError(f"no class scheme is called {name!r}: there are {', '.join(SCHEMES)}")
    return SCHEMES[name]
