"""`isamap tile` on the command line: options, bad input, what the shell sees."""

import json
import re

import fbp_folder
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
import shapely.affinity
import towns
from bad_rasters import BAD_RASTERS

LOCK = ".isamap.lock"


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    return towns.write_town(tmp_path_factory.mktemp("town"), towns.make_town(64, 64))


def words(ground, out, *more):
    return (
        *("tile", "--imagery", ground / "imagery.tif", "--image", ground / "image.tif"),
        *("--labels", ground / "isa.tif", "-o", out, "--chip-px", "32", "--buffer", "0", *more),
    )


def left_in(folder):
    return {path.name for path in folder.rglob("*")} - {LOCK} if folder.exists() else set()


def test_one_source_needs_no_recipe(isamap, ground, tmp_path):
    ended = isamap(*words(ground, tmp_path / "out", "--preview"))
    assert ended.code == 0, ended.err
    assert ended.out == f"{tmp_path / 'out' / 'chips.geojson'}\n"
    assert re.search(r"imagery: lies [+-]0\.\d m east, [+-]0\.\d m north of its imagery by image", ended.err)
    assert re.search(r"train +\d+ chips, [\d.]+ km2, [\d.]+ % ISA", ended.err)
    assert (tmp_path / "out" / "chips.png").read_bytes()[:4] == b"\x89PNG"


def test_json_is_one_document_and_the_report_is_the_same(isamap, ground, tmp_path):
    ended = isamap(*words(ground, tmp_path / "out", "--json", "--report", tmp_path / "report.json"))
    document = ended.document
    assert json.loads((tmp_path / "report.json").read_text()) == document
    assert document["command"] == "tile"
    assert document["chips"]["train"] > 0
    assert document["distance_m"]["train-val"] == 0
    again = isamap(*words(ground, tmp_path / "out", "--json")).document
    assert again["skipped"]
    assert not again["shards"][0]["new"]


def test_a_dry_run_says_what_is_missing_and_writes_nothing(isamap, ground, tmp_path):
    more = ("--labels", "none.tif", "-n")
    ended = isamap(*words(ground, tmp_path / "out", *more))
    assert ended.code == 0
    assert re.search(r"missing +none\.tif", ended.out)
    assert isamap(*words(ground, tmp_path / "out", *more, "--json")).document["missing"] == ["none.tif"]
    assert not (tmp_path / "out").exists()


def test_vectors_by_option(isamap, ground, tmp_path):
    left, top = towns.WEST, towns.NORTH
    ring = [[left, top], [left + 300, top], [left + 300, top - 300], [left, top - 300], [left, top]]
    crs = {"type": "name", "properties": {"name": towns.EPSG}}
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    path = tmp_path / "b.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))
    ended = isamap(
        *("tile", "--imagery", ground / "imagery.tif", "--vectors", f"buildings={path}"),
        *("-o", tmp_path / "out", "--only", "train", "--chip-px", "32", "--json"),
    )
    assert ended.document["shards"][0]["labels"] == {"0": 640 * 640 - 300 * 300, "1": 300 * 300}


def test_the_area_of_complete_labels_names_its_layer_as_an_aoi_does(isamap, ground, tmp_path):
    west, north = towns.WEST, towns.NORTH
    house = shapely.box(west, north - 300, west + 300, north)
    for layer, width_m in (("rough", 640), ("complete", 400)):
        shape = shapely.box(west, north - 640, west + width_m, north)
        _write_layer(tmp_path / "two.gpkg", layer, shape)
    _write_layer(tmp_path / "houses.gpkg", "houses", house)

    def tile(area):
        source = f'name = "i"\nimagery = ["{ground}/imagery.tif"]\nonly = "train"\narea = "{area}"'
        vectors = '[[sources.vectors]]\npath = "houses.gpkg"\nkind = "impervious"'
        (tmp_path / "r.toml").write_text(f"chip_px = 32\n[[sources]]\n{source}\n{vectors}")
        given = ("tile", tmp_path / "r.toml", "--data", tmp_path, "-o", tmp_path / "out", "--json")
        return isamap(*given)

    for layer, known in (("rough", 640 * 640), ("complete", 400 * 640)):
        ended = tile(f"two.gpkg:{layer}")
        assert ended.code == 0, ended.err
        counts = ended.document["shards"][0]["labels"]
        assert (counts["1"], counts["0"]) == (300 * 300, known - 300 * 300)
    for area, text in (("two.gpkg:none", "has no layer none"), ("two.gpkg", "choose one")):
        ended = tile(area)
        assert ended.code == 65
        assert text in ended.err


def _write_layer(path, layer, shape, **more):
    wkb = shapely.to_wkb([shape])
    pyogrio.raw.write(path, wkb, [], [], layer=layer, geometry_type="Polygon", crs=towns.EPSG, **more)


@pytest.mark.parametrize("east_m", [None, 100_000])
def test_vectors_that_lie_elsewhere_are_no_labels(isamap, ground, tmp_path, east_m):
    left, top = towns.WEST + (east_m or 0), towns.NORTH
    ring = [[left, top], [left + 300, top], [left + 300, top - 300], [left, top - 300], [left, top]]
    feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
    crs = {"type": "name", "properties": {"name": towns.EPSG}}
    features = [] if east_m is None else [feature]
    path = tmp_path / "b.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    ended = isamap(
        *("tile", "--imagery", ground / "imagery.tif", "--vectors", f"impervious={path}"),
        *("-o", tmp_path / "out", "--chip-px", "32", "-q"),
    )
    assert ended.code == 65
    assert re.fullmatch(r"isamap: imagery: no feature of \S+b\.geojson meets the imagery[^\n]+\n", ended.err)
    assert not (tmp_path / "out" / "chips.json").exists()


def test_a_layer_that_lies_elsewhere_is_named_beside_one_that_does_not(isamap, ground, tmp_path):
    here = shapely.box(towns.WEST, towns.NORTH - 300, towns.WEST + 300, towns.NORTH)
    for layer, east_m in (("here", 0), ("there", 100_000)):
        _write_layer(tmp_path / "two.gpkg", layer, shapely.affinity.translate(here, east_m))
    given = ("tile", "--imagery", ground / "imagery.tif", "--only", "train")
    vectors = ("--vectors", f"buildings={tmp_path}/two.gpkg:here", "--vectors")
    ended = isamap(*given, *vectors, f"impervious={tmp_path}/two.gpkg:there", "-o", tmp_path / "a")
    assert ended.code == 0
    said = re.findall(r"WARNING imagery: no feature of (\S+) \((\w+)\) meets the imagery", ended.err)
    assert said == [(f"{tmp_path}/two.gpkg:there", "impervious")]
    ended = isamap(*given, *vectors, f"impervious={tmp_path}/two.gpkg:here", "-o", tmp_path / "b")
    assert "meets the imagery" not in ended.err


def test_a_geodatabase_is_a_vector_file(isamap, ground, tmp_path):
    shape = shapely.box(towns.WEST, towns.NORTH - 300, towns.WEST + 300, towns.NORTH)
    _write_layer(tmp_path / "x.gdb", "houses", shape, driver="OpenFileGDB")
    given = ("tile", "--imagery", ground / "imagery.tif", "-o", tmp_path / "out", "--only", "train", "--json")
    given += ("--vectors", f"buildings={tmp_path}/x.gdb")
    assert isamap(*given, "-n").document["missing"] == []
    assert isamap(*given).document["shards"][0]["labels"]["1"] == 300 * 300
    assert isamap(*given).document["skipped"]
    assert isamap(*given[:-1], f"buildings={tmp_path}/none.gdb").code == 66


@pytest.mark.parametrize("kind", ["buildings", "roads"])
def test_vectors_in_metres_without_crs_end_in_one_line(isamap, ground, tmp_path, kind):
    shape = shapely.box(towns.WEST, towns.NORTH - 300, towns.WEST + 300, towns.NORTH)
    feature = {"type": "Feature", "properties": {"highway": "primary"}}
    path = tmp_path / "metres.geojson"
    path.write_text(json.dumps(feature | {"geometry": shapely.geometry.mapping(shape)}))
    given = ("tile", "--imagery", ground / "imagery.tif", "-o", tmp_path / "out")
    ended = isamap(*given, "--vectors", f"{kind}={path}")
    assert ended.code == 65
    assert re.fullmatch(
        r"isamap: \S+metres\.geojson: coordinates [^\n]+ are no longitudes and latitudes[^\n]+\n", ended.err
    )


def test_vectors_name_a_layer_that_is_there(isamap, ground, tmp_path):
    shape = shapely.box(towns.WEST, towns.NORTH - 300, towns.WEST + 300, towns.NORTH)
    for layer in ("a", "b"):
        _write_layer(tmp_path / "two.gpkg", layer, shape)
    given = ("tile", "--imagery", ground / "imagery.tif", "-o", tmp_path / "out", "--only", "train", "-q")
    ended = isamap(*given, "--vectors", f"buildings={tmp_path}/two.gpkg:none")
    assert ended.code == 65
    assert ended.err.endswith("two.gpkg has no layer none; it has a, b\n")
    assert isamap(*given, "--vectors", f"buildings={tmp_path}/two.gpkg:b").code == 0


def test_the_picture_stays_and_is_added_without_cutting_chips_again(isamap, ground, tmp_path):
    out = tmp_path / "out"
    isamap(*words(ground, out, "-q"))
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    added = isamap(*words(ground, out, "--preview", "--json")).document
    assert not added["shards"][0]["new"]
    assert (out / "chips.png").read_bytes()[:4] == b"\x89PNG"
    kept = {name: content for name, content in before.items() if name != "chips.json"}
    assert kept == {name: (out / name).read_bytes() for name in kept}
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert isamap(*words(ground, out, "--json")).document["skipped"]
    assert times == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}


def test_a_picture_follows_the_splits_it_shows(isamap, ground, tmp_path):
    isamap(*words(ground, tmp_path / "a", "--preview", "-q"))
    isamap(*words(ground, tmp_path / "a", "--val", "0.4", "-q"))
    isamap(*words(ground, tmp_path / "b", "--val", "0.4", "--preview", "-q"))
    assert (tmp_path / "a" / "chips.png").read_bytes() == (tmp_path / "b" / "chips.png").read_bytes()
    assert isamap("verify", "--chips", tmp_path / "a").code == 0


@pytest.mark.parametrize("name", ["odd.gpkg:odd", "a:b", "NETCDF:x"])
def test_a_folder_with_a_colon_in_its_name_is_a_folder(isamap, ground, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    ended = isamap(*words(ground, name, "--preview", "-q"))
    assert (ended.code, ended.err) == (0, "")
    assert isamap("verify", "--chips", name).code == 0


@pytest.mark.parametrize("option", ["--val", "--test"])
def test_a_share_of_all_the_ground_is_out_of_range(isamap, ground, tmp_path, option):
    ended = isamap(*words(ground, tmp_path / "out", option, "1"))
    assert ended.code == 2
    assert "not in the range 0<=x<1" in ended.err
    assert re.search(rf"{option} FLOAT RANGE[^-]+0<=x<1", isamap("tile", "--help").out)


def test_imagery_on_another_grid_is_brought_to_the_10_m_grid(isamap, tmp_path):
    values = np.random.default_rng(0).integers(300, 4000, (4, 72, 72)).astype(np.uint16)
    towns.write(tmp_path / "i.tif", values, 12, ("B02", "B03", "B04", "B08"), nodata=0)
    given = ("tile", "--imagery", tmp_path / "i.tif", "-o", tmp_path / "out", "-q")
    ended = isamap(*given)
    assert ended.code == 65
    assert "--reproject brings it to the UTM 10 m grid" in ended.err
    assert isamap(*given, "--reproject").code == 0
    with rasterio.open(tmp_path / "out" / "i.lr.tif") as src:
        assert src.res == (10, 10)
    (tmp_path / "r.toml").write_text(f'[[sources]]\nname = "i"\nimagery = ["{tmp_path}/i.tif"]')
    ended = isamap("tile", tmp_path / "r.toml", "--reproject", "-o", tmp_path / "out")
    assert ended.code == 2
    assert "write reproject = true" in ended.err


def test_a_folder_by_option(isamap, tmp_path):
    data = fbp_folder.make_folder(tmp_path / "fbp", images=2, side=144)
    ended = isamap(
        *("tile", "--folder", data, "--sensor", "gaofen-2", "--scheme", "fbp24"),
        *("--chip-px", "48", "--val", "0.4", "-o", tmp_path / "out", "--json", "-q"),
    )
    assert ended.code == 0, ended.err
    assert len(ended.document["unplaced"]) == 2


@pytest.mark.parametrize(
    ("option", "value", "written"),
    [
        ("--sensor", "gaofen-1", "sensor ="),
        ("--sensor", "sentinel-2", "sensor ="),
        ("--bands", "B02,B03,B04,B08", "bands ="),
        ("--split", "s.tif", "split ="),
        ("--only", "val", "only ="),
    ],
)
def test_options_about_one_source_are_refused_beside_a_recipe(
    isamap, ground, tmp_path, option, value, written
):
    (tmp_path / "r.toml").write_text(f'[[sources]]\nname = "i"\nimagery = ["{ground}/imagery.tif"]')
    ended = isamap("tile", tmp_path / "r.toml", option, value, "-o", tmp_path / "out")
    assert (ended.code, ended.out) == (2, "")
    assert f"{option} is about a source that options name: in a RECIPE, write {written}" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "code", "text"),
    [
        ((), 2, "give a RECIPE, or one source"),
        (("r.toml", "--image", "i.tif"), 2, "give a RECIPE, or one source"),
        (("none.toml",), 66, "none.toml cannot be read"),
        (("--imagery", "none.tif"), 66, "none.tif: no such file"),
        (("--image", "none.tif"), 66, "none.tif: no such file"),
        (("--folder", "none"), 66, "none: no such folder"),
        (("--image", "i.tif", "--sensor", "ikonos"), 78, "no sensor is called 'ikonos'"),
        (("--image", "i.tif", "--scheme", "corine"), 78, "no class scheme is called 'corine'"),
        (("--image", "i.tif", "--chip-px", "33"), 78, "chip_px is 33"),
        (("--image", "i.tif", "--vectors", "houses=a.gpkg"), 2, "KIND=FILE"),
        (("--image", "i.tif", "--split", "s.tif", "--only", "val"), 78, "a split raster, or only"),
        (("--image", "i.tif", "--bands", "B02,B03"), 78, "bands are those of imagery, and it is simulated"),
        (("--image", "i.tif", "--reproject"), 78, "reproject is about imagery, and it is simulated"),
        (("--imagery", "/vsicurl/http://a/b.tif"), 66, "no such file"),
    ],
)
def test_what_makes_no_sense_ends_in_one_line(isamap, tmp_path, given, code, text):
    ended = isamap("tile", *given, "-o", tmp_path / "out")
    assert (ended.code, ended.out) == (code, "")
    assert text in ended.err
    assert "Traceback" not in ended.err
    assert left_in(tmp_path / "out") == set()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chip_pixels = 3\nsources = []", "unknown key chip_pixels: did you mean chip_px?"),
        ('[[sources]]\nname = "a"\nlabel = ["x"]', "did you mean labels?"),
        ("[split]\nbuffer = 300\n[[sources]]\nname = 'a'", "did you mean buffer_m?"),
        ("sources = 3", "sources: "),
        ("[[sources", "is not valid TOML"),
        ("", "sources: Field required"),
    ],
)
def test_a_bad_recipe_names_what_is_wrong(isamap, tmp_path, text, said):
    (tmp_path / "r.toml").write_text(text)
    ended = isamap("tile", tmp_path / "r.toml", "-o", tmp_path / "out")
    assert ended.code == 78
    assert said in ended.err
    assert re.fullmatch(r"isamap: [^\n]+\n", ended.err)


@pytest.mark.parametrize("bad", BAD_RASTERS, ids=lambda bad: bad.name)
def test_bad_imagery_ends_in_one_line_and_leaves_nothing(isamap, tmp_path, bad):
    (tmp_path / "in").mkdir()
    paths = bad.write(tmp_path / "in")
    imagery = [word for path in paths for word in ("--imagery", path)]
    ended = isamap("tile", *imagery, "--chip-px", "32", "-o", tmp_path / "out", "-q")
    if ended.code == 0:
        assert bad.name == "one-band-of-ten", "a chip may lack bands, a map may not"
        return
    assert ended.code in (65, 66)
    assert re.fullmatch(r"isamap: [^\n]+\n", ended.err), ended.err
    assert any(str(path) in ended.err or path.name in ended.err for path in paths)
    assert left_in(tmp_path / "out") == set()


def _off_grid(path):
    towns.write(path, np.zeros((64, 64), np.uint8), 1, east_m=90_000, nodata=255)


@pytest.mark.parametrize(
    ("role", "make", "text"),
    [
        ("--labels", lambda p: p.write_bytes(b""), "is empty"),
        ("--labels", lambda p: p.write_bytes(b"<html>" * 99), "cannot be opened"),
        (
            "--labels",
            lambda p: towns.write(p, np.full((640, 640), 7, np.uint8), 1),
            r"has the values 7.* in a recipe \(isa_codes,",
        ),
        ("--labels", _off_grid, "no chip has enough labels"),
        ("--labels", lambda p: towns.write(p, np.zeros((9, 9), np.uint8), 1, crs=None), "9 x 9 pixels"),
        ("--labels", lambda p: towns.write(p, np.zeros((640, 640), np.float32), 1, crs=None), "is uint8"),
        ("--image", lambda p: towns.write(p, np.ones((1, 640, 640), np.uint8), 1), "red, green and blue"),
        ("--image", lambda p: towns.write(p, np.ones((3, 640, 640), np.float32), 1), "uint8 or uint16"),
        ("--image", lambda p: p.write_bytes(b"II*\x00"), "cannot be opened"),
        ("--split", lambda p: towns.write(p, np.ones((9, 9), np.uint8), 10), "not on the grid"),
        ("--split", lambda p: towns.write(p, np.full((64, 64), 9, np.uint8), 10), "none of the values"),
        ("--vectors", lambda p: p.write_text("{}"), "cannot be read"),
    ],
)
def test_bad_labels_images_and_splits_end_in_one_line(isamap, ground, tmp_path, role, make, text):
    path = tmp_path / "bad.tif"
    make(path)
    given = ["--imagery", ground / "imagery.tif", role, f"buildings={path}" if role == "--vectors" else path]
    if role == "--split":
        given += ["--labels", ground / "isa.tif"]
    ended = isamap("tile", *given, "--chip-px", "32", "-o", tmp_path / "out", "-q")
    assert ended.code == 65, ended.err
    assert re.fullmatch(r"isamap: [^\n]+\n", ended.err), ended.err
    assert re.search(text, ended.err)
    assert not (tmp_path / "out" / "chips.json").exists()


def test_ground_smaller_than_a_chip_is_refused(isamap, ground, tmp_path):
    ended = isamap(*words(ground, tmp_path / "out", "--chip-px", "128"))
    assert ended.code == 65
    assert "64 x 64 pixels, a chip 128 x 128" in ended.err


def test_several_refused_sources_are_all_named(isamap, tmp_path):
    text = "".join(f'[[sources]]\nname = "{name}"\nimagery = ["{name}.tif"]\n' for name in "ab")
    (tmp_path / "r.toml").write_text(text)
    ended = isamap("tile", tmp_path / "r.toml", "--data", tmp_path, "-o", tmp_path / "out")
    assert ended.code == 66
    assert "2 of 2 sources are refused" in ended.err
    assert "b.tif: no such file" in ended.err


def test_a_run_on_a_folder_in_use_ends_busy(isamap, ground, tmp_path):
    from isamap.io import store

    with store.lock(tmp_path / "out" / LOCK, wait=False, what="out"):
        assert isamap(*words(ground, tmp_path / "out")).code == 75
