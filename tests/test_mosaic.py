"""`isamap mosaic`: what is written, left alone, refused and resumed. Pixels are checked in tests/oracle."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
from affine import Affine
from PIL import Image
from tiled import EAST, INNER, SIDE, WEST, noise, write_map

from isamap.domain.classes import FBP24
from isamap.domain.grid import Tile
from isamap.domain.lonlat import LONLAT
from isamap.domain.product import class_layer
from isamap.errors import StorageError
from isamap.io import store

TILES = f"{WEST},{EAST}"
MAPS = {WEST: {(4608, 0): noise(2, (512, 512))}, EAST: {(4608, 6144): noise(3, (512, 512))}}
MADE = {"48N.vrt", "49N.vrt", ".gti.gpkg", ".json", ".mapped.tif", ".parquet", ".png", ".tif"}


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Finished maps of two tiles, to be copied."""
    folder = tmp_path_factory.mktemp("maps")
    for tile, patches in MAPS.items():
        write_map(folder, tile, patches)
    return folder


@pytest.fixture
def workspace(tmp_path, maps):
    shutil.copytree(maps, tmp_path / "ws" / "maps" / "fast" / "2021")
    return tmp_path / "ws"


@pytest.fixture
def make(isamap, workspace, tmp_path):
    """`isamap mosaic` of the workspace into the folder m."""

    def run(*more, tiles=TILES, year=2021, out=tmp_path / "m"):
        given = ("--tiles", tiles, "--year", year, "--workspace", workspace, "--json")
        return isamap("mosaic", *given, *(("-o", out) if out else ()), *more)

    return run


def files(folder):
    """Everything that is visible, and its bytes."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in found
        if not str(p.relative_to(folder)).startswith(".")
    }


def stem_of(ended):
    return Path(ended.document["paths"][0]).with_suffix("")


def test_a_mosaic_has_its_index_overview_table_picture_and_collection(make, tmp_path):
    ended = make()
    assert ended.code == 0, ended.err
    stem = stem_of(ended).name
    assert set(files(tmp_path / "m")) == {
        "collection.json",
        *(f"{stem}-{s}" if s[0] != "." else stem + s for s in MADE),
    }
    assert all(Path(path).is_file() for path in ended.document["paths"])
    assert (ended.document["mapped"], ended.document["counted"], ended.document["skipped"]) == (2, 2, False)


def test_the_collection_leads_to_every_item_and_raster(make, tmp_path):
    make()
    found = pystac.Collection.from_file(str(tmp_path / "m" / "collection.json"))
    items = list(found.get_items())
    assert {item.id for item in items} >= {WEST, EAST}
    for item in items:
        for asset in item.get_assets().values():
            assert Path(asset.get_absolute_href()).is_file()
    assert found.extent.spatial.bboxes[0][0] < 108 < found.extent.spatial.bboxes[0][2]


def test_the_table_of_tiles_says_what_each_is(make):
    stem = stem_of(make())
    rows = {row["id"]: row for row in pq.read_table(f"{stem}.parquet").to_pylist()}
    assert set(rows) == {WEST, EAST}
    row = rows[WEST]
    assert (row["year"], row["model"], row["isa_share"]) == (2021, "fast 1", 0.3)
    assert (stem.parent / row["href"]).resolve().is_file()


def test_the_picture_shows_shares(make):
    with Image.open(f"{stem_of(make())}.png") as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 4


def test_the_whole_workspace_can_move(make, workspace, tmp_path):
    stem = stem_of(make())
    (tmp_path / "elsewhere").mkdir()
    for name in ("ws", "m"):
        shutil.move(tmp_path / name, tmp_path / "elsewhere" / name)
    moved = tmp_path / "elsewhere" / "m" / stem.name
    for name in (f"{moved}-48N.vrt", f"{moved}.gti.gpkg"):
        with rasterio.open(name) as src:
            assert (src.read(1, out_shape=(256, 512)) != 255).any(), name


def test_a_second_run_does_nothing_again(make, tmp_path):
    make("--res", 4, "--sheet-size", 2048)
    before = files(tmp_path / "m")
    again = make("--res", 4, "--sheet-size", 2048)
    assert (again.document["skipped"], again.document["counted"], again.document["sheets"]["new"]) == (
        True,
        0,
        0,
    )
    assert files(tmp_path / "m") == before


def test_only_a_new_map_is_counted_again(make, workspace):
    make()
    write_map(workspace / "maps/fast/2021", WEST, {(4608, 0): noise(9, (512, 512), share=0.8)})
    again = make()
    assert (again.document["skipped"], again.document["counted"]) == (False, 1)
    assert again.document["isa_share"] > 0.5


def test_other_settings_make_another_overview(make):
    make()
    assert make("--overview-res", 250).document["skipped"] is False
    assert make("--overview-res", 250).document["skipped"] is True


def test_workers_give_the_same_bytes(make, tmp_path):
    make("--res", 8, "--sheet-size", 512)
    alone = files(tmp_path / "m")
    shutil.rmtree(tmp_path / "m")
    make("--res", 8, "--sheet-size", 512, "-j", 2)
    assert files(tmp_path / "m") == alone


def test_missing_tiles_are_named_and_the_others_shown(make, tmp_path):
    ended = make(tiles=f"{TILES},{INNER}")
    assert ended.code == 3
    assert INNER in ended.err
    assert ended.document["missing"] == [INNER]
    item = json.loads(stem_of(ended).with_suffix(".json").read_text())
    assert item["properties"]["isamap:missing"] == [INNER]
    assert all(
        INNER.encode() not in files(tmp_path / "m")[name]
        for name in files(tmp_path / "m")
        if name.endswith(".vrt")
    )


def test_no_map_at_all_is_missing_input(make):
    ended = make(tiles=INNER)
    assert ended.code == 66
    assert "isamap infer" in ended.err


def test_a_damaged_map_is_left_out_and_named(make, workspace, tmp_path):
    path = workspace / "maps/fast/2021" / f"{EAST}.tif"
    content = bytearray(path.read_bytes())
    content[-100] ^= 0xFF
    path.write_bytes(content)
    ended = make()
    assert ended.code == 3
    assert list(ended.document["failed"]) == [EAST]
    assert not (tmp_path / "m").joinpath(f"{stem_of(ended).name}-49N.vrt").exists()


@pytest.mark.parametrize(
    ("damage", "aged"),
    [
        pytest.param(lambda content: content[:-200], True, id="cut, of the old time"),
        pytest.param(lambda content: content[:-200], False, id="cut"),
        pytest.param(lambda content: content[:-1] + b"!", False, id="of the old size"),
    ],
)
def test_a_map_damaged_after_the_mosaic_was_made_is_named(make, workspace, damage, aged):
    path = workspace / "maps/fast/2021" / f"{EAST}.tif"
    content, status = path.read_bytes(), path.stat()
    assert make().code == 0
    path.write_bytes(damage(content))
    if aged:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    ended = make()
    assert (ended.code, list(ended.document["failed"]), ended.document["skipped"]) == (3, [EAST], False)
    path.write_bytes(content)
    assert make().code == 0


@pytest.mark.parametrize("kind", ["item", "raster"])
def test_a_map_that_may_not_be_read_is_left_out_and_named(make, monkeypatch, kind):
    if kind == "item":
        real = store.read_item

        def closed(path):
            if path.name == f"{EAST}.json":
                raise StorageError(
                    f"cannot read {path}: Permission denied: make {path} readable for this user"
                )
            return real(path)

        monkeypatch.setattr(store, "read_item", closed)
    else:
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != f"{EAST}.tif")
    ended = make()
    assert (ended.code, ended.document["requested"]) == (3, 2)
    assert list(ended.document["failed"]) == [EAST]
    assert "readable for this user" in ended.document["failed"][EAST]
    assert EAST in ended.err
    item = json.loads(stem_of(ended).with_suffix(".json").read_text())
    assert item["properties"]["isamap:missing"] == [EAST]
    monkeypatch.undo()


def test_maps_of_a_class_scheme_are_counted_by_what_is_impervious(make, workspace, tmp_path):
    folder = workspace / "maps/fast/2021"
    codes = {tile: noise(seed, (512, 512)) for tile, seed in ((WEST, 2), (EAST, 3))}
    for tile, classes in codes.items():
        classes[classes == 1] = np.array([12, 21, 24], np.uint8)[np.arange((classes == 1).sum()) % 3]
        classes[classes == 0] = np.array([4, 13], np.uint8)[np.arange((classes == 0).sum()) % 2]
        write_map(folder, tile, {(4608, 6144 * (tile == EAST)): classes}, layer=class_layer(FBP24))
    ended = make("--res", 8, "--sheet-size", 1024)
    assert ended.code == 0, ended.err
    assert ended.document["isa_share"] == pytest.approx(0.3, abs=0.02)
    stem = stem_of(ended)
    with rasterio.open(f"{stem}-48N.vrt") as src:
        assert src.descriptions == ("land cover, fbp24",)
        assert src.colormap(1)[12] == (250, 0, 150, 255)
        shown = src.read(1, window=rasterio.windows.Window(0, 4608, 512, 512))
        assert np.array_equal(shown, codes[WEST])
    sheet = next((tmp_path / "m/sheets").glob("*.json"))
    assert list(json.loads(sheet.read_text())["assets"]) == ["fbp24"]
    with rasterio.open(sheet.with_suffix(".tif")) as src:
        assert set(np.unique(src.read(1))) <= {4, 12, 13, 21, 24, 255}
    write_map(folder, EAST, MAPS[EAST])
    mixed = make("--force")
    assert mixed.code == 65
    assert f"{WEST} has the classes fbp24, {EAST} isa" in mixed.err


def test_overwrite_counts_everything_again(make):
    make()
    again = make("--overwrite")
    assert (again.document["skipped"], again.document["counted"]) == (False, 2)


def test_a_sheet_that_needs_a_damaged_map_is_not_made(make, workspace):
    (workspace / "maps/fast/2021" / f"{EAST}.tif").write_bytes(b"II*\0")
    ended = make("--res", 8, "--sheet-size", 1024)
    assert ended.code == 3
    assert len(ended.document["failed"]) > 1
    assert all(Path(path).is_file() for path in ended.document["paths"])


def test_pixels_of_sheets_in_the_wrong_unit_are_refused(make, tmp_path):
    ended = make("--crs", "EPSG:4326", "--res", 10)
    assert ended.code == 65
    assert "a pixel of 10 is wider than all maps together: --res is in units of EPSG:4326" in ended.err
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("other", [{"version": "2"}, {"threshold": 0.4}])
def test_maps_of_other_makes_are_refused(make, workspace, tmp_path, other):
    write_map(workspace / "maps/fast/2021", EAST, MAPS[EAST], **other)
    ended = make()
    assert ended.code == 65
    assert WEST in ended.err
    assert EAST in ended.err
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "m").exists()
    forced = make("--force")
    assert forced.code == 0, forced.err
    assert EAST in forced.document["differ"]


@pytest.mark.parametrize("broken", ["write_overview", "vrt_text", "write_quicklook", "commit"])
def test_an_interrupted_run_leaves_nothing_partial_and_goes_on(make, tmp_path, monkeypatch, broken):
    make()
    whole = files(tmp_path / "m")
    shutil.rmtree(tmp_path / "m")

    def stop(*_, **__):
        raise StorageError("stopped here")

    place = {
        "vrt_text": "isamap.core.mosaic.index.vrt_text",
        "commit": "isamap.io.store.Publication.commit",
    }.get(broken, f"isamap.core.mosaic.{broken}")
    with monkeypatch.context() as patch:
        patch.setattr(place, stop)
        assert make().code == 74
    assert files(tmp_path / "m") == {}
    again = make()
    assert (again.code, again.document["counted"]) == (0, 0)
    assert files(tmp_path / "m") == whole


def test_an_interrupted_sheet_leaves_the_finished_ones(make, tmp_path, monkeypatch):
    from isamap.io import warped

    made, calls = warped.Sampler.on, []

    def stop(self, grid):
        calls.append(grid)
        if len(calls) > 5:
            raise StorageError("stopped here")
        return made(self, grid)

    with monkeypatch.context() as patch:
        patch.setattr(warped.Sampler, "on", stop)
        assert make("--res", 8, "--sheet-size", 1024).code == 74
    finished = [p.stem for p in (tmp_path / "m/sheets").glob("*.json")]
    assert len(finished) == len(list((tmp_path / "m/sheets").glob("*.tif"))) == 1
    again = make("--res", 8, "--sheet-size", 1024)
    assert again.document["sheets"]["skipped"] == 1
    assert again.document["sheets"]["new"] > 1


def test_a_dry_run_writes_nothing(make, tmp_path):
    ended = make("-n", "--res", 1, "--sheet-size", 4096)
    assert (ended.code, ended.document["mapped"], ended.document["missing"]) == (0, 2, 0)
    assert ended.document["sheets"] > 1
    assert not (tmp_path / "m").exists()


def write_plain(path, left, crs="EPSG:32648", gsd=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {"crs": crs, "transform": Affine(gsd, 0, left, 0, -gsd, 3_300_000)}
    shape = {"height": 600, "width": 700, "count": 1, "dtype": "uint8", "nodata": 255}
    with rasterio.open(
        path, "w", driver="GTiff", tiled=True, blockxsize=256, blockysize=256, **shape, **place
    ) as dst:
        dst.write(noise(5, (600, 700)), 1)
    return path


def test_maps_of_ones_own_are_put_together(isamap, tmp_path):
    write_plain(tmp_path / "maps" / "a.tif", 600_000)
    write_plain(tmp_path / "maps" / "b.tif", 600_700)
    ended = isamap("mosaic", tmp_path / "maps", "-o", "town", "--overview-res", 50, "--json")
    assert ended.code == 0, ended.err
    assert "unknown" in ended.err
    assert stem_of(ended) == Path("town/town")
    with rasterio.open("town/town-48N.vrt") as src:
        assert src.shape == (600, 1400)
        assert np.array_equal(src.read(1)[:, 700:], noise(5, (600, 700)))


def test_overlapping_maps_are_refused(isamap, tmp_path):
    write_plain(tmp_path / "maps" / "a.tif", 600_000)
    write_plain(tmp_path / "maps" / "b.tif", 600_500)
    ended = isamap("mosaic", tmp_path / "maps")
    assert ended.code == 65
    assert "same ground" in ended.err


def test_maps_of_other_pixel_sizes_are_refused(isamap, tmp_path):
    write_plain(tmp_path / "maps" / "a.tif", 600_000)
    write_plain(tmp_path / "maps" / "b.tif", 610_000, gsd=2.0)
    assert isamap("mosaic", tmp_path / "maps").code == 65


def test_what_is_no_class_map_is_refused(isamap, tmp_path):
    write_plain(tmp_path / "a.tif", 600_000)
    with rasterio.open(tmp_path / "a.tif", "r+") as dst:
        dst.write(np.full((1, 1), 77, np.uint8), 1, window=rasterio.windows.Window(5, 5, 1, 1))
    ended = isamap("mosaic", tmp_path / "a.tif")
    assert ended.code == 65
    assert "no class map" in ended.err


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--tiles", WEST),
        ("a.tif", "--tiles", WEST, "--year", 2021),
        ("--tiles", WEST, "--year", 2021, "--cutline"),
        ("--tiles", WEST, "--year", 2021, "--sheet-size", 1000),
    ],
)
def test_unclear_requests_are_usage_errors(isamap, arguments):
    assert isamap("mosaic", *arguments).code == 2


def test_a_cutline_without_a_mapped_pixel_is_told_and_called_no_pervious_ground(isamap, workspace, tmp_path):
    left, bottom, right, top = Tile.parse(WEST).geobox(1).extent.to_crs(LONLAT).boundingbox
    middle = (left + right) / 2, (bottom + top) / 2
    box = ",".join(f"{value:.4f}" for value in (*middle, middle[0] + 0.001, middle[1] + 0.001))
    given = ("--bbox", box, "--year", 2021, "--workspace", workspace, "-o", tmp_path / "m", "--cutline")
    ended = isamap("mosaic", *given)
    assert ended.code == 0, ended.err
    assert "WARNING no pixel within the cutline is mapped: overview and sheets are empty" in ended.err
    assert ended.err.splitlines()[-1] == "requested 1: 1 mapped, 0 missing, 0 failed; no pixel is mapped"


def test_the_last_line_says_of_how_much_ground_the_share_is(isamap, workspace, tmp_path):
    given = ("--tiles", TILES, "--year", 2021, "--workspace", workspace, "-o", tmp_path / "m")
    last = isamap("mosaic", *given).err.splitlines()[-1]
    assert re.fullmatch(
        r"requested 2: 2 mapped, 0 missing, 0 failed; [\d.]+ % of 0\.\d+ km2 impervious", last
    )


def test_an_unknown_crs_is_bad_input(make):
    assert make("--crs", "EPSG:123456").code == 65


def test_a_second_run_at_the_same_time_is_refused(make, tmp_path):
    from isamap.io import store

    (tmp_path / "m").mkdir()
    with store.lock(tmp_path / "m" / ".isamap.lock", what="m"):
        assert make().code == 75


def test_the_tile_side_of_these_tests_is_that_of_the_grid():
    from isamap.domain.grid import Tile

    assert Tile.parse(WEST).geobox(1).shape == (SIDE, SIDE)
