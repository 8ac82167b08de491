from pathlib import Path

import pystac
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from isamap.domain.grid import Tile, refine
from isamap.domain.product import (
    BLOCK_PX,
    CLASSES,
    FAR_FUTURE,
    FIRST_ACQUISITION,
    NODATA,
    PROBABILITY,
    acquisition,
    composite_path,
    map_directory,
    map_item,
    map_stem,
    overview_factors,
    year_span,
)
from isamap.io.store import safe_name

GEOBOX = refine(Tile.parse("48N-0060-0318").geobox())


def item(geobox=GEOBOX, layers=(CLASSES, PROBABILITY)):
    return map_item("tile", geobox, year_span(2021), layers, {"isamap:isa_share": 0.25})


def test_the_item_is_read_by_pystac_as_it_was_written():
    document = item()
    read = pystac.Item.from_dict(document)
    assert read.id == "tile"
    assert read.datetime is None
    assert read.common_metadata.start_datetime.isoformat() == "2021-01-01T00:00:00+00:00"
    assert read.common_metadata.end_datetime.isoformat() == "2021-12-31T23:59:59+00:00"
    assert read.common_metadata.gsd == 1
    assert read.properties["isamap:isa_share"] == 0.25
    assert read.to_dict(include_self_link=False, transform_hrefs=False) == document
    assert document["stac_version"] == "1.1.0"


def test_the_item_says_where_the_pixels_lie():
    properties = item()["properties"]
    assert properties["proj:code"] == "EPSG:32648"
    assert properties["proj:shape"] == [10_240, 10_240]
    assert properties["proj:transform"] == [1, 0, 60 * 10_240, 0, -1, 319 * 10_240]


def test_the_footprint_lies_where_the_tile_does():
    document = item()
    west, south, east, north = document["bbox"]
    tile = Tile.parse("48N-0060-0318").footprint()
    assert (west, south, east, north) == pytest.approx(tile.bounds, abs=1e-5)
    assert document["geometry"]["type"] == "Polygon"
    assert 0.09 < east - west < 0.12


def test_the_item_names_every_file_beside_it():
    assets = item()["assets"]
    assert {key: asset["href"] for key, asset in assets.items()} == {
        "isa": "./tile.tif",
        "probability": "./tile.prob.tif",
        "preview": "./tile.png",
    }
    assert assets["isa"]["type"] == "image/tiff; application=geotiff; profile=cloud-optimized"
    assert set(item(layers=(CLASSES,))["assets"]) == {"isa", "preview"}


def test_a_crs_without_a_code_has_none_in_the_item():
    proj = "+proj=laea +lat_0=30 +lon_0=110 +datum=WGS84 +units=m +type=crs"
    geobox = GeoBox((100, 100), GEOBOX.transform, proj)
    assert item(geobox)["properties"]["proj:code"] is None


@given(st.integers(1, 60_000), st.integers(1, 60_000))
def test_overviews_halve_until_the_raster_fits_into_a_block(height, width):
    factors = overview_factors((height, width))
    assert factors == [2 ** (k + 1) for k in range(len(factors))]
    assert bool(factors) == (max(height, width) > BLOCK_PX)
    if factors:
        assert min(height, width) // factors[-1] >= BLOCK_PX // 2 or factors == [2]
    if min(height, width) == max(height, width) > BLOCK_PX:
        assert -(-height // factors[-1]) <= BLOCK_PX + 1


@pytest.mark.parametrize(
    ("shape", "factors"),
    [((512, 512), []), ((513, 100), [2]), ((1024, 1024), [2]), ((10_240, 10_240), [2, 4, 8, 16, 32])],
)
def test_overviews_of_usual_shapes(shape, factors):
    assert overview_factors(shape) == factors


def test_nodata_is_transparent():
    assert CLASSES.colours[NODATA][3] == 0


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("chongqing-20180402-10m.tif", "2018-04-02"),
        ("S2B_MSIL2A_20210714T023551_N0301_R089.tif", "2021-07-14"),
        ("scene_2019-12-31_B04.tif", "2019-12-31"),
        ("20211399_20211130.tif", "2021-11-30"),
        ("x20200229x.tif", "2020-02-29"),
    ],
)
def test_the_date_in_a_file_name_is_the_maps(name, day):
    assert acquisition(Path("2011-01-01") / name) == (f"{day}T00:00:00Z", f"{day}T23:59:59Z")


@pytest.mark.parametrize(
    "name", ["scene.tif", "20210229.tif", "120210714.tif", "202107145.tif", "19990714.tif", "2021.tif"]
)
def test_a_file_name_without_a_date_leaves_the_time_open(name):
    assert acquisition(Path(name)) == (FIRST_ACQUISITION, FAR_FUTURE)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("scene-10m.tif", "scene-isa"),
        ("scene_10m.tif", "scene-isa"),
        ("scene.tif", "scene-isa"),
        ("scene-10m-20m.tif", "scene-10m-20m-isa"),
        ("重庆 2021.tif", "重庆_2021-isa"),
        ("长江.tif", "长江-isa"),
        ("Zu\u0308rich.tif", "Z\u00fcrich-isa"),
        ("a.L2A.10m.tif", "a.L2A-isa"),
        ("..hidden.tif", "hidden-isa"),
        ("10m.tif", "-isa"),
        ("a.b-10m.TIF", "a.b-isa"),
    ],
)
def test_a_map_is_called_after_its_input(name, stem):
    assert map_stem(Path("folder") / name) == stem


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=300))
def test_every_map_has_a_safe_name(name):
    assert safe_name(map_stem(Path(f"{name}.tif")))


def test_products_lie_in_folders_of_model_and_year():
    tile = Tile.parse("48N-0060-0318")
    assert composite_path(Path("w"), 2021, tile) == Path("w/composites/2021/48N-0060-0318.tif")
    assert map_directory(Path("w"), "fast", 2021) == Path("w/maps/fast/2021")
