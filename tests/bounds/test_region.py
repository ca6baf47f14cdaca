"""The largest value of a linear function on a ball, against the ball's own points."""

from __future__ import annotations

import pytest
import torch

from understudy.attacks.ball import Ball
from understudy.bounds.region import region
from understudy.errors import InputError


def test_box_is_exact_and_cut_with_the_range() -> None:
    points = torch.tensor([[0.05, 0.5, 1.0]], dtype=torch.float64)
    rows = torch.tensor([[[1.0, -2.0, 3.0], [-1.0, 0.0, -1.0]]], dtype=torch.float64)
    found = region(points, Ball(0.1)).maximum(rows, torch.tensor([[10.0, 0.0]], dtype=torch.float64))
    expected = torch.tensor([[0.15 - 0.8 + 3.0 + 10.0, 0.0 - 0.9]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("eps", "middle"), [(0.3, 0.5), (0.8, 0.9)])
def test_euclidean(shared: bool, eps: float, middle: float) -> None:
    generator = torch.Generator().manual_seed(3)
    ball = Ball(eps, norm="l2")
    points = (torch.rand(4, 2, 3, generator=generator, dtype=torch.float64) - 0.5) * 0.2 + middle
    points = points.clamp(0, 1)
    rows = torch.randn(1 if shared else 4, 6, 2, 3, generator=generator, dtype=torch.float64)
    top = region(points, ball).maximum(rows, torch.zeros(len(rows), 6, dtype=torch.float64))
    norms = rows.flatten(2).norm(dim=2)
    dual = (rows * points[:, None]).flatten(2).sum(2) + eps * norms
    box = region(points, Ball(min(eps, 1.0))).maximum(rows, torch.zeros(len(rows), 6, dtype=torch.float64))
    torch.testing.assert_close(top, torch.minimum(dual, box), rtol=0, atol=1e-12)
    delta = torch.randn(2000, 4, 2, 3, generator=generator, dtype=torch.float64)
    around = torch.stack([ball.project(points + step, points) for step in delta])
    values = (around[:, :, None] * rows[None]).flatten(3).sum(3)
    assert (values <= top[None] + 1e-12).all()


def test_the_box_holds_what_a_float32_attack_reaches() -> None:
    points = torch.rand(1, 4096, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ball = Ball(0.1)
    low, high = region(points, ball).box
    lower, upper = ball.box(points)
    assert (low <= lower).all()
    assert (high >= upper).all()
    assert ((upper - lower) - (high - low)).abs().max() < 1e-15


@pytest.mark.parametrize(
    ("value", "words"), [(torch.nan, "NaN or infinite"), (torch.inf, "NaN or infinite"), (1.5, r"\[0, 1\]")]
)
def test_bad_points(value: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        region(torch.full((1, 2), value, dtype=torch.float64), Ball(0.1))
