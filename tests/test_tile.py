"""`isamap tile` from files to a store, and the store read back."""

import json

import fbp_folder
import numpy as np
import pytest
import rasterio
import towns
from affine import Affine
from crashpoints import broken_products
from pyproj import Transformer
from realdata import DATA, real

from isamap.config import read_toml
from isamap.core import tile
from isamap.domain.classes import UNLABELLED
from isamap.domain.sensors import SENSORS, simulate
from isamap.domain.splits import CODES, Rules
from isamap.domain.tiling import Source, TileRecipe
from isamap.errors import ConfigError, InputError, MissingInputError
from isamap.io.chipstore import open_chips
from isamap.io.guard import open_raster

BANDS = ("B02", "B03", "B04", "B08")
SIDE = 128
"""Of the town, in 10 m pixels."""


@pytest.fixture(scope="module")
def town():
    return towns.make_town(SIDE, SIDE)


@pytest.fixture(scope="module")
def ground(tmp_path_factory, town):
    return towns.write_town(tmp_path_factory.mktemp("town"), town)


PAIR = Source(
    name="town", imagery=("imagery.tif",), image=("image.tif",), labels=("isa.tif",), licence="CC0-1.0"
)
NARROW = Rules(val=0.2, buffer_m=160)


def recipe(*sources, **more):
    settings = {"chip_px": 32, "split": NARROW, **more}
    return TileRecipe(sources=sources, **settings).checked()


def run(data, out, *sources, preview=False, overwrite=False, **more):
    return tile.run(tile.Request(recipe(*sources, **more), data, out, preview, overwrite))


@pytest.fixture(scope="module")
def made(ground, tmp_path_factory):
    out = tmp_path_factory.mktemp("chips")
    return out, run(ground, out, PAIR, preview=True)


def test_chips_give_back_the_pixels_they_were_cut_from(made, town):
    with open_chips(made[0]) as store:
        for chip in store.select("train"):
            got = store.read(chip, BANDS)
            rows, cols = slice(chip.row, chip.row + 32), slice(chip.col, chip.col + 32)
            fine = tuple(slice(s.start * 10, s.stop * 10) for s in (rows, cols))
            np.testing.assert_allclose(got.lr, town.lr[:, rows, cols] / 10_000, rtol=1e-6)
            known = got.labels != UNLABELLED
            np.testing.assert_array_equal(got.labels[known], town.isa[fine][known])
            np.testing.assert_array_equal(got.hr, town.image[:, *fine])
            np.testing.assert_array_equal(got.hr_valid, known)
            assert (got.lr.dtype, got.labels.dtype, got.hr.dtype) == (np.float32, np.uint8, np.uint8)


def test_a_labelled_pixel_is_in_one_split_at_most_and_shares_are_counted(made, town):
    seen = np.zeros(town.isa.shape, np.int8)
    with open_chips(made[0]) as store:
        for split in ("train", "val"):
            mask = np.zeros(town.isa.shape, np.bool_)
            for chip in store.select(split):
                labels = store.read(chip, ("B02",)).labels
                known = labels != UNLABELLED
                assert chip.labelled_share == pytest.approx(known.mean(), abs=1e-4)
                assert chip.isa_share == pytest.approx(labels[known].mean(), abs=1e-4)
                fine = tuple(slice(at * 10, at * 10 + 320) for at in (chip.row, chip.col))
                mask[fine] |= known
            seen += mask
        assert store.manifest["isamap:facts"]["distance_m"]["train-val"] >= 160
    assert seen.max() == 1


def test_bands_come_in_the_order_asked_and_strange_ones_missing(made):
    with open_chips(made[0]) as store:
        chip = store.chips[0]
        straight, turned = store.read(chip, BANDS), store.read(chip, ("B08", "B11", "B02"))
    np.testing.assert_array_equal(turned.lr[0], straight.lr[3])
    np.testing.assert_array_equal(turned.lr[2], straight.lr[0])
    assert not turned.lr[1].any()
    assert not turned.present[1].any()


def test_whole_ground_and_validation_are_the_chips_put_together(made, town):
    with open_chips(made[0]) as store:
        whole = store.ground("town", "val", BANDS)
        part = store.validation("town", "val", BANDS)
        assert store.validation("town", "test", BANDS) is None
    assert whole.labels.shape == town.isa.shape
    assert (part.labels != UNLABELLED).sum() == (whole.labels != UNLABELLED).sum() > 0
    assert part.labels.size <= whole.labels.size


def test_any_gis_opens_index_and_layers(made):
    out, _ = made
    document = json.loads((out / "chips.geojson").read_text())
    assert document["type"] == "FeatureCollection"
    for feature in document["features"]:
        ring = np.array(feature["geometry"]["coordinates"][0])
        assert ring.shape == (5, 2)
        assert ((ring > (106, 28)) & (ring < (108, 31))).all()
        assert {"split", "isa_share", "source", "shift_east_m", "lr_sha256"} <= set(feature["properties"])
    with rasterio.open(out / "town.lr.tif") as src:
        assert src.descriptions == BANDS
        assert src.scales == (0.0001,) * 4
        assert src.block_shapes[0] == (32, 32)
    with rasterio.open(out / "town.labels.tif") as labels, rasterio.open(out / "town.hr.tif") as image:
        assert labels.nodata == UNLABELLED
        assert labels.colormap(1)[1] == (178, 34, 52, 255)
        assert labels.bounds == image.bounds == src.bounds
        assert labels.res == (1, 1)


def test_ground_in_chongqing_has_its_prefecture_and_reach(made):
    with open_chips(made[0]) as store:
        assert {(chip.unit[:10], chip.reach) for chip in store.chips} == {("yreb/CN050", "upstream")}


def test_a_second_run_does_nothing_and_a_changed_input_is_made_again(ground, tmp_path, town):
    data = towns.write_town(tmp_path / "in", town)
    out = tmp_path / "out"
    first = run(data, out, PAIR)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name[0] != "."}
    again = run(data, out, PAIR)
    assert first.shards[0].new
    assert not again.shards[0].new
    assert again.skipped
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir() if path.name[0] != "."}
    assert again.document()["chips"] == first.document()["chips"]
    other = town.isa.copy()
    other[:100, :100] = 1
    towns.write(data / "isa.tif", other, 1, nodata=255)
    changed = run(data, out, PAIR)
    assert changed.shards[0].new
    assert not changed.skipped
    assert broken_products(out) == []


def test_other_splits_leave_the_shards_alone(ground, tmp_path):
    run(ground, tmp_path, PAIR)
    again = run(ground, tmp_path, PAIR, split=Rules(val=0.3, buffer_m=0))
    assert not again.shards[0].new
    assert not again.skipped


def test_the_same_input_gives_the_same_bytes_with_any_number_of_workers(ground, tmp_path):
    twin = PAIR.model_copy(update={"name": "twin"})
    for name, workers in (("a", 1), ("b", 2)):
        tile.run(tile.Request(recipe(PAIR, twin), ground, tmp_path / name, preview=True), workers=workers)
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("a", "b")
    )
    assert one == other


def test_ground_that_two_sources_show_is_in_one_split(ground, tmp_path):
    run(ground, tmp_path, PAIR, PAIR.model_copy(update={"name": "twin"}))
    with rasterio.open(tmp_path / "town.split.tif") as one, rasterio.open(tmp_path / "twin.split.tif") as two:
        np.testing.assert_array_equal(one.read(1), two.read(1))


def test_a_given_split_is_honoured_to_the_pixel(ground, tmp_path, town):
    given = np.zeros((SIDE, SIDE), np.uint8)
    given[:, :70], given[40:, 90:] = 7, 9
    towns.write(tmp_path / "split.tif", given, 10)
    source = PAIR.model_copy(
        update={"split": str(tmp_path / "split.tif"), "split_values": {"train": 7, "val": 9}}
    )
    report = run(ground, tmp_path / "out", source)
    with rasterio.open(tmp_path / "out" / "town.split.tif") as src:
        codes = src.read(1)
    assert (codes == CODES["train"]).tolist() == (given == 7).tolist()
    assert (codes == CODES["val"]).tolist() == (given == 9).tolist()
    assert report.facts["distance_m"]["train-val"] == 200


def test_ground_held_out_in_one_zone_is_kept_out_of_training_in_the_next(tmp_path):
    """The same place in EPSG:32648 and 32649: zones have lattices of their own, but one Earth."""
    values = np.random.default_rng(0).integers(300, 4000, (4, 128, 128)).astype(np.uint16)
    to_next = Transformer.from_crs("EPSG:32648", "EPSG:32649", always_xy=True)
    for zone, (west, north) in {
        "a": (790_000, 3_280_000),
        "b": to_next.transform(790_000, 3_280_000),
    }.items():
        place = Affine(10, 0, round(west, -1), 0, -10, round(north, -1))
        crs = {"a": "EPSG:32648", "b": "EPSG:32649"}[zone]
        towns.write(tmp_path / f"{zone}.tif", values, 10, BANDS, transform=place, crs=crs, nodata=0)
        fine = place * Affine.scale(0.1)
        codes = np.kron(np.arange(128 * 128).reshape(128, 128) % 2, np.ones((10, 10))).astype(np.uint8)
        towns.write(tmp_path / f"{zone}-isa.tif", codes, 1, transform=fine, crs=crs, nodata=255)
    sources = [
        Source(name=zone, imagery=(f"{zone}.tif",), labels=(f"{zone}-isa.tif",), max_shift_m=99)
        for zone in "ab"
    ]
    report = run(tmp_path, tmp_path / "out", *sources, split=Rules(val=0.1, buffer_m=100, least_train=0.3))
    assert report.facts["distance_m"]["train-val"] >= 99.9


@pytest.mark.parametrize("only", ["train", "val", "test", "target"])
def test_a_source_may_be_for_one_thing_only(ground, tmp_path, only):
    report = run(ground, tmp_path, PAIR.model_copy(update={"only": only}))
    assert set(report.facts["chips"]) == {only}


def test_imagery_alone_is_a_target(ground, tmp_path):
    report = run(ground, tmp_path, Source(name="bare", imagery=("imagery.tif",)))
    assert report.facts["chips"] == {"target": 16}
    with open_chips(tmp_path) as store:
        got = store.read(store.chips[0], BANDS)
    assert got.hr is None
    assert (got.labels == UNLABELLED).all()
    assert got.present.all()


def test_an_image_without_labels_is_split_all_the_same(ground, tmp_path):
    report = run(ground, tmp_path, PAIR.model_copy(update={"labels": ()}))
    assert set(report.facts["chips"]) == {"train", "val"}
    with open_chips(tmp_path) as store:
        chip = store.select("val")[0]
        assert chip.isa_share is None
        assert store.read(chip, BANDS).hr_valid.any()


def test_labels_too_far_off_are_refused_or_moved_back(tmp_path, town):
    data = towns.write_town(tmp_path / "in", town, east_m=7, north_m=-4)
    with pytest.raises(InputError, match=r"town: lies \+[67]\.\d m east, -[34]\.\d m north .* more than 5 m"):
        run(data, tmp_path / "out", PAIR)
    assert not list((tmp_path / "out").glob("*.tif"))
    report = run(data, tmp_path / "out", PAIR, align=True)
    assert report.shards[0].shard.shift_px == (4, 7)
    with open_chips(tmp_path / "out") as store:
        whole = store.ground("town", "train", BANDS)
    known = whole.labels != UNLABELLED
    np.testing.assert_array_equal(whole.labels[known], town.isa[known])
    run(data, tmp_path / "allowed", PAIR.model_copy(update={"max_shift_m": 9.0}))


def test_a_shift_over_the_limit_is_refused_although_the_shard_is_done(tmp_path, town):
    data = towns.write_town(tmp_path / "in", town, east_m=4)
    run(data, tmp_path / "out", PAIR)
    with pytest.raises(InputError, match="more than 2 m"):
        run(data, tmp_path / "out", PAIR, max_shift_m=2.0)


@pytest.mark.parametrize("name", ["sentinel-2", "gaofen-1", "gaofen-2", "planetscope"])
def test_a_sensor_is_simulated_from_the_image(ground, tmp_path, town, name):
    sensor = SENSORS[name]
    source = Source(name="sim", image=("image.tif",), labels=("isa.tif",), sensor=name)
    run(ground, tmp_path, source)
    with open_chips(tmp_path) as store:
        shard = store.sources["sim"]
        whole = store.ground("sim", "train", BANDS)
    scale = sensor.scale()
    assert (shard.scale, shard.gsd_m, shard.bands) == (scale, sensor.gsd_m, ("B02", "B03", "B04"))
    assert shard.simulated
    side = 10 * SIDE // scale
    assert shard.shape == (side, side)
    image = town.image[:, : side * scale, : side * scale].astype(np.float32) * (0.3 / 255)
    _, expected = simulate(image, sensor, scale, 1.0)
    inner = slice(0, side - 8)  # beyond the last whole pixel lies more image, which the crop here lacks
    np.testing.assert_allclose(whole.lr[:3, inner, inner], expected[:, inner, inner], atol=1e-4)
    assert not whole.present[3].any()


@pytest.mark.parametrize("scheme", ["fbp24", "isa"])
def test_a_folder_like_five_billion_pixels_becomes_chips(tmp_path, scheme):
    data = fbp_folder.make_folder(tmp_path / "fbp", images=3, side=160)
    source = Source(name="fbp", folder=".", sensor="gaofen-2")
    report = run(data, tmp_path / "out", source, scheme=scheme, chip_px=64, split=Rules(val=0.3))
    assert report.facts["unplaced"]
    with open_chips(tmp_path / "out") as store:
        shard = store.sources["fbp-GF2_PMS1__L1A0000564539-MSS1"]
        assert (shard.scheme, shard.scale, shard.bands) == (scheme, 1, ("B08", "B04", "B03", "B02"))
        chip = store.select("train")[0]
        got = store.read(chip, BANDS)
    with open_raster(data / "Image__8bit_NirRGB" / f"{chip.source.removeprefix('fbp-')}.tif") as src:
        stored = src.read()[:, chip.row : chip.row + 64, chip.col : chip.col + 64]
    np.testing.assert_allclose(got.lr, stored[[3, 2, 1, 0]] / 255, rtol=1e-6)
    codes = set(np.unique(got.labels).tolist()) - {UNLABELLED}
    assert codes <= ({0, 1} if scheme == "isa" else set(range(1, 25)))
    assert len(codes) > 1
    documents = json.loads((tmp_path / "out" / "chips.geojson").read_text())["features"]
    assert all(feature["geometry"] is None for feature in documents)


COUNTED = ("Band_1", "Band_2", "Band_3", "Band_4")
"""Bands without a name, as GDAL writes them."""


@pytest.mark.parametrize("names", [(), COUNTED])
@pytest.mark.parametrize(("sensor", "gsd_m"), [("gaofen-1", 8), ("planetscope", 3), ("gaofen-2", 4)])
def test_target_folders_of_other_sensors_have_their_own_grid(tmp_path, sensor, gsd_m, names):
    values = np.random.default_rng(0).integers(300, 4000, (4, 96, 80)).astype(np.uint16)
    towns.write(tmp_path / "scenes" / "one.tif", values, gsd_m, names, nodata=0)
    report = run(tmp_path, tmp_path / "out", Source(name="far", folder="scenes", sensor=sensor))
    assert set(report.facts["chips"]) == {"target"}
    with open_chips(tmp_path / "out") as store:
        assert store.sources["far-one"].gsd_m == gsd_m
        got = store.ground("far-one", "target", SENSORS[sensor].orders[4])
    np.testing.assert_allclose(got.lr, values / 10_000, rtol=1e-6)


def test_floats_keep_their_gaps(tmp_path):
    values = np.random.default_rng(0).random((1, 64, 64)).astype(np.float32)
    values[0, :10] = np.nan
    towns.write(tmp_path / "ndvi.tif", values, 10, nodata=float("nan"))
    run(tmp_path, tmp_path / "out", Source(name="n", imagery=("ndvi.tif",), bands=("NDVI",)))
    with open_chips(tmp_path / "out") as store:
        got = store.ground("n", "target", ("NDVI",))
    assert not got.present[0, :10].any()
    np.testing.assert_array_equal(got.lr[0, 10:], values[0, 10:])


def test_codes_of_a_label_raster_can_be_said(ground, tmp_path, town):
    codes = np.where(town.isa == 1, 3, 2).astype(np.uint8)
    codes[:300] = 0
    towns.write(tmp_path / "codes.tif", codes, 1)
    source = Source(
        name="coded",
        imagery=("imagery.tif",),
        labels=(str(tmp_path / "codes.tif"),),
        isa_codes=(1, 3),
        unlabelled_codes=(0,),
        only="train",
    )
    run(ground, tmp_path / "out", source)
    with open_chips(tmp_path / "out") as store:
        labels = store.ground("coded", "train", BANDS).labels
    assert (labels[:300] == UNLABELLED).all()
    np.testing.assert_array_equal(labels[300:], town.isa[300:])


def test_labels_and_image_on_another_grid_are_brought_to_the_fine_one(ground, tmp_path, town):
    towns.write(tmp_path / "half.tif", np.kron(town.isa, np.ones((2, 2), np.uint8)), 0.5, nodata=255)
    towns.write(tmp_path / "photo.tif", np.kron(town.image, np.ones((1, 2, 2), np.uint8)), 0.5)
    source = PAIR.model_copy(
        update={
            "labels": (str(tmp_path / "half.tif"),),
            "image": (str(tmp_path / "photo.tif"),),
            "only": "val",
        }
    )
    run(ground, tmp_path / "out", source)
    with open_chips(tmp_path / "out") as store:
        got = store.ground("town", "val", BANDS)
    np.testing.assert_array_equal(got.labels, town.isa)
    np.testing.assert_array_equal(got.hr, town.image)


def test_a_store_whose_shard_was_made_anew_is_refused(ground, tmp_path):
    run(ground, tmp_path, PAIR)
    index = (tmp_path / "chips.json").read_bytes()
    run(ground, tmp_path, PAIR.model_copy(update={"bands": ("B08", "B04", "B03", "B02")}))
    (tmp_path / "chips.json").write_bytes(index)
    with pytest.raises(InputError, match="town is not the one the index was made with"):
        open_chips(tmp_path)


@pytest.mark.parametrize(
    ("harm", "kind", "words"),
    [
        (lambda f: (f / "chips.json").unlink(), MissingInputError, "holds no finished chip store"),
        (lambda f: (f / "town.lr.tif").unlink(), InputError, "town.lr.tif is missing"),
        (lambda f: (f / "chips.geojson").unlink(), InputError, "chips.geojson is missing"),
        (lambda f: (f / "chips.geojson").write_text("{}"), InputError, "is not the index of its manifest"),
        (lambda f: (f / "chips.json").write_text('{"properties": 3}'), InputError, "chips.json is damaged"),
        (lambda f: (f / "chips.json").write_text("{"), MissingInputError, "holds no finished chip store"),
        (
            lambda f: (f / "town.json").write_text("{}"),
            InputError,
            r"/town\.json is damaged: run isamap tile",
        ),
        (lambda f: (f / "town.json").write_text('{"assets": 3}'), InputError, r"/town\.json is damaged"),
        (lambda f: (f / "town.json").write_text('{"assets": {}}'), InputError, r"/town\.json is damaged"),
        (lambda f: (f / "town.json").write_text("{"), InputError, r"/town\.json is missing or damaged"),
        (lambda f: (f / "town.json").unlink(), InputError, r"/town\.json is missing or damaged"),
    ],
)
def test_a_damaged_store_is_refused_in_one_line(ground, tmp_path, harm, kind, words):
    run(ground, tmp_path, PAIR)
    harm(tmp_path)
    with pytest.raises(kind, match=words):
        open_chips(tmp_path)


def test_the_digest_of_a_store_follows_its_pixels(ground, tmp_path):
    run(ground, tmp_path / "a", PAIR)
    run(ground, tmp_path / "b", PAIR)
    run(ground, tmp_path / "c", PAIR, split=Rules(val=0.3, buffer_m=0))
    a, b, c = (open_chips(tmp_path / name).digest for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chip_px": 50}, "chip_px is 50"),
        ({"scheme": "corine"}, "no class scheme"),
        ({"split": Rules(val=0.6, test=0.5)}, "together less than 1"),
        ({"sources": ()}, "names no"),
        ({"sources": (PAIR, PAIR)}, "two sources are called town"),
        ({"sources": (Source(name="chips", image=("i.tif",)),)}, "the store's own files"),
        ({"sources": (Source(name="a"),)}, "source a: give imagery, or an image"),
        ({"sources": (Source(name="a", folder="x", image=("i.tif",)),)}, "give a folder, or files"),
        ({"sources": (Source(name="a", image=("i.tif", "j.tif")),)}, "one image"),
        ({"sources": (Source(name="a", image=("i.tif",), sensor="ikonos"),)}, "no sensor"),
        ({"sources": (Source(name="a", image=("i.tif",), scale=50),)}, "scale is 50"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_a_configuration_error(changes, words):
    with pytest.raises(ConfigError, match=words):
        TileRecipe(**{"sources": (PAIR,), **changes}).checked()


@pytest.mark.parametrize(
    "path", sorted((fbp_folder.REPOSITORY / "examples" / "tile").glob("*.toml")), ids=lambda p: p.stem
)
def test_every_example_is_a_recipe(path):
    assert read_toml(path, TileRecipe).checked().sources


@pytest.mark.slow
def test_dubai_honours_its_split_and_finds_its_shifts(tmp_path):
    """0.2 m for the date the images were matched to; 5-6 m east and 2-3 m south for the other, which is refused."""
    real("s2-dubai-1m/s2-20151211-10m.tif", "s2-dubai-1m/split-10m.tif")
    pair, _ = read_toml(fbp_folder.REPOSITORY / "examples" / "tile" / "dubai.toml", TileRecipe).sources
    report = tile.run(tile.Request(TileRecipe(sources=(pair,)), DATA, tmp_path / "a"))
    assert report.shards[0].shard.shifts[0]["by"] == "image"
    assert report.facts["distance_m"]["train-val"] == 30
    assert report.facts["labelled_km2"] == {"train": 23.329, "val": 3.088}
    assert np.hypot(*(report.shards[0].shard.shifts[0][key] for key in ("east_m", "north_m"))) < 1
    later = pair.model_copy(update={"imagery": ("s2-dubai-1m/s2-20180330-10m.tif",)})
    with pytest.raises(InputError, match=r"lies -[56]\.\d m east, \+[234]\.\d m north"):
        tile.run(tile.Request(TileRecipe(sources=(later,)), DATA, tmp_path / "b"))
