"""The difference of confidences at points, between two numbers that rounding cannot cross."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.attacks.ball import Ball
from understudy.bounds.graph import Graph
from understudy.bounds.precise import UNIT, logits_and_error

GOOD = 1e-12  # an error below this is not worth computing with more digits
ROWS = 256  # points evaluated at once


@torch.no_grad()
def difference_at(
    teacher: Graph, student: Graph, points: Float[Tensor, "b ..."]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """(low, high) around max_k |softmax(teacher)_k - softmax(student)_k| at each point, in real arithmetic.

    Both graphs and the points are float64 and taken as exact. What overflowed lies between 0 and 1. The same
    graph given twice differs by nothing.
    """
    zero = torch.zeros(len(points), dtype=torch.float64, device=points.device)
    if student is teacher or len(points) == 0:
        return zero, zero.clone()
    parts = [_at(teacher, student, part.double()) for part in points.split(ROWS)]
    return torch.cat([low for low, _ in parts]), torch.cat([high for _, high in parts])


def evaluate_lower(teacher: Graph, student: Graph, witness: Float[Tensor, "b ..."]) -> Float[Tensor, " b"]:
    """A lower bound of D that each witness proves: the difference there, rounded down. In [0, 1]."""
    return difference_at(teacher, student, witness)[0]


def _at(teacher: Graph, student: Graph, points: Tensor) -> tuple[Tensor, Tensor]:
    found, error = _difference(teacher, student, points, precise=False)
    poor = ~(error <= GOOD)
    if bool(poor.any()):
        again, smaller = _difference(teacher, student, points[poor], precise=True)
        better = smaller < error[poor]
        found[poor] = torch.where(better, again, found[poor])
        error[poor] = torch.where(better, smaller, error[poor])
    low = torch.nextafter(found - error, torch.full_like(found, -torch.inf)).clamp(0, 1)
    high = torch.nextafter(found + error, torch.full_like(found, torch.inf)).clamp(0, 1)
    return low.nan_to_num(nan=0.0), high.nan_to_num(nan=1.0)


def _difference(teacher: Graph, student: Graph, points: Tensor, precise: bool) -> tuple[Tensor, Tensor]:
    """(value, error) of the largest difference of confidences, (b,) each."""
    ours, wrong_ours = _confidences(teacher, points, precise)
    theirs, wrong_theirs = _confidences(student, points, precise)
    return (ours - theirs).abs().amax(1), wrong_ours + wrong_theirs


def _confidences(graph: Graph, points: Tensor, precise: bool) -> tuple[Tensor, Tensor]:
    """Confidences (b, c) and the largest error of any of them (b,)."""
    logits, wrong = logits_and_error(graph, points, precise=precise)
    # a confidence's slopes add up to at most 1/2; its own computation loses a few units a class
    return logits.softmax(1), wrong.amax(1) / 2 + (20 + 10 * logits.shape[1]) * UNIT


def pull_inside(
    points: Float[Tensor, "b ..."], center: Float[Tensor, "b ..."], ball: Ball
) -> Float[Tensor, "b ..."]:
    """The points, float64, moved by a rounding where they might lie outside the ball in real arithmetic."""
    middle = center.double()
    if ball.eps == 0:
        return middle.clone()
    if ball.norm == "linf":
        low, high = torch.nextafter(middle - ball.eps, middle), torch.nextafter(middle + ball.eps, middle)
        return points.double().maximum(low).minimum(high).clamp(ball.low, ball.high)
    moved = (points.double() - middle).flatten(1)
    limit = ball.eps * (1 - 1e-12)
    length = moved.norm(dim=1, keepdim=True)
    shrunk = torch.where(length > limit, moved * (limit / length), moved)
    return (middle + shrunk.reshape(middle.shape)).clamp(ball.low, ball.high)
