import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from bad_rasters import EPSG, write_raster
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

from isamap.errors import InputError, MissingInputError
from isamap.io.ground import read_reflectance, warn_of_offset
from isamap.io.plate import check_on, lay, read_bytes, read_plate

LEFT, TOP = 600_000, 3_400_000
CANVAS = Affine(1, 0, LEFT, 0, -1, TOP)
GRID, SMALL = GeoBox((8, 9), CANVAS, EPSG), GeoBox((2, 2), CANVAS, EPSG)


def write(path, values, names=(), gsd_m=1, right_px=0, down_px=0, **profile):
    transform = Affine(gsd_m, 0, LEFT + right_px * gsd_m, 0, -gsd_m, TOP - down_px * gsd_m)
    return write_raster(path, values, names, **{"transform": transform} | profile)


@pytest.fixture
def dn():
    return np.random.default_rng(6).integers(1, 4000, (3, 8, 10)).astype(np.uint16)


def test_a_plate_is_what_the_file_holds(tmp_path, dn):
    plate = read_plate(write(tmp_path / "a.tif", dn, ("B02", "B03"), nodata=0))
    np.testing.assert_array_equal(plate.values, dn)
    assert plate.names == ("B02", "B03", "")
    assert plate.grid.transform == CANVAS
    assert plate.nodata == 0


def test_a_plate_needs_no_position(tmp_path, dn):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = write(tmp_path / "a.tif", dn, crs=None, transform=Affine.identity())
    assert read_plate(path).grid == GeoBox((8, 10), Affine.identity(), None)


def test_a_missing_or_damaged_plate_is_named(tmp_path, dn):
    with pytest.raises(MissingInputError, match=r"absent\.tif does not exist"):
        read_plate(tmp_path / "absent.tif")
    (tmp_path / "html.tif").write_text("<html>")
    with pytest.raises(InputError, match=r"html\.tif cannot be read as GeoTIFF"):
        read_plate(tmp_path / "html.tif")
    path = write(tmp_path / "cut.tif", dn)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"cut\.tif cannot be read as GeoTIFF"):
        read_plate(path)


def test_bands_of_several_files_come_in_the_wanted_order(tmp_path, dn):
    ten = write(tmp_path / "10m.tif", dn, ("B02", "B04", "B08"), gsd_m=10)
    twenty = write(tmp_path / "20m.tif", dn[:1, :4, :5], ("B11",), gsd_m=20)
    lr, present, grid = read_reflectance([ten, twenty], ("B11", "B08", "B03", "B02"), optional=("B03",))
    assert lr.dtype == np.float32
    np.testing.assert_array_equal(lr[1], dn[2].astype(np.float32) / 10_000)
    np.testing.assert_array_equal(lr[0], np.kron(dn[0, :4, :5], np.ones((2, 2))).astype(np.float32) / 10_000)
    np.testing.assert_array_equal(present.all(axis=(1, 2)), [True, True, False, True])
    assert not lr[2].any()
    assert grid == GeoBox((8, 10), Affine(10, 0, LEFT, 0, -10, TOP), EPSG)


def test_a_coarse_file_may_reach_half_a_pixel_further(tmp_path, dn):
    ten = write(tmp_path / "10m.tif", dn[:, :7, :9], ("B02", "B04", "B08"), gsd_m=10)
    twenty = write(tmp_path / "20m.tif", dn[:1, :4, :5], ("B11",), gsd_m=20)
    assert read_reflectance([ten, twenty], ("B11",))[0].shape == (1, 7, 9)


def test_a_file_that_is_too_small_is_refused(tmp_path, dn):
    ten = write(tmp_path / "10m.tif", dn, ("B02", "B04", "B08"), gsd_m=10)
    narrow = write(tmp_path / "20m.tif", dn[:1, :4, :3], ("B11",), gsd_m=20)
    with pytest.raises(InputError, match=r"20m\.tif: does not cover the whole 10 m grid"):
        read_reflectance([ten, narrow], ("B02", "B11"))


def test_zero_is_nothing_seen(tmp_path, dn):
    dn[1, 2, 3] = 0
    path = write(tmp_path / "a.tif", dn, ("B02", "B04", "B08"), gsd_m=10)
    _, present, _ = read_reflectance([path], ("B02", "B04"))
    assert np.argwhere(~present).tolist() == [[1, 2, 3]]


BANDS = ("B02", "B03", "B04")


def read_one(path, **asked):
    return read_reflectance([path], BANDS, **asked)[:2]


def as_floats(dn, dtype=np.float32):
    return (dn / 10_000).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_reflectance_and_integers_ten_thousand_times_that(tmp_path, dn, dtype):
    """One scene stored three ways is one scene; what a float file does not know is nothing seen."""
    expected = dn.astype(np.float32) / 10_000
    floats = as_floats(dn, dtype)
    floats[0, 1, 2] = np.nan
    lr, present = read_one(write(tmp_path / "f.tif", floats, BANDS, gsd_m=10, nodata=np.nan))
    assert np.argwhere(~present).tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(lr[present], expected[present], rtol=1e-6)
    assert lr[0, 1, 2] == 0
    stored = dn.astype(np.int16)
    stored[2, 3, 4] = -9999
    stored[1, 0, 0] = 0  # where nodata is declared, 0 is a value
    lr, present = read_one(write(tmp_path / "i.tif", stored, BANDS, gsd_m=10, nodata=-9999))
    assert np.argwhere(~present).tolist() == [[2, 3, 4]]
    assert lr[2, 3, 4] == 0
    expected[2, 3, 4] = expected[1, 0, 0] = 0
    np.testing.assert_array_equal(lr, expected)


def test_common_names_are_names(tmp_path, dn):
    path = write(tmp_path / "a.tif", dn, ("red", "Blue", "B03_10m"), gsd_m=10)
    np.testing.assert_array_equal(read_one(path)[0], dn[[1, 2, 0]].astype(np.float32) / 10_000)


def test_bands_that_are_only_counted_have_no_names(tmp_path, dn):
    path = write(tmp_path / "a.tif", dn, ("Band 1", "Band 2", "Band 3"), gsd_m=10)
    with pytest.raises(InputError, match="B02, B03, B04 missing, there are only unnamed, unnamed, unnamed"):
        read_one(path)


def test_a_declared_offset_is_heeded(tmp_path, dn):
    path = write(tmp_path / "a.tif", dn, BANDS, gsd_m=10)
    with rasterio.open(path, "r+") as src:
        src.scales, src.offsets = (1e-4,) * 3, (-0.1,) * 3
    np.testing.assert_allclose(read_one(path)[0], dn / 10_000 - 0.1, atol=1e-6)


def test_an_alpha_band_beside_any_number_of_bands_is_heeded(tmp_path, dn):
    alpha = np.full((1, *dn.shape[1:]), 65_535, np.uint16)
    alpha[0, 5, 6] = 0
    path = write(tmp_path / "a.tif", np.concatenate([dn, dn[:1], alpha]), BANDS, gsd_m=10)
    with rasterio.open(path, "r+") as src:
        src.colorinterp = [ColorInterp.gray, *[ColorInterp.undefined] * 3, ColorInterp.alpha]
    present = read_one(path)[1]
    assert np.argwhere(~present).tolist() == [[band, 5, 6] for band in range(3)]


@pytest.mark.parametrize(("nodata", "missing"), [(None, 3), (np.nan, 0)])
def test_floats_of_zero_in_every_band_are_nothing_seen_unless_nan_is_declared(tmp_path, dn, nodata, missing):
    floats = as_floats(dn)
    floats[:, 5, 6] = floats[1, 2, 3] = 0
    present = read_one(write(tmp_path / "a.tif", floats, BANDS, gsd_m=10, nodata=nodata))[1]
    assert np.argwhere(~present).tolist() == [[band, 5, 6] for band in range(missing)]


def test_a_masked_pixel_is_nothing_seen(tmp_path, dn):
    path = write(tmp_path / "a.tif", dn, BANDS, gsd_m=10)
    mask = np.full(dn.shape[1:], 255, np.uint8)
    mask[5, 6] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as src:
        src.write_mask(mask)
    present = read_one(path)[1]
    assert np.argwhere(~present).tolist() == [[band, 5, 6] for band in range(3)]


@pytest.mark.parametrize(
    ("change", "names", "profile", "message"),
    [
        (lambda dn: (dn / 40).astype(np.uint8), BANDS, {}, "band 1 is uint8: reflectance is read from"),
        (lambda dn: as_floats(dn) * 100, BANDS, {}, "is no reflectance.*though the file holds floats"),
        (lambda dn: np.where(dn > 3900, -9999, dn).astype(np.int16), BANDS, {}, "value -9999 is reflectance"),
        (np.zeros_like, BANDS, {}, "no pixel is valid"),
        (np.copy, ("B02", "B03", "B08"), {}, "B04 missing, there are only B02, B03, B08"),
        (np.copy, (), {}, "B02, B03, B04 missing, there are only unnamed, unnamed, unnamed"),
        (np.copy, ("B04", "B03", "red"), {}, "B04 is band 3, and also band 1 of"),
        (np.copy, BANDS, {"gsd_m": 20}, "has pixels of 20 x 20"),
        (np.copy, BANDS, {"transform": Affine(10, 1, LEFT, 1, -10, TOP)}, "is rotated"),
        (np.copy, BANDS, {"transform": Affine(10, 0, LEFT, 0, 10, TOP)}, "is stored south-up"),
        (np.copy, BANDS, {"crs": None}, "has no CRS"),
        (
            np.copy,
            BANDS,
            {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 12, 0, -1e-4, 51)},
            "no projected CRS in metres",
        ),
    ],
)
def test_what_is_no_imagery_to_be_mapped_is_none_to_learn_from(tmp_path, dn, change, names, profile, message):
    path = write(tmp_path / "a.tif", change(dn), names, **({"gsd_m": 10} | profile))
    with pytest.raises(InputError, match=message) as caught:
        read_one(path)
    assert "a.tif" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_band_in_two_files_is_refused(tmp_path, dn):
    paths = [write(tmp_path / name, dn, BANDS, gsd_m=10) for name in ("a.tif", "b.tif")]
    with pytest.raises(InputError, match=r"b\.tif: B02 is band 1, and also band 1 of .*a\.tif"):
        read_reflectance(paths, BANDS)


def test_a_file_that_lies_elsewhere_is_refused(tmp_path, dn):
    ten = write(tmp_path / "10m.tif", dn, BANDS, gsd_m=10)
    for name, shift in (("half", 0.5), ("far", 400)):
        path = write(tmp_path / f"{name}.tif", dn[:1, :4, :5], ("B11",), gsd_m=20, right_px=shift / 2)
        with pytest.raises(InputError, match=rf"{name}\.tif: (is shifted against|does not cover)"):
            read_reflectance([ten, path], ("B02", "B11"))


def test_a_coarse_file_is_laid_where_it_lies(tmp_path, dn):
    """It begins one of its pixels further up and left than the fine one."""
    ten = write(tmp_path / "10m.tif", dn, BANDS, gsd_m=10)
    coarse = np.arange(1, 43, dtype=np.uint16).reshape(1, 6, 7)
    twenty = write(tmp_path / "20m.tif", coarse, ("B11",), gsd_m=20, right_px=-1, down_px=-1)
    lr = read_reflectance([ten, twenty], ("B11",))[0][0]
    expected = np.kron(coarse[0], np.ones((2, 2)))[2:10, 2:12] / 10_000
    np.testing.assert_allclose(lr, expected, rtol=1e-6)


def test_the_grid_is_that_of_the_first_file_with_the_pixels_of_the_network(tmp_path, dn):
    ten = write(tmp_path / "10m.tif", dn, BANDS, gsd_m=10)
    twenty = write(tmp_path / "20m.tif", dn[:1, :4, :5], ("B11",), gsd_m=20)
    wanted = (*BANDS, "B11")
    *found, grid = read_reflectance([twenty, ten], wanted)
    *expected, other = read_reflectance([ten, twenty], wanted)
    np.testing.assert_array_equal(found, expected)
    assert grid == other


def test_a_stack_of_patches_needs_no_position_but_has_the_right_one_if_any(tmp_path, dn):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = write(tmp_path / "a.tif", dn, BANDS, crs=None, transform=Affine.identity())
    np.testing.assert_array_equal(read_one(path, placed=False)[0], dn.astype(np.float32) / 10_000)
    with pytest.raises(InputError, match="has no CRS"):
        read_one(path)
    with pytest.raises(InputError, match="pixels of 20 x 20"):
        read_one(write(tmp_path / "b.tif", dn, BANDS, gsd_m=20), placed=False)


def test_labels_of_other_pixels_or_another_type_are_refused(tmp_path):
    labels = np.ones((1, 4, 4), np.uint8)
    for name, values, changes, message in (
        ("half", labels, {"gsd_m": 0.5}, "has pixels of 0.5 x 0.5 m"),
        (
            "off",
            labels,
            {"right_px": 0.5},
            "is shifted against the imagery by 0.5 of its pixels east, 0 north",
        ),
        ("float", labels.astype(np.float32), {}, "is float32"),
        ("wide", labels.astype(np.int16), {}, "is int16"),
    ):
        path = write(tmp_path / f"{name}.tif", values, **changes)
        with pytest.raises(InputError, match=rf"{name}\.tif: .*{message}"):
            lay([path], GRID, 255)


def test_labels_in_another_zone_are_refused_however_well_their_numbers_fit(tmp_path):
    labels = np.ones((1, 4, 4), np.uint8)
    zone = write(tmp_path / "zone.tif", labels, crs="EPSG:32649")
    with pytest.raises(
        InputError, match=r"zone\.tif: lies in EPSG:32649, .* in EPSG:32650: warp it"
    ) as caught:
        lay([zone], GRID, 255)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"none\.tif: has no CRS"):
        lay([write(tmp_path / "none.tif", labels, crs=None)], GRID, 255)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crs": "EPSG:32649"}, "lies in EPSG:32649"),
        ({"right_px": 1}, "is not on the grid of i.tif"),
        ({"down_px": -2}, "is not on the grid of i.tif"),
        ({"right_px": 0.3}, "is shifted against the imagery by 0.3 of its pixels"),
        ({"gsd_m": 2}, "has pixels of 2 x 2 m, not 1 m"),
    ],
)
def test_a_raster_that_must_lie_pixel_on_pixel_does_or_is_refused(tmp_path, change, message):
    values = np.ones((1, 8, 9), np.uint8)
    own = read_bytes(write(tmp_path / "same.tif", values))[1]
    check_on(Path("same.tif"), own, Path("i.tif"), GRID)
    own = read_bytes(write(tmp_path / "off.tif", values, **change))[1]
    with pytest.raises(InputError, match=rf"^off\.tif.*{message}"):
        check_on(Path("off.tif"), own, Path("i.tif"), GRID)
    with pytest.raises(InputError, match="is not on the grid"):
        check_on(Path("off.tif"), GRID, Path("i.tif"), SMALL)


@pytest.mark.parametrize(("lifted", "dtype"), [(1000, np.uint16), (0.1, np.float32), (0, np.uint16)])
def test_imagery_that_keeps_its_baseline_offset_is_warned_of(tmp_path, caplog, lifted, dtype):
    values = np.random.default_rng(3).integers(50, 3000, (3, 40, 40))
    values = (values / 10_000 if dtype is np.float32 else values) + lifted
    path = write(tmp_path / "a.tif", values.astype(dtype), BANDS, gsd_m=10)
    lr, present, _ = read_reflectance([path], BANDS)
    present[:, :20] = False  # what is missing reads as 0, which is no dark pixel
    warn_of_offset([path], BANDS, np.where(present, lr, 0), present)
    warned = re.search(r"a\.tif: the darkest pixels have reflectance 0\.1\d\d: .*04\.00", caplog.text)
    assert bool(warned) == bool(lifted)


def test_rasters_are_laid_where_they_lie_the_first_on_top(tmp_path):
    low = write(tmp_path / "low.tif", np.full((1, 4, 5), 7, np.uint8), right_px=1, down_px=2)
    high = write(tmp_path / "high.tif", np.array([[[1, 255], [255, 3]]], np.uint8), right_px=2, down_px=3)
    canvas = lay([high, low], GRID, 255)
    expected = np.full((8, 9), 255)
    expected[2:6, 1:6] = 7
    expected[3, 2], expected[4, 3] = 1, 3  # 255 is transparent
    np.testing.assert_array_equal(canvas, expected[None])
    assert canvas.dtype == np.uint8


@pytest.mark.parametrize(
    ("right", "down"), [(-2, -3), (7, 6), (-20, 0), (0, -20), (50, 0), (0, 50), (-50, 50)]
)
def test_what_lies_outside_the_canvas_is_cut_off(tmp_path, right, down):
    values = np.arange(1, 121, dtype=np.uint8).reshape(1, 10, 12)
    path = write(tmp_path / "a.tif", values, right_px=right, down_px=down)
    expected = np.zeros((8, 9), np.uint8)
    for y in range(8):
        for x in range(9):
            if 0 <= y - down < 10 and 0 <= x - right < 12:
                expected[y, x] = values[0, y - down, x - right]
    np.testing.assert_array_equal(lay([path], GRID, 0)[0], expected)


def test_one_dark_channel_does_not_make_a_picture_transparent(tmp_path):
    red = np.zeros((3, 2, 2), np.uint8)
    red[0, 0, 0] = 200
    under = write(tmp_path / "under.tif", np.full((3, 2, 2), 9, np.uint8))
    canvas = lay([write(tmp_path / "red.tif", red), under], SMALL, 0)
    np.testing.assert_array_equal(canvas[:, 0, 0], [200, 0, 0])
    np.testing.assert_array_equal(canvas[:, 1, 1], [9, 9, 9])


def test_no_raster_is_no_canvas():
    with pytest.raises(InputError, match="names none"):
        lay([], SMALL, 0)
