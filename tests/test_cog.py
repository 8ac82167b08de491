import errno

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from rio_cogeo.cogeo import cog_validate

from isamap.domain.grid import Window, windows
from isamap.domain.product import BLOCK_PX, CLASSES, NODATA, PROBABILITY
from isamap.errors import StorageError
from isamap.io import tiff
from isamap.io.cog import CogWriter, _checksum, layout_faults, verify

TAGS = {"isamap_model": "fast 1"}


def grid(shape):
    return GeoBox(shape, Affine(1, 0, 600_000, 0, -1, 3_400_000), "EPSG:32650")


def pixels(shape, layer=CLASSES):
    """Blobs of both classes, a corner of nodata, and a whole block of nothing but zeros."""
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 2 if layer is CLASSES else 101, (-(-shape[0] // 9), -(-shape[1] // 9)))
    values = coarse.repeat(9, 0).repeat(9, 1)[: shape[0], : shape[1]].astype(np.uint8)
    values[:40, :50] = NODATA
    values[BLOCK_PX : 2 * BLOCK_PX, :BLOCK_PX] = 0
    return values


def write(path, values, layer=CLASSES, step=BLOCK_PX, order=None):
    with CogWriter(path, grid(values.shape), layer, TAGS) as cog:
        steps = list(windows(values.shape, step))
        for index in range(len(steps)) if order is None else order.permutation(len(steps)):
            cog.write(steps[index], values[steps[index].slices])
    return path


def checksums(values):
    return {
        (w.row_off // BLOCK_PX, w.col_off // BLOCK_PX): _checksum(values[w.slices])
        for w in windows(values.shape, BLOCK_PX)
    }


def overviews(path):
    with rasterio.open(path) as src:
        count = len(src.overviews(1))
    levels = []
    for level in range(count):
        with rasterio.open(path, overview_level=level) as src:
            levels.append(src.read(1))
    return levels


@pytest.mark.parametrize("shape", [(1300, 1100), (512, 512), (100, 70), (2, 2000)])
@pytest.mark.parametrize("layer", [CLASSES, PROBABILITY], ids=lambda layer: layer.key)
def test_what_is_written_comes_back_as_a_valid_cog(tmp_path, shape, layer):
    values = pixels(shape, layer)
    path = write(tmp_path / "map.tif", values, layer)
    assert cog_validate(path, strict=True, quiet=True)[0]
    with rasterio.open(path) as src:
        np.testing.assert_array_equal(src.read(1), values)
        assert src.nodata == NODATA
        assert src.crs.to_epsg() == 32650
        assert src.transform == grid(shape).transform
        assert src.descriptions == (layer.description,)
        assert src.tags()["isamap_model"] == "fast 1"
        assert not {key for key in src.tags() if "TIME" in key.upper()}
        if layer is CLASSES:
            assert src.colormap(1)[1] == CLASSES.colours[1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.tif"]


@pytest.mark.parametrize("layer", [CLASSES, PROBABILITY], ids=lambda layer: layer.key)
def test_the_bytes_do_not_depend_on_the_order_or_size_of_the_windows(tmp_path, layer):
    values = pixels((1300, 1600), layer)
    expected = write(tmp_path / "forward.tif", values, layer).read_bytes()
    rng = np.random.default_rng(1)
    for name, step in (("a", BLOCK_PX), ("b", BLOCK_PX), ("c", 2 * BLOCK_PX)):
        assert write(tmp_path / f"{name}.tif", values, layer, step, rng).read_bytes() == expected


def test_overviews_of_classes_hold_nothing_but_classes(tmp_path):
    values = pixels((2100, 1900))
    levels = overviews(write(tmp_path / "map.tif", values))
    assert [level.shape for level in levels] == [(1050, 950), (525, 475)]
    for level in levels:
        assert set(np.unique(level)) == {0, 1, NODATA}
        assert abs((level == 1).mean() - (values == 1).mean()) < 0.02
    assert (levels[0][:20, :25] == NODATA).all()


def test_overviews_of_probability_are_means_that_nodata_takes_no_part_in(tmp_path):
    values = pixels((1200, 1200), PROBABILITY)
    level, _ = overviews(write(tmp_path / "map.tif", values, PROBABILITY))
    quads = np.ma.masked_equal(values, NODATA).reshape(600, 2, 600, 2).mean(axis=(1, 3))
    assert (level == NODATA).sum() == quads.mask.sum()
    assert np.abs(level[~quads.mask] - quads[~quads.mask]).max() <= 0.51


def test_an_error_while_writing_leaves_no_file(tmp_path):
    def fail():
        with CogWriter(tmp_path / "map.tif", grid((600, 600)), CLASSES, {}) as cog:
            cog.write(Window(0, 0, 512, 512), np.zeros((512, 512), np.uint8))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_window_that_begins_within_a_block_is_a_bug(tmp_path):
    with pytest.raises(ValueError, match="begin on a block"):
        write(tmp_path / "map.tif", pixels((600, 600)), step=100)


def test_a_block_that_is_written_twice_is_a_bug(tmp_path):
    values = pixels((600, 600))

    def twice():
        with CogWriter(tmp_path / "map.tif", grid((600, 600)), CLASSES, {}) as cog:
            for _ in range(2):
                cog.write(Window(0, 0, 600, 600), values)

    with pytest.raises(ValueError, match="written twice"):
        twice()
    assert list(tmp_path.iterdir()) == []


def test_a_raster_that_might_pass_4_gb_is_a_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr(tiff, "BIG_FROM_BYTES", 0)
    values = pixels((1300, 1100))
    path = write(tmp_path / "map.tif", values)
    assert path.read_bytes()[:4] == b"II\x2b\0"
    assert cog_validate(path, strict=True, quiet=True)[0]
    with rasterio.open(path) as src:
        np.testing.assert_array_equal(src.read(1), values)
        assert src.colormap(1)[1] == CLASSES.colours[1]
        assert src.tags()["isamap_model"] == "fast 1"


def test_a_level_as_wide_as_a_block_is_no_fault(tmp_path):
    """rio-cogeo takes it for one without blocks."""
    path = write(tmp_path / "map.tif", pixels((1100, 1024)))
    assert not cog_validate(path, strict=True, quiet=True)[0]
    assert layout_faults(path) == []


def test_a_full_disk_while_the_file_is_put_together_leaves_none(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tiff, "framed", full)
    with pytest.raises(StorageError, match="No space left"):
        write(tmp_path / "map.tif", pixels((600, 600)))
    assert list(tmp_path.iterdir()) == []


def test_a_window_that_was_forgotten_is_found(tmp_path, monkeypatch):
    values = pixels((600, 600))
    every = windows
    monkeypatch.setattr("test_cog.windows", lambda shape, step: list(every(shape, step))[:-1])
    with pytest.raises(StorageError, match=r"map\.tif lacks block \(1, 1\)$"):
        write(tmp_path / "map.tif", values)


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError):
        write(tmp_path / "absent" / "map.tif", pixels((100, 100)))


@pytest.fixture
def finished(tmp_path):
    values = pixels((1300, 1100))
    path = write(tmp_path / "map.tif", values)
    verify(path, grid(values.shape), checksums(values))
    return path, values


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_cog_that_is_cut_off_is_refused(finished, share):
    path, values = finished
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(StorageError, match=r"map\.tif"):
        verify(path, grid(values.shape), checksums(values))


@pytest.mark.parametrize("seed", range(12))
def test_a_byte_that_flips_within_the_pixels_is_found(finished, seed):
    path, values = finished
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    with rasterio.open(path) as src:
        index = f"{rng.integers(3)}_{rng.integers(3)}"
        start, size = (
            int(src.get_tag_item(f"BLOCK_{k}_{index}", "TIFF", bidx=1)) for k in ("OFFSET", "SIZE")
        )
    content[start + int(rng.integers(size))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)
    with rasterio.open(path) as src:
        try:
            harmless = np.array_equal(src.read(1), values)
        except rasterio.errors.RasterioIOError:
            harmless = False
    if harmless:
        verify(path, grid(values.shape), checksums(values))
        return
    with pytest.raises(StorageError):
        verify(path, grid(values.shape), checksums(values))


def test_other_pixels_or_another_place_are_refused(finished):
    path, values = finished
    other = values.copy()
    other[700, 700] ^= 1
    with pytest.raises(StorageError, match=r"block \(1, 1\) is not what was written"):
        verify(path, grid(values.shape), checksums(other))
    moved = GeoBox(values.shape, Affine(1, 0, 600_001, 0, -1, 3_400_000), "EPSG:32650")
    with pytest.raises(StorageError, match="georeference"):
        verify(path, moved, checksums(values))


def test_a_plain_geotiff_is_no_cog(tmp_path):
    path = tmp_path / "plain.tif"
    values = pixels((1300, 1100))
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        height=1300,
        width=1100,
        dtype="uint8",
        transform=grid((1, 1)).transform,
    ) as dst:
        dst.write(values, 1)
    with pytest.raises(StorageError, match="no valid COG"):
        verify(path, grid(values.shape), checksums(values))
