"""`isamap fetch --product`: pieces of published products for `evaluate`, one per tile, as they were published."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from isamap import __version__, engine
from isamap.core.outcomes import collect, failure
from isamap.domain import product as products
from isamap.domain.fetch_tables import SCHEMA, Report, Row
from isamap.domain.grid import Tile
from isamap.domain.reference_sheets import Published, find, item, provenance
from isamap.engine import LOCAL, Engine, local
from isamap.engine.signals import ended_by_signals
from isamap.errors import IsamapError, StorageError
from isamap.io import store
from isamap.io.encode import encode
from isamap.io.occupy import occupy
from isamap.io.presence import items_in, standing
from isamap.io.product_pixels import ProductReader, own_files, place_of

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

    def target(self, tile: Tile) -> store.Target:
        """Where the piece of a tile goes."""
        return store.Target(self.directory, str(tile))

    def provenance(self, tile: Tile, *, read: bool = True) -> dict[str, Any]:
        """Everything the bytes of a piece depend on; files that are not known are read, or have the digest None."""
        files = own_files(self.product, tile, self.workspace / "cache" / "stamps", read=read)
        return provenance(self.product, f"isamap {__version__}", files)


def plan(tiles: Sequence[Tile], request: Request, *, overwrite: bool = False) -> dict[str, Any]:
    """What a run would do, as items tell: `--dry-run`. No pixel is read, and nobody is asked.

    Args:
        tiles: of the area.
        request: the product.
        overwrite: whether finished pieces are fetched again.
    """
    there = items_in(request.directory)
    made = [tile for tile in tiles if str(tile) in there] if there else []
    counts = Counter(
        standing(request.target(tile), partial(_compare, request, tile), overwrite=overwrite) for tile in made
    )
    counts["new"] += len(tiles) - len(made)
    return {
        "schema": SCHEMA,
        "command": "fetch",
        "product": request.product.name,
        "requested": len(tiles),
        "new": counts["new"],
        "stale": counts["stale"],
        "fetched_before": counts["done"],
        "to_compare": counts["unknown"],
        "read_gb": round((counts["new"] + counts["stale"]) * PIECE_BYTES / 1e9, 3),
    }


def _compare(request: Request, tile: Tile, item: dict[str, Any]) -> Literal["stale", "done", "unknown"]:
    """Whether a piece is to be fetched again or left alone; unknown: files of the user's must be read to tell."""
    properties, made = item.get("properties"), request.provenance(tile, read=False)
    if None in made.get("files", {}).values():
        return "unknown"
    same = isinstance(properties, dict) and properties.get("isamap:provenance") == made
    return "done" if same else "stale"


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
    """
    report = Report({"product": request.product.name}, len(tiles))
    if not tiles:  # a shard of few tiles may be empty
        return report
    work = partial(fetch_piece, request, overwrite)
    with ExitStack() as held:
        held.callback(_release)
        held.enter_context(occupy(request.directory, shard=how.shard_name, wait=wait))
        collect(
            report,
            engine.run(tiles, work, how),
            partial(_row, request),
            count=len(tiles),
            unit="tile",
            label=request.product.name,
            stop_on=IsamapError if stop_at_failure else StorageError,
        )
    return report


def _row(request: Request, outcome: local.Outcome[Tile, Literal["fetched", "skipped"]]) -> Row:
    """An outcome as a line of the report."""
    name = str(outcome.job)
    if outcome.result is None:
        state, error = failure(name, outcome)
        return Row(name, state, error=error)
    return Row(name, outcome.result, str(request.directory / f"{name}.tif"))


_OPEN: dict[Request, ProductReader] = {}
"""This process's reader."""


def _reader(request: Request) -> ProductReader:
    shared = replace(request, side_by_side=engine.beside(request.side_by_side))
    if shared not in _OPEN:
        _release()
        _OPEN[shared] = ProductReader(shared.product, shared.side_by_side, shared.allowed)
    return _OPEN[shared]


def _release() -> None:
    """Close the reader, whatever it is doing."""
    while _OPEN:
        _OPEN.popitem()[1].close()


def fetch_piece(
    request: Request,
    overwrite: bool,  # noqa: FBT001  # bound by partial
    tile: Tile,
) -> Literal["fetched", "skipped"]:
    """Fetch the piece of one tile and publish it, or find it done."""
    product, target, made = request.product, request.target(tile), request.provenance(tile)
    if not overwrite and store.state(target, made) is store.State.DONE:
        return "skipped"
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
    with store.publish(target, [f"{tile}.tif"]) as publication:
        path = publication.path(f"{tile}.tif")
        with store.storage_errors(path, needed_bytes=len(content)):
            path.write_bytes(content)
        nodata = [] if piece.nodata is None else [piece.nodata]
        publication.commit(item(str(tile), piece.geobox, product, properties, nodata))
    return "fetched"
