"""Classes as bits, and confusion matrices counted from them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isamap.domain.accuracy import Confusion
from isamap.domain.bits import framed, laid_over, packed, repeated, unpacked, without
from isamap.domain.evaluation import CONFUSION, count
from isamap.domain.view import View, Zones

IN_ANY_TIME = settings(deadline=None, max_examples=60)
SIDES = st.integers(1, 150)
SEEDS = st.integers(0, 2**32)


def raster(seed, shape, gaps):
    values = [0, 1, 255] if gaps else [0, 1]
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), shape)


def everything(shape):
    return slice(0, shape[0]), slice(0, shape[1])


def check(found, classes):
    """Whether bits are those of classes `(y, x)`, nothing set beyond the last column."""
    assert found.isa.shape == (classes.shape[0], -(-classes.shape[1] // 64))
    np.testing.assert_array_equal(unpacked(found, *everything(classes.shape)), classes)
    for plane, ones in ((found.isa, classes == 1), (found.known, classes != 255)):
        assert plane is None or np.bitwise_count(plane).sum() == ones.sum()


@IN_ANY_TIME
@given(st.tuples(SIDES, SIDES), st.sampled_from([0, 8, 16]), SEEDS, st.tuples(*[st.booleans()] * 3))
def test_counts_are_those_of_the_classes(shape, halo, seed, gaps):
    outer = tuple(side + 2 * halo for side in shape)
    layers = [raster(seed + number, outer, holes) for number, holes in enumerate(gaps)]
    codes = np.random.default_rng(seed).integers(0, 3, shape)
    bits = [packed(layer) for layer in layers]
    zones = {"units": Zones(codes, {1: "A", 2: "B"})}
    view = View(1, shape, bits[0], {"one": bits[1], "other": bits[2]}, halo_px=halo, zones=zones)
    found = count(view, (CONFUSION,))
    truth, one, other = (layer[halo : halo + shape[0], halo : halo + shape[1]] for layer in layers)
    known = np.where((one == 255) | (other == 255), 255, truth).astype(np.uint8)
    if (truth == 255).all():
        assert not found.coverage
        return
    assert found.coverage == {
        "": (truth != 255).sum(),
        "one": ((truth != 255) & (one != 255)).sum(),
        "other": ((truth != 255) & (one != 255) & (other != 255)).sum(),
    }
    for name, mapped in (("one", one), ("other", other)):
        assert found.confusion.get((name, "", ""), Confusion()) == Confusion.count(mapped, known)
        for code, zone in ((1, "A"), (2, "B")):
            inside = Confusion.count(mapped, np.where(codes == code, known, 255).astype(np.uint8))
            assert found.confusion.get((name, "units", zone), Confusion()) == inside


@IN_ANY_TIME
@given(st.tuples(SIDES, SIDES), st.integers(1, 12), SEEDS, st.booleans())
def test_pixels_are_repeated_as_squares(shape, factor, seed, gaps):
    classes = raster(seed, shape, gaps)
    fine = classes.repeat(factor, 0).repeat(factor, 1)
    check(repeated(packed(classes), factor, fine.shape[1]), fine)


@IN_ANY_TIME
@given(st.tuples(SIDES, SIDES), SEEDS, st.booleans())
def test_ground_that_is_taken_away_is_unknown(shape, seed, gaps):
    classes, gone = raster(seed, shape, gaps), np.random.default_rng(seed).random(shape) < 0.3
    check(without(packed(classes), gone), np.where(gone, 255, classes))


@IN_ANY_TIME
@given(st.tuples(SIDES, SIDES), st.tuples(*[st.integers(0, 70)] * 4), SEEDS, st.booleans())
def test_a_window_in_a_larger_one_is_all_that_is_known(shape, rim, seed, gaps):
    classes = raster(seed, shape, gaps)
    top, left, bottom, right = rim
    wide = np.pad(classes, ((top, bottom), (left, right)), constant_values=255)
    check(framed(packed(classes), shape, (top, left), wide.shape), wide)


@IN_ANY_TIME
@given(st.tuples(SIDES, SIDES), SEEDS, st.booleans(), st.booleans())
def test_the_upper_one_counts_where_it_knows_something(shape, seed, gaps_above, gaps_below):
    above, below = raster(seed, shape, gaps_above), raster(seed + 1, shape, gaps_below)
    check(laid_over(packed(above), packed(below)), np.where(above == 255, below, above))


@IN_ANY_TIME
@given(st.tuples(SIDES, SIDES), st.tuples(*[st.integers(0, 150)] * 2), st.integers(1, 9), SEEDS)
def test_any_rows_and_columns_can_be_unpacked(shape, corner, step, seed):
    classes = raster(seed, shape, gaps=True)
    rows, cols = (slice(min(first, side), side, step) for first, side in zip(corner, shape, strict=True))
    np.testing.assert_array_equal(unpacked(packed(classes), rows, cols), classes[rows, cols])


@pytest.mark.parametrize(("value", "strange"), [(1, False), (255, False), (2, True), (50, True), (254, True)])
def test_other_codes_than_0_1_and_255_are_noticed(value, strange):
    classes = np.zeros((5, 9), np.uint8)
    classes[3, 4] = value
    assert packed(classes).strange is strange


def test_one_zone_over_everything_needs_no_mask():
    zones = Zones(np.broadcast_to(np.int32(7), (4, 5)), {7: "All"})
    assert zones.there() == [7]
    truth = packed(np.ones((4, 5), np.uint8))
    found = count(View(1, (4, 5), truth, {"m": truth}, zones={"units": zones}), (CONFUSION,))
    assert found.confusion["m", "units", "All"] == Confusion(hit=20)
