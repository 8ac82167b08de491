"""The audit of one finished map: its item, its files, their headers, and every pixel."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioError

from isamap import digests
from isamap.domain.audit import (
    AFRESH,
    AGAIN,
    CLEAR,
    MAX_DEEP_SHARE,
    REMOVED,
    SHARE_ERROR,
    UNCLEAR,
    Check,
    Finding,
    grid_fault,
    item_faults,
    number_of,
    place_fault,
    scheme_of,
)
from isamap.domain.census import traits_of
from isamap.domain.grid import Tile
from isamap.domain.product import BLOCK_PX, CLASSES, NODATA, Layer
from isamap.errors import InputError, MissingInputError
from isamap.io import store
from isamap.io.cog import layout_faults
from isamap.io.composite import check_place, is_off_grid
from isamap.io.guard import GDAL_ENV, check_complete, open_raster, reason
from isamap.io.pixels import LAYERS, Tally, Validity, read_pixels, validity
from isamap.io.placing import check_position, geobox_of
from isamap.io.strangers import is_ours
from isamap.io.telling import file_fault, layout_warnings_hushed, told

TAGS = {"isamap_model": "model", "isamap_threshold": "threshold"}
"""What the class raster repeats of its item."""
REMADE = "make the composite again, then run isamap infer"
"""Nothing is mapped from a composite that is damaged."""


@dataclass(frozen=True)
class Subject:
    """A map to be audited."""

    target: store.Target
    """Where it lies."""
    year: int | None = None
    """That it must be of; None if nobody says."""
    composite: Path | None = None
    """That a tile is made from; None if nobody says."""
    quick: bool = False
    """Read no pixels and no checksums."""

    @property
    def tile(self) -> Tile | None:
        """The grid tile that the name stands for, if it is one."""
        try:
            return Tile.parse(self.target.stem)
        except InputError:
            return None

    def __str__(self) -> str:
        """As logs name it."""
        return self.target.stem


@dataclass(frozen=True)
class Audited:
    """What an audit says of one map."""

    findings: tuple[Finding, ...]
    """What is off."""
    traits: Mapping[str, str] | None = None
    """How the map was made, for comparison with others; None where the item does not say."""
    readable: bool = False
    """Whether the class raster can be held against its neighbours."""


def audit(subject: Subject) -> Audited:
    """Look at one map from the item down to the pixels.

    Raises:
        StorageError: the disk does not give a file.
    """
    with store.storage_errors(subject.target.item_path), layout_warnings_hushed():
        return _audit(subject)


def _audit(subject: Subject) -> Audited:
    stem, directory = subject.target.stem, subject.target.directory
    item = None if subject.target.item_path.is_dir() else store.read_item(subject.target.item_path)
    if item is None:
        return Audited((_without_item(subject),))
    faults = [Finding(stem, "item", f"item {text}", AFRESH) for text in item_faults(item, stem, subject.year)]
    if faults:
        return Audited(tuple(_settled(faults, subject)))
    assets: dict[str, dict[str, Any]] = item["assets"]
    classes = scheme_of(item).name
    findings = list(_file_findings(directory, stem, assets, quick=subject.quick))
    readable = {}
    for key in [key for key in LAYERS if key in assets]:
        path = directory / assets[key]["href"][2:]
        found = list(_raster_findings(path, LAYERS[key], subject, item)) if path.is_file() else None
        findings += found or []
        if found is not None and not any(finding.check == "file" for finding in found):
            readable[key] = path
    aligned = not any(finding.check == "grid" for finding in findings)
    if not subject.quick:
        valid, said = _validity(subject, item) if aligned else (None, ())
        findings += said
        if readable:
            findings += _pixel_findings(stem, item, readable, valid)
    damaged = any(finding.check == "pixels" for finding in findings)
    findings = [*_settled(findings, subject), *_unlisted(directory, stem, assets)]
    return Audited(tuple(findings), traits_of(item), classes in readable and aligned and not damaged)


def _without_item(subject: Subject) -> Finding:
    stem, path = subject.target.stem, subject.target.item_path
    raster = subject.target.directory / f"{stem}{CLASSES.suffix}"
    if folder := next((one for one in (path, raster) if one.is_dir()), None):
        return Finding(stem, "item", f"{folder.name} is a folder", CLEAR)
    if path.exists():
        return Finding(stem, "item", f"{path.name} is no JSON object", AGAIN)
    if raster.exists():
        return Finding(stem, "item", f"{stem}.tif has no item: it may be incomplete", UNCLEAR)
    if is_off_grid(subject.composite, subject.tile):
        return Finding(stem, "coverage", "not mapped: its composite lies on another grid", REMADE)
    if subject.composite is not None and not subject.composite.is_file():
        todo = f"run isamap infer, which makes its composite too, or put one at {subject.composite}"
    else:
        todo = "run isamap infer"
    return Finding(stem, "coverage", "not mapped", todo)


def _settled(findings: Collection[Finding], subject: Subject) -> list[Finding]:
    """Each finding once, all with one advice: where infer sees for itself that the map must be redone, no other is needed."""
    todos = {finding.todo for finding in findings}
    afresh = AFRESH if AFRESH not in todos or _is_known(subject.target) else REMOVED
    todo = AGAIN if AGAIN in todos else afresh
    settled = (replace(finding, todo=todo) if finding.todo == AFRESH else finding for finding in findings)
    return list(dict.fromkeys(settled))


def _is_known(target: store.Target) -> bool:
    """Whether infer would know the rasters for its own without their item."""
    paths = (target.directory / f"{target.stem}{layer.suffix}" for layer in LAYERS.values())
    return all(is_ours(path) for path in paths if path.is_file())


def _unlisted(directory: Path, stem: str, assets: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    """Rasters with the name of the map that are none of its files: nobody has looked at them."""
    listed = {asset["href"][2:] for asset in assets.values()}
    for name in sorted({f"{stem}{layer.suffix}" for layer in LAYERS.values()} - listed):
        if (directory / name).exists():
            yield Finding(stem, "leftover", f"{name} is there, but the item does not list it", "remove it")


def _file_findings(
    directory: Path, stem: str, assets: Mapping[str, dict[str, Any]], *, quick: bool
) -> Iterator[Finding]:
    """Are the files there, of the size and with the checksum that the item gives?"""
    for asset in assets.values():
        path = directory / asset["href"][2:]
        if path.is_dir():
            yield Finding(stem, "file", f"{path.name} is a folder", CLEAR)
        elif fault := file_fault(path, asset, quick=quick):
            yield Finding(stem, "file", f"{path.name} {fault}", AGAIN)


def _raster_findings(
    path: Path, layer: Layer, subject: Subject, item: Mapping[str, Any]
) -> Iterator[Finding]:
    """What header and layout of a raster show."""
    stem, tile = subject.target.stem, subject.tile
    try:
        with rasterio.Env(**GDAL_ENV), open_raster(path) as src:
            check_complete(src, 1)
            check_position(src)
            geobox = geobox_of(src)
            for check, text in _header_faults(src, layer, item):
                yield Finding(stem, check, f"{path.name} {text}", AFRESH)
            if fault := grid_fault(geobox, tile.geobox(gsd_m=1) if tile else None):
                todo = REMADE if is_off_grid(subject.composite, tile) else AFRESH
                yield Finding(stem, "grid", f"{path.name} {fault}", todo)
            elif fault := place_fault(item, geobox):
                yield Finding(stem, "item", f"item {fault}", AFRESH)
        faults = layout_faults(path)
    except InputError as error:
        yield Finding(stem, "file", told(error, path), AFRESH)
    except RasterioError as error:
        yield Finding(stem, "file", f"{path.name} cannot be read: {reason(error)}", AFRESH)
    else:
        if faults:
            yield Finding(stem, "layout", f"{path.name}: {'; '.join(faults)}", AFRESH)


def _header_faults(src: Any, layer: Layer, item: Mapping[str, Any]) -> Iterator[tuple[Check, str]]:
    """What of type, nodata, colours, names and blocks is not as isamap writes it."""
    if src.count != 1 or src.dtypes[0] != "uint8":
        yield "format", f"has {src.count} bands of {src.dtypes[0]}, not 1 of uint8"
    if src.nodata != NODATA:
        yield "format", f"has nodata {src.nodata}, not {NODATA}"
    if src.descriptions[0] != layer.description:
        yield "format", f"names its band {src.descriptions[0]!r}, not {layer.description!r}"
    if layer.colours and not _has_colours(src, layer):
        yield "format", "has not the colour table of its classes"
    if src.block_shapes[0] != (BLOCK_PX, BLOCK_PX) and max(src.shape) > BLOCK_PX:
        yield "layout", f"has blocks of {src.block_shapes[0][1]} x {src.block_shapes[0][0]}, not {BLOCK_PX}"
    empty = sum(
        not src.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1)
        for (row, col), _ in src.block_windows(1)
    )
    if empty:
        yield "pixels", f"lacks {empty} blocks: it reads as nodata there"
    tags, traits = {key.lower(): value for key, value in src.tags().items()}, traits_of(item)
    for tag, trait in TAGS.items():
        if tag in tags and tags[tag] != traits[trait]:
            yield "item", f"says {trait} {tags[tag]}, its item {traits[trait]}"


def _has_colours(src: Any, layer: Layer) -> bool:
    try:
        table = src.colormap(1)
    except ValueError:
        return False
    return all(table.get(code, ())[:3] == colour[:3] for code, colour in layer.colours.items() if colour[3])


def _validity(subject: Subject, item: Mapping[str, Any]) -> tuple[Validity | None, tuple[Finding, ...]]:
    """Where the composite has data, if it is the one that the map was made from."""
    stem, path = subject.target.stem, subject.composite
    if subject.tile is None or path is None or not path.is_file():
        return None, ()
    digest = digests.of_file(path)
    try:
        if digest == item["properties"]["isamap:provenance"]["inputs"]:
            return validity(path, subject.tile), ()
        store.check_asset(path, digest)
        check_place(path, subject.tile)
    except (InputError, MissingInputError) as fault:
        return None, (Finding(stem, "nodata", f"the composite: {fault}", REMADE),)
    return None, (Finding(stem, "stale", "the composite has changed since the map was made", AGAIN),)


def _pixel_findings(
    stem: str, item: Mapping[str, Any], files: Mapping[str, Path], valid: Validity | None
) -> Iterator[Finding]:
    """What reading everything shows."""
    properties = item["properties"]
    shapes = {_shape(path) for path in files.values()}
    if len(shapes) > 1:
        yield Finding(stem, "grid", "class and probability raster differ in size", AFRESH)
        return
    tally = read_pixels(files, properties["isamap:model"]["threshold"], valid)
    for key, places in tally.damage.items():
        name = files[key].name
        yield Finding(stem, "pixels", f"{name} does not decode in {len(places)} parts: {places[0]}", AFRESH)
    for key, codes in tally.codes.items():
        yield Finding(stem, "pixels", f"{files[key].name} holds {sorted(codes)[:5]}", AFRESH)
    for (key, level), (wrong, size) in tally.overviews.items():
        if wrong > (0 if level == 1 else MAX_DEEP_SHARE * size):
            text = f"{files[key].name}: {wrong} of {size} pixels of overview {2**level} do not follow from the map"
            yield Finding(stem, "overviews", text, AFRESH)
    if tally.misclassed:
        text = f"{tally.misclassed} pixels do not follow from probability and threshold"
        yield Finding(stem, "threshold", text, AFRESH)
    if tally.invented or tally.lost:
        text = f"{tally.invented} input pixels mapped without data, {tally.lost} left out with data"
        yield Finding(stem, "nodata", text, AFRESH)
    classes = scheme_of(item).name
    if classes in files and classes not in tally.damage:
        yield from _share_findings(stem, properties, tally, files[classes])


def _shape(path: Path) -> tuple[int, int]:
    with open_raster(path) as src:
        return src.height, src.width


def _share_findings(stem: str, properties: Mapping[str, Any], tally: Tally, path: Path) -> Iterator[Finding]:
    """Shares that the item gives, and maps of one class."""
    height, width = _shape(path)
    shares = {"valid_share": tally.valid / (height * width), "isa_share": tally.isa / max(tally.valid, 1)}
    for name, share in shares.items():
        said = properties.get(f"isamap:{name}")
        if not abs(number_of(said) - share) <= SHARE_ERROR:  # NaN is no share
            yield Finding(stem, "share", f"item says {name} {said}, the pixels {share:.6f}", AFRESH)
    if not tally.valid:
        yield Finding(stem, "one-class", "the map is all nodata", "look at its composite", "warning")
    elif tally.isa in {0, tally.valid}:
        kind = "impervious" if tally.isa else "pervious"
        yield Finding(stem, "one-class", f"the map is all {kind}", f"look at {stem}.png", "warning")
