"""Class schemes."""

import numpy as np
import pytest

from isamap.domain.classes import FBP24, ISA, SCHEMES, UNLABELLED, scheme_of
from isamap.errors import ConfigError, InputError

IMPERVIOUS = {1, 12, 18, 19, 20, 21, 22, 23, 24}


def test_five_billion_pixels_has_24_classes_of_24_colours():
    assert [one.code for one in FBP24.classes] == list(range(1, 25))
    assert len({one.colour for one in FBP24.classes}) == len({one.name for one in FBP24.classes}) == 24
    assert {one.code for one in FBP24.classes if one.isa} == IMPERVIOUS


def test_colours_give_back_the_codes_they_were_painted_with():
    codes = np.array([[*range(1, 13)], [*range(13, 25)]], np.uint8)
    table = np.zeros((256, 3), np.uint8)
    for one in FBP24.classes:
        table[one.code] = one.colour
    np.testing.assert_array_equal(FBP24.decode_rgb(table[codes].transpose(2, 0, 1)), codes)


def test_black_is_unlabelled_and_a_foreign_colour_is_named():
    rgb = np.zeros((3, 2, 2), np.uint8)
    assert (FBP24.decode_rgb(rgb) == UNLABELLED).all()
    rgb[:, 0, 0] = 199, 1, 0
    with pytest.raises(InputError, match=r"\(199, 1, 0\) .*1 pixels"):
        FBP24.decode_rgb(rgb)


def test_classes_become_impervious_or_not():
    codes = np.arange(1, 25, dtype=np.uint8)
    assert set(codes[FBP24.to_isa(codes) == 1].tolist()) == IMPERVIOUS
    assert FBP24.to_isa(np.array([UNLABELLED], np.uint8)).tolist() == [UNLABELLED]


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=list(SCHEMES))
def test_channels_are_codes_counted_from_zero(scheme):
    codes = np.array([*(one.code for one in scheme.classes), UNLABELLED], np.uint8)
    channels = scheme.channel_of(codes)
    assert channels.tolist() == [*range(len(scheme.classes)), UNLABELLED]
    np.testing.assert_array_equal(scheme.code_of(channels), codes)


def test_codes_outside_a_scheme_are_named():
    assert ISA.check(np.array([0, 1, 255], np.uint8)).tolist() == [0, 1, 255]
    with pytest.raises(InputError, match=r"codes 0, 25 are not in the scheme fbp24"):
        FBP24.check(np.array([0, 25, 3], np.uint8))


def test_a_scheme_nobody_knows_is_a_configuration_error():
    with pytest.raises(ConfigError, match="isa, fbp24"):
        scheme_of("corine")
