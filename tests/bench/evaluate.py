"""`isamap evaluate`, measured: counting against plain numpy, the whole against decoding, memory against tiles.

Two maps of the bundled scene, drawn by `fast` and `bilinear`, mirrored to the size of a tile. The second is the truth:
as it is, as a 10 m product on pixels that ours part evenly, and as one in degrees, which has to be warped, there and
far north, where its pixels are narrow. Rounds are interleaved; CPU seconds of the whole process.

    python tests/bench/evaluate.py [--write docs/benchmarks.md]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import confusion
import numpy as np
import rasterio
import tables
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import reproject, transform_bounds

REPOSITORY = Path(__file__).resolve().parents[2]
SCENE = REPOSITORY / "examples" / "chongqing" / "chongqing-20180402-10m.tif"
SIDE_PX, COARSE = 10_240, 10
BEYOND_PX = 64
"""Pixels of a 10 m product beyond a tile: published sheets go on there, and a product is known on the whole tile."""
LEFT, TOP, UTM = 600_000, 3_300_000, "EPSG:32648"
NORTH = 700_000, 5_700_000, "EPSG:32632"
"""At 51 degrees: two degrees from the zone's middle, so that north leans."""
SHIFT_M = 20_480
ROUNDS = 5
CODES = "50,0=nodata"
DEGREES = 1 / 12_000
TRUTHS = {
    "a label raster of 1 m": ("map", "1m"),
    "a 10 m product on the same grid": ("map", "10m"),
    "a 10 m product in degrees": ("map", "ll"),
    "the same at 51 degrees north": ("north", "ll-north"),
}
"""Which map, and which truth."""


def draw(folder: Path) -> tuple[Path, Path]:
    """The two maps."""
    for model in ("fast", "bilinear"):
        command = [sys.executable, "-m", "isamap", "infer", "-q", "--input", SCENE, "--model", model]
        subprocess.run([*map(str, command), "-o", folder / model], check=True, stdout=subprocess.DEVNULL)
    return folder / "fast" / "chongqing-20180402-isa.tif", folder / "bilinear" / "chongqing-20180402-isa.tif"


def tile(source: Path, target: Path) -> np.ndarray:
    """A map mirrored to the size of a tile, gaps filled: a region's tiles have hardly any."""
    from isamap.domain.grid import windows
    from isamap.domain.product import CLASSES
    from isamap.io.cog import CogWriter

    with rasterio.open(source) as src:
        values = src.read(1)
    over = [(0, max(0, SIDE_PX - side)) for side in values.shape]
    values = np.pad(np.where(values == 255, 0, values), over, mode="reflect")[:SIDE_PX, :SIDE_PX]
    grid = GeoBox(values.shape, Affine(1, 0, LEFT, 0, -1, TOP), UTM)
    target.parent.mkdir(exist_ok=True)
    with CogWriter(target, grid, CLASSES, {}) as writer:
        for window in windows((SIDE_PX, SIDE_PX), 2560):
            writer.write(window, np.ascontiguousarray(values[window.slices]))
    return values


def coarse(values: np.ndarray, folder: Path) -> None:
    """The same as 10 m products: on the UTM grid, and in degrees, where it lies and in the north."""
    side = SIDE_PX // COARSE
    share = values.reshape(side, COARSE, side, COARSE).mean(axis=(1, 3))
    codes = np.where(share >= 0.5, 50, 10).astype(np.uint8)
    save(folder / "10m.tif", codes, Affine(COARSE, 0, LEFT, 0, -COARSE, TOP), UTM)
    in_degrees(folder / "ll.tif", codes, LEFT, TOP, UTM)
    in_degrees(folder / "ll-north.tif", codes, *NORTH)


def in_degrees(path: Path, codes: np.ndarray, left: float, top: float, utm: str) -> None:
    """A 10 m product of a place on a UTM grid, in degrees."""
    west, south, east, north = transform_bounds(utm, "EPSG:4326", left, top - SIDE_PX, left + SIDE_PX, top)
    shape = int((north - south) / DEGREES) + 4, int((east - west) / DEGREES) + 4
    degrees = Affine(DEGREES, 0, west - 2 * DEGREES, 0, -DEGREES, north + 2 * DEGREES)
    lonlat = np.zeros(shape, np.uint8)
    place = Affine(COARSE, 0, left, 0, -COARSE, top) * Affine.translation(-BEYOND_PX, -BEYOND_PX)
    beyond = np.pad(codes, BEYOND_PX, mode="reflect")
    reproject(beyond, lonlat, src_transform=place, src_crs=utm, dst_transform=degrees, dst_crs="EPSG:4326")
    save(path, lonlat, degrees, "EPSG:4326")


def moved(path: Path, target: Path, left: float, top: float, utm: str) -> None:
    """A map in another place."""
    shutil.copy(path, target)
    with rasterio.open(target, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.crs, dst.transform = utm, Affine(1, 0, left, 0, -1, top)


def save(path: Path, values: np.ndarray, transform: Affine, crs: str) -> None:
    """A product as they are published: deflated blocks, 0 nodata."""
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint8",
        "nodata": 0,
        "compress": "deflate",
        "tiled": True,
    }
    size = {"height": values.shape[0], "width": values.shape[1]}
    with rasterio.open(path, "w", **profile, **size, crs=crs, transform=transform) as dst:
        dst.write(values, 1)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def decode(paths: tuple[Path, ...]) -> None:
    """Read every block of every raster once."""
    for path in paths:
        with rasterio.open(path) as src:
            for _, window in src.block_windows(1):
                src.read(1, window=window)


def run(mapped: Path, reference: Path, measures: tuple[str, ...] | None = None) -> None:
    """A whole evaluation; of all measures if none are named."""
    from isamap.core import evaluate
    from isamap.domain.evaluation import MEASURES
    from isamap.io.classmap import map_files
    from isamap.io.products import ISA, Product

    kind = ISA if reference.stem == "1m" or reference.is_dir() else CODES
    truth = evaluate.Truth(Product("reference", map_files(reference), kind), published=kind == CODES)
    products = (Product("map", map_files(mapped)),)
    evaluate.run(evaluate.Comparison(products, truth, measures=measures or MEASURES))


def repeat(path: Path, folder: Path, count: int) -> Path:
    """Copies of a map side by side: as many tiles."""
    folder.mkdir()
    for index in range(count):
        moved(path, folder / f"{index:02d}.tif", LEFT + SHIFT_M * index, TOP, UTM)
    return folder


def peak_mb(mapped: Path, reference: Path, measures: str) -> float:
    """Peak memory of an evaluation in a process of its own."""
    command = [sys.executable, __file__, "--child", str(mapped), str(reference), measures]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["peak_mb"])


def own_peak_mb() -> float:
    """Peak memory of this process; getrusage would count the one that started it."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def measure(folder: Path) -> Iterator[str]:
    """The tables."""
    yield "| counting a confusion matrix | goal | four numpy masks / isamap, CPU | quartiles |"
    yield "|---|---|---|---|"
    for name, found in confusion.measure().items():
        yield f"| {name} | >= 5 | {found['ratio']:.1f} | {found['ratio_low']:.1f}-{found['ratio_high']:.1f} |"
    fast, bilinear = draw(folder)
    maps = folder / "tile"
    tile(fast, maps / "map.tif")
    coarse(tile(bilinear, maps / "1m.tif"), maps)
    moved(maps / "map.tif", maps / "north.tif", *NORTH)
    yield "\n| decoding both rasters / whole evaluation, CPU seconds | goal | median | range | million px per CPU second |"
    yield "|---|---|---|---|---|"
    for title, (mapped, truth) in TRUTHS.items():
        yield from speeds(title, maps / f"{mapped}.tif", maps / f"{truth}.tif")
    yield "\n| peak memory, MB | 1 tile | 16 tiles | ratio |"
    yield "|---|---|---|---|"
    folders = {
        count: [repeat(maps / f"{one}.tif", folder / f"{one}-{count}", count) for one in ("map", "1m")]
        for count in (1, 16)
    }
    for measures in ("all", "confusion"):
        one, many = (peak_mb(*folders[count], measures) for count in (1, 16))
        yield f"| {measures} | {one:.0f} | {many:.0f} | {many / one:.3f} |"


def speeds(title: str, mapped: Path, truth: Path) -> Iterator[str]:
    """Rows of one truth: all measures, and the confusion matrix alone."""
    found: dict[str, list[float]] = {"decode": [], "all measures": [], "confusion alone": []}
    for _ in range(ROUNDS + 1):
        found["decode"].append(cpu_seconds(lambda: decode((mapped, truth))))
        found["all measures"].append(cpu_seconds(lambda: run(mapped, truth)))
        found["confusion alone"].append(cpu_seconds(lambda: run(mapped, truth, ("confusion",))))
    decoding = found.pop("decode")[1:]  # the first round loads libraries
    for name, (_, *used) in found.items():
        rate = SIDE_PX**2 / 1e6 / statistics.median(used)
        goal = ">= 0.80" if name == "confusion alone" else ""
        yield f"| {title}: {name} | {goal} | {tables.ratio(decoding, used)} | {rate:.0f} |"


def main() -> None:
    """Print and keep the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=3)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    if args.child:
        mapped, reference, measures = args.child
        run(Path(mapped), Path(reference), None if measures == "all" else (measures,))
        print(json.dumps({"peak_mb": own_peak_mb()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = [tables.machine() + "\n", *measure(Path(folder))]
    print("\n".join(lines))
    if args.write:
        tables.keep(args.write, "evaluate", lines)


if __name__ == "__main__":
    main()
