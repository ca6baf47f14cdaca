"""Two additive models term by term on one scale, and whether their residuals go together."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError

Scale = Literal["sd_predictions", "sd_targets", "range_predictions", "range_targets"]


def scale_factor(
    score: Float[Tensor, " n"], outcome: Float[Tensor, " n"], spread: Scale = "sd_predictions"
) -> float:
    """What the score's terms are multiplied by: the outcome side's spread over the score side's.

    Args:
        score, outcome: predictions f^S(x), f^O(x) of the two models, or for the `_targets` kinds S' and O themselves.
        spread: standard deviation (over N) or range.

    Raises:
        InputError: the score's side is constant.
    """

    def width(values: Tensor) -> float:
        values = values.double()
        by_sd = spread.startswith("sd")
        return float(values.std(correction=0) if by_sd else values.max() - values.min())

    if width(score) == 0:
        raise InputError("the model of the score says the same everywhere: there is nothing to compare")
    return width(outcome) / width(score)


def scaled_difference(
    score: Float[Tensor, " *n"], outcome: Float[Tensor, " *n"], scale: float
) -> Float[Tensor, " *n"]:
    """d = scale h^S - h^O of terms that are centred over the data: how much more the score makes of a value."""
    return scale * score - outcome


def correlation(one: Float[Tensor, " n"], other: Float[Tensor, " n"]) -> float:
    """Pearson's, in [-1, 1].

    Raises:
        InputError: one of them is constant.
    """
    a, b = (values.double() - values.double().mean() for values in (one, other))
    size = float(a.norm() * b.norm())
    if size == 0:
        raise InputError("a constant correlates with nothing")
    return float(a @ b) / size


def permutation_test(
    one: Float[Tensor, " n"], other: Float[Tensor, " n"], permutations: int, seed: int = 0
) -> tuple[float, float, float]:
    """(correlation, its standard deviation with `other` permuted, one-sided p of a correlation that large)."""
    draw = torch.Generator().manual_seed(seed)
    found = correlation(one, other)
    null = torch.tensor(
        [correlation(one, other[torch.randperm(len(other), generator=draw)]) for _ in range(permutations)]
    )
    above = int((null >= found).sum())
    return found, float(null.std(correction=0)), (1 + above) / (1 + permutations)


def auc(score: Float[Tensor, " n"], outcome: Float[Tensor, " n"]) -> float:
    """Share of (1, 0) pairs that the score puts in order, ties half."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(outcome.numpy(), score.numpy()))
