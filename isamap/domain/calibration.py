"""Calibration: two numbers that turn a network's own probability into the share of such pixels that is ISA.

Platt (1999), on the logit of a probability; with an intercept of 0 it is temperature scaling (Guo et al. 2017).
Applied to the finished probability of a pixel, so the order of pixels stays, and with it every class map.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isamap.domain.reliability import Reliability

EDGE = 0.0025
"""What 0 and 100 percent stand for: the middle of what is rounded to them."""
ROUNDS = 50
HALVINGS = 30
DIGITS = 4
"""To which both numbers are rounded."""


@dataclass(frozen=True)
class Calibration:
    """The logit of the calibrated probability is `slope` times the network's logit plus `intercept`."""

    slope: float
    """Above 0; below 1 the network is surer than it should be."""
    intercept: float
    """Below 0 the network says ISA too readily."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope > 0):
            raise ValueError("a calibration has a finite slope above 0 and a finite intercept")

    def of(self, probability: float) -> float:
        """The calibrated probability."""
        return _sigmoid(self.slope * _logit(probability) + self.intercept)

    def back(self, calibrated: float) -> float:
        """The network's own probability that is calibrated to this."""
        return _sigmoid((_logit(calibrated) - self.intercept) / self.slope)


def _logit(probability: float) -> float:
    if not 0 < probability < 1:
        return math.inf if probability >= 1 else -math.inf
    return math.log(probability) - math.log1p(-probability)


def _sigmoid(logit: float) -> float:
    if logit >= 0:
        return 1 / (1 + math.exp(-logit))
    odds = math.exp(logit)
    return odds / (1 + odds)


def fit(found: Reliability) -> Calibration | None:
    """The calibration that makes a reference likeliest (logistic regression on the logit, Newton's method).

    Counts are smoothed as Platt did, so that a network that is never wrong gets no infinite slope.

    Args:
        found: the network's own probabilities against the reference.

    Returns:
        None where there is nothing to learn: one class alone, or probabilities that do not rise with the class.
    """
    rest, isa = (counts.sum() for counts in found.counts)
    if not (rest and isa):
        return None
    percent = np.clip(np.arange(101) / 100, EDGE, 1 - EDGE)
    logit = np.log(percent) - np.log1p(-percent)  # (101,)
    high, low = (isa + 1) / (isa + 2), 1 / (rest + 2)
    total = found.counts.sum(axis=0).astype(np.float64)
    truth = np.divide(
        found.counts[1] * high + found.counts[0] * low, total, out=np.zeros(101), where=total > 0
    )
    weight = total / total.sum()
    slope, intercept = _newton(np.stack([logit, np.ones(101)]), truth, weight)
    slope, intercept = round(slope, DIGITS), round(intercept, DIGITS)
    return Calibration(slope, intercept) if slope > 0 else None


def _newton(x: NDArray[np.float64], truth: NDArray[np.float64], weight: NDArray[np.float64]) -> list[float]:
    """Coefficients `(2,)` of a logistic regression; a step that makes things worse is halved."""

    def loss(coefficients: NDArray[np.float64]) -> float:
        logit = coefficients @ x
        return float(weight @ (np.logaddexp(0, logit) - truth * logit))

    at = np.array([1.0, 0.0])
    for _ in range(ROUNDS):
        said = 1 / (1 + np.exp(-np.clip(at @ x, -500, 500)))
        gradient = x @ (weight * (said - truth))
        curvature = (x * (weight * said * (1 - said))) @ x.T + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        for _ in range(HALVINGS):
            if loss(at - step) <= loss(at):
                break
            step = step / 2
        at = at - step
        if np.abs(step).max() < 1e-9:
            break
    return [float(value) for value in at]
