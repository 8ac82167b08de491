import numpy as np
import pytest
import rasterio
from affine import Affine
from bad_rasters import write_raster

from isamap.errors import InputError, MissingInputError
from isamap.io.ground import lay, read_plate, read_reflectance

LEFT, TOP = 600_000, 3_400_000
CANVAS = Affine(1, 0, LEFT, 0, -1, TOP)


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
    assert plate.transform == CANVAS
    assert plate.nodata == 0


def test_a_plate_needs_no_position(tmp_path, dn):
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        path = write(tmp_path / "a.tif", dn, crs=None, transform=Affine.identity())
    assert read_plate(path).transform == Affine.identity()


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
    lr, present, transform = read_reflectance([ten, twenty], ("B11", "B08", "B03", "B02"))
    assert lr.dtype == np.float32
    np.testing.assert_array_equal(lr[1], dn[2].astype(np.float32) / 10_000)
    np.testing.assert_array_equal(lr[0], np.kron(dn[0, :4, :5], np.ones((2, 2))).astype(np.float32) / 10_000)
    np.testing.assert_array_equal(present.all(axis=(1, 2)), [True, True, False, True])
    assert not lr[2].any()
    assert transform.a == 10


def test_a_coarse_file_may_reach_half_a_pixel_further(tmp_path, dn):
    ten = write(tmp_path / "10m.tif", dn[:, :7, :9], ("B02", "B04", "B08"), gsd_m=10)
    twenty = write(tmp_path / "20m.tif", dn[:1, :4, :5], ("B11",), gsd_m=20)
    assert read_reflectance([ten, twenty], ("B11",))[0].shape == (1, 7, 9)


def test_a_file_that_is_too_small_is_refused(tmp_path, dn):
    ten = write(tmp_path / "10m.tif", dn, ("B02", "B04", "B08"), gsd_m=10)
    narrow = write(tmp_path / "20m.tif", dn[:1, :4, :3], ("B11",), gsd_m=20)
    with pytest.raises(InputError, match=r"20m\.tif does not cover .*10m\.tif"):
        read_reflectance([ten, narrow], ("B02", "B11"))


def test_zero_is_nothing_seen(tmp_path, dn):
    dn[1, 2, 3] = 0
    _, present, _ = read_reflectance([write(tmp_path / "a.tif", dn, ("B02", "B04", "B08"))], ("B02", "B04"))
    assert np.argwhere(~present).tolist() == [[1, 2, 3]]


def test_rasters_are_laid_where_they_lie_the_first_on_top(tmp_path):
    low = write(tmp_path / "low.tif", np.full((1, 4, 5), 7, np.uint8), right_px=1, down_px=2)
    high = write(tmp_path / "high.tif", np.array([[[1, 255], [255, 3]]], np.uint8), right_px=2, down_px=3)
    canvas = lay([high, low], CANVAS, (8, 9), 255)
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
    np.testing.assert_array_equal(lay([path], CANVAS, (8, 9), 0)[0], expected)


def test_one_dark_channel_does_not_make_a_picture_transparent(tmp_path):
    red = np.zeros((3, 2, 2), np.uint8)
    red[0, 0, 0] = 200
    under = write(tmp_path / "under.tif", np.full((3, 2, 2), 9, np.uint8))
    canvas = lay([write(tmp_path / "red.tif", red), under], CANVAS, (2, 2), 0)
    np.testing.assert_array_equal(canvas[:, 0, 0], [200, 0, 0])
    np.testing.assert_array_equal(canvas[:, 1, 1], [9, 9, 9])


def test_no_raster_is_no_canvas():
    with pytest.raises(InputError, match="names none"):
        lay([], CANVAS, (2, 2), 0)
