"""Change classes: what a pixel's sequence of maps and its most likely path say together.

The difference of the first and the last map overstates lasting change several times over: most of it comes and goes.
So gains and losses are those of the path, and what the maps show beyond it has classes of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from odc.geo.geobox import GeoBox

from isamap.domain.product import NODATA, PREVIEW_KEY, Layer, map_item, year_span

PERVIOUS, IMPERVIOUS, GAIN, LOSS, ENDPOINT, FLICKER, FEW, REVERSAL = range(8)
NAMES: Mapping[int, str] = {
    PERVIOUS: "stable pervious",
    IMPERVIOUS: "stable impervious",
    GAIN: "sustained gain",
    LOSS: "sustained loss",
    ENDPOINT: "endpoint-only change",
    FLICKER: "flicker",
    FEW: "too few looks",
    REVERSAL: "reversal",
}
UNSEEN = 8
"""Slot of a tally for pixels without any look; 255 in the raster."""
SLOTS = 9
NO_YEAR, FEW_LOOKS = 0, 254
"""Of the first-year raster: never impervious; too few looks to say."""
SETTLED_LOOKS = 2
"""Looks in the new state that make a change of the raw maps a sustained one."""

CHANGE = Layer(
    key="change",
    suffix=".change.tif",
    title="Change of impervious surface: " + ", ".join(f"{code} {name}" for code, name in NAMES.items()),
    description="change of impervious surface",
    overview="MODE",
    colours={
        PERVIOUS: (236, 240, 232, 255),
        IMPERVIOUS: (150, 150, 150, 255),
        GAIN: (204, 32, 48, 255),
        LOSS: (36, 105, 180, 255),
        ENDPOINT: (244, 190, 120, 255),
        FLICKER: (246, 232, 150, 255),
        FEW: (215, 205, 230, 255),
        REVERSAL: (140, 60, 150, 255),
        NODATA: (0, 0, 0, 0),
    },
)
_EARLY, _LATE = (84, 39, 110), (253, 190, 60)


def first_year_layer(years: Sequence[int]) -> Layer:
    """The first-year raster of a series, from violet (early) to yellow (late)."""
    colours = {NO_YEAR: (236, 240, 232, 255), FEW_LOOKS: (215, 205, 230, 255), NODATA: (0, 0, 0, 0)}
    for index in range(len(years)):
        part = index / max(1, len(years) - 1)
        red, green, blue = (round(a + part * (b - a)) for a, b in zip(_EARLY, _LATE, strict=True))
        colours[index + 1] = (red, green, blue, 255)
    table = ", ".join(f"{index} {year}" for index, year in enumerate(years, start=1))
    return Layer(
        key="first-year",
        suffix=".first-year.tif",
        title=f"First impervious year: 0 never, {table}; 1 is {years[0]} or before, 254 too few looks",
        description=f"first impervious year: {table}",
        overview="MODE",
        colours=colours,
    )


def change_item(
    stem: str, geobox: GeoBox, years: Sequence[int], properties: Mapping[str, Any]
) -> dict[str, Any]:
    """STAC item of a change product, without checksums.

    Args:
        stem: of the files, and id of the item.
        geobox: of the rasters.
        years: of the maps.
        properties: more item properties, provenance among them.
    """
    span = year_span(years[0])[0], year_span(years[-1])[1]
    table = {str(index): year for index, year in enumerate(years, start=1)}
    named = {"isamap:first_year": table, "isamap:change_classes": {str(k): v for k, v in NAMES.items()}}
    item = map_item(stem, geobox, span, (first_year_layer(years), CHANGE), {**properties, **named})
    del item["assets"][PREVIEW_KEY]  # no picture is made of it
    return item
