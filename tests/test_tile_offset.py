"""`isamap tile --offset`: the baseline offset of imagery, as `isamap infer` takes it."""

import re

import numpy as np
import pytest
import rasterio
import towns


@pytest.fixture
def lifted(tmp_path):
    """Imagery whose offset was left in."""
    dn = towns.make_town(64, 64).lr + np.uint16(1000)
    return towns.write(tmp_path / "lifted.tif", dn, 10, ("B02", "B03", "B04", "B08"), nodata=0)


def test_the_advice_about_an_offset_can_be_followed(isamap, tmp_path, lifted):
    given = ("tile", "--imagery", lifted, "--chip-px", "32", "-o", tmp_path / "out")
    ended = isamap(*given)
    advised = re.search(r"give (--offset -\d+) \(a source of a recipe: (offset = -\d+)\)", ended.err)
    ended = isamap(*given, *advised[1].split())
    assert (ended.code, "offset" in ended.err) == (0, False)
    with rasterio.open(lifted) as src, rasterio.open(tmp_path / "out" / "lifted.lr.tif") as dst:
        np.testing.assert_array_equal(dst.read(), src.read() - 1000)
    (tmp_path / "r.toml").write_text(f'[[sources]]\nname = "a"\nimagery = ["{lifted}"]\n{advised[2]}\n')
    ended = isamap("tile", tmp_path / "r.toml", "--chip-px", "32", "-o", tmp_path / "of-recipe")
    assert (ended.code, "offset" in ended.err) == (0, False)


@pytest.mark.parametrize("offset", ["-1000", "0"])
def test_beside_a_recipe_it_says_what_to_write(isamap, tmp_path, lifted, offset):
    (tmp_path / "r.toml").write_text(f'[[sources]]\nname = "a"\nimagery = ["{lifted}"]\n')
    ended = isamap("tile", tmp_path / "r.toml", "--offset", offset, "-o", tmp_path / "out")
    assert ended.code == 2
    assert "--offset is about a source that options name: in a RECIPE, write offset = NUMBER" in ended.err


def test_an_offset_that_the_file_declares_is_heeded_unless_another_is_given(isamap, tmp_path, lifted):
    with rasterio.open(lifted, "r+") as dst:
        dst.scales, dst.offsets = (0.0001,) * 4, (-0.1,) * 4
        values = dst.read()
    for name, more, taken in (("declared", (), 1000), ("given", ("--offset", "0"), 0)):
        ended = isamap("tile", "--imagery", lifted, "--chip-px", "32", "-o", tmp_path / name, *more)
        assert ended.code == 0
        with rasterio.open(tmp_path / name / "lifted.lr.tif") as src:
            np.testing.assert_array_equal(src.read(), values - taken)
