"""`make change-bench`: what `isamap change` says of ground whose change is known, and what it costs.

The maps are made here from the stored weights, so the figures are those of the weights that are shipped.

    python tests/bench/change.py --data ../shared/data [--only NAME ...] [--work DIR] [--write docs/change.md]
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import apart
import numpy as np
import rasterio
import tables
from affine import Affine
from odc.geo.geobox import GeoBox
from shifted import moved

from isamap.core.change import map_jobs
from isamap.core.change_checks import check_lineages
from isamap.core.differencing import Made, Options, make
from isamap.domain.accuracy import Confusion
from isamap.domain.change_tally import ALL
from isamap.domain.changes import CHANGE, GAIN, LOSS, REVERSAL, first_year_layer
from isamap.domain.grid import windows
from isamap.domain.product import CLASSES
from isamap.domain.registration import measure
from isamap.domain.share import ndvi, normalised_difference
from isamap.domain.transition import Chances
from isamap.errors import InputError
from isamap.io.cog import CogWriter

YEARS = (2017, 2019, 2021, 2023)
CITIES = {"beihai": (2016, 2018), "aguasclaras": (2015, 2017), "bordeaux": (2016, 2017)}
BOLD = Chances(gain=0.1, loss=0.05)
"""Rates of a city that is being built, for comparison with the defaults."""
NDVI_DROP, NDBI_RISE = 0.15, 0.10
"""The index baseline: greenness falls and built-up index rises by at least this."""
FLICKER = 0.03
REPEATS, GAIN_ERROR = 8, 0.03
"""Images made of one date, and how far calibration and noise are off in each."""
EVERY_YEAR, SHUFFLED = tuple(range(2016, 2024)), (2, 5, 0, 3, 6, 4, 1, 7)


def row(*cells: object) -> str:
    """A Markdown table row."""
    texts = [
        f"{c:.3f}"
        if isinstance(c, float) and abs(c) >= 0.01
        else f"{c:.2g}"
        if isinstance(c, float)
        else str(c)
        for c in cells
    ]
    return "| " + " | ".join(texts) + " |"


def head(*names: str) -> Iterator[str]:
    yield row(*names)
    yield row(*["---"] * len(names))


def pixels(path: Path) -> np.ndarray:
    with rasterio.open(path) as src:
        return src.read(1)


def image(path: Path) -> tuple[np.ndarray, dict, tuple[str, ...]]:
    """Reflectance with NaN for nodata, profile, band names."""
    with rasterio.open(path) as src:
        values = src.read().astype(np.float32)
        values[:, (values == 0).all(axis=0)] = np.nan
        return values, dict(src.profile), src.descriptions


def write_image(path: Path, values: np.ndarray, profile: dict, names: tuple[str, ...]) -> Path:
    stored = np.nan_to_num(np.clip(np.round(values), 1, 65535)).astype(np.uint16)
    stored[:, np.isnan(values).any(axis=0)] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile | {"count": len(values), "dtype": "uint16", "nodata": 0}) as dst:
        dst.write(stored)
        dst.descriptions = names
    return path


def mapped(path: Path, model: str) -> Path:
    """The class map of an image, with its probabilities."""
    from isamap.core.infer import raster_job, run
    from isamap.core.map_job import Options as MapOptions
    from isamap.io.raster import SceneInput

    job = raster_job(SceneInput((path,)), path.parent)
    run([job], MapOptions(model=model, probability=True, threads=1)).raise_for_failures()
    return path.parent / f"{job.target.stem}.tif"


def changed(
    maps: list[Path], years: tuple[int, ...], out: Path, **options: object
) -> tuple[Path, Path, Made]:
    """First-year and change raster of some maps, and the tile."""
    job = map_jobs([((path,), "isa") for path in maps], years, out)[0]
    made = make(Options(years, **options), job)
    stem = out / job.target.stem
    return Path(f"{stem}.first-year.tif"), Path(f"{stem}.change.tif"), made


def coarse(mask: np.ndarray) -> np.ndarray:
    """Whether at least half of each 10 m pixel."""
    height, width = (side // 10 for side in mask.shape)
    return mask[: height * 10, : width * 10].reshape(height, 10, width, 10).mean(axis=(1, 3)) >= 0.5


def scenario(args: argparse.Namespace) -> Iterator[str]:
    """Known growth on a real 1 m label, with flicker and a demolition."""
    yield "\n## Known truth: growth simulated on a real 1 m map\n"
    yield (
        "The 1 m label of Dubai (tile 8, 28 km2) is the last state; 30 % of its blocks of 100 m are built in 2019, 2021 "
        f"and 2023, a block of 200 m is demolished after 2019; each map has {FLICKER:.0%} of its pixels flipped at random.\n"
    )
    final = pixels(args.data / "dubai-aerial-1m" / "isa" / "tile-8.tif")
    final = final[: final.shape[0] // 100 * 100, : final.shape[1] // 100 * 100]
    rng, known = np.random.default_rng(1), final != 255
    born = np.kron(
        rng.choice(4, tuple(s // 100 for s in final.shape), p=(0.7, 0.1, 0.1, 0.1)), np.ones((100, 100))
    )
    truth = np.array([(final == 1) & (born <= t) for t in range(4)])
    blank = [
        (r, c)
        for r in range(0, final.shape[0] - 200, 100)
        for c in range(0, final.shape[1] - 200, 100)
        if not final[r : r + 200, c : c + 200].any()
    ]
    top, left = blank[len(blank) // 2]
    site = slice(top, top + 200), slice(left, left + 200)
    truth[:2, *site] = True
    first = np.where(truth.any(axis=0), truth.argmax(axis=0) + 1, 0)
    grid = GeoBox(final.shape, Affine(1, 0, 330000, 0, -1, 2780000), "EPSG:32640")
    maps = []
    for year, state in zip(YEARS, truth, strict=True):
        maps.append(args.work / "scenario" / f"{year}.tif")
        flipped = state ^ (rng.random(final.shape) < FLICKER)
        write_map(maps[-1], np.where(known, flipped, 255).astype(np.uint8), grid)
    yield from head(
        "reading",
        "first year right, all pixels",
        "grown by 2021",
        "grown",
        "demolition found",
        "false change",
    )
    grown = known & (first > 1)
    cases = {
        "raw": {"method": "raw", "min_area_m2": 0},
        "monotone": {"method": "monotone"},
        "Viterbi": {},
        "Viterbi, no smallest patch": {"min_area_m2": 0},
        "Viterbi, start share 0.5": {"chances": Chances(start=0.5)},
        "Viterbi, false alarm 0.03, miss 0.05": {"chances": Chances(false_alarm=0.03, miss=0.05)},
    }
    for name, options in cases.items():
        firsts, change, _ = changed(maps, YEARS, args.work / "scenario" / "out", **options)
        right, kinds = pixels(firsts) == first, pixels(change)
        false = np.isin(kinds, (GAIN, LOSS, REVERSAL)) & ~grown & known
        false[site] = False
        yield row(
            *(
                name,
                float(right[known].mean()),
                float(right[grown & (first < 4)].mean()),
                float(right[grown].mean()),
            ),
            *(float((kinds[site] == LOSS).mean()), float(false.sum() / known.sum())),
        )
    yield (
        "\nGround built in the last year is seen once: the defaults call it endpoint-only until another map confirms "
        "it; the last row shows rates that believe one look."
    )


def write_map(path: Path, values: np.ndarray, grid: GeoBox) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = values.shape[0], values.shape[1]
    with CogWriter(path, grid, CLASSES, {}) as writer:
        for window in windows(shape, 2560):
            writer.write(window, values[window.slices])


def quiet(args: argparse.Namespace) -> Iterator[str]:
    """Ground that does not change."""
    yield "\n## Ground that does not change\n"
    yield (
        "Two dates of one season in Austria (as they are, and brought onto each other), and one date mapped four and "
        f"eight times with calibration errors of {100 * GAIN_ERROR:g} % per band and pixel noise of {100 * GAIN_ERROR:g} %. All change is false.\n"
    )
    values, profile, _ = image(args.data / "s2-austria-ftw" / "s2-austria-two-dates.tif")
    names, folder = ("B04", "B03", "B02", "B08"), args.work / "austria"
    one, other = values[:4], values[4:]
    shift = measure(list(zip(one, other, strict=True)), 10)
    images = {"a": one, "b": other, "c": moved(other, shift.rows, shift.cols)}
    images |= {f"noisy{index}": seen for index, seen in enumerate(repeats(one))}
    maps = {}
    for name, seen in images.items():
        maps[name] = mapped(write_image(folder / f"{name}-10m.tif", seen, profile, names), args.model)
    noisy = [maps[f"noisy{index}"] for index in range(REPEATS)]
    yield from head("maps", "reading", "raw false change", "Viterbi false change", "ratio")
    yield from still("two dates", [maps["a"], maps["b"]], (2018, 2019), folder)
    yield from still("two dates, co-registered", [maps["a"], maps["c"]], (2018, 2019), folder)
    for title, count, years in (("four noisy maps of one date", 4, YEARS), ("eight of them", 8, EVERY_YEAR)):
        yield from still(title, noisy[:count], years, folder)
        yield from still(f"{title}, from last to first", noisy[:count][::-1], years, folder)
        shuffled = [noisy[index] for index in SHUFFLED if index < count]
        yield from still(f"{title}, shuffled", shuffled, years, folder)
    shares = [100 * float((pixels(path) == 1).mean()) for path in noisy]
    yield (
        f"\nThe maps show {', '.join(f'{share:.1f}' for share in shares)} % ISA: a calibration that is a few percent off "
        "moves every outline, one map's ISA lies within the other's, and as classes that is what building or demolition "
        "looks like. The ratio depends on the order by chance; only the probabilities know that the calls were weak."
    )


def repeats(image: np.ndarray) -> Iterator[np.ndarray]:
    """An image taken again: calibration off band by band, noise pixel by pixel."""
    rng = np.random.default_rng(2)
    for _ in range(REPEATS):
        gain = rng.normal(1, GAIN_ERROR, (len(image), 1, 1)).astype(np.float32)
        yield image * gain * rng.normal(1, GAIN_ERROR, image.shape).astype(np.float32)


def still(title: str, paths: list[Path], years: tuple[int, ...], folder: Path) -> Iterator[str]:
    """Rows of maps of ground that did not change: what differs between the first and the last, and what Viterbi keeps."""
    ends = pixels(paths[0]), pixels(paths[-1])
    seen = (ends[0] != 255) & (ends[1] != 255)
    raw = float(((ends[0] != ends[1]) & seen).sum() / seen.sum())
    for reading, options in (("classes", {}), ("probabilities", {"probability": True})):
        kinds = pixels(changed(paths, years, folder / "out", **options)[1])
        false = float(np.isin(kinds, (GAIN, LOSS, REVERSAL)).sum() / seen.sum())
        yield row(title, reading, raw, false, false / raw)


def score(found: np.ndarray, truth: np.ndarray) -> tuple[float, float, float, float]:
    """F1, recall, precision, false-change rate."""
    c = Confusion.count(found, truth)
    return float(c.f1), float(c.recall), float(c.precision), c.alarm / (c.alarm + c.quiet)


def index_change(folder: Path, city: str, dates: tuple[str, str], shift: tuple[float, float]) -> np.ndarray:
    """NDVI falls and NDBI rises: the spectral baseline at 10 m, B11 repeated onto the 10 m grid."""
    found = []
    for number, date in enumerate(dates):
        fine, _, names = image(folder / f"{city}-{date}-10m.tif")
        rough, _, rough_names = image(folder / f"{city}-{date}-20m.tif")
        bands = dict(zip(names, fine, strict=True))
        shape = fine.shape[1:]
        bands["B11"] = rough[rough_names.index("B11")].repeat(2, 0).repeat(2, 1)[: shape[0], : shape[1]]
        if number:
            bands = {name: moved(band, *shift) for name, band in bands.items()}
        found.append((ndvi(bands), normalised_difference(bands["B11"], bands["B08"])))
    (green, built), (green_after, built_after) = found
    return (green - green_after >= NDVI_DROP) & (built_after - built >= NDBI_RISE)


def city_maps(
    args: argparse.Namespace, city: str, *, move: bool = True
) -> tuple[list[Path], tuple[str, str], tuple[float, float]]:
    """Maps of both dates, the second brought onto the first unless told not to; the dates, and the shift in pixels."""
    folder = args.data / "s2-oscd-change"
    with (folder / "index.csv").open() as file:
        entry = next(line for line in csv.DictReader(file) if line["city"] == city)
    dates = entry["date1"], entry["date2"]
    (one, profile, names), (other, _, _) = (image(folder / city / f"{city}-{date}-10m.tif") for date in dates)
    shift = measure(list(zip(one, other, strict=True)), 10)
    seen = {dates[0]: one, dates[1]: moved(other, shift.rows, shift.cols) if move else other}
    maps = [
        mapped(write_image(args.work / city / f"{d}-10m.tif", v, profile, names), args.model)
        for d, v in seen.items()
    ]
    return maps, dates, (shift.rows, shift.cols)


def cities(args: argparse.Namespace) -> Iterator[str]:
    """Real pairs with masks of urban change."""
    yield "\n## Real pairs: OSCD\n"
    yield (
        'Sentinel-2 pairs with hand-drawn masks of "urban change" (building, road or site: not ISA gain; natural change '
        "is class 0 on purpose), at 10 m: a pixel counts as changed if half of it is. The second date is brought onto the "
        "first before mapping. Masks: CC BY-NC-SA (Caye Daudt et al. 2018), used for this table only, never shipped. "
        f"Index: NDVI falls by {NDVI_DROP} and NDBI rises by {NDBI_RISE} or more.\n"
    )
    yield from head("city", "method", "F1", "recall", "precision", "false change")
    for city, years in CITIES.items():
        maps, dates, shift = city_maps(args, city)
        folder = args.data / "s2-oscd-change" / city
        truth = pixels(folder / f"{city}-change.tif")
        ends = [pixels(path) for path in maps]
        seen = (ends[0] != 255) & (ends[1] != 255)
        truth[~coarse(seen)] = 255
        yield row(city, "raw differencing", *score(coarse((ends[0] != ends[1]) & seen), truth))
        for name, chances in (("Viterbi, defaults", Chances()), ("Viterbi, gain 0.1, loss 0.05", BOLD)):
            kinds = pixels(
                changed(maps, years, args.work / city / "out", probability=True, chances=chances)[1]
            )
            yield row(city, name, *score(coarse(np.isin(kinds, (GAIN, LOSS, REVERSAL))), truth))
        yield row(city, "index", *score(index_change(folder, city, dates, shift), truth))


def worldcover(args: argparse.Namespace) -> Iterator[str]:
    """Two versions of a product."""
    yield "\n## Two algorithm versions: WorldCover, Sao Tome\n"
    root = args.data / "worldcover-sao-tome"
    series = [
        ((root / f"esa-worldcover-{year}-{version}-sao-tome.tif",), f"worldcover-{version}")
        for year, version in ((2020, "v100"), (2021, "v200"))
    ]
    jobs = map_jobs(series, (2020, 2021), args.work / "worldcover")
    try:
        check_lineages(jobs, (2020, 2021), force=False)
    except InputError as fault:
        yield f"Without `--force` (exit {fault.exit_code}): `{fault}`\n"
    made = make(Options((2020, 2021), versions=True), jobs[0])
    matrix = made.tally.figures(ALL, "raw").matrix_km2(0, 1)
    yield (
        f"With `--force`: {matrix[0, 1]:.2f} km2 gained and {matrix[1, 0]:.2f} km2 lost by plain differencing, reported "
        f"as a version change; Viterbi keeps {made.tally.figures(ALL, 'viterbi').class_km2(GAIN):.2f} km2."
    )


def example(args: argparse.Namespace) -> Iterator[str]:
    """Chongqing 2017-2018, for the worked example."""
    yield "\n## Chongqing, Bishan, 2017 to 2018\n"
    maps, _, shift = city_maps(args, "chongqing", move=False)
    yield (
        "The figures of the commands of the worked example. The second date lies "
        f"{shift[1] * 10:+.1f} m east, {-shift[0] * 10:+.1f} m north of the first, and is not moved.\n"
    )
    yield from head("reading", "gain (km2)", "loss (km2)", "ISA 2017 (km2)", "ISA 2018 (km2)")
    made = changed(maps, (2017, 2018), args.work / "chongqing" / "out", probability=True)[2]
    for method in ("raw", "monotone", "viterbi"):
        figures = made.tally.figures(ALL, method)
        matrix = figures.matrix_km2(0, 1)
        yield row(method, float(matrix[0, 1]), float(matrix[1, 0]), *figures.isa_km2)


def speed(args: argparse.Namespace) -> Iterator[str]:
    """CPU seconds of change over those of decoding its inputs and encoding its outputs; memory over tiles."""
    yield "\n## Speed\n"
    side = 10240
    maps, _, _ = city_maps(args, "beihai")
    grid = GeoBox((side, side), Affine(1, 0, 500000, 0, -1, 3300000), "EPSG:32649")
    folder = args.work / "speed"
    tiles = [folder / str(year) / "tile.tif" for year in YEARS]
    for index, path in enumerate(tiles):
        if not path.exists():
            values = pixels(maps[index % 2])
            values = np.roll(np.where(values == 255, 0, values), index // 2 * 2, axis=0)
            over = [(0, max(0, side - have)) for have in values.shape]
            write_map(path, np.pad(values, over, mode="reflect")[:side, :side], grid)
    _, change, _ = changed(tiles, YEARS, folder / "made")
    for layer in (CHANGE, first_year_layer(YEARS)):
        np.save(folder / f"{layer.key}.npy", pixels(change.with_name(f"tile{layer.suffix}")))
    codes = {"change": "change", "change --min-area 0": "bare", "decode + encode": "floor"}
    found: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(args.rounds):
        for name, code in codes.items():
            found[name].append(measured(code, folder)["cpu_s"])
    times = {name: float(np.median(values)) for name, values in found.items()}
    yield f"Four maps of {side} x {side} pixels (real maps of Beihai, mirrored), CPU seconds of a process that has made one small tile, median of {args.rounds} rounds.\n"
    yield from head("what", "CPU s")
    for name, value in times.items():
        yield row(name, value)
    for name in ("change", "change --min-area 0"):
        yield row(f"decode + encode over {name}", times["decode + encode"] / times[name])
    one, many = (measured(f"tiles{count}", folder)["peak_mb"] for count in (1, 16))
    yield f"\nPeak memory {one:.0f} MB for one tile, {many:.0f} MB for 16."


def measured(code: str, folder: Path) -> dict[str, float]:
    """One measurement in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--inside", code, "--work", str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def inside(code: str, folder: Path) -> None:
    """What a measuring process does."""
    paths = [folder / str(year) / "tile.tif" for year in YEARS]
    with tempfile.TemporaryDirectory(dir=folder) as out:
        small = [
            Path(out) / f"{year}.tif" for year in YEARS
        ]  # loads libraries: no part of the costs per pixel
        for path in small:
            grid = GeoBox((512, 512), Affine(1, 0, 500000, 0, -1, 3300000), "EPSG:32649")
            write_map(path, np.zeros((512, 512), np.uint8), grid)
        changed(small, YEARS, Path(out) / "small")
        if code == "floor":
            outputs = [np.load(folder / f"{layer.key}.npy") for layer in (CHANGE, first_year_layer(YEARS))]
            start = time.process_time()
            floor(paths, outputs, Path(out))
        else:
            start = time.process_time()
            for number in range(int(code.removeprefix("tiles") or 1) if code.startswith("tiles") else 1):
                changed(paths, YEARS, Path(out) / str(number), min_area_m2=0 if code == "bare" else 100)
        used = time.process_time() - start
    print(json.dumps({"cpu_s": used, "peak_mb": apart.peak_mb()}))


def floor(paths: list[Path], outputs: list[np.ndarray], out: Path) -> None:
    """Decode the inputs and encode the outputs, in windows of whole blocks."""
    shape = outputs[0].shape[0], outputs[0].shape[1]
    for path in paths:
        with rasterio.open(path) as src:
            grid = GeoBox(src.shape, src.transform, f"EPSG:{src.crs.to_epsg()}")
            for w in windows(shape, 2560):
                src.read(1, window=rasterio.windows.Window(w.col_off, w.row_off, w.width, w.height))
    for values, layer in zip(outputs, (CHANGE, first_year_layer(YEARS)), strict=True):
        with CogWriter(out / f"floor{layer.suffix}", grid, layer, {}) as writer:
            for window in windows(shape, 2560):
                writer.write(window, values[window.slices])


PARTS = {part.__name__: part for part in (scenario, quiet, cities, worldcover, example, speed)}


def main() -> None:
    """Print the tables, or put them into a document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--model", default="fast")
    parser.add_argument(
        "--work", type=Path, help="keep maps here; a rerun with other weights makes them again"
    )
    parser.add_argument("--only", nargs="*", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--inside")
    args = parser.parse_args()
    if args.inside:
        inside(args.inside, args.work)
        return
    with tempfile.TemporaryDirectory() as scratch:
        args.work = args.work or Path(scratch)
        lines = []
        for name in args.only:
            for line in PARTS[name](args):
                print(line, flush=True)
                lines.append(line)
    if args.write:
        tables.keep(args.write, "change", lines)


if __name__ == "__main__":
    main()
