"""Average precision: how well a class's scores put the examples that bear it first."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError


def average_precision(scores: Float[Tensor, "n c"], labels: Int[Tensor, "n c"]) -> Float[Tensor, " c"]:
    """Of each class: the mean over its examples of the share of them among all with as high a score; NaN without any.

    In (0, 1]; examples of equal score count as found together, as in scikit-learn's `average_precision_score`.
    The mean over the classes that have one is mAP (`nanmean`).

    Raises:
        InputError: shapes that differ, or a score that is not a number.
    """
    if scores.shape != labels.shape:
        raise InputError(
            f"scores {tuple(scores.shape)} and labels {tuple(labels.shape)} must be of one shape (N, C)"
        )
    if scores.isnan().any():
        raise InputError("a score is NaN: the examples cannot be ranked by it")
    return torch.stack([_of_class(*column) for column in zip(scores.t(), labels.t(), strict=True)])


def _of_class(scores: Tensor, labels: Tensor) -> Tensor:
    own = scores[labels == 1]

    def as_high(among: Tensor) -> Tensor:
        """How many of `among` score at least what each example of the class does."""
        return len(among) - torch.searchsorted(among.sort().values, own)

    return (as_high(own).double() / as_high(scores)).mean()
