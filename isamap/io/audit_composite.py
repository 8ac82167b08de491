"""The audit of one finished composite: its item, its file, every pixel against what the item says of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.errors import RasterioError
from rio_cogeo.cogeo import cog_validate

from isamap.domain.audit import Finding, grid_fault, place_fault
from isamap.domain.composite import ASSET, BAND_NAMES, NODATA, look_statistics, made_of
from isamap.domain.grid import MARGIN_PX, Tile
from isamap.errors import InputError
from isamap.io import store
from isamap.io.composite import read_composite
from isamap.io.guard import check_complete, open_raster, reason
from isamap.io.placing import check_position, geobox_of
from isamap.io.telling import file_fault, layout_warnings_hushed, told

AGAIN = "run isamap fetch again"
"""It sees for itself that the composite must be redone."""
AFRESH = "run isamap fetch again with --overwrite"
"""The file matches its item, so fetch would take it for done."""
WITHOUT = "remove its .json and run isamap fetch again"
"""It might be another product's, in whose place fetch puts nothing."""
CLEAR = "remove that folder and run isamap fetch again"


@dataclass(frozen=True)
class Candidate:
    """A composite to be audited."""

    path: Path
    """Its file."""
    tile: Tile
    """That it must be of."""
    quick: bool = False
    """Read no pixels and no checksum."""

    def __str__(self) -> str:
        """As logs name it."""
        return f"composite of {self.tile}"


def audit_composite(one: Candidate) -> tuple[Finding, ...]:
    """What is off with a composite; nothing for a file without item, which the user may have put there.

    Raises:
        StorageError: the disk does not give a file.
    """
    with store.storage_errors(one.path):
        return tuple(_findings(one))


def _findings(one: Candidate) -> Iterator[Finding]:
    name = str(one.tile)
    item_path = one.path.with_suffix(".json")
    if folder := next((path for path in (item_path, one.path) if path.is_dir()), None):
        yield Finding(name, "file", f"composite: {folder.name} is a folder", CLEAR)
        return
    if not item_path.exists():
        return
    item = store.read_item(item_path)
    assets = (item or {}).get("assets")
    asset = assets.get(ASSET) if isinstance(assets, dict) else None
    if item is None or not made_of(item) or not isinstance(asset, dict):
        yield Finding(name, "item", f"{item_path.name} of the composite is no item of isamap", WITHOUT)
        return
    if fault := file_fault(one.path, asset, quick=one.quick):
        yield Finding(name, "file", f"composite {fault}", AGAIN)
        return
    try:
        with layout_warnings_hushed():
            yield from _raster_findings(one, item)
    except InputError as error:
        yield Finding(name, "file", f"composite: {told(error, one.path)}", AFRESH)
    except RasterioError as error:
        yield Finding(name, "file", f"composite: {reason(error)}", AFRESH)


def _raster_findings(one: Candidate, item: Mapping[str, Any]) -> Iterator[Finding]:
    """What header and pixels show."""
    name = str(one.tile)
    with open_raster(one.path) as src:
        check_complete(src, 1)
        check_position(src)
        geobox, count, dtypes = geobox_of(src), src.count, set(src.dtypes)
        descriptions, nodata = src.descriptions, src.nodata
    if (count, dtypes, nodata) != (len(BAND_NAMES), {"uint16"}, NODATA) or descriptions != BAND_NAMES:
        text = (
            f"composite has the bands {', '.join(map(str, descriptions))}, not uint16 {', '.join(BAND_NAMES)}"
        )
        yield Finding(name, "format", text, AFRESH)
        return
    if fault := grid_fault(geobox, one.tile.geobox(margin_px=MARGIN_PX)):
        yield Finding(name, "grid", f"composite {fault}", AFRESH)
    elif fault := place_fault(item, geobox):
        yield Finding(name, "item", f"item of the composite {fault}", AFRESH)
    valid, errors, warnings = cog_validate(one.path, strict=True, quiet=True)
    if not valid:
        yield Finding(name, "layout", f"composite: {'; '.join(errors + warnings)}", AFRESH)
    if one.quick:
        return
    values, looks = read_composite(one.path)
    odd = int(np.count_nonzero((values == NODATA).any(axis=0) != (looks == 0)))
    if odd:
        yield Finding(
            name, "nodata", f"composite: {odd} pixels have values without a look, or the reverse", AFRESH
        )
    if item["properties"].get("isamap:looks") != look_statistics(looks):
        yield Finding(name, "share", "item of the composite counts other clear looks than its file", AFRESH)
