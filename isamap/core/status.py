"""`isamap status`: where the maps of a workspace stand, told from another terminal without touching the run."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isamap.domain import product
from isamap.io import ledger, system

SCHEMA = 1
"""Of `--json`."""
RATE_WINDOWS_S = (600, 3600, 6 * 3600)
"""The rate is that of the shortest of these times in which enough maps were finished."""
ENOUGH = 3
DEFAULT_MODEL = "fast"
"""Whose maps an area lacks where there are none of that year, and nobody says."""


@dataclass(frozen=True)
class Standing:
    """Where the maps of one model and year stand."""

    model: str
    """Name."""
    year: int
    """Of the maps."""
    wanted: int
    """Tiles of the area; without one, all that have a composite, a map or a line in the last report."""
    done: int
    """Those that are mapped."""
    stale: tuple[str, ...]
    """Finished maps whose composite is newer: `isamap verify` tells for certain."""
    failed: dict[str, str]
    """Why maps failed in the last run that ended, and have not been made since."""
    missing: dict[str, str]
    """What the last run that ended says of tiles that had no input, and have none still."""
    to_make: tuple[str, ...]
    """All wanted tiles without a map: those that failed, wait, or have no input."""
    waiting: int
    """Composites without a map that have not failed."""
    no_input: int
    """Wanted tiles with neither composite nor map."""
    at_work: dict[str, int]
    """Maps that are being made, each with its process."""
    unclaimed: tuple[str, ...]
    """Maps with a part directory that no process of this machine holds."""
    pid: int | None
    """Process of the run that holds the folder, if there is one on this machine."""
    maps_per_hour: float | None
    """Rate of late."""
    hours_left: float | None
    """Until nothing waits, at that rate."""
    last: str | None
    """When the last map was finished, UTC."""
    size_bytes: int
    """Of all files in the folder."""


def run(
    workspace: Path,
    model: str | None = None,
    year: int | None = None,
    tiles: Collection[str] | None = None,
    now: float | None = None,
) -> list[Standing]:
    """Look at every model and year, or at those that are named.

    Args:
        workspace: of the runs.
        model: only this one.
        year: only this one. With a model or tiles it is told of even if nothing of it is there yet.
        tiles: ids of the area's tiles; None takes all that is known.
        now: seconds since the epoch; None takes the clock.
    """
    found = ledger.products(workspace)
    if year is not None and (model or tiles) and not any(_is_asked(one, model, year) for one in found):
        found.append((model or DEFAULT_MODEL, year))
    return [
        _standing(workspace, name, when, tiles, time.time() if now is None else now)
        for name, when in sorted(found)
        if _is_asked((name, when), model, year)
    ]


def _is_asked(product: tuple[str, int], model: str | None, year: int | None) -> bool:
    """Whether a model and year is among those that are asked for."""
    return model in {None, product[0]} and year in {None, product[1]}


@dataclass(frozen=True)
class Composites:
    """Where the composites of one year stand that `isamap fetch` makes."""

    year: int
    """Of the composites."""
    done: int
    """Those with an item, of the area if there is one."""
    foreign: int
    """Rasters without an item: put there by hand."""
    failed: dict[str, str]
    """Why tiles failed in the last fetch that ended, and have not been made since."""
    missing: dict[str, str]
    """Why there was nothing to make tiles of in the last fetch that ended, and nobody has made them since."""
    at_work: dict[str, int]
    """Composites that are being made, each with its process."""
    pid: int | None
    """Process of the run that holds the folder, if there is one on this machine."""
    last: str | None
    """When the last one was finished, UTC."""
    size_bytes: int
    """Of all files in the folder."""

    @property
    def fetched(self) -> bool:
        """Whether fetch has anything to do with that year."""
        return bool(self.done or self.failed or self.missing or self.at_work or self.pid)


def composites(
    workspace: Path, year: int | None = None, tiles: Collection[str] | None = None
) -> list[Composites]:
    """Look at the composites of every year, or of one."""
    folder = workspace / product.COMPOSITES
    return [_composites(workspace, when, tiles) for when in ledger.years(folder) if year in {None, when}]


def _composites(workspace: Path, year: int, tiles: Collection[str] | None) -> Composites:
    directory = product.composite_directory(workspace, year)
    folder = ledger.look(directory)
    asked = ledger.last_reports(workspace / "runs" / f"fetch-{year}.json", "tiles")
    named = asked if tiles is None else set(asked) & set(tiles)
    wanted = {stem: when for stem, when in folder.finished.items() if tiles is None or stem in tiles}
    rasters = {stem for stem in ledger.times(directory) if tiles is None or stem in tiles}
    return Composites(
        year=year,
        done=len(wanted),
        foreign=len(rasters - set(folder.finished)),
        failed=_still("failed", asked, named, folder.finished),
        missing=_still("missing", asked, set(named) - rasters, folder.finished),
        at_work=folder.at_work,
        pid=folder.pid,
        last=_utc(max(wanted.values(), default=None)),
        size_bytes=folder.size_bytes,
    )


def document(
    standings: Sequence[Standing], workspace: Path, fetched: Sequence[Composites] = ()
) -> dict[str, Any]:
    """The outcome as a JSON document."""
    return {
        "schema": SCHEMA,
        "command": "status",
        "free_bytes": system.free_bytes(workspace),
        "products": [asdict(standing) for standing in standings],
        "composites": [asdict(one) for one in fetched],
    }


def _standing(workspace: Path, model: str, year: int, tiles: Collection[str] | None, now: float) -> Standing:
    folder = ledger.look(product.map_directory(workspace, model, year))
    composites = ledger.times(product.composite_directory(workspace, year))
    asked = ledger.last_reports(workspace / "runs" / f"infer-{model}-{year}.json")
    wanted = {*composites, *folder.finished, *asked} if tiles is None else set(tiles)
    done = {stem: when for stem, when in folder.finished.items() if stem in wanted}
    failed = _still("failed", asked, wanted, folder.finished)
    waiting = (wanted & set(composites)) - set(done) - set(failed)
    rate = maps_per_hour(list(folder.finished.values()), now)
    return Standing(
        model=model,
        year=year,
        wanted=len(wanted),
        done=len(done),
        stale=tuple(sorted(stem for stem, when in done.items() if composites.get(stem, 0.0) > when)),
        failed=failed,
        missing=_still("missing", asked, wanted - set(composites), folder.finished),
        to_make=tuple(sorted(wanted - set(done))),
        waiting=len(waiting),
        no_input=len(wanted - set(composites) - set(done) - set(failed)),
        at_work=folder.at_work,
        unclaimed=tuple(folder.unclaimed),
        pid=folder.pid,
        maps_per_hour=rate,
        hours_left=round(len(waiting) / rate, 2) if rate else None,
        last=_utc(max(done.values(), default=None)),
        size_bytes=folder.size_bytes,
    )


def _still(
    state: str, asked: Mapping[str, ledger.Said], names: Collection[str], finished: Mapping[str, float]
) -> dict[str, str]:
    """Tiles that the last reports give that state, and that have not been finished since, with the reason."""
    return {
        stem: said.error
        for stem, said in sorted(asked.items())
        if said.state == state and stem in names and finished.get(stem, 0.0) < said.when
    }


def maps_per_hour(times: Sequence[float], now: float) -> float | None:
    """Maps per hour of late, None where too few were finished.

    The time since the first of them counts, up to now: a run that has come to a halt slows down.

    Args:
        times: when maps were finished, seconds since the epoch.
        now: the same clock.
    """
    for window_s in RATE_WINDOWS_S:
        late = [when for when in times if now - window_s <= when <= now]
        if len(late) >= ENOUGH:
            return round(3600 * (len(late) - 1) / max(now - min(late), 1e-3), 2)
    return None


def _utc(when: float | None) -> str | None:
    return None if when is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(when))
