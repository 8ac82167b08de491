"""`isamap fetch --product`: pieces of published products for `evaluate`, one per tile, as they were published."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from isamap import __version__, engine
from isamap.domain import product as products
from isamap.domain.fetch_tables import SCHEMA, Report, Row
from isamap.domain.grid import Tile
from isamap.domain.reference_sheets import Published, find, item, provenance
from isamap.engine import LOCAL, Engine, local
from isamap.engine.signals import ended_by_signals
from isamap.errors import MissingInputError, StorageError
from isamap.io import store
from isamap.io.encode import encode
from isamap.io.occupy import occupy
from isamap.io.product_pixels import ProductReader, place_of
from isamap.progress import Progress

log = logging.getLogger(__name__)

PIECE_BYTES = 1_500_000
"""Read for one tile of a 10 m product, blocks as a whole."""


@dataclass(frozen=True)
class Request:
    """A product for the tiles of an area."""

    name: str
    """Of the product, as the table of references has it."""
    url: str | None
    """Another place of it."""
    workspace: Path
    """Where the pieces go."""
    side_by_side: int = 1
    """Processes that share the rate of requests."""
    allowed: tuple[str, ...] = ()
    """Hosts that the user allows beside that of the product."""

    @property
    def product(self) -> Published:
        """What is fetched.

        Raises:
            ConfigError: nobody knows it, or where it lies.
        """
        return find(self.name, place_of(self.url) if self.url else None)

    @property
    def directory(self) -> Path:
        """Folder of the pieces: what `evaluate --reference NAME=FOLDER` takes."""
        return self.workspace / "references" / self.product.name


@dataclass(frozen=True)
class _Done:
    """A tile that did not fail."""

    state: str
    """`fetched` or `skipped`."""
    missing: tuple[str, ...] = ()
    """Sheets that do not exist."""


def plan(tiles: Sequence[Tile], request: Request) -> dict[str, Any]:
    """What a run would do, from file names alone: `--dry-run`."""
    done = sum(store.Target(request.directory, str(tile)).item_path.is_file() for tile in tiles)
    return {
        "schema": SCHEMA,
        "command": "fetch",
        "product": request.product.name,
        "requested": len(tiles),
        "new": len(tiles) - done,
        "fetched_before": done,
        "read_gb": round((len(tiles) - done) * PIECE_BYTES / 1e9, 3),
    }


def run(
    tiles: Sequence[Tile],
    request: Request,
    *,
    how: Engine = LOCAL,
    wait: bool = False,
    overwrite: bool = False,
    stop_at_failure: bool = False,
) -> Report:
    """Fetch the pieces; finished ones are skipped, leftovers of dead runs are swept.

    Raises:
        BusyError: another run holds the folder.
        StorageError: nothing could go on.
        IsamapError: the first failure, with `stop_at_failure`.
    """
    report = Report({"product": request.product.name})
    if not tiles:  # a shard of few tiles may be empty
        return report
    directory = request.directory
    work = partial(fetch_piece, request, overwrite)
    with ExitStack() as held:
        held.callback(_release)
        held.enter_context(occupy(directory, shard=how.shard_name, wait=wait))
        bar = held.enter_context(Progress(len(tiles), "tile", request.product.name, show=len(tiles) > 1))
        for outcome in engine.run(tiles, work, how):
            report.rows.append(_row(outcome, directory))
            if outcome.fault is not None:
                if len(tiles) > 1:  # a lone fault is the command's own last word
                    log.error("%s: %s", outcome.job, outcome.fault)
                report.faults.append(outcome.fault)
                if stop_at_failure or isinstance(outcome.fault, StorageError):
                    raise outcome.fault
            bar.advance()
    report.rows.sort(key=lambda row: row.name)
    return report


def _row(outcome: local.Outcome[Tile, _Done], directory: Path) -> Row:
    name = str(outcome.job)
    if outcome.result is None:
        missing = isinstance(outcome.fault, MissingInputError)
        return Row(name, "missing" if missing else "failed", error=str(outcome.fault))
    return Row(
        name, "fetched" if outcome.result.state == "fetched" else "skipped", str(directory / f"{name}.tif")
    )


_OPEN: dict[Request, ProductReader] = {}
"""This process's reader."""


def _reader(request: Request) -> ProductReader:
    if request not in _OPEN:
        _release()
        _OPEN[request] = ProductReader(request.product, request.side_by_side, request.allowed)
    return _OPEN[request]


def _release() -> None:
    """Close the reader, whatever it is doing."""
    while _OPEN:
        _OPEN.popitem()[1].close()


def fetch_piece(request: Request, overwrite: bool, tile: Tile) -> _Done:  # noqa: FBT001  # bound by partial
    """Fetch the piece of one tile and publish it, or find it done."""
    product, target = request.product, store.Target(request.directory, str(tile))
    made = provenance(product, f"isamap {__version__}")
    if not overwrite and store.state(target, made) is store.State.DONE:
        return _Done("skipped")
    reader = _reader(request)
    with ended_by_signals(reader.close):
        piece = reader.read(tile)
    profile = {
        "COMPRESS": "DEFLATE",
        "BLOCKSIZE": products.BLOCK_PX,
        "OVERVIEW_RESAMPLING": "NEAREST",
        "NUM_THREADS": 1,
    }
    tags = {"isamap_version": __version__, "isamap_product": product.name}
    content = encode(piece.pixels[None], piece.geobox, ["class"], piece.nodata, profile, tags)
    properties = {
        "isamap:provenance": made,
        "isamap:product": product.name,
        "isamap:place": piece.place,
        "isamap:sheets_missing": list(piece.missing),
    }
    with store.publish(target) as publication:
        path = publication.path(f"{tile}.tif")
        with store.storage_errors(path, needed_bytes=len(content)):
            path.write_bytes(content)
        nodata = [] if piece.nodata is None else [piece.nodata]
        publication.commit(item(str(tile), piece.geobox, product, properties, nodata))
    return _Done("fetched", piece.missing)
