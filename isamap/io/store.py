"""Publishing products: rasters and the STAC item beside them, complete at their final names or absent.

A publication writes in a hidden part directory on the same file system, and `commit` makes it
visible in this order, each step on disk before the next begins:

    1. assets and item written in the part directory, digests in the item
    2. journal `.files-<stem>.json`: every asset the old and the new item name
    3. old item removed: from here on no item names a wrong file
    4. assets only the old item named removed, new assets renamed to their final names
    5. item renamed to its final name: the product is done
    6. journal and part directory removed

A crash before step 3 leaves the old product, one after step 5 the new, one in between no item:
the next run redoes the product, and the journal tells it which files may lie about.
"""

import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from isamap import digests
from isamap.errors import InputError
from isamap.io.atomic import make_directory, sync, write_atomic, write_durably, write_json
from isamap.io.claims import claim, claim_path
from isamap.io.locks import NO_SPACE, lock, refuse_folders, storage_error, storage_errors
from isamap.io.names import check_utf8, safe_name
from isamap.io.parts import new_part, release, remove_part
from isamap.io.strangers import check_kind, is_own_item, kind_of, refuse_strangers

__all__ = [
    "Publication",
    "State",
    "Target",
    "check_asset",
    "check_place",
    "lock",
    "publish",
    "read_item",
    "safe_name",
    "state",
    "storage_errors",
    "write_atomic",
    "write_json",
]

JOURNAL = ".files-"


@dataclass(frozen=True)
class Target:
    """One product: rasters and their STAC item, side by side in one directory."""

    directory: Path
    """Where the product lies; created when it is first published."""
    stem: str
    """Name of the product; its item is `<directory>/<stem>.json`."""

    def __post_init__(self) -> None:
        safe_name(self.stem)

    @property
    def item_path(self) -> Path:
        """The STAC item; it is written last, so it is there only if the product is complete."""
        return self.directory / f"{self.stem}.json"

    @property
    def journal_path(self) -> Path:
        """Names of the assets that may lie at their final names while there is no item."""
        return self.directory / f"{JOURNAL}{self.stem}.json"


class State(Enum):
    """Whether a product needs work."""

    NEW = auto()
    DONE = auto()
    STALE = auto()


def state(target: Target, provenance: Mapping[str, Any]) -> State:
    """Whether the product is there, undamaged and made as `provenance` says.

    Returns:
        NEW without an item; DONE if the item's `isamap:provenance` equals `provenance` and every
        asset has the size and sha256 the item gives; else STALE.
    """
    wanted = _json(provenance)
    if not os.path.lexists(target.item_path):
        return State.NEW
    item = read_item(target.item_path)
    with storage_errors(target.item_path):
        done = item is not None and _matches(target.directory, item, wanted)
    return State.DONE if done else State.STALE


def _matches(directory: Path, item: dict[str, Any], wanted: bytes) -> bool:
    try:
        assets = list(item["assets"].values())
        same = _json(item["properties"]["isamap:provenance"]) == wanted
        return same and bool(assets) and all(_intact(directory, asset) for asset in assets)
    except (AttributeError, KeyError, TypeError, ValueError, InputError):
        return False  # the item is JSON, but not one of ours


def _intact(directory: Path, asset: dict[str, Any]) -> bool:
    path = directory / _asset_name(asset)
    size, checksum = asset["file:size"], asset["file:checksum"]
    return path.is_file() and path.stat().st_size == size and _checksum(path) == checksum


def check_asset(path: Path, sha256: str, item: Path | None = None) -> None:
    """Compare a file with its STAC item beside it (`<stem>.json` if not given), if there is one: damage need not show.

    Raises:
        InputError: the item gives another checksum for the file.
    """
    assets = (read_item(item or path.with_suffix(".json")) or {}).get("assets")
    for asset in assets.values() if isinstance(assets, dict) else ():
        own = isinstance(asset, dict) and asset.get("href") == f"./{path.name}"
        known = str(asset.get("file:checksum")).lower() if own else ""
        # Other hashes are for others to check.
        if known.startswith(digests.SHA256) and known != digests.SHA256 + sha256:
            raise InputError(f"{path} is not the file its item describes (sha256 differs): make it again")


def read_item(path: Path) -> dict[str, Any] | None:
    """The JSON object in `path`, or None if the file is missing or damaged.

    Raises:
        StorageError: the file is there, but the disk refuses to give it.
    """
    try:
        with storage_errors(path):
            item = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) else None


def check_place(target: Target, names: Collection[str], kind: str = "") -> None:
    """Refuse to make a product, of files with these names, where those of others lie.

    Args:
        target: the product.
        names: files that it will consist of.
        kind: what it is, as `strangers.kind_of` has it.

    Raises:
        InputError: one of them, or the item, is there and was not made by isamap, or the item is of another kind.
    """
    check_utf8(target.directory)
    item = read_item(target.item_path)
    refuse_strangers(target.item_path, item, names, _known_names(target))
    check_kind(target.item_path, item, kind)


@contextmanager
def publish(target: Target, names: Collection[str], kind: str = "") -> Iterator["Publication"]:
    """A place to write a product, made visible by `Publication.commit`.

    A block left without commit changes nothing at the final names. Nobody else publishes the same
    target meanwhile: it is claimed.

    Args:
        target: the product.
        names: files that it will consist of: those of others are refused before the work.
        kind: what it is, if another kind is to be refused before the work too.

    Raises:
        BusyError: another process is at work on it.
        InputError: one of the names is that of a file which isamap did not make, or another product is there.
        StorageError: the disk is full, read-only or broken.
    """
    with storage_errors(target.item_path):
        make_directory(target.directory)
        refuse_folders(target.directory, _known_names(target))  # before the work, not after it
    with claim(claim_path(target.directory, target.stem), str(target.item_path)):
        with storage_errors(target.item_path):
            check_place(target, names, kind)
            part, held = new_part(target.directory, target.stem)
        try:
            yield Publication(target, part)
        except OSError as err:
            if err.errno not in NO_SPACE:  # the others may come from reading inputs in the block
                raise
            raise storage_error(target.item_path, err) from err
        finally:
            remove_part(part)
            release(held)


@dataclass(frozen=True)
class Publication:
    """A product being written."""

    target: Target
    """The product."""
    directory: Path
    """Hidden part directory beside the product, on the same file system; gone after the block."""

    def path(self, name: str) -> Path:
        """Where to write the file that will be called `name`."""
        path = self.directory / safe_name(name)
        if name == self.target.item_path.name:
            raise ValueError(f"{name} is the item, which commit writes")
        return path

    def commit(self, item: dict[str, Any]) -> tuple[str, ...]:
        """Publish the assets that `item` names, then `item` itself, in place of an older version.

        Args:
            item: STAC item whose assets have an href `./<name>` of a file written in this
                publication; their `file:size` and `file:checksum` are filled in.

        Returns:
            Names of files of the older version that are gone.

        Raises:
            InputError: another product is there, or a file that came meanwhile.
            StorageError: the disk is full, read-only or broken.
        """
        target = self.target
        with storage_errors(target.item_path):
            names = self._seal(item)
            check_place(target, names, kind_of(item))
            stale = _known_names(target) - names
            refuse_folders(target.directory, names | stale)
            self._place_journal(sorted(names | stale))
            target.item_path.unlink(missing_ok=True)
            sync(target.directory)
            gone = [name for name in sorted(stale) if (target.directory / name).exists()]
            for name in sorted(stale):
                (target.directory / name).unlink(missing_ok=True)
            for name in sorted(names):
                self.path(name).replace(target.directory / name)
            sync(target.directory)
            (self.directory / target.item_path.name).replace(target.item_path)
            sync(target.directory)
            target.journal_path.unlink(missing_ok=True)
        return tuple(gone)

    def _seal(self, item: dict[str, Any]) -> set[str]:
        """Names of the assets, after they and the item are complete and on disk in the part directory."""
        if not item["assets"]:
            raise ValueError(f"{self.target.stem}: an item without assets is no product")
        names = set()
        for asset in item["assets"].values():
            path = self.path(_asset_name(asset))
            sync(path)
            asset["file:size"] = path.stat().st_size
            asset["file:checksum"] = _checksum(path)
            names.add(path.name)
        write_durably(self.directory / self.target.item_path.name, _json(item))
        sync(self.directory)
        return names

    def _place_journal(self, names: list[str]) -> None:
        written = self.directory / self.target.journal_path.name
        write_durably(written, _json({"assets": {name: {"href": f"./{name}"} for name in names}}))
        written.replace(self.target.journal_path)
        sync(self.target.directory)


def _known_names(target: Target) -> set[str]:
    """Names of the assets of an older version, from its item and from the journal of a dead commit.

    Not ours is what another's item names, and what somebody has put into ours: it has no checksum.
    """
    item, names = read_item(target.item_path) or {}, set()
    with suppress(AttributeError, KeyError, TypeError, InputError):
        if is_own_item(item):
            names |= {_asset_name(one) for one in item["assets"].values() if "file:checksum" in one}
    with suppress(AttributeError, KeyError, TypeError, InputError):
        names |= {_asset_name(one) for one in (read_item(target.journal_path) or {})["assets"].values()}
    return names


def _asset_name(asset: dict[str, Any]) -> str:
    """The file name in an asset's href `./<name>`: an asset lies beside its item, nowhere else."""
    href = asset["href"]
    if not href.startswith("./"):
        raise InputError(f"asset href {href!r} is not beside its item: expected './<name>'")
    return safe_name(href[2:])


def _json(document: Mapping[str, Any]) -> bytes:
    """`document` as JSON that depends on nothing but its content."""
    return (json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def _checksum(path: Path) -> str:
    """sha256 of the file as a hexadecimal multihash, as STAC's file extension has it."""
    return digests.SHA256 + digests.of_file(path)
