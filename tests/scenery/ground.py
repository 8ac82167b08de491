"""Real ground to make scenes of: Sentinel-2 pixels in their true UTM place, on native 10 m and 20 m grids.

- `ground("chongqing")` and seven more cities of s2-oscd-change (two real dates each), `ground("dubai")` (s2-dubai-1m):
  level 1C, brought to the look of level 2A by subtracting each band's haze (its 0.1 percentile less 150), as old as
  Chavez 1988: dark targets end near 150 DN, as Sen2Cor's do, so that the +1000 of baseline 04.00 can be told.
- `ground("bolzano")` (s2-bolzano-2022): level 2A with its own SCL. B11 and B12 are not in the data: they are the linear
  combination of B02, B03, B04 and B08 that fits Milano's best (root mean square error there: 255 and 267 DN).
- `bundled()`: the same Chongqing scene from `examples/chongqing`, for suites without ../shared/data.

Cities are smaller than a tile: `over=` a tile extends the real pixels by mirroring them, true place kept, so that every
pixel of the tile with its margin has a value. Without it the ground ends where the data end.
Where no SCL comes with the data, classes are by rule: vegetation, bare or built, water, dark.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import rasterio
import realdata
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy import ndimage

from isamap.domain.grid import MARGIN_PX, Tile

TEN, TWENTY = ("B02", "B03", "B04", "B08"), ("B11", "B12")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "chongqing"
DARK_DN = 150
_PLACES = {
    "chongqing": ("20170414", "20180402"),
    "beihai": ("20161209", "20180309"),
    "milano": ("20161228", "20180122"),
    "valencia": ("20160730", "20171107"),
    "bordeaux": ("20160504", "20171026"),
    "aguasclaras": ("20150916", "20171015"),
    "montpellier": ("20150812", "20171030"),
    "rio": ("20160424", "20171011"),
    "dubai": ("20151211", "20180330"),
}


@dataclass(frozen=True)
class Ground:
    """What lies there on a clear day."""

    name: str
    """Of the place."""
    geobox: GeoBox
    """10 m grid, corners on multiples of 20 m."""
    ten: NDArray[np.uint16]
    """B02, B03, B04, B08: reflectance x 10000, (4, y, x), nowhere 0."""
    twenty: NDArray[np.uint16]
    """B11, B12 at 20 m, (2, y / 2, x / 2), nowhere 0."""
    scl: NDArray[np.uint8]
    """Scene classes at 20 m, without weather."""
    real: NDArray[np.bool_]
    """Where the pixels are the data's own and not mirrored, (y, x)."""

    @property
    def truth(self) -> NDArray[np.uint16]:
        """All six bands at 10 m, (6, y, x), as a composite has them."""
        return np.concatenate([self.ten, self.twenty.repeat(2, 1).repeat(2, 2)])

    @property
    def roofs(self) -> NDArray[np.bool_]:
        """Ground as bright as cloud, at 20 m: the brightest 0.6 %, in pieces of at least 4 pixels (1600 m2)."""
        visible = self.ten[:3].mean(0)
        coarse = visible.reshape(visible.shape[0] // 2, 2, visible.shape[1] // 2, 2).mean((1, 3))
        labels, count = ndimage.label(coarse > np.percentile(coarse, 99.4))
        sizes = ndimage.sum_labels(np.ones_like(labels), labels, np.arange(count + 1))
        return (sizes >= 4)[labels] & (labels > 0)

    def crop(self, row: int, col: int, height: int, width: int) -> "Ground":
        """A part; all four even."""
        if any(value % 2 for value in (row, col, height, width)):
            raise ValueError("20 m pixels would be cut")
        rows, cols = slice(row, row + height), slice(col, col + width)
        coarse = slice(row // 2, (row + height) // 2), slice(col // 2, (col + width) // 2)
        transform = self.geobox.transform * Affine.translation(col, row)
        return replace(
            self,
            geobox=GeoBox((height, width), transform, self.geobox.crs),
            ten=self.ten[:, rows, cols],
            twenty=self.twenty[:, *coarse],
            scl=self.scl[coarse],
            real=self.real[rows, cols],
        )


def tile_of(place: Ground) -> Tile:
    """The tile that most of the ground lies in."""
    epsg = place.geobox.crs.epsg
    box = place.geobox.boundingbox
    spans = [
        range(int(low // 10_240), int(high // 10_240) + 1)
        for low, high in ((box.left, box.right), (box.bottom, box.top))
    ]
    tiles = [Tile(epsg % 100, "N" if epsg < 32_700 else "S", ix, iy) for ix in spans[0] for iy in spans[1]]

    def shared(tile: Tile) -> float:
        left, bottom = tile.ix * 10_240, tile.iy * 10_240
        wide = min(box.right, left + 10_240) - max(box.left, left)
        return max(wide, 0) * max(min(box.top, bottom + 10_240) - max(box.bottom, bottom), 0)

    return max(tiles, key=shared)


@cache
def ground(name: str, date: int = 0, over: Tile | str | None = None) -> Ground:
    """A place of the real data on its first (0) or second (1) date.

    Args:
        name: of a city of s2-oscd-change, `dubai` or `bolzano`.
        date: 0 or 1; bolzano has one.
        over: extend it by mirroring so that it covers this tile with its margin; `main` for the one it mostly lies in.
    """
    place = _bolzano() if name == "bolzano" else _pair(name, *_files(name, date))
    return _over(place, over)


@cache
def bundled(over: Tile | str | None = None) -> Ground:
    """Chongqing on 2018-04-02 from the repository's own example."""
    stem = "chongqing-20180402"
    return _over(_pair("chongqing", EXAMPLES / f"{stem}-10m.tif", EXAMPLES / f"{stem}-20m.tif"), over)


def _files(name: str, date: int) -> tuple[Path, Path]:
    day = _PLACES[name][date]
    stem = f"s2-dubai-1m/s2-{day}" if name == "dubai" else f"s2-oscd-change/{name}/{name}-{day}"
    ten, twenty = realdata.real(f"{stem}-10m.tif", f"{stem}-20m.tif")
    return ten, twenty


def _pair(name: str, ten_path: Path, twenty_path: Path) -> Ground:
    with rasterio.open(ten_path) as src:
        ten = src.read([src.descriptions.index(band) + 1 for band in TEN])
        transform, crs = src.transform, src.crs
    with rasterio.open(twenty_path) as src:
        twenty = src.read([src.descriptions.index(band) + 1 for band in TWENTY])
    filled = (ten > 0).all(0) & (twenty > 0).all(0).repeat(2, 0).repeat(2, 1)
    rows, cols = _full_rectangle(filled)
    ten, twenty = ten[:, rows, cols], twenty[:, _half(rows), _half(cols)]
    ten, twenty = _surface(ten), _surface(twenty)
    geobox = GeoBox(ten.shape[1:], transform * Affine.translation(cols.start, rows.start), crs)
    return Ground(name, geobox, ten, twenty, _classes(ten, twenty), np.ones(ten.shape[1:], bool))


def _half(span: slice) -> slice:
    return slice(span.start // 2, span.stop // 2)


def _full_rectangle(filled: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The largest rectangle of whole 20 m pixels without a hole: edges are tilted, and Dubai has a part left out."""
    height, width = (size // 2 for size in filled.shape)
    whole = filled[: 2 * height, : 2 * width].reshape(height, 2, width, 2).all((1, 3))
    best = (0, 0, 0, 0, 0)
    above = np.zeros(width, int)
    for row in range(height):
        above = (above + 1) * whole[row]
        open_: list[tuple[int, int]] = []  # first column and height of rectangles that may still grow
        for col, high in enumerate([*above.tolist(), 0]):
            begin = col
            while open_ and open_[-1][1] >= high:
                begin, tall = open_.pop()
                best = max(best, (tall * (col - begin), row - tall + 1, row + 1, begin, col))
            open_.append((begin, high))
    _, top, bottom, left, right = best
    return slice(2 * top, 2 * bottom), slice(2 * left, 2 * right)


def _surface(toa: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Level 1C as if at level 2A: each band less its haze."""
    haze = np.percentile(toa.reshape(len(toa), -1), 0.1, axis=1) - DARK_DN
    return np.clip(toa - haze.clip(0)[:, None, None], 1, 20_000).astype(np.uint16)


def _classes(ten: NDArray[np.uint16], twenty: NDArray[np.uint16]) -> NDArray[np.uint8]:
    blue, green, red, nir = (_mean_2x2(band.astype(np.float64)) for band in ten)
    ndvi, ndwi = (nir - red) / (nir + red), (green - nir) / (green + nir)
    scl = np.full(red.shape, 5, np.uint8)
    scl[ndvi > 0.4] = 4
    scl[(nir < 900) & (red < 500)] = 2
    scl[(ndwi > 0) & (twenty[0] < 900)] = 6
    scl[(blue < 1)] = 0
    return scl


def _mean_2x2(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values.reshape(values.shape[0] // 2, 2, values.shape[1] // 2, 2).mean((1, 3))


def _bolzano() -> Ground:
    (path,) = realdata.real("s2-bolzano-2022/s2-bolzano-2022-06.tif")
    with rasterio.open(path) as src:
        values, transform, crs = src.read(), src.transform, src.crs
    values = values[:, :704, 1:935]  # the grid begins on an odd multiple of 10 m
    red, green, blue, nir, classes = values
    ten = np.stack([blue, green, red, nir]).clip(1).astype(np.uint16)
    coarse = np.stack([_mean_2x2(band.astype(np.float64)) for band in ten])
    geobox = GeoBox(ten.shape[1:], transform * Affine.translation(1, 0), crs)
    scl = classes[::2, ::2].astype(np.uint8)
    return Ground("bolzano", geobox, ten, _shortwave(coarse), scl, np.ones(ten.shape[1:], bool))


def _shortwave(coarse: NDArray[np.float64]) -> NDArray[np.uint16]:
    """B11 and B12 as Milano's follow from its other bands."""
    milano = ground("milano")
    known = np.stack([_mean_2x2(band.astype(np.float64)) for band in milano.ten])
    design, target = (
        np.stack([*each.reshape(len(each), -1), np.ones(each[0].size)], 1) for each in (known, coarse)
    )
    weights, *_ = np.linalg.lstsq(design, milano.twenty.reshape(2, -1).T.astype(np.float64), rcond=None)
    made = (target @ weights).T.reshape(2, *coarse.shape[1:])
    return made.clip(50, 12_000).round().astype(np.uint16)


def _over(place: Ground, over: Tile | str | None) -> Ground:
    if over is None:
        return place
    tile = tile_of(place) if isinstance(over, str) else over
    want = tile.geobox(10, MARGIN_PX).boundingbox
    have = place.geobox.boundingbox
    before = [max(0, round(metres / 20)) * 2 for metres in (want.top - have.top, have.left - want.left)]
    after = [
        max(0, round(metres / 20)) * 2 for metres in (have.bottom - want.bottom, want.right - have.right)
    ]
    rows, cols = zip(before, after, strict=True)

    def wider(values: NDArray[np.generic], step: int = 1) -> NDArray[np.generic]:
        width = [(0, 0)] * (values.ndim - 2) + [tuple(n // step for n in side) for side in (rows, cols)]
        return np.pad(values, width, mode="symmetric")

    transform = place.geobox.transform * Affine.translation(-cols[0], -rows[0])
    ten = wider(place.ten)
    return replace(
        place,
        geobox=GeoBox(ten.shape[1:], transform, place.geobox.crs),
        ten=ten,
        twenty=wider(place.twenty, 2),
        scl=wider(place.scl, 2),
        real=np.pad(place.real, [rows, cols], constant_values=False),
    )
