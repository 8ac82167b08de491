"""Tiles of two UTM zones overlap where the zones meet: what is counted and looked up there is so once."""

import json

import numpy as np
import pytest
import shapely
from affine import Affine
from bad_rasters import write_raster
from test_change import change, years
from test_change import write_map as write_year
from tiled import EAST, INNER, WEST

from isamap.domain.grid import Tile, Window
from isamap.domain.lonlat import geodesic_area_km2
from isamap.domain.own_ground import own_columns, own_pixels
from isamap.io.points import values_at

__all__ = ["change"]  # a fixture

TILES = (INNER, WEST, EAST)
GROUND_KM2 = geodesic_area_km2(shapely.union_all([Tile.parse(tile).footprint() for tile in TILES]))
WITHIN = 1e-4
"""Of an area: its edge runs along pixels of 10 m."""


def write_years(folder, tiles):
    """Maps of three years, of 10 m, in folders; all ground is built after the first."""
    for t, year in enumerate((2017, 2019, 2021)):
        for tile in tiles:
            grid = Tile.parse(tile).geobox(10)
            write_year(folder / str(year) / f"{tile}.tif", np.full(grid.shape, min(t, 1), np.uint8), grid)


def areas(ended):
    """Impervious ground of the last year by unit."""
    assert ended.code == 0, ended.err
    rows = json.loads(ended.out)["tables"]["areas"]
    return {row["unit"]: row["ISA (km²)"] for row in rows if row["year"] == 2021}


def test_change_counts_ground_where_zones_meet_once(change, tmp_path):
    write_years(tmp_path / "w" / "maps" / "fast", TILES)
    box = {"type": "Polygon", "coordinates": [[[107, 29], [109, 29], [109, 31], [107, 31], [107, 29]]]}
    units = {"type": "Feature", "properties": {"name": "here"}, "geometry": box}
    (tmp_path / "units.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [units]}))
    asked = ("--tiles", ",".join(TILES), *years(3), "--workspace", tmp_path / "w", "-o", "out", "--json")
    found = areas(change(*asked, "--units", tmp_path / "units.geojson"))
    assert found == pytest.approx({"all": GROUND_KM2, "here": GROUND_KM2}, rel=WITHIN)
    assert areas(change(*asked)) == pytest.approx({"all": GROUND_KM2}, rel=WITHIN)


def test_change_takes_a_raster_of_ones_own_whole(change, tmp_path):
    write_years(tmp_path, (WEST,))
    paths = [tmp_path / str(year) / f"{WEST}.tif" for year in (2017, 2019, 2021)]
    own = areas(change(*paths, *years(3), "-o", "tile", "--json"))
    assert own["all"] == pytest.approx(geodesic_area_km2(Tile.parse(WEST).footprint()), rel=WITHIN)
    mine = [path.with_name("mine.tif") for path in paths]
    for path, to in zip(paths, mine, strict=True):
        path.rename(to)
        path.with_suffix(".json").unlink()
    outline = Tile.parse(WEST).geobox(10).footprint("EPSG:4326", npoints=64).geom
    assert areas(change(*mine, *years(3), "-o", "map", "--json")) == pytest.approx(
        {"all": geodesic_area_km2(outline)}, rel=WITHIN
    )


@pytest.mark.parametrize("order", [1, -1])
def test_a_point_takes_the_value_of_the_tile_of_its_own_zone(tmp_path, order):
    grids = {tile: Tile.parse(tile).geobox(10) for tile in (WEST, EAST)}
    paths = [
        write_raster(
            tmp_path / f"{tile}.change.tif",
            np.full((1, *grid.shape), value, np.uint8),
            (),
            crs=str(grid.crs),
            transform=grid.transform,
            nodata=255,
        )
        for value, (tile, grid) in enumerate(grids.items())
    ]
    shared = shapely.intersection_all([grid.footprint("EPSG:4326").geom for grid in grids.values()])
    points = [shared.intersection(shapely.box(lon, 0, lon + 1e-3, 90)).centroid for lon in (107.99, 108.01)]
    lon, lat = np.array([[point.x for point in points], [point.y for point in points]])
    assert values_at(paths[::order], lon, lat, "EPSG:4326").tolist() == [0, 1]


def test_windows_of_a_tile_know_their_own_pixels():
    tile = Tile.parse(WEST)
    grid = tile.geobox(10)
    columns = own_columns(tile, grid)
    whole = own_pixels(columns, Window(0, 0, 1024, 1024))
    assert 0 < whole.mean() < 1
    np.testing.assert_array_equal(own_pixels(columns, Window(100, 50, 60, 900)), whole[100:160, 50:950])
    assert own_pixels(columns, Window(0, 0, 1024, int(columns[:, 1].min()))) is None
    assert (
        own_pixels(own_columns(Tile.parse(INNER), grid.translate_pix(-1024, 0)), Window(0, 0, 9, 9)) is None
    )
    flipped = Affine(10, 0, grid.transform.c, 0, 10, grid.boundingbox.bottom)
    south_up = own_columns(tile, type(grid)(grid.shape, flipped, grid.crs))
    np.testing.assert_array_equal(south_up[::-1], columns)
