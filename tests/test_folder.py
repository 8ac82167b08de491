"""Scenes of a local folder become the same items as those of a catalogue."""

import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scenery.safe import write_safe
from scenery.scenes import Look, sample

from isamap.domain.grid import Window, crop
from isamap.domain.scenes import scene_of
from isamap.domain.sources import BANDS, SCL, SOURCES
from isamap.errors import InputError, MissingInputError
from isamap.io import folder as folders
from isamap.io import safe
from isamap.io.finder import open_source
from isamap.io.folder import folder_items, folder_source
from isamap.io.remote import ScenePixels
from isamap.io.safe import METADATA
from isamap.io.stamps import Stamps

C1 = "sentinel-2-c1-l2a"
PC = "planetary-computer"
LOOKS = [
    Look("2021-04-03", baseline="03.00"),
    Look("2022-06-05", baseline="04.00", platform="B"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return sample(tmp_path_factory.mktemp("scenes"), LOOKS, shapes=(C1,))


@pytest.fixture(scope="module")
def products(made, tmp_path_factory):
    root = tmp_path_factory.mktemp("safe")
    write_safe(made, root / "year" / "2021")
    return root


@pytest.fixture
def copy(products, tmp_path):
    shutil.copytree(products, tmp_path / "safe")
    return tmp_path / "safe"


def scenes(path):
    source = folder_source(path)
    return [scene_of(item, source) for item in folder_items(path)]


def test_products_become_scenes(products, made):
    old, new = scenes(products)
    assert [one.product for one in (old, new)] == [made.granules[k, PC].product for k in range(2)]
    assert (old.baseline, new.baseline) == ("03.00", "04.00")
    assert (old.declared_offset, new.declared_offset) == (0, -1000)
    assert (old.platform, new.platform) == ("S2A", "S2B")
    for k, scene in enumerate((old, new)):
        granule = made.granules[k, PC]
        assert (
            scene.datetime[:10]
            == granule.datatake[:4] + "-" + granule.datatake[4:6] + "-" + granule.datatake[6:8]
        )
        assert scene.orbit == granule.orbit
        assert scene.mgrs == granule.mgrs
        assert scene.epsg == granule.geobox.crs.epsg
        assert scene.cloud_cover == pytest.approx(granule.cloud_cover, abs=0.01)
        assert scene.footprint.intersects(granule.geobox.footprint("EPSG:4326").geom)
        assert {Path(asset.href).suffix for asset in scene.assets.values()} == {".jp2"}


def test_pixels_of_products_are_those_of_their_files(products, made):
    source = folder_source(products)
    geobox = crop(made.place.geobox, Window(40, 60, 320, 320))
    found = scenes(products)
    with ScenePixels([source]) as pixels:
        looks = list(pixels.looks(found, geobox))
        assert pixels.requests == 0
    for scene, look in zip(found, looks, strict=True):
        for band, values in (*zip(BANDS, look.dn, strict=True), (SCL, look.scl)):
            with rasterio.open(products / scene.assets[band].href) as src:
                factor = round(src.res[0] / 10)
                whole = src.read(1).repeat(factor, 0).repeat(factor, 1)
            assert np.array_equal(values, whole[40:360, 60:380])


def test_items_with_their_files_beside_them_become_scenes(made, tmp_path):
    for k, item in enumerate(made.items(C1)):
        for asset in item["assets"].values():
            name = Path(asset["href"]).name
            (tmp_path / str(k)).mkdir(exist_ok=True)
            shutil.copy(asset["href"], tmp_path / str(k) / name)
            asset["href"] = ("./" if k else f"file://{tmp_path}/0/") + name
        (tmp_path / str(k) / "item.json").write_text(json.dumps(item))
    (tmp_path / "catalog.json").write_text('{"type": "Catalog"}')
    (tmp_path / "notes.json").write_text("[1, 2]")
    found = scenes(tmp_path)
    assert [scene.id for scene in found] == sorted(made.granules[k, C1].id(C1) for k in range(2))
    for scene in found:
        for asset in scene.assets.values():
            assert not Path(asset.href).is_absolute()
            assert (tmp_path / asset.href).is_file()


def test_a_product_may_be_named_itself(products):
    (product,) = (products / "year" / "2021").glob("S2A*")
    assert len(scenes(product)) == 1


@pytest.mark.parametrize("band", ["B04", "SCL"])
def test_a_product_without_a_band_is_no_scene(copy, band):
    next(copy.glob(f"year/2021/S2A*/GRANULE/*/IMG_DATA/R*/*_{band}_*.jp2")).unlink()
    first, second = folder_items(copy)
    with pytest.raises(
        InputError, match=rf"asset {band}: 0 files R.0m/\*_{band}_.0m.jp2 in IMG_DATA instead of one"
    ):
        scene_of(first, folder_source(copy))
    assert scene_of(second, folder_source(copy))


def refused(items, path):
    """Why items are no scenes."""
    reasons = []
    for item in items:
        try:
            scene_of(item, folder_source(path))
        except InputError as error:
            reasons.append(str(error))
    return reasons


def test_a_product_with_two_granules_or_damaged_metadata_is_left_out(copy, caplog):
    first, second = sorted((copy / "year" / "2021").iterdir())
    (first / "GRANULE" / "L2A_T48RXT_A000000_20210101T000000").mkdir()
    with caplog.at_level(logging.WARNING):
        items = folder_items(copy)
    assert f"{first.name}: has 2 granules instead of one: left out" in caplog.text
    assert refused(items, copy) == [f"{first.name}: has 2 granules instead of one"]
    (second / METADATA).write_text((second / METADATA).read_text()[:1000])
    with pytest.raises(MissingInputError, match=r"no Sentinel-2 L2A scene.*has 2 granules instead of one$"):
        folder_items(copy)


def test_a_product_without_metadata_and_a_broken_item_are_listed_as_dropped(copy):
    first, _ = sorted((copy / "year" / "2021").iterdir())
    (first / METADATA).unlink()
    (copy / "search.json").write_text('{"type": "Fea')
    items = folder_items(copy)
    assert len(items) == 3
    assert refused(items, copy) == [f"{first.name}: has no {METADATA}", "search.json: is no JSON"]


_LAUGHS = "".join(f'<!ENTITY e{k + 1} "{(f"&e{k};" if k else "ha") * 10}">' for k in range(12))
BOMB = f"<!DOCTYPE x [{_LAUGHS}]><x>&e12;</x>"


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x><PRODUCT_URI>&a;</PRODUCT_URI></x>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x/>',
        BOMB,
        "<x><y></x>",
        "",
        "\0" * 100,
        "<x>" * 100_000,
    ],
)
def test_metadata_that_are_an_attack_are_left_out(copy, text, caplog):
    for product in (copy / "year" / "2021").iterdir():
        (product / METADATA).write_text(text)
    with pytest.raises(MissingInputError):
        folder_items(copy)
    assert "root:" not in caplog.text


def test_metadata_that_are_too_large_are_left_out(copy, monkeypatch):
    monkeypatch.setattr(safe, "MAX_METADATA_BYTES", 100)
    with pytest.raises(MissingInputError):
        folder_items(copy)


@pytest.mark.parametrize(
    ("href", "told"),
    [
        ("/etc/passwd", "'passwd' lies outside the folder"),
        ("../../secret.tif", "'../../secret.tif' lies outside the folder"),
        ("file:///etc/passwd", "'passwd' lies outside the folder"),
        ("https://10.0.0.1/x.tif?sig=secret", "is at 'https://10.0.0.1/x.tif': scenes of a folder are files"),
        ("s3://bucket/x.tif", "is at 's3://bucket/x.tif'"),
        ("/vsicurl/http://127.0.0.1/x.tif", "is at '/vsicurl"),
        ("GTIFF_DIR:1:./B02.tif", "'GTIFF_DIR:1:./B02.tif' is not there"),
        ("x\0.tif", "its href is no path"),
        ("a" * 5000, "its href is no path"),
        (7, "its href is no path"),
        (None, "its href is no path"),
        ("none.tif", "'none.tif' is not there"),
        ("item.json", "'item.json' is no GeoTIFF"),
        ("link.tif", "'link.tif' lies outside the folder"),
    ],
)
def test_items_reach_nothing_outside_the_folder_and_say_what_is_wrong(made, tmp_path, href, told):
    (tmp_path / "secret.tif").write_bytes(b"II*\0")
    inside = tmp_path / "scenes" / "one"
    inside.mkdir(parents=True)
    (inside / "link.tif").symlink_to(tmp_path / "secret.tif")
    item = made.items(C1)[0]
    for asset in item["assets"].values():
        asset["href"] = href
    (inside / "item.json").write_text(json.dumps(item))
    (raw,) = folder_items(tmp_path / "scenes")
    assert all("href" not in asset for asset in raw["assets"].values())
    with pytest.raises(InputError) as refusal:
        scene_of(raw, folder_source(tmp_path / "scenes"))
    assert str(refusal.value).startswith(f"{item['id']}: asset blue: {told}")
    assert str(tmp_path) not in str(refusal.value)


def test_a_search_result_that_was_kept_is_read_like_single_items(made, tmp_path):
    for name in ("single", "result"):
        shutil.copytree(made.folder, tmp_path / name)
    items = made.items(C1, ".")
    for item in items:
        (tmp_path / "single" / f"{item['id']}.json").write_text(json.dumps(item))
    features = [*items, 7, {"type": "Feature"}, items[0]]
    document = {"type": "FeatureCollection", "features": features}
    (tmp_path / "result" / "search.json").write_text(json.dumps(document))
    single, result = folder_items(tmp_path / "single"), folder_items(tmp_path / "result")
    assert len(single) == len(items)
    assert [one for k, one in enumerate(result) if one not in result[:k]] == single
    (tmp_path / "result" / "search.json").write_text('{"type": "FeatureCollection", "features": 7}')
    with pytest.raises(MissingInputError, match="item collections"):
        folder_items(tmp_path / "result")


def test_json_that_is_too_large_is_left_out_and_told(made, tmp_path, monkeypatch, caplog):
    (tmp_path / "item.json").write_text(json.dumps(made.items(C1)[0]))
    monkeypatch.setattr(folders, "MAX_JSON_BYTES", 100)
    with pytest.raises(MissingInputError):
        folder_items(tmp_path)
    assert "item.json: is larger than" in caplog.text


def test_folders_have_names_of_their_own_without_their_paths(tmp_path):
    names = []
    for parent in ("a", "b", "c"):
        (tmp_path / parent / "scenes").mkdir(parents=True)
        names.append(folder_source(tmp_path / parent / "scenes", names).name)
    assert names == ["folder:scenes", "folder:scenes-2", "folder:scenes-3"]
    (tmp_path / "odd\nname").mkdir()
    assert folder_source(tmp_path / "odd\nname").name == "folder:odd_name"
    assert folder_source(Path("/")).name == "folder:/"


def test_links_and_hidden_folders_are_not_followed(copy, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(copy)
    shutil.copytree(copy, tmp_path / "elsewhere" / ".hidden")
    with pytest.raises(MissingInputError):
        folder_items(tmp_path / "elsewhere")


def test_json_that_is_no_item_does_no_harm(tmp_path, made):
    for k, text in enumerate(
        ("", "{", "[" * 200_000, "null", '{"type": "Feature"}', '{"type": "Feature", "assets": []}')
    ):
        (tmp_path / f"{k}.json").write_text(text)
    with pytest.raises(MissingInputError):
        folder_items(tmp_path)
    (tmp_path / "item.json").write_text(json.dumps(made.items(C1)[0] | {"assets": {"blue": 7, "red": None}}))
    items = folder_items(tmp_path)
    (raw,) = [item for item in items if "assets" in item]
    assert raw["assets"] == {}
    reasons = refused(items, tmp_path)
    assert [one for one in reasons if "is no JSON" not in one] == [
        f"{raw['id']}: has no asset for B02 (blue, B02, B02_10m)"
    ]
    assert len(reasons) == 4


def test_the_name_of_a_catalogue_is_never_a_folder(copy, monkeypatch):
    monkeypatch.chdir(copy)
    (copy / "earth-search").mkdir()
    assert open_source("earth-search") == (SOURCES["earth-search"], None)
    assert open_source("./earth-search")[0].name == "folder:earth-search"


# Stamps


def replaced(path):
    """Another byte in the middle; size and modification time stay."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_stamp_is_that_of_the_bytes_and_of_nothing_else(copy, tmp_path):
    scene, _ = scenes(copy)
    stamp = Stamps(copy, tmp_path / "kept").of(scene)
    for path in copy.rglob("*.jp2"):
        os.utime(path, ns=(1, 1))
    assert Stamps(copy, tmp_path / "kept").of(scene) == stamp
    shutil.copytree(copy, tmp_path / "copy")
    assert Stamps(tmp_path / "copy", tmp_path / "kept").of(scene) == stamp
    stamps = {stamp}
    for asset in scene.assets.values():
        replaced(copy / asset.href)
        stamps.add(Stamps(copy, tmp_path / "kept").of(scene))
    assert len(stamps) == 1 + len(scene.assets)


def test_files_are_read_once_until_they_change(copy, tmp_path, monkeypatch):
    scene, _ = scenes(copy)
    monkeypatch.setattr("isamap.io.stamps.SETTLED_S", -1)
    assert Stamps(copy, tmp_path / "kept").kept(scene) is None
    assert not (tmp_path / "kept").exists()
    stamp = Stamps(copy, tmp_path / "kept").of(scene)
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", lambda *_: pytest.fail("a file was read again"))
        again = Stamps(copy, tmp_path / "kept")
        assert (again.of(scene), again.kept(scene)) == (stamp, stamp)
    replaced(copy / scene.assets["B04"].href)
    assert again.kept(scene) is None
    assert Stamps(copy, tmp_path / "kept").of(scene) != stamp


def test_a_file_that_was_written_just_now_is_read_again(copy, tmp_path):
    scene, _ = scenes(copy)
    Stamps(copy, tmp_path / "kept").of(scene)
    assert Stamps(copy, tmp_path / "kept").kept(scene) is None


def test_digests_that_are_kept_badly_are_not_believed(copy, tmp_path, monkeypatch):
    scene, _ = scenes(copy)
    monkeypatch.setattr("isamap.io.stamps.SETTLED_S", -1)
    stamp = Stamps(copy, tmp_path / "kept").of(scene)
    (kept,) = (tmp_path / "kept").iterdir()
    files = json.loads(kept.read_text())["files"]
    for bad in ("", "[]", '{"files": 7}', json.dumps({"files": {name: [7] for name in files}})):
        kept.write_text(bad)
        assert Stamps(copy, tmp_path / "kept").kept(scene) is None
        assert Stamps(copy, tmp_path / "kept").of(scene) == stamp


def test_a_file_that_is_gone_is_named_by_its_place_in_the_folder(copy, tmp_path):
    scene, _ = scenes(copy)
    (copy / scene.assets["B04"].href).unlink()
    with pytest.raises(InputError, match=r"B04_10m\.jp2 cannot be read \(No such file") as fault:
        Stamps(copy, tmp_path / "kept").of(scene)
    assert str(fault.value).startswith(scene.id)
    assert str(copy) not in str(fault.value)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for call in (folder_source, folder_items):
        with pytest.raises(MissingInputError, match="no such folder"):
            call(tmp_path / "none")
    with pytest.raises(MissingInputError, match=r"expected \.SAFE products"):
        folder_items(tmp_path)
