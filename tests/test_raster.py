import hashlib
import logging
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from bad_rasters import EPSG, SIDE, TRANSFORM, WANTED, flip_byte, reflectance_dn, write_raster
from rasterio.enums import ColorInterp
from rasterio.shutil import copy
from realdata import real

from isamap.domain.grid import Window, windows
from isamap.errors import InputError, MissingInputError
from isamap.io import guard, layers
from isamap.io.raster import GDAL_ENV, SceneInput, check_scene, open_scene

TEN = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
OSCD = ("B02", "B03", "B04", "B08", "B05", "B8A", "B11", "B12")
EVERYTHING = Window(0, 0, SIDE, SIDE)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def dn(rng):
    return reflectance_dn(rng)


def read(*paths, wanted=WANTED, window=EVERYTHING, halo_px=0, **given):
    with open_scene(SceneInput(paths, **given), wanted) as scene:
        return scene.read(window, halo_px)


def check(*paths, wanted=WANTED, **given):
    with open_scene(SceneInput(paths, **given), wanted) as scene:
        check_scene(scene)


# what the values mean


def test_bands_come_in_the_wanted_order_whatever_the_files_order(tmp_path, dn):
    path = write_raster(tmp_path / "scene.tif", dn, ("B08", "red", "SCL", "b2"))
    reflectance, valid = read(path, wanted=("B02", "B04", "B08"))
    np.testing.assert_array_equal(reflectance, dn[[3, 1, 0]].astype(np.float32) / 10_000)
    assert valid.all()


def tag(path, scale, offset):
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = [scale] * dst.count, [offset] * dst.count
    return path


@pytest.mark.parametrize(("offset", "given", "added"), [(-0.1, None, -1000), (0, None, 0), (-0.1, 0, 0)])
def test_an_offset_that_the_file_declares_is_heeded(tmp_path, dn, offset, given, added):
    path = tag(write_raster(tmp_path / "scene.tif", dn), 1e-4, offset)
    reflectance, _ = read(path, offset=given)
    np.testing.assert_allclose(reflectance, (dn.astype(np.float32) + added) / 10_000, atol=1e-6)


@pytest.mark.parametrize(("scale", "offset"), [(2.75e-5, -0.2), (1, -1000), (1e-3, 0)])
def test_another_unit_is_refused(tmp_path, dn, scale, offset):
    path = tag(write_raster(tmp_path / "scene.tif", dn), scale, offset)
    with pytest.raises(InputError, match=r"scene\.tif: says that reflectance is its values x"):
        read(path)


def test_files_of_one_scene_that_declare_different_offsets_are_refused(tmp_path, dn):
    first = tag(write_raster(tmp_path / "a.tif", dn[:2], WANTED[:2]), 1e-4, -0.1)
    second = write_raster(tmp_path / "b.tif", dn[2:], WANTED[2:])
    with pytest.raises(InputError, match=r"different offsets \(\[-1000, 0\]\)"):
        read(first, second)


def test_bands_that_are_only_counted_have_no_names(tmp_path, dn):
    stack = np.concatenate([dn, dn[:2]])
    path = write_raster(tmp_path / "ten.tif", stack, tuple(f"Band_{number}" for number in range(1, 7)))
    with pytest.raises(
        InputError,
        match=r"B02, B03, B04, B08 missing, there are only unnamed, .*\('Band_1' only counts\): .*name all 6 bands in order",
    ):
        read(path, wanted=("B02", "B03", "B04", "B08"))
    reflectance, _ = read(path, wanted=("B02",), bands=("B02", *[None] * 5))
    np.testing.assert_array_equal(reflectance[0], dn[0].astype(np.float32) / 10_000)


def test_one_counted_band_is_what_its_file_is_called(tmp_path, dn):
    path = write_raster(tmp_path / "T50RQU_20210714T025549_B02_10m.tif", dn[:1], ("Band 1",))
    np.testing.assert_array_equal(read(path, wanted=("B02",))[0], dn[:1].astype(np.float32) / 10_000)
    path = write_raster(tmp_path / "blue.tif", dn[:1], ("Band 1",))
    with pytest.raises(InputError, match="B01 missing, there are only unnamed"):
        read(path, wanted=("B01",))


def test_the_users_band_names_run_over_all_files(tmp_path, dn):
    first = write_raster(tmp_path / "a.tif", dn[:2], ("B04_a", "B03_a"))
    second = write_raster(tmp_path / "b.tif", dn[2:], ("B04_b", None))
    reflectance, _ = read(first, second, wanted=("B08", "B02"), bands=("B02", None, None, "B08"))
    np.testing.assert_array_equal(reflectance, dn[[3, 0]].astype(np.float32) / 10_000)


def test_the_offset_is_applied_once(tmp_path, dn):
    path = write_raster(tmp_path / "scene.tif", dn)
    np.testing.assert_allclose(read(path, offset=-1000)[0], (dn - 1000.0) / 10_000, atol=1e-6)


def test_an_offset_for_floats_is_refused(tmp_path, dn):
    with pytest.raises(InputError, match="--offset is for integer DN"):
        read(write_raster(tmp_path / "scene.tif", (dn / 1e4).astype(np.float32)), offset=-1000)


def test_a_pixel_is_valid_only_if_every_wanted_band_is(tmp_path, dn):
    dn[1, 5, 6] = dn[:, 9, 9] = 0
    reflectance, valid = read(write_raster(tmp_path / "scene.tif", dn, nodata=0))
    assert np.argwhere(~valid).tolist() == [[5, 6], [9, 9]]
    assert (reflectance[:, ~valid] == 0).all()


def test_without_declared_nodata_zero_counts_only_in_all_bands(tmp_path, dn):
    dn[1, 5, 6] = dn[:, 9, 9] = 0
    assert np.argwhere(~read(write_raster(tmp_path / "scene.tif", dn))[1]).tolist() == [[9, 9]]


@pytest.mark.parametrize("nodata", [b"-9999", b"70000"])
def test_a_nodata_that_no_pixel_can_have_is_like_none(tmp_path, dn, nodata):
    dn[1, 5, 6] = dn[:, 9, 9] = 0
    path = write_raster(tmp_path / "scene.tif", dn, nodata=12345)
    path.write_bytes(path.read_bytes().replace(b"12345", nodata))  # rasterio would not write it
    assert np.argwhere(~read(path)[1]).tolist() == [[9, 9]]


@pytest.mark.parametrize(("nodata", "missing"), [(None, [[9, 9]]), (np.nan, []), (0, [[5, 6], [9, 9]])])
def test_zeros_of_floats_count_as_those_of_integers_do_unless_nan_is_declared(tmp_path, dn, nodata, missing):
    values = dn / np.float32(10_000)
    values[1, 5, 6] = values[:, 9, 9] = 0
    path = write_raster(tmp_path / "scene.tif", values, nodata=nodata)
    assert np.argwhere(~read(path)[1]).tolist() == missing


def test_zero_in_the_floats_of_one_file_alone_is_a_value(tmp_path, dn):
    values = dn / np.float32(10_000)
    values[0, 5, 6] = values[:, 9, 9] = 0
    files = [
        write_raster(tmp_path / f"{name}.tif", band[None], (name,))
        for name, band in zip(WANTED, values, strict=True)
    ]
    assert np.argwhere(~read(*files)[1]).tolist() == [[9, 9]]


def test_floats_that_are_not_finite_are_not_valid(tmp_path, dn):
    values = dn / np.float32(10_000)
    values[0, 1, 1], values[2, 3, 4], values[3, 5, 5] = np.nan, np.inf, -9999
    _, valid = read(write_raster(tmp_path / "scene.tif", values, nodata=-9999))
    assert np.argwhere(~valid).tolist() == [[1, 1], [3, 4], [5, 5]]


def test_an_internal_mask_is_heeded(tmp_path, dn):
    path = write_raster(tmp_path / "scene.tif", dn)
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    mask[:10] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dst:
        dst.write_mask(mask)
    assert (read(path)[1] == (mask > 0)).all()


def test_an_alpha_band_is_heeded_unless_it_is_a_band(tmp_path, dn):
    dn[3, :10] = 0
    path = write_raster(tmp_path / "scene.tif", dn)
    with rasterio.open(path, "r+") as dst:
        dst.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    assert not read(path, wanted=("B02",))[1][:10].any()
    assert read(path)[1].all()


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("interleave", ["band", "pixel"])
def test_an_alpha_band_is_heeded_beside_any_number_of_bands(tmp_path, rng, bands, interleave):
    names = (*WANTED, "B11", "B12")[:bands]
    stack = np.concatenate([reflectance_dn(rng, bands), np.full((1, SIDE, SIDE), 65_535, np.uint16)])
    stack[-1, :, :40], stack[-1, 50] = 0, 1
    path = write_raster(tmp_path / "scene.tif", stack, names, interleave=interleave)
    with rasterio.open(path, "r+") as dst:
        dst.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * (bands - 1), ColorInterp.alpha]
    reflectance, valid = read(path, wanted=names)
    assert (valid == (stack[-1] > 0)).all()
    np.testing.assert_array_equal(reflectance[:, valid], stack[:-1, valid].astype(np.float32) / 10_000)
    aside = write_raster(tmp_path / "aside.tif", stack, names, transform=Affine(9.7, 0, 6e5, 0, -9.7, 34e5))
    with rasterio.open(aside, "r+") as dst:
        dst.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * (bands - 1), ColorInterp.alpha]
    with pytest.raises(InputError, match="has an alpha band, which is not reprojected"):
        read(aside, wanted=names, reproject=True)


def test_saturated_dn_are_clipped(tmp_path, dn):
    dn[0] = 65_535
    assert (read(write_raster(tmp_path / "scene.tif", dn))[0][0] == 2).all()


def test_percent_is_refused_with_the_file_and_the_band(tmp_path, dn):
    path = write_raster(tmp_path / "scene.tif", (dn / 100).astype(np.float32))
    with pytest.raises(InputError, match=rf"{path}: B02: value .* divide it by 100"):
        read(path)


# the grid


def test_the_grid_is_that_of_the_file(tmp_path, dn):
    with open_scene(SceneInput((write_raster(tmp_path / "scene.tif", dn),)), WANTED) as scene:
        assert tuple(scene.geobox.shape) == (SIDE, SIDE)
        assert (str(scene.geobox.crs), tuple(scene.geobox.transform)) == (EPSG, tuple(TRANSFORM))
        assert scene.bands == WANTED


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"transform": Affine(9.995, 0, 6e5, 0, -9.995, 34e5)},
            r"pixels of 9.995 x 9.995 \(metre\), not 10 m",
        ),
        ({"transform": Affine(10, 0, 6e5, 0, -20, 34e5)}, "10 x 20"),
        ({"crs": "EPSG:2263"}, r"US survey foot"),
        ({"crs": "EPSG:3857", "transform": Affine(10, 0, 13e6, 0, -10, 3.5e6)}, r"covers 7\d m2 of ground"),
        ({"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 118, 0, -1e-4, 31)}, "no projected CRS"),
    ],
)
def test_another_grid_is_refused_and_reproject_helps(tmp_path, dn, caplog, changes, message):
    path = write_raster(tmp_path / "scene.tif", dn, **changes)
    with pytest.raises(InputError, match=rf"{path}: .*{message}.*: --reproject"):
        check(path)
    assert not caplog.records
    check(path, reproject=True)
    assert f"{path}: resampled to the UTM 10 m grid" in caplog.messages[0]


def test_a_scene_on_its_own_grid_is_not_resampled_whatever_is_asked(tmp_path, dn, caplog):
    check(write_raster(tmp_path / "scene.tif", dn), reproject=True)
    assert not caplog.records


def test_the_grid_that_is_wanted_is_that_of_the_model(tmp_path, dn):
    coarse = write_raster(tmp_path / "a.tif", dn, WANTED)
    with (
        pytest.raises(InputError, match=r"not 4 m: --reproject brings it to the UTM 4 m grid$"),
        open_scene(SceneInput((coarse,)), WANTED, (), 4.0),
    ):
        pass
    fine, small = Affine(4, 0, 600_000, 0, -4, 3_300_000), dn[3:, :-1]
    first = write_raster(tmp_path / "b.tif", dn[:3], WANTED[:3], transform=fine)
    second = write_raster(tmp_path / "c.tif", small, WANTED[3:], transform=fine)
    with (
        pytest.raises(InputError, match=r"the whole 4 m grid: --reproject brings it to the UTM 4 m grid$"),
        open_scene(SceneInput((first, second)), WANTED, (), 4.0),
    ):
        pass


def test_an_equal_area_grid_of_10_m_is_as_good_as_utm(tmp_path, dn):
    check(
        write_raster(tmp_path / "scene.tif", dn, crs="EPSG:3035", transform=Affine(10, 0, 4.4e6, 0, -10, 3e6))
    )


@pytest.mark.parametrize(("lon", "lat", "epsg"), [(118, 31, 32650), (-43, -22, 32723), (179.99, 5, 32660)])
def test_reprojection_goes_to_the_local_zone_on_multiples_of_10_m(tmp_path, dn, lon, lat, epsg):
    path = write_raster(
        tmp_path / "scene.tif", dn, crs="EPSG:4326", transform=Affine(1e-4, 0, lon, 0, -1e-4, lat)
    )
    with open_scene(SceneInput((path,), reproject=True), WANTED) as scene:
        assert scene.geobox.crs.to_epsg() == epsg
        assert scene.geobox.transform[:2] == (10, 0)
        assert not any(edge % 10 for edge in scene.geobox.boundingbox)


@pytest.mark.parametrize("unit", [1, np.float32(1e-4)])
def test_warping_neither_loses_the_mask_nor_blurs_into_it(tmp_path, dn, unit):
    dn[:] = 3000
    dn[:, :60] = 0
    dn = dn * unit
    path = write_raster(tmp_path / "scene.tif", dn, transform=Affine(9.7, 0, 600_003, 0, -9.7, 3_400_004))
    with open_scene(SceneInput((path,), reproject=True), WANTED) as scene:
        assert scene._layers[0].warp
        height, width = scene.geobox.shape
        reflectance, valid = scene.read(Window(0, 0, height, width), 0)
    assert 0.4 < valid.mean() < 0.6
    np.testing.assert_allclose(reflectance[:, valid], 0.3, atol=1e-4)


def test_a_position_off_the_earth_is_refused_even_with_reproject(tmp_path, dn):
    path = write_raster(tmp_path / "scene.tif", dn, transform=Affine(10, 0, 1e9, 0, -10, 1e9))
    with pytest.raises(InputError, match=r"scene\.tif: "):
        check(path, reproject=True)


def test_files_of_two_zones_are_refused(tmp_path, dn):
    first = write_raster(tmp_path / "a.tif", dn[:3], WANTED[:3])
    second = write_raster(tmp_path / "b.tif", dn[3:], WANTED[3:], crs="EPSG:32651")
    with pytest.raises(InputError, match=r"b.tif: lies in EPSG:32651, the 10 m grid in EPSG:32650"):
        check(first, second)


def test_a_second_file_that_covers_too_little_is_refused(tmp_path, dn):
    first = write_raster(tmp_path / "a.tif", dn[:3], WANTED[:3])
    second = write_raster(tmp_path / "b.tif", dn[3:, :-1], WANTED[3:])
    with pytest.raises(InputError, match=r"b.tif: does not cover the whole 10 m grid"):
        check(first, second)


def test_a_band_in_two_files_is_refused(tmp_path, dn):
    paths = [write_raster(tmp_path / name, dn) for name in ("a.tif", "b.tif")]
    with pytest.raises(InputError, match=r"b.tif: holds B02, and so does .*a.tif"):
        check(*paths)


def test_jpeg_2000_files_are_named_by_their_file_names(tmp_path, dn):
    paths = []
    for band, values in zip(WANTED, dn, strict=True):
        tif = write_raster(tmp_path / f"{band}.tif", values[None], ())
        paths.append(tmp_path / f"T50RPV_20220613T101041_{band}_10m.jp2")
        with rasterio.open(tif) as src:
            options = {"QUALITY": 100, "REVERSIBLE": "YES", "driver": "JP2OpenJPEG"}
            copy(src, paths[-1], **options)
    np.testing.assert_array_equal(read(*paths)[0], dn.astype(np.float32) / 10_000)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_jpeg_2000_file_cut_off_in_the_middle_is_never_nodata(tmp_path, share):
    # With several threads GDAL gives zeros for blocks that do not decode, and no error.
    values = np.random.default_rng(1).integers(500, 3000, (1, 1024, 1024), np.uint16)
    whole, paths = write_raster(tmp_path / "whole.tif", values, ()), []
    for band in WANTED:
        paths.append(tmp_path / f"{band}.jp2")
        options = {"QUALITY": 100, "REVERSIBLE": "YES", "BLOCKXSIZE": 256, "BLOCKYSIZE": 256}
        with rasterio.open(whole) as src:
            copy(src, paths[-1], driver="JP2OpenJPEG", **options)
    paths[-1].write_bytes(paths[-1].read_bytes()[: int(paths[-1].stat().st_size * share)])
    with pytest.raises(InputError, match=rf"{WANTED[-1]}\.jp2"):
        read(*paths, window=Window(0, 0, 1024, 1024))


# what a header cannot hide


def test_a_missing_file_is_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match=r"none\.tif: no such file"):
        read(tmp_path / "none.tif")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="no regular file"):
        read(tmp_path)


@pytest.mark.parametrize(
    "name",
    ["/vsicurl/http://127.0.0.1:9/x.tif", "/vsizip/a.zip/b.tif", "GTI:x.gti", "MEM:::DATAPOINTER=1", "<VRTDataset/>",
     "GTIFF_DIR:1:x.tif", "NETCDF:x.nc:a", "https://example.org/x.tif", "zip+file://a.zip!b.tif"],
)  # fmt: skip
def test_gdals_virtual_files_are_refused(name):
    with pytest.raises(InputError, match="GDAL virtual file"):
        read(Path(name))


def test_a_vrt_named_tif_reads_nothing(tmp_path, dn):
    secret = write_raster(tmp_path / "secret.tif", dn)
    path = tmp_path / "scene.tif"
    path.write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>'
        f"<SourceFilename>{secret}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with pytest.raises(InputError, match="cannot be opened as GTiff"):
        read(path)


def test_files_beside_the_raster_change_nothing_and_a_mask_is_warned_of_once(tmp_path, dn, caplog):
    path = write_raster(tmp_path / "scene.tif", dn)
    expected = read(path)
    (tmp_path / "scene.tif.aux.xml").write_text(
        '<PAMDataset><GeoTransform>0,5,0,0,0,-5</GeoTransform><PAMRasterBand band="1"><Description>B11</Description>'
        "<NoDataValue>1000</NoDataValue></PAMRasterBand></PAMDataset>"
    )
    (tmp_path / "scene.tfw").write_text("5\n0\n0\n-5\n0\n0\n")
    mask = np.zeros((1, SIDE, SIDE), np.uint8)
    write_raster(tmp_path / "scene.tif.msk", mask, (), crs=None)
    write_raster(tmp_path / "scene.tif.ovr", dn[:, ::2, ::2], ())
    assert caplog.messages == []
    for _ in range(2):
        for now, before in zip(read(path), expected, strict=True):
            np.testing.assert_array_equal(now, before)
    (said,) = caplog.messages
    assert said.startswith(f"{path}.msk is not read, only the raster itself is input")


@pytest.mark.parametrize(
    ("limit", "value", "message"),
    [
        ("MAX_SIDE_PX", 100, "more than 100 a side"),
        ("MAX_BANDS", 3, "has 4 bands"),
        ("MAX_BLOCK_BYTES", 1000, "blocks of"),
    ],
)
def test_size_is_limited_before_anything_is_read(tmp_path, dn, monkeypatch, limit, value, message):
    monkeypatch.setattr(guard, limit, value)
    with pytest.raises(InputError, match=message):
        read(write_raster(tmp_path / "scene.tif", dn))


def test_a_whole_sentinel_2_granule_is_within_the_limits(tmp_path):
    path, side = tmp_path / "granule.tif", 10_980
    profile = {"crs": EPSG, "transform": TRANSFORM, "dtype": "uint16", "sparse_ok": True}
    with rasterio.open(path, "w", "GTiff", width=side, height=side, count=4, tiled=True, **profile) as dst:
        dst.descriptions = WANTED
    with open_scene(SceneInput((path,)), WANTED) as scene:
        assert tuple(scene.geobox.shape) == (side, side)


def test_no_cut_file_is_ever_used(tmp_path, dn):
    path = write_raster(tmp_path / "scene.tif", dn)
    whole = path.read_bytes()
    for share in np.linspace(0, 1, 20, endpoint=False):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match=r"scene\.tif: "):
            check(path)


def test_a_flipped_byte_changes_the_digest_and_mostly_stops_the_read(tmp_path, dn):
    # TIFF blocks carry no checksum that libtiff looks at: what still decodes can only be told by the digest.
    path = write_raster(tmp_path / "scene.tif", dn)
    whole, stopped, digests = path.read_bytes(), 0, set()
    for number in range(100):
        flip_byte(path, (number % 2, number // 2 % 2), share=(number + 0.5) / 100)
        digests.add(SceneInput((path,)).digest())
        with open_scene(SceneInput((path,)), WANTED) as scene:
            try:
                scene.read(EVERYTHING, 0)
            except InputError as error:
                stopped += "cannot be read" in str(error)
        path.write_bytes(whole)
    assert len(digests) == 100
    assert stopped > 60


@pytest.mark.parametrize("reproject", [False, True])
def test_damage_is_found_in_any_thread_and_gdal_stays_silent(tmp_path, dn, capfd, reproject):
    shift = 3 if reproject else 0
    path = write_raster(
        tmp_path / "scene.tif", dn, transform=Affine(10, 0, 600_000 + shift, 0, -10, 3_400_000)
    )
    flip_byte(path, (1, 1))
    with open_scene(SceneInput((path,), reproject=reproject), WANTED) as scene, ThreadPoolExecutor(1) as pool:
        scene.read(Window(0, 0, 32, 32), 0)
        with pytest.raises(InputError, match=rf"{path}: rows .* cannot be read"):
            pool.submit(scene.read, Window(96, 96, 32, 32), 0).result()
    assert capfd.readouterr() == ("", "")


# the sample of pixels


def test_one_valid_pixel_is_enough_to_map(tmp_path, dn):
    side = 1000
    values = np.zeros((4, side, side), np.uint16)
    path = write_raster(tmp_path / "scene.tif", values, nodata=0)
    with pytest.raises(InputError, match="no pixel is valid"):
        check(path)
    values[:, 150, 150] = 500
    check(write_raster(path, values, nodata=0))


def test_a_left_over_offset_is_warned_of(tmp_path, dn, caplog):
    check(write_raster(tmp_path / "scene.tif", dn + 1000))
    assert re.search(r"scene.tif: the darkest pixels .* --offset -1000", caplog.text)
    caplog.clear()
    check(tmp_path / "scene.tif", offset=-1000)
    check(write_raster(tmp_path / "scene.tif", dn))
    assert not caplog.records


@pytest.mark.parametrize("unit", [1, np.float32(1e-4)])
@pytest.mark.parametrize("dark", [0, 25])
def test_an_offset_is_seen_in_floats_and_beside_a_handful_of_dark_pixels(tmp_path, dn, caplog, unit, dark):
    lifted = dn[:, :100, :100] + np.uint16(1000)
    lifted[:, 0, :dark] = 1
    check(write_raster(tmp_path / "scene.tif", lifted * unit))
    advice = "give --offset -1000" if unit == 1 else "take 0.1 off the values"
    assert re.search(rf"the darkest pixels have reflectance 0.1\d\d: .*04.00.*, {advice}", caplog.text)
    caplog.clear()
    older = tmp_path / "S2A_MSIL2A_20210714T064631_N0301_R020_T40RCN_20210714T101010.SAFE"
    older.mkdir()
    check(write_raster(older / "scene.tif", lifted * unit))
    assert not caplog.records


def test_a_path_that_names_the_baseline_is_warned_of_until_the_user_says(tmp_path, dn, caplog):
    folder = tmp_path / "S2A_MSIL2A_20230613T064631_N0509_R020_T40RCN_20230613T101010.SAFE"
    folder.mkdir()
    dn[:] += 1000
    dn[:, :4] = 950
    path = write_raster(folder / "a.tif", dn)
    check(path)
    assert re.search(
        "name or tags say .*, give --offset -1000 .*--offset 0 says that it is gone", caplog.text
    )
    caplog.clear()
    check(path, offset=-1000)
    check(path, offset=0)
    check(tag(path, 1e-4, -0.1))
    check(write_raster(folder / "b.tif", dn - 900))
    assert not caplog.records


@pytest.mark.parametrize(("highest", "said"), [(255, "bytes"), (65_535, "stretched")])
def test_integers_that_are_no_reflectance_are_warned_of(tmp_path, rng, caplog, highest, said):
    values = rng.integers(highest // 9, highest, (4, SIDE, SIDE), endpoint=True).astype(np.uint16)
    check(write_raster(tmp_path / "scene.tif", values))
    assert len(caplog.records) == 1
    assert said in caplog.text
    assert "--offset" not in caplog.text


def test_an_offset_taken_off_twice_is_warned_of(tmp_path, dn, caplog):
    check(write_raster(tmp_path / "scene.tif", dn // 4), offset=-1000)
    assert "--offset -1000 seems removed already" in caplog.text


# resources


def test_threads_read_the_same_pixels(tmp_path, dn):
    path = write_raster(tmp_path / "scene.tif", dn)
    with open_scene(SceneInput((path,)), WANTED) as scene:
        expected = [scene.read(window, 16)[0] for window in windows((SIDE, SIDE), 32)]
        barrier = threading.Barrier(4)

        def read_all(_):
            barrier.wait(timeout=30)
            return [scene.read(window, 16)[0] for window in windows((SIDE, SIDE), 32)]

        with ThreadPoolExecutor(4) as pool:
            for result in pool.map(read_all, range(4)):
                np.testing.assert_array_equal(result, expected)
        assert len({id(file.values) for file in scene._files()}) == 1


def test_the_cache_is_set_in_bytes_and_holds_three_rows_of_blocks(tmp_path, dn, monkeypatch):
    assert GDAL_ENV["GDAL_CACHEMAX"] >= 64 << 20
    path = write_raster(tmp_path / "scene.tif", dn, interleave="pixel")
    with open_scene(SceneInput((path,)), WANTED) as scene:
        assert rasterio.env.getenv()["GDAL_CACHEMAX"] == GDAL_ENV["GDAL_CACHEMAX"]
        assert scene._layers[0].cache_bytes(SIDE) == 3 * SIDE * 64 * 4 * 2
    assert not rasterio.env.hasenv()


def test_one_window_of_a_huge_raster_takes_little_memory(tmp_path):
    path, side = tmp_path / "huge.tif", 20_000
    profile = {"crs": EPSG, "transform": TRANSFORM, "dtype": "uint16", "sparse_ok": True, "nodata": 0}
    blocks = {"tiled": True, "blockxsize": 512, "blockysize": 512}
    with rasterio.open(path, "w", "GTiff", width=side, height=side, count=4, **blocks, **profile) as dst:
        dst.descriptions = WANTED
        dst.write(np.full((4, 512, 512), 900, np.uint16), window=((9728, 10240), (9728, 10240)))
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from isamap.domain.grid import Window\n"
        "from isamap.io.raster import SceneInput, open_scene\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with open_scene(SceneInput((Path(sys.argv[1]),)), ('B02', 'B08')) as scene:\n"
        "    assert scene.read(Window(9728, 9728, 512, 512), 32)[1].sum() == 512 * 512\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], cwd=root, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(root)},
    )  # fmt: skip
    assert int(done.stdout) < 150_000, "kB"


def test_the_digest_is_that_of_the_files_bytes(tmp_path, dn):
    first = write_raster(tmp_path / "a.tif", dn[:3], WANTED[:3])
    second = write_raster(tmp_path / "b.tif", dn[3:], WANTED[3:])
    scene = SceneInput((first, second))
    assert scene.digest() == hashlib.sha256(first.read_bytes() + second.read_bytes()).hexdigest()


def test_only_the_wanted_layers_are_opened(tmp_path, dn):
    used = write_raster(tmp_path / "a.tif", dn)
    unused = write_raster(tmp_path / "b.tif", dn[:1].astype(np.uint8), ("SCL",))
    with open_scene(SceneInput((used, unused)), WANTED) as scene:
        scene.read(EVERYTHING, 0)
        assert [layer.path for layer in scene._layers] == [used]
    assert layers.WARP_ERROR_PX < 0.1


# the real scenes


@pytest.mark.parametrize(
    ("names", "wanted", "given"),
    [
        (("s2-bolzano-2022/s2-bolzano-2022-06.tif",), WANTED, {}),
        (("s2-leipzig-north/s2-leipzig.tif",), ("B02", "B03", "B04", "B08", "B11"), {}),
        (("s2-austria-ftw/s2-austria-two-dates.tif",), WANTED, {"bands": ("B04", "B03", "B02", "B08", *[None] * 4)}),
        (("s2-dubai-1m/s2-20151211-10m.tif", "s2-dubai-1m/s2-20151211-20m.tif"), TEN, {}),
        (("s2-dubai-1m/s2-20180330-20m.tif", "s2-dubai-1m/s2-20180330-10m.tif"), TEN, {}),
        *[
            ((f"s2-oscd-change/{city}-10m.tif", f"s2-oscd-change/{city}-20m.tif"), OSCD, {})
            for city in ("chongqing/chongqing-20180402", "beihai/beihai-20161209", "rio/rio-20160424")
        ],
        *[((f"s2-slovenia-5dates/s2-slovenia-{date}.tif",), WANTED, {"reproject": True}) for date in range(1, 5)],  # the first is hazy
        *[((f"s2-boadella-2020/s2-boadella-2020-01-{day}.tif",), WANTED, {"reproject": True}) for day in (13, 28)],
        (("s2-massachusetts/s2-massachusetts.tif",), WANTED, {"reproject": True}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)  # fmt: skip
def test_a_real_scene_opens_without_a_warning(names, wanted, given, caplog):
    with open_scene(SceneInput(real(*names), **given), wanted) as scene:
        check_scene(scene)
        height, width = scene.geobox.shape
        reflectance, valid = scene.read(Window(0, 0, height, width), 0)
    assert valid.mean() > 0.85
    assert all(0.02 < band[valid].mean() < 0.5 for band in reflectance)
    warned = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [text for text in warned if not (given.get("reproject") and "resampled to the UTM" in text)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("s2-austria-ftw/s2-austria-two-dates.tif", r"B04_a.*name all 8 bands in order"),
        ("s2-boadella-2020/s2-boadella-2020-01-13.tif", r"EPSG:4326.*--reproject"),
        ("s2-massachusetts/s2-massachusetts.tif", r"EPSG:4326.*--reproject"),
        ("s2-slovenia-5dates/s2-slovenia-2.tif", r"pixels of 9.99479222 x 9.99744847 .*--reproject"),
        ("s2-cloud-mask/s2-reflectance.tif", r"has no CRS"),
        ("s2-eurosat-270/Forest.tif", r"has no CRS"),
        ("s2-singapore-punggol/ndvi-10m.tif", r"B02, B03, B04, B08 missing"),
        ("s2-dubai-1m/s2-20151211-20m.tif", r"B02, B03, B04, B08 missing"),
        ("dubai-aerial-1m/images/tile-3.tif", r"missing"),
        ("worldcover-sao-tome/esa-worldcover-2020-v100-sao-tome.tif", r"missing"),
    ],
)
def test_a_real_file_that_does_not_fit_is_refused_in_one_line(name, message):
    (path,) = real(name)
    with pytest.raises(InputError, match=message) as caught:
        check(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
