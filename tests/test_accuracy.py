import numpy as np
import pytest

from isamap.domain.accuracy import UNLABELLED, Confusion
from isamap.model import losses

EXAMPLE = Confusion(hit=60, alarm=20, miss=30, quiet=90)


def test_figures_match_the_textbook():
    assert EXAMPLE.precision == 60 / 80
    assert EXAMPLE.recall == 60 / 90
    assert EXAMPLE.f1 == pytest.approx(2 * 0.75 * (2 / 3) / (0.75 + 2 / 3))
    assert EXAMPLE.iou == 60 / 110
    assert EXAMPLE.overall == 150 / 200
    assert EXAMPLE.isa_share == 80 / 200
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


def test_nothing_counted_is_zero_and_no_fault():
    empty = Confusion.count(np.zeros(3, np.bool_), np.full(3, UNLABELLED, np.uint8))
    assert empty == Confusion()
    figures = (
        empty.precision,
        empty.recall,
        empty.f1,
        empty.iou,
        empty.mean_f1,
        empty.overall,
        empty.isa_share,
    )
    assert figures == (0,) * 7


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


def test_losses_and_scores_agree_on_what_is_unlabelled():
    assert losses.UNLABELLED == UNLABELLED
