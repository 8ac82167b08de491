"""The single-pass writer against GDAL: the COG driver's file of the same pixels, and GDAL's own overviews."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import rasterio
import tiny
from affine import Affine
from driver_cog import driver_cog
from odc.geo.geobox import GeoBox

from isamap.domain.changes import CHANGE
from isamap.domain.grid import windows
from isamap.domain.product import BLOCK_PX, CLASSES, NODATA, PROBABILITY
from isamap.io.cog import CogWriter

TAGS = {"isamap_model": "fast 1", "isamap_threshold": "0.5"}
EVEN = [(1024, 1024), (1100, 1300), (2560, 2048), (4096, 700), (512, 2048)]
ODD = [
    (1300, 1101),
    (1025, 1023),
    (513, 513),
    (3001, 2049),
    (2, 2000),
    (1, 5000),
    (5, 1030),
    (600, 2),
    (1023, 1537),
]
LAYERS = [CLASSES, PROBABILITY, CHANGE]


def grid(shape, crs="EPSG:32650"):
    return GeoBox(shape, Affine(1, 0, 600_000, 0, -1, 3_400_000), crs)


def pixels(shape, layer, seed=0):
    """Every value that the layer knows, a third of it nodata, each pixel for itself: every kind of tie."""
    rng = np.random.default_rng(seed)
    top = {"isa": 2, "probability": 101}.get(layer.key, 5)
    values = rng.integers(0, top, shape).astype(np.uint8)
    values[rng.random(shape) < 0.3] = NODATA
    values[:60, :90] = NODATA
    values[-shape[0] // 3 :, -shape[1] // 3 :] = 1
    return values


def both(folder, values, layer, crs="EPSG:32650"):
    """Our file, written in windows of two blocks in any order, and the driver's."""
    geobox = grid(values.shape, crs)
    ours = folder / "ours.tif"
    steps = list(windows(values.shape, 2 * BLOCK_PX))
    with CogWriter(ours, geobox, layer, TAGS) as cog:
        for index in np.random.default_rng(1).permutation(len(steps)):
            cog.write(steps[index], values[steps[index].slices])
    return ours, driver_cog(folder / "drivers.tif", values, geobox, layer, TAGS)


@pytest.mark.parametrize("shape", EVEN + ODD, ids=str)
@pytest.mark.parametrize("layer", [CLASSES, CHANGE], ids=lambda layer: layer.key)
def test_mode_overviews_are_gdals_pixel_by_pixel(tmp_path, shape, layer):
    ours, drivers = both(tmp_path, pixels(shape, layer), layer)
    levels = tiny.overviews(ours)
    assert levels
    for own, other in zip(levels, tiny.overviews(drivers), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("shape", EVEN, ids=str)
def test_average_overviews_of_even_sides_are_gdals_pixel_by_pixel(tmp_path, shape):
    sides = shape
    ours, drivers = both(tmp_path, pixels(shape, PROBABILITY), PROBABILITY)
    for own, other in zip(tiny.overviews(ours), tiny.overviews(drivers), strict=True):
        if sides[0] % 2 or sides[1] % 2:
            break
        np.testing.assert_array_equal(own, other)
        sides = own.shape


@pytest.mark.parametrize("shape", ODD, ids=str)
def test_average_overviews_of_odd_sides_differ_by_one_at_ties_alone(tmp_path, shape):
    """GDAL weighs with floating numbers, we with whole ones: halves fall to either side."""
    ours, drivers = both(tmp_path, pixels(shape, PROBABILITY), PROBABILITY)
    for own, other in zip(tiny.overviews(ours), tiny.overviews(drivers), strict=True):
        away = np.abs(own.astype(int) - other)
        assert away.max() <= 1
        assert (away > 0).mean() <= 0.02
        np.testing.assert_array_equal(own == NODATA, other == NODATA)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.key)
@pytest.mark.parametrize(
    "crs", ["EPSG:32650", "EPSG:6933", "+proj=laea +lat_0=30 +lon_0=110 +datum=WGS84 +units=m +type=crs"]
)
def test_a_reader_sees_no_difference(tmp_path, layer, crs):
    values = pixels((1300, 1100), layer)
    ours, drivers = both(tmp_path, values, layer, crs)
    with rasterio.open(ours) as own, rasterio.open(drivers) as other:
        assert own.profile == other.profile
        for read in ("tags", "descriptions", "colorinterp", "bounds", "nodatavals", "block_shapes"):
            found, expected = (getattr(src, read) for src in (own, other))
            assert (found() if callable(found) else found) == (expected() if callable(expected) else expected)
        assert own.tags(1) == other.tags(1)
        for domain in ("IMAGE_STRUCTURE", "TIFF"):
            assert own.tags(ns=domain) == other.tags(ns=domain)
        assert own.overviews(1) == other.overviews(1)
        assert own.get_tag_item("GDAL_STRUCTURAL_METADATA", "TIFF") == other.get_tag_item(
            "GDAL_STRUCTURAL_METADATA", "TIFF"
        )
        if layer.colours:
            assert own.colormap(1) == other.colormap(1)
        np.testing.assert_array_equal(own.read(1), values)
        np.testing.assert_array_equal(own.dataset_mask(), other.dataset_mask())


def placed(path, level):
    """Where the blocks of a level lie, in reading order; -1 is the full raster."""
    with rasterio.open(path, **({} if level < 0 else {"overview_level": level})) as src:
        blocks = [index for index, _ in src.block_windows(1)]
    with rasterio.open(path) as src:
        more = {} if level < 0 else {"ovr": level}
        return [
            int(src.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1, **more)) for row, col in blocks
        ]


def test_blocks_lie_in_the_order_of_the_driver(tmp_path):
    """The smallest overview first, each level in reading order, every block between its size and its last bytes."""
    ours, drivers = both(tmp_path, pixels((2100, 1900), CLASSES), CLASSES)
    for path in (ours, drivers):
        levels = [placed(path, level) for level in (1, 0, -1)]
        flat = [at for level in levels for at in level]
        assert flat == sorted(flat)
    content = ours.read_bytes()
    places = [at for level in (1, 0, -1) for at in placed(ours, level)]
    for at, following in pairwise([*places, len(content) + 4]):
        size = int.from_bytes(content[at - 4 : at], "little")
        assert content[at + size : at + size + 4] == content[at + size - 4 : at + size]
        assert following == at + size + 8


def test_rio_cogeo_has_nothing_to_say(tmp_path):
    ours, _ = both(tmp_path, pixels((1300, 1100), CLASSES), CLASSES)
    main = "from rasterio.rio.main import main_group; main_group()"
    rio = [sys.executable, "-c", main, "cogeo", "validate", "--strict", str(ours)]
    done = subprocess.run(rio, check=True, capture_output=True, text=True)
    assert "is a valid cloud optimized GeoTIFF" in done.stdout
    assert not done.stderr


def test_files_are_hardly_larger_than_the_drivers(tmp_path):
    rng = np.random.default_rng(3)
    blobs = rng.random((64, 64)).repeat(32, 0).repeat(32, 1) + rng.random((2048, 2048)) / 4
    for layer, values in ((CLASSES, blobs > 0.6), (PROBABILITY, blobs * 80)):
        ours, drivers = both(tmp_path, values.astype(np.uint8), layer)
        assert ours.stat().st_size <= 1.05 * drivers.stat().st_size
