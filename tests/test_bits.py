"""Confusion matrices counted from bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isamap.domain.accuracy import Confusion
from isamap.domain.bits import BitView, count_bits, packed, repeated, without
from isamap.domain.evaluation import Zones

IN_ANY_TIME = settings(deadline=None, max_examples=60)
SIDES = st.integers(1, 70)


def raster(seed, shape, gaps):
    values = [0, 1, 255] if gaps else [0, 1]
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), shape)


def unpacked(bits, shape):
    isa = np.unpackbits(bits.isa, axis=1)[:, : shape[1]]
    known = (
        np.ones(shape, np.uint8) if bits.known is None else np.unpackbits(bits.known, axis=1)[:, : shape[1]]
    )
    return np.where(known, isa, 255)


@IN_ANY_TIME
@given(st.tuples(SIDES, SIDES), st.integers(0, 2**32), st.booleans(), st.booleans(), st.booleans())
def test_counts_are_those_of_the_classes(shape, seed, gaps_in_truth, gaps_in_map, gaps_in_other):
    truth, one, other = (
        raster(seed + n, shape, gaps) for n, gaps in enumerate((gaps_in_truth, gaps_in_map, gaps_in_other))
    )
    codes = np.random.default_rng(seed).integers(0, 3, shape)
    view = BitView(
        shape,
        packed(truth),
        {"one": packed(one), "other": packed(other)},
        {"units": Zones(codes, {1: "A", 2: "B"})},
    )
    found = count_bits(view)
    known = np.where((one == 255) | (other == 255), 255, truth).astype(np.uint8)
    if (truth == 255).all():
        assert not found.coverage
        return
    assert found.coverage == {
        "": (truth != 255).sum(),
        "one": ((truth != 255) & (one != 255)).sum(),
        "other": ((truth != 255) & (other != 255)).sum(),
    }
    for name, mapped in (("one", one), ("other", other)):
        assert found.confusion[name, "", ""] == Confusion.count(mapped, known)
        for code, zone in ((1, "A"), (2, "B")):
            inside = Confusion.count(mapped, np.where(codes == code, known, 255).astype(np.uint8))
            assert found.confusion.get((name, "units", zone), Confusion()) == inside


@IN_ANY_TIME
@given(st.tuples(SIDES, SIDES), st.integers(1, 12), st.integers(0, 2**32), st.booleans())
def test_pixels_are_repeated_as_squares(shape, factor, seed, gaps):
    classes = raster(seed, shape, gaps)
    fine = classes.repeat(factor, 0).repeat(factor, 1)
    np.testing.assert_array_equal(
        unpacked(repeated(packed(classes), factor, fine.shape[1]), fine.shape), fine
    )


@IN_ANY_TIME
@given(st.tuples(SIDES, SIDES), st.integers(0, 2**32), st.booleans())
def test_ground_that_is_taken_away_is_unknown(shape, seed, gaps):
    classes, gone = raster(seed, shape, gaps), np.random.default_rng(seed).random(shape) < 0.3
    found = unpacked(without(packed(classes), gone), shape)
    np.testing.assert_array_equal(found, np.where(gone, 255, classes))


@pytest.mark.parametrize(("value", "strange"), [(1, False), (255, False), (2, True), (50, True), (254, True)])
def test_other_codes_than_0_1_and_255_are_noticed(value, strange):
    classes = np.zeros((5, 9), np.uint8)
    classes[3, 4] = value
    assert packed(classes).strange is strange


def test_one_zone_over_everything_needs_no_mask():
    zones = Zones(np.broadcast_to(np.int32(7), (4, 5)), {7: "All"})
    assert zones.there() == [7]
    truth = np.ones((4, 5), np.uint8)
    found = count_bits(BitView((4, 5), packed(truth), {"m": packed(truth)}, {"units": zones}))
    assert found.confusion["m", "units", "All"] == Confusion(hit=20)
