"""`Scene.read` against rasterio's plain read and numpy's pad."""

import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import Resampling, reproject

sys.path.insert(0, str(Path(__file__).parents[1]))
from bad_rasters import TRANSFORM, WANTED, reflectance_dn, write_raster

from isamap.domain.grid import Window
from isamap.io.raster import SceneInput, open_scene

SIDES = st.integers(1, 70)
LAYOUTS = st.sampled_from(
    [
        {"tiled": True, "blockxsize": 16, "blockysize": 16},
        {"tiled": True, "blockxsize": 64, "blockysize": 32},
        {"tiled": False, "blockxsize": None, "blockysize": 1},
        {"tiled": False, "blockxsize": None, "blockysize": 5},
    ]
)


@st.composite
def windows_of(draw, height, width):
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Window(top, left, draw(st.integers(1, height - top)), draw(st.integers(1, width - left)))


def padded(values, window, halo_px):
    """The plain way: everything read, everything padded, then cut."""
    around = [(0, 0)] * (values.ndim - 2) + [(halo_px, halo_px)] * 2
    whole = np.pad(values, around, mode="reflect") if halo_px else values
    rows, cols = window.padded(halo_px).height, window.padded(halo_px).width
    return whole[..., window.row_off : window.row_off + rows, window.col_off : window.col_off + cols]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_read_equals_plain_read_and_pad(data, tmp_path_factory):
    height, width, halo_px = data.draw(SIDES), data.draw(SIDES), data.draw(st.integers(0, 90))
    window = data.draw(windows_of(height, width))
    layout = {key: value for key, value in data.draw(LAYOUTS).items() if value is not None}
    interleave = data.draw(st.sampled_from(["pixel", "band"]))
    dtype = data.draw(st.sampled_from(["uint16", "int16", "float32", "float64"]))
    nodata = data.draw(st.sampled_from([None, 0]))
    order = data.draw(st.permutations(WANTED))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))

    dn = reflectance_dn(rng, shape=(height, width))
    dn[:, rng.random((height, width)) < 0.2] = 0
    dn[rng.random(dn.shape) < 0.05] = 0
    stored = dn / np.array(1e4, dtype) if dtype.startswith("float") else dn
    path = tmp_path_factory.mktemp("oracle") / "scene.tif"
    if layout["tiled"] is False:
        layout["blockxsize"] = width
    write_raster(path, stored.astype(dtype), nodata=nodata, interleave=interleave, **layout)

    with rasterio.open(path) as src:
        plain = src.read([WANTED.index(band) + 1 for band in order])
    valid = (plain != nodata).all(axis=0) if nodata is not None else (plain != 0).any(axis=0)
    expected = np.where(valid, plain.astype(np.float32) / (1 if dtype.startswith("float") else 10_000), 0)

    with open_scene(SceneInput((path,)), order) as scene:
        reflectance, seen = scene.read(window, halo_px)
    np.testing.assert_array_equal(seen, padded(valid, window, halo_px))
    np.testing.assert_array_equal(reflectance, padded(expected.astype(np.float32), window, halo_px))


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_coarser_bands_are_repeated_on_the_10_m_grid(data, tmp_path_factory):
    height, width, halo_px = data.draw(SIDES), data.draw(SIDES), data.draw(st.integers(0, 40))
    window, factor = data.draw(windows_of(height, width)), data.draw(st.sampled_from([1, 2, 6]))
    north, west = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20))
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    folder = tmp_path_factory.mktemp("oracle")
    fine = write_raster(folder / "10m.tif", reflectance_dn(rng, shape=(height, width)))
    shape = -(-(height + north) // factor), -(-(width + west) // factor)
    values = reflectance_dn(rng, 2, shape)
    corner = Affine(10 * factor, 0, TRANSFORM.c - 10 * west, 0, -10 * factor, TRANSFORM.f + 10 * north)
    coarse = write_raster(folder / "coarse.tif", values, ("B11", "SCL"), transform=corner)

    repeated = values[0].repeat(factor, axis=0).repeat(factor, axis=1)
    expected = repeated[north : north + height, west : west + width].astype(np.float32) / 10_000
    paths = (coarse, fine) if factor > 1 else (fine, coarse)  # the first 10 m file is the grid
    with open_scene(SceneInput(paths), ("B04", "B11")) as scene:
        reflectance, _ = scene.read(window, halo_px)
        assert tuple(scene.geobox.transform) == tuple(TRANSFORM)
    np.testing.assert_array_equal(reflectance[1], padded(expected, window, halo_px))


def test_a_warped_read_equals_gdals_warp(tmp_path):
    rng = np.random.default_rng(3)
    values = np.cumsum(rng.normal(size=(4, 90, 80)), axis=2).astype(np.float32) / 200 + 0.4
    values[:, 20:30, 20:30] = np.nan
    source = Affine(9.99, 0.2, 600_003, 0.2, -9.98, 3_400_004)
    path = write_raster(tmp_path / "turned.tif", values, transform=source)
    with open_scene(SceneInput((path,), reproject=True), WANTED) as scene:
        height, width = scene.geobox.shape
        reflectance, valid = scene.read(Window(0, 0, height, width), 0)
        part, part_valid = scene.read(Window(10, 15, 20, 25), 7)
    assert all(edge % 10 == 0 for edge in scene.geobox.boundingbox)

    def warped(resampling):
        out = np.full((4, height, width), np.nan, np.float32)
        grid = {"dst_transform": scene.geobox.transform, "dst_crs": "EPSG:32650", "dst_nodata": np.nan}
        origin = {"src_transform": source, "src_crs": "EPSG:32650", "src_nodata": np.nan}
        return reproject(values, out, resampling=resampling, **origin, **grid)[0]

    nearest, bilinear = warped(Resampling.nearest), warped(Resampling.bilinear)
    np.testing.assert_array_equal(valid, np.isfinite(nearest).all(axis=0))
    np.testing.assert_allclose(reflectance[:, valid], bilinear[:, valid], atol=2e-3)
    np.testing.assert_array_equal(part, reflectance[:, 3:37, 8:47])
    np.testing.assert_array_equal(part_valid, valid[3:37, 8:47])
