"""`isamap mosaic` of maps of one's own: what masks hide, where pixels are counted, and how much ground they are."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from test_evaluate import write

from isamap.domain.grid import Window
from isamap.domain.overview import Counts, aligned_grid, room_px

GLOBE = Geod(ellps="WGS84")


def noise(seed, shape=(300, 300)):
    return (np.random.default_rng(seed).random(shape) < 0.4).astype(np.uint8)


def km2_of(west, south, east, north):
    """Ground between two meridians and two parallels."""
    steps = 2000
    lon = [*np.linspace(west, east, steps), *np.linspace(east, west, steps)]
    lat = [*np.full(steps, south), *np.full(steps, north)]
    return abs(GLOBE.polygon_area_perimeter(lon, lat)[0]) / 1e6


@pytest.mark.parametrize("hidden", ["mask", "alpha"])
def test_a_map_with_a_mask_is_refused_for_indexes_would_pass_it_over(isamap, tmp_path, hidden):
    path = tmp_path / "here" / "town.tif"
    path.parent.mkdir(exist_ok=True)
    profile = {"driver": "GTiff", "height": 100, "width": 100, "dtype": "uint8", "crs": "EPSG:32648"}
    place = Affine(1, 0, 600_000, 0, -1, 3_300_000)
    known = np.full((100, 100), 255, np.uint8)
    known[:50] = 0
    if hidden == "mask":
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", count=1, transform=place, **profile) as dst,
        ):
            dst.write(noise(1, (100, 100)), 1)
            dst.write_mask(known)
    else:
        with rasterio.open(
            path, "w", count=2, transform=place, alpha="yes", photometric="minisblack", **profile
        ) as dst:
            dst.write(np.stack([noise(1, (100, 100)), known]))
    ended = isamap("mosaic", "town.tif", "-o", "m")
    assert ended.code == 65
    assert "has a mask or a second band" in ended.err


def test_ground_is_that_of_the_pixels_that_are_mapped(isamap, tmp_path):
    values = noise(1, (2000, 200))
    values[500:] = 255
    write(tmp_path / "here" / "north.tif", values, left=10, top=60, gsd=0.001, crs="EPSG:4326")
    found = isamap("mosaic", "north.tif", "-o", "m", "--json").document["mapped_km2"]
    assert found == pytest.approx(km2_of(10, 59.5, 10.2, 60), rel=2e-4)
    again = isamap("mosaic", "north.tif", "-o", "m", "--overview-res", 250, "--json")
    assert again.document["mapped_km2"] == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize(
    ("crs", "place", "overview"),
    [
        ("EPSG:4326", (10, -50, 0.001), "EPSG:6933"),
        ("EPSG:32633", (500_000, 7_000_000, 100.0), "EPSG:3857"),
        ("EPSG:32633", (500_000, 7_000_000, 100.0), "EPSG:4326"),
        ("EPSG:3857", (1_000_000, 9_000_000, 100.0), "EPSG:6933"),
    ],
)
def test_a_cell_has_room_for_the_pixels_that_fit_into_it(crs, place, overview):
    left, top, gsd = place
    pixels = GeoBox((1500, 400), Affine(gsd, 0, left, 0, -gsd, top), crs)
    cell = 0.02 if overview == "EPSG:4326" else 2000
    bounds = pixels.footprint(overview).boundingbox
    cells = aligned_grid((bounds.left, bounds.bottom, bounds.right, bounds.top), overview, cell)
    room = room_px(cells, pixels)
    for row in np.linspace(1, cells.shape[0] - 2, 7).astype(int):
        one = cells[row : row + 1, cells.shape[1] // 2 : cells.shape[1] // 2 + 1]
        ring = one.footprint(crs, npoints=50).geom
        fits = ring.area / gsd**2
        assert room[row, cells.shape[1] // 2] == pytest.approx(fits, rel=0.01)


def test_cells_without_nodata_are_wholly_mapped(isamap, tmp_path):
    write(tmp_path / "here" / "m.tif", noise(1, (2000, 400)), left=10, top=-50, gsd=0.0005, crs="EPSG:4326")
    ended = isamap("mosaic", "m.tif", "-o", "o", "--overview-res", 2000, "--json")
    (path,) = (one for one in ended.document["paths"] if one.endswith(".mapped.tif"))
    with rasterio.open(path) as src:
        share = src.read(1)
    full = share[1:-1, 2:-2]
    assert full.size > 30
    assert full.min() >= 97, "a row of pixels more or less"


@pytest.mark.parametrize(("gsd", "lat"), [(1.0, 30), (10.0, 60), (30.0, 60)])
def test_pixels_are_counted_in_the_cell_of_their_centre(gsd, lat):
    x, y = (round(axis) for axis in Transformer.from_crs(4326, 32633, always_xy=True).transform(13.5, lat))
    pixels = GeoBox((512, 512), Affine(gsd, 0, x, 0, -gsd, y), "EPSG:32633")
    cols, rows = np.meshgrid(np.arange(512) + 0.5, np.arange(512) + 0.5)
    to_cells = Transformer.from_crs(32633, 6933, always_xy=True)
    there = np.array(to_cells.transform(x + gsd * cols, y - gsd * rows))
    grid = aligned_grid(
        (there[0].min(), there[1].min(), there[0].max(), there[1].max()), "EPSG:6933", 3 * gsd
    )
    counts = Counts.over(grid, Window(0, 0, grid.shape[0], grid.shape[1]))
    counts.add(np.ones((512, 512), np.uint8), pixels)
    col, row = (np.floor(axis).astype(int).ravel() for axis in ~grid.transform * there)
    own = np.zeros(grid.shape, np.int64)
    np.add.at(own, (np.clip(row, 0, grid.shape[0] - 1), np.clip(col, 0, grid.shape[1] - 1)), 1)
    assert counts.valid.sum() == own.sum()
    assert np.abs(counts.valid - own).sum() / own.sum() < 0.01


def test_pixels_of_one_number_and_two_sizes_are_refused(isamap, tmp_path):
    here = tmp_path / "here"
    write(here / "utm.tif", noise(1), left=500_000, top=6_650_000, gsd=10.0, crs="EPSG:32635")
    write(here / "merc.tif", noise(2), left=3_100_000, top=8_400_000, gsd=10.0, crs="EPSG:3857")
    ended = isamap("mosaic", "utm.tif", "merc.tif", "-o", "m")
    assert ended.code == 65
    assert "on the ground" in ended.err
