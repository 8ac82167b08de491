import math

import numpy as np
import pytest

from isamap.domain import accuracy
from isamap.domain.accuracy import Confusion
from isamap.domain.classes import UNLABELLED

EXAMPLE = Confusion(hit=60, alarm=20, miss=30, quiet=90)


def test_figures_match_the_textbook():
    assert EXAMPLE.precision == 60 / 80
    assert EXAMPLE.recall == 60 / 90
    assert EXAMPLE.f1 == pytest.approx(2 * 0.75 * (2 / 3) / (0.75 + 2 / 3))
    assert EXAMPLE.iou == 60 / 110
    assert EXAMPLE.overall == 150 / 200
    assert EXAMPLE.isa_share == 80 / 200
    assert EXAMPLE.reference_share == 90 / 200
    assert EXAMPLE.bias == -10 / 200
    assert EXAMPLE.total == 200
    chance = (80 * 90 + 120 * 110) / 200**2
    assert EXAMPLE.kappa == pytest.approx((150 / 200 - chance) / (1 - chance))
    assert EXAMPLE.mcc == pytest.approx((60 * 90 - 20 * 30) / (80 * 120 * 90 * 110) ** 0.5)
    assert EXAMPLE.mean_f1 == pytest.approx((120 / 170 + 180 / 230) / 2)


def test_a_small_map_is_counted_by_hand():
    mapped = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], np.bool_)
    reference = np.array([[1, 0, 1, 0], [255, 255, 1, 0]], np.uint8)
    assert Confusion.count(mapped, reference) == Confusion(hit=2, alarm=1, miss=1, quiet=2)


def test_weights_stand_for_elements():
    mapped = np.array([True, True, False, False])
    reference = np.array([1, 0, 1, UNLABELLED], np.uint8)
    weighted = Confusion.count(mapped, reference, np.array([2.0, 0.5, 3.0, 100.0]))
    assert weighted == Confusion(hit=2, alarm=0.5, miss=3, quiet=0)


def test_what_nothing_was_counted_for_is_not_defined():
    empty = Confusion.count(np.zeros(3, np.bool_), np.full(3, UNLABELLED, np.uint8))
    assert empty == Confusion() == Confusion.count(np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8))
    figures = empty.metrics()
    assert figures.pop("total") == 0
    assert all(math.isnan(value) for value in figures.values())


def test_ground_without_isa_tells_of_false_alarms_only():
    clean, alarmed = Confusion(quiet=10), Confusion(alarm=2, quiet=8)
    assert (clean.overall, clean.isa_share, clean.bias) == (1, 0, 0)
    for undefined in ("precision", "recall", "f1", "iou", "mean_f1", "kappa", "mcc"):
        assert math.isnan(getattr(clean, undefined))
    assert (alarmed.precision, alarmed.f1, alarmed.iou, alarmed.kappa) == (0, 0, 0, 0)
    assert math.isnan(alarmed.recall)
    assert math.isnan(alarmed.mcc)


def test_ground_that_is_isa_throughout_has_no_second_class():
    missed, found = Confusion(miss=10), Confusion(hit=10)
    assert (missed.recall, missed.f1, missed.iou, missed.overall, missed.bias) == (0, 0, 0, 0, -1)
    assert math.isnan(missed.precision)
    assert (found.recall, found.precision, found.f1, found.iou) == (1, 1, 1, 1)
    for undefined in ("mean_f1", "kappa", "mcc"):
        assert math.isnan(getattr(found, undefined))


def test_nodata_of_the_map_does_not_count():
    mapped = np.array([1, 0, 255, 255, 1, 0], np.uint8)
    reference = np.array([1, 1, 1, 0, 255, 255], np.uint8)
    assert Confusion.count(mapped, reference) == Confusion(hit=1, miss=1)
    assert Confusion.count(mapped, reference, np.full(6, 2.0)) == Confusion(hit=2, miss=2)


def test_a_value_that_is_no_class_does_not_count():
    mapped, reference = np.array([2, 1, 254, 1], np.uint8), np.array([1, 3, 0, 1], np.uint8)
    assert Confusion.count(mapped, reference) == Confusion(hit=1)


@pytest.mark.parametrize("kind", [np.int64, np.int16, np.float32])
def test_other_types_are_read_by_value(kind):
    mapped, reference = np.array([1, 0, 1], np.bool_), np.array([1, 1, -1]).astype(kind)
    assert Confusion.count(mapped, reference) == Confusion(hit=1, miss=1)


def test_windows_with_a_halo_cut_off_count_as_their_copies():
    rng = np.random.default_rng(5)
    mapped, reference = rng.choice(np.array([0, 1, 255], np.uint8), (2, 70, 83))
    inner = np.s_[3:-3, 5:-5]
    expected = Confusion.count(mapped[inner].copy(), reference[inner].copy())
    assert Confusion.count(mapped[inner], reference[inner]) == expected


@pytest.mark.parametrize("gaps", ["none", "map", "reference", "both"])
def test_many_blocks_count_as_one(monkeypatch, gaps):
    monkeypatch.setattr(accuracy, "GROUP_PX", 3000)
    rng = np.random.default_rng(7)
    mapped, reference = (rng.random((2, 97, 101)) < 0.4).astype(np.uint8)
    if gaps in ("map", "both"):
        mapped[40:55] = 255
    if gaps in ("reference", "both"):
        reference[:20, 7] = 255
    known = (mapped != 255) & (reference != 255)
    pairs = ((1, 1), (1, 0), (0, 1), (0, 0))
    expected = [np.count_nonzero(known & (mapped == m) & (reference == r)) for m, r in pairs]
    assert Confusion.count(mapped, reference) == Confusion(*expected)


def test_arrays_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        Confusion.count(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))
    with pytest.raises(ValueError, match="shapes"):
        Confusion.count(np.zeros(4, np.bool_), np.zeros(4, np.uint8), np.ones(3))


def test_a_sum_of_many_tiles_does_not_lose_a_pixel():
    tile = Confusion(hit=1e12, alarm=1, miss=2, quiet=3e12)
    assert sum([tile] * 100, Confusion()).metrics()["total"] == 4e14 + 300
    assert math.isfinite(tile.mcc)
    assert tile.kappa == pytest.approx(1)


def test_a_perfect_map_scores_1_and_its_negative_0():
    reference = np.array([[0, 1], [1, 0]], np.uint8)
    perfect, worst = (Confusion.count(mapped, reference) for mapped in (reference == 1, reference == 0))
    assert (perfect.f1, perfect.iou, perfect.overall, perfect.mean_f1) == (1, 1, 1, 1)
    assert (worst.f1, worst.iou, worst.overall, worst.mean_f1) == (0, 0, 0, 0)


def test_a_map_that_is_isa_everywhere_scores_the_share_of_the_reference():
    reference = (np.arange(100) < 30).astype(np.uint8)
    everywhere = Confusion.count(np.ones(100, np.bool_), reference)
    assert (everywhere.precision, everywhere.iou, everywhere.overall) == (0.3, 0.3, 0.3)
    assert (everywhere.recall, everywhere.isa_share) == (1, 1)


def test_figures_come_in_a_fixed_order():
    assert list(EXAMPLE.metrics()) == [
        *("total", "precision", "recall", "f1", "iou", "mean_f1", "overall", "kappa", "mcc"),
        *("isa_share", "reference_share", "bias"),
    ]
    assert EXAMPLE.metrics()["iou"] == EXAMPLE.iou
