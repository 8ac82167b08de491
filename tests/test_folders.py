"""Folders of images."""

import fbp_folder
import numpy as np
import pytest

from isamap.domain.classes import FBP24, UNLABELLED
from isamap.errors import InputError, MissingInputError
from isamap.io.folders import images_of
from isamap.io.plain import read_mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fbp_folder.make_folder(tmp_path_factory.mktemp("fbp"), images=2, side=144)


def test_images_are_found_with_the_labels_of_their_name(folder):
    found = images_of(folder)
    assert [one.name for one in found] == ["GF2_PMS1__L1A0000564539-MSS1", "GF2_PMS1__L1A0000564540-MSS1"]
    for one in found:
        assert one.bands == ("B08", "B04", "B03", "B02")
        assert one.mask.name == f"{one.name}_24label.tif"
        assert one.mask.parent.name == "Annotation__color"


def test_colours_and_indices_say_the_same(folder):
    for one in images_of(folder):
        colours = read_mask(one.mask, FBP24)
        indices = read_mask(folder / "Annotation__index" / f"{one.name}_24label.png", FBP24)
        np.testing.assert_array_equal(colours, indices)
        assert set(np.unique(colours)) == {*range(1, 25), UNLABELLED}


def test_a_folder_of_images_alone_has_no_labels(folder):
    found = images_of(folder / "Image__8bit_NirRGB")
    assert [one.mask for one in found] == [None, None]


def test_labels_may_lie_beside_their_images(tmp_path):
    made = fbp_folder.make_folder(tmp_path / "fbp", images=1, side=144)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (*made.glob("Image*/*"), *made.glob("Annotation__index/*")):
        path.rename(flat / path.name)
    (one,) = images_of(flat)
    assert one.mask.name.endswith("_24label.png")


def test_a_folder_that_is_half_labelled_is_refused(tmp_path):
    made = fbp_folder.make_folder(tmp_path, images=2, side=144)
    for path in made.glob("Annotation*/*564540*"):
        path.unlink()
    with pytest.raises(InputError, match="1 of 2 images have no labels, GF2_PMS1__L1A0000564540-MSS1"):
        images_of(made)


def test_no_folder_and_no_images_are_missing_input(tmp_path):
    with pytest.raises(MissingInputError, match="no such folder"):
        images_of(tmp_path / "none")
    with pytest.raises(MissingInputError, match="holds no image"):
        images_of(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x89PNG\r\n\x1a\n" + b"0" * 40])
def test_a_png_that_is_none_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "a_24label.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a_24label\.png cannot be read as PNG") as fault:
        read_mask(path, FBP24)
    assert "\n" not in str(fault.value)


def test_labels_saved_with_loss_are_refused(tmp_path):
    made = fbp_folder.make_folder(tmp_path, images=1, side=144)
    path = next(made.glob("Annotation__color/*"))
    rgb = np.full((3, 144, 144), 201, np.uint8)
    fbp_folder.write_tiff(path, rgb)
    with pytest.raises(InputError, match="stored without loss"):
        read_mask(path, FBP24)
