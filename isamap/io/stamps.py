"""Digests of files in folders, and stamps of scenes made of them: pixels replaced under the same name are noticed.

A file is read whole once; its digest is then kept for as long as size, inode and both times of the file stay as they
are (the time of the last change of state, ctime, cannot be set back). Copies have other times and the same stamp.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isamap import digests
from isamap.domain.scenes import SceneItem
from isamap.errors import InputError
from isamap.io.guard import one_line
from isamap.io.store import read_item, write_atomic

SETTLED_S = 2.0
"""A file changed less long ago may change again without another time: the coarsest clocks of file systems."""

Mark = list[int]
"""Size, modification and change time in ns, inode."""


class Digests:
    """Digests of the files of one folder; they are kept in a directory, one document for each group of files."""

    def __init__(self, root: Path, directory: Path) -> None:
        self._root = root
        self._directory = directory
        self._known: dict[str, dict[str, Any]] = {}

    def kept(self, group: str, names: Sequence[str]) -> list[str | None]:
        """Digests of files below the folder, None where a file is not the one that was read before; none is read."""
        known = self._kept(group, names)
        return [_still(known.get(name), self._root / name) for name in names]

    def of(self, group: str, names: Sequence[str]) -> list[str]:
        """Digests of files below the folder; those that are not known are read.

        Raises:
            InputError: a file cannot be read.
            StorageError: digests cannot be kept.
        """
        known, read = self._kept(group, names), {}
        found = []
        for name in names:
            path = self._root / name
            digest = _still(known.get(name), path)
            if digest is None:
                mark, digest = _read(group, name, path)
                if mark is not None:
                    read[name] = [mark, digest]
            found.append(digest)
        if read:
            known.update(read)
            document = {"folder": str(self._root), "files": known}
            write_atomic(self._place(group, names), json.dumps(document).encode())
        return found

    def _kept(self, group: str, names: Sequence[str]) -> dict[str, Any]:
        """What is known of the files of a group."""
        place = self._place(group, names)
        if place.name not in self._known:
            files = (read_item(place) or {}).get("files")
            self._known[place.name] = files if isinstance(files, dict) else {}
        return self._known[place.name]

    def _place(self, group: str, names: Sequence[str]) -> Path:
        named = digests.of_json([str(self._root), group, list(names)])
        return self._directory / f"{named[:32]}.json"


class Stamps:
    """Stamps of the scenes of one folder; the digests they are made of are kept in a directory."""

    def __init__(self, root: Path, directory: Path) -> None:
        self._files = Digests(root, directory)

    def kept(self, scene: SceneItem) -> str | None:
        """The stamp of a scene whose files are those that were read before, else None; no file is read."""
        found = self._files.kept(scene.id, _names(scene))
        return None if None in found else _stamp(scene, found)

    def of(self, scene: SceneItem) -> str:
        """The stamp of a scene; files that are not known are read.

        Raises:
            InputError: a file cannot be read.
            StorageError: digests cannot be kept.
        """
        return _stamp(scene, self._files.of(scene.id, _names(scene)))


def _names(scene: SceneItem) -> list[str]:
    """Files of a scene below its folder, in the order of its bands."""
    return [asset.href for _, asset in sorted(scene.assets.items())]


def _stamp(scene: SceneItem, known: Sequence[str | None]) -> str:
    pairs = list(zip(sorted(scene.assets), known, strict=True))
    return digests.of_json(pairs)


def _mark(path: Path) -> Mark:
    facts = path.stat()
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]


def _still(entry: Any, path: Path) -> str | None:
    """The digest that was kept of a file, if the file is as it was."""
    if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], str):
        return None
    try:
        return entry[1] if entry[0] == _mark(path) else None
    except OSError:
        return None


def _read(group: str, name: str, path: Path) -> tuple[Mark | None, str]:
    """Digest of a file, and what to know it by; None where it may be changing."""
    try:
        before, began = _mark(path), time.time_ns()
        digest = digests.of_file(path)
        settled = _mark(path) == before and began - max(before[1:3]) > SETTLED_S * 1e9
    except OSError as error:
        raise InputError(f"{group}: {one_line(name)} cannot be read ({error.strerror})") from error
    return before if settled else None, digest
