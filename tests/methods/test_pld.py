"""Where PLD meets cross-entropy and ListMLE, and what it keeps and loses."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import understudy as us
from understudy.methods.logits.pld import pld_loss
from understudy.objectives.ranking import label_first_order, ranking_loss


def logits(seed: int, rows: int = 8, classes: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


LABELS = torch.arange(8) % 6


def test_values_are_those_of_a_loop_over_the_draws() -> None:
    t, s = logits(0), logits(1)
    for row in range(8):
        label = int(LABELS[row])
        order = [label, *sorted((c for c in range(6) if c != label), key=lambda c, r=row: -t[r, c])]
        weights = (t[row] / 4).softmax(0)
        value = 0.0
        for k, chosen in enumerate(order):
            left = math.log(sum(math.exp(s[row, c]) for c in order[k:]))
            value += weights[chosen].item() * (left - s[row, chosen].item())
        assert pld_loss(t, s, LABELS, 4.0)[row].item() == pytest.approx(value, rel=1e-12)


def test_a_teacher_certain_of_the_label_gives_cross_entropy() -> None:
    sure, s = 1000 * F.one_hot(LABELS, 6).double(), logits(1)
    torch.testing.assert_close(pld_loss(sure, s, LABELS), F.cross_entropy(s, LABELS, reduction="none"))


def test_equal_weights_give_list_mle() -> None:
    """The likelihood of a whole order is the product of its draws: summed over all orders it is 1."""
    s, total = logits(1, 1, 4), 0.0
    for order in torch.cartesian_prod(*[torch.arange(4)] * 4).tolist():
        if sorted(order) == [0, 1, 2, 3]:
            ones = torch.ones(1, 4, dtype=torch.float64)
            total += math.exp(-ranking_loss(s, torch.tensor([order]), ones).item())
    assert total == pytest.approx(1.0, rel=1e-12)


def test_two_classes_are_cross_entropy_weighed_by_the_teachers_trust() -> None:
    t, s, labels = logits(0, 8, 2), logits(1, 8, 2), torch.arange(8) % 2
    trust = t.softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(pld_loss(t, s, labels), trust * F.cross_entropy(s, labels, reduction="none"))


def test_it_bounds_the_weighed_cross_entropy_and_is_convex() -> None:
    t, a, b = logits(0), logits(1), logits(2)
    trust = t.softmax(1).gather(1, LABELS[:, None])[:, 0]
    assert (pld_loss(t, a, LABELS) >= trust * F.cross_entropy(a, LABELS, reduction="none")).all()
    middle = pld_loss(t, 0.3 * a + 0.7 * b, LABELS)
    assert (middle < 0.3 * pld_loss(t, a, LABELS) + 0.7 * pld_loss(t, b, LABELS)).all()


def test_constants_play_no_part_and_scale_does() -> None:
    t, s = logits(0), logits(1)
    plain = pld_loss(t, s, LABELS)
    torch.testing.assert_close(pld_loss(t - 4.0, s + 7.0, LABELS), plain)
    assert (pld_loss(t, 2 * s, LABELS) - plain).abs().min() > 1e-3


def test_the_gradient_is_as_derived_and_sums_to_nothing() -> None:
    t, s = logits(0), logits(1).requires_grad_(True)
    (found,) = torch.autograd.grad(pld_loss(t, s, LABELS).sum(), s)
    order = label_first_order(t, LABELS)
    weights = t.softmax(1).gather(1, order)
    expected = torch.zeros_like(found)
    for k in range(6):
        left = order[:, k:]
        expected.scatter_add_(1, left, weights[:, k : k + 1] * s.detach().gather(1, left).softmax(1))
        expected.scatter_add_(1, order[:, k : k + 1], -weights[:, k : k + 1])
    torch.testing.assert_close(found, expected)
    assert found.sum(1).abs().max() < 1e-14


def test_it_falls_to_nothing_as_the_gaps_grow() -> None:
    t = logits(0)
    places = label_first_order(t, LABELS).argsort(1).double()
    values = [pld_loss(t, -gap * places, LABELS).max().item() for gap in (0.0, 1.0, 5.0, 50.0)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 1e-20 < values[-2]


def test_ties_are_broken_by_number_and_many_classes_keep_their_digits() -> None:
    assert label_first_order(torch.zeros(1, 4), torch.tensor([2])).tolist() == [[2, 0, 1, 3]]
    t, s, labels = logits(0, 4, 1000), logits(1, 4, 1000), torch.tensor([0, 9, 99, 999])
    found = pld_loss(t.bfloat16(), s.bfloat16(), labels)
    expected = pld_loss(t.bfloat16().double(), s.bfloat16().double(), labels)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


def test_shapes_that_do_not_fit_are_refused() -> None:
    order = label_first_order(logits(0), LABELS)
    with pytest.raises((us.InputError, TypeError)):
        label_first_order(logits(0), LABELS[:3])
    with pytest.raises((us.InputError, TypeError)):
        ranking_loss(logits(0), order, logits(0)[:, :3])
