"""Gradient ascent on any scalar of an input over a ball: the one attack that training and the audit share.

Projected gradient ascent (Madry et al., arXiv 1706.06083): x' <- project(x' + step * steepest(grad score(x'))).
What is maximised is the caller's: a cross-entropy, a divergence between two models, their gap in confidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.attacks.ball import Ball
from understudy.data.randomness import Randomness
from understudy.errors import InputError, unknown

Score = Callable[[Tensor], Tensor]
PairScore = Callable[[Tensor], tuple[Tensor, Tensor]]
Start = Literal["center", "uniform", "normal"]

NORMAL_START = 0.001  # standard deviation of the "normal" start, in the data's units (TRADES, RSLAD, AdaAD)


@dataclass(frozen=True)
class Ascent:
    """How an ascent is run.

    Attributes:
        steps: gradient steps, 0 or more.
        step_size: length of one step in the data's units; None means a quarter of the radius.
        restarts: independent runs; the best end point an example is kept.
        start: "center", "uniform" in the ball, or "normal" (the center plus 0.001 * N(0, 1)).
        keep: "last" iterate (what training uses) or the "best" one seen.
    """

    steps: int = 10
    step_size: float | None = None
    restarts: int = 1
    start: Start = "uniform"
    keep: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        if self.steps < 0 or self.restarts < 1:
            raise InputError(f"steps must be >= 0 and restarts >= 1, found {self.steps} and {self.restarts}")
        if self.step_size is not None and not self.step_size > 0:
            raise InputError(f"step_size must be above 0, found {self.step_size}")
        if self.start not in get_args(Start):
            raise unknown("start", str(self.start), get_args(Start))


def start_point(center: Float[Tensor, "b ..."], ball: Ball, start: Start, random: Randomness) -> Tensor:
    """Where an ascent begins, inside the ball: (B, ...)."""
    if start == "center" or ball.eps == 0:
        return center
    if start == "normal":
        return ball.project(center + NORMAL_START * random.normal(center), center)
    if ball.norm == "linf":
        return ball.project(center + ball.eps * random.uniform(center), center)
    # A normal direction at radius eps * U^(1/n) is uniform in the l_2 ball.
    direction = random.normal(center).flatten(1)
    length = random.uniform(center.flatten(1)[:, :1], 0.0, 1.0) ** (1.0 / direction.shape[1])
    offset = (ball.eps * length * direction / direction.norm(dim=1, keepdim=True)).view_as(center)
    return ball.project(center + offset, center)


def climb(
    score: Score | PairScore,
    start: Float[Tensor, "b ..."],
    center: Float[Tensor, "b ..."],
    ball: Ball,
    settings: Ascent,
) -> tuple[Float[Tensor, "b ..."], Float[Tensor, " b"] | None]:
    """One ascent from `start`: the point kept an example, and its value if it was measured (keep="best").

    A score that returns two tensors (B,) climbs along the first and keeps the iterate that the second rates
    highest.
    """
    size = settings.step_size if settings.step_size is not None else ball.eps / 4
    best = settings.keep == "best"
    best_point, best_value = start.detach(), None
    point = start.detach()
    for step in range(settings.steps + int(best)):
        point.requires_grad_(True)
        answer = score(point)
        climbed, rated = answer if isinstance(answer, tuple) else (answer, answer)
        if best:
            rated = rated.detach()
            better = torch.ones_like(rated, dtype=torch.bool) if best_value is None else rated > best_value
            best_value = rated if best_value is None else torch.where(better, rated, best_value)
            best_point = torch.where(better.view(-1, *[1] * (point.dim() - 1)), point.detach(), best_point)
        if step == settings.steps:
            break
        (gradient,) = torch.autograd.grad(climbed.sum(), point)
        with torch.no_grad():
            point = ball.project(ball.step(point, gradient, size), center)
    return (best_point, best_value) if best else (point.detach(), None)


def ascend(
    score: Score,
    center: Float[Tensor, "b ..."],
    ball: Ball,
    settings: Ascent,
    random: Randomness,
) -> Float[Tensor, "b ..."]:
    """The point of the ball at which `score` (B, ...) -> (B,) was driven highest, an example: (B, ...).

    With `restarts` above 1 the restarts are compared by their score at the point each of them kept.
    """
    if ball.eps == 0:
        return center.detach()
    found, value = climb(score, start_point(center, ball, settings.start, random), center, ball, settings)
    for _ in range(settings.restarts - 1):
        with torch.no_grad():
            value = score(found) if value is None else value
        point, other = climb(score, start_point(center, ball, settings.start, random), center, ball, settings)
        with torch.no_grad():
            other = score(point) if other is None else other
        better = other > value
        found = torch.where(better.view(-1, *[1] * (point.dim() - 1)), point, found)
        value = torch.where(better, other, value)
    return found
