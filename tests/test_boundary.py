import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from isamap.domain.bits import plane_of
from isamap.domain.boundary import BoundaryScore, Ground, grown

IN_ANY_TIME = settings(deadline=None, max_examples=40)
BOTH = ("iou", "precision", "recall", "f1")


def eroded(mask, times):
    """`times` erosions by a 3 x 3 square, zeros around the image: the authors' definition, pixel by pixel."""
    for _ in range(times):
        padded = np.pad(mask, 1)
        rows, cols = mask.shape
        mask = np.array(
            [[padded[r : r + 3, c : c + 3].all() for c in range(cols)] for r in range(rows)]
        ).reshape(mask.shape)
    return mask


def boundary_iou(mapped, reference, distance):
    """Of two boolean images."""
    edges = [mask & ~eroded(mask, distance) for mask in (mapped, reference)]
    either = (edges[0] | edges[1]).sum()
    return (edges[0] & edges[1]).sum() / either if either else math.nan


def near(mask, row, col, distance):
    return mask[
        max(0, row - distance) : row + distance + 1, max(0, col - distance) : col + distance + 1
    ].any()


def score(mapped, reference, distance, fill=255, halo=None):
    """A whole image, a halo of `fill` around it."""
    halo = distance if halo is None else halo
    return BoundaryScore.count(
        *(np.pad(image, halo, constant_values=fill) for image in (mapped, reference)), distance, halo
    )


def images(elements):
    shape = st.tuples(st.integers(1, 9), st.integers(1, 9))
    return shape.flatmap(lambda s: st.tuples(*[arrays(np.uint8, s, elements=elements)] * 2))


@IN_ANY_TIME
@given(images(st.integers(0, 1)), st.integers(1, 4), st.integers(0, 3))
def test_with_zeros_around_it_is_the_boundary_iou_of_its_authors(case, distance, wider):
    mapped, reference = case
    mine = score(mapped, reference, distance, fill=0, halo=distance + wider)
    assert mine.iou == pytest.approx(boundary_iou(mapped == 1, reference == 1, distance), nan_ok=True)


@IN_ANY_TIME
@given(images(st.sampled_from([0, 1, 255])), st.integers(1, 4))
def test_all_counts_match_a_loop(case, distance):
    mapped, reference = case
    known = (mapped != 255) & (reference != 255)
    isa, truth = known & (mapped == 1), known & (reference == 1)
    expected = dict.fromkeys(
        ("shared", "either", "mapped", "mapped_near", "reference", "reference_near"), 0
    ) | {"distance_px": distance}
    for (row, col), here in np.ndenumerate(known):
        if here:
            edges = [mask[row, col] and near(known & ~mask, row, col, distance) for mask in (isa, truth)]
            expected["shared"] += all(edges)
            expected["either"] += any(edges)
            expected["mapped"] += isa[row, col]
            expected["mapped_near"] += isa[row, col] and near(truth, row, col, distance)
            expected["reference"] += truth[row, col]
            expected["reference_near"] += truth[row, col] and near(isa, row, col, distance)
    assert vars(score(mapped, reference, distance)) == expected


@pytest.mark.parametrize("distance", [2, 5, 10])
@pytest.mark.parametrize("halo", [10, 13])
def test_windows_with_halos_add_up_to_the_whole(distance, halo):
    rng = np.random.default_rng(distance)
    mapped, reference = (
        np.kron(rng.integers(0, 2, (12, 12)), np.ones((7, 7))).astype(np.uint8) for _ in "ab"
    )
    reference[30:37, :20] = 255
    wide = [np.pad(image, halo, constant_values=255) for image in (mapped, reference)]
    parts = BoundaryScore(distance)
    for top, bottom in ((0, 20), (20, 63), (63, 84)):
        for left, right in ((0, 41), (41, 84)):
            window = np.s_[top : bottom + 2 * halo, left : right + 2 * halo]
            parts = parts + BoundaryScore.count(wide[0][window], wide[1][window], distance, halo)
    assert parts == score(mapped, reference, distance)
    assert 0 < parts.iou < 1


@IN_ANY_TIME
@given(images(st.integers(0, 1)), st.integers(1, 4))
def test_where_no_isa_is_near_the_edge_of_what_is_known_it_is_the_boundary_iou_of_its_authors(case, distance):
    mapped, reference = (np.pad(image, distance) for image in case)
    mine = score(mapped, reference, distance, fill=255)
    assert mine.iou == pytest.approx(boundary_iou(mapped == 1, reference == 1, distance), nan_ok=True)


def test_the_edge_of_the_raster_and_of_a_gap_is_no_boundary():
    isa = np.ones((8, 8), np.uint8)
    assert score(isa, isa, 2).either == 0
    isa[:, 4:] = 255
    assert score(isa, isa, 2).either == 0
    assert score(isa, isa, 2, fill=0).either > 0


def test_a_shift_within_the_distance_is_forgiven_by_the_relaxed_figures_only():
    reference = np.zeros((30, 30), np.uint8)
    reference[10:20, 10:20] = 1
    mapped = np.roll(reference, 2, axis=1)
    shifted = score(mapped, reference, 2)
    assert (shifted.precision, shifted.recall, shifted.f1) == (1, 1, 1)
    assert shifted.iou < 0.6
    further = score(np.roll(mapped, 1, axis=1), reference, 2)
    assert (further.precision, further.recall) == (0.9, 0.9)
    assert further.f1 == pytest.approx(0.9)


def test_one_side_without_isa_is_zero_or_undefined():
    isa, rest = np.ones((6, 6), np.uint8), np.zeros((6, 6), np.uint8)
    isa[0] = 0
    missed, alarmed, quiet = score(rest, isa, 2), score(isa, rest, 2), score(rest, rest, 2)
    assert (missed.iou, missed.recall, missed.f1) == (0, 0, 0)
    assert math.isnan(missed.precision)
    assert (alarmed.iou, alarmed.precision, alarmed.f1) == (0, 0, 0)
    assert math.isnan(alarmed.recall)
    assert all(math.isnan(getattr(quiet, name)) for name in BOTH)


def test_ground_that_nobody_knows_counts_nothing():
    nothing = np.full((5, 5), 255, np.uint8)
    assert score(nothing, np.ones((5, 5), np.uint8), 2) == BoundaryScore(2)
    assert all(math.isnan(getattr(BoundaryScore(2), name)) for name in BOTH)


def test_what_is_far_away_is_not_near():
    mapped, reference = np.zeros((2, 20, 20), np.uint8)
    mapped[2, 2] = reference[15, 15] = 1
    apart = score(mapped, reference, 5)
    assert (apart.precision, apart.recall, apart.f1, apart.iou) == (0, 0, 0, 0)


@given(st.integers(1, 140), st.integers(1, 3), st.integers(0, 70), st.integers(0, 70), st.integers(0, 2**32))
@IN_ANY_TIME
def test_a_grown_plane_is_the_mask_grown_pixel_by_pixel_but_for_its_rim(width, height, reach, further, seed):
    halo = reach + further
    rng = np.random.default_rng(seed)
    mask = rng.random((height + 2 * halo, width + 2 * halo)) < 0.002
    found = grown(grown(plane_of(mask), 0, reach), reach, further)
    bits = np.unpackbits(found.view(np.uint8), axis=1, bitorder="little", count=mask.shape[1])
    inner = bits[halo : halo + height, halo : halo + width]
    for (row, col), value in np.ndenumerate(inner):
        assert value == mask[row : row + 2 * halo + 1, col : col + 2 * halo + 1].any()


@pytest.mark.parametrize("strip", [1, 7, 512])
def test_distances_in_any_order_and_strips_of_any_height_give_one_result(strip, monkeypatch):
    rng = np.random.default_rng(3)
    mapped, reference = (
        rng.integers(0, 2, (60, 90)).astype(np.uint8) * (np.arange(90) % 9 == 0) for _ in "ab"
    )
    reference = np.where(rng.random((60, 90)) < 0.02, 255, reference).astype(np.uint8)
    mapped[20:38] = reference[20:38] = 0  # strips without ISA
    expected = {distance: BoundaryScore.count(mapped, reference, distance, 10) for distance in (2, 5, 10)}
    ground = Ground.of(reference < 2, 10)
    monkeypatch.setattr("isamap.domain.boundary.STRIP_ROWS", strip)
    assert BoundaryScore.compare(ground.isa(mapped), ground.isa(reference), ground, (10, 2, 5)) == expected


@pytest.mark.parametrize(("distance", "halo", "side"), [(0, 2, 9), (3, 2, 9), (2, 4, 8)])
def test_a_window_that_cannot_be_judged_is_refused(distance, halo, side):
    window = np.zeros((side, side), np.uint8)
    with pytest.raises(ValueError, match="halo"):
        BoundaryScore.count(window, window, distance, halo)


def test_scores_of_different_distances_do_not_add_up():
    with pytest.raises(ValueError, match="2 and 5"):
        BoundaryScore(2) + BoundaryScore(5)
