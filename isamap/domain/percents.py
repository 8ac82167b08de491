"""The probability raster of one year: what its values are evidence of, and whether it is that of the map beside it."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isamap.domain.audit import unlike, wrong_codes
from isamap.domain.product import NODATA, PROBABILITY
from isamap.domain.transition import of_percent

MAX_UNLIKE = 0.05
"""Share of the ISA of map or raster that may be ISA in one of them alone; it is 0 where one run wrote both."""
MUCH = 0.01
"""Share of the map's ground without a percentage from which it is said."""


class Percents:
    """What one probability raster says, window by window.

    Args:
        threshold: percentage, as a share, from which the map beside it has ISA.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._mapped = self._without = self._isa = self._unlike = 0

    @cached_property
    def _table(self) -> NDArray[np.float32]:
        return of_percent(self.threshold)

    def look(self, classes: NDArray[np.uint8], percent: NDArray[np.uint8]) -> list[int]:
        """Values of a window that are no percentages; it is compared with that of the map, both as they are stored."""
        apart = unlike(classes, percent, self.threshold)
        self._mapped += int(np.count_nonzero(classes != NODATA))
        self._without += int(np.count_nonzero((classes != NODATA) & (percent == NODATA)))
        self._isa += int(np.count_nonzero((classes == 1) & (percent != NODATA) | apart))
        self._unlike += int(np.count_nonzero(apart))
        return wrong_codes(percent, PROBABILITY)

    def evidence(
        self, of_classes: NDArray[np.float32], digits: NDArray[np.uint8], percent: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Evidence of a window: of the percentage, or of the class where that alone is known.

        Args:
            of_classes: evidence of the classes `(y, x)`.
            digits: of the map, 0 where it knows nothing.
            percent: 0-100, 255 unknown.
        """
        return np.where((percent == NODATA) | (digits == 0), of_classes, self._table[percent])

    @property
    def unlike_share(self) -> float:
        """Of the ISA that the windows looked at have in map or raster, what only one of them has."""
        return self._unlike / (self._isa or 1)

    @property
    def without_share(self) -> float:
        """Of the ground of the map, what has no percentage."""
        return self._without / (self._mapped or 1)
