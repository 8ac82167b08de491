"""The folder of a mosaic: what earlier runs have left there, and whether it is a mosaic's at all."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isamap.domain.lonlat import as_crs
from isamap.errors import InputError
from isamap.io import store
from isamap.io.strangers import MOSAIC, SHEET, is_ours, kind_of, stranger

log = logging.getLogger(__name__)

SHEETS = "sheets"
COLLECTION = "collection.json"
FEW = 5
"""Names that a line of the log has room for."""


@dataclass(frozen=True)
class Lying:
    """A sheet that lies there, as its item describes it."""

    stem: str
    """Its name."""
    crs: str | None
    """`EPSG:...`; None if its CRS has no such code."""
    res: float
    """Pixel size in units of the CRS."""
    side_px: int
    """Pixels of a side."""
    corner: tuple[int, int]
    """Upper left, in sheets east and north of the CRS's origin."""
    provenance: Mapping[str, Any]
    """Everything that its bytes depend on."""


def sheets_there(folder: Path) -> list[Lying]:
    """The sheets in the folder of a mosaic, whatever run made them, by name; items that say too little are left out.

    Raises:
        StorageError: the disk does not give an item.
    """
    paths = sorted((folder / SHEETS).glob("*.json"))
    found = (_lying(path.stem, store.read_item(path) or {}) for path in paths if path.is_file())
    return [one for one in found if one is not None]


def _lying(stem: str, item: Mapping[str, Any]) -> Lying | None:
    if kind_of(item) != SHEET:
        return None
    properties = item["properties"]
    try:
        res, _, left, _, _, top = map(float, properties["proj:transform"])
        side_px, provenance = int(properties["proj:shape"][0]), dict(properties["isamap:provenance"])
        corner = round(left / (res * side_px)), round(top / (res * side_px))
        if code := properties.get("proj:code"):
            as_crs(int(code.removeprefix("EPSG:")))
    except (ArithmeticError, AttributeError, IndexError, InputError, KeyError, TypeError, ValueError):
        return None
    return Lying(stem, code or None, res, side_px, corner, provenance)


def few(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def tell_of_older(target: store.Target, span: tuple[str, str]) -> None:
    """Say that a mosaic takes the place of one that is there, aloud where that is of another time.

    Args:
        target: the mosaic.
        span: of its maps, RFC 3339.
    """
    there = (store.read_item(target.item_path) or {}).get("properties")
    ends = (
        [str(there.get(f"{end}_datetime"))[:10] for end in ("start", "end")]
        if isinstance(there, dict)
        else []
    )
    first, last = (text[:10] for text in span)
    other = bool(ends) and (ends[1] < first or last < ends[0])
    log.log(
        logging.WARNING if other else logging.INFO,
        "%s of %s to %s takes the place of the mosaic that is there%s",
        *(target.stem, first, last, f", of {' to '.join(ends)}" if other else ""),
    )


def check_folder(folder: Path, name: str, maps: Collection[Path]) -> None:
    """Refuse a folder in which the files of a mosaic and others would be taken for each other.

    Args:
        folder: of the mosaic.
        name: of the mosaic.
        maps: that it is made of.

    Raises:
        InputError: one of the maps lies there, or a collection of somebody else.
    """
    beside = {path.resolve().parent: path for path in maps}
    beside |= {parent.resolve(): path for parent, path in {path.parent: path for path in maps}.items()}
    for own in (folder, folder / SHEETS):
        if found := beside.get(own.resolve()):
            raise InputError(f"{found} lies in {own}, where the mosaic would: choose another folder")
    _check_collection(folder, name)


def _check_collection(folder: Path, name: str) -> None:
    path = folder / COLLECTION
    there = store.read_item(path) or {}
    said = there.get("summaries")
    own = isinstance(said, Mapping) and any(key.startswith("isamap:") for key in said)
    ours = own or is_ours(path) or (not there and kind_of(store.read_item(folder / f"{name}.json")) == MOSAIC)
    if path.exists() and not ours:
        raise stranger(path)
    if own and there.get("id") != name:
        log.warning(
            "%s is of the mosaic %.80s, whose files stay, and will be of %s", path, there.get("id"), name
        )
