"""Shifts between the years of `isamap change`: metres, what is looked at, what is said and what is moved."""

import json

import numpy as np
import pytest
import rasterio
from affine import Affine
from scipy import ndimage

YEARS = "2017,2019"


@pytest.fixture
def shifts(isamap):
    """Table of shifts of `isamap change ...`, and the whole document."""

    def shifts(*arguments):
        ended = isamap("change", *arguments, "--years", YEARS, "-o", "out", "--json")
        assert ended.code == 0, ended.err
        document = json.loads(ended.out)
        return document["tables"].get("shifts", []), document

    return shifts


def ground(height, width, seed=0):
    """Blobs, 1 on a quarter of the ground."""
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 5)
    return (smooth > np.quantile(smooth, 0.75)).astype(np.uint8)


def write(path, values, transform, crs="EPSG:32648"):
    """A plain GeoTIFF without item."""
    path.parent.mkdir(exist_ok=True)
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": 255, "tiled": True}
    shape = {"height": values.shape[0], "width": values.shape[1], "blockxsize": 512, "blockysize": 512}
    with rasterio.open(
        path, "w", **profile, **shape, compress="deflate", crs=crs, transform=transform
    ) as dst:
        dst.write(values, 1)
    return path


METRES = Affine(1, 0, 600_000, 0, -1, 3_300_000)


@pytest.mark.parametrize(
    ("crs", "transform", "east", "north"),
    [
        ("EPSG:4326", Affine(1 / 12000, 0, 25, 0, -1 / 12000, 60.02), 37.2, -18.57),
        ("EPSG:4326", Affine(1e-5, 0, 10, 0, -1e-5, 30), 7.71, -2.22),
        ("EPSG:32648", Affine(1, 0, 600_000, 0, 1, 3_300_000), 8, 2),
        ("EPSG:32648", METRES, 8, -2),
    ],
    ids=["10 m in degrees at 60 N", "1 m in degrees at 30 N", "south-up", "north-up"],
)
def test_shifts_are_metres_on_the_ground_in_both_directions(shifts, tmp_path, crs, transform, east, north):
    """The second map lies 8 columns to the right and 2 rows down."""
    whole = ground(420, 520)
    first = write(tmp_path / "2017.tif", whole[10:410, 10:510], transform, crs)
    second = write(tmp_path / "2019.tif", whole[8:408, 2:502], transform, crs)
    ((row,), _) = shifts(first, second)
    assert row["east (m)"] == pytest.approx(east, rel=0.005, abs=0.03)
    assert row["north (m)"] == pytest.approx(north, rel=0.005, abs=0.03)
    assert row["peak"] > 0.9
