"""The rasters of one year: read on the grid of the series, and the probabilities beside a map looked at on the way."""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from isamap.domain.grid import Window
from isamap.domain.percents import MAX_UNLIKE, MUCH, Percents
from isamap.errors import InputError
from isamap.io.classmap import ClassMap, Sheet
from isamap.io.guard import raster_window, reason

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layer:
    """One open raster and where the grid begins in it."""

    map: ClassMap
    """Its reader."""
    sheet: Sheet
    """The raster itself."""
    row_off: int
    """Row of the raster at which the grid begins."""
    col_off: int
    """Column, likewise."""
    as_stored: bool
    """Whether its values are used as they are."""

    @property
    def ground(self) -> Window:
        """The whole raster, as a window of the grid."""
        return Window(-self.row_off, -self.col_off, self.sheet.src.height, self.sheet.src.width)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Decoded values of a window of the grid, 255 outside."""
        shifted = Window(
            window.row_off + self.row_off, window.col_off + self.col_off, window.height, window.width
        )
        src = self.sheet.src
        inside = shifted.clip((src.height, src.width)) == shifted
        if inside and src.dtypes[0] == "uint8" and self.sheet.plain and self.as_stored:
            return self._plain(shifted)
        values: NDArray[np.uint8] = self.map.read(self.sheet, shifted)
        return values

    def _plain(self, window: Window) -> NDArray[np.uint8]:
        """A window of a raster that needs no decoding and no mask but that of our nodata, which is not asked for."""
        try:
            values: NDArray[np.uint8] = self.sheet.src.read(1, window=raster_window(window))
        except RasterioError as error:
            raise InputError(
                f"{self.sheet.name} is damaged near row {window.row_off}: {reason(error)}"
            ) from error
        return values


class Probability:
    """The probability raster beside the map of a year.

    Args:
        layer: the open raster.
        threshold: share from which the map beside it has ISA.

    Raises:
        InputError: it cannot hold percent.
    """

    def __init__(self, layer: Layer, threshold: float) -> None:
        self.layer, self._percents = layer, Percents(threshold)
        if (kind := layer.sheet.src.dtypes[0]) != "uint8":
            raise self._strange(f"is {kind}")

    def look(self, classes: NDArray[np.uint8], percent: NDArray[np.uint8]) -> None:
        """Compare a window with the classes of the map, both as they are stored.

        Raises:
            InputError: it holds values that are no percentages.
        """
        if wrong := self._percents.look(classes, percent):
            raise self._strange(f"holds {wrong[0]}")

    def evidence(
        self, of_classes: NDArray[np.float32], digits: NDArray[np.uint8], percent: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Evidence of a window: of the percentage, or of the class where that alone is known."""
        return self._percents.evidence(of_classes, digits, percent)

    def check(self) -> None:
        """Say what it does not know of all that was looked at.

        Raises:
            InputError: it is not the probability of the map beside it.
        """
        found, name = self._percents, self.layer.sheet.name
        if found.unlike_share > MAX_UNLIKE:
            raise InputError(
                f"{name} is not the probability of the map beside it: at the threshold {found.threshold:g} "
                f"{found.unlike_share:.0%} of the ISA is in one of them alone; make both again with "
                "isamap infer --probability, or leave out --probability"
            )
        if found.without_share > MUCH:
            log.warning(
                "%s knows nothing of %.0f %% of the ground of its map: the classes count there",
                name,
                100 * found.without_share,
            )

    def _strange(self, what: str) -> InputError:
        """It is something else."""
        return InputError(
            f"{self.layer.sheet.name} {what}, and a probability raster holds percent, 0 to 100, in uint8 (255 is nodata): "
            "write it so, or leave out --probability"
        )
