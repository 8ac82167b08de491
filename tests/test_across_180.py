"""Tiles that the 180th meridian runs through: their items, their pieces of products, and who reads them."""

import json

import numpy as np
import pystac
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from isamap.domain.audit import place_fault
from isamap.domain.catalogue import collection
from isamap.domain.footprint import footprint_of
from isamap.domain.grid import Tile, tiles_over
from isamap.domain.lonlat import bbox_of
from isamap.domain.mosaic import Member
from isamap.domain.product import CLASSES, footprint, map_item, year_span
from isamap.domain.reference_sheets import sheet_names, tile_bounds
from isamap.io.footprint import lonlat_boxes
from isamap.io.probe import classes_at
from isamap.io.product_pixels import _around
from isamap.io.products import Product
from isamap.io.sample import Sample

WEST, EAST = Tile.parse("60S-0080-0793"), Tile.parse("01S-0017-0793")
"""Tiles of the zones on either side; both reach over the meridian."""
FIJI = shapely.union_all([shapely.box(179.9, -16.9, 180, -16.8), shapely.box(-180, -16.9, -179.9, -16.8)])


def item_of(tile):
    return map_item(str(tile), tile.geobox(1), year_span(2021), [CLASSES], {})


@pytest.mark.parametrize("tile", [WEST, EAST])
def test_an_item_s_box_runs_from_west_to_east_over_180_and_its_outline_is_cut_there(tile):
    item = item_of(tile)
    pystac.Item.from_dict(item)
    west, south, east, north = item["bbox"]
    assert 179.9 < west < 180
    assert -180 < east < -179.9
    assert -17 < south < north < -16.8
    parts = shapely.geometry.shape(item["geometry"]).geoms
    assert sorted(part.bounds[::2] for part in parts) == [(-180, east), (west, 180)]
    assert item["geometry"]["type"] == "MultiPolygon"


def test_an_outline_that_crosses_180_covers_the_tile_and_nothing_else():
    for tile in tiles_over(FIJI):
        inside = shapely.intersection(footprint(tile.geobox(10)), tile.footprint())
        assert inside.area == pytest.approx(tile.footprint().area, rel=1e-4)
        assert footprint(tile.geobox(10)).area == pytest.approx(0.0089, rel=0.01)


def test_outlines_elsewhere_are_as_they_were():
    geobox = Tile.parse("48N-0060-0318").geobox(1)
    outline = footprint(geobox)
    assert outline.equals_exact(geobox.footprint("EPSG:4326", npoints=16).geom, 0)
    assert bbox_of([outline]) == list(outline.bounds)


def test_a_raster_round_the_world_has_the_whole_world_for_its_box():
    for geobox in (
        GeoBox((300, 347_352), Affine(100, 0, -17_367_600, 0, -100, 2e6), "EPSG:6933"),
        GeoBox((180, 360), Affine(1, 0, -180, 0, -1, 90), "EPSG:4326"),
    ):
        west, _, east, _ = bbox_of([footprint(geobox)])
        assert (west, east) == (-180, 180)


def test_a_raster_round_a_pole_is_left_as_it_is():
    assert not footprint(GeoBox((100, 100), Affine(10_000, 0, -5e5, 0, -10_000, 5e5), "EPSG:3995")).is_empty


def test_verify_takes_such_an_item_and_sees_one_that_lies_elsewhere():
    item, geobox = item_of(WEST), WEST.geobox(1)
    assert place_fault(item, geobox) is None
    assert place_fault(json.loads(json.dumps(item)), geobox) is None
    world = [-180, item["bbox"][1], 180, item["bbox"][3]]
    assert "bbox" in place_fault(item | {"bbox": world}, geobox)
    assert "bbox" in place_fault(item | {"geometry": item_of(EAST)["geometry"]}, geobox)


def test_the_outline_is_read_back_as_that_of_a_scene():
    item = item_of(EAST)
    assert footprint_of(item).area == pytest.approx(footprint(EAST.geobox(1)).area)
    assert footprint_of({"bbox": item["bbox"]}).bounds[::2] == (-180, 180)


def test_a_collection_s_extent_crosses_180_with_its_tiles(tmp_path):
    members = [(Member(tmp_path / f"{tile}.tif", tile.geobox(1), tile, ""), "") for tile in tiles_over(FIJI)]
    ((west, _, east, _),) = collection("fiji", "Fiji", members, [])["extent"]["spatial"]["bbox"]
    assert 179.7 < west < 179.95
    assert -179.95 < east < -179.7


@pytest.mark.parametrize(("tile", "sheet", "left"), [(WEST, "S18E177", 177), (EAST, "S18W180", -180)])
def test_a_piece_of_a_product_ends_at_180_and_needs_one_sheet(tile, sheet, left):
    assert sheet_names(tile_bounds(tile)) == [sheet]
    grid = GeoBox((36_000, 36_000), Affine(1 / 12_000, 0, left, 0, -1 / 12_000, -15), "EPSG:4326")
    piece = _around(grid, tile)
    assert max(piece.shape) < 1300
    assert piece.extent.geom.buffer(1e-9).contains(tile.footprint())
    mercator = tile_bounds(tile, "EPSG:3857")
    assert mercator[2] - mercator[0] < 11_500


def test_points_beside_180_are_read_from_the_map_of_their_zone(tmp_path):
    for code, tile in enumerate((WEST, EAST)):
        grid = tile.geobox(10)
        place = {"crs": str(grid.crs), "transform": grid.transform, "height": 1024, "width": 1024}
        with rasterio.open(
            tmp_path / f"{tile}.tif", "w", driver="GTiff", count=1, dtype="uint8", nodata=255, **place
        ) as dst:
            dst.write(np.full((1, 1024, 1024), code, np.uint8))
    sample = Sample(np.array([179.9999, -179.9999]), np.array([-16.93, -16.93]), "EPSG:4326", [{}, {}])
    product = Product("maps", tuple(sorted(tmp_path.glob("*.tif"))))
    assert classes_at(product, sample, 0).tolist() == [0, 1]


def test_training_ground_across_180_has_two_boxes(tmp_path):
    grid = WEST.geobox(10)
    with rasterio.open(
        *(tmp_path / "ground.tif", "w"), driver="GTiff", count=1, dtype="uint8", height=1024, width=1024,
        crs=str(grid.crs), transform=grid.transform,
    ):  # fmt: skip
        pass
    boxes = sorted(lonlat_boxes([tmp_path / "ground.tif"]))
    assert [box[::2] for box in boxes] == [
        (-180, pytest.approx(-179.907, abs=1e-3)),
        (pytest.approx(179.996, abs=1e-3), 180),
    ]
