import numpy as np
import pytest

from isamap.domain.bands import (
    BANDS,
    band_index,
    canonical,
    given_names,
    name_from_stem,
    parse_bands,
    to_reflectance,
    unit_fault,
)
from isamap.errors import InputError


@pytest.mark.parametrize(
    "name", ["b2", "B2", "B02", "blue", "Blue", "B02_10m", "band_2", "B2, central wavelength 490 nm"]
)
def test_every_spelling_of_a_band_is_known(name):
    assert canonical(name) == "B02"


@pytest.mark.parametrize(
    ("name", "band"), [("b8a", "B8A"), ("B8", "B08"), ("nir08", "B8A"), ("swir1", "B11")]
)
def test_the_two_near_infrared_bands_are_told_apart(name, band):
    assert canonical(name) == band


@pytest.mark.parametrize("name", [None, "", "B04_a", "B13", "B00", "SCL", "NDVI", "B4A", "B002", "blueish"])
def test_what_is_no_band_has_no_name(name):
    assert canonical(name) is None


@pytest.mark.parametrize("form", ["Band_{}", "Band {}", "band{}", "BAND-{:02}", "Band{} "])
@pytest.mark.parametrize("count", [1, 4, 13])
def test_descriptions_that_only_count_are_no_names(form, count):
    assert given_names([form.format(number) for number in range(1, count + 1)]) == [None] * count


def test_beside_bands_that_are_only_counted_others_keep_their_names():
    assert given_names(("Band 1", "Band 2", "SCL", None)) == [None, None, "SCL", None]


@pytest.mark.parametrize(
    "names",
    [
        ("B1", "B2", "B3", "B4"),  # as Earth Engine writes ESA's first four
        ("Band 2", "Band 3", "Band 4", "Band 8"),
        ("Band 1", "Band 3", "Band 4"),
        ("coastal", "Band 2"),
        ("Band 11",),
        (),
    ],
)
def test_numbers_that_are_not_the_places_of_the_bands_are_names(names):
    assert given_names(names) == list(names)


def test_names_and_common_names_are_their_own_aliases():
    assert all(canonical(band.name) == canonical(band.common_name) == name for name, band in BANDS.items())


def test_wavelengths_rise_with_the_band_but_for_the_late_comers():
    waves = [band.wavelength_um for name, band in BANDS.items()]
    assert waves == sorted(waves)


@pytest.mark.parametrize(
    ("stem", "band"),
    [
        ("T32TPS_20220613T101041_B02_10m", "B02"),
        ("T32TPS_20220613T101041_B8A", "B8A"),
        ("tile-B02x", None),
        ("TCI_10m", None),
    ],
)
def test_esa_file_names_end_in_the_band(stem, band):
    assert name_from_stem(stem) == band


def test_bands_on_the_command_line_may_be_skipped():
    assert parse_bands("b4, -,blue,B8A") == ("B04", None, "B02", "B8A")


@pytest.mark.parametrize(("text", "hint"), [("B44", "B04"), ("bleu", "blue"), ("", "known are B01")])
def test_an_unknown_band_names_the_nearest(text, hint):
    with pytest.raises(InputError, match=hint):
        parse_bands(f"B02,{text}")


def test_the_index_holds_the_wanted_bands_only():
    assert band_index(["SCL", "blue", None, "B8"], ["B08", "B02", "B11"], None) == {"B02": 2, "B08": 4}


def test_the_users_names_replace_those_of_the_file():
    assert band_index(["B02", "B03"], ["B02", "B04"], ["B04", None]) == {"B04": 1}


def test_a_band_that_is_there_twice_is_refused():
    with pytest.raises(InputError, match=r"B04 is there twice \(bands 1 and 3\)"):
        band_index(["red", None, "B04"], ["B04"], None)


def test_too_few_names_for_the_bands_are_refused():
    with pytest.raises(InputError, match="names 1 bands, but there are 2"):
        band_index([None, None], ["B04"], ["B04"])


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_digital_numbers_become_reflectance(dtype):
    reflectance = to_reflectance(np.array([0, 1000, 10_000, 32_000], dtype), offset=-1000)
    assert reflectance.dtype == np.float32
    np.testing.assert_allclose(reflectance, [-0.1, 0, 0.9, 2.0], atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_are_reflectance_already(dtype):
    values = np.array([-0.1, 0.25, 3.0, 1e300], np.float64).clip(None, 1e30).astype(dtype)
    reflectance = to_reflectance(values)
    assert reflectance.dtype == np.float32
    np.testing.assert_array_equal(reflectance, np.float32([-0.1, 0.25, 2, 2]))


def test_the_input_is_not_changed():
    values = np.array([1.0, 3.0], np.float32)
    to_reflectance(values)
    np.testing.assert_array_equal(values, [1, 3])


def fault(values, dtype, offset=0, valid=True):
    values = np.array([values], dtype)
    return unit_fault(values, np.full(values.shape, valid), offset)


def test_a_little_below_zero_is_legal():
    assert fault([-2000, 500], np.int16) is None
    assert fault([-0.2, 0.5], np.float64) is None
    assert fault([0, 500], np.uint16, offset=-1000) is None


def test_far_below_zero_is_no_reflectance():
    assert "-9999" in fault([-9999, 500], np.int16)
    assert "-9999" in fault([-9999, 0.5], np.float32)
    assert "--offset" in fault([0, 500], np.uint16, offset=-2500)


def test_what_is_not_valid_is_not_judged():
    assert fault([-9999], np.int16, valid=False) is None
    assert fault([np.nan, -np.inf], np.float32, valid=False) is None


def test_bright_clouds_and_saturation_are_no_fault():
    assert fault([65_535] * 100, np.uint16) is None
    assert fault([2.5] + [0.5] * 99, np.float32) is None


@pytest.mark.parametrize(("value", "divisor"), [(35.0, "100"), (3500.0, "10000")])
def test_floats_in_percent_or_dn_are_told_apart(value, divisor):
    assert f"divide it by {divisor}," in fault([value] * 100, np.float32)
