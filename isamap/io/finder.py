"""Scenes of a tile: catalogues asked in order until one has something, their answers checked, and the pixels read."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any, Self

from odc.geo.geobox import GeoBox

from isamap.domain.composite import period
from isamap.domain.grid import Tile
from isamap.domain.scenes import (
    Dropped,
    SceneItem,
    Selection,
    deduplicate,
    item_id,
    scene_of,
    select,
    why_none,
)
from isamap.domain.sources import Source, source_of
from isamap.domain.stack import Look
from isamap.errors import BusyError, ConfigError, InputError, IsamapError, MissingInputError, RemoteError
from isamap.io.folder import folder_items, folder_source
from isamap.io.http import Unanswered
from isamap.io.pace import Haste
from isamap.io.remote import ScenePixels
from isamap.io.stac import GROUP, LIMITS, fresh_search, kept_search
from isamap.io.stamps import Stamps

log = logging.getLogger(__name__)

NOTHING = Source("", "", ())
HASTE = Haste()
"""With catalogues that are not the last hope."""
SILENCE_S = 300
"""A catalogue that did not answer is not asked again for so long: its tiles would all wait in vain."""


@dataclass(frozen=True)
class Query:
    """What is asked of catalogues."""

    sources: tuple[str, ...]
    """Names, addresses or folders, in order of preference."""
    year: int
    """Of the scenes."""
    selection: Selection
    """Which of them count."""
    refresh: bool = False
    """Ask again instead of taking kept answers."""
    allowed: tuple[str, ...] = ()
    """Hosts, `HOST` or `HOST:PORT`, that the user allows beside those of the sources."""


@dataclass(frozen=True)
class Found:
    """Scenes of a tile."""

    source: Source
    """Whose they are."""
    scenes: tuple[SceneItem, ...]
    """That count, by (datetime, id)."""
    dropped: tuple[Dropped, ...]
    """That do not, with the reason."""
    passed_over: tuple[str, ...] = ()
    """Sources that were asked before, each with why it was passed over."""

    @classmethod
    def nothing(cls) -> Self:
        """No scene of no source."""
        return cls(NOTHING, (), ())


def open_sources(texts: Sequence[str]) -> list[tuple[Source, Path | None]]:
    """The sources that the user names, no two of one name, each with its folder if it is one.

    Raises:
        ConfigError, MissingInputError: as `open_source`.
    """
    opened: list[tuple[Source, Path | None]] = []
    for text in texts:
        opened.append(open_source(text, [source.name for source, _ in opened]))
    return opened


def open_source(text: str, taken: Sequence[str] = ()) -> tuple[Source, Path | None]:
    """The source that the user names, and its folder if it is one. Names come first, wherever isamap is started.

    Args:
        text: a name, an address or a folder (`./NAME` where it is called like a catalogue).
        taken: names that no folder may have again.

    Raises:
        ConfigError: it is no known name, no address and no folder.
        MissingInputError: it is the path of a folder that is not there.
    """
    folder = Path(text)
    try:
        return source_of(text), None
    except ConfigError as fault:
        if folder.is_dir():
            return folder_source(folder, taken), folder
        if folder.is_absolute() or text.startswith("."):
            raise MissingInputError(f"--source {text}: there is no such folder") from fault
        raise


class Finder:
    """Finds scenes of tiles and reads them; one per process."""

    def __init__(self, query: Query, cache: Path, side_by_side: int = 1) -> None:
        self.query, self.cache = query, cache
        self.sources = open_sources(query.sources)
        """Rows, and the folders of those that are folders."""
        rows = [source for source, _ in self.sources]
        self.pixels = ScenePixels(rows, share=side_by_side, named=query.allowed)
        self._folders: dict[Path, list[dict[str, Any]]] = {}
        stamps = cache.with_name("stamps")
        self._stamps = {
            source.name: Stamps(Path(source.root), stamps) for source, folder in self.sources if folder
        }
        self._asked: set[tuple[str, int, int, int]] = set()
        self._silent: dict[str, tuple[float, RemoteError | BusyError]] = {}

    def close(self) -> None:
        """Stop what is on its way."""
        self.pixels.close()

    def find(self, tile: Tile) -> Found:
        """Scenes of the first source that answers and has some.

        Raises:
            RemoteError, BusyError: no source answers.
            MissingInputError: those that answer have no scene.
            InputError: a file of a folder cannot be read.
        """
        passed_over: list[str] = []
        faults: list[IsamapError] = []
        for source, folder in self.sources:
            try:
                items = self._items(source, folder, tile)
            except (RemoteError, BusyError) as fault:
                self._note(source, fault)
                faults.append(fault)
                passed_over.append(f"{source.name}: {fault}")
                continue
            except MissingInputError as fault:  # a folder without scenes
                passed_over.append(f"{source.name}: {fault}")
                continue
            found = chosen(items, source, tile, self.query)
            if found.scenes:
                return replace(self._stamped(found, Stamps.of), passed_over=tuple(passed_over))
            passed_over.append(f"{source.name}: {why_none(found.dropped)}")
        if len(faults) == len(self.sources):
            raise faults[-1]
        where = "; ".join(passed_over)
        raise MissingInputError(f"{tile}: no scene of {self.query.year} can be used ({where})")

    def looks(self, found: Found, geobox: GeoBox) -> Iterator[Look | InputError]:
        """Pixels of every scene in order, or why a scene cannot be used.

        Raises:
            RemoteError, BusyError: a scene cannot be read: names item, asset and window.
        """
        return self.pixels.looks(found.scenes, geobox)

    def kept(self, tile: Tile) -> Found | None:
        """Scenes of the first source whose kept answer has some; None without one. Nobody is asked."""
        for source, folder in self.sources:
            try:
                items = self._folder(folder) if folder else kept_search(source, tile, *self._span, self.cache)
            except MissingInputError:  # a folder without scenes
                continue
            if items is None:
                return None
            found = chosen(items, source, tile, self.query)
            if found.scenes:
                return found
        return Found.nothing()

    def known(self, tile: Tile) -> Found | None:
        """What `find` would find, if that is known; nobody is asked, and no file of a folder is read."""
        kept = self.kept(tile)
        if kept is None:
            return None
        found = self._stamped(kept, lambda stamps, scene: stamps.kept(scene) or "")
        is_told = not found.source.root or all(scene.stamp for scene in found.scenes)
        return found if is_told else None

    def _stamped(self, found: Found, stamp: Callable[[Stamps, SceneItem], str]) -> Found:
        """The same with the stamps of scenes that lie in a folder."""
        stamps = self._stamps.get(found.source.name)
        if stamps is None:
            return found
        return replace(
            found, scenes=tuple(replace(scene, stamp=stamp(stamps, scene)) for scene in found.scenes)
        )

    @property
    def _span(self) -> tuple[str, str]:
        """The whole year: months are chosen here, so that one answer serves all."""
        return period(self.query.year)

    def _items(self, source: Source, folder: Path | None, tile: Tile) -> list[dict[str, Any]]:
        """Raw items of the ground around a tile."""
        if folder is not None:
            return self._folder(folder)
        group = (source.name, tile.epsg, tile.ix // GROUP, tile.iy // GROUP)
        again = self.query.refresh and group not in self._asked
        if not again and (kept := kept_search(source, tile, *self._span, self.cache)) is not None:
            return kept
        for known in (source.name, source.url):
            when, fault = self._silent.get(known, (0.0, None))
            if fault is not None and time.monotonic() - when < SILENCE_S:
                raise fault
        limits = replace(LIMITS, haste=HASTE if self._after(source) else None)
        client = self.pixels.client(source)
        items = fresh_search(source, tile, *self._span, client, self.cache, limits=limits)
        self._asked.add(group)
        return items

    def _after(self, source: Source) -> list[str]:
        """Names of the sources that are asked after one, at other addresses."""
        rows = [row for row, _ in self.sources]
        return [row.name for row in rows[rows.index(source) + 1 :] if row.url != source.url]

    def _note(self, source: Source, fault: RemoteError | BusyError) -> None:
        """Remember that a catalogue failed; where its server sent nothing, so will its other catalogues."""
        now = time.monotonic()
        if now - self._silent.get(source.name, (-inf, fault))[0] < SILENCE_S:
            return
        self._silent[source.name] = now, fault
        if isinstance(fault, Unanswered):
            self._silent[source.url] = now, fault
        trying = "".join(f", trying {name}" for name in self._after(source)[:1])
        log.warning("%s does not answer%s: %s", source.name, trying, fault)

    def _folder(self, folder: Path) -> list[dict[str, Any]]:
        if folder not in self._folders:
            self._folders[folder] = folder_items(folder)
        return self._folders[folder]


def chosen(items: Sequence[Mapping[str, Any]], source: Source, tile: Tile, query: Query) -> Found:
    """Scenes of a tile among raw items: checked, of the year, once each, chosen; whatever the order of the items.

    Folders hold what they hold, and catalogues need not mind the dates they are asked for: the year is looked at here.
    """
    scenes: list[SceneItem] = []
    refused: set[Dropped] = set()
    for raw in items:
        try:
            scene = scene_of(raw, source)
        except InputError as fault:
            name = item_id(raw)
            refused.add(Dropped(name, str(fault).removeprefix(f"{name}: ")))
            continue
        if int(scene.datetime[:4]) == query.year:
            scenes.append(scene)
        else:
            reason = f"is of {scene.datetime[:4]}, {query.year} is asked for"
            refused.add(Dropped(scene.id, reason, "year"))
    near, elsewhere = select(scenes, tile, Selection(100.0, len(scenes) or 1))
    kept, doubles = deduplicate(near, [source.name], tile.footprint())
    best, others = select(kept, tile, query.selection)
    nearby = [one for one in elsewhere if one.kind != "elsewhere"]
    return Found(source, tuple(best), tuple(sorted({*refused, *nearby, *doubles, *others})))
