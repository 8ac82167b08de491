"""Layers as bits say what the layers say as bytes, whatever way they are read."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import reproject

from isamap.domain.bits import unpacked
from isamap.errors import InputError
from isamap.io.class_bits import bits_of, codes_of
from isamap.io.products import ISA, Product

UTM, LEFT, TOP = "EPSG:32648", 600_000, 3_300_000
CODES = "50,10=0,0=nodata"


def write(path, values, transform, crs=UTM, nodata=255):
    size = {"height": values.shape[0], "width": values.shape[1], "count": 1, "dtype": values.dtype}
    blocks = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    with rasterio.open(
        path, "w", driver="GTiff", **size, **blocks, crs=crs, transform=transform, nodata=nodata
    ) as dst:
        dst.write(values, 1)
    return path


@pytest.fixture
def town():
    """Blocks of 7 m with single gaps, `(y, x)`: 1 ISA, 0 not, 255 unknown."""
    rng = np.random.default_rng(4)
    values = (rng.random((90, 130)) < 0.4).astype(np.uint8).repeat(7, 0).repeat(7, 1)
    values[rng.random(values.shape) < 0.01] = 255
    return values


@pytest.fixture
def layers(tmp_path, town):
    """Products by name: on the pixels of the town, in overlapping sheets, ten times coarser, and in degrees."""
    fine = Affine(1, 0, LEFT, 0, -1, TOP)
    town[:300] = np.minimum(town[:300], 1)  # some windows know everything
    coarse = np.where(town[::10, ::10] == 255, 0, np.where(town[::10, ::10] == 1, 50, 10)).astype(np.uint8)
    degrees, place = np.zeros((90, 130), np.uint8), Affine(1e-4, 0, 106.0339, 0, -1e-4, 29.8264)
    far = Affine(10, 0, LEFT, 0, -10, TOP)
    reproject(coarse, degrees, src_transform=far, src_crs=UTM, dst_transform=place, dst_crs="EPSG:4326")
    write(tmp_path / "one.tif", town, fine)
    for number, first in enumerate((0, 400)):
        sheet = fine @ Affine.translation(first, 0)
        write(tmp_path / f"sheet-{number}.tif", town[:, first : first + 500], sheet)
    write(tmp_path / "coarse.tif", coarse, far, nodata=0)
    write(tmp_path / "degrees.tif", degrees, place, "EPSG:4326", nodata=0)
    sheets = tuple(tmp_path / f"sheet-{number}.tif" for number in (0, 1))
    return {
        "one": Product("one", (tmp_path / "one.tif",), ISA),
        "sheets": Product("sheets", sheets, ISA),
        "coarse": Product("coarse", (tmp_path / "coarse.tif",), CODES),
        "coarse shares": Product("coarse", (tmp_path / "coarse.tif",), "50=0.7,10=0.2,0=nodata"),
        "degrees": Product("degrees", (tmp_path / "degrees.tif",), CODES),
        "fine and coarse": Product("both", (tmp_path / "degrees.tif", tmp_path / "coarse.tif"), CODES),
    }


WINDOWS = {
    "inside": (100, 50, 230, 300),
    "at a block": (64, 128, 128, 192),
    "whole pixels of 10 m": (150, 200, 400, 300),
    "over the corner": (-33, -21, 200, 150),
    "over the other corner": (500, 800, 300, 261),
    "around it": (-40, -50, 720, 1010),
    "elsewhere": (5000, 5000, 64, 70),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", ["one", "sheets", "coarse", "coarse shares", "degrees", "fine and coarse"])
def test_bits_are_those_of_the_bytes(layers, name, window):
    row, col, height, width = WINDOWS[window]
    grid = GeoBox((height, width), Affine(1, 0, LEFT + col, 0, -1, TOP - row), UTM)
    product = layers[name]
    with product.shares() if product.fractional else product.classes() as layer:
        expected = codes_of(layer.on(grid))
        found = bits_of(layer, grid)
    seen = unpacked(found, slice(0, height), slice(0, width))
    np.testing.assert_array_equal(seen, expected)
    assert np.bitwise_count(found.isa).sum() == (seen == 1).sum()
    assert (window == "elsewhere") == (expected == 255).all()


def test_values_that_are_no_classes_are_refused(tmp_path):
    write(tmp_path / "codes.tif", np.full((100, 100), 50, np.uint8), Affine(1, 0, LEFT, 0, -1, TOP))
    grid = GeoBox((60, 60), Affine(1, 0, LEFT - 20, 0, -1, TOP), UTM)
    with (
        Product("codes", (tmp_path / "codes.tif",), ISA).classes() as layer,
        pytest.raises(InputError, match="has the values 50"),
    ):
        bits_of(layer, grid)
