"""Losses on the ISA probability at 1 m; whatever is not labelled (255) takes no part.

Shapes are `(n, 1, y, x)`, float32. The probability is the settled one that maps are made of (settling.py):
what is trained is what is printed.
"""

import torch
from torch import Tensor
from torch.nn import functional

UNLABELLED = 255


def cross_entropy(probability: Tensor, share: Tensor) -> Tensor:
    """Binary cross-entropy of each pixel; `share` may be soft (torch refuses NaN with a traceback)."""
    probability = probability.clamp(1e-4, 1 - 1e-4)
    return -(share * probability.log() + (1 - share) * torch.log1p(-probability))


def segmentation_loss(probability: Tensor, target: Tensor, *, false_positive: float = 0.4) -> Tensor:
    """Binary cross-entropy plus half a Tversky loss (Salehi et al. 2017) over the labelled pixels.

    Args:
        probability: of ISA, at 1 m.
        target: uint8 at 1 m, 0 or 1, 255 where unlabelled.
        false_positive: weight of a false alarm in the Tversky index; a miss weighs the rest to 1,
            so that values below 0.5 lean towards recall.

    Returns:
        Scalar; 0 when nothing is labelled.
    """
    labelled = (target != UNLABELLED).float()
    truth = (target == 1).float()
    bce = (cross_entropy(probability, truth) * labelled).sum() / labelled.sum().clamp(min=1)
    found = probability * labelled
    hit = (found * truth).sum()
    alarm = (found * (1 - truth)).sum()
    miss = (labelled * truth).sum() - hit
    index = (hit + 1) / (hit + false_positive * alarm + (1 - false_positive) * miss + 1)
    return bce + 0.5 * (1 - index)


def share_loss(probability: Tensor, share: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy between the 10 m mean of the 1 m probabilities and a soft impervious share.

    Args:
        probability: of ISA, at 1 m.
        share: impervious share at 10 m, 0-1.
        weight: at 10 m; 0 where nothing is known.

    Returns:
        Scalar; 0 when every weight is 0.
    """
    mean = functional.avg_pool2d(probability, probability.shape[-1] // share.shape[-1])
    return (cross_entropy(mean, share) * weight).sum() / weight.sum().clamp(min=1)


def image_loss(image: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean absolute error of the super-resolved image where the 1 m image is `known`.

    Args:
        image: `(n, 3, y, x)` prediction.
        target: `(n, 3, y, x)` standardised 1 m image.
        known: `(n, 1, y, x)`, 1 where there is a 1 m image.
    """
    error = (image.float() - target).abs().mean(dim=1, keepdim=True)
    return (error * known).sum() / known.sum().clamp(min=1)
