"""What is known of the worst difference in confidence around a few points: EmpLB below, FaithUB above, by radius.

    EmpLB(x) <= D(x, eps) = max over the ball and classes of |softmax(t(x'))_k - softmax(s(x'))_k| <= FaithUB(x)

(Lamb et al., arXiv 2306.04431). An audit says the same and more; this is the part that an experiment with many pairs
can pay for: the attack is the caller's to choose, and a teacher is read by the bounds once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.attacks import Ball
from understudy.bounds import PairBounds
from understudy.data.randomness import Randomness
from understudy.errors import InputError, SoundnessError
from understudy.fidelity.emplb import GapAttack, Pair, emp_lb, worst_for_model

SLACK = 1e-9  # of the order of both, which are rounded each on its own
ATTACK_STEPS = 20  # of the attack on a model's own loss


@dataclass(frozen=True, eq=False)
class Known:
    """Lower and upper bounds (P,) of D, in [0, 1], at one radius."""

    eps: float
    lower: Float[Tensor, " p"]
    upper: Float[Tensor, " p"]

    def met(self, tolerance: float) -> float:
        """Share of the points whose bounds lie at most `tolerance` apart."""
        return float((self.upper - self.lower <= tolerance).double().mean())


def gaps_around(
    pair: Pair,
    engine: PairBounds,
    points: Float[Tensor, "p ..."],
    balls: Sequence[Ball],
    attack: GapAttack,
    seed: int,
) -> list[Known]:
    """The bounds around each point, a ball at a time.

    Args:
        engine: upper bounds of the same pair.
        balls: by ascending radius; each attack starts from what the one before it found, too.

    Raises:
        InputError: no point, or radii that do not ascend.
        SoundnessError: a lower bound above an upper one.
    """
    if not len(points):
        raise InputError("bounds are of one point at least, found none")
    if any(one.eps >= other.eps for one, other in pairwise(balls)):
        raise InputError(f"radii must ascend, found {[ball.eps for ball in balls]}")
    found, warm, random = [], None, Randomness(seed)
    for place, ball in enumerate(balls):
        random.begin(place)
        warm, lower = emp_lb(pair, points, ball, attack, random, warm)
        upper = torch.tensor([one.upper for one in engine.bound(points, ball)], dtype=torch.float64)
        if bool((lower.cpu() > upper + SLACK).any()):
            raise SoundnessError(f"attack and bound contradict each other at radius {ball.eps:g}")
        found.append(Known(ball.eps, lower.cpu(), upper))
    return found


def accuracy_under_attack(
    model: nn.Module, points: Float[Tensor, "p ..."], labels: Int[Tensor, " p"], ball: Ball, seed: int
) -> float:
    """Share of the points whose class survives an attack on the model's own loss, from two starts."""
    random = Randomness(seed)
    random.begin(0)
    found = worst_for_model(model, points, labels, ball, ATTACK_STEPS, random)
    with torch.no_grad():
        return float((model(found).argmax(1) == labels).double().mean())
