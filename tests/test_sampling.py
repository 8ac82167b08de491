"""Strata, ranks, spacing and allocation against brute force."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from isamap.domain.sampling import (
    CORE,
    DISAGREE,
    EDGE,
    FAR,
    NEAR,
    OUTSIDE,
    STRATA,
    Census,
    Picker,
    allocate,
    count,
    in_region,
    sample_size,
    strata_of,
    thin,
)
from isamap.errors import InputError

IN_ANY_TIME = settings(deadline=None, max_examples=40)
CLASSES = st.sampled_from([0, 0, 0, 0, 0, 1, 255])


def generator(seed):
    return np.random.Generator(np.random.PCG64(seed))


def with_halo(raster, halo_px):
    return np.pad(raster, halo_px, constant_values=OUTSIDE)


def distance_to(raster, value):
    """Chessboard distance of each pixel to the nearest one of a value, by looking at all of them."""
    there = np.argwhere(raster == value)
    apart = np.full(raster.shape, np.inf)
    for row, col in np.ndindex(raster.shape):
        if there.size:
            apart[row, col] = np.abs(there - (row, col)).max(1).min()
    return apart


def strata_by_distance(isa, edge_px, near_px, others):
    far_from_isa = np.where(distance_to(isa, 1) <= near_px, NEAR, FAR)
    codes = np.where(isa == 1, np.where(distance_to(isa, 0) <= edge_px, EDGE, CORE), far_from_isa)
    for other in others:
        codes[(other != 255) & (other != isa)] = DISAGREE
    codes[isa == 255] = OUTSIDE
    return codes


@st.composite
def maps(draw):
    """A map of up to 14 x 14 px, none to two other products, and reaches."""
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=14))
    isa, *others = (
        draw(arrays(np.uint8, shape, elements=CLASSES)) for _ in range(1 + draw(st.integers(0, 2)))
    )
    return isa, others, draw(st.integers(0, 3)), draw(st.integers(0, 6))


@IN_ANY_TIME
@given(maps(), st.integers(0, 3))
def test_strata_match_brute_force_distances(case, spare_px):
    isa, others, edge_px, near_px = case
    halo_px = max(edge_px, near_px) + spare_px
    codes = strata_of(
        with_halo(isa, halo_px),
        halo_px,
        edge_px=edge_px,
        near_px=near_px,
        others=[with_halo(other, halo_px) for other in others],
    )
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, strata_by_distance(isa, edge_px, near_px, others))


@IN_ANY_TIME
@given(maps(), st.integers(1, 13), st.integers(1, 13))
def test_any_split_into_windows_gives_the_strata_of_the_whole(case, height, width):
    isa, others, edge_px, near_px = case
    halo_px = max(edge_px, near_px)
    padded = [with_halo(raster, halo_px) for raster in (isa, *others)]
    whole = strata_of(padded[0], halo_px, edge_px=edge_px, near_px=near_px, others=padded[1:])
    for top, left in itertools.product(range(0, isa.shape[0], height), range(0, isa.shape[1], width)):
        part = (slice(top, top + height), slice(left, left + width))
        rows, cols = (slice(side.start, side.stop + 2 * halo_px) for side in part)
        window = [raster[rows, cols] for raster in padded]
        codes = strata_of(window[0], halo_px, edge_px=edge_px, near_px=near_px, others=window[1:])
        np.testing.assert_array_equal(codes, whole[part])


def test_a_square_of_isa_has_its_core_edge_and_neighbourhood():
    isa = np.zeros((200, 200), np.uint8)
    isa[80:120, 80:120] = 1
    codes = strata_of(with_halo(isa, 30), 30)
    assert set(np.unique(codes)) == {CORE, EDGE, NEAR, FAR} <= set(STRATA)
    assert count(codes) == {
        CORE: 34**2,
        EDGE: 40**2 - 34**2,
        NEAR: 100**2 - 40**2,
        FAR: 200**2 - 100**2,
    }


def test_isa_beside_nodata_is_no_edge():
    isa = np.full((20, 20), 255, np.uint8)
    isa[:, :10] = 1
    codes = strata_of(with_halo(isa, 30), 30)
    assert (codes[:, :10] == CORE).all()
    assert (codes[:, 10:] == OUTSIDE).all()


def test_disagreement_takes_precedence_but_a_product_without_data_says_nothing():
    isa = np.array([[1, 1, 0, 0, 255]], np.uint8)
    other = np.array([[1, 0, 1, 255, 1]], np.uint8)
    codes = strata_of(with_halo(isa, 30), 30, others=[with_halo(other, 30)])
    assert codes.tolist() == [[EDGE, DISAGREE, DISAGREE, NEAR, OUTSIDE]]


@pytest.mark.parametrize(
    ("isa", "halo_px", "others"),
    [
        (np.zeros((90, 90), np.uint8), 29, ()),
        (np.zeros((60, 90), np.uint8), 30, ()),
        (np.full((90, 90), 100, np.uint8), 30, ()),
        (np.zeros((90, 90), np.uint8), 30, [np.zeros((90, 91), np.uint8)]),
        (np.zeros((90, 90), np.uint8), 30, [np.full((90, 90), 2, np.uint8)]),
    ],
    ids=["halo too small", "no window left", "percent instead of classes", "other shape", "other classes"],
)
def test_unfit_windows_are_refused(isa, halo_px, others):
    with pytest.raises(InputError) as refusal:
        strata_of(isa, halo_px, others=others)
    assert "\n" not in str(refusal.value)


def test_regions_tell_strata_apart_and_leave_the_outside_alone():
    codes = np.array([[1, 5, 255]], np.uint8)
    assert in_region(codes, 0).tolist() == [[1, 5, 255]]
    assert in_region(codes, 24).tolist() == [[241, 245, 255]]
    assert in_region(codes, 24).dtype == np.uint8
    with pytest.raises(InputError, match="region 25"):
        in_region(codes, 25)


def test_codes_that_are_not_uint8_are_refused():
    with pytest.raises(InputError, match="int64"):
        count(np.array([[301]]))


@st.composite
def windows_of_codes(draw):
    """Windows of stratum codes, of different shapes."""
    shapes = draw(st.lists(array_shapes(min_dims=2, max_dims=2, max_side=8), min_size=1, max_size=6))
    codes = st.sampled_from([1, 2, 3, 5, 11, 245, 255])
    return [draw(arrays(np.uint8, shape, elements=codes)) for shape in shapes]


@st.composite
def designs(draw):
    """Windows, their census, and a sample size for every stratum that is there."""
    windows = draw(windows_of_codes())
    census = Census()
    for window in windows:
        census.add(window)
    wanted = {code: draw(st.integers(0, pixels)) for code, pixels in census.counts.items()}
    return windows, census.counts, wanted


def listed(number, window, picks):
    assert (window[picks.rows, picks.cols] == picks.stratum).all()
    return [(number, *one) for one in zip(*(part.tolist() for part in picks), strict=True)]


def picked(picker, windows):
    """Window, row, column, stratum and rank of everything that is picked."""
    found = []
    for number, window in enumerate(windows):
        found += listed(number, window, picker.take(window))
    picker.finish()
    return found


@IN_ANY_TIME
@given(windows_of_codes())
def test_the_census_counts_every_pixel_but_those_outside(windows):
    census = Census()
    own = [census.add(window) for window in windows]
    everything = np.concatenate([window.ravel() for window in windows])
    expected = {code: int((everything == code).sum()) for code in np.unique(everything).tolist()}
    expected.pop(OUTSIDE, None)
    assert census.counts == expected
    assert all(part == count(window) for part, window in zip(own, windows, strict=True))


@IN_ANY_TIME
@given(designs(), st.integers(0, 2**63))
def test_picks_are_the_drawn_ranks_of_all_windows_laid_end_to_end(design, seed):
    windows, counts, wanted = design
    found = picked(Picker(counts, wanted, generator(seed)), windows)
    places = {code: [] for code in counts}
    for number, window in enumerate(windows):
        for (row, col), code in np.ndenumerate(window):
            if code != OUTSIDE:
                places[int(code)].append((number, row, col))
    for number, row, col, code, rank in found:
        assert places[code][rank] == (number, row, col)
    for code, units in wanted.items():
        ranks = [one[4] for one in found if one[3] == code]
        assert len(ranks) == len(set(ranks)) == units
        assert ranks == sorted(ranks)


@IN_ANY_TIME
@given(designs(), st.integers(0, 2**63), st.randoms())
def test_the_same_seed_draws_the_same_pixels_in_whatever_order_strata_are_named(design, seed, shuffler):
    windows, counts, wanted = design
    names = list(wanted)
    shuffler.shuffle(names)
    one = picked(Picker(counts, wanted, generator(seed)), windows)
    assert one == picked(Picker(counts, {code: wanted[code] for code in names}, generator(seed)), windows)


@IN_ANY_TIME
@given(designs(), st.integers(0, 2**63))
def test_windows_without_picks_can_be_passed_over_unread(design, seed):
    windows, counts, wanted = design
    picker, found = Picker(counts, wanted, generator(seed)), []
    for number, window in enumerate(windows):
        if not picker.skip(count(window)):
            found += listed(number, window, picker.take(window))
            assert found[-1][0] == number, "a window that was not passed over holds a pick"
    picker.finish()
    assert found == picked(Picker(counts, wanted, generator(seed)), windows)


def ranks_of(pixels, units, seed):
    return Picker({1: pixels}, {1: units}, generator(seed))._drawn(1, pixels)


def test_every_set_of_ranks_is_drawn_equally_often():
    draws = 6000
    drawn = [tuple(ranks_of(6, 3, seed).tolist()) for seed in range(draws)]
    sets, often = np.unique(drawn, axis=0, return_counts=True)
    assert len(sets) == math.comb(6, 3)
    chi2 = ((often - draws / 20) ** 2 / (draws / 20)).sum()
    assert chi2 < 43.8, "beyond the 99.9th percentile for 19 degrees of freedom"


def test_strata_of_more_pixels_than_memory_are_sampled_evenly():
    pixels, units = 2_200_000_000_000, 2000
    tracemalloc.start()
    ranks = ranks_of(pixels, units, 7)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert np.unique(ranks).size == units
    assert 0 <= ranks[0] < ranks[-1] < pixels
    reached = np.arange(1, units + 1) / units
    assert np.abs(ranks / pixels - reached).max() < 1.95 / math.sqrt(units), "Kolmogorov-Smirnov, 0.1 %"


def test_more_pixels_than_there_are_cannot_be_drawn():
    for wanted in ({1: 6}, {2: 1}, {1: -1}):
        with pytest.raises(InputError, match="pixels, not the"):
            Picker({1: 5}, wanted, generator(0))


def test_other_windows_than_those_of_the_census_are_noticed():
    window = np.ones((4, 4), np.uint8)
    with pytest.raises(InputError, match="the census did not count"):
        Picker({1: 15}, {1: 2}, generator(0)).take(window)
    picker = Picker({1: 17}, {1: 2}, generator(0))
    picker.take(window)
    with pytest.raises(InputError, match="stratum 1: 16 of 17 pixels"):
        picker.finish()


@st.composite
def places(draw):
    units = draw(st.integers(0, 40))
    on_a_lattice = st.integers(-5, 5).map(lambda step: step * 1000.0)
    anywhere = st.floats(-5000, 5000, allow_subnormal=False) | on_a_lattice
    x_m, y_m = (draw(arrays(np.float64, units, elements=anywhere)) for _ in range(2))
    stratum = draw(arrays(np.uint8, units, elements=st.integers(1, 3)))
    return x_m, y_m, stratum, np.array(draw(st.permutations(range(units))), np.int64)


@IN_ANY_TIME
@given(places(), st.sampled_from([0.0, 1.0, 500.0, 1000.0, 3000.0]), st.booleans())
def test_thinning_keeps_the_spacing_and_drops_nothing_without_a_reason(case, spacing_m, few):
    x_m, y_m, stratum, order = case
    wanted = {1: 2, 2: 0, 3: 5} if few else None
    stays = thin(x_m, y_m, stratum, spacing_m, order, wanted)
    kept = []  # the same by comparing every unit with all that stay
    for unit in order.tolist():
        room = wanted is None or sum(stratum[one] == stratum[unit] for one in kept) < wanted[stratum[unit]]
        here = (x_m[unit], y_m[unit])
        if room and all(math.dist(here, (x_m[one], y_m[one])) >= spacing_m for one in kept):
            kept.append(unit)
    assert np.flatnonzero(stays).tolist() == sorted(kept)


def test_units_beyond_the_wanted_ones_block_nobody():
    x_m, y_m = np.array([0.0, 5.0, 10.0]), np.zeros(3)
    stratum, order = np.array([1, 1, 2], np.uint8), np.arange(3)
    assert thin(x_m, y_m, stratum, 5, order).tolist() == [True, True, True]
    assert thin(x_m, y_m, stratum, 6, order).tolist() == [True, False, True]
    assert thin(x_m, y_m, stratum, 5, order, {1: 1, 2: 1}).tolist() == [True, False, True]
    assert thin(x_m, y_m, stratum, 10, order, {2: 1}).tolist() == [False, False, True]


@pytest.mark.parametrize(("spacing_m", "x"), [(-1, 0), (math.nan, 0), (math.inf, 0), (1, math.nan)])
def test_distances_that_are_none_are_refused(spacing_m, x):
    with pytest.raises(InputError, match="not a finite distance"):
        thin(np.array([x]), np.zeros(1), np.ones(1, np.uint8), spacing_m, np.arange(1))


def test_the_published_sample_size_comes_out():
    """Olofsson et al. 2014, section 5.1: 641 units for a standard error of 0.01 of overall accuracy."""
    assert sample_size([0.02, 0.015, 0.32, 0.645], [0.70, 0.60, 0.90, 0.95], 0.01) == 641
    pixels = [200_000, 150_000, 3_200_000, 6_450_000]
    assert sample_size(pixels, [0.70, 0.60, 0.90, 0.95], 0.01) == 641


@pytest.mark.parametrize(
    "figures",
    [
        ([1, 1], [0.5], 0.01),
        ([1], [1.5], 0.01),
        ([-1, 2], [0.5, 0.5], 0.01),
        ([0], [0.5], 0.01),
        ([1], [0.5], 0),
        ([1], [math.nan], 0.1),
    ],
)
def test_a_sample_size_of_impossible_figures_is_refused(figures):
    with pytest.raises(InputError, match="sample size needs"):
        sample_size(*figures)


SIZES = st.dictionaries(st.integers(1, 9), st.integers(0, 30) | st.integers(0, 2**42), min_size=1, max_size=6)


@IN_ANY_TIME
@given(
    SIZES,
    st.integers(0, 300),
    st.integers(1, 5),
    st.sampled_from(["proportional", "equal", "neyman"]),
    st.data(),
)
def test_an_allocation_adds_up_and_keeps_its_bounds(sizes, n, minimum, method, data):
    deviations = {code: data.draw(st.floats(0, 0.5)) for code in sizes} if method == "neyman" else None
    n += sum(min(minimum, size) for size in sizes.values())
    assume(n <= sum(sizes.values()))
    units = allocate(sizes, n, minimum, method, deviations)
    assert set(units) == set(sizes)
    assert sum(units.values()) == n
    for code, size in sizes.items():
        assert min(minimum, size) <= units[code] <= size
    if method != "neyman":
        by_size = sorted(sizes, key=lambda code: sizes[code])
        for a, b in itertools.pairwise(by_size):
            assert units[a] <= units[b] + (method == "equal" or sizes[a] == sizes[b])


def variance(sizes, deviations, units):
    return sum((sizes[code] * deviations[code]) ** 2 / units[code] for code in sizes)


@IN_ANY_TIME
@given(
    st.lists(st.tuples(st.integers(3, 12), st.floats(0.01, 0.5)), min_size=3, max_size=3), st.integers(6, 15)
)
def test_neyman_allocation_has_the_least_variance_of_all(strata, n):
    sizes = {code: size for code, (size, _) in enumerate(strata)}
    deviations = {code: deviation for code, (_, deviation) in enumerate(strata)}
    assume(n <= sum(sizes.values()))
    ranges = [range(2, size + 1) for size in sizes.values()]
    every = [variance(sizes, deviations, units) for units in itertools.product(*ranges) if sum(units) == n]
    units = allocate(sizes, n, 2, "neyman", deviations)
    assert variance(sizes, deviations, units) == pytest.approx(min(every), rel=1e-12)


def test_a_sample_of_the_computed_size_reaches_its_target_by_neyman_but_not_by_size():
    sizes, users = {1: 2_000_000, 2: 8_000_000}, {1: 0.6, 2: 0.98}
    deviations = {code: math.sqrt(share * (1 - share)) for code, share in users.items()}
    n = sample_size([*sizes.values()], [*users.values()], 0.01)
    se = {
        method: math.sqrt(variance(sizes, deviations, allocate(sizes, n, 2, method, deviations))) / 10_000_000
        for method in ("neyman", "proportional")
    }
    assert se["neyman"] == pytest.approx(0.01, rel=1e-3)
    assert se["proportional"] > 0.0115


def test_rare_strata_get_their_minimum_and_the_rest_by_size():
    sizes = {1: 200_000, 2: 150_000, 3: 3_200_000, 4: 6_450_000}
    assert allocate(sizes, 641, 2) == {
        1: 13,
        2: 10,
        3: 205,
        4: 413,
    }  # "Prop" of Olofsson et al. 2014, table 5
    assert allocate(sizes, 640, 2, "equal") == {1: 160, 2: 160, 3: 160, 4: 160}
    units = allocate(sizes, 641, 75)
    assert (units[1], units[2]) == (75, 75)
    assert units[3] / units[4] == pytest.approx(3.2 / 6.45, rel=0.01)


def test_impossible_allocations_are_refused():
    for n, minimum in ((3, 2), (31, 2), (4, 0)):
        with pytest.raises(InputError, match="do not fit"):
            allocate({1: 10, 2: 20}, n, minimum)
    for deviations in (None, {1: 0.5}, {1: 0.5, 2: -0.1}, {1: 0.5, 2: math.nan}):
        with pytest.raises(InputError, match="Neyman"):
            allocate({1: 10, 2: 20}, 10, 2, "neyman", deviations)
