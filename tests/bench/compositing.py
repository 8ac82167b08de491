"""Compositing against NumPy: the compute part of a tile, as ratios measured side by side in one run.

`np.nanmedian` gets the same looks as float32 with NaN where masked, made before the clock starts; ours has to apply the
mask itself. Rounds are interleaved, CPU seconds of one thread counted. Ground is the Chongqing scene of `examples`,
mirrored to the width of a tile, each date with its own gain and noise under blocks of cloud (40 % of the looks).

    python tests/bench/compositing.py [--rounds 5] [--rows 136] [--write docs/benchmarks.md]
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import apart
import numpy as np
import rasterio
import tables
from numpy.typing import NDArray

from isamap.domain.cloudmask import clear_stack, valid_pixels
from isamap.domain.compositing import Method, composite

METHODS = get_args(Method)
EXAMPLES = Path("examples/chongqing")
SIDE = 1088


def ground(rows: int) -> NDArray[np.float32]:
    """Six bands, (6, rows, SIDE)."""
    stem = EXAMPLES / "chongqing-20180402"
    with rasterio.open(f"{stem}-10m.tif") as near, rasterio.open(f"{stem}-20m.tif") as far:
        swir = (
            far.read([far.descriptions.index(band) + 1 for band in ("B11", "B12")]).repeat(2, 1).repeat(2, 2)
        )
        ten = near.read()[:, : swir.shape[1], : swir.shape[2]]
    bands = np.concatenate([ten, swir[:, : ten.shape[1], : ten.shape[2]]])
    wide = np.pad(
        bands, ((0, 0), (0, max(0, rows - bands.shape[1])), (0, SIDE - bands.shape[2])), mode="symmetric"
    )
    return np.maximum(wide[:, :rows, :SIDE], 1).astype(np.float32)


def dates(count: int, rows: int) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """DN, (count, 6, rows, SIDE), and SCL."""
    rng = np.random.default_rng(count)
    plain = ground(rows)
    stack = np.empty((count, *plain.shape), np.uint16)
    scl = np.full((count, rows, SIDE), 5, np.uint8)
    for k in range(count):
        cloud = (rng.random((-(-rows // 68), SIDE // 68)) < 0.4).repeat(68, 0).repeat(68, 1)[:rows]
        day = plain * rng.normal(1, 0.03, (6, 1, 1)) + 60 * rng.standard_normal(plain.shape, np.float32)
        day[:, cloud] += rng.uniform(2000, 5000)
        stack[k] = np.clip(day, 1, 20_000)
        scl[k][cloud] = 9
    return stack, scl


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def measured(count: int, rows: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every contestant in every round."""
    stack, scl = dates(count, rows)
    clear = clear_stack(scl, stack, valid_pixels(stack))
    holes = np.where(clear[:, None], stack, np.nan).astype(np.float32)
    contestants: dict[str, Callable[[], object]] = {
        "nanmedian": lambda: np.nanmedian(holes, axis=0),
        **{method: lambda method=method: composite(method, stack, clear) for method in METHODS},
        "mask": lambda: clear_stack(scl, stack, valid_pixels(stack)),
    }
    took: dict[str, list[float]] = {name: [] for name in contestants}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # All-NaN slice
        for _ in range(rounds):
            for name, work in contestants.items():
                took[name].append(seconds(work))
    return took


def main() -> None:
    """Measure and print, or write into a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=136)
    parser.add_argument("--counts", type=int, nargs="+", default=[12, 24, 60])
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    lines = [tables.machine(), ""]
    lines += ["| dates | goal | np.nanmedian / masked median, CPU | range |", "|---|---|---|---|"]
    whole = SIDE / given.rows
    costs = ["| dates | median, s a tile | geomedian | best | mask |", "|---|---|---|---|---|"]
    for count in given.counts:
        took = measured(count, given.rows, given.rounds)
        lines.append(tables.row(count, ">= 10", tables.ratio(took["nanmedian"], took["median"])))
        cells = [f"{statistics.median(took[name]) * whole:.2f}" for name in (*METHODS, "mask")]
        costs.append(tables.row(count, *cells))
    lines += [
        "",
        *costs,
        "",
        f"One thread, {given.rounds} rounds; peak memory with the float copy for NumPy {apart.peak_mb():.0f} MB.",
    ]
    if given.write:
        tables.keep(given.write, "compositing", lines)
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    main()
