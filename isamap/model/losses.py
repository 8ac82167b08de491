"""Losses on the probability at 1 m and on the image; whatever is not labelled (255) takes no part.

Shapes are `(n, 1, y, x)`, float32. The probability is the settled one that maps are made of (settling.py):
what is trained is what is printed. Sums run over all processes that train together (parallel.py).
"""

import torch
from torch import Tensor
from torch.nn import functional

from isamap.domain.classes import UNLABELLED
from isamap.model.parallel import total

MATCHED_PX = 16
"""With fewer whole 10 m pixels a chip's image has no mean and deviation worth the name."""


def mean_where(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean over the pixels of all processes; 0 where every weight is 0."""
    return total((values * weight).sum()) / total(weight.sum()).clamp(min=1)


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
    bce = mean_where(cross_entropy(probability, truth), labelled)
    found = probability * labelled
    hit = total((found * truth).sum())
    alarm = total((found * (1 - truth)).sum())
    miss = total((labelled * truth).sum()) - hit
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
    return mean_where(cross_entropy(mean, share), weight)


def image_loss(image: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Mean absolute error of the super-resolved image where the 1 m image is `known`.

    Args:
        image: `(n, 3, y, x)` prediction.
        target: `(n, 3, y, x)` standardised 1 m image.
        known: `(n, 1, y, x)`, 1 where there is a 1 m image.
    """
    error = (image.float() - target).abs().mean(dim=1, keepdim=True)
    return mean_where(error, known)


def class_loss(probability: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy between class probabilities and labels, each pixel weighing what its class does.

    Args:
        probability: `(n, k, y, x)`, summing to 1.
        target: `(n, 1, y, x)` uint8, number of the class from 0, 255 where unlabelled.
        weights: `(k,)`.

    Returns:
        Scalar; 0 when nothing is labelled.
    """
    labelled = target != UNLABELLED
    known = target.long().clamp(max=probability.shape[1] - 1)
    given = probability.gather(1, known).clamp(min=1e-4)
    weight = weights.to(probability.device)[known] * labelled
    return total((-given.log() * weight).sum()) / total(weight.sum()).clamp(min=1e-6)


def matched(target: Tensor, base: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The 1 m image in units of the input: per chip and channel of the same 10 m mean and deviation as the input.

    Display values know neither sun nor air; super-resolution shall learn detail, not a colour stretch.

    Args:
        target: 1 m image in any affine units, `(n, 3, y * scale, x * scale)`.
        base: red, green and blue of the input, `(n, 3, y, x)`.
        known: `(n, 1, y * scale, x * scale)`, 1 where there is a 1 m image.

    Returns:
        the image, and `known` without the chips that show too little to tell.
    """
    factor = target.shape[-1] // base.shape[-1]
    whole = (functional.avg_pool2d(known, factor) == 1).float()  # (n, 1, y, x)
    count = whole.sum(dim=(-2, -1), keepdim=True)

    def moments(values: Tensor) -> tuple[Tensor, Tensor]:
        mean = (values * whole).sum(dim=(-2, -1), keepdim=True) / count.clamp(min=1)
        square = ((values - mean) ** 2 * whole).sum(dim=(-2, -1), keepdim=True) / count.clamp(min=1)
        return mean, square.sqrt()

    mean, deviation = moments(base)
    own_mean, own_deviation = moments(functional.avg_pool2d(target, factor))
    image = (target - own_mean) * deviation / own_deviation.clamp(min=1e-3) + mean
    return image, known * (count >= MATCHED_PX)


def consistency_loss(image: Tensor, base: Tensor, present: Tensor) -> Tensor:
    """Mean absolute difference between the 10 m means of the image and the input it was made from.

    Args:
        image: `(n, 3, y * scale, x * scale)`.
        base: `(n, 3, y, x)`, in the same units.
        present: `(n, 1, y, x)`, 1 where the input is real.
    """
    means = functional.avg_pool2d(image.float(), image.shape[-1] // base.shape[-1])
    return mean_where((means - base).abs().mean(dim=1, keepdim=True), present)
