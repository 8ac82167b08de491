"""`make bench`: speed and memory of `isamap infer`, as ratios measured side by side in one run.

Every measurement runs in a process of its own, in interleaved rounds; medians and spreads are reported.
Absolute times depend on the machine and its neighbours, ratios hardly do.

    python tests/bench/speed.py [--rounds 3] [--side 2048] [--memory 2048 8192] [--write docs/benchmarks.md]
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import apart
import encode
import numpy as np
import rasterio
import tables

SCENE = Path("examples/chongqing/chongqing-20180402-10m.tif")
WINDOW = 512
REPEATS = 5
"""Of what is too short to be measured once."""
CHANNELS = 64, 96, 128
"""Of the single convolutions that a forward pass is held against."""


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


def end_to_end(path: Path, weights: Path) -> apart.Figures:
    """`isamap infer` on a raster."""
    from isamap.core.infer import raster_job
    from isamap.io.raster import SceneInput

    mapper = loaded(weights)
    with tempfile.TemporaryDirectory() as out:
        job = raster_job(SceneInput((path,)), Path(out))
        clock = apart.Clock()
        mapper.map(job)
        return clock.read()


def loaded(weights: Path) -> Any:
    """A mapper with a model."""
    from isamap.core.map_job import Options  # isort: skip  # before torch, as the command does
    from isamap.core.mapping import Mapper  # isort: skip  # before torch, as the command does

    import networks  # noqa: F401  # knows the stress model

    return Mapper(Options(model=str(weights), window_px=WINDOW, overwrite=True))


def forward_only(path: Path, weights: Path) -> apart.Figures:
    """The forward passes of the same windows and nothing else."""
    predictor = loaded(weights).predictor
    clocks = []
    for lr, valid in windows(path, predictor.card.network.bands, predictor.halo_px):
        clock = apart.Clock()
        _forward(predictor, lr, valid)
        clocks.append(clock.read())
    return {key: sum(clock[key] for clock in clocks) for key in ("wall", "cpu")}


def _forward(predictor: Any, lr: Any, valid: Any) -> None:
    """Probabilities of a window, strip by strip as they are made; none is kept."""
    for _ in predictor.strips(lr, valid):
        pass


def eager(path: Path, weights: Path) -> apart.Figures:
    """The same weights as most would run them: float32, channels first, the allocator as it comes."""
    import torch
    from networks import Eager

    model = Eager(weights)
    clocks = []
    for lr, valid in windows(path, model.config.bands, model.halo_px):
        pixels, present = torch.from_numpy(lr), torch.from_numpy(valid)
        x = model.config.prepare(pixels, present[:, None].expand_as(pixels))
        clock = apart.Clock()
        model.probability(x)
        clocks.append(clock.read())
    return {key: sum(clock[key] for clock in clocks) for key in ("wall", "cpu")}


def windows(
    path: Path, bands: tuple[str, ...], halo_px: int
) -> Iterator[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Reflectance and validity of every window of a raster, each a batch of one."""
    from isamap.domain.panels import batches
    from isamap.io.raster import SceneInput, open_scene

    with open_scene(SceneInput((path,)), bands) as scene:
        for (window,) in batches(tuple(scene.geobox.shape), WINDOW, 1, scene.panel_px):
            lr, valid = scene.read(window, halo_px)
            yield lr[None], valid[None]


def convolution(path: Path, weights: Path) -> apart.Figures:
    """Arithmetic per CPU second of the forward pass, and of the convolution that gets most out of the processor.

    Single convolutions run on as many pixels as the forward pass, in turn with it; medians count.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from isamap.model.networks import layers

    predictor = loaded(weights).predictor
    lr, valid = next(windows(path, predictor.card.network.bands, predictor.halo_px))
    work: dict[str, Callable[[], object]] = {"forward": partial(_forward, predictor, lr, valid)}
    for channels in CHANNELS:
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(predictor.dtype)
        x = torch.randn(1, channels, *lr.shape[-2:]).to(predictor.dtype)
        layer, x = (one.to(memory_format=torch.channels_last) for one in (layer, x))
        work[str(channels)] = partial(layer, x)
    flops, seconds = {}, defaultdict(list)
    with torch.inference_mode():
        for name, run in work.items():
            with mock.patch.object(layers, "LANES", 1), FlopCounterMode(display=False) as counter:
                run()  # without the zeros of `ThinConv`
            flops[name] = counter.get_total_flops()
        for _ in range(REPEATS):
            for name, run in work.items():
                clock = apart.Clock()
                run()
                seconds[name].append(clock.read()["cpu"])
    forward, *single = (flops[name] / statistics.median(each) for name, each in seconds.items())
    return {"forward": forward, "best": max(single)}


def reading(path: Path, _: Path) -> apart.Figures:
    """CPU seconds to read a raster in windows with a halo, and block by block; and to make reflectance of the windows."""
    from isamap.domain.panels import batches
    from isamap.io import raster as imagery
    from isamap.io.layers import LayerFile

    bands, halo = ("B02", "B03", "B04", "B08"), 32
    whole: list[float] = []
    with imagery.open_scene(imagery.SceneInput((path,)), bands) as scene:
        decoding = timed(LayerFile, "_pick", time.thread_time)
        for (window,) in batches(tuple(scene.geobox.shape), WINDOW, 1, scene.panel_px):
            start = time.thread_time()
            scene.read(window, halo)
            whole.append(time.thread_time() - start)
    with rasterio.Env(**imagery.GDAL_ENV), rasterio.open(path, driver="GTiff") as src:
        start = time.thread_time()
        for _, window in src.block_windows(1):
            src.read(window=window)
        return {"blocks": time.thread_time() - start, "windows": sum(decoding), "reflectance": sum(whole)}


def timed(owner: object, name: str, clock: Callable[[], float] = time.perf_counter) -> list[float]:
    """Seconds of every call of a method from now on."""
    seconds: list[float] = []
    method = getattr(owner, name)

    def call(*args: object) -> object:
        start = clock()
        try:
            return method(*args)
        finally:
            seconds.append(clock() - start)

    setattr(owner, name, call)
    return seconds


MEASURES: dict[str, Callable[..., apart.Figures]] = {
    "end_to_end": end_to_end,
    "forward_only": forward_only,
    "eager": eager,
    "convolution": convolution,
    "reading": reading,
    **{way: partial(encode.measured, way) for way in ("isamap", "unchecked", "driver", "rio_cogeo")},
}

measure = partial(apart.measure, __file__)
"""A measure's name and its arguments to figures."""


def speed(folder: Path, side: int, count: int) -> Iterator[str]:
    """End to end against the forward pass, and the fast path against eager float32, for `fast` and the stress model."""
    import networks

    from isamap.model.checkpoint import find

    large, small = raster(folder / "large.tif", side), raster(folder / "small.tif", WINDOW)
    yield "| ratio | goal | `fast` | range | goal | stress model | range |"
    yield "|---|---|---|---|---|---|---|"
    found = [
        rounds(large, small, weights, count) for weights in (find("fast"), networks.stress(folder, SCENE))
    ]
    rows = [
        (
            "pure forward / end to end, CPU seconds",
            (">= 0.93", ">= 0.75"),
            "forward_only",
            "end_to_end",
            "cpu",
        ),
        ("pure forward / end to end, wall", (">= 0.93", ">= 0.75"), "forward_only", "end_to_end", "wall"),
        ("eager float32 / fast path, wall", (">= 3", ">= 6"), "eager", "fast", "wall"),
        ("eager float32 / fast path, CPU seconds", ("", ""), "eager", "fast", "cpu"),
    ]
    for name, goals, over, under, key in rows:
        yield f"| {name} | {cells(found, goals, (over, key), (under, key))} |"
    share = cells(found, (">= 0.75", ""), ("convolution", "forward"), ("convolution", "best"))
    yield f"| arithmetic of the forward pass / of the best convolution | {share} |"
    read = [measure("reading", large, large) for _ in range(count)]
    for name, goal, key in (
        ("block by block / in windows with a halo, decoding", ">= 0.75", "windows"),
        ("the same, windows made reflectance and checked", "", "reflectance"),
    ):
        ratio = tables.ratio([one["blocks"] for one in read], [one[key] for one in read])
        yield f"| reading {name} | {goal} | {ratio} | | | |"
    rate = statistics.median(side * side / 1e6 / one["wall"] for one in found[0]["end_to_end"])
    yield f"\nInput {side} x {side} px, {count} rounds; here and now {rate * 100:.1f} km2 of map per second end to end."


def rounds(large: Path, small: Path, weights: Path, count: int) -> dict[str, list[apart.Figures]]:
    """Figures of every measure of one model, interleaved."""
    found: dict[str, list[apart.Figures]] = {}
    for _ in range(count):
        for name, measured, path in (
            ("end_to_end", "end_to_end", large),
            ("forward_only", "forward_only", large),
            ("fast", "forward_only", small),
            ("eager", "eager", small),
            ("convolution", "convolution", small),
        ):
            found.setdefault(name, []).append(measure(measured, path, weights))
    return found


def cells(
    found: list[dict[str, list[apart.Figures]]],
    goals: tuple[str, str],
    over: tuple[str, str],
    under: tuple[str, str],
) -> str:
    """Goal, median and range of a ratio for every model; `over` and `under` name a measure and its figure."""
    texts = []
    for goal, ways in zip(goals, found, strict=True):
        columns = [[one[key] for one in ways[name]] for name, key in (over, under)]
        texts.append(f"{goal} | {tables.ratio(*columns)}")
    return " | ".join(texts)


def memory(folder: Path, sides: list[int], count: int) -> Iterator[str]:
    """Peak memory against the size of the raster, with the stress model: medians, for a peak scatters by a tenth."""
    import networks

    weights, medians = networks.stress(folder, SCENE), []
    yield "\n| input, stress model | peak memory, MB | range |"
    yield "|---|---|---|"
    for side in sides:
        path = raster(folder / f"memory-{side}.tif", side)
        peaks = [measure("end_to_end", path, weights)["peak_mb"] for _ in range(count)]
        path.unlink()
        medians.append(statistics.median(peaks))
        yield f"| {side} x {side} px | {medians[-1]:.0f} | {min(peaks):.0f}-{max(peaks):.0f} |"
    if medians:
        ratio = medians[-1] / medians[0]
        yield f"\nRatio {ratio:.3f} (goal <= 1.10), largest {max(medians):.0f} MB (goal <= 1500)."


def main() -> None:
    """Run the benches, print and keep their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--memory", type=int, nargs="*", default=[2048, 8192])
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    if args.child:
        apart.child(MEASURES, args.child)
        return
    lines = [tables.machine() + "\n"]
    print(lines[0], flush=True)
    with tempfile.TemporaryDirectory() as folder:
        parts = (
            speed(Path(folder), args.side, args.rounds),
            encode.table(SCENE, Path(folder), args.rounds, measure),
            memory(Path(folder), args.memory, args.rounds),
        )
        for part in parts:
            for line in part:
                print(line, flush=True)
                lines.append(line)
    if args.write:
        tables.keep(args.write, "infer", lines)


if __name__ == "__main__":
    main()
