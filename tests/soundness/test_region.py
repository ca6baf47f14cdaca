"""What is said of the inputs themselves holds on the ball in exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from understudy.attacks.ball import Ball
from understudy.bounds.graph import Graph, Input, Node
from understudy.bounds.interval import interval_bounds
from understudy.bounds.ops import Linear
from understudy.bounds.region import region

EPS = (1e-300, 1e-17, 1e-9, 0.01, 0.1, 1 / 3, 0.3, 0.5, 0.9999)
RANGES = ((0.0, 1.0), (-1.0, 1.0), (-2.1179, 2.64), (0.3, 7.1))


@pytest.mark.parametrize("limits", RANGES)
@pytest.mark.parametrize("eps", EPS)
def test_bounds_hold_on_the_ball(eps: float, limits: tuple[float, float]) -> None:
    """Of x and of -x, by linear functions and by interval arithmetic, over 3,000 balls of one number."""
    low, high = limits
    generator = torch.Generator().manual_seed(0)
    x = low + (high - low) * torch.rand(3000, 1, generator=generator, dtype=torch.float64)
    x[0, 0], x[1, 0] = low, high
    x = x.clamp(low, high)
    here = region(x, Ball(eps, low=low, high=high))
    signs = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    linear = here.maximum(signs[None], torch.zeros(1, 2, dtype=torch.float64))
    nodes = (Node(Input(), (), (1,), "input"), Node(Linear(signs), (0,), (2,), "0"))
    _, interval = interval_bounds(Graph(nodes, torch.float64, torch.device("cpu")), here)[-1]
    for found in (linear, interval):
        short = Fraction(-1)
        for value, (most, least) in zip(x[:, 0].tolist(), found.tolist(), strict=True):
            bottom = max(Fraction(value) - Fraction(eps), Fraction(low))
            top = min(Fraction(value) + Fraction(eps), Fraction(high))
            short = max(short, top - Fraction(most), -bottom - Fraction(least))
        assert short <= 0, float(short)


def test_a_point_stays_a_point() -> None:
    x = torch.rand(1, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    here = region(x, Ball(0.0))
    assert bool((here.middle == x).all())
    assert bool((here.radius == 0).all())
