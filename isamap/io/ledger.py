"""Where the maps of a folder stand, from names and times alone: no lock is taken, no file is opened for writing."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from isamap.io.holders import RUN_LOCK, holder
from isamap.io.parts import LOCK, PREFIX
from isamap.io.store import read_item


@dataclass
class Ledger:
    """One look at a folder of maps."""

    finished: dict[str, float] = field(default_factory=dict)
    """Time of each item by stem: the map was published then."""
    at_work: dict[str, int] = field(default_factory=dict)
    """Process that makes a map, by stem."""
    unclaimed: list[str] = field(default_factory=list)
    """Stems with a part directory that no process of this machine holds: of a dead run, or of another machine."""
    size_bytes: int = 0
    """Of all files."""
    pid: int | None = None
    """Process that holds the folder, if one of this machine does."""


def look(directory: Path) -> Ledger:
    """The folder as it is now; files may come and go while we look."""
    ledger = Ledger()
    run = holder(directory / RUN_LOCK)
    ledger.pid = run.pid if run else None
    for entry in _entries(directory):
        if entry.name.startswith(PREFIX):
            stem = entry.name.removeprefix(PREFIX).rpartition("-")[0]
            made_by = holder(Path(entry.path) / LOCK)
            if made_by is None:
                ledger.unclaimed.append(stem)
            else:
                ledger.at_work[stem] = made_by.pid
            continue
        try:
            file = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        ledger.size_bytes += file.st_size
        if entry.name.endswith(".json") and not entry.name.startswith("."):
            ledger.finished[entry.name.removesuffix(".json")] = file.st_mtime
    return ledger


def times(directory: Path, suffix: str = ".tif") -> dict[str, float]:
    """Time of each file with that suffix, by stem."""
    found = {}
    for entry in _entries(directory):
        if entry.name.endswith(suffix):
            try:
                found[entry.name.removesuffix(suffix)] = entry.stat().st_mtime
            except FileNotFoundError:
                continue
    return found


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def products(workspace: Path) -> list[tuple[str, int]]:
    """Models and years that have a folder of maps."""
    return [
        (model.name, int(year.name))
        for model in _entries(workspace / "maps")
        for year in _entries(Path(model.path))
        if year.name.isdigit()
    ]


def years(directory: Path) -> list[int]:
    """Years that have a folder."""
    return [int(entry.name) for entry in _entries(directory) if entry.name.isdigit()]


class Said(NamedTuple):
    """The last word of the reports about a tile."""

    when: float
    """When the run ended, seconds since the epoch."""
    state: str
    """What became of it: `failed`, `missing` without input, or done in whatever way."""
    error: str
    """Why, if it is not done."""


def last_reports(path: Path, rows_key: str = "maps") -> dict[str, Said]:
    """What the last run that was asked for a tile says of it, for every tile.

    The reports of shards, `<stem>.shard-I-of-N.json` beside `path`, count too.

    Args:
        path: of the report of a run without shard.
        rows_key: where a report has its rows.
    """
    found: dict[str, Said] = {}
    for report in (path, *sorted(path.parent.glob(f"{path.stem}.shard-*-of-*.json"))):
        document: dict[str, Any] = read_item(report) or {}
        try:
            when = report.stat().st_mtime
            for row in document.get(rows_key, []):
                name = str(row["name"])
                if name not in found or found[name].when <= when:
                    found[name] = Said(when, str(row.get("state")), str(row.get("error", "")))
        except (OSError, AttributeError, KeyError, TypeError):
            continue
    return found
