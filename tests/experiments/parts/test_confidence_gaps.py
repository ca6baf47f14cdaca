"""Bounds of the worst difference in confidence, by radius: the worked example, and what must hold of any pair."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from understudy.attacks import Ball
from understudy.bounds import PairBounds
from understudy.errors import InputError, SoundnessError
from understudy.experiments.parts import confidence_gaps
from understudy.experiments.parts.confidence_gaps import Known, accuracy_under_attack, gaps_around
from understudy.fidelity.emplb import GapAttack, Pair
from understudy.testing import TINY_SHAPE, tiny_mlp

ATTACK = GapAttack(20, 1, 2)


def linear(scale: float) -> nn.Sequential:
    """x -> scale * x, of two numbers."""
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(scale * torch.eye(2))
    return nn.Sequential(nn.Flatten(), layer).eval()


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def balls(*radii: float) -> list[Ball]:
    return [Ball(eps, "linf", 0.0, 1.0) for eps in radii]


def known(teacher: nn.Module, student: nn.Module, points: torch.Tensor, *radii: float) -> list[Known]:
    engine = PairBounds(teacher, student, tuple(points.shape[1:]))
    return gaps_around(Pair(teacher, student), engine, points, balls(*radii), ATTACK, seed=0)


def test_two_classes_by_hand() -> None:
    """z_t = x, z_s = 2x around (0.6, 0.4): the worst point is a corner, and UB2 is tanh(0.1)."""
    clean, around = known(linear(1.0), linear(2.0), torch.tensor([[0.6, 0.4]]), 0.0, 0.1)
    assert (
        float(clean.lower)
        == pytest.approx(sigmoid(0.4) - sigmoid(0.2), abs=1e-7)
        == pytest.approx(0.048854, abs=1e-6)
    )
    assert float(clean.upper) == pytest.approx(float(clean.lower), abs=1e-9)
    assert (
        float(around.lower)
        == pytest.approx(sigmoid(0.8) - sigmoid(0.4), abs=1e-6)
        == pytest.approx(0.091287, abs=1e-6)
    )
    assert float(around.lower) <= float(around.upper) <= math.tanh(0.1) + 1e-9
    assert (clean.met(1e-6), around.met(1.0), around.met(1e-9)) == (1.0, 1.0, 0.0)


def test_order_and_growth() -> None:
    points = torch.rand(6, *TINY_SHAPE, generator=torch.Generator().manual_seed(0))
    found = known(tiny_mlp(seed=1), tiny_mlp(seed=2), points, 0.0, 0.02, 0.05, 0.1)
    assert [one.eps for one in found] == [0.0, 0.02, 0.05, 0.1]
    for one in found:
        assert bool((one.lower <= one.upper + 1e-9).all())
        assert float(one.lower.min()) >= 0
        assert float(one.upper.max()) <= 1
    for smaller, larger in pairwise(found):
        assert bool((smaller.lower <= larger.lower).all())
    own = known(tiny_mlp(seed=1), tiny_mlp(seed=1), points, 0.0, 0.1)
    assert float(own[1].lower.max()) == 0.0


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    points = torch.full((1, 2), 0.5)
    with pytest.raises(InputError, match=r"radii must ascend, found \[0\.1, 0\.1\]"):
        known(linear(1.0), linear(2.0), points, 0.1, 0.1)
    with pytest.raises(InputError, match="found none"):
        known(linear(1.0), linear(2.0), points[:0], 0.1)
    monkeypatch.setattr(
        confidence_gaps, "emp_lb", lambda pair, center, *_: (center, torch.ones(len(center)).double())
    )
    with pytest.raises(SoundnessError, match=r"radius 0\.1"):
        known(linear(1.0), linear(2.0), points, 0.1)


def test_accuracy_under_attack() -> None:
    """The class of (0.6, 0.4) turns once the ball reaches past the diagonal."""
    points, labels = torch.tensor([[0.6, 0.4], [0.9, 0.1]]), torch.tensor([0, 0])
    for eps, right in ((0.0, 1.0), (0.05, 1.0), (0.2, 0.5), (0.45, 0.0)):
        assert accuracy_under_attack(linear(3.0), points, labels, balls(eps)[0], 0) == right
