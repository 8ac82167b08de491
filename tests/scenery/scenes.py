"""Scenes of known ground: per-band COGs, SCL, items of three catalogues, and the truth.

    place = ground("chongqing", over="main")
    made = make_scenes(folder, place, year_of_looks(2021, cloudy=0.6, cover=0.5))
    with RangeServer(made.folder) as server:
        items = made.items("sentinel-2-c1-l2a", server.url)
    made.place.truth, made.scenes[0].disturbed, made.place.roofs, made.tile

As a script it writes a year, its items (hrefs are paths) and the truth into a folder:

    PYTHONPATH=tests:. python tests/scenery/scenes.py OUT [--place chongqing] [--year 2021] [--dates 12] [--bundled]

A look is one date as one satellite saw it. What is seen is the ground times (1 + 2 % by band, normal), plus 10 DN by
band, plus 8 DN and 0.5 % of noise by pixel (at 20 m for 20 m bands), beneath the weather: all from the seed and the
date, so that the same look published twice (by another catalogue, by a later baseline) has the same reflectance.

The provider decides what becomes of the +1000 of baseline 04.00. As published: `sentinel-2-c1-l2a` has baseline 05.00
or later for every year, its pixels keep the +1000, raster:bands say -0.1; `sentinel-2-l2a` has the baseline of the
day, its pixels never have the +1000, earthsearch:boa_offset_applied is true from 04.00 on and false before,
raster:bands say -0.1 nonetheless from 04.00 on; Planetary Computer keeps the +1000 from 04.00 on and says nothing.

SCL is at 20 m: the ground's classes, the weather's by majority, and, on nine dates of ten each, ground as bright as
cloud wrongly called cloud (9, its edges 8), as users of Sen2Cor report. Scenes have their true UTM place but a grid
smaller than a granule's 10 980 px.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scenery.ground import Ground, bundled, ground, tile_of
from scenery.items import SHAPES, Granule, item
from scenery.weather import Weather, clear, weather
from scipy import ndimage

from isamap.domain.grid import MARGIN_PX, Tile

BANDS = ("B02", "B03", "B04", "B08", "B11", "B12")
_BASELINES = (  # first day of each, by Copernicus' sentiwiki
    ("2015-06-23", "02.04"),
    ("2018-03-26", "02.06"),
    ("2018-11-06", "02.10"),
    ("2019-07-08", "02.13"),
    ("2020-02-04", "02.14"),
    ("2021-03-30", "03.00"),
    ("2021-06-30", "03.01"),
    ("2022-01-25", "04.00"),
    ("2022-12-06", "05.09"),
    ("2023-12-13", "05.10"),
    ("2024-07-23", "05.11"),
)


@dataclass(frozen=True)
class Look:
    """One date, and what the catalogues say of it. What is None is as published."""

    day: str
    """`2021-04-14`."""
    cover: float = 0.0
    """Share of the ground under cloud."""
    kind: str = "cumulus"
    """Of weather.KINDS."""
    platform: str = "A"
    """`A`, `B` or `C`."""
    orbit: int = 61
    """Relative orbit."""
    time: str = "033541"
    """When the datatake began."""
    baseline: str | None = None
    """`04.00`; None: that of the day (c1: at least 05.00)."""
    offset_in: bool | None = None
    """Whether the pixels keep the +1000; None: as that catalogue does."""
    flag: bool | str | None = "published"
    """earthsearch:boa_offset_applied: true or false; None: not there."""
    declared: float | str = "published"
    """`offset` of raster:bands."""
    number: int = 0
    """1, 2: the same look published again (another station, another baseline)."""
    edge: float = 0.0
    """Share of the scene beyond the swath: without data, on its eastern side, as slanted as an orbit."""
    roofs: bool | None = None
    """Whether SCL calls bright ground cloud; None: on nine dates of ten."""
    seed: int = 0
    """Of its weather and noise, besides the day and the satellite."""

    def granule_baseline(self, shape: str) -> str:
        """Processing baseline in that catalogue."""
        if self.baseline:
            return self.baseline
        named = [name for first, name in _BASELINES if first <= self.day][-1]
        return max(named, "05.00") if shape == "sentinel-2-c1-l2a" else named

    def keeps_offset(self, shape: str) -> bool:
        """Whether that catalogue's pixels have the +1000."""
        if self.offset_in is not None:
            return self.offset_in
        return shape != "sentinel-2-l2a" and self.granule_baseline(shape) >= "04.00"


@dataclass(frozen=True)
class Scene:
    """What is true of a look."""

    look: Look
    """The look."""
    place: Ground = field(repr=False)
    """What lies below."""
    seen: NDArray[np.uint16] = field(repr=False)
    """Reflectance x 10000 under the weather, (6, y, x); 0 beyond the swath. No offset."""
    disturbed: NDArray[np.bool_] = field(repr=False)
    """Pixels that are not the ground's own: cloud with its fringe, shadow, thick haze, beyond the swath; (y, x)."""
    scl: NDArray[np.uint8] = field(repr=False)
    """As published, 20 m."""
    false_cloud: NDArray[np.bool_] = field(repr=False)
    """Clear ground that SCL calls cloud, 20 m."""

    @property
    def clear(self) -> NDArray[np.uint16]:
        """Reflectance x 10000 that a cloudless sky would have shown, gain and noise included, (6, y, x); nowhere 0."""
        return _as_dn(_below(self.place, self.look)[0])

    @property
    def cloud_cover(self) -> float:
        """eo:cloud_cover: percent of SCL 8, 9 and 10 among pixels with data."""
        return float(100 * np.isin(self.scl, (8, 9, 10)).sum() / max((self.scl > 0).sum(), 1))


@dataclass(frozen=True)
class Scenery:
    """Scenes of one ground, their files and their truth."""

    folder: Path
    """Root of the files: serve it."""
    place: Ground
    """The ground: `place.truth` is what a perfect composite shows, `place.roofs` what must not be lost."""
    scenes: tuple[Scene, ...]
    """In the order of the looks."""
    granules: Mapping[tuple[int, str], Granule] = field(repr=False)
    """What each catalogue knows of each scene, by index and shape."""

    @property
    def tile(self) -> Tile:
        """The tile that most of the ground lies in."""
        return tile_of(self.place)

    @cached_property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the scenes' grid that the tile with its margin covers; it must lie inside."""
        want = self.tile.geobox(10, MARGIN_PX)
        row = round((self.place.geobox.transform.f - want.transform.f) / 10)
        col = round((want.transform.c - self.place.geobox.transform.c) / 10)
        height, width = self.place.geobox.shape
        if row < 0 or col < 0 or row + want.shape[0] > height or col + want.shape[1] > width:
            raise ValueError("the ground does not cover the tile: make it with over='main'")
        return slice(row, row + want.shape[0]), slice(col, col + want.shape[1])

    def items(
        self, shape: str, root: str | None = None, *, only: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """Items of one catalogue, in the order of the looks.

        Args:
            shape: one of items.SHAPES.
            root: what hrefs begin with: a server's address, `s3://bucket`; None: the folder itself.
            only: indices of the scenes wanted.
        """
        chosen = range(len(self.scenes)) if only is None else only
        base = root or str(self.folder)
        return [item(self.granules[index, shape], shape, base) for index in chosen]

    def described(self, looks: Sequence[Look]) -> "Scenery":
        """The same pixels with other words about them: baseline, flags, offset. No file is written."""
        scenes = [replace(scene, look=look) for scene, look in zip(self.scenes, looks, strict=True)]
        return _scenery(self.folder, self.place, scenes)

    def path(self, index: int, shape: str, band: str) -> Path:
        """A file of a scene."""
        return self.folder / self.granules[index, shape].path(shape, band)


def year_of_looks(
    year: int,
    dates: int = 12,
    *,
    cloudy: float = 0.6,
    cover: float = 0.5,
    kinds: Sequence[str] = ("cumulus", "deck"),
    seed: int = 0,
    **more: Any,
) -> list[Look]:
    """Dates spread over a year, Sentinel-2A and 2B in turn.

    Args:
        year: of the dates.
        dates: how many.
        cloudy: share of them that have clouds (rounded to a whole number).
        cover: mean share of the ground under cloud on those; each has between half and one and a half times that.
        kinds: of weather, in turn.
        seed: which dates are cloudy, and everything that the looks draw.
        more: other fields of Look, for all.
    """
    rng = np.random.default_rng([seed, year, dates])
    overcast = rng.permutation(dates) < round(cloudy * dates)
    spread = np.linspace(0.5, 1.5, max(int(overcast.sum()), 1)) * cover
    covers = iter(rng.permutation(np.clip(spread, 0, 1)))
    looks = []
    for index in range(dates):
        day = datetime(year, 1, 3, tzinfo=UTC) + timedelta(days=5 * int(index * 72 / dates))
        share = float(next(covers)) if overcast[index] else 0.0
        look = Look(f"{day:%Y-%m-%d}", share, kinds[index % len(kinds)], "AB"[index % 2], seed=seed)
        looks.append(replace(look, **more))
    return looks


def make_scenes(
    folder: Path,
    place: Ground | Mapping[int, Ground],
    looks: Sequence[Look],
    *,
    shapes: Sequence[str] = SHAPES,
    real_weather: bool = True,
) -> Scenery:
    """Scenes of the looks, their files written.

    Args:
        folder: where files go, laid out as in the real buckets.
        place: the ground; or grounds by the first year that each holds for, all on one grid (the first is the truth).
        looks: dates.
        shapes: catalogues whose files are written. Equal files are one file with several names.
        real_weather: from the real data; False: made, for suites without them.
    """
    grounds = dict(sorted(place.items())) if isinstance(place, Mapping) else {0: place}
    scenes = []
    for look in looks:
        year = max((first for first in grounds if first <= int(look.day[:4])), default=min(grounds))
        scenes.append(_scene(grounds[year], look, real=real_weather))
    made = _scenery(Path(folder), next(iter(grounds.values())), scenes)
    jobs: dict[tuple[int, str, bool], list[Path]] = {}
    for index, scene in enumerate(scenes):
        for shape in shapes:
            for band in (*BANDS, "SCL"):
                kept = band != "SCL" and scene.look.keeps_offset(shape)
                jobs.setdefault((index, band, kept), []).append(made.path(index, shape, band))
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(_write, made, key, paths) for key, paths in jobs.items()]:
            done.result()
    return made


def _scenery(folder: Path, place: Ground, scenes: Sequence[Scene]) -> Scenery:
    granules = {
        (index, shape): _granule(place.geobox, scene, shape)
        for index, scene in enumerate(scenes)
        for shape in SHAPES
    }
    return Scenery(folder, place, tuple(scenes), granules)


def _below(place: Ground, look: Look) -> tuple[NDArray[np.float32], np.random.Generator]:
    """The ground as that day shows it, (6, y, x), and what draws the rest of the look."""
    rng = np.random.default_rng([look.seed, int(look.day.replace("-", "")), ord(look.platform), look.orbit])
    ten, twenty = (_seen_through(values, rng) for values in (place.ten, place.twenty))
    return np.concatenate([ten, twenty.repeat(2, 1).repeat(2, 2)]), rng


def _scene(place: Ground, look: Look, *, real: bool) -> Scene:
    shape = tuple(place.geobox.shape)
    below, rng = _below(place, look)
    sky = weather(look.kind, look.cover, shape, rng, real=real) if look.cover else clear(shape)
    seen = _as_dn(sky.over(below))
    seen[4:] = _coarse(seen[4:].astype(np.float32)).repeat(2, 1).repeat(2, 2)
    beyond = _beyond_swath(shape, look.edge)
    scl, false_cloud = _classified(place, look, sky, rng)
    seen[:, beyond] = 0
    scl[beyond[::2, ::2]] = 0
    return Scene(look, place, seen, sky.disturbed | _spread_20m(sky) | beyond, scl, false_cloud)


def _seen_through(values: NDArray[np.uint16], rng: np.random.Generator) -> NDArray[np.float32]:
    """A day's gain, offset and noise upon the ground."""
    gain = 1 + rng.normal(0, 0.02, (len(values), 1, 1))
    offset = rng.normal(0, 10, (len(values), 1, 1))
    day = values * gain + offset
    noise = rng.standard_normal(values.shape, np.float32)
    return np.asarray(day + noise * (8 + 0.005 * day), np.float32)


def _as_dn(reflectance: NDArray[np.float32]) -> NDArray[np.uint16]:
    return np.clip(np.rint(reflectance), 1, 20_000).astype(np.uint16)


def _coarse(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Mean of 2 x 2 pixels."""
    height, width = (size // 2 for size in values.shape[-2:])
    return _as_dn(values.reshape(-1, height, 2, width, 2).mean((2, 4)))


def _spread_20m(sky: Weather) -> NDArray[np.bool_]:
    """20 m pixels that a disturbed 10 m pixel is part of: B11 and B12 are not the ground's own in all four."""
    height, width = (size // 2 for size in sky.cloud.shape)
    part = sky.disturbed.reshape(height, 2, width, 2).any((1, 3))
    return part.repeat(2, 0).repeat(2, 1)


def _beyond_swath(shape: tuple[int, int], share: float) -> NDArray[np.bool_]:
    rows, cols = np.indices(shape)
    slant = 0.2 * (shape[0] / 2 - rows)  # 11 degrees
    return cols >= (1 - share) * shape[1] + slant if share else np.zeros(shape, bool)


def _classified(
    place: Ground, look: Look, sky: Weather, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """SCL, and the clear ground that it calls cloud."""
    scl = place.scl.copy()
    height, width = scl.shape
    wrong = look.roofs if look.roofs is not None else bool(rng.random() < 0.9)
    false_cloud = place.roofs & wrong
    scl[false_cloud] = 8
    scl[ndimage.binary_erosion(false_cloud)] = 9
    for code in (10, 3, 8, 9):
        share = (sky.scl == code).reshape(height, 2, width, 2).sum((1, 3))
        scl[share >= 2] = code
    weather_there = (sky.scl > 0).reshape(height, 2, width, 2).any((1, 3))
    return scl, false_cloud & ~weather_there


def _granule(geobox: GeoBox, scene: Scene, shape: str) -> Granule:
    look, baseline = scene.look, scene.look.granule_baseline(shape)
    began = datetime.fromisoformat(f"{look.day}T{look.time}").replace(tzinfo=UTC)
    reprocessed = shape == "sentinel-2-c1-l2a" and not look.baseline and look.day < "2022-12-06"
    made = datetime(2023, 6, 1, 4, 5, 6, tzinfo=UTC) if reprocessed else began + timedelta(hours=5)
    made += timedelta(hours=3 * look.number, minutes=7 * look.number)
    valid = max(int((scene.scl > 0).sum()), 1)
    codes, counts = np.unique(scene.scl[scene.scl > 0], return_counts=True)
    flag, declared = look.flag, look.declared
    if flag == "published":
        flag = baseline >= "04.00" if shape == "sentinel-2-l2a" else None
    if declared == "published":
        declared = -0.1 if baseline >= "04.00" else 0
    return Granule(
        mgrs=mgrs_of(geobox),
        geobox=geobox,
        sensed=f"{began + timedelta(minutes=12, seconds=21):%Y-%m-%dT%H:%M:%S}",
        datatake=f"{began:%Y%m%dT%H%M%S}",
        platform=look.platform,
        orbit=look.orbit,
        baseline=baseline,
        made=f"{made:%Y%m%dT%H%M%S}",
        cloud_cover=scene.cloud_cover,
        shares={int(code): 100 * int(count) / valid for code, count in zip(codes, counts, strict=True)},
        nodata=100 * float((scene.scl == 0).mean()),
        number=look.number,
        offset_applied=None if flag is None else bool(flag),
        offset=float(declared),
    )


@cache
def mgrs_of(geobox: GeoBox) -> str:
    """MGRS square of the middle of a grid: `48RXT`."""
    epsg, box = geobox.crs.epsg, geobox.boundingbox
    zone, x, y = epsg % 100, (box.left + box.right) / 2, (box.bottom + box.top) / 2
    lat = geobox.footprint("EPSG:4326").centroid.coords[0][1]
    band = "CDEFGHJKLMNPQRSTUVWX"[min(int((lat + 80) // 8), 19)]
    column = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")[(zone - 1) % 3][int(x // 100_000) - 1]
    rows = "ABCDEFGHJKLMNPQRSTUV" if zone % 2 else "FGHJKLMNPQRSTUVABCDE"
    return f"{zone:02d}{band}{column}{rows[int(y % 2_000_000 // 100_000)]}"


def _write(made: Scenery, key: tuple[int, str, bool], paths: Sequence[Path]) -> None:
    """One COG, under all its names."""
    index, band, kept = key
    scene, geobox = made.scenes[index], made.place.geobox
    if band == "SCL":
        values, step = scene.scl, 2
    else:
        number, step = BANDS.index(band), 1 if BANDS.index(band) < 4 else 2
        dn = scene.seen[number, ::step, ::step]
        values = np.where(dn > 0, dn + 1000 * kept, 0).astype(np.uint16)
    first, *others = dict.fromkeys(paths)
    first.parent.mkdir(parents=True, exist_ok=True)
    write_cog(first, values, geobox, step)
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        os.link(first, path)


def write_cog(path: Path, values: NDArray[np.generic], geobox: GeoBox, step: int = 1) -> None:
    """A COG as Earth Search and Planetary Computer write them: deflate, predictor 2, blocks of 512, overviews.

    Args:
        path: where to.
        values: (y, x).
        geobox: 10 m grid.
        step: 2 for values at 20 m.
    """
    a, _, c, _, e, f = geobox.transform[:6]
    profile = {
        "driver": "COG",
        "crs": f"EPSG:{geobox.crs.epsg}",
        "transform": rasterio.Affine(a * step, 0, c, 0, e * step, f),
        "count": 1,
        "dtype": values.dtype,
        "nodata": 0,
        "height": values.shape[0],
        "width": values.shape[1],
        "compress": "deflate",
        "level": 1,
        "predictor": "yes",
        "blocksize": 512,
        "overview_resampling": "nearest" if values.dtype == np.uint8 else "average",
    }
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(values, 1)


def sample(folder: Path, looks: Sequence[Look] | None = None, *, shapes: Sequence[str] = SHAPES) -> Scenery:
    """Four small scenes of 500 x 776 px made of the repository's own example alone."""
    days = looks or year_of_looks(2021, 4, cloudy=0.5, cover=0.3, seed=3)
    return make_scenes(folder, bundled(), days, shapes=shapes, real_weather=False)


def _main() -> None:
    parser = argparse.ArgumentParser(
        description="A year of scenes of known ground, their items and the truth."
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--place", default="chongqing")
    parser.add_argument("--year", type=int, default=2021)
    parser.add_argument("--dates", type=int, default=12)
    parser.add_argument("--cloudy", type=float, default=0.6, help="share of dates with clouds")
    parser.add_argument("--cover", type=float, default=0.5, help="share of the ground under cloud on those")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundled", action="store_true", help="from the repository's example alone")
    options = parser.parse_args()
    looks = year_of_looks(
        options.year, options.dates, cloudy=options.cloudy, cover=options.cover, seed=options.seed
    )
    place = bundled("main") if options.bundled else ground(options.place, over="main")
    made = make_scenes(options.out.resolve(), place, looks, real_weather=not options.bundled)
    for shape in SHAPES:
        page = {"type": "FeatureCollection", "features": made.items(shape)}
        (made.folder / f"{shape}.json").write_text(json.dumps(page, indent=1))
    np.savez_compressed(
        made.folder / "truth.npz",
        truth=made.place.truth,
        roofs=made.place.roofs,
        disturbed=np.stack([scene.disturbed for scene in made.scenes]),
    )
    print(f"{len(made.scenes)} dates of {made.place.name}, tile {made.tile}: {made.folder}")


if __name__ == "__main__":
    _main()
