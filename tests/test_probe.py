"""Classes of products at points: the same as in the areas that are counted."""

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin

from isamap.io.probe import classes_at, shares_at
from isamap.io.products import Product
from isamap.io.sample import Sample

POINT = Sample(np.array([360_105.0]), np.array([3_599_895.0]), "EPSG:32648", [{}])


def write(path, values):
    height, width = values.shape
    place = {"crs": "EPSG:32648", "transform": from_origin(360_000, 3_600_000, 10, 10), "nodata": 255}
    with rasterio.open(
        path, "w", driver="GTiff", count=1, dtype="uint8", height=height, width=width, **place
    ) as dst:
        dst.write(values, 1)
    return path


@pytest.mark.parametrize(("share", "isa"), [(0.49, 0), (0.5, 1), (0.51, 1)])
def test_a_point_and_the_area_round_it_are_of_one_class(tmp_path, share, isa):
    product = Product("half", (write(tmp_path / "half.tif", np.full((64, 64), 2, np.uint8)),), f"1,2={share}")
    assert classes_at(product, POINT, 0) == isa
    with product.classes() as layer:
        assert np.unique(layer.on(layer.sheets[0].geobox)).tolist() == [isa]


def test_a_square_that_is_half_isa_is_isa_and_one_that_is_half_known_is_known(tmp_path):
    values = np.zeros((64, 64), np.uint8)
    values[:, ::2] = 1
    product = Product("stripes", (write(tmp_path / "stripes.tif", values),))
    assert classes_at(product, POINT, 20) == 1
    values[values == 0] = 255
    product = Product("gaps", (write(tmp_path / "gaps.tif", values),))
    assert shares_at(product, POINT, 20) == 1
