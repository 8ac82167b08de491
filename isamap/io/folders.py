"""Folders of images: those of Five-Billion-Pixels and GID with their labels, and those of any sensor without.

Five-Billion-Pixels comes as `Image__8bit_NirRGB/<image>.tif` (or `Image_16bit_BGRNir`), with
`Annotation__color/<image>_24label.tif` and `Annotation__index/<image>_24label.png`; folders differ by an underscore
between releases. Labels are found by the name of their image, in folders called after annotations or labels, or beside
the image; colours are taken before indices, because they tell what they mean.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from isamap.errors import InputError, MissingInputError
from isamap.io.guard import one_line

IMAGES = (".tif", ".tiff", ".jp2")
MASKS = (".tif", ".tiff", ".png")
ORDERS = {
    "nirrgb": ("B08", "B04", "B03", "B02"),
    "bgrnir": ("B02", "B03", "B04", "B08"),
    "rgbnir": ("B04", "B03", "B02", "B08"),
}
"""Band orders by the ending of a folder's name."""
_LABEL = re.compile(r"annotation|label", re.IGNORECASE)
_MASK = re.compile(r"_(?:\d+)?label(?:_?\w+)?$|_label$", re.IGNORECASE)
SAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class FolderImage:
    """One image of a folder."""

    name: str
    """Its stem, safe as a file name."""
    image: Path
    """The raster."""
    mask: Path | None
    """Its labels, if there are any."""
    bands: tuple[str, ...] | None
    """Band order that the folder's name tells."""


def images_of(folder: Path) -> list[FolderImage]:
    """Images of a folder with their labels, sorted by name.

    Raises:
        MissingInputError: there is no such folder, or no image in it.
        InputError: only some of its images have labels.
    """
    if not folder.is_dir():
        raise MissingInputError(f"{one_line(folder)}: no such folder")
    place = _image_folder(folder)
    images = sorted(p for p in place.iterdir() if p.suffix.lower() in IMAGES and not _MASK.search(p.stem))
    if not images:
        raise MissingInputError(f"{one_line(place)} holds no image ({', '.join(IMAGES)})")
    masks = _masks(folder, place)
    order = next((bands for end, bands in ORDERS.items() if place.name.lower().endswith(end)), None)
    found = [FolderImage(SAFE.sub("-", p.stem).lstrip("."), p, masks.get(p.stem), order) for p in images]
    bare = [one.name for one in found if one.mask is None]
    if bare and len(bare) < len(found):
        raise InputError(
            f"{one_line(folder)}: {len(bare)} of {len(found)} images have no labels, {bare[0]} among them: "
            "complete the folder, or take those images out"
        )
    return found


def _image_folder(folder: Path) -> Path:
    """The folder of the images: the 8-bit one of several, the folder itself if there is none."""
    inner = sorted(p for p in folder.iterdir() if p.is_dir() and p.name.lower().startswith("image"))
    eight = [p for p in inner if "8bit" in p.name.lower()]
    return (eight or inner or [folder])[0]


def _masks(folder: Path, images: Path) -> dict[str, Path]:
    """Label pictures by the stem of their image; colours lie over indices."""
    places = [p for p in sorted(folder.iterdir()) if p.is_dir() and _LABEL.search(p.name)]
    places.sort(key=lambda p: "color" in p.name.lower() or "rgb" in p.name.lower())
    found: dict[str, Path] = {}
    for place in [images, *places]:
        for path in sorted(place.iterdir()):
            named = _MASK.search(path.stem) is not None
            if path.suffix.lower() in MASKS and (named or place != images):
                found[_MASK.sub("", path.stem)] = path
    return found
