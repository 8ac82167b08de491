"""Sequences of maps, their most likely paths, and the classes that follow, against exhaustive search."""

import itertools
import math

import numpy as np
import pytest

from isamap.domain import changes, transition
from isamap.domain.bits import ones, packed, plane_of
from isamap.domain.change_tally import ALL, Tally, annual_rate, expansion_intensity, growth
from isamap.domain.decoder import Decoder, most_seen, steady_paths
from isamap.domain.patches import Runs, small_patches, stride_of
from isamap.domain.transition import Chances, check_years, digits_of, of_percent, sequences, viterbi
from isamap.errors import InputError

YEARS = (2017, 2019, 2021, 2023)


def stack(text):
    """Maps of one pixel per word: `01-1 0000` is seen pervious, impervious, not at all, impervious."""
    values = {"0": 0, "1": 1, "-": 255}
    return [
        np.array([[values[word[t]] for word in text.split()]], np.uint8) for t in range(len(text.split()[0]))
    ]


def read(decoder, digits):
    """The reading of a window of digits (year, y, x)."""
    maps = [packed(np.array(year) - np.uint8(1)) for year in digits]
    return decoder.read_classes(maps, np.shape(digits[0]))


def decode(text, method="viterbi", **options):
    """First years and classes of sequences."""
    words = text.split()
    decoder = Decoder(YEARS[: len(words[0])], Chances(), method, **options)
    first, change = read(decoder, [digits_of(one) for one in stack(text)]).rasters()
    return first[0].tolist(), change[0].tolist()


def path_score(path, evidence, years, chances):
    """Log-probability of a path, by the definition of the chain."""
    score = math.log(chances.start if path[0] else 1 - chances.start)
    score += sum(e for e, state in zip(evidence, path, strict=True) if state)
    for (before, after), (a, b) in zip(itertools.pairwise(path), itertools.pairwise(years), strict=True):
        gain, loss = chances.within(b - a)
        score += math.log(
            (loss if before else gain) if before != after else (1 - loss if before else 1 - gain)
        )
    return score


def test_a_missing_year_is_digit_0_and_brings_no_evidence():
    digits = digits_of(np.array([0, 1, 255], np.uint8))
    assert digits.tolist() == [1, 2, 0]
    assert Chances().of_classes()[0] == 0
    assert of_percent(0.3)[255] == 0
    assert not transition.is_map(digits_of(np.array([0, 2], np.uint8)))
    assert not transition.is_map(digits_of(np.array([50], np.uint8)))


def test_evidence_of_a_probability_turns_at_the_threshold():
    evidence = of_percent(0.3)
    assert evidence[30] == pytest.approx(0, abs=1e-6)
    assert evidence[29] < 0 < evidence[31]
    assert np.isfinite(evidence).all()


def test_transition_rates_over_several_years_are_those_of_the_chain():
    chances = Chances(gain=0.02, loss=0.01)
    year = np.array([[0.98, 0.02], [0.01, 0.99]])
    gain, loss = chances.within(3)
    assert np.linalg.matrix_power(year, 3) == pytest.approx(np.array([[1 - gain, gain], [loss, 1 - loss]]))


@pytest.mark.parametrize(("field", "value"), [("miss", 0.5), ("gain", 0), ("loss", -1), ("start", 1)])
def test_chances_outside_their_range_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        Chances(**{field: value})


@pytest.mark.parametrize(
    ("years", "word"),
    [((2017,), "two years"), ((), "two years"), ((2019, 2017), "not in order"), ((2017, 2017), "twice")],
)
def test_years_that_are_no_series_are_refused(years, word):
    with pytest.raises(InputError, match=word):
        check_years(years)
    with pytest.raises(InputError, match="at most"):
        check_years(range(2000, 2011))


def test_viterbi_keeps_a_demolition_and_monotone_removes_it():
    assert decode("1100") == ([1], [changes.LOSS])
    assert decode("1100", "monotone") == ([1], [changes.ENDPOINT])
    assert decode("1100", "raw") == ([1], [changes.LOSS])


def test_ground_without_a_first_map_is_as_it_is_first_seen_in_every_reading():
    words = "-111 --11 -000 1--- 11-- -11- 0-11 -0-1"
    first = {name: decode(words, name, min_looks=1)[0] for name in transition.METHODS}
    assert first["raw"] == first["monotone"] == [1, 1, 0, 1, 1, 1, 3, 4]
    assert first["viterbi"][:6] == first["raw"][:6]
    _, change = decode(words, "monotone", min_looks=1)
    assert change[:6] == [*[changes.IMPERVIOUS] * 2, changes.PERVIOUS, *[changes.IMPERVIOUS] * 3]


def test_classes_of_four_years():
    words = ["0000", "1111", "0011", "0111", "0001", "0100", "1011", "0---", "----"]
    first, change = decode(" ".join(words))
    expected = [
        *(changes.PERVIOUS, changes.IMPERVIOUS, changes.GAIN, changes.GAIN),
        *(changes.ENDPOINT, changes.FLICKER, changes.FLICKER, changes.FEW, 255),
    ]
    assert change == expected
    assert first == [0, 1, 3, 2, 0, 0, 1, changes.FEW_LOOKS, 255]


def test_raw_change_lasts_if_it_is_seen_twice():
    _, change = decode("0011 0001 0101 1000 1110 0110", "raw")
    assert change == [
        *(changes.GAIN, changes.ENDPOINT, changes.ENDPOINT, changes.LOSS, changes.ENDPOINT, changes.FLICKER),
    ]


def test_a_path_there_and_back_is_a_reversal():
    decoder = Decoder(tuple(range(2010, 2019)), Chances())
    maps = [digits_of(np.full((1, 1), value, np.uint8)) for value in (0, 0, 0, 1, 1, 1, 0, 0, 0)]
    assert read(decoder, maps).rasters()[1][0, 0] == changes.REVERSAL


def test_min_looks_flags_pixels():
    assert decode("0--1")[1] != [changes.FEW]
    assert decode("0--1", min_looks=3)[1] == [changes.FEW]


@pytest.mark.parametrize("method", transition.METHODS)
def test_reading_by_table_equals_reading_by_evidence(method):
    decoder = Decoder(YEARS, Chances(), method)
    digits = list(transition.all_digits(4).reshape(4, 9, 9))
    evidence = decoder.chances.of_classes()[np.array(digits)]
    table, direct = read(decoder, digits), decoder.read_evidence(digits, evidence)
    for one, other in zip(table.rasters(), direct.rasters(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(table.tally(), direct.tally())
    np.testing.assert_array_equal(table.changed(), direct.changed())
    moves = ones(table.changed(), slice(0, 9), slice(0, 9))
    pixels = np.ravel_multi_index(np.nonzero(moves), (9, stride_of(9)))
    runs = Runs(pixels, pixels + 1, (9, 9))
    table.undo(runs)
    direct.undo(runs)
    assert not direct.changed().any()
    np.testing.assert_array_equal(table.tally(), direct.tally())
    zones = np.arange(81, dtype=np.int32).reshape(9, 9) % 3 * 2
    by_table, by_pixel = table.tallies(zones), direct.tallies(zones)
    assert list(by_table) == list(by_pixel) == [0, 2, 4]
    np.testing.assert_array_equal(list(by_table.values()), list(by_pixel.values()))
    part = slice(8, 9)
    np.testing.assert_array_equal(table.crop(part).rasters(), direct.crop(part).rasters())
    np.testing.assert_array_equal(table.crop(part).tally(), direct.crop(part).tally())


@pytest.mark.parametrize("count", range(2, transition.MAX_YEARS + 1))
def test_sequence_numbers_fit_for_every_number_of_years(count):
    rng = np.random.default_rng(count)
    digits = [rng.integers(0, 3, (4, 5), np.uint8) for _ in range(count)]
    code = sequences(digits, count)
    assert np.iinfo(code.dtype).max >= 2 * 3**count - 1
    np.testing.assert_array_equal(transition.all_digits(count)[:, code], np.array(digits))


def test_undone_change_becomes_what_was_seen_most():
    evidence = Chances().of_classes()[np.array([[1, 2], [1, 2], [2, 2], [2, 1]])]
    assert steady_paths(evidence, 0.2).tolist() == [0, 15]
    assert steady_paths(evidence, 0.5).tolist() == [15, 15]  # a false alarm is rarer than a miss


def test_undone_change_of_plain_differencing_becomes_what_most_maps_show_or_the_first_one():
    digits = np.array([[1, 2, 2, 1, 0], [2, 1, 2, 2, 1], [0, 0, 1, 2, 2]], np.uint8)
    assert most_seen(digits).tolist() == [0, 7, 7, 7, 0]


def test_small_patches_are_found_with_diagonals_and_kept_at_the_edge():
    mask = np.zeros((8, 9), np.bool_)
    mask[2, 2] = mask[3, 3] = True  # a pair by the corner
    mask[5, 5:8] = True
    mask[0, 0] = True  # may go on beyond the edge
    plane = plane_of(mask)
    assert np.transpose(small_patches(plane, 9, 3).pixels()).tolist() == [[2, 2], [3, 3]]
    assert len(small_patches(plane, 9, 4).pixels()[0]) == 5
    assert not len(small_patches(np.zeros((3, 1), np.uint64), 3, 9).starts)


def test_counts_of_windows_add_up_and_come_back_from_json():
    rng = np.random.default_rng(3)
    maps = [digits_of(rng.choice(np.array([0, 1, 255], np.uint8), (40, 60))) for _ in YEARS]
    decoder = Decoder(YEARS, Chances())
    whole, parts = Tally(YEARS), Tally(YEARS)
    whole.add(ALL, read(decoder, maps).tally(), 1.5)
    for half in (slice(0, 20), slice(20, 40)):
        other = Tally(YEARS)
        other.add(ALL, read(decoder, [one[half] for one in maps]).tally(), 1.5)
        parts += other
    again = Tally.from_json(YEARS, parts.as_json())
    np.testing.assert_array_equal(whole.pixels[ALL], again.pixels[ALL])
    np.testing.assert_allclose(whole.area_m2[ALL], again.area_m2[ALL])


def test_figures_of_one_zone_by_hand():
    words = ["0000"] * 5 + ["1111"] * 3 + ["0011"] * 2 + ["1100"] + ["0---"]
    decoder = Decoder(YEARS, Chances())
    tally = Tally(YEARS)
    tally.add(ALL, read(decoder, [digits_of(one) for one in stack(" ".join(words))]).tally(), 1e6)
    figures = tally.figures(ALL, "viterbi")
    assert figures.isa_km2 == (4, 4, 5, 5)
    assert figures.mapped_km2 == 11  # the pixel with one look takes no part
    assert figures.matrix_km2(0, 3).tolist() == [[5, 2], [1, 3]]
    assert figures.class_km2(changes.FEW) == 1
    assert figures.steps() == [(0, 1), (1, 2), (2, 3), (0, 3)]


def test_rates():
    assert growth(4, 5) == 0.25
    assert annual_rate(100, 121, 2) == pytest.approx(0.1)
    assert expansion_intensity(4, 5, 50, 2) == 1
    assert math.isnan(growth(0, 5))
    assert math.isnan(annual_rate(0, 5, 2))
    assert math.isnan(expansion_intensity(0, 0, 0, 2))


def test_uneven_years_make_change_over_the_longer_gap_likelier():
    evidence = Chances().of_classes()[np.array([[1, 1], [2, 2]])] * np.float32(1.3)
    near = viterbi(evidence, (2020, 2021))
    far = viterbi(evidence, (2010, 2030))
    assert near.tolist() != [2, 2]
    assert far.tolist() == [2, 2]


def test_ten_years_are_decoded_as_by_exhaustive_search():
    years, chances = tuple(range(2010, 2020)), Chances()
    rng = np.random.default_rng(1)
    evidence = rng.normal(0, 3, (10, 20)).astype(np.float32)
    paths = viterbi(evidence, years, chances)
    for pixel in range(20):
        scores = [
            path_score(path, evidence[:, pixel].tolist(), years, chances)
            for path in itertools.product((0, 1), repeat=10)
        ]
        found = [int(paths[pixel]) >> t & 1 for t in range(10)]
        assert path_score(found, evidence[:, pixel].tolist(), years, chances) == pytest.approx(
            max(scores), abs=1e-4
        )
