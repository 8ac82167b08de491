"""A schedule of the whole belt without pixels: what planning, engines, skipping and looking cost, tile by tile.

    PYTHONPATH=.:tests python tests/bench/schedule.py [--write docs/benchmarks.md] [--tiles 2000 30000]

Real: the command line, the region's tiles, input files opened and digested, provenance, locks, claims, publication with
every fsync, items, reports, the loaded model. Simulated: inputs have 8 x 8 pixels, and what is published instead of a
map are ten bytes (`schedule_work`). Reading and mapping real pixels comes on top, and so does hashing finished maps
when a run is repeated.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import rasterio.windows
import tables
import tiny
from pilot_run import Step, isamap, measured

from isamap.domain.grid import Tile, tiles_over
from isamap.domain.product import composite_path
from isamap.io.vector import load_gazetteer

YEAR = 2021
SHARDS = 4
DASK = ("--engine", "dask", "-j", "2")
RUN = """
import sys
import schedule_work
from isamap import cli
from isamap.core import infer
infer.map_job = schedule_work.map_job
cli.main(sys.argv[1:])
"""
"""`isamap` whose maps are published without pixels."""
DISPATCH = """
import operator, sys
from isamap.engine import Engine, run
kind, workers, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
outcomes = run(range(count), operator.index, Engine(kind, workers))
assert sum(outcome.fault is None for outcome in outcomes) == count
"""
"""An engine with jobs that are done at once."""


def write_inputs(workspace: Path, tiles: Sequence[Tile]) -> None:
    """A composite of 8 x 8 pixels for every tile."""
    first = tiny.write_scene(workspace / "one.tif", rasterio.windows.Window(220, 330, 8, 8)).read_bytes()
    composite_path(workspace, YEAR, tiles[0]).parent.mkdir(parents=True)
    for tile in tiles:
        composite_path(workspace, YEAR, tile).write_bytes(first)


def steps(workspace: Path, count: int) -> Iterator[Step]:
    """Every part of a schedule of that many tiles, each in a process of its own."""
    year = ("--year", YEAR, "--workspace", workspace)
    area = ("--region", "yreb", *year, "--max-tiles", count)
    offline = ("infer", "--no-fetch", *area)
    yield isamap("plan of fetch", "fetch", *area, "--dry-run")
    yield isamap("plan of infer", *offline, "--dry-run")
    for name, *engine in (
        ("local engine", "local", "1"),
        ("local, 2 workers", "local", "2"),
        ("dask, 2 workers", "dask", "2"),
    ):
        yield measured(f"dispatch: {name}", [sys.executable, "-c", DISPATCH, *engine, str(count)])
    shards = [
        measured(
            "shard", [sys.executable, "-c", RUN, *map(str, offline), "--shard", f"{index}/{SHARDS}", "-q"]
        )
        for index in range(1, SHARDS + 1)
    ]
    yield together(f"publishing, {SHARDS} shards in turn", shards)
    yield isamap("status while all are done", "status", *year)
    yield isamap("all done, once more: local engine", *offline, "-q")
    yield isamap("all done, once more: dask, 2 workers", *offline, *DASK, "-q")


def together(name: str, parts: Sequence[Step]) -> Step:
    """Several commands as one step."""
    return Step(
        name,
        code=max(part.code for part in parts),
        seconds=sum(part.seconds for part in parts),
        cpu_s=sum(part.cpu_s for part in parts),
        largest_mb=max(part.largest_mb for part in parts),
        together_mb=max(part.together_mb for part in parts),
        log="".join(part.log for part in parts),
    )


def measure(tiles: Sequence[Tile], folder: Path) -> list[Step]:
    """All steps; none may fail."""
    workspace = folder / str(len(tiles))
    write_inputs(workspace, tiles)
    done = []
    for step in steps(workspace, len(tiles)):
        print(f"{len(tiles)} tiles  {step.name}: {step.seconds:.1f} s, {step.largest_mb:.0f} MB", flush=True)
        if step.code:
            raise SystemExit(f"{step.name} ended with {step.code}:\n{step.log[-3000:]}")
        done.append(step)
    return done


def report(few: tuple[int, list[Step]], many: tuple[int, list[Step]]) -> Iterator[str]:
    """The table: cost of one tile more, and memory at both ends."""
    yield tables.machine()
    yield ""
    sizes = [f"{count:,} tiles" for count, _ in (few, many)]
    yield tables.row(
        "step",
        f"wall of {sizes[1]}, s",
        "CPU, s",
        "CPU per tile, ms",
        f"peak of {sizes[0]}, MB",
        f"of {sizes[1]}, MB",
    )
    yield tables.row(*["---"] * 6)
    more = many[0] - few[0]
    for small, large in zip(few[1], many[1], strict=True):
        each_ms = 1000 * (large.cpu_s - small.cpu_s) / more
        yield tables.row(
            *(large.name, f"{large.seconds:.1f}", f"{large.cpu_s:.1f}", f"{each_ms:.2f}"),
            *(f"{step.largest_mb:.0f}" for step in (small, large)),
        )


def main() -> None:
    """Run both sizes, print the table, keep it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    parser.add_argument(
        "--tiles", type=int, nargs=2, default=(2000, 10**6), help="the two sizes, at most all"
    )
    given = parser.parse_args()
    belt = tiles_over(load_gazetteer().find("yreb").geometry)
    with tempfile.TemporaryDirectory(prefix="isamap-bench-") as name:
        runs = [belt[:count] for count in given.tiles]
        measures = [(len(tiles), measure(tiles, Path(name))) for tiles in runs]
    lines = list(report(*measures))
    print("\n".join(lines))
    if given.write:
        tables.keep(given.write, "schedule", lines)


if __name__ == "__main__":
    main()
