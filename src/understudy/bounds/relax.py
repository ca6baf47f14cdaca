"""Linear bounds of an activation over an interval (Zhang et al. 2018, arXiv 1811.00866)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.bounds.graph import Activation, Smooth
from understudy.bounds.smooth import lines


@dataclass(frozen=True, eq=False)
class Relaxation:
    """lower * x + lower_intercept <= f(x) <= upper * x + intercept, element by element, on the interval.

    `lower_intercept` is None where it is 0 throughout (ReLUs), which saves the time to multiply with it.
    """

    lower: Float[Tensor, "b ..."]
    upper: Float[Tensor, "b ..."]
    intercept: Float[Tensor, "b ..."]
    lower_intercept: Float[Tensor, "b ..."] | None = None


def relax(op: Activation, low: Float[Tensor, "b ..."], high: Float[Tensor, "b ..."]) -> Relaxation:
    """The two lines of an activation whose argument lies in [low, high].

    An interval that is NaN, or infinite where the activation is not linear, gives NaN, which proves nothing.
    """
    if isinstance(op, Smooth):
        lower, lower_intercept, upper, intercept = lines(op.kind, low, high)
        return Relaxation(lower, upper, intercept, lower_intercept)
    return relax_relu(low, high)


def relax_relu(low: Float[Tensor, "b ..."], high: Float[Tensor, "b ..."]) -> Relaxation:
    """The chord above and, below, the line 0 or x that leaves the smaller area.

    Any slope in [0, 1] is sound below. Above, any slope is sound with the intercept taken at both ends, so a
    rounded chord is made sound by rounding the intercept up.
    """
    unstable = ~(high <= 0) & ~(low >= 0)
    # low < 0 < high here, so the width is at least the larger of the two, however small they are
    slope = (high / (high - low)).clamp(max=1.0)
    ends = torch.maximum(-slope * low, high - slope * high)
    ends = ends + 4 * torch.finfo(low.dtype).eps * torch.maximum(-low, high)
    linear = (low >= 0).to(low.dtype)
    upper = torch.where(unstable, slope, linear)
    lower = torch.where(unstable, (high > -low).to(low.dtype), linear)
    return Relaxation(lower, upper, torch.where(unstable, ends, 0.0))
