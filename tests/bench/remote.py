"""How fast a tile's scenes are read from a server, with and without latency, beside odc-stac, and in how much memory.

    PYTHONPATH=.:tests python tests/bench/remote.py [--scenes 12] [--runs 5] [--place chongqing | --bundled] [--granule]

The server is another process on loopback; every run asks for addresses that nobody asked for before, so no reader
finds anything in a cache. Figures are medians; ratios are what counts, as machines differ.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import apart
import numpy as np

from isamap.domain.grid import MARGIN_PX, Tile
from isamap.domain.scenes import SceneItem, scene_of
from isamap.domain.sources import BANDS, SCL, Source, source_of
from isamap.io.remote import ScenePixels

C1 = "sentinel-2-c1-l2a"
_run = count()


@contextmanager
def server(folder: Path, latency_s: float) -> Iterator[str]:
    """Address of a range server in another process."""
    command = [sys.executable, __file__, "--serve", str(folder), "--latency", str(latency_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait()


def serve(folder: Path, latency_s: float) -> None:
    """Serve until standard input ends."""
    from scenery.servers import RangeServer

    with RangeServer(folder, latency_s=latency_s) as running:
        print(running.url, flush=True)
        sys.stdin.read()


def fresh(items: list[dict[str, Any]], url: str, times: int = 1) -> list[dict[str, Any]]:
    """The items with addresses that were never asked for."""
    text = json.dumps(items).replace("ROOT", url)
    copies = []
    for _ in range(times):
        copies += json.loads(text.replace('.tif"', f'.tif?run={next(_run)}"'))
    for number, item in enumerate(copies):
        item["id"] = f"{item['id']}-{number:03d}"
    return copies


def source(url: str) -> Source:
    """The server's row."""
    return replace(source_of("https://stac.example.org/v1"), hosts=(url.removeprefix("http://"),))


def ours(items: list[dict[str, Any]], url: str, tile: Tile) -> dict[str, np.ndarray]:
    """Arrays (n, y, x) by band."""
    row = source(url)
    scenes = sorted((scene_of(item, row) for item in items), key=lambda scene: scene.order)
    with ScenePixels([row]) as pixels:
        looks = list(pixels.looks(scenes, tile.geobox(10, MARGIN_PX)))
    return {band: np.stack([look.dn[k] for look in looks]) for k, band in enumerate(BANDS)} | {
        SCL: np.stack([look.scl for look in looks])
    }


def timed_ours(items: list[dict[str, Any]], url: str, tile: Tile) -> float:
    """Seconds of the reading alone."""
    row = source(url)
    scenes = [scene_of(item, row) for item in items]
    began = time.perf_counter()
    with ScenePixels([row]) as pixels:
        for _ in pixels.looks(scenes, tile.geobox(10, MARGIN_PX)):
            pass
    return time.perf_counter() - began


NAMES = dict(zip((*BANDS, SCL), ("blue", "green", "red", "nir", "swir16", "swir22", "scl"), strict=True))


def theirs(items: list[dict[str, Any]], tile: Tile, threads: int = 16) -> Any:
    """odc-stac's load of the same windows with as many threads as we have connections, and its settings for the cloud."""
    import odc.stac
    import pystac

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [pystac.Item.from_dict(item) for item in items]
        return odc.stac.load(
            found,
            bands=list(NAMES.values()),
            geobox=tile.geobox(10, MARGIN_PX),
            groupby="id",
            resampling="nearest",
            pool=threads,
            fail_on_error=True,
        )


def timed_theirs(items: list[dict[str, Any]], _: str, tile: Tile) -> float:
    """Seconds of its reading."""
    began = time.perf_counter()
    theirs(items, tile)
    return time.perf_counter() - began


def rounds(
    runs: int, items: list[dict[str, Any]], url: str, tile: Tile, *reads: Callable[..., float]
) -> list[list[float]]:
    """Seconds of each reader in each round, in turn so that all see the same load."""
    times: list[list[float]] = [[] for _ in reads]
    for _ in range(runs):
        for own, read in zip(times, reads, strict=True):
            own.append(read(fresh(items, url), url, tile))
    return times


def memory(folder: Path, scenes: int) -> None:
    """Peak memory of reading so many scenes into one stack, printed by a process of its own."""
    kept = json.loads((folder / "bench.json").read_text())
    items, tile = kept["items"], Tile.parse(kept["tile"])
    with server(folder, 0.0) as url:
        row = source(url)
        copies = fresh(items, url, -(-scenes // len(items)))[:scenes]
        wanted: list[SceneItem] = [scene_of(item, row) for item in copies]
        geobox = tile.geobox(10, MARGIN_PX)
        before = apart.peak_mb()
        dn = np.zeros((scenes, len(BANDS), *geobox.shape), np.uint16)
        scl = np.zeros((scenes, *geobox.shape), np.uint8)
        with ScenePixels([row]) as pixels:
            for index, look in enumerate(pixels.looks(wanted, geobox)):
                dn[index], scl[index] = look.dn, look.scl
        peak = apart.peak_mb()
    print(
        f"{scenes} scenes: peak {peak} MB, of which stack {(dn.nbytes + scl.nbytes) >> 20} MB, "
        f"libraries {before} MB"
    )


def granule(folder: Path, items: list[dict[str, Any]], tile: Tile) -> list[dict[str, Any]]:
    """The first scene as files of a whole granule (10 980 pixels, blocks of 1024), its pixels repeated; each item has it.

    Windows of such files are rows of blocks far from each other, as in the real archives.
    """
    import rasterio
    from rasterio.shutil import copy

    (folder / "granule").mkdir()
    moved = json.loads(json.dumps(items[:1]))[0]
    for asset in (moved["assets"][name] for name in NAMES.values()):
        small = folder / asset["href"].removeprefix("ROOT/")
        with rasterio.open(small) as src:
            values, profile = src.read(1), src.profile
        size = round(109_800 / profile["transform"].a)
        values = np.tile(values, (-(-size // values.shape[0]), -(-size // values.shape[1])))[:size, :size]
        left, top = tile.geobox().boundingbox.left - 50_400, tile.geobox().boundingbox.top + 50_400
        left, top = (
            left // 60 * 60 + profile["transform"].c % 60,
            top // 60 * 60 + profile["transform"].f % 60,
        )
        gsd = profile["transform"].a
        profile |= {"height": size, "width": size, "transform": rasterio.Affine(gsd, 0, left, 0, -gsd, top)}
        with rasterio.MemoryFile() as held:
            with held.open(**{**profile, "driver": "GTiff", "compress": None}) as dst:
                dst.write(values, 1)
            with held.open() as src:
                options = {
                    "BLOCKSIZE": 1024,
                    "COMPRESS": "DEFLATE",
                    "PREDICTOR": 2,
                    "LEVEL": 1,
                    "NUM_THREADS": 2,
                }
                copy(src, folder / "granule" / small.name, driver="COG", OVERVIEWS="NONE", **options)
        asset["href"] = f"ROOT/granule/{small.name}"
        for name in ("proj:shape", "proj:transform"):
            asset.pop(name, None)
    return [{**json.loads(json.dumps(item)), "assets": moved["assets"]} for item in items]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--place", default="chongqing")
    parser.add_argument("--bundled", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--granule", action="store_true", help="files of whole granules: 1 GB, some minutes")
    parser.add_argument("--serve", type=Path)
    parser.add_argument("--memory", type=int)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.latency)
        return
    if options.memory:
        memory(options.folder, options.memory)
        return
    from scenery.ground import bundled, ground
    from scenery.scenes import make_scenes, year_of_looks

    place = bundled("main") if options.bundled else ground(options.place, 1, "main")
    looks = year_of_looks(2021, options.scenes, cloudy=0.6, cover=0.5, seed=0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        made = make_scenes(folder, place, looks, shapes=(C1,), real_weather=not options.bundled)
        items, tile = made.items(C1, "ROOT"), made.tile
        if options.granule:
            items = granule(folder, items, tile)
        (folder / "bench.json").write_text(json.dumps({"items": items, "tile": str(tile)}))
        compare(folder, items, tile, options)
        subprocess.run([sys.executable, __file__, "--memory", "60", "--folder", folder], check=True)


def compare(folder: Path, items: list[dict[str, Any]], tile: Tile, options: argparse.Namespace) -> None:
    """Both readers, with and without latency."""
    import odc.stac

    odc.stac.configure_rio(cloud_defaults=True)
    results = {}
    for latency_s in (0.0, options.latency):
        with server(folder, latency_s) as url:
            one, other = ours(fresh(items, url), url, tile), theirs(fresh(items, url), tile)
            for band, name in NAMES.items():
                assert np.array_equal(one[band], other[name].to_numpy()), f"{band} differs"
            own, peer = rounds(options.runs, items, url, tile, timed_ours, timed_theirs)
            results[latency_s] = median(own), median(peer)
            ratio = median(b / a for a, b in zip(own, peer, strict=True))
            print(
                f"latency {latency_s * 1000:.0f} ms: isamap {median(own):.2f} s, odc-stac {median(peer):.2f} s "
                f"(median ratio {ratio:.2f}), {len(items)} scenes x {len(NAMES)} assets"
            )
    quiet, slow = results[0.0], results[options.latency]
    print(f"with latency / without: isamap {slow[0] / quiet[0]:.2f}, odc-stac {slow[1] / quiet[1]:.2f}")


if __name__ == "__main__":
    main()
