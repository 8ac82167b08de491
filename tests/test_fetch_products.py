"""`isamap fetch --product`: pieces of published products as they were published, for `isamap evaluate`."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import tiled
from affine import Affine
from rio_cogeo.cogeo import cog_validate
from scenery.servers import Faults, RangeServer

from isamap.domain import reference_sheets
from isamap.domain.grid import MARGIN_PX, Tile
from isamap.errors import ConfigError
from isamap.io.classmap import ClassMap

PX = 1200
"""Pixels of a degree here; 12 000 in WorldCover."""
TILE = tiled.WEST
"""Reaches over 108 E, where two sheets meet."""
CODES = np.array([10, 30, 40, 50, 60, 80], np.uint8)


def truth(rows, cols):
    """A class for every pixel of the lattice of the whole globe."""
    return CODES[(np.asarray(rows) * 7 + np.asarray(cols) * 13 + (np.asarray(rows) // 5) ** 2) % len(CODES)]


def write_sheet(folder, lat, lon, px=PX):
    """The sheet whose lower left corner is there."""
    name = reference_sheets.sheet_names((lon + 1, lat + 1, lon + 2, lat + 2))[0]
    rows, cols = np.arange((90 - lat - 3) * px, (90 - lat) * px), np.arange(lon * px, (lon + 3) * px)
    shape = {"height": 3 * px, "width": 3 * px, "count": 1, "dtype": "uint8"}
    place = {"crs": "EPSG:4326", "transform": Affine(1 / px, 0, lon, 0, -1 / px, lat + 3)}
    path = folder / f"Map_{name}.tif"
    with rasterio.open(path, "w", driver="GTiff", tiled=True, compress="deflate", **shape, **place) as dst:
        dst.write(truth(rows[:, None], cols[None, :]), 1)
    return path


@pytest.fixture(scope="module")
def sheets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sheets")
    for lat in (27, 30):
        for lon in (105, 108):
            write_sheet(folder, lat, lon)
    return folder


@pytest.fixture
def server(sheets):
    with RangeServer(sheets) as served:
        yield served


@pytest.fixture
def fetch(isamap, server):
    def run(*more, tiles=TILE, url=None):
        url = url or f"{server.url.rstrip('/')}/Map_{{ll}}.tif"
        place = ("--product", "worldcover-v200", "--product-url", url)
        return isamap("fetch", "--tiles", tiles, "--workspace", "ws", *place, *more)

    return run


FOLDER = Path("ws/references/worldcover-v200")


def test_sheets_are_named_by_their_lower_left_corner():
    assert reference_sheets.sheet_names((106.2, 29.5, 106.3, 29.6)) == ["N27E105"]
    assert reference_sheets.sheet_names((107.9, 29.9, 108.1, 30.1)) == [
        "N27E105",
        "N27E108",
        "N30E105",
        "N30E108",
    ]
    assert reference_sheets.sheet_names((-0.1, -0.1, 0.1, 0.1)) == [
        "S03W003",
        "S03E000",
        "N00W003",
        "N00E000",
    ]
    assert reference_sheets.sheet_names((-74.5, -12.2, -74.4, -12.1)) == ["S15W075"]


def test_public_addresses_are_those_of_the_makers():
    place, source = reference_sheets.find("worldcover-v200").places[0]
    assert place.replace("{ll}", "N30E105") == (
        "https://esa-worldcover.s3.eu-central-1.amazonaws.com/v200/2021/map/ESA_WorldCover_10m_2021_v200_N30E105_Map.tif"
    )
    assert source.hosts == ("esa-worldcover.s3.eu-central-1.amazonaws.com",)
    older = reference_sheets.find("WorldCover v100").places[1]
    assert "/v100/2020/map/ESA_WorldCover_10m_2020_v100_{ll}_Map.tif" in older[0]
    assert older[1].signing == "planetary-computer"
    with pytest.raises(ConfigError, match="--product-url"):
        reference_sheets.find("gaia")
    with pytest.raises(ConfigError, match="worldcover-v200"):
        reference_sheets.find("worldcover-v201")


def test_a_piece_has_the_pixels_of_its_sheets_where_they_belong(fetch):
    ended = fetch()
    assert ended.code == 0, ended.err
    path = FOLDER / f"{TILE}.tif"
    assert ended.out == f"{path}\n"
    assert cog_validate(path, strict=True, quiet=True)[0]
    with rasterio.open(path) as src:
        values, transform, nodata = src.read(1), src.transform, src.nodata
        bounds = src.bounds
    assert nodata == 0
    row, col = round((90 - transform.f) * PX), round(transform.c * PX)
    assert abs(transform.c * PX - col) < 1e-6
    height, width = values.shape
    assert np.array_equal(
        values, truth(np.arange(row, row + height)[:, None], np.arange(col, col + width)[None])
    )
    left, bottom, right, top = reference_sheets.tile_bounds(Tile.parse(TILE))
    assert bounds.left < left < 108 < right < bounds.right
    assert bounds.bottom < bottom < top < bounds.top
    item = json.loads(path.with_suffix(".json").read_text())
    properties = item["properties"]
    assert properties["isamap:product"] == "worldcover-v200"
    assert "ESA WorldCover project" in properties["isamap:attribution"]
    assert properties["license"] == "CC-BY-4.0"
    assert properties["isamap:sheets_missing"] == []
    assert (properties["start_datetime"], properties["end_datetime"][:10]) == (
        "2021-01-01T00:00:00Z",
        "2021-12-31",
    )


def test_a_finished_piece_is_skipped_and_a_damaged_one_fetched_again(fetch, server):
    assert fetch().code == 0
    before = (FOLDER / f"{TILE}.tif").read_bytes()
    hits = server.hits
    again = fetch("--json")
    assert (again.document["skipped"], again.document["product"]) == (1, "worldcover-v200")
    assert server.hits == hits
    (FOLDER / f"{TILE}.tif").write_bytes(before[:-1])
    assert fetch("--json").document["fetched"] == 1
    assert (FOLDER / f"{TILE}.tif").read_bytes() == before
    assert json.loads(Path("ws/runs/fetch-worldcover-v200.json").read_text())["fetched"] == 1


def test_a_sheet_that_does_not_exist_is_nodata_and_said_to_be(fetch, server, sheets):
    for name in ("N27E108", "N30E108"):
        server.permanent[f"/Map_{name}.tif"] = "404"
    assert fetch().code == 0
    with rasterio.open(FOLDER / f"{TILE}.tif") as src:
        values, transform = src.read(1), src.transform
    border = round((108 - transform.c) * PX)
    assert values[:, :border].all()
    assert not values[:, border:].any()
    item = json.loads((FOLDER / f"{TILE}.json").read_text())
    assert item["properties"]["isamap:sheets_missing"] == ["N27E108", "N30E108"]


def test_ground_without_any_sheet_is_missing_and_a_server_that_refuses_is_not(fetch, server):
    missing = fetch(tiles="48N-0020-0200")
    assert missing.code == 66
    assert missing.err.endswith("has nothing of this ground: no sheet N18E102\n")
    server.permanent["/*"] = "403"
    refused = fetch()
    assert refused.code in {69, 75}
    assert not list(FOLDER.glob("[!.]*"))


def test_transient_faults_change_nothing(fetch, sheets):
    assert fetch().code == 0
    want = (FOLDER / f"{TILE}.tif").read_bytes()
    with RangeServer(
        sheets, faults=Faults.share(0.3, ["500", "503", "reset", "short"], seed=1, in_a_row=3)
    ) as rough:
        ended = fetch("--overwrite", url=f"{rough.url.rstrip('/')}/Map_{{ll}}.tif")
    assert ended.code == 0, ended.err
    assert (FOLDER / f"{TILE}.tif").read_bytes() == want


def test_a_file_of_ones_own_serves_other_products(isamap, sheets):
    place = ("--product", "sinolc-1", "--product-url", sheets / "Map_N27E105.tif")
    ended = isamap("fetch", "--tiles", tiled.INNER, "--workspace", "ws", *place)
    assert ended.code == 0, ended.err
    assert (Path("ws/references/sinolc-1") / f"{tiled.INNER}.tif").is_file()


@pytest.fixture
def own(sheets, tmp_path, isamap):
    """Sheets in a folder of the user's own, fetched from there by the names that they have in it."""
    folder = tmp_path / "own"
    shutil.copytree(sheets, folder)

    def run(*more, name="Map_{ll}.tif"):
        place = ("--product", "worldcover-v200", "--product-url", folder / name)
        ended = isamap("fetch", "--tiles", TILE, "--workspace", "ws", "--json", *place, *more)
        assert ended.code == 0, ended.err
        return ended.document

    run.folder = folder
    return run


def as_item():
    return json.loads((FOLDER / f"{TILE}.json").read_text())


def test_a_file_of_ones_own_that_was_replaced_is_fetched_again(own):
    assert own()["fetched"] == 1
    assert own()["skipped"] == 1
    path = own.folder / "Map_N27E105.tif"
    before, facts = path.read_bytes(), path.stat()
    with rasterio.open(path, "r+") as dst:
        dst.write(np.full(dst.shape, 50, np.uint8), 1)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert own("-n")["to_compare"] == 1
    assert own()["fetched"] == 1
    with rasterio.open(FOLDER / f"{TILE}.tif") as src:
        row, col = src.index(108, 30)
        assert (src.read(1)[row + 1 :, : col - 1] == 50).all()
    path.write_bytes(before)
    assert own()["fetched"] == 1


def test_digests_of_ones_own_files_are_kept(own, monkeypatch):
    monkeypatch.setattr("isamap.io.stamps.SETTLED_S", -1)
    assert own()["fetched"] == 1
    with monkeypatch.context() as patch:
        patch.setattr("isamap.io.stamps._read", lambda *_: pytest.fail("a sheet was read again"))
        assert own()["skipped"] == 1
        assert own("-n")["fetched_before"] == 1
    shutil.copytree(own.folder, other := own.folder.with_name("other"))
    own.folder = other
    assert own()["skipped"] == 1


def test_no_absolute_path_is_published_with_a_piece(own, tmp_path):
    own()
    properties = as_item()["properties"]
    assert properties["isamap:place"] == "Map_{ll}.tif"
    assert properties["isamap:provenance"]["places"] == ["Map_{ll}.tif"]
    assert set(properties["isamap:provenance"]["files"]) <= {
        f"Map_N{n}E{e}.tif" for n in (27, 30) for e in (105, 108)
    }
    assert str(tmp_path) not in json.dumps(as_item())


def test_the_name_of_a_sheet_may_be_that_of_its_folder(own):
    for path in own.folder.glob("*.tif"):
        (own.folder / path.stem.removeprefix("Map_")).mkdir()
        path.rename(own.folder / path.stem.removeprefix("Map_") / "map.tif")
    assert own(name="{ll}/map.tif")["fetched"] == 1
    assert as_item()["properties"]["isamap:place"] == "{ll}/map.tif"


def test_a_dry_run_writes_and_asks_nothing(fetch, server):
    plan = fetch("-n", "--json").document
    assert (plan["requested"], plan["new"], plan["product"]) == (1, 1, "worldcover-v200")
    assert server.hits == 0
    assert not Path("ws").exists()


def test_a_dry_run_tells_pieces_that_will_be_fetched_again_and_the_run_agrees(fetch):
    assert fetch().code == 0

    def planned_and_run(*more):
        plan = fetch("-n", "--json", *more).document
        assert (plan["read_gb"] > 0) == (plan["new"] + plan["stale"] > 0)
        ended = fetch("--json", *more).document
        return {key: plan[key] for key in ("new", "stale", "fetched_before")}, ended["fetched"]

    assert planned_and_run() == ({"new": 0, "stale": 0, "fetched_before": 1}, 0)
    assert planned_and_run("--overwrite") == ({"new": 0, "stale": 1, "fetched_before": 0}, 1)
    path = FOLDER / f"{TILE}.tif"
    path.write_bytes(path.read_bytes()[:-1])
    assert planned_and_run() == ({"new": 0, "stale": 1, "fetched_before": 0}, 1)
    item = path.with_suffix(".json")
    item.write_text(item.read_text().replace('"code": "isamap ', '"code": "isamap older '))
    assert planned_and_run() == ({"new": 0, "stale": 1, "fetched_before": 0}, 1)


@pytest.mark.slow
def test_evaluate_reads_the_pieces(fetch, isamap):
    assert fetch().code == 0
    own = Tile.parse(TILE)
    classes = np.zeros((512, 512), np.uint8)
    classes[:256] = 1
    path = tiled.write_map(Path("maps"), TILE, {(1024, 1024): classes})
    ended = isamap("evaluate", "maps", "--reference", f"worldcover-v200={FOLDER}", "-o", "report", "--json")
    assert ended.code == 0, ended.err
    with ClassMap([FOLDER / f"{TILE}.tif"], lambda values: (values == 50).astype(np.uint8)) as product:
        seen = product.on(own.geobox(10, MARGIN_PX))
    assert 0.05 < seen.mean() < 0.4
    assert path.is_file()
