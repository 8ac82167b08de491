"""What it costs to write a map as a COG: isamap's writer, GDAL's COG driver and rio-cogeo, on the same pixels."""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
import tables
from affine import Affine
from odc.geo.geobox import GeoBox

from isamap.domain.grid import windows
from isamap.domain.product import CLASSES, PROBABILITY, Layer

SIDE = 10_240
BOX = GeoBox((SIDE, SIDE), Affine(1, 0, 600_000, 0, -1, 3_400_000), "EPSG:32650")
OPTIONS = {"COMPRESS": "ZSTD", "LEVEL": 1, "BLOCKSIZE": 512, "NUM_THREADS": 1}
LAYERS = {layer.key: layer for layer in (CLASSES, PROBABILITY)}


def rasters(scene: Path, folder: Path) -> dict[str, Path]:
    """Both rasters of a real map, mirrored to the size of a tile, as arrays on disk."""
    from isamap.core.infer import raster_job
    from isamap.core.map_job import Options
    from isamap.core.mapping import Mapper
    from isamap.io.raster import SceneInput

    made = Mapper(Options(probability=True)).map(raster_job(SceneInput((scene,)), folder / "map"))
    found = {}
    for layer in LAYERS.values():
        with rasterio.open(next(p for p in made.paths if p.name.endswith("isa" + layer.suffix))) as src:
            values = src.read(1)
        rows, cols = (
            np.pad(np.arange(n), (0, max(0, SIDE - n)), mode="reflect")[:SIDE] for n in values.shape
        )
        found[layer.key] = folder / f"{layer.key}.npy"
        np.save(
            found[layer.key], np.ascontiguousarray(values[rows][:, cols])
        )  # row by row, as a pipeline has it
    return found


def written(values: np.ndarray, layer: Layer, path: Path) -> None:
    """In windows as the pipeline gives them, read back and checked."""
    from isamap.io.cog import CogWriter

    with CogWriter(path, BOX, layer, {}) as cog:
        for window in windows(values.shape, SIDE // 2):
            cog.write(window, values[window.slices])


def unchecked(values: np.ndarray, layer: Layer, path: Path) -> None:
    """The same, encoding alone."""
    from isamap.io import cog

    cog.verify = lambda *_: None
    written(values, layer, path)


def driver(values: np.ndarray, layer: Layer, path: Path) -> None:
    """GDAL's COG driver, from memory, one thread, the same codec and kind of overviews."""
    address = values.__array_interface__["data"][0]
    name = f"MEM:::DATAPOINTER={address},PIXELS={SIDE},LINES={SIDE},DATATYPE=Byte"
    with rasterio.Env(GDAL_MEM_ENABLE_OPEN="YES", GDAL_PAM_ENABLED="NO"), rasterio.open(name, "r+") as src:
        src.nodata, src.transform, src.crs = 255, BOX.transform, "EPSG:32650"
        rasterio.shutil.copy(src, path, driver="COG", OVERVIEW_RESAMPLING=layer.overview, **OPTIONS)


def rio_cogeo(source: Path, path: Path) -> None:
    """rio-cogeo as it comes (deflate, nearest overviews), from a tiled GeoTIFF."""
    from rio_cogeo.cogeo import cog_translate
    from rio_cogeo.profiles import cog_profiles

    cog_translate(str(source), str(path), cog_profiles.get("deflate"), quiet=True)


def tiled(values: np.ndarray, path: Path) -> Path:
    """The pixels as a plain tiled GeoTIFF."""
    place = {"transform": BOX.transform, "crs": "EPSG:32650", "nodata": 255}
    shape = {"height": SIDE, "width": SIDE, "count": 1, "dtype": "uint8"}
    blocks = {"tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(path, "w", driver="GTiff", **shape, **place, **blocks) as dst:
        dst.write(values, 1)
    return path


def measured(way: str, array: Path) -> dict[str, float]:
    """CPU seconds and size of one way to write one raster; the allocator as the pipeline sets it."""
    import isamap.io.cog  # noqa: F401  # imports are not part of it
    from isamap.engine.pages import keep_pages

    keep_pages()
    layer, path, values = LAYERS[array.stem], array.with_suffix(f".{way}.tif"), np.load(array)
    work: Callable[[], None]
    if way == "rio_cogeo":
        source = tiled(values, array.with_suffix(".source.tif"))
        work = lambda: rio_cogeo(source, path)  # noqa: E731
    else:
        work = lambda: {"isamap": written, "unchecked": unchecked, "driver": driver}[way](values, layer, path)  # noqa: E731
    work()  # a run writes one tile after the other: what the first one costs more is not looked at
    start = time.process_time()
    work()
    return {"cpu": time.process_time() - start, "mb": path.stat().st_size / 1e6}


def table(
    scene: Path, folder: Path, rounds: int, measure: Callable[[str, Path], dict[str, float]]
) -> Iterator[str]:
    """Ratios of CPU seconds and sizes, interleaved.

    Args:
        scene: to be mapped for the pixels.
        folder: for files that may go.
        rounds: repetitions.
        measure: way and array to figures, in a process of its own.
    """
    yield "\n| COG of 10 240 x 10 240 px | goal | classes | range | probability | range |"
    yield "|---|---|---|---|---|---|"
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for key, array in rasters(scene, folder).items():
        ways: dict[str, list[dict[str, float]]] = {}
        for _ in range(rounds):
            for way in ("isamap", "unchecked", "driver", "rio_cogeo"):
                ways.setdefault(way, []).append(measure(way, array))
        found[key] = ways
    rows = [
        ("writing / COG driver, CPU seconds", "<= 0.40", "unchecked", "driver", "cpu"),
        ("the same with reading back and checking", "", "isamap", "driver", "cpu"),
        ("writing / rio-cogeo as it comes, CPU seconds", "<= 0.15", "unchecked", "rio_cogeo", "cpu"),
        ("size / COG driver", "<= 1.05", "isamap", "driver", "mb"),
    ]
    for name, goal, over, under, what in rows:
        cells = [
            tables.ratio([one[what] for one in ways[over]], [one[what] for one in ways[under]])
            for ways in found.values()
        ]
        yield f"| {name} | {goal} | {' | '.join(cells)} |"
    for key, ways in found.items():
        cpu = statistics.median(one["cpu"] for one in ways["unchecked"])
        yield f"\n{LAYERS[key].key}: {cpu:.2f} CPU seconds, {ways['isamap'][0]['mb']:.1f} MB here and now."
