"""Projection: into the ball and the range, and no further than needed."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.attacks import Ball
from understudy.errors import InputError

TINY = 1e-6  # rounding of float32 around values of order 1


def draw(seed: int, spread: float) -> tuple[Tensor, Tensor]:
    """(center in [0, 1], point around it), three examples of shape (2, 3)."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(3, 2, 3, generator=generator)
    center = torch.where(center < 0.2, 0.0, center)  # some on the edge of the range
    return center, center + spread * torch.randn(3, 2, 3, generator=generator)


cases = given(
    seed=st.integers(0, 10_000), eps=st.floats(0.0, 1.0), spread=st.sampled_from([0.0, 1e-3, 0.3, 30.0])
)


@cases
@settings(max_examples=60, deadline=None)
def test_linf_projection_is_the_nearest_point_of_the_box(seed: int, eps: float, spread: float) -> None:
    center, point = draw(seed, spread)
    ball = Ball(eps)
    found = ball.project(point, center)
    for i in range(point.numel()):  # number by number, in Python floats
        c, p = center.flatten()[i].item(), point.flatten()[i].item()
        expected = min(max(p, c - eps, 0.0), c + eps, 1.0)
        assert found.flatten()[i].item() == pytest.approx(expected, abs=TINY)
    assert torch.equal(ball.project(found, center), found)
    lower, upper = ball.box(center)
    assert ((found >= lower) & (found <= upper)).all()


@cases
@settings(max_examples=60, deadline=None)
def test_l2_projection_lies_in_ball_and_range(seed: int, eps: float, spread: float) -> None:
    center, point = draw(seed, spread)
    found = Ball(eps, "l2").project(point, center)
    assert ((found - center).flatten(1).norm(dim=1) <= eps + TINY).all()
    assert ((found >= 0) & (found <= 1)).all()
    again = Ball(eps, "l2").project(found, center)
    torch.testing.assert_close(again, found, rtol=0, atol=TINY)


@cases
@settings(max_examples=60, deadline=None)
def test_l2_projection_without_a_range_is_radial(seed: int, eps: float, spread: float) -> None:
    center, point = draw(seed, spread)
    found = Ball(eps, "l2", -math.inf, math.inf).project(point, center)
    for c, p, f in zip(center, point, found, strict=True):
        far = (p - c).norm().item()
        expected = p if far <= eps else c + (p - c) * (eps / far)
        torch.testing.assert_close(f, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_point_inside_stays_exactly_where_it_is(norm: str) -> None:
    center, _ = draw(0, 0.0)
    point = (center + 0.01).clamp(0, 1)
    assert torch.equal(Ball(0.5, norm).project(point, center), point)
    assert torch.equal(Ball(0.0, norm).project(point, center), center)


def test_a_step_is_steepest_under_its_norm() -> None:
    gradient = torch.tensor([[3.0, 0.0, -4.0], [0.0, 0.0, 0.0]])
    point = torch.full((2, 3), 0.5)
    linf, l2 = (Ball(1.0, norm).step(point, gradient, 0.1) - point for norm in ("linf", "l2"))
    torch.testing.assert_close(linf, torch.tensor([[0.1, 0.0, -0.1], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(l2, torch.tensor([[0.06, 0.0, -0.08], [0.0, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ("eps", "norm", "message"),
    [
        (-0.1, "linf", "0 or more, found -0.1"),
        (math.nan, "linf", "finite number, 0 or more, found nan"),
        (math.inf, "l2", "found inf"),
        (1.5, "linf", r"eps 1.5 is larger than the whole input range \[0, 1\]"),
    ],
)
def test_a_radius_that_means_nothing_is_refused(eps: float, norm: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Ball(eps, norm)


def test_an_l2_radius_may_exceed_the_range() -> None:
    assert Ball(1.5, "l2").eps == 1.5
