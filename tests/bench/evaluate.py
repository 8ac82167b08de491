"""`isamap evaluate`, measured: counting against plain numpy, the whole against decoding, memory against tiles.

The maps are those of the bundled scene, drawn by `fast` and `bilinear`. Everything runs on one thread.

    python tests/bench/evaluate.py [--write docs/benchmarks.md]
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import confusion
import rasterio
import tables

REPOSITORY = Path(__file__).resolve().parents[2]
SCENE = REPOSITORY / "examples" / "chongqing" / "chongqing-20180402-10m.tif"
SHIFT_M = 20_480
ROUNDS = 5


def draw(folder: Path) -> tuple[Path, Path]:
    """The two maps."""
    for model in ("fast", "bilinear"):
        command = [sys.executable, "-m", "isamap", "infer", "-q", "--input", SCENE, "--model", model]
        subprocess.run([*map(str, command), "-o", folder / model], check=True, stdout=subprocess.DEVNULL)
    return folder / "fast" / "chongqing-20180402-isa.tif", folder / "bilinear" / "chongqing-20180402-isa.tif"


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


def comparison(mapped: Path, reference: Path) -> object:
    """One map against another."""
    from isamap.core import evaluate
    from isamap.io.classmap import map_files
    from isamap.io.products import Product

    truth = evaluate.Truth(Product("reference", map_files(reference)))
    return evaluate.Comparison((Product("map", map_files(mapped)),), truth)


def run(mapped: Path, reference: Path) -> None:
    """A whole evaluation."""
    from isamap.core import evaluate

    evaluate.run(comparison(mapped, reference))


def repeat(path: Path, folder: Path, count: int) -> Path:
    """Copies of a map side by side: as many tiles."""
    folder.mkdir()
    for index in range(count):
        copy = shutil.copy(path, folder / f"{index:02d}.tif")
        with rasterio.open(copy, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
            dst.transform = dst.transform.translation(SHIFT_M * index, 0) * dst.transform
    return folder


def peak_mb(mapped: Path, reference: Path) -> float:
    """Peak memory of an evaluation in a process of its own."""
    command = [sys.executable, __file__, "--child", str(mapped), str(reference)]
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
    maps = draw(folder)
    whole = [cpu_seconds(lambda: run(*maps)) for _ in range(ROUNDS)]
    alone = [cpu_seconds(lambda: decode(maps)) for _ in range(ROUNDS)]
    with rasterio.open(maps[0]) as src:
        megapixels = src.width * src.height / 1e6
    rate = megapixels / sorted(whole)[ROUNDS // 2]
    yield "\n| whole evaluation | goal | median | range |"
    yield "|---|---|---|---|"
    yield f"| decoding both maps / everything, CPU seconds | >= 0.80 | {tables.ratio(alone, whole)} |"
    yield f"\n{rate:.0f} million pixels per CPU second with all measures of `docs/evaluate.md`."
    peaks = [
        peak_mb(repeat(maps[0], folder / f"a{count}", count), repeat(maps[1], folder / f"b{count}", count))
        for count in (1, 16)
    ]
    yield f"\nPeak memory {peaks[0]:.0f} MB with 1 tile, {peaks[1]:.0f} MB with 16: ratio {peaks[1] / peaks[0]:.3f}."


def main() -> None:
    """Print and keep the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=2, type=Path)
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    if args.child:
        run(*args.child)
        print(json.dumps({"peak_mb": own_peak_mb()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = [tables.machine() + "\n", *measure(Path(folder))]
    print("\n".join(lines))
    if args.write:
        tables.keep(args.write, "evaluate", lines)


if __name__ == "__main__":
    main()
