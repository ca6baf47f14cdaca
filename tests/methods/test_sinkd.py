"""Sinkhorn's plan against exact transport, and what SinKD cannot tell apart."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

import understudy as us
from understudy.objectives.transport import sinkhorn_cost, sinkhorn_plan


def logits(seed: int, rows: int = 6, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, 5, generator=generator, dtype=torch.float64)


def costs(t: Tensor, s: Tensor) -> Tensor:
    return (s.softmax(1)[:, None] - t.softmax(1)[None]).abs().sum(-1)


def test_columns_sum_to_one_and_rows_come_to_it() -> None:
    cost = costs(logits(0), logits(1))
    off = []
    for iterations in (1, 5, 20, 200):
        plan = sinkhorn_plan(cost, 0.5, iterations)
        torch.testing.assert_close(plan.sum(0), torch.ones(6, dtype=torch.float64), rtol=0, atol=1e-12)
        off.append((plan.sum(1) - 1).abs().max().item())
    assert off == sorted(off, reverse=True)
    assert off[-1] < 1e-6 < off[0]


def test_the_plan_is_that_of_the_plain_iterations() -> None:
    """The released code's: not in log space."""
    cost = costs(logits(0), logits(1))
    plan = torch.exp(-cost / 0.1)
    for _ in range(20):
        plan = plan / plan.sum(1, keepdim=True)
        plan = plan / plan.sum(0, keepdim=True)
    torch.testing.assert_close(sinkhorn_plan(cost, 0.1, 20), plan, rtol=1e-9, atol=1e-12)


def test_without_blur_it_is_the_best_assignment() -> None:
    t, s = logits(0), logits(1)
    cost = costs(t, s)
    best = min(
        sum(cost[i, j].item() for i, j in enumerate(order)) for order in itertools.permutations(range(6))
    )
    assert sinkhorn_cost(t, s, blur=1e-3, iterations=2000).sum().item() == pytest.approx(best, rel=1e-4)
    assert best < cost.trace().item()  # the pairing by examples is not the cheapest here


def test_with_much_blur_all_are_mixed() -> None:
    t, s = logits(0), logits(1)
    torch.testing.assert_close(sinkhorn_cost(t, s, blur=1e6), costs(t, s).mean(1), rtol=1e-5, atol=0.0)


def test_one_example_is_twice_the_total_variation() -> None:
    t, s = logits(0, 1), logits(1, 1)
    torch.testing.assert_close(sinkhorn_cost(t, s)[0], costs(t, s)[0, 0])


def test_the_teachers_order_plays_no_part() -> None:
    t, s = logits(0), logits(1)
    plain = sinkhorn_cost(t, s)
    torch.testing.assert_close(sinkhorn_cost(t.flip(0), s), plain, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(sinkhorn_cost(t, s.flip(0)), plain.flip(0), rtol=1e-9, atol=1e-12)
    classes = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(sinkhorn_cost(t[:, classes], s[:, classes]), plain)
    torch.testing.assert_close(sinkhorn_cost(t + 3.0, s - 2.0), plain)


def test_equal_batches_cost_little_and_nothing_without_blur() -> None:
    t = logits(0)
    found = [sinkhorn_cost(t, t, blur=blur).sum().item() for blur in (0.3, 0.1, 0.02, 0.002)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 1e-2
    assert found[-1] < 1e-12


def test_certain_and_apart_is_two_and_finite() -> None:
    t, s = torch.zeros(3, 5), torch.zeros(3, 5)
    t[:, 0], s[:, 1] = 1e4, 1e4
    s.requires_grad_(True)
    values = sinkhorn_cost(t, s, 2.0)
    torch.testing.assert_close(values, torch.full((3,), 2.0))
    assert torch.autograd.grad(values.sum(), s)[0].isfinite().all()


def test_the_gradient_is_right_and_none_goes_to_the_teacher() -> None:
    t, s = logits(0, 3, 1.0).requires_grad_(True), logits(1, 3, 1.0).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: sinkhorn_cost(t.detach(), x, 2.0), s)
    assert torch.autograd.grad(sinkhorn_cost(t, s).sum(), t, allow_unused=True) == (None,)


def test_what_cannot_be_used_is_named() -> None:
    with pytest.raises(us.InputError, match="blur above 0 and an iteration"):
        sinkhorn_plan(torch.zeros(2, 2), 0.0, 20)
    with pytest.raises(us.InputError, match="temperature must be above 0"):
        sinkhorn_cost(logits(0), logits(1), 0.0)
    with pytest.raises((us.InputError, TypeError)):
        sinkhorn_cost(logits(0), logits(1)[:4])
