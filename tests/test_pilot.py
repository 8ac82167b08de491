"""The pilot's own pieces: a field without seams, and a brute-force mosaic that finds what is wrong."""

import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from bench import pilot_checks as checks
from bench import pilot_ground as ground
from bench import pilot_run
from pyproj import Transformer
from rasterio.windows import Window
from scenery.ground import bundled
from tiled import EAST, WEST, counted, noise, seen_on

from isamap.domain.grid import MARGIN_PX, Tile

PATCHES = {
    WEST: {(4608, 0): noise(2, (384, 1536))},  # its zone ends at column 900 or so
    EAST: {(4608, 5120): noise(3, (384, 1536))},  # and this one's begins at column 5500
}


# The field


def test_the_area_names_nine_tiles_of_two_zones():
    zones = ground.by_zone(ground.nine_tiles())
    assert {zone: len(tiles) for zone, tiles in zones.items()} == {48: 6, 49: 3}
    for tiles in zones.values():
        assert ground.rectangle(tiles).shape[0] * ground.rectangle(tiles).shape[1] == len(tiles) * 1024**2


@pytest.mark.parametrize("size", [2, 14, 100])
def test_mirroring_keeps_neighbours_and_20_m_pixels_together(size):
    fine, coarse = ground.mirrored(size, 333), ground.mirrored(size // 2, 166)
    assert np.abs(np.diff(fine)).max() <= 1
    assert set(fine.tolist()) == set(range(size))
    assert np.array_equal(coarse, fine[:332:2] // 2)


def test_a_field_covers_its_tiles_and_every_pixel_is_one_of_the_place():
    place = ground.turned(bundled().crop(20, 40, 200, 120), 1)
    assert (place.ten.shape, place.twenty.shape) == ((4, 120, 200), (2, 60, 100))
    tile = Tile.parse(EAST)
    field = ground.field_of(replace(place, geobox=tile.geobox()[:120, :200]), [tile])
    assert field.geobox == tile.geobox(margin_px=MARGIN_PX)
    truth = ground.truth_of(field, tile)
    assert truth.shape == (6, 1088, 1088)
    assert np.array_equal(truth[:, :120, :200], place.truth)
    assert np.array_equal(truth[:, 239:119:-1, 399:199:-1], place.truth)  # mirrored both ways


# Brute force


@pytest.fixture(scope="module")
def zones():
    """A strip on each side of 108 E, reaching over it."""
    found = []
    for name, patches in PATCHES.items():
        ((row, col), classes), tile = *patches.items(), Tile.parse(name)
        corner = tile.geobox(1).transform * Affine.translation(col, row)
        west = 6.0 * tile.zone - 186
        found.append(checks.Zone(tile.epsg, corner, classes, (west, west + 6)))
    return found


def raster(path, zones, cell):
    """An empty raster in EPSG:6933 over the strips."""
    x, y = [], []
    for zone in zones:
        there = Transformer.from_crs(zone.epsg, 6933, always_xy=True)
        height, width = zone.classes.shape
        corners = [zone.transform * corner for corner in ((0, 0), (width, 0), (0, height), (width, height))]
        xs, ys = there.transform(*zip(*corners, strict=True))
        x, y = [*x, *xs], [*y, *ys]
    left, top = np.floor(min(x) / cell) * cell, np.ceil(max(y) / cell) * cell
    shape = int(np.ceil((top - min(y)) / cell)), int(np.ceil((max(x) - left) / cell))
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": 255, "crs": "EPSG:6933"}
    place = {"transform": Affine(cell, 0, left, 0, -cell, top), "height": shape[0], "width": shape[1]}
    with rasterio.open(path, "w", **profile, **place) as dst:
        dst.write(np.full(shape, 255, np.uint8), 1)
    return path


def test_centres_are_where_proj_puts_them(zones):
    there = Transformer.from_crs(zones[0].epsg, 6933, always_xy=True)
    window = Window(130, 7, 700, 300)
    x, y = checks.centres(zones[0].transform, window, there)
    rows, cols = np.indices((300, 700))
    exact = there.transform(*(zones[0].transform * (130 + cols + 0.5, 7 + rows + 0.5)))
    assert max(np.abs(x - exact[0]).max(), np.abs(y - exact[1]).max()) < 2e-4


def test_cells_are_counted_as_pixel_by_pixel(zones, tmp_path):
    path = raster(tmp_path / "grid.tif", zones, 100)
    with rasterio.open(path) as src:
        ours, theirs = checks.counted(zones, src), counted(PATCHES, src)
    for one, other in zip(ours, theirs, strict=True):
        assert other.sum() > 100_000
        assert np.abs(one - other).sum() <= 4  # centres within 0.2 mm of a cell's edge


@pytest.fixture
def overview(zones, tmp_path):
    """A right overview: share and mapped."""
    share_path, mapped_path = (raster(tmp_path / name, zones, 100) for name in ("share.tif", "mapped.tif"))
    with rasterio.open(share_path, "r+") as share, rasterio.open(mapped_path, "r+") as mapped:
        isa, valid = counted(PATCHES, share)
        with np.errstate(invalid="ignore"):
            percent = np.where(valid > 0, np.rint(100 * isa / valid), 255)
        share.write(percent.astype(np.uint8), 1)
        mapped.write(np.rint(100 * valid / valid.max()).astype(np.uint8), 1)
    return share_path, mapped_path


def change(path, row, col, by):
    with rasterio.open(path, "r+") as dst:
        values = dst.read(1)
        values[row, col] += by
        dst.write(values, 1)


def test_an_overview_is_right_or_its_wrong_cells_are_counted(zones, overview):
    cells, wrong = checks.overview_faults(zones, *overview)
    assert cells > 60
    assert wrong == 0
    change(overview[0], 2, 12, 1)
    assert checks.overview_faults(zones, *overview)[1] == 1
    change(overview[1], 2, 5, 3)
    assert checks.overview_faults(zones, *overview)[1] == 2


def test_a_sheet_is_right_or_its_wrong_pixels_are_counted(zones, tmp_path):
    path = raster(tmp_path / "sheet.tif", zones, 2)
    with rasterio.open(path, "r+") as dst:
        truth = seen_on(PATCHES, dst, Window(0, 0, dst.width, dst.height))
        dst.write(truth, 1)
    pixels, wrong = checks.sheet_faults(zones, path)
    assert np.count_nonzero(truth != 255) > 100_000
    assert pixels == pytest.approx(np.count_nonzero(truth != 255), abs=5)  # centres on an edge
    assert wrong == 0
    rows, cols = (axis[:500] for axis in np.nonzero(truth == 0))
    change(path, rows, cols, 1)
    assert 480 <= checks.sheet_faults(zones, path)[1] <= 500  # a few of them lie too close to an edge to tell


def test_a_vrt_is_right_or_its_wrong_pixels_are_counted(zones, tmp_path):
    zone = zones[1]
    path = tmp_path / "zone.tif"
    height, width = zone.classes.shape
    place = {"crs": f"EPSG:{zone.epsg}", "transform": zone.transform, "height": height, "width": width}
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype="uint8", **place) as dst:
        dst.write(zone.classes, 1)
    assert checks.vrt_faults(zone, path) == (zone.classes.size, 0)
    change(path, 5, 7, 1)
    assert checks.vrt_faults(zone, path) == (zone.classes.size, 1)
    moved = replace(zone, transform=zone.transform * Affine.translation(1, 0))
    assert checks.vrt_faults(moved, path) == (0, zone.classes.size)


# Runs and kills


def waits(folder, _):
    """A job that ends when three have begun: the two of two workers, and the one that is tried again."""
    os.close(tempfile.mkstemp(dir=folder)[0])
    while len(list(Path(folder).iterdir())) < 3:
        time.sleep(0.02)


TWO_WORKERS = """
import sys
from functools import partial
from test_pilot import waits
from isamap.engine import local
assert [outcome.fault for outcome in local.run([1, 2], partial(waits, sys.argv[1]), 2)] == [None, None]
"""


def test_a_worker_is_killed_at_work_and_its_death_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ".:tests")
    command = [sys.executable, "-c", TWO_WORKERS, str(tmp_path)]
    step = pilot_run.measured("two", command, lambda: len(list(tmp_path.iterdir())) == 2)
    assert step.code == 0, step.log
    assert (len(step.killed), step.deaths) == (1, 1)
    assert step.cpu_s > 0
    assert step.together_mb > step.largest_mb > 10


def test_a_command_that_fails_is_told(tmp_path):
    step = pilot_run.measured("three", [sys.executable, "-c", "import sys; print(7); sys.exit('no')"])
    assert (step.code, step.out, step.log, step.killed) == (1, "7\n", "no\n", [])
