"""One map: a raster streamed through the model into COGs, published with its STAC item.

A map whose item carries the same provenance is done and left alone.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isamap import __version__, digests
from isamap.core.map_job import Job, Mapped, Options
from isamap.domain import product
from isamap.domain.composite import made_of
from isamap.domain.grid import Tile, Window, refine
from isamap.domain.panels import batches
from isamap.engine.machine import cores
from isamap.engine.pages import Ceiling, keep_pages
from isamap.engine.stream import stream
from isamap.errors import InputError
from isamap.io import raster, store
from isamap.io.cog import CogWriter
from isamap.io.composite import Made, check_grid, item_beside
from isamap.io.preview import Thumbnail, write_preview
from isamap.io.strangers import MAP
from isamap.io.unchanged import watched
from isamap.model import device
from isamap.model.checkpoint import find
from isamap.model.fitting import warn_of_misfit
from isamap.model.predict import Pending, Predictor
from isamap.progress import Progress

log = logging.getLogger(__name__)

WARP = 2
"""A new number when the same rasters are brought to the grid in another way."""


@dataclass
class _Tally:
    """Counts over the windows of a map."""

    valid: int = 0
    isa: int = 0


@dataclass(frozen=True)
class Piece:
    """A window on its way through the pipeline."""

    window: Window
    """In input pixels of the mapped core."""
    lr: NDArray[np.float32]
    """`(band, y + 2 * halo, x + 2 * halo)`."""
    valid: NDArray[np.bool_]
    """`(y + 2 * halo, x + 2 * halo)`."""


class Mapper:
    """A loaded model that maps jobs; one per process."""

    def __init__(self, options: Options) -> None:
        keep_pages()
        share = max(1, cores() // -options.threads) if options.threads < 0 else options.threads
        device.use_threads(share)
        self.options = options
        self.predictor = Predictor(find(options.model), options.device, options.threshold)
        self.batch = options.batch or (8 if self.predictor.device.type == "cuda" else 1)

    def map(self, job: Job, made: Made | None = None) -> Mapped:
        """Make one map, or find it done.

        Args:
            job: the map.
            made: the tile's composite, where it is not on disk.

        Raises:
            InputError, MissingInputError: the imagery is bad or missing.
            ModelError: the model does not fit it or the device.
            StorageError: the disk refuses.
        """
        if made is None:
            item = item_beside(job.source.paths[0]) if job.margin_px else None
            return self._map(job, item)
        names = [path.name for path in published(job, self.options)[:-1]]
        with store.publish(
            job.target, names, MAP
        ) as working:  # never committed: the composite is gone after the block
            path = working.path(job.source.paths[0].name)
            with store.storage_errors(path, needed_bytes=len(made.content)):
                path.write_bytes(made.content)
            return self._map(replace(job, source=replace(job.source, paths=(path,))), made.item)

    def _map(self, job: Job, item: dict[str, Any] | None) -> Mapped:
        """Make one map of files, or find it done; `item` describes the composite."""
        network = self.predictor.card.network
        with watched(job.source.paths, job.source.digest) as (digest, check):
            if len(job.source.paths) == 1:
                store.check_asset(job.source.paths[0], digest)
            provenance = self.provenance(job, digest)
            found = store.state(job.target, provenance)
            if found is store.State.DONE and not self.options.overwrite:
                return Mapped("skipped", published(job, self.options))
            with raster.open_scene(job.source, *self.predictor.bands, network.gsd_m) as scene:
                if job.margin_px:
                    check_grid(job.source.paths[0], scene.geobox, Tile.parse(job.name))
                warn_of_misfit(self.predictor.card, (job.name, scene.geobox), job.source.paths, item)
                again = "" if found is store.State.NEW else " in place of the map that is there"
                log.info("mapping %s (%d x %d px)%s", job.name, *scene.geobox.shape[::-1], again)
                return self._publish(job, scene, provenance, made_of(item), check)

    def provenance(self, job: Job, digest: str) -> dict[str, Any]:
        """Everything the bytes of a map depend on, as a JSON document."""
        settings = {
            **self.predictor.settings,
            "bands": list(job.source.bands) if job.source.bands else None,
            "offset": job.source.offset,
            "reproject": WARP if job.source.reproject else False,
            "precision": str(self.predictor.dtype).removeprefix("torch."),
            "device": self.predictor.device.type,
            "window_px": self.options.window_px,
        }
        return {
            "code": f"isamap {__version__}",
            "model": self.predictor.card.weights_sha256,
            "inputs": digest,
            "settings": digests.of_json(settings),
            "layers": [layer.key for layer in self.options.layers],
        }

    def _publish(
        self,
        job: Job,
        scene: raster.Scene,
        provenance: dict[str, Any],
        origin: dict[str, Any],
        check: Callable[[], None],
    ) -> Mapped:
        """Write the rasters, the picture and the item of a map.

        Args:
            job: the map.
            scene: its open input.
            provenance: of the map.
            origin: what its composite was made of.
            check: refuses an input that has changed.
        """
        core = scene.geobox
        if job.margin_px:
            margin = slice(job.margin_px, -job.margin_px)
            core = core[margin, margin]
        geobox = refine(core, self.predictor.scale)
        card, stem, threshold = self.predictor.card, job.target.stem, self.predictor.threshold
        model = {"name": card.name, "version": card.version, "threshold": threshold}
        tags = {"isamap_version": __version__, "isamap_model": f"{card.name} {card.version}"}
        tags["isamap_threshold"] = f"{threshold:g}"
        shape = (core.shape[0], core.shape[1])
        layers = self.predictor.layers(probability=self.options.probability)
        picture_name = stem + product.PREVIEW_SUFFIX
        names = [picture_name, *(stem + layer.suffix for layer in layers)]
        with store.publish(job.target, names, MAP) as publication:
            thumbnail = Thumbnail(shape, scene.bands, card.network.gsd_m)
            with ExitStack() as stack:
                beside = stack.enter_context(ThreadPoolExecutor(1))
                writers = [
                    stack.enter_context(CogWriter(publication.path(stem + layer.suffix), geobox, layer, tags))
                    for layer in layers
                ]
                tally = self._stream(job, scene, shape, writers, thumbnail)
                scene.rest()
                if not tally.valid:
                    raise InputError(f"{job.source.paths[0]}: no pixel has all bands: nothing to map")
                writers[0].assemble()
                picture = publication.path(picture_name)
                drawn = beside.submit(write_preview, picture, thumbnail, writers[0].path, layers[0])
            drawn.result()  # while the rasters were read back
            share = tally.isa / tally.valid
            properties = {
                **origin,
                "isamap:provenance": provenance,
                "isamap:model": model,
                "isamap:inputs": [path.name for path in job.source.paths],
                "isamap:isa_share": round(share, 6),
                "isamap:valid_share": round(tally.valid / (geobox.shape[0] * geobox.shape[1]), 6),
            }
            check()
            gone = publication.commit(product.map_item(stem, geobox, job.span, layers, properties))
        if stem + product.PROBABILITY.suffix in gone:
            _warn_of_removal(job.target.directory)
        return Mapped("mapped", published(job, self.options), share)

    def _stream(
        self,
        job: Job,
        scene: raster.Scene,
        shape: tuple[int, int],
        writers: Sequence[CogWriter],
        thumbnail: Thumbnail,
    ) -> _Tally:
        """Reader thread -> model on this thread -> writer thread, a few windows in flight."""
        halo, tally, ceiling = self.predictor.halo_px, _Tally(), Ceiling()

        def read(batch: list[Window]) -> list[Piece]:
            return [Piece(window, *scene.read(window.moved(job.margin_px), halo)) for window in batch]

        def compute(pieces: list[Piece]) -> tuple[list[Piece], Pending]:
            lr, valid = [p.lr for p in pieces], [p.valid for p in pieces]
            pending = self.predictor.predict(lr, valid, percent=self.options.probability)
            ceiling.look()
            return pieces, pending

        def write(made: tuple[list[Piece], Pending]) -> None:
            pieces, pending = made
            for piece, prediction in zip(pieces, pending.result(), strict=True):
                fine = piece.window.scaled(self.predictor.scale)
                for writer, values in zip(writers, prediction.rasters, strict=True):
                    writer.write(fine, values)
                inner = slice(halo, halo + piece.window.height), slice(halo, halo + piece.window.width)
                thumbnail.add(piece.window, piece.lr[:, *inner], piece.valid[inner])
                tally.valid += int(np.count_nonzero(prediction.isa != product.NODATA))
                tally.isa += self.predictor.count_isa(prediction.isa)
                bar.advance(piece.window.height * piece.window.width * pixel_km2)

        pixel_km2 = self.predictor.card.network.gsd_m**2 / 1e6
        with Progress(
            shape[0] * shape[1] * pixel_km2, "km2", job.name, show=self.options.show_progress
        ) as bar:
            jobs = batches(shape, self.options.window_px, self.batch, scene.panel_px)
            stream(raster.checked(scene, jobs), read, compute, write)
        return tally


def published(job: Job, options: Options) -> tuple[Path, ...]:
    """Final paths of a map: rasters, picture, item."""
    stem, directory = job.target.stem, job.target.directory
    names = [stem + layer.suffix for layer in options.layers] + [stem + product.PREVIEW_SUFFIX]
    return (*(directory / name for name in names), job.target.item_path)


@cache
def _warn_of_removal(directory: Path) -> None:
    """Say once per process and folder that a new map without probability does not keep that of the one before."""
    log.warning(
        "%s: maps that are made again without --probability lose the probability raster of the map before, "
        "which is of another run",
        directory,
    )


@lru_cache(maxsize=1)
def mapper(options: Options) -> Mapper:
    """This process's loaded model."""
    return Mapper(options)


def map_job(options: Options, job: Job) -> Mapped:
    """Make one map with the model that this process keeps loaded."""
    return mapper(options).map(job)
