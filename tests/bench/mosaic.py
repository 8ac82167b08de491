"""What `isamap mosaic` costs a tile more: one, four and nine whole tiles of one zone, a real map mirrored in each.

PYTHONPATH=.:tests python tests/bench/mosaic.py [--write docs/benchmarks.md]
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import encode
import numpy as np
import tables
from pilot_run import Step, isamap
from tiled import write_map

from isamap.domain.grid import Tile

SCENE = Path("examples/chongqing/chongqing-20180402-10m.tif")
FIRST = Tile(48, "N", 70, 320)
SIDES = 1, 2, 3
"""Of the squares of tiles."""
YEAR = 2021


def square(side: int) -> list[str]:
    """Tiles from the first one to the east and north."""
    return [
        str(Tile(FIRST.zone, FIRST.hemisphere, FIRST.ix + col, FIRST.iy + row))
        for row in range(side)
        for col in range(side)
    ]


def measure(workspace: Path, classes: np.ndarray) -> list[Step]:
    """A mosaic of each square, in processes of their own; none may fail."""
    for tile in square(SIDES[-1]):
        write_map(workspace / "maps" / "fast" / str(YEAR), tile, {(0, 0): classes})
    done = []
    for side in SIDES:
        where = ("--tiles", ",".join(square(side)), "--year", YEAR, "--workspace", workspace)
        step = isamap("mosaic", "mosaic", *where, "-o", workspace / f"of-{side}", "-q")
        if step.code:
            raise SystemExit(f"a mosaic of {side} x {side} tiles ended with {step.code}:\n{step.log[-3000:]}")
        done.append(step)
    return done


def report(steps: Sequence[Step]) -> Iterator[str]:
    """The table: all of it, and what the tiles more than in the row before cost each."""
    yield tables.machine()
    yield ""
    more = [
        (large.cpu_s - small.cpu_s) / (new**2 - old**2)
        for (small, large), (old, new) in zip(pairwise(steps), pairwise(SIDES), strict=True)
    ]
    rows = [
        (side**2, f"{step.cpu_s:.2f}", each, f"{step.largest_mb:.0f}")
        for side, step, each in zip(SIDES, steps, ["", *(f"{one:.2f}" for one in more)], strict=True)
    ]
    yield from tables.table(("tiles", "CPU, s", "of it each tile more, s", "peak memory, MB"), rows)


def main() -> None:
    """Measure, print the table, keep it where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        classes = np.load(encode.rasters(SCENE, folder)["isa"])
        lines = list(report(measure(folder / "ws", classes)))
    print("\n".join(lines))
    if given.write:
        tables.keep(given.write, "mosaic", lines)


if __name__ == "__main__":
    main()
