"""Fine images as a layer: what they say they do not show."""

import numpy as np
import pytest
import rasterio
import towns
from rasterio.enums import ColorInterp

from isamap.domain.classes import ISA
from isamap.domain.grid import Window
from isamap.domain.sensors import SENSORS
from isamap.domain.tiling import Source
from isamap.io.plain import Photo
from isamap.io.site import Site, jobs_of

HOLE = np.s_[:60, :80]
PLACES = [{}, {"east_m": 0.4, "north_m": 0.3}, {"fine": 2}]
"""On the grid, between its pixels, and with finer ones."""


def write_photo(folder, kind, values, fine=1, **place):
    """An image with a white hole that it declares by `kind`."""
    mask = np.full(values.shape[1:], 255, np.uint8)
    mask[HOLE] = 0
    shown = np.where(mask == 0, values.dtype.type(255), values)
    layers = {"alpha": np.concatenate([shown, mask[None].astype(values.dtype)])}.get(kind, shown)
    path = towns.write(
        folder / "image.tif",
        np.kron(layers, np.ones((1, fine, fine), values.dtype)),
        1 / fine,
        nodata=255 if kind == "nodata" else None,
        **place,
    )
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dst:
        if kind == "alpha":
            dst.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
        if kind == "mask":
            dst.write_mask(np.kron(mask, np.ones((fine, fine), np.uint8)))
    return path


@pytest.fixture(scope="module")
def image():
    values = towns.make_town(30, 30).image
    values[0, 100:120] = 255  # one channel that is saturated hides nothing
    return values


@pytest.mark.parametrize("place", PLACES, ids=["aligned", "warped", "finer"])
@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_what_an_image_hides_is_no_image(tmp_path, image, kind, place, dtype):
    path = write_photo(tmp_path, kind, image.astype(dtype), **place)
    source = Source(name="town", imagery=("imagery.tif",), image=(str(path),))
    towns.write(
        tmp_path / "imagery.tif", np.full((4, 30, 30), 900, np.uint16), 10, ("B02", "B03", "B04", "B08")
    )
    (job,) = jobs_of(source, ISA, tmp_path)
    with Site(job) as site, Photo((path,), site.fine) as photo:
        seen = photo.read(Window(0, 0, 300, 300))
    assert not seen[:, :59, :79].any()
    assert seen[:, 62:-2, 82:-2].all()
    if not place:
        assert not seen[:, *HOLE].any()
        np.testing.assert_array_equal(seen[:, 60:], image[:, 60:])


@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha"])
def test_nothing_is_simulated_where_an_image_hides_the_ground(tmp_path, image, kind):
    path = write_photo(tmp_path, kind, image)
    (job,) = jobs_of(Source(name="town", image=(str(path),)), ISA, tmp_path)
    with Site(job) as site:
        lr, hr = site.lr(Window(0, 0, 30, 30)), site.hr(Window(0, 0, 30, 30))
    assert SENSORS["sentinel-2"].scale() == 10
    assert not lr[:, :6, :8].any()
    assert lr[:, 6:].all()
    assert lr[:, :, 8:].all()
    assert not hr[:, *HOLE].any()


def test_the_next_image_shows_what_the_first_hides(tmp_path, image):
    first = write_photo(tmp_path / "a", "mask", image)
    under = towns.write(tmp_path / "b" / "image.tif", image, 1)
    (job,) = jobs_of(Source(name="town", image=(str(under),)), ISA, tmp_path)
    with Site(job) as site, Photo((first, under), site.fine) as photo:
        np.testing.assert_array_equal(photo.read(Window(0, 0, 300, 300)), image)
