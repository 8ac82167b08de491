"""The pilot: nine tiles over two UTM zones from catalogue to mosaic, two workers killed on the way, everything checked.

    PYTHONPATH=.:tests python tests/bench/pilot.py [--write docs/pilot.md] [--keep FOLDER]

`isamap fetch`, `infer` and `mosaic` run as an operator types them, on Dask with two workers; catalogue and scenes are
behind servers on loopback, of whose answers one in a hundred is a fault. Ends with 1 when anything is off.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pilot_checks as checks
import pilot_ground as ground
import rasterio
import realdata
import tables
from pilot_run import PixelServer, Step, isamap
from scenery.scenes import Scenery
from scenery.stac import StacApp
from scenery.web import Faults

from isamap.domain.grid import TILE_M

FAULTS = Faults.share(0.01, ("429", "500", "503", "reset", "short"), seed=1)
DASK = ("--engine", "dask", "-j", 2)
AFTER, PAUSE_S = 3, 1.0
"""A worker is killed so long after so many tiles are done."""
ALONE = "48N-0077-0323,48N-0077-0324,49N-0020-0324"
"""Tiles that one process makes again, to compare: neighbours within a zone and beyond its border."""
SHEET_M = 2
"""Pixel of the sheets, which show every fourth pixel of the maps; VRTs and overview are checked by every pixel."""
MODEL = "fast"
MAX_RMSE_DN = 60
"""Of a composite's band against the ground's own reflectance x 10000."""


@dataclass
class Pilot:
    """What is being piloted, and what was found."""

    folder: Path
    """Of scenes and workspaces."""
    made: dict[int, Scenery]
    """The scenes of each zone."""
    steps: list[Step] = field(default_factory=list)
    """Commands in the order of their running."""
    findings: list[tuple[str, bool]] = field(default_factory=list)
    """What was checked in words, and whether it holds."""
    sent: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Requests, bytes and faults of the servers in each step."""

    @property
    def workspace(self) -> Path:
        """Of the run with two workers."""
        return self.folder / "workspace"

    @property
    def alone(self) -> Path:
        """Of the run in one process."""
        return self.folder / "alone"

    def say(self, words: str, *, holds: bool) -> None:
        """Keep a finding and print it."""
        self.findings.append((words, bool(holds)))
        print(f"{'ok ' if holds else 'OFF'} {words}", flush=True)

    def run(self, name: str, *arguments: object, **more: object) -> Step:
        """Run a command; it must end with 0."""
        step = isamap(name, *arguments, **more)
        self.steps.append(step)
        self.say(f"{name}: exit {step.code}, {step.seconds:.0f} s", holds=step.code == 0)
        if step.code:
            print(step.log[-4000:], file=sys.stderr)
        return step


def area(workspace: Path) -> tuple[object, ...]:
    """Options that name all tiles."""
    return ("--bbox", ",".join(map(str, ground.AREA)), "--year", ground.YEAR, "--workspace", workspace)


def few(workspace: Path) -> tuple[object, ...]:
    """Options that name the tiles that are made twice."""
    return ("--tiles", ALONE, "--year", ground.YEAR, "--workspace", workspace)


class Midway:
    """Whether some tiles of a folder are done, and others have been begun since."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.since = folder, 0.0

    def __call__(self) -> bool:
        if not self.since and len(list(self.folder.glob("[!.]*.json"))) >= AFTER:
            self.since = time.monotonic()
        return bool(self.since) and time.monotonic() - self.since > PAUSE_S


@contextmanager
def servers(pilot: Pilot) -> Iterator[tuple[PixelServer, tuple[str, ...]]]:
    """Catalogue and scenes on loopback, and the options that name them."""
    with ExitStack() as stack:
        files = stack.enter_context(PixelServer(pilot.folder / "scenes", faults=FAULTS))
        api = stack.enter_context(StacApp())
        api.publish(ground.items(pilot.made, files.url))
        host = files.url.removeprefix("http://")
        yield files, ("--source", f"{api.url}#{ground.SHAPE}", "--allow-host", host)


def fetch(pilot: Pilot) -> None:
    """Composites, by two workers, then some of them by one process."""
    midway = Midway(pilot.workspace / "composites" / str(ground.YEAR))
    with servers(pilot) as (files, where):
        for name, arguments, kill_when in (
            ("fetch", (*area(pilot.workspace), *where, *DASK), midway),
            ("fetch, 3 tiles in one process", (*few(pilot.alone), *where), None),
        ):
            files.forget()
            before = files.sent_bytes
            pilot.run(name, "fetch", *arguments, kill_when=kill_when)
            pilot.sent[name] = files.hits, files.sent_bytes - before, files.struck.total()


def infer(pilot: Pilot) -> None:
    """Maps, by two workers, then some of them by one process, then all once more."""
    midway = Midway(pilot.workspace / "maps" / MODEL / str(ground.YEAR))
    offline = ("infer", "--no-fetch")
    pilot.run("infer", *offline, *area(pilot.workspace), *DASK, kill_when=midway)
    pilot.run("infer, 3 tiles in one process", *offline, *few(pilot.alone))
    again = pilot.run("infer, once more", *offline, *area(pilot.workspace), *DASK, "--json")
    document = json.loads(again.out)
    pilot.say("run again, all 9 maps are skipped", holds=(document["skipped"], document["mapped"]) == (9, 0))


def look(pilot: Pilot) -> None:
    """The mosaic, and what `status` and `verify` say."""
    out = ("-o", pilot.folder / "mosaic", "--res", SHEET_M, "-j", 2)
    pilot.run("mosaic", "mosaic", *area(pilot.workspace), *out)
    told = json.loads(pilot.run("status", "status", *area(pilot.workspace), "--json").out)
    standing = told["products"][0]
    numbers = [standing[key] for key in ("wanted", "done", "waiting", "no_input")]
    pilot.say(f"status: {numbers[1]} of {numbers[0]} maps done", holds=numbers == [9, 9, 0, 0])
    verdict = pilot.run("verify", "verify", *area(pilot.workspace), "-j", 2, "--json")
    found = json.loads(verdict.out)
    words = ", ".join(
        f"{found[key]} {key}" for key in ("maps", "composites", "edges", "problems", "warnings")
    )
    pilot.say(f"verify: {words}", holds=found["problems"] == 0 and found["maps"] == found["composites"] == 9)


def check_kills(pilot: Pilot) -> None:
    """One worker was killed in each step, and took one tile with it that was done again."""
    for step in pilot.steps:
        if step.name in ("fetch", "infer"):
            words = f"{step.name}: {len(step.killed)} worker killed, {step.deaths} tile done again"
            pilot.say(words, holds=(len(step.killed), step.deaths) == (1, 1))


def check_files(pilot: Pilot) -> None:
    """Whoever made them, the files are the same."""
    for part in (f"composites/{ground.YEAR}", f"maps/{MODEL}/{ground.YEAR}"):
        names = [path.name for path in (pilot.alone / part).glob("[!.]*")]
        differ = [
            name
            for name in names
            if (pilot.alone / part / name).read_bytes() != (pilot.workspace / part / name).read_bytes()
        ]
        words = f"{part}: {len(names)} files of one process beside those of two workers, {len(differ)} differ"
        pilot.say(words, holds=len(names) >= 6 and not differ)


def check_composites(pilot: Pilot) -> None:
    """Clouds are gone: composites show the ground of the clear sky."""
    worst = 0.0
    for tile in ground.nine_tiles():
        with rasterio.open(pilot.workspace / "composites" / str(ground.YEAR) / f"{tile}.tif") as src:
            values = src.read(range(1, 7)).astype(np.float32)
        truth = ground.truth_of(pilot.made[tile.zone].place, tile)
        there = (values > 0).all(0)
        error = ((values - truth) ** 2)[:, there].mean(1) ** 0.5
        worst = max(worst, float(error.max()) if there.mean() > 0.99 else np.inf)
    words = f"composites: root mean square error of the worst band {worst:.0f} of 10000"
    pilot.say(words, holds=worst <= MAX_RMSE_DN)


def check_mosaic(pilot: Pilot) -> None:
    """The mosaic is that of every single pixel."""
    maps = pilot.workspace / "maps" / MODEL / str(ground.YEAR)
    zones = {
        number: checks.zone_of([maps / f"{tile}.tif" for tile in tiles], number)
        for number, tiles in ground.by_zone(ground.nine_tiles()).items()
    }
    (isa,) = (pilot.folder / "mosaic").glob("*.mapped.tif")
    stem = isa.name.removesuffix(".mapped.tif")
    every, folder = list(zones.values()), pilot.folder / "mosaic"
    for number, zone in zones.items():
        tell(
            pilot,
            f"VRT of zone {number}",
            "pixels",
            checks.vrt_faults(zone, folder / f"{stem}-{number}N.vrt"),
        )
    cells = checks.overview_faults(every, folder / f"{stem}.tif", isa)
    tell(pilot, "overview", "cells", cells)
    sheets = [checks.sheet_faults(every, path) for path in sorted((folder / "sheets").glob("*.tif"))]
    tell(pilot, f"{len(sheets)} sheets of {SHEET_M} m", "pixels", tuple(map(sum, zip(*sheets, strict=True))))
    tell(pilot, "tile index along 108 E", "pixels", checks.index_faults(every, folder / f"{stem}.gti.gpkg"))


def tell(pilot: Pilot, what: str, of: str, counted: tuple[int, int]) -> None:
    """Whether all of something agree with brute force."""
    looked_at, wrong = counted
    pilot.say(f"mosaic, {what}: {looked_at:,} {of}, {wrong} differ", holds=looked_at > 0 and not wrong)


def report(pilot: Pilot, begin: float) -> Iterator[str]:
    """The tables."""
    tiles = ground.nine_tiles()
    yield tables.machine()
    yield ""
    yield f"{len(tiles)} tiles, {len(tiles) * TILE_M**2 / 1e6:.0f} km2, {ground.DATES} dates in each of two zones."
    yield ""
    yield tables.row("step", "wall, s", "CPU, s", "largest process, MB", "all processes, MB", "killed")
    yield tables.row(*["---"] * 6)
    for step in pilot.steps:
        figures = (step.seconds, step.cpu_s, step.largest_mb, step.together_mb)
        yield tables.row(step.name, *(f"{figure:.0f}" for figure in figures), len(step.killed))
    yield ""
    yield tables.row("step", "requests for pixels", "MB read", "faults, each asked again")
    yield tables.row(*["---"] * 4)
    for name, (requests, sent, struck) in pilot.sent.items():
        yield tables.row(name, requests, f"{sent / 1e6:.0f}", struck)
    yield ""
    yield from (f"- {'' if holds else '**OFF** '}{words}" for words, holds in pilot.findings)
    yield ""
    yield f"Whole pilot, scenes and checks included: {(time.monotonic() - begin) / 60:.0f} minutes."


def pilot_in(folder: Path) -> Pilot:
    """Everything, in order."""
    pilot = Pilot(folder, ground.make(folder / "scenes"))
    pilot.say(f"the area names {len(ground.nine_tiles())} tiles", holds=len(ground.nine_tiles()) == 9)
    for part in (fetch, infer, look, check_kills, check_files, check_composites, check_mosaic):
        part(pilot)
    return pilot


def main() -> None:
    """Run it, print the report, keep it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    parser.add_argument("--keep", type=Path, help="work in this new folder and leave it")
    given = parser.parse_args()
    if not realdata.DATA.is_dir():
        sys.exit(f"no real data at {realdata.DATA} (ISAMAP_DATA)")
    begin = time.monotonic()
    with ExitStack() as stack:
        kept = given.keep or stack.enter_context(tempfile.TemporaryDirectory(prefix="isamap-pilot-"))
        pilot = pilot_in(Path(kept).absolute())
        lines = list(report(pilot, begin))
    print("\n".join(lines))
    if given.write:
        tables.keep(given.write, "pilot", lines)
    if not all(holds for _, holds in pilot.findings):
        sys.exit("the pilot found something off")


if __name__ == "__main__":
    main()
