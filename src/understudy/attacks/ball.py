"""`Ball`: all inputs within a radius of one, cut with the valid range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.errors import InputError, unknown

Norm = Literal["linf", "l2"]


def _per_example_norm(delta: Tensor) -> Tensor:
    """Euclidean norm of each example, shaped to broadcast over it: (B, 1, ..., 1)."""
    return delta.flatten(1).norm(dim=1).view(-1, *[1] * (delta.dim() - 1))


@dataclass(frozen=True)
class Ball:
    """{x' : ||x' - x|| <= eps, low <= x' <= high}, around any x.

    Attributes:
        eps: radius in the data's units, 0 or more.
        norm: "linf" or "l2".
        low, high: valid range of an input value; infinities mean unbounded.
    """

    eps: float
    norm: Norm = "linf"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.norm not in get_args(Norm):
            raise unknown("norm", str(self.norm), get_args(Norm))
        if math.isnan(self.eps) or self.eps < 0 or math.isinf(self.eps):
            raise InputError(f"eps must be a finite number, 0 or more, found {self.eps}")
        if self.norm == "linf" and self.eps > self.high - self.low:
            raise InputError(
                f"eps {self.eps:g} is larger than the whole input range [{self.low:g}, {self.high:g}]"
            )

    def project(
        self, point: Float[Tensor, "b ..."], center: Float[Tensor, "b ..."]
    ) -> Float[Tensor, "b ..."]:
        """The nearest point of the ball (l_inf), or a near one inside it (l_2, then the range)."""
        if self.norm == "linf":
            lower, upper = self.box(center)
            return torch.minimum(torch.maximum(point, lower), upper)
        delta = point - center
        norm = _per_example_norm(delta)
        delta = torch.where(norm > self.eps, delta * (self.eps / norm.clamp_min(1e-30)), delta)
        return (center + delta).clamp(self.low, self.high)

    def box(self, center: Float[Tensor, "b ..."]) -> tuple[Float[Tensor, "b ..."], Float[Tensor, "b ..."]]:
        """Smallest axis-parallel box that holds the ball: its lower and upper corners."""
        return (center - self.eps).clamp(self.low, self.high), (center + self.eps).clamp(self.low, self.high)

    def step(
        self, point: Float[Tensor, "b ..."], gradient: Float[Tensor, "b ..."], size: float
    ) -> Float[Tensor, "b ..."]:
        """One step of steepest ascent under the norm; a zero gradient leaves the point where it is."""
        if self.norm == "linf":
            return point + size * gradient.sign()
        norm = _per_example_norm(gradient)
        return point + size * torch.where(norm > 0, gradient / norm.clamp_min(1e-30), 0.0)
