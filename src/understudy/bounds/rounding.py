"""How far float64 arithmetic can be from real arithmetic (Higham 2002, chapter 3): sums of products."""

from __future__ import annotations

import torch
from torch import Tensor

UNIT = torch.finfo(torch.float64).eps / 2
TINY = 1e-300  # more than underflow loses
CLOSED_FORM = 1e-11  # what exp, log and the few sums of a closed form over the classes are off by, at most


def gamma(terms: int) -> float:
    """Relative error of a sum of so many products, several times over: 8 n u, n with room for a few steps more."""
    return 8 * (terms + 16) * UNIT


def magnitude(low: Tensor, high: Tensor) -> Tensor:
    """Largest absolute value in each interval."""
    return torch.maximum(low.abs(), high.abs())
