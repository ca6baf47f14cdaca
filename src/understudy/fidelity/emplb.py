"""EmpLB: the largest difference in confidence that an attack can find, a lower bound on

    D(x, eps) = max over x' in B(x), classes k of |softmax(t(x'))_k - softmax(s(x'))_k|     in [0, 1]

(Lamb et al., arXiv 2306.04431). The attack climbs the gap itself, also for each class and sign by itself, and the
divergence; the search runs in the models' precision, every value returned is the gap in float64 at a point that lies
in the ball in float64.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.attacks import Ascent, Ball, climb, start_point
from understudy.data.randomness import Randomness
from understudy.models.look import logits_of
from understudy.objectives.divergences import cross_entropy, kl, max_gap

ROWS = 4096  # points that are climbed at once


@dataclass(frozen=True)
class GapAttack:
    """How hard EmpLB is searched.

    Attributes:
        steps: steps of an ascent, each an eighth of the radius.
        restarts: random starts besides the center and the witness of a smaller radius.
        classes: a targeted ascent for each sign of this many classes, the most confident ones first; 0 for none.
    """

    steps: int = 40
    restarts: int = 2
    classes: int = 10


class Pair:
    """Teacher and student, in their own precision for searching and in float64 for what is reported."""

    def __init__(self, teacher: nn.Module, student: nn.Module) -> None:
        self.teacher, self.student = teacher, student
        self.exact_teacher = copy.deepcopy(teacher).double()
        self.exact_student = copy.deepcopy(student).double()

    def logits(self, inputs: Float[Tensor, "b ..."]) -> tuple[Float[Tensor, "b c"], Float[Tensor, "b c"]]:
        """Both models' logits; float64 inputs are answered by the float64 copies."""
        if inputs.dtype == torch.float64:
            return logits_of(self.exact_teacher(inputs)), logits_of(self.exact_student(inputs))
        return logits_of(self.teacher(inputs)), logits_of(self.student(inputs))

    @torch.no_grad()
    def exact_logits(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Both models' float64 logits, in portions: (B, C) each."""
        parts = [self.logits(part.double()) for part in inputs.split(512)]
        return torch.cat([t for t, _ in parts]), torch.cat([s for _, s in parts])


def emp_lb(
    pair: Pair,
    center: Float[Tensor, "b ..."],
    ball: Ball,
    attack: GapAttack,
    random: Randomness,
    warm: Float[Tensor, "b ..."] | None = None,
) -> tuple[Float[Tensor, "b ..."], Float[Tensor, " b"]]:
    """(witness, lower): a float64 point of the ball an example and the gap there, in [0, 1].

    Args:
        warm: float64 witnesses of a smaller radius around the same centers. The result is never below the gap
            there, so that EmpLB does not decrease in eps.
    """
    exact_center = center.double()
    best = exact_center if warm is None else warm
    best_gap = max_gap(*pair.exact_logits(best))
    if ball.eps == 0:
        return best, best_gap

    def offer(found: Tensor) -> None:
        nonlocal best, best_gap
        point = ball.project(found.double(), exact_center)
        gap = max_gap(*pair.exact_logits(point))
        better = gap > best_gap
        best = torch.where(better.view(-1, *[1] * (best.dim() - 1)), point, best)
        best_gap = torch.where(better, gap, best_gap)

    for found in _candidates(pair, center, ball, attack, random, warm):
        offer(found)
    polish = Ascent(attack.steps // 2, ball.eps / 30, keep="best")
    start = ball.project(best.to(center.dtype), center)
    offer(climb(lambda x: max_gap(*pair.logits(x)), start, center, ball, polish)[0])
    return best, best_gap


def _candidates(
    pair: Pair, center: Tensor, ball: Ball, attack: GapAttack, random: Randomness, warm: Tensor | None
) -> list[Tensor]:
    """End points of all ascents, each (B, ...)."""
    ascent = Ascent(attack.steps, ball.eps / 8, keep="best")

    def gap(point: Tensor) -> Tensor:
        return max_gap(*pair.logits(point))

    def divergence(point: Tensor) -> tuple[Tensor, Tensor]:
        teacher, student = pair.logits(point)
        return kl(teacher, student), max_gap(teacher, student)

    starts = [center if warm is None else ball.project(warm.to(center.dtype), center)]
    starts += [start_point(center, ball, "uniform", random) for _ in range(attack.restarts)]
    found = [climb(gap, start, center, ball, ascent)[0] for start in starts]
    found.append(climb(divergence, start_point(center, ball, "uniform", random), center, ball, ascent)[0])
    if attack.classes:
        found += _targeted(
            pair, center, ball, replace(ascent, steps=attack.steps // 2), attack.classes, random
        )
    return found


def _targeted(
    pair: Pair, center: Tensor, ball: Ball, ascent: Ascent, classes: int, random: Randomness
) -> list[Tensor]:
    """An ascent of +(p_t - p_s)_k and one of -(p_t - p_s)_k for the classes most confident at the center."""
    with torch.no_grad():
        teacher, student = pair.logits(center)
    confidence = torch.maximum(teacher.softmax(1), student.softmax(1))
    chosen = confidence.topk(min(classes, confidence.shape[1]), dim=1).indices  # (B, K)
    start = start_point(center, ball, "uniform", random)
    ends = []
    per_pass = max(1, ROWS // (2 * chosen.shape[1]))
    for rows in torch.arange(len(center)).split(per_pass):
        count = 2 * chosen.shape[1]
        target = torch.cat([chosen[rows], chosen[rows]], 1).flatten()  # (b * 2K,)
        sign = torch.ones(len(rows), count)
        sign[:, count // 2 :] = -1
        sign = sign.flatten().to(center)
        middle = center[rows].repeat_interleave(count, 0)

        def one_class(point: Tensor, target: Tensor = target, sign: Tensor = sign) -> tuple[Tensor, Tensor]:
            difference = torch.sub(*(logits.softmax(1) for logits in pair.logits(point)))
            wanted = sign * difference.gather(1, target[:, None])[:, 0]
            return wanted, difference.abs().amax(1)

        end, value = climb(one_class, start[rows].repeat_interleave(count, 0), middle, ball, ascent)
        assert value is not None
        first = value.view(len(rows), count).argmax(1) + count * torch.arange(len(rows), device=value.device)
        ends.append(end[first])
    return [torch.cat(ends)]


def worst_for_model(
    model: nn.Module,
    center: Float[Tensor, "b ..."],
    labels: Tensor,
    ball: Ball,
    steps: int,
    random: Randomness,
) -> Float[Tensor, "b ..."]:
    """The point that drives one model's own cross-entropy to `labels` highest, from the center and a random start.

    The center is among the points compared, so that the attack never ends below the clean loss.
    """

    def loss(point: Tensor) -> Tensor:
        return cross_entropy(logits_of(model(point)), labels)

    if ball.eps == 0:
        return center
    ascent = Ascent(steps, ball.eps / 8, keep="best")
    found, value = climb(loss, center, center, ball, ascent)
    other, rated = climb(loss, start_point(center, ball, "uniform", random), center, ball, ascent)
    assert value is not None
    assert rated is not None
    return torch.where((rated > value).view(-1, *[1] * (center.dim() - 1)), other, found)
