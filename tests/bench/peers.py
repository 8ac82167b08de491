"""`isamap infer` beside three ways in which maps are made without it, on the same raster and weights.

The ways are written here from what the documentation of rasterio, rio-cogeo, torchgeo and terratorch describes: a loop
over windows; a grid sampler and a data loader; windows that are blended in arrays of the whole raster. Each runs the
network as most would (`networks.Eager`), with all cores and without gradients, and makes the class map.
Every run is a process of its own, in interleaved rounds.

    python tests/bench/peers.py [--rounds 3] [--side 1024] [--memory 2048 3072] [--write docs/benchmarks.md]
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apart
import numpy as np
import rasterio
import speed
import tables
from numpy.typing import NDArray
from rasterio.windows import Window

NODATA = 255
STEP = 256
"""Side of what is kept of a window, in input pixels: whole-window float32 features of more do not pay on a CPU."""
BATCH = 1
"""Of the data loader. More is slower on a CPU: 4 patches took 1.2 times as long."""
PEERS = {
    "loop": "rasterio loop, then rio-cogeo",
    "sampler": "grid sampler, data loader, stitched",
    "accumulator": "blended in whole-raster sums",
}


def isamap(path: Path, weights: Path, out: Path) -> apart.Figures:
    """The pipeline of `isamap infer`, with picture, item and everything."""
    from isamap.core.map_job import Options  # isort: skip  # before torch, as the command does
    from isamap.core.mapping import Mapper  # isort: skip  # before torch, as the command does

    import networks  # noqa: F401  # knows the stress model

    from isamap.core.infer import raster_job
    from isamap.io.raster import SceneInput

    mapper = Mapper(Options(model=str(weights), overwrite=True))
    clock = apart.Clock()
    made = mapper.map(raster_job(SceneInput((path,)), out.parent))
    figures = clock.read()
    made.paths[0].rename(out)
    return figures


def loop(path: Path, weights: Path, out: Path) -> apart.Figures:
    """Windows with an overlap, read and written one after the other; then a COG is made of the file."""
    from networks import Eager
    from rio_cogeo.cogeo import cog_translate
    from rio_cogeo.profiles import cog_profiles

    model, draft = Eager(weights), out.with_suffix(".draft.tif")
    clock = apart.Clock()
    with rasterio.open(path) as src, rasterio.open(draft, "w", **profile(src)) as dst:
        for row, col in corners(src.shape):
            dn, inner = patch(src, row, col, model.halo_px)
            classes = decided(model, dn[None])[0]
            height, width = (10 * side for side in inner)
            area = Window(10 * col, 10 * row, width, height)
            dst.write(classes[:height, :width], 1, window=area)
    cog_translate(str(draft), str(out), cog_profiles.get("deflate"), quiet=True)
    return clock.read()


def sampler(path: Path, weights: Path, out: Path) -> apart.Figures:
    """A data set of patches on a grid, batched by a data loader; predictions fill an array of the whole raster."""
    from networks import Eager
    from torch.utils.data import DataLoader, Dataset

    model = Eager(weights)

    class Patches(Dataset[dict[str, Any]]):
        """Overlapping patches of one size; beyond the raster there is nothing."""

        def __init__(self, src: Any) -> None:
            self.src, self.corners = src, list(corners(src.shape))

        def __len__(self) -> int:
            return len(self.corners)

        def __getitem__(self, index: int) -> dict[str, Any]:
            row, col = self.corners[index]
            dn, _ = patch(self.src, row, col, model.halo_px, mirrored=False)
            return {"image": dn, "row": row, "col": col}

    clock = apart.Clock()
    with rasterio.open(path) as src:
        stitched = np.full([10 * side for side in src.shape], NODATA, np.uint8)
        for batch in DataLoader(Patches(src), batch_size=BATCH):
            for classes, row, col in zip(
                decided(model, batch["image"].numpy()),
                batch["row"].tolist(),
                batch["col"].tolist(),
                strict=True,
            ):
                part = stitched[10 * row : 10 * (row + STEP), 10 * col : 10 * (col + STEP)]
                part[:] = classes[: part.shape[0], : part.shape[1]]
        with rasterio.open(out, "w", **profile(src)) as dst:
            dst.write(stitched, 1)
    return clock.read()


def accumulator(path: Path, weights: Path, out: Path) -> apart.Figures:
    """The whole raster at once; probabilities of overlapping windows are summed with weights that fade to their rims."""
    from networks import Eager

    model = Eager(weights)
    clock = apart.Clock()
    with rasterio.open(path) as src:
        rim, settings = model.halo_px, profile(src)
        grow = [(rim, rim + -side % STEP) for side in src.shape]
        dn = np.pad(src.read(), ((0, 0), *grow), mode="reflect")
        shape = src.shape
    total = np.zeros([10 * side for side in dn.shape[1:]], np.float32)
    weight = np.zeros_like(total)
    side = 10 * (STEP + 2 * rim - 2)
    fade = np.sin(np.pi * (np.arange(side) + 0.5) / side).astype(np.float32) ** 2
    blend = fade[:, None] * fade
    for row, col in corners(shape):
        window = dn[None, :, row : row + STEP + 2 * rim, col : col + STEP + 2 * rim]
        at = slice(10 * (row + 1), 10 * (row + 1) + side), slice(10 * (col + 1), 10 * (col + 1) + side)
        total[at] += model.probability(model.prepare(window))[0].numpy() * blend
        weight[at] += blend
    core = tuple(slice(10 * rim, 10 * (rim + n)) for n in shape)
    classes = (total[core] / weight[core] >= model.card.settled(model.card.threshold)).astype(np.uint8)
    marked(classes, dn[:, rim : rim + shape[0], rim : rim + shape[1]])
    with rasterio.open(out, "w", **settings) as dst:
        dst.write(classes, 1)
    return clock.read()


def profile(src: Any) -> dict[str, Any]:
    """Of a class map at 1 m of an open raster."""
    return {
        "driver": "GTiff",
        "height": 10 * src.height,
        "width": 10 * src.width,
        "count": 1,
        "dtype": "uint8",
        "nodata": NODATA,
        "crs": src.crs,
        "transform": src.transform * src.transform.scale(0.1),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
    }


def corners(shape: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """First row and column of every step of a raster."""
    for row in range(0, shape[0], STEP):
        for col in range(0, shape[1], STEP):
            yield row, col


def patch(
    src: Any, row: int, col: int, rim: int, *, mirrored: bool = True
) -> tuple[NDArray[Any], tuple[int, int]]:
    """Values of a step with a rim, beyond the raster mirrored or 0; and how much of the step is inside."""
    top, left = max(0, row - rim), max(0, col - rim)
    bottom, right = min(src.height, row + STEP + rim), min(src.width, col + STEP + rim)
    dn = src.read(window=Window(left, top, right - left, bottom - top))
    missing = [
        (top - row + rim, row + STEP + rim - bottom),
        (left - col + rim, col + STEP + rim - right),
    ]
    grown = np.pad(dn, ((0, 0), *missing), mode="reflect" if mirrored else "constant")
    return grown, (min(STEP, src.height - row), min(STEP, src.width - col))


def decided(model: Any, dn: NDArray[Any]) -> NDArray[np.uint8]:
    """Classes `(n, Y, X)` of patches without their rims."""
    rim = model.halo_px
    cut = 10 * (rim - 1)
    fine = model.probability(model.prepare(dn))[:, cut:-cut, cut:-cut]
    classes: NDArray[np.uint8] = (fine >= model.card.settled(model.card.threshold)).numpy().astype(np.uint8)
    return marked(classes, dn[..., rim:-rim, rim:-rim])


def marked(classes: NDArray[np.uint8], dn: NDArray[Any]) -> NDArray[np.uint8]:
    """Classes `(..., Y, X)` with nodata where a band has nothing; `dn` is `(..., band, y, x)`."""
    nothing = (dn == 0).any(axis=-3)
    classes[nothing.repeat(10, axis=-2).repeat(10, axis=-1)] = NODATA
    return classes


WAYS = {"isamap": isamap, "loop": loop, "sampler": sampler, "accumulator": accumulator}


def agreement(ours: Path, other: Path) -> float:
    """Share of the pixels in percent to which both maps give one class."""
    same = 0
    with rasterio.open(ours) as first, rasterio.open(other) as second:
        for _, window in first.block_windows(1):
            same += np.count_nonzero(first.read(1, window=window) == second.read(1, window=window))
        return float(100 * same / (first.width * first.height))


def rounds(folder: Path, path: Path, weights: Path, count: int) -> dict[str, list[apart.Figures]]:
    """Figures of every way, interleaved; each with how far its map agrees with isamap's."""
    found: dict[str, list[apart.Figures]] = {way: [] for way in WAYS}
    for _ in range(count):
        for way in WAYS:
            out = folder / way / f"{path.stem}-{weights.stem}.tif"
            out.parent.mkdir(exist_ok=True)
            figures = apart.measure(__file__, way, path, weights, out)
            ours = folder / "isamap" / out.name
            found[way].append(figures | {"agreement": agreement(ours, out)})
    return found


def speeds(name: str, side: int, found: dict[str, list[apart.Figures]]) -> Iterator[str]:
    """How isamap compares with every peer and the best of them."""
    column = lambda way, key: [one[key] for one in found[way]]  # noqa: E731  # one word for a column
    yield f"\n| `{name}`, {side} x {side} px: isamap / | goal | wall | range | CPU | range | same class, % |"
    yield "|---|---|---|---|---|---|---|"
    for way, title in PEERS.items():
        cells = [tables.ratio(column("isamap", key), column(way, key)) for key in ("wall", "cpu")]
        yield f"| {title} | | {' | '.join(cells)} | {min(column(way, 'agreement')):.2f} |"
    best = {
        key: [min(one) for one in zip(*(column(way, key) for way in PEERS), strict=True)]
        for key in ("wall", "cpu")
    }
    cells = [tables.ratio(column("isamap", key), best[key]) for key in ("wall", "cpu")]
    yield f"| the best of them | <= 0.25 | {' | '.join(cells)} | |"


def memory(peaks: dict[str, list[float]], sides: list[int]) -> Iterator[str]:
    """Peak memory of every way against the size of the raster."""
    yield f"\n| peak memory, MB | {' | '.join(f'{side} x {side} px' for side in sides)} | ratio |"
    yield "|---" * (len(sides) + 2) + "|"
    for way, own in peaks.items():
        cells = " | ".join(f"{peak:.0f}" for peak in own)
        yield f"| {PEERS.get(way, way)} | {cells} | {own[-1] / own[0]:.2f} |"


def table(folder: Path, side: int, count: int, sides: list[int]) -> Iterator[str]:
    """Speed with `fast` and the stress model, memory with the latter."""
    import networks

    from isamap.model.checkpoint import find

    path = speed.raster(folder / f"side-{side}.tif", side)
    stress = networks.stress(folder, speed.SCENE)
    for weights in (find("fast"), stress):
        yield from speeds(weights.stem, side, rounds(folder, path, weights, count))
    peaks: dict[str, list[float]] = {way: [] for way in WAYS}
    for one in sides:
        source = speed.raster(folder / f"memory-{one}.tif", one)
        for way, found in rounds(folder, source, stress, 1).items():
            peaks[way].append(found[0]["peak_mb"])
    yield from memory(peaks, sides)


def main() -> None:
    """Run the bench, print and keep its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--memory", type=int, nargs="*", default=[2048, 3072])
    parser.add_argument("--write", type=Path)
    args = parser.parse_args()
    if args.child:
        apart.child(WAYS, args.child)
        return
    lines = [tables.machine()]
    print(lines[0], flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for line in table(Path(folder), args.side, args.rounds, args.memory):
            print(line, flush=True)
            lines.append(line)
    if args.write:
        tables.keep(args.write, "peers", lines)


if __name__ == "__main__":
    main()
