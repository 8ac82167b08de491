"""Rasters that are turned against the grid: `--reproject` gives the pixels that lie there, in every window."""

import numpy as np
import pytest
import rasterio
import tiny
from affine import Affine
from rasterio.windows import Window


def write(path, values, transform, like):
    profile = {"driver": "GTiff", "count": len(values), "dtype": values.dtype, "crs": like.crs, "nodata": 0}
    size = {"height": values.shape[1], "width": values.shape[2]}
    with rasterio.open(path, "w", transform=transform, **profile, **size) as dst:
        dst.write(np.ascontiguousarray(values))
        dst.descriptions = like.descriptions
    return path


@pytest.fixture
def town(tmp_path):
    """40 x 200 pixels of the bundled scene, on the grid, and where they lie."""
    with rasterio.open(tiny.CHONGQING) as src:
        window = Window(tiny.TOWN.col_off, tiny.TOWN.row_off, 200, 40)
        values, place = src.read(window=window), src.window_transform(window)
        place = Affine(10, 0, round(place.c, -1), 0, -10, round(place.f, -1))
        yield values, place, src


def test_a_raster_turned_by_a_quarter_gives_the_same_map(isamap, tmp_path, town):
    values, place, like = town
    write(tmp_path / "own.tif", values, place, like)
    turned = Affine(0, -10, place.c + 10 * values.shape[2], -10, 0, place.f)
    write(tmp_path / "turned.tif", np.rot90(values, 1, (1, 2)), turned, like)
    for name, more in (("own", ()), ("turned", ("--reproject",))):
        source = tmp_path / f"{name}.tif"
        assert isamap("infer", "--input", source, "-o", tmp_path / "maps", *more).code == 0
    own, other = (tiny.read(tmp_path / "maps" / f"{name}-isa.tif") for name in ("own", "turned"))
    assert np.array_equal(own, other)


def test_a_turned_raster_is_the_same_in_all_windows(isamap, tmp_path, town):
    values, place, like = town
    wide = np.tile(values, (1, 10, 2))
    turned = place * Affine.rotation(20)
    source = write(tmp_path / "turned.tif", wide, turned, like)
    found = []
    for window in (256, 512):
        out = tmp_path / str(window)
        assert isamap("infer", "--input", source, "-o", out, "--reproject", "--window", window).code == 0
        found.append(tiny.read(out / "turned-isa.tif"))
    assert (found[0] != found[1]).mean() < 1e-4
