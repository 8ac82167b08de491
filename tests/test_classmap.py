import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.vrt import WarpedVRT

from isamap.domain.grid import Window
from isamap.errors import InputError, MissingInputError
from isamap.io.classmap import ClassMap, aligned_offset, map_files
from isamap.io.products import Product

UTM = "EPSG:32648"


def write(path, values, transform, crs=UTM, nodata=255):
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=values.shape[0],
        width=values.shape[1],
        count=1,
        dtype=values.dtype,
        crs=crs,
        transform=transform,
        nodata=nodata,
        tiled=True,
        blockxsize=64,
        blockysize=64,
    ) as dst:
        dst.write(values, 1)
    return path


def codes(values):
    return values.astype(np.uint8)


def shares(values):
    return np.where(values == 255, np.nan, values).astype(np.float32)


@pytest.fixture
def town(tmp_path):
    rng = np.random.default_rng(4)
    values = (rng.random((200, 300)) < 0.4).astype(np.uint8)
    values[:20, :30] = 255
    return write(tmp_path / "town.tif", values, Affine(1, 0, 600_000, 0, -1, 3_300_000)), values


def grid(left, top, height, width, gsd=1.0, crs=UTM):
    return GeoBox((height, width), Affine(gsd, 0, left, 0, -gsd, top), crs)


def test_pixels_of_the_same_grid_are_read_as_they_are(town):
    path, values = town
    with ClassMap([path], codes) as layer:
        np.testing.assert_array_equal(layer.on(grid(600_050, 3_299_930, 60, 80)), values[70:130, 50:130])


def test_what_lies_beyond_the_raster_is_nodata(town):
    path, values = town
    with ClassMap([path], codes) as layer:
        seen = layer.on(grid(599_990, 3_300_010, 30, 40))
        assert (seen[:10] == 255).all()
        assert (seen[:, :10] == 255).all()
        np.testing.assert_array_equal(seen[10:, 10:], values[:20, :30])
        np.testing.assert_array_equal(layer.read(layer.sheets[0], Window(-10, -10, 30, 40)), seen)


def test_ground_elsewhere_is_nodata(town):
    with ClassMap([town[0]], codes) as layer:
        assert (layer.on(grid(700_000, 3_000_000, 5, 5)) == 255).all()
        assert (layer.on(grid(-70, 40, 5, 5, 0.1, "EPSG:4326")) == 255).all()


@pytest.mark.parametrize("shift", [(0.3, 0.0), (0.0, -0.4), (0.25, 0.25)])
def test_a_grid_between_the_pixels_is_no_silent_shift(town, shift):
    path, values = town
    asked = grid(600_050 + shift[0], 3_299_950 + shift[1], 50, 50)
    with ClassMap([path], codes) as layer:
        assert aligned_offset(layer.sheets[0].geobox, asked) is None
        nearest = layer.on(asked)
    row, col = 50 + round(-shift[1]), 50 + round(shift[0])
    np.testing.assert_array_equal(nearest, values[row : row + 50, col : col + 50])


def test_classes_on_another_projection_are_those_of_the_nearest_pixel(town):
    path, _ = town
    with rasterio.open(path) as src:
        left, _, right, top = rasterio.warp.transform_bounds(src.crs, "EPSG:4326", *src.bounds)
        step = (right - left) / 250
        asked = grid(left - 5 * step, top, 200, 270, step, "EPSG:4326")
        with WarpedVRT(
            src, crs="EPSG:4326", transform=asked.transform, height=200, width=270, tolerance=0.01
        ) as oracle:
            wanted = oracle.read(1)
    with ClassMap([path], codes) as layer:
        assert (layer.on(asked) != wanted).mean() < 1e-3  # ties may fall either way


def test_shares_are_averaged_over_coarser_pixels(town):
    path, values = town
    with ClassMap([path], shares) as layer:
        seen = layer.on(grid(600_000, 3_300_000, 20, 30, 10.0))
    cells = np.where(values == 255, np.nan, values).reshape(20, 10, 30, 10)
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(cells).all(axis=(1, 3))
    wanted = np.array(
        [
            np.nanmean(c) if k else np.nan
            for c, k in zip(cells.transpose(0, 2, 1, 3).reshape(600, 100), known.ravel(), strict=True)
        ]
    )
    np.testing.assert_allclose(seen.ravel(), wanted, atol=1e-6)


def test_sheets_complete_each_other_and_the_first_wins(tmp_path):
    ones, noughts = np.ones((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    ones[:10] = 255
    first = write(tmp_path / "a.tif", ones, Affine(1, 0, 600_000, 0, -1, 3_300_000))
    second = write(tmp_path / "b.tif", noughts, Affine(1, 0, 600_032, 0, -1, 3_300_000))
    with ClassMap([first, second], codes) as layer:
        seen = layer.on(grid(600_000, 3_300_000, 64, 96))
    assert (seen[10:, :64] == 1).all()
    assert (seen[:10, 32:96] == 0).all()
    assert (seen[:10, :32] == 255).all()


def test_declared_nodata_is_nodata_whatever_the_codes_say(tmp_path):
    path = write(tmp_path / "a.tif", np.full((64, 64), 1, np.uint8), Affine(1, 0, 6e5, 0, -1, 33e5), nodata=1)
    with ClassMap([path], codes) as layer:
        assert (layer.on(layer.sheets[0].geobox) == 255).all()


def test_a_folder_gives_its_class_rasters_in_order(tmp_path):
    for name in ("b.tif", "a.tif", "a.prob.tif", "a.json"):
        (tmp_path / name).touch()
    assert [path.name for path in map_files(tmp_path)] == ["a.tif", "b.tif"]


def test_nothing_there_is_a_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match="holds no map"):
        map_files(tmp_path)
    with pytest.raises(MissingInputError, match="does not exist"):
        map_files(tmp_path / "none.tif")


def test_a_window_that_would_need_too_much_of_a_finer_raster_is_refused(town, monkeypatch):
    monkeypatch.setattr("isamap.io.classmap.MAX_SOURCE_BYTES", 1000)
    with ClassMap([town[0]], codes) as layer, pytest.raises(InputError, match="much finer"):
        layer.on(grid(600_000, 3_300_000, 10, 10, 20.0))


def test_a_damaged_block_is_an_error_and_not_nodata(town):
    path, _ = town
    whole = path.read_bytes()
    path.write_bytes(whole[:-2000])
    with pytest.raises(InputError, match="cut off"), ClassMap([path], codes):
        pass


def test_declared_nodata_counts_even_where_the_codes_call_it_pervious(tmp_path):
    path = write(
        tmp_path / "a.tif", np.full((64, 64), 255, np.uint8), Affine(1, 0, 6e5, 0, -1, 33e5), nodata=255
    )
    with ClassMap([path], lambda values: (values == 50).astype(np.uint8)) as layer:
        assert (layer.on(layer.sheets[0].geobox) == 255).all()


@pytest.mark.parametrize(("nodata", "plain"), [(0, True), (10, False), (None, True)])
def test_nodata_that_decoding_knows_needs_no_mask(tmp_path, nodata, plain):
    values = np.tile(np.array([0, 10, 50, 255], np.uint8), (64, 16))
    path = write(tmp_path / "a.tif", values, Affine(1, 0, 6e5, 0, -1, 33e5), nodata=nodata)
    with Product("a", (path,), "50,0=nodata").classes() as layer:
        assert layer.sheets[0].plain == plain
        found = layer.on(layer.sheets[0].geobox)
    assert found[0, :4].tolist() == [255, 255 if nodata == 10 else 0, 1, 0]
