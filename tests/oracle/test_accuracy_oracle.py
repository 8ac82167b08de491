"""Figures of accuracy and calibration against scikit-learn, where it has them."""

import numpy as np
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from isamap.domain.accuracy import Confusion
from isamap.domain.fraction import FractionScore
from isamap.domain.reliability import Reliability

SEEDS = range(8)


def ground(seed, size=997):
    """Percent and classes that agree more or less, and weights."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(size) < rng.uniform(0.1, 0.7)).astype(np.uint8)
    percent = np.clip(rng.normal(30 + 35 * truth, 5 + 3 * seed), 0, 100).astype(np.uint8)
    return percent, truth, rng.uniform(0, 5, size)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_figures_of_the_matrix_are_those_of_scikit_learn(seed, weighted):
    percent, truth, weight = ground(seed)
    mapped = (percent >= 50).astype(np.uint8)
    mine = Confusion.count(mapped, truth, weight if weighted else None).metrics()
    keywords = {"sample_weight": weight} if weighted else {}
    quiet, alarm, miss, hit = metrics.confusion_matrix(truth, mapped, **keywords).ravel()
    theirs = {
        "total": quiet + alarm + miss + hit,
        "precision": metrics.precision_score(truth, mapped, **keywords),
        "recall": metrics.recall_score(truth, mapped, **keywords),
        "f1": metrics.f1_score(truth, mapped, **keywords),
        "iou": metrics.jaccard_score(truth, mapped, **keywords),
        "mean_f1": metrics.f1_score(truth, mapped, average="macro", **keywords),
        "overall": metrics.accuracy_score(truth, mapped, **keywords),
        "kappa": metrics.cohen_kappa_score(truth, mapped, **keywords),
        "mcc": metrics.matthews_corrcoef(truth, mapped, **keywords),
    }
    assert {name: mine[name] for name in theirs} == pytest.approx(theirs)


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_of_probabilities_are_those_of_scikit_learn(seed):
    percent, truth, _ = ground(seed)
    mine = Reliability.count(percent, truth)
    assert mine.brier == pytest.approx(metrics.brier_score_loss(truth, percent / 100))
    assert mine.average_precision == pytest.approx(metrics.average_precision_score(truth, percent / 100))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bins", [5, 10, 20])
def test_the_reliability_curve_is_that_of_scikit_learn(seed, bins):
    percent, truth, _ = ground(seed)
    observed, predicted = calibration_curve(truth, percent / 100, n_bins=bins)
    mine = Reliability.count(percent, truth).curve(bins)
    filled = mine.count > 0
    np.testing.assert_allclose(mine.observed[filled], observed)
    np.testing.assert_allclose(mine.predicted[filled], predicted)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_threshold_is_the_best_of_all(seed):
    percent, truth, _ = ground(seed)
    mine = Reliability.count(percent, truth)
    scores = [metrics.f1_score(truth, percent >= p, zero_division=0) for p in range(101)]
    assert round(100 * mine.best_threshold()) == int(np.argmax(scores))


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_of_shares_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    reference = rng.random((19, 23)).astype(np.float32)
    mapped = np.clip(0.1 + 0.8 * reference + rng.normal(0, 0.1, reference.shape), 0, 1).astype(np.float32)
    weight = rng.uniform(0.1, 1, reference.shape)
    mine = FractionScore.count(mapped, reference, weight)
    pair, w = (reference.ravel(), mapped.ravel()), weight.ravel()
    assert mine.mae == pytest.approx(metrics.mean_absolute_error(*pair, sample_weight=w))
    assert mine.rmse == pytest.approx(metrics.root_mean_squared_error(*pair, sample_weight=w))
    assert mine.r2 == pytest.approx(
        metrics.r2_score(*pair, sample_weight=w), abs=1e-5
    )  # theirs is in float32
    plain = FractionScore.count(mapped, reference)
    slope, _ = np.polyfit(*(side.astype(np.float64) for side in pair), 1)
    assert plain.slope == pytest.approx(slope)
