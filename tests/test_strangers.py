"""Files at a product's place that isamap did not make stay, whatever the command."""

from pathlib import Path

import pytest
import rasterio
import tiny
from PIL import Image
from test_change import write_map as write_class_map
from tiled import WEST, noise, write_map

from isamap.core import composing
from isamap.errors import InputError
from isamap.io.store import Target, publish
from isamap.io.strangers import signature


def contents(folder):
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")
    }


@pytest.fixture
def mosaic(isamap, tmp_path):
    """`isamap mosaic` of one tile into the folder m."""
    write_map(tmp_path / "ws" / "maps" / "fast" / "2021", WEST, {(4608, 0): noise(2, (512, 512))})
    given = ("--tiles", WEST, "--year", 2021, "--workspace", tmp_path / "ws", "-o", tmp_path / "m")
    return lambda *more: isamap("mosaic", *given, "--json", *more)


@pytest.fixture
def change(isamap, tmp_path):
    """`isamap change` of two maps into the folder c."""
    maps = [
        write_class_map(tmp_path / str(year) / "town.tif", noise(year, (64, 64))) for year in (2019, 2021)
    ]
    return lambda: isamap("change", *maps, "--years", "2019,2021", "-o", tmp_path / "c", "--json")


@pytest.fixture
def fetch(isamap, sky):
    """`isamap fetch` of one tile into the workspace ws."""
    yield lambda: isamap("fetch", *sky.arguments(Path("ws"), "--json"))
    composing.release()


def is_kept(run, path):
    """Whether the run is refused by a file of somebody else, and leaves everything as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tiny.write_scene(path)
    else:
        path.write_bytes(b"mine")
    before = contents(path.parent)
    ended = run()
    assert f"{path.name} was not made by isamap: choose another folder, or move it away" in ended.err
    kept = contents(path.parent)
    return ended.code == 65 and all(kept[name] == before[name] for name in before)


@pytest.mark.parametrize(
    "suffix", [".tif", ".mapped.tif", ".png", ".parquet", "-48N.vrt", ".gti.gpkg", ".json"]
)
def test_a_mosaic_takes_no_foreign_place(mosaic, tmp_path, suffix):
    made = Path(mosaic().document["paths"][0])
    for path in made.parent.rglob("*"):
        if path.is_file():
            path.unlink()
    assert is_kept(mosaic, made.with_name(made.stem + suffix))


@pytest.mark.parametrize("suffix", [".first-year.tif", ".change.tif", ".json"])
def test_change_takes_no_foreign_place(change, tmp_path, suffix):
    assert is_kept(change, tmp_path / "c" / f"town{suffix}")


@pytest.mark.parametrize("suffix", [".tif", ".json"])
def test_a_composite_takes_no_foreign_place(fetch, sky, suffix):
    assert is_kept(fetch, Path("ws", "composites", "2021", f"{sky.tile}{suffix}"))


def test_a_mosaic_without_its_item_is_made_again(mosaic):
    made = [Path(path) for path in mosaic().document["paths"]]
    before = contents(made[0].parent)
    made[-1].unlink()
    assert mosaic().code == 0
    assert contents(made[0].parent) == before


def test_a_change_without_its_item_is_made_again(change, tmp_path):
    assert change().document["made"] == 1
    before = contents(tmp_path / "c")
    (tmp_path / "c" / "town.json").unlink()
    assert change().document["made"] == 1
    assert contents(tmp_path / "c") == before


def test_what_lies_beside_our_raster_without_an_item_is_ours(tmp_path):
    with rasterio.open(tiny.write_scene(tmp_path / "t.tif"), "r+") as raster:
        raster.update_tags(ISAMAP_VERSION="1")
    (tmp_path / "t.png").write_bytes(b"squeezed by somebody")
    with publish(Target(tmp_path, "t"), ["t.tif", "t.png"]):
        pass


def test_a_picture_is_known_by_its_signature(tmp_path):
    picture, own = Image.new("RGB", (4, 4)), tmp_path / "t.png"
    picture.save(own)
    with pytest.raises(InputError, match="not made by isamap"), publish(Target(tmp_path, "t"), ["t.png"]):
        pass
    picture.save(own, pnginfo=signature())
    with publish(Target(tmp_path, "t"), ["t.png"]):
        pass


def test_a_picture_of_any_size_is_looked_at(tmp_path):
    Image.new("1", (14000, 14000)).save(tmp_path / "t.png")
    with pytest.raises(InputError, match="not made by isamap"), publish(Target(tmp_path, "t"), ["t.png"]):
        pass
