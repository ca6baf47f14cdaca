"""What is known of D at each point of a case: an enclosure, and what millions of points reach."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import torch
from torch import Tensor, nn

from soundness.cases import CASES, Case
from soundness.oracle import Enclosure, enclose
from soundness.reference import Program, exact_gap, read
from understudy.attacks.ball import Ball


@dataclass(frozen=True, eq=False)
class Truth:
    """One point of a case.

    Attributes:
        low, high: the ball's box (n,), inside the ball in exact arithmetic.
        near_low, near_high: the box as float64 computes it, at most one unit in the last place larger, which the
            bounds speak of as well, so that an attack's points lie in it.
        reached: the largest exact gap at any point that was tried, an mpmath number: D is no less.
        witness: where, (n,).
        samples: points of the ball where the classes of both networks are compared.
        enclosure: of D, where the case has few enough inputs and kinks.
    """

    low: np.ndarray
    high: np.ndarray
    near_low: np.ndarray
    near_high: np.ndarray
    reached: mpmath.mpf
    witness: np.ndarray
    samples: Tensor
    enclosure: Enclosure | None


@cache
def programs(name: str) -> tuple[Case, Program, Program]:
    """A case and its networks as the reference reads them."""
    case = CASES[name]()
    return case, read(case.teacher, case.shape)[0], read(case.student, case.shape)[0]


@cache
def truths(name: str, scale: int) -> list[Truth]:
    """Per point of the case; `scale` multiplies the number of points tried."""
    case, teacher, student = programs(name)
    return [truth(case, teacher, student, x, index, scale) for index, x in enumerate(case.points)]


def truth(case: Case, teacher: Program, student: Program, x: Tensor, seed: int, scale: int) -> Truth:
    low, high = exact_box(x, case.ball)
    generator = torch.Generator().manual_seed(seed)
    tried = attack(case.teacher, case.student, x, low, high, generator, 8000 * scale)
    enclosure = None
    best = [*tried]
    if case.enclosed:
        enclosure = enclose(teacher, student, low, high, cells=12_000 * scale)
        best.append(enclosure.witness)
    reached, at = max(((exact_gap(teacher, student, point), i) for i, point in enumerate(best)))
    samples = _spread(x, low, high, 500, generator)
    near = [side.reshape(-1).numpy() for side in case.ball.box(x)]
    return Truth(
        low, high, np.minimum(near[0], low), np.maximum(near[1], high), reached, best[at], samples, enclosure
    )


def exact_box(x: Tensor, ball: Ball) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest float64 numbers that lie in the ball, coordinate by coordinate, without rounding."""
    flat = x.reshape(-1).tolist()
    low, high = [], []
    for value in flat:
        for found, sign, end in ((low, -1, ball.low), (high, 1, ball.high)):
            limit = Fraction(value) + sign * Fraction(ball.eps)
            number = float(limit)
            if sign * (Fraction(number) - limit) > 0:
                number = float(np.nextafter(number, value))
            found.append(max(number, end) if sign < 0 else min(number, end))
    return np.array(low), np.array(high)


def gaps(teacher: nn.Module, student: nn.Module, points: Tensor) -> Tensor:
    """max_k |p_t,k - p_s,k| in float64."""
    return (teacher(points).softmax(1) - student(points).softmax(1)).abs().amax(1)


def _spread(x: Tensor, low: np.ndarray, high: np.ndarray, count: int, generator: torch.Generator) -> Tensor:
    """Uniform points, corners, points of the edges, and x itself."""
    bottom, top = (torch.from_numpy(side).view(x.shape) for side in (low, high))
    share = torch.rand(count, *x.shape, generator=generator, dtype=torch.float64)
    cornered = torch.rand(count, *x.shape, generator=generator) < 0.5
    share = torch.where(
        cornered & (torch.arange(count).view(-1, *[1] * x.dim()) % 2 == 0), share.round(), share
    )
    share[: count // 8] = share[: count // 8].round()
    found = bottom + share * (top - bottom)
    found[0] = x
    return torch.minimum(torch.maximum(found, bottom), top)


def attack(
    teacher: nn.Module,
    student: nn.Module,
    x: Tensor,
    low: np.ndarray,
    high: np.ndarray,
    generator: torch.Generator,
    count: int,
    keep: int = 4,
) -> list[np.ndarray]:
    """The best points found at random, at corners, and by signed gradients from the best of these."""
    bottom, top = (torch.from_numpy(side).view(x.shape) for side in (low, high))
    points = _spread(x, low, high, count, generator)
    values = gaps(teacher, student, points).nan_to_num(nan=-1.0)
    order = values.argsort(descending=True)[:128]
    climbing, pool, scores = points[order], [points[order[:keep]]], [values[order[:keep]]]
    width = top - bottom
    for step in (0.5, 0.25, 0.1, 0.1, 0.05, 0.05, 0.02, 0.01, 0.005, 0.002):
        climbing = climbing.detach().requires_grad_()
        with torch.enable_grad():
            found = gaps(teacher, student, climbing)
            (gradient,) = torch.autograd.grad(found.sum(), climbing)
        moved = climbing.detach() + step * width * gradient.sign()
        climbing = torch.minimum(torch.maximum(moved, bottom), top)
        now = gaps(teacher, student, climbing).nan_to_num(nan=-1.0)
        best = now.argsort(descending=True)[:keep]
        pool.append(climbing[best])
        scores.append(now[best])
    every, score = torch.cat(pool), torch.cat(scores)
    return [every[i].reshape(-1).numpy() for i in score.argsort(descending=True)[:keep]]
