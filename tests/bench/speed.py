"""`make bench`: speed and memory of `isamap infer`, as ratios measured side by side in one run.

Every measurement runs in a process of its own, in interleaved rounds; medians and spreads are reported.
Absolute times depend on the machine and its neighbours, ratios hardly do.

    python tests/bench/speed.py [--rounds 3] [--side 2048] [--memory 2048 8192] [--write docs/benchmarks.md]
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import encode
import numpy as np
import rasterio
import tables

SCENE = Path("examples/chongqing/chongqing-20180402-10m.tif")
WINDOW = 512


def raster(path: Path, side: int) -> Path:
    """A raster of `side` x `side` pixels: the real Chongqing scene, mirrored until it is large enough."""
    with rasterio.open(SCENE, driver="GTiff") as src:
        pixels, profile, names = src.read(), src.profile, src.descriptions
    rows, cols = (
        np.pad(np.arange(n), (0, max(0, side - n)), mode="reflect")[:side] for n in pixels.shape[1:]
    )
    profile.update(width=side, height=side, tiled=True, blockxsize=512, blockysize=512, compress="deflate")
    with rasterio.open(path, "w", **profile) as dst:
        for top in range(0, side, 512):
            strip = pixels[:, rows[top : top + 512]][:, :, cols]
            dst.write(strip, window=rasterio.windows.Window(0, top, side, strip.shape[1]))
        dst.descriptions = names
    return path


def end_to_end(path: Path) -> dict[str, float]:
    """`isamap infer` on a raster, and within it nothing but the forward passes."""
    from isamap.core.infer import raster_job
    from isamap.core.mapping import Mapper, Options
    from isamap.io.raster import SceneInput

    mapper = Mapper(Options(window_px=WINDOW, overwrite=True))
    forwards = timed(mapper.predictor, "probabilities")
    with tempfile.TemporaryDirectory() as out:
        job = raster_job(SceneInput((path,)), Path(out))
        clock = Clock()
        mapper.map(job)
        return clock.read() | {"forward": sum(forwards)}


def forward_only(path: Path) -> dict[str, float]:
    """The forward passes of the same windows and nothing else."""
    from isamap.core.mapping import Mapper, Options, batches
    from isamap.io.raster import SceneInput, open_scene

    predictor = Mapper(Options(window_px=WINDOW)).predictor
    clock = Clock()
    seconds = cpu = 0.0
    with open_scene(SceneInput((path,)), predictor.card.network.bands) as scene:
        for (window,) in batches(tuple(scene.geobox.shape), WINDOW, 1):
            lr, valid = scene.read(window, predictor.halo_px)
            clock = Clock()
            predictor.probabilities(lr[None], valid[None])
            seconds, cpu = seconds + clock.read()["wall"], cpu + clock.read()["cpu"]
    return {"wall": seconds, "cpu": cpu}


def eager(path: Path) -> dict[str, float]:
    """The same weights as most would run them: float32, channels first, the allocator as it comes."""
    import torch

    from isamap.core.mapping import batches
    from isamap.io.raster import SceneInput, open_scene
    from isamap.model.checkpoint import find, load
    from isamap.model.settling import halo_of, settle

    card, network = load(find("fast"))
    halo = halo_of(network)
    seconds = cpu = 0.0
    with open_scene(SceneInput((path,)), card.network.bands) as scene, torch.inference_mode():
        for (window,) in batches(tuple(scene.geobox.shape), WINDOW, 1):
            lr, valid = (torch.from_numpy(a)[None] for a in scene.read(window, halo))
            x = card.network.prepare(lr, valid[:, None].expand_as(lr))
            clock = Clock()
            settle(torch.sigmoid(network.isa(network.refine(network.at_10m(x))))[:, 0], card.network.scale)
            seconds, cpu = seconds + clock.read()["wall"], cpu + clock.read()["cpu"]
    return {"wall": seconds, "cpu": cpu}


class Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {"wall": time.perf_counter() - self.start[0], "cpu": time.process_time() - self.start[1]}


def timed(owner: object, name: str) -> list[float]:
    """Seconds of every call of a method from now on."""
    seconds: list[float] = []
    method = getattr(owner, name)

    def call(*args: object) -> object:
        start = time.perf_counter()
        try:
            return method(*args)
        finally:
            seconds.append(time.perf_counter() - start)

    setattr(owner, name, call)
    return seconds


MEASURES: dict[str, Callable[[Path], dict[str, float]]] = {
    "end_to_end": end_to_end,
    "forward_only": forward_only,
    "eager": eager,
    **{way: partial(encode.measured, way) for way in ("isamap", "unchecked", "driver", "rio_cogeo")},
}


def measure(name: str, path: Path) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, __file__, "--child", name, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def child(name: str, path: Path) -> None:
    """Measure here and print the figures with the peak memory."""
    figures = MEASURES[name](path)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(figures | {"peak_mb": peak}))


def speed(folder: Path, side: int, rounds: int) -> Iterator[str]:
    """End to end against the forward pass, and the fast path against eager float32."""
    large, small = raster(folder / "large.tif", side), raster(folder / "small.tif", WINDOW)
    ends, alone, fast, slow = [], [], [], []
    for _ in range(rounds):
        ends.append(measure("end_to_end", large))
        alone.append(measure("forward_only", large))
        fast.append(measure("forward_only", small))
        slow.append(measure("eager", small))
    pick = lambda rows, key: [row[key] for row in rows]  # noqa: E731  # one word for a column
    yield "| ratio | goal | median | range |"
    yield "|---|---|---|---|"
    yield f"| pure forward / end to end, CPU seconds | >= 0.90 | {tables.ratio(pick(alone, 'cpu'), pick(ends, 'cpu'))} |"
    yield f"| forward within the run / run, wall | >= 0.90 | {tables.ratio(pick(ends, 'forward'), pick(ends, 'wall'))} |"
    yield f"| eager float32 / fast path, wall | >= 3 | {tables.ratio(pick(slow, 'wall'), pick(fast, 'wall'))} |"
    rate = statistics.median(side * side / 1e6 / row["wall"] for row in ends)
    yield f"\nInput {side} x {side} px, {rounds} rounds; here and now {rate * 100:.1f} km2 of map per second end to end."


def memory(folder: Path, sides: list[int]) -> Iterator[str]:
    """Peak memory against the size of the raster."""
    peaks = []
    yield "\n| input | peak memory, MB |"
    yield "|---|---|"
    for side in sides:
        path = raster(folder / f"memory-{side}.tif", side)
        peaks.append(measure("end_to_end", path)["peak_mb"])
        path.unlink()
        yield f"| {side} x {side} px | {peaks[-1]:.0f} |"
    yield f"\nRatio {peaks[-1] / peaks[0]:.3f} (goal <= 1.10), largest {max(peaks):.0f} MB (goal <= 1500)."


def main() -> None:
    """Run the benches, print and keep their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--memory", type=int, nargs="*", default=[2048, 8192])
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]))
        return
    lines = [tables.machine() + "\n"]
    print(lines[0], flush=True)
    with tempfile.TemporaryDirectory() as folder:
        parts = (
            speed(Path(folder), args.side, args.rounds),
            encode.table(SCENE, Path(folder), args.rounds, measure),
            memory(Path(folder), args.memory),
        )
        for part in parts:
            for line in part:
                print(line, flush=True)
                lines.append(line)
    if args.write:
        tables.keep(args.write, "infer", lines)


if __name__ == "__main__":
    main()
