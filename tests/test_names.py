"""Names of files and folders that no command can work with: one line says so."""

import os
import shutil

import pytest
import tiny
import towns
from test_mosaic import write_plain
from tiled import WEST, noise, write_map

LATIN = os.fsdecode("München".encode("latin-1"))


@pytest.fixture
def ground(tmp_path):
    """Maps and a town, under names that are UTF-8 and under others."""
    write_map(tmp_path / "maps", WEST, {(4608, 0): noise(2, (512, 512))})
    shutil.copytree(tmp_path / "maps", tmp_path / LATIN)
    write_plain(tmp_path / "plain" / "a.tif", 600_000).rename(tmp_path / "plain" / f"{LATIN}.tif")
    towns.write_town(tmp_path / "town", towns.make_town(64, 64))
    shutil.copytree(tmp_path / "town", tmp_path / f"{LATIN}-town")
    tiny.write_scene(tmp_path / "a-10m.tif").rename(tmp_path / f"{LATIN}-10m.tif")
    return tmp_path


TOWN = ("--labels", "{0}/town/isa.tif", "--chip-px", "32", "--buffer", "0", "-o")


@pytest.mark.parametrize(
    "words",
    [
        ("mosaic", "{0}/{1}", "-o", "{0}/m"),
        ("mosaic", "{0}/maps", "-o", "{0}/{1}-m"),
        ("mosaic", "{0}/plain", "-o", "{0}/m"),
        ("tile", "--imagery", "{0}/town/imagery.tif", *TOWN, "{0}/{1}-c"),
        ("tile", "--imagery", "{0}/{1}-town/imagery.tif", *TOWN, "{0}/c"),
        ("verify", "{0}/{1}"),
        ("verify", "--chips", "{0}/{1}"),
        ("infer", "--input", "{0}/{1}-10m.tif", "-o", "{0}/i"),
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_a_name_that_is_not_utf_8_is_one_line(isamap, ground, words):
    ended = isamap(*(word.format(ground, LATIN) for word in words))
    assert ended.code == 65
    last = ended.err.splitlines()[-1]
    assert "its name is not UTF-8, which GDAL needs: rename it" in last
    assert "Traceback" not in ended.err
