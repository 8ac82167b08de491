"""Decoded paths equal exhaustive search; counts equal brute force; patches equal a flood fill."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_transition import path_score, read

from isamap.domain import transition
from isamap.domain.bits import plane_of
from isamap.domain.decoder import Decoder
from isamap.domain.patches import small_patches
from isamap.domain.transition import (
    METHODS,
    Chances,
    monotone,
    raw,
    sequences,
    states,
    viterbi,
)
from isamap.domain.words import Packing, count_by_zone

rate = st.floats(0.001, 0.45)
chances = st.builds(Chances, false_alarm=rate, miss=rate, gain=rate, loss=rate, start=st.floats(0.01, 0.99))
series = st.lists(st.integers(1, 6), min_size=1, max_size=5).map(
    lambda gaps: tuple(itertools.accumulate([2010, *gaps]))
)


@st.composite
def evidence_of(draw):
    """Years and evidence, some of it 0: no look."""
    years = draw(series)
    one = st.one_of(st.just(0.0), st.floats(-6, 6))
    values = draw(st.lists(one, min_size=len(years), max_size=len(years)))
    return years, np.array(values, np.float32)


@given(evidence_of(), chances)
@settings(max_examples=200, deadline=None)
def test_viterbi_equals_the_best_of_all_paths(found, belief):
    years, evidence = found
    path = int(viterbi(evidence[:, None], years, belief)[0])
    given_path = [path >> t & 1 for t in range(len(years))]
    best = max(
        path_score(one, evidence.tolist(), years, belief)
        for one in itertools.product((0, 1), repeat=len(years))
    )
    assert path_score(given_path, evidence.tolist(), years, belief) == pytest.approx(best, abs=1e-4)


@given(evidence_of())
@settings(max_examples=200, deadline=None)
def test_monotone_equals_the_best_of_all_paths_without_a_way_back(found):
    years, evidence = found
    path = int(monotone(evidence[:, None])[0])
    states_found = [path >> t & 1 for t in range(len(years))]
    assert states_found == sorted(states_found)
    totals = [float(evidence[first:].sum()) for first in range(len(years) + 1)]
    assert float(evidence[np.array(states_found, np.bool_)].sum()) == pytest.approx(max(totals), abs=1e-4)


@given(series.flatmap(lambda years: st.lists(st.integers(-2, 2), min_size=len(years), max_size=len(years))))
def test_monotone_takes_of_equals_one_without_change(evidence):
    years = len(evidence)
    totals = [sum(evidence[first:]) for first in range(years + 1)]  # whole numbers: equals are exact
    equals = [first for first in range(years + 1) if totals[first] == max(totals)]
    expected = years if years in equals else 0 if 0 in equals else equals[-1]
    path = int(monotone(np.array(evidence, np.float32)[:, None])[0])
    assert path == 2**years - 2**expected


@given(st.integers(2, 6), st.integers(0, 2**32 - 1), chances)
@settings(max_examples=50, deadline=None)
def test_one_look_into_the_table_equals_decoding_each_pixel(count, seed, belief):
    digits = np.random.default_rng(seed).integers(0, 3, (count, 6, 8), np.uint8)
    years = tuple(range(2000, 2000 + count))
    decoder = Decoder(years, belief)
    evidence = belief.of_classes()[digits]
    tally = read(decoder, digits).tally()
    paths = {"raw": raw(digits), "monotone": monotone(evidence), "viterbi": viterbi(evidence, years, belief)}
    for index, name in enumerate(METHODS):
        np.testing.assert_array_equal(
            tally[index].sum(axis=1), np.bincount(paths[name].ravel(), minlength=2**count)
        )


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_areas_and_matrices_equal_brute_force(count, seed):
    values = np.random.default_rng(seed).integers(0, 3, (count, 5, 7), np.uint8)
    seen = states(raw(values), count)
    for t in range(count):
        last = np.zeros((5, 7), np.uint8)
        for before in [*range(t + 1)][::-1]:
            last = np.where(last == 0, values[before], last)
        for after in range(t + 1, count):
            last = np.where(last == 0, values[after], last)
        np.testing.assert_array_equal(seen[t], last == 2)


def flooded(mask, min_px, longest_px):
    """Pixels of small 8-connected patches off the edge, one patch after the other."""
    todo, small = {tuple(place) for place in np.argwhere(mask).tolist()}, []
    while todo:
        patch, front = set(), [todo.pop()]
        while front:
            row, col = front.pop()
            patch.add((row, col))
            near = {(row + i, col + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & todo
            todo -= near
            front += near
        at_edge = any(r in (0, mask.shape[0] - 1) or c in (0, mask.shape[1] - 1) for r, c in patch)
        long = any(max(axis) - min(axis) >= longest_px for axis in zip(*patch, strict=True))
        small += [] if at_edge or long or len(patch) >= min_px else sorted(patch)
    return sorted(small)


@given(
    st.integers(1, 14),
    st.integers(1, 14) | st.integers(60, 140),
    st.floats(0.05, 0.9),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=200, deadline=None)
def test_small_patches_equal_a_flood_fill(height, width, share, min_px, longest_px, seed):
    mask = np.random.default_rng(seed).random((height, width)) < share
    places = np.transpose(small_patches(plane_of(mask), mask.shape[1], min_px, longest_px).pixels())
    assert [tuple(place) for place in places.tolist()] == flooded(mask, min_px, longest_px)


@given(st.integers(1, 25), st.integers(1, 9), st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_a_margin_as_long_as_small_patches_gives_each_window_the_answer_of_the_whole(
    min_px, longest_px, step, seed
):
    mask = np.random.default_rng(seed).random((33, 41)) < 0.35

    def small(part):
        found = np.zeros(part.shape, np.bool_)
        found[small_patches(plane_of(part), part.shape[1], min_px, longest_px).pixels()] = True
        return found

    margin, parts = min(min_px - 1, longest_px), np.zeros(mask.shape, np.bool_)
    for row in range(0, 33, step):
        for col in range(0, 41, step):
            top, left = max(0, row - margin), max(0, col - margin)
            found = small(mask[top : row + step + margin, left : col + step + margin])
            inner = found[row - top : row - top + step, col - left : col - left + step]
            parts[row : row + step, col : col + step] = inner
    whole = small(mask)
    np.testing.assert_array_equal(parts, whole)


@given(st.integers(1, 40), st.integers(1, 30), st.integers(2, 6), st.integers(0, 2**32 - 1), chances)
@settings(max_examples=100, deadline=None)
def test_words_read_as_numbers_equal_pixels_looked_up_one_by_one(height, run, count, seed, belief):
    """Whatever is believed: with some rates ground that all maps show alike changes, too."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, (count, height * 21 // run + 1)) * rng.integers(0, 2)
    digits = np.where(kinds, kinds, 1 + rng.integers(0, 2)).repeat(run, axis=1)[:, : height * 21]
    digits = digits.astype(np.uint8).reshape(count, height, 21)
    digits[0, :, rng.integers(0, 21)] = 0
    decoder = Decoder(tuple(range(2000, 2000 + count)), belief)
    found, code = read(decoder, digits), sequences(digits, count)
    undone = np.zeros(code.shape, np.bool_)
    small = small_patches(found.changed(), 21, 4)
    undone[small.pixels()] = True
    found.undo(small)
    code = code + undone * code.dtype.type(3**count)
    slots = decoder.chosen[code]
    for raster, values in zip(found.rasters(), decoder.looks, strict=True):
        np.testing.assert_array_equal(raster, values[slots])
    counts = np.bincount(slots.ravel(), minlength=2**count * 9).reshape(-1, 9)
    np.testing.assert_array_equal(found.tally()[METHODS.index("viterbi")], counts)


@given(st.integers(1, 10), st.booleans(), st.integers(1, 300), st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_lookups_and_counts_of_many_at_once_equal_plain_ones(years, gaps, words, run, seed):
    rng = np.random.default_rng(seed)
    digits = rng.integers(0 if gaps else 1, 3, (years, words * 8 // run + 1)).repeat(run, axis=1)
    digits = digits[:, : words * 8].astype(np.uint8)
    bits = [
        [np.packbits(year == 2, bitorder="little"), np.packbits(year > 0, bitorder="little")]
        for year in digits
    ]
    if gaps:
        digits[0], bits[0] = 1 + (digits[0] == 2), [bits[0][0], None]
    packing, code = Packing(years, 3 if gaps else 2), sequences(digits, years).astype(np.intp)
    found = packing.packed((isa, known if gaps else None) for isa, known in bits)
    table = rng.integers(0, 256, 2 * 3**years).astype(np.uint8)
    np.testing.assert_array_equal(found.look(packing.table(table)).reshape(-1), table[code])
    np.testing.assert_array_equal(found.count(), np.bincount(code, minlength=3**years))
    pixels = rng.permutation(words * 8)[:50]
    np.testing.assert_array_equal(found.at(pixels), code[pixels])
    some = rng.random(words) < 0.5
    np.testing.assert_array_equal(
        found[some].count(), np.bincount(code.reshape(-1, 8)[some].reshape(-1), minlength=3**years)
    )


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_counts_by_zone_equal_those_of_each_zone(height, width, seed):
    rng = np.random.default_rng(seed)
    codes, zones = rng.integers(0, 20, (height, width)), rng.integers(0, 4, (height, width)) * 3
    found = count_by_zone(codes.astype(np.uint16), zones.astype(np.int32), 20)
    assert sorted(found) == np.unique(zones).tolist()
    for zone, counts in found.items():
        np.testing.assert_array_equal(counts, np.bincount(codes[zones == zone], minlength=20))


def test_all_sequences_are_told_apart():
    digits = transition.all_digits(5)
    np.testing.assert_array_equal(transition.sequences(digits, 5), np.arange(3**5))
