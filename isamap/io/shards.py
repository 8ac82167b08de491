"""Shards: a site's imagery, fine image and labels as GeoTIFFs in place, written chip by chip."""

import logging
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from isamap import __version__, digests
from isamap.domain import chips
from isamap.domain.alignment import LIMITS_M, Alignment, moved_back
from isamap.domain.classes import UNLABELLED
from isamap.domain.grid import Window, refine, windows
from isamap.domain.lonlat import LONLAT, transformer
from isamap.errors import InputError, MissingInputError, StorageError
from isamap.io import store
from isamap.io.guard import raster_window
from isamap.io.registering import measure_site
from isamap.io.site import Site, SiteJob
from isamap.io.strangers import SOURCE

log = logging.getLogger(__name__)

GDAL_FAULTS = (RasterioError,)


@dataclass(frozen=True)
class ShardJob:
    """A shard to be made."""

    site: SiteJob
    """Its ground."""
    folder: Path
    """Of the store."""
    chip_px: int
    """Side of its blocks."""
    max_shift_m: float | None = None
    """Beyond it the site is refused; None: the usual limits."""
    align: bool = False
    """Whether image and labels are each moved back by the measured shift."""
    overwrite: bool = False
    """Redo it if it is done."""

    @property
    def target(self) -> store.Target:
        """Where it goes."""
        return store.Target(self.folder, store.safe_name(self.site.name))

    @property
    def names(self) -> dict[str, str]:
        """Names of its rasters, by layer."""
        wanted = {chips.LR: True, chips.HR: bool(self.site.image), chips.LABELS: self.site.has_labels}
        return {layer: f"{self.site.name}.{layer}.tif" for layer, there in wanted.items() if there}

    def provenance(self) -> dict[str, Any]:
        """Everything its bytes depend on."""
        source = self.site.source.model_dump(
            mode="json",
            exclude={"split", "split_values", "only", "unit", "max_shift_m"},
        )
        return {
            "format": chips.FORMAT,
            "code": __version__,
            "chip_px": self.chip_px,
            "scheme": self.site.scheme.name,
            "align": self.align,
            "source": source,
            "inputs": [[path.name, digest(path)] for path in self.site.inputs],
        }


@dataclass(frozen=True)
class Made:
    """What became of a shard."""

    shard: chips.ShardRow
    """As it lies there."""
    new: bool
    """Made now; otherwise found."""


def digest(path: Path) -> str:
    """sha256 of a file."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file")
    return digests.of_file(path)


def make_shard(job: ShardJob) -> Made:
    """Make a shard and publish it, unless it is done.

    Raises:
        InputError: the site contradicts itself, is damaged, too small, or lies off by more than the limit.
        StorageError: the disk refuses.
    """
    provenance = job.provenance()
    if not job.overwrite and store.state(job.target, provenance) is store.State.DONE:
        shard = read_shard(job.target.item_path)
        _check_shifts(job, [Alignment(**_facts(one)) for one in shard.shifts])
        return Made(shard, new=False)
    _warn_of_other_ground(job, provenance)
    with Site(job.site) as site:
        if min(site.shape) < job.chip_px:
            raise InputError(
                f"{job.site.name} is {site.shape[1]} x {site.shape[0]} pixels, a chip {job.chip_px} x {job.chip_px}: "
                "lower chip_px or give more ground"
            )
        shifts = measure_site(site)
        _check_shifts(job, shifts)
        with store.publish(job.target, job.names.values(), SOURCE) as publication:
            shard = _write(job, site, shifts, publication)
            properties = {"isamap:provenance": provenance, "isamap:shard": shard.document()}
            publication.commit(chips.item(shard.name, job.names, properties, lonlat_box(shard)))
    return Made(shard, new=True)


def _warn_of_other_ground(job: ShardJob, provenance: Mapping[str, Any]) -> None:
    """Say that a source of the same name is replaced, which was made of other imagery."""
    properties = (store.read_item(job.target.item_path) or {}).get("properties")
    made = properties.get("isamap:provenance") if isinstance(properties, dict) else None
    there = made.get("inputs") if isinstance(made, dict) else None
    count = len(job.site.imagery or job.site.image)
    if isinstance(there, list) and there[:count] != provenance["inputs"][:count]:
        log.warning(
            "%s is made of other imagery than the source of that name in %s, which it replaces: to keep both, give "
            "each a name of its own in a recipe",
            job.site.name,
            job.folder,
        )


def _facts(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in one.items() if key not in ("trusted", "moved_px")}


def _check_shifts(job: ShardJob, shifts: list[Alignment]) -> None:
    """Refuse ground whose image or labels lie off by more than the limit of each; say what could not be measured."""
    limits_m = {by: usual if job.max_shift_m is None else job.max_shift_m for by, usual in LIMITS_M.items()}
    far = [one for one in shifts if one.trusted and one.length_m > limits_m[one.by]]
    if far and not job.align:
        raise InputError(
            f"{job.site.name}: lies {'; '.join(f'{one}, more than {limits_m[one.by]:g} m' for one in far)}: "
            "use the date they were matched to, move them back with align, or allow it with max_shift_m"
        )
    if job.site.image and not job.site.simulated:
        _warn_unless_measured(job, shifts, "image", "image lies")
    if job.site.has_labels:
        _warn_unless_measured(job, shifts, "labels", "labels lie")


def _warn_unless_measured(job: ShardJob, shifts: list[Alignment], by: str, what: str) -> None:
    found = next((one for one in shifts if one.by == by), None)
    if found is None or not found.trusted:
        why = f"the match is too faint (peak {found.peak:.2f})" if found else "too little shows a pattern"
        log.warning("%s: where its %s was not checked against its imagery: %s", job.site.name, what, why)


def _write(
    job: ShardJob, site: Site, shifts: list[Alignment], publication: store.Publication
) -> chips.ShardRow:
    """The layers of a shard, in a publication."""
    coarse = site.coarse
    grid, source = coarse.geobox, job.site.source
    fine = refine(grid, site.scale)
    counts = np.zeros(256, np.int64)
    moves = moved_back(shifts if job.align else [], site.gsd_m / site.scale)
    layers = {chips.LR: (grid, len(coarse.bands), coarse.dtype, coarse.nodata, job.chip_px)}
    fine_px = job.chip_px * site.scale
    if job.site.image:
        layers[chips.HR] = (fine, 3, "uint8", None, fine_px)  # type: ignore[assignment]  # 0 is a value as well
    if job.site.has_labels:
        layers[chips.LABELS] = (fine, 1, "uint8", UNLABELLED, fine_px)
    with ExitStack() as stack, store.storage_errors(publication.target.item_path, GDAL_FAULTS):
        stack.enter_context(rasterio.Env(GDAL_PAM_ENABLED="NO"))
        opened = {
            layer: stack.enter_context(_create(publication.path(job.names[layer]), *what))
            for layer, what in layers.items()
        }
        _describe(opened, job, coarse.bands, coarse.gain)
        for window in windows(site.shape, job.chip_px):
            counts += _write_window(opened, site, window, moves)
    return chips.ShardRow(
        name=job.site.name,
        sensor=source.sensor,
        bands=coarse.bands,
        gsd_m=site.gsd_m,
        scale=site.scale,
        gain=coarse.gain,
        scheme=job.site.scheme.name if job.site.has_labels else "",
        has_hr=bool(job.site.image),
        simulated=job.site.simulated,
        shape=site.shape,
        crs=str(grid.crs) if grid.crs else "",
        transform=tuple(float(figure) for figure in grid.transform[:6]),
        shifts=tuple(
            {**asdict(one), "trusted": one.trusted, "moved_px": list(moves[one.by])} for one in shifts
        ),
        shift_px=moves["labels" if job.site.has_labels else "image"],
        licence=source.licence,
        attribution=source.attribution,
        counts={str(code): int(counts[code]) for code in np.flatnonzero(counts)},
    )


def _create(path: Path, grid: GeoBox, count: int, dtype: str, nodata: float | None, block_px: int) -> Any:
    """A tiled GeoTIFF whose blocks that were never written take no room."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # images of data sets may have no position
        return rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=grid.shape[0],
            width=grid.shape[1],
            count=count,
            dtype=dtype,
            crs=grid.crs.to_wkt() if grid.crs else None,
            transform=grid.transform if grid.crs else None,
            nodata=nodata,
            tiled=True,
            blockxsize=block_px,
            blockysize=block_px,
            interleave="pixel",
            compress="ZSTD",
            zstd_level=3,
            predictor=3 if dtype.startswith("float") else 2,
            sparse_ok=True,
            bigtiff="IF_SAFER",
        )


def _describe(opened: Mapping[str, Any], job: ShardJob, bands: tuple[str, ...], gain: float) -> None:
    """Names, scales and colours, so that a layer explains itself in any GIS; and whose work it is."""
    for raster in opened.values():
        raster.update_tags(isamap_version=__version__)
    opened[chips.LR].descriptions = bands
    opened[chips.LR].scales = [gain] * len(bands)
    if chips.LABELS in opened:
        scheme = job.site.scheme
        opened[chips.LABELS].write_colormap(1, dict(scheme.colours))
        opened[chips.LABELS].set_band_description(1, scheme.name)


def _write_window(
    opened: Mapping[str, Any], site: Site, window: Window, moves: Mapping[str, tuple[int, int]]
) -> NDArray[np.int64]:
    """One window of every layer; what is empty is not written. Fine pixels of each code."""
    counts = np.zeros(256, np.int64)
    lr = site.lr(window)
    nodata = site.coarse.nodata
    if not (np.isnan(lr) if np.isnan(nodata) else lr == nodata).all():
        opened[chips.LR].write(lr, window=raster_window(window))
    fine = raster_window(window.scaled(site.scale))
    if chips.HR in opened and (image := site.hr(window, moves["image"])) is not None and image.any():
        opened[chips.HR].write(image, window=fine)
    if chips.LABELS in opened and (codes := site.labels(window, moves["labels"])) is not None:
        counts += np.bincount(codes.ravel(), minlength=256)
        if (codes != UNLABELLED).any():
            opened[chips.LABELS].write(codes, 1, window=fine)
    return counts


def read_shard(path: Path) -> chips.ShardRow:
    """The shard that an item describes.

    Raises:
        StorageError: it is no item of a shard.
    """
    try:
        return chips.ShardRow.parse((store.read_item(path) or {})["properties"]["isamap:shard"])
    except (KeyError, TypeError) as fault:
        raise StorageError(f"{path} is no item of a shard: run isamap tile again") from fault


def lonlat_box(shard: chips.ShardRow) -> list[float] | None:
    """Bounds in longitude and latitude; None without position."""
    if not shard.crs:
        return None
    project = transformer(shard.crs, LONLAT)
    return [float(side) for side in project.transform_bounds(*shard.geobox.boundingbox.bbox)]
