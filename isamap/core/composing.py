"""The composite of a tile: scenes found, read, harmonised, masked, put together. Shared by `fetch` and `infer`.

Everything depends on the sorted list of selected scenes and their pixels alone, so a composite is the same bytes
whoever makes it, in whatever order catalogues answer.
"""

import hashlib
import logging
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from odc.geo.geobox import GeoBox

from isamap import __version__, engine
from isamap.domain import composite, product
from isamap.domain.cloudmask import MaskRules
from isamap.domain.compositing import Method
from isamap.domain.grid import MARGIN_PX, Tile
from isamap.domain.scenes import Selection
from isamap.domain.sources import DEFAULT
from isamap.domain.stack import Stack
from isamap.engine.signals import ended_by_signals
from isamap.errors import BusyError, RemoteError
from isamap.io import store
from isamap.io.composite import Made, encode_composite
from isamap.io.finder import Finder, Found, Query

log = logging.getLogger(__name__)

ALL, RULES = Selection(), MaskRules()
"""The defaults."""


@dataclass(frozen=True)
class Settings:
    """How composites are made; small enough to be sent to a worker."""

    workspace: Path
    """Where composites and kept search results lie."""
    year: int
    """Of the composites."""
    sources: tuple[str, ...] = DEFAULT
    """Names, addresses or folders, asked in this order."""
    method: Method = "median"
    """How clear looks become one value."""
    selection: Selection = ALL
    """Which scenes count."""
    rules: MaskRules = RULES
    """How SCL becomes a mask."""
    refresh: bool = False
    """Ask catalogues again instead of taking kept answers."""
    allowed: tuple[str, ...] = ()
    """Hosts that the user allows beside those of the sources."""
    side_by_side: int = 1
    """Processes that share the rate of requests."""

    @property
    def directory(self) -> Path:
        """Where the composites lie."""
        return product.composite_directory(self.workspace, self.year)

    def target(self, tile: Tile) -> store.Target:
        """Where a tile's composite goes."""
        return store.Target(self.directory, str(tile))


@dataclass(frozen=True)
class Fetched:
    """What became of a tile that did not fail."""

    state: Literal["fetched", "skipped"]
    """`fetched`, or `skipped` because it was done."""
    item: dict[str, Any]
    """STAC item of the composite."""


@dataclass(frozen=True)
class Live:
    """How `infer` makes composites that are missing."""

    settings: Settings
    """How composites are made."""
    keep: bool = False
    """Whether they are published."""


@dataclass(frozen=True)
class Errand:
    """A tile to be mapped, as the process that makes its composite must know it."""

    tile: Tile
    """The tile."""
    target: store.Target
    """Its map."""


@dataclass(frozen=True)
class Ready:
    """What is to be known before a tile is mapped."""

    done: bool = False
    """The map is finished, and made of the composite that would be made now."""
    made: Made | None = None
    """The composite; None where it is on disk."""


class Composer:
    """Makes composites; one per process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        query = Query(settings.sources, settings.year, settings.selection, settings.refresh, settings.allowed)
        self.finder = Finder(query, settings.workspace / "cache" / "search", settings.side_by_side)

    @property
    def source_names(self) -> tuple[str, ...]:
        """Sources as items name them, in the order they are asked."""
        return tuple(source.name for source, _ in self.finder.sources)

    def provenance(self, found: Found) -> dict[str, Any]:
        """Everything the bytes of a composite depend on."""
        own = self.settings
        return composite.provenance(found.scenes, own.method, own.year, own.selection.months, own.rules)

    def find(self, tile: Tile) -> Found:
        """Scenes of the first source that answers and has some.

        Raises:
            RemoteError, BusyError: no source answers.
            MissingInputError: those that answer have no scene.
        """
        with ended_by_signals(self.finder.close):
            return self.finder.find(tile)

    def _read(self, tile: Tile, found: Found, geobox: GeoBox) -> Stack:
        """The looks of all scenes."""
        stack = Stack(str(tile), (geobox.shape[0], geobox.shape[1]), len(found.scenes))
        with ended_by_signals(self.finder.close):
            for scene, look in zip(found.scenes, self.finder.looks(found, geobox), strict=True):
                stack.add(scene, look)
        return stack

    def make(self, tile: Tile, found: Found) -> Made:
        """The file of a composite, and the item that belongs beside it.

        Raises:
            RemoteError, BusyError: a scene cannot be read: nothing is made of the others.
            InputError: every scene was dropped.
            MissingInputError: no look is clear.
        """
        own, geobox = self.settings, tile.geobox(margin_px=MARGIN_PX)
        log.info("%s: %d scenes of %s are read", tile, len(found.scenes), found.source.name)
        stack = self._read(tile, found, geobox)
        values, looks = stack.compose(found.source, own.method, own.rules)
        log.info("%s: composed of %d of the %d scenes", tile, len(stack.scenes), len(found.scenes))
        tags = {"isamap_version": __version__, "isamap_method": own.method}
        content = encode_composite(values, looks, geobox, tags)
        properties = {
            "isamap:provenance": self.provenance(found),
            "isamap:method": own.method,
            "isamap:source": found.source.name,
            "isamap:passed_over": list(found.passed_over),
            "isamap:attribution": found.source.attribution.format(year=own.year),
            "isamap:licence": found.source.licence,
            "license": "other",
            "isamap:scenes": stack.records(),
            "isamap:dropped": composite.drop_records([*found.dropped, *stack.dropped]),
            "isamap:looks": composite.look_statistics(looks),
            "isamap:months": composite.monthly(stack.scenes, stack.clear, own.selection.months),
        }
        span = composite.period(own.year, own.selection.months)
        item = composite.item(str(tile), geobox, span, properties)
        return Made(content, hashlib.sha256(content).hexdigest(), item)


_OPEN: dict[Settings, Composer] = {}
"""This process's composer."""


def composer(settings: Settings) -> Composer:
    """This process's composer.

    Raises:
        ConfigError: a source is not known.
        MissingInputError: a source is a folder that is not there.
    """
    shared = replace(settings, side_by_side=engine.beside(settings.side_by_side))
    if shared not in _OPEN:
        release()
        _OPEN[shared] = Composer(shared)
    return _OPEN[shared]


def release() -> None:
    """Close this process's composer, whatever it is doing."""
    while _OPEN:
        _OPEN.popitem()[1].finder.close()


def publish(target: store.Target, made: Made) -> None:
    """Put a composite and its item where they belong."""
    name = _file_name(target)
    with store.publish(target, [name]) as publication:
        path = publication.path(name)
        with store.storage_errors(path, needed_bytes=len(made.content)):
            path.write_bytes(made.content)
        publication.commit(deepcopy(made.item))


def _file_name(target: store.Target) -> str:
    return f"{target.stem}.tif"


def fetch_tile(settings: Settings, overwrite: bool, tile: Tile) -> Fetched:  # noqa: FBT001  # bound by partial
    """Make one composite and publish it, or find it done.

    Raises:
        RemoteError, BusyError: neither search nor pixels can be had.
        MissingInputError: no source has a scene, or no look is clear.
        InputError: every scene was dropped.
        StorageError: the disk refuses.
    """
    own, target = composer(settings), settings.target(tile)
    try:
        found = own.find(tile)
    except (RemoteError, BusyError) as fault:
        if overwrite or (item := _kept(target, own)) is None:
            raise
        log.warning("%s stays as it is, whether there are new scenes is not known: %s", tile, fault)
        return Fetched("skipped", item)
    if not overwrite and store.state(target, own.provenance(found)) is store.State.DONE:
        return Fetched("skipped", store.read_item(target.item_path) or {})
    store.check_place(target, [_file_name(target)])
    made = own.make(tile, found)
    publish(target, made)
    return Fetched("fetched", made.item)


def _kept(target: store.Target, own: Composer) -> dict[str, Any] | None:
    """Item of a finished composite that was made with the same code and settings, whatever its scenes."""
    item = store.read_item(target.item_path)
    same = same_settings(item, own)
    return item if same and store.state(target, same) is store.State.DONE else None


def same_settings(item: dict[str, Any] | None, own: Composer) -> dict[str, Any] | None:
    """Provenance of a composite if it was made with the same code and settings, whatever its scenes."""
    made: dict[str, Any] | None = composite.made_of(item).get("isamap:composite")
    if made is None or own.provenance(Found.nothing()) | {"scenes": made["scenes"]} != made:
        return None
    return made


def prepare(live: Live, expected: dict[str, Any] | None, errand: Errand) -> Ready:
    """See to it that a tile can be mapped: make its composite unless it is there, or the map is done.

    Args:
        live: how composites are made.
        expected: provenance of a finished map but for its `inputs`; None if it is to be made anyway.
        errand: the tile and its map.
    """
    composite_file = live.settings.target(errand.tile)
    if (composite_file.directory / _file_name(composite_file)).is_file():
        return Ready()
    own = composer(live.settings)
    found = own.find(errand.tile)
    if expected is not None and _is_mapped(errand.target, own.provenance(found), expected):
        return Ready(done=True)
    made = own.make(errand.tile, found)
    if not live.keep:
        return Ready(made=made)
    publish(composite_file, made)
    return Ready()


def _is_mapped(target: store.Target, of_composite: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether a map is finished, and made of the composite with that provenance."""
    properties = (store.read_item(target.item_path) or {}).get("properties")
    if not isinstance(properties, dict) or properties.get("isamap:composite") != of_composite:
        return False
    made = properties.get("isamap:provenance")
    inputs = made.get("inputs") if isinstance(made, dict) else None
    return store.state(target, expected | {"inputs": inputs}) is store.State.DONE
