"""`isamap verify` on items in which one value is of another kind: a finding where the value counts, never a traceback."""

import copy
import json
import shutil

import numpy as np
import pytest
import towns
from affine import Affine
from odc.geo.geobox import GeoBox
from tiled import noise

from isamap.core import tile, verify_chips
from isamap.domain import composite
from isamap.domain.grid import MARGIN_PX, Tile, Window
from isamap.domain.mosaic_item import LAYERS, add_files
from isamap.domain.product import CLASSES, map_item, year_span
from isamap.domain.splits import Rules
from isamap.domain.tiling import Source, TileRecipe
from isamap.io import store
from isamap.io.audit import Subject, audit
from isamap.io.audit_composite import Candidate, audit_composite
from isamap.io.cog import CogWriter
from isamap.io.composite import encode_composite

ACROSS = Tile.parse("60S-0080-0793")
"""The 180th meridian runs through it."""
STRANGE = (None, [None], "a", {}, 10**400)
MADE = {"code": "isamap 0", "model": "ab" * 32, "inputs": "", "settings": ""}


def places(value, path=()):
    """Keys and indices of the values in a JSON document, four deep; of lists the first element."""
    pairs = list(
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for key, one in pairs if len(path) < 4 else ():
        yield (*path, key)
        yield from places(one, (*path, key))


def at(document, path):
    for key in path:
        document = document[key]
    return document


def unnoticed(item_path, findings, values=STRANGE):
    """Where a strange value in the item is not found: a field that does not matter, or is another one's to check."""
    text, quiet = item_path.read_text(), set()
    item = json.loads(text)
    for path in places(item):
        for strange in values:
            made = copy.deepcopy(item)
            at(made, path[:-1])[path[-1]] = strange
            item_path.write_text(json.dumps(made))
            if made != item and not findings():
                quiet.add(" ".join(map(str, path[:3])))
    item_path.write_text(text)
    return quiet


def write_town(folder):
    """A small map, as `isamap infer --input` writes one."""
    geobox = GeoBox((640, 512), Affine(1, 0, 819_200, 0, -1, 8_120_640), "EPSG:32760")
    classes = noise(1, geobox.shape)
    known = classes[classes != 255]
    shares = {"valid_share": known.size / classes.size, "isa_share": float(known.mean())}
    properties = {
        "isamap:provenance": MADE,
        "isamap:model": {"name": "fast", "version": "1", "threshold": 0.5},
        **{f"isamap:{name}": round(share, 6) for name, share in shares.items()},
    }
    with store.publish(store.Target(folder, "town-isa"), []) as publication:
        with CogWriter(publication.path("town-isa.tif"), geobox, CLASSES, {}) as writer:
            writer.write(Window(0, 0, *geobox.shape), classes)
        publication.path("town-isa.png").write_bytes(b"picture")
        publication.commit(map_item("town-isa", geobox, year_span(2021), [CLASSES], properties))
    return folder / "town-isa.json"


def write_composite(folder):
    """The composite of a tile, of one value throughout."""
    geobox = ACROSS.geobox(margin_px=MARGIN_PX)
    looks = np.ones(geobox.shape, np.uint16)
    values = np.full((len(composite.BAND_NAMES) - 1, *geobox.shape), 900, np.uint16)
    properties = {
        "isamap:provenance": {"scenes": "", "code": "isamap 0", "settings": ""},
        "isamap:looks": composite.look_statistics(looks),
    }
    with store.publish(store.Target(folder, str(ACROSS)), []) as publication:
        publication.path(f"{ACROSS}.tif").write_bytes(encode_composite(values, looks, geobox, {}))
        publication.commit(composite.item(str(ACROSS), geobox, year_span(2021), properties))
    return folder / f"{ACROSS}.json"


def test_no_value_of_a_map_s_item_ends_verify(tmp_path):
    path = write_town(tmp_path)
    item, subject = json.loads(path.read_text()), Subject(store.Target(tmp_path, "town-isa"))
    assert item["geometry"]["type"] == "MultiPolygon"
    assert item["bbox"][0] > 179.99 > -179.99 > item["bbox"][2]
    assert not audit(subject).findings
    assert unnoticed(path, lambda: audit(subject).findings) == {
        *("links", "stac_extensions", "stac_extensions 0"),
        *("properties gsd", "properties start_datetime", "properties end_datetime"),
        *(f"properties isamap:model {name}" for name in ("name", "version")),
        *(f"properties isamap:provenance {name}" for name in MADE),
        *(f"assets {key} {name}" for key in ("isa", "preview") for name in ("title", "type", "roles")),
    }


def test_no_value_of_a_composite_s_item_ends_verify(tmp_path):
    path = write_composite(tmp_path)
    assert not audit_composite(Candidate(path.with_suffix(".tif"), ACROSS))
    one = Candidate(path.with_suffix(".tif"), ACROSS, quick=True)
    quiet = unnoticed(path, lambda: audit_composite(one))
    assert not quiet & {
        *("bbox", "geometry", "assets", "properties", "assets composite", "properties isamap:provenance"),
        *(f"properties proj:{name}" for name in ("code", "shape", "transform")),
    }


def cut_and_sign(path):
    """A composite that ends early, its item put right."""
    raster, item = path.with_suffix(".tif"), json.loads(path.read_text())
    raster.write_bytes(raster.read_bytes()[:-100])
    item["assets"][composite.ASSET] |= {
        "file:size": raster.stat().st_size,
        "file:checksum": store._checksum(raster),
    }
    path.write_text(json.dumps(item))


def make_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("harm", "what", "todo"),
    [
        (cut_and_sign, "is cut off: it ends at byte", "run isamap fetch again with --overwrite"),
        (
            make_folder,
            ".json is a folder",
            "remove that folder and run isamap fetch again",
        ),
        (
            lambda path: make_folder(path.with_suffix(".tif")),
            ".tif is a folder",
            "remove that folder and run isamap fetch again",
        ),
        (
            lambda path: path.write_text(path.read_text().replace('"composite": {', '"other": {')),
            "no item of isamap",
            "remove its .json and run isamap fetch again",
        ),
    ],
)
def test_a_composite_that_fetch_would_leave_alone_says_what_helps(tmp_path, harm, what, todo):
    path = write_composite(tmp_path)
    harm(path)
    (finding,) = audit_composite(Candidate(path.with_suffix(".tif"), ACROSS, quick=True))
    assert what in finding.what
    assert finding.todo == todo
    assert str(tmp_path) not in finding.what


def test_a_mosaic_s_item_is_no_map_s_whatever_it_holds(tmp_path):
    geobox = GeoBox((512, 512), Affine(100, 0, 0, 0, -100, 0), "EPSG:6933")
    item = map_item("m", geobox, year_span(2021), LAYERS, {"isamap:provenance": MADE, "isamap:model": "fast"})
    path = tmp_path / "m.json"
    path.write_text(json.dumps(add_files(item, {"index": "m.gti.gpkg"})))
    assert unnoticed(path, lambda: audit(Subject(store.Target(tmp_path, "m"))).findings) == set()


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chips")
    ground = towns.write_town(folder / "town", towns.make_town(64, 64))
    pair = Source(name="town", imagery=("imagery.tif",), labels=("isa.tif",), licence="CC0-1.0")
    recipe = TileRecipe(sources=(pair,), chip_px=32, split=Rules(val=0.2, buffer_m=0), units=None)
    tile.run(tile.Request(recipe.checked(), ground, folder / "chips"))
    return folder / "chips"


@pytest.mark.parametrize("stem", ["chips", "town"])
def test_no_value_of_the_items_of_a_chip_store_ends_verify(chips, tmp_path, stem):
    folder = shutil.copytree(chips, tmp_path / "chips")

    def findings():
        return list(verify_chips.run([folder], verify_chips.Report(), quick=True))

    assert not findings()
    quiet = unnoticed(folder / f"{stem}.json", findings, (None, "a"))
    assert not quiet & {"assets", "properties", "properties isamap:shards", "properties isamap:shard"}


def test_a_setting_of_a_wrong_kind_is_a_finding_of_the_store(chips, tmp_path):
    folder = shutil.copytree(chips, tmp_path / "chips")
    item = json.loads((folder / "chips.json").read_text())
    item["properties"]["isamap:settings"]["chip_px"] = "a"
    (folder / "chips.json").write_text(json.dumps(item))
    (finding,) = verify_chips.run([folder], verify_chips.Report())
    assert (finding.tile, finding.check) == ("chips", "item")
