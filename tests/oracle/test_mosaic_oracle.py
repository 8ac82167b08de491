"""Mosaics against pixel-by-pixel ones, over the border of two UTM zones."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.lib.stride_tricks import sliding_window_view
from rasterio.windows import Window
from tiled import EAST, INNER, WEST, counted, noise, owned_pixels, seen_on, write_map

TILES = f"{INNER},{WEST},{EAST}"
MAPS = {
    INNER: {(4608, 9728): noise(1, (512, 512))},
    WEST: {(4608, 0): noise(2, (512, 1536))},  # its zone ends at column 900 or so
    EAST: {(4608, 5120): noise(3, (512, 1536))},  # and this one's begins at column 5500
}


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "ws"
    for tile, patches in MAPS.items():
        write_map(folder / "maps" / "fast" / "2021", tile, patches)
    return folder


@pytest.fixture
def made(isamap, workspace, tmp_path):
    def make(*more):
        ended = isamap(
            "mosaic",
            "--tiles",
            TILES,
            "--year",
            2021,
            "--workspace",
            workspace,
            "-o",
            tmp_path / "m",
            "--json",
            *more,
        )
        assert ended.code == 0, ended.err
        stem = Path(ended.document["paths"][0]).with_suffix("")
        return ended.document, stem

    return make


@pytest.mark.parametrize(("crs", "res"), [("EPSG:6933", 100), ("EPSG:4326", 90), ("EPSG:32648", 64)])
def test_the_overview_is_that_of_every_single_pixel(made, crs, res):
    document, stem = made("--crs", crs, "--overview-res", res)
    with rasterio.open(f"{stem}.tif") as src, rasterio.open(f"{stem}.mapped.tif") as mapped:
        isa, valid = counted(MAPS, src)
        share, covered = src.read(1), mapped.read(1)
        cell = abs(src.transform.a) * abs(src.transform.e)
    known = valid > 0
    assert np.array_equal(share == 255, ~known)
    exact = 100 * isa[known] / valid[known]
    assert (
        np.abs(share[known] - exact).max() < 0.5 + 100 * 3 / valid[known].min()
    )  # 3 px on the edge of a cell
    large = valid[known] > 1000
    assert np.abs(share[known][large] - exact[large]).max() <= 0.7
    pixels = {tile: owned_pixels(tile, patches)[2] for tile, patches in MAPS.items()}
    every = np.concatenate(list(pixels.values()))
    assert document["isa_share"] == pytest.approx((every == 1).sum() / (every != 255).sum(), abs=1e-6)
    assert document["mapped_km2"] == pytest.approx((every != 255).sum() / 1e6, rel=3e-3)
    if crs == "EPSG:6933":  # all cells have one area
        assert covered.sum() / 100 * cell == pytest.approx((every != 255).sum(), rel=0.01)


def compared(folder, box=None):
    """Pixels of all sheets that a look-up of every single centre gives, and those that differ."""
    pixels = wrong = 0
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as src:
            classes = src.read(1)
            if not (classes != 255).any():
                continue
            rows, cols = np.nonzero(classes != 255)
            window = Window(cols.min(), rows.min(), np.ptp(cols) + 1, np.ptp(rows) + 1)
            truth = seen_on(MAPS, src, window, box)
        ours = classes[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
        pixels, wrong = pixels + np.count_nonzero(truth != 255), wrong + np.count_nonzero(ours != truth)
    return pixels, wrong


@pytest.mark.parametrize(
    ("crs", "res", "pixel_m2"),
    [("EPSG:6933", 5, 25), ("EPSG:4326", 0.00005, 26.7), ("EPSG:32649", 7.5, 56.25)],
)
def test_sheets_show_the_pixel_in_which_each_centre_lies(made, crs, res, pixel_m2):
    document, stem = made("--crs", crs, "--res", res, "--sheet-size", 1024)
    pixels, wrong = compared(stem.parent / "sheets")
    assert wrong <= 2e-4 * pixels  # centres within 0.1 mm of a pixel's edge
    every = sum(np.count_nonzero(owned_pixels(tile, patches)[2] != 255) for tile, patches in MAPS.items())
    assert pixels * pixel_m2 == pytest.approx(every, rel=0.01)
    assert document["sheets"] == {"new": len(list((stem.parent / "sheets").glob("*.tif"))), "skipped": 0}


def test_a_cutline_leaves_only_the_area(isamap, workspace):
    box = (107.9945, 29.9965, 108.0052, 30.0051)
    ended = isamap(
        *("mosaic", "--bbox", ",".join(map(str, box)), "--year", 2021, "--workspace", workspace, "--cutline"),
        *("--res", 1, "--sheet-size", 1024, "--overview-res", 50, "--json"),
    )
    stem = Path(ended.document["paths"][0]).with_suffix("")
    pixels, wrong = compared(stem.parent / "sheets", box)
    assert pixels > 100_000
    assert wrong <= 2e-4 * pixels
    with rasterio.open(f"{stem}.tif") as src:
        isa, valid = counted(MAPS, src, box)
        share = src.read(1)
    assert np.array_equal(share == 255, valid == 0)
    assert ended.document["isa_share"] == pytest.approx(isa.sum() / valid.sum(), abs=1e-5)


def test_no_ground_at_the_border_is_missing_or_shown_twice(made):
    _, stem = made()
    with rasterio.open(f"{stem}.mapped.tif") as src:
        mapped = src.read(1)
    row = mapped[np.argmax((mapped > 90).sum(axis=1))]
    inside = row[np.nonzero(row > 90)[0][0] : np.nonzero(row > 90)[0][-1] + 1]
    assert inside.min() >= 93  # 5 % of the pixels are nodata
    assert inside.max() <= 97


def test_gdal_alone_reads_tiles_through_the_vrt(made, workspace, tmp_path):
    _, stem = made()
    for name, tile in (("48N", WEST), ("49N", EAST)):
        with (
            rasterio.open(f"{stem}-{name}.vrt") as vrt,
            rasterio.open(workspace / f"maps/fast/2021/{tile}.tif") as src,
        ):
            assert vrt.crs == src.crs
            assert vrt.nodata == 255
            row, col = vrt.index(src.bounds.left + 0.5, src.bounds.top - 0.5)
            window = Window(0, 4500, 6000, 1200)
            assert np.array_equal(
                vrt.read(1, window=Window(col, row + 4500, 6000, 1200)), src.read(1, window=window)
            )
            assert vrt.colormap(1)[1] == (178, 34, 52, 255)


def test_gdal_alone_reads_one_zone_through_the_tile_index_as_it_is(isamap, workspace, tmp_path):
    given = ("--tiles", f"{INNER},{WEST}", "--year", 2021, "--workspace", workspace, "--json")
    stem = Path(isamap("mosaic", *given).document["paths"][0]).with_suffix("")
    with rasterio.open(f"{stem}-48N.vrt") as vrt, rasterio.open(f"{stem}.gti.gpkg") as gti:
        assert gti.driver == "GTI"
        assert gti.crs == vrt.crs
        row, col = gti.index(*vrt.xy(4700, 10_100))
        theirs = gti.read(1, window=Window(col, row, 800, 700))
        assert np.array_equal(theirs, vrt.read(1, window=Window(10_100, 4700, 800, 700)))
        assert (theirs == 1).any()


def test_the_tile_index_of_two_zones_is_off_by_a_pixel_at_most(isamap, workspace):
    given = ("--bbox", "107.988,30.0035,107.9925,30.007", "--year", 2021, "--workspace", workspace, "--json")
    tiles = ("--tiles", TILES, *given[2:])
    index = Path(isamap("mosaic", *tiles).document["paths"][0]).with_suffix(".gti.gpkg")
    ended = isamap("mosaic", *given, "--cutline", "--res", 1, "--sheet-size", 512)
    found = total = 0
    with rasterio.open(index) as gti:
        assert gti.crs.to_epsg() == 6933
        for path in sorted((Path(ended.document["paths"][0]).parent / "sheets").glob("*.tif")):
            with rasterio.open(path) as src:
                near = sliding_window_view(src.read(1), (3, 3)).reshape(510, 510, 9)
                row, col = (round(side) for side in gti.index(src.bounds.left, src.bounds.top, op=float))
            theirs = gti.read(1, window=Window(col + 1, row + 1, 510, 510))
            known = (near != 255).all(axis=2) & (theirs != 255)
            found += np.count_nonzero((near == theirs[..., None]).any(axis=2) & known)
            total += np.count_nonzero(known)
    assert total > 50_000
    assert found / total > 0.99
