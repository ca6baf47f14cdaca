"""Targets in which the true class counts more: the numbers, the gradient, where it is lowest, its reductions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from understudy.objectives.adaptive_targets import Form, adaptive_target_loss, adaptive_targets


def logits(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


T = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64)
S = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
Y = torch.tensor([0])


@pytest.mark.parametrize(
    ("eps", "weights", "code", "with_labels", "paper"),
    [
        (1.0, [0.665241, 0.244728, 0.090031], 0.952025, 1.814020, 1.814020),
        (1.5, [1.148897, 0.121067, 0.027014], 1.145002, 2.006997, 2.230929),
        (2.0, [1.773027, 0.059892, 0.008106], 1.595059, 2.457054, 2.768926),
    ],
)
def test_the_worked_numbers(
    eps: float, weights: list[float], code: float, with_labels: float, paper: float
) -> None:
    """Worked out on paper too: 1.665241^1.5 * 0.861995 + 0.244728 * 0.861995 + 0.090031 * 1.861995 = 2.230930."""
    assert adaptive_targets(T, Y, eps)[0].tolist() == pytest.approx(weights, abs=5e-7)
    found = adaptive_target_loss(T, S, Y, eps).item()
    assert found == pytest.approx(code, abs=5e-7)
    assert found + F.cross_entropy(S, Y).item() == pytest.approx(with_labels, abs=5e-7)
    assert adaptive_target_loss(T, S, Y, eps, form="paper").item() == pytest.approx(paper, abs=5e-7)


def by_hand(t: list[float], s: list[float], y: int, eps: float, temperature: float, form: str) -> float:
    """The formula with nothing but floats."""
    p, q = ([math.exp(x / temperature) for x in row] for row in (t, s))
    p, q = [x / sum(p) for x in p], [x / sum(q) for x in q]
    total = 0.0
    for c in range(len(t)):
        m = float(c == y)
        w = (p[c] + m) ** eps - m if form == "code" else (1 + p[c]) ** eps if m else p[c]
        total -= w * math.log(q[c])
    return total


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0.3, 4.0), st.floats(0.5, 5.0), st.sampled_from(["code", "paper"]))
def test_it_is_the_formula_and_blind_to_constants(
    seed: int, eps: float, temperature: float, form: Form
) -> None:
    t, s = logits(3, 4, seed=seed), logits(3, 4, seed=seed + 1)
    labels = torch.tensor([0, 3, seed % 4])
    found = adaptive_target_loss(t, s, labels, eps, temperature, form)
    rows = zip(t.tolist(), s.tolist(), labels.tolist(), strict=True)
    assert found.tolist() == pytest.approx([by_hand(*row, eps, temperature, form) for row in rows], rel=1e-9)
    moved = adaptive_target_loss(t + 3.0, s - 5.0, labels, eps, temperature, form)
    torch.testing.assert_close(moved, found)


@pytest.mark.parametrize("form", ["code", "paper"])
@pytest.mark.parametrize(("eps", "temperature"), [(1.0, 1.0), (1.7, 1.0), (2.0, 3.0)])
def test_the_gradient_is_as_stated_and_none_reaches_the_teacher(
    eps: float, temperature: float, form: Form
) -> None:
    t, s = logits(5, 4).requires_grad_(), logits(5, 4, seed=1).requires_grad_()
    labels = torch.arange(5) % 4
    adaptive_target_loss(t, s, labels, eps, temperature, form).sum().backward()
    w = adaptive_targets(t, labels, eps, temperature, form)
    expected = (w.sum(1, keepdim=True) * (s / temperature).softmax(1) - w) / temperature
    torch.testing.assert_close(s.grad, expected.detach())
    assert t.grad is None


def test_it_is_lowest_at_its_targets() -> None:
    t, labels = logits(6, 4), torch.arange(6) % 4
    w = adaptive_targets(t, labels, 1.6)
    lowest = adaptive_target_loss(t, (w / w.sum(1, keepdim=True)).log(), labels, 1.6)
    for seed in range(20):
        near = w.log() + logits(6, 4, seed=seed, scale=0.3)
        assert (adaptive_target_loss(t, near, labels, 1.6) >= lowest).all()
    assert (adaptive_target_loss(t, t, labels, 1.6) > lowest).all()


def test_at_one_it_is_the_cross_entropy_to_the_teachers_confidences() -> None:
    t, s, labels = logits(7, 4), logits(7, 4, seed=1), torch.arange(7) % 4
    torch.testing.assert_close(
        adaptive_target_loss(t, s, labels), F.cross_entropy(s, t.softmax(1), reduction="none")
    )


@pytest.mark.parametrize("eps", [1.0, 1.4, 2.5])
def test_the_code_with_labels_differs_from_the_paper_in_the_other_classes_alone(eps: float) -> None:
    t, s, labels = logits(7, 4), logits(7, 4, seed=1), torch.arange(7) % 4
    with_labels = adaptive_targets(t, labels, eps) + F.one_hot(labels, 4)
    p, own = t.softmax(1), F.one_hot(labels, 4).bool()
    paper = adaptive_targets(t, labels, eps, form="paper")
    torch.testing.assert_close(with_labels[own], paper[own])
    torch.testing.assert_close(with_labels[~own], p[~own] ** eps)
    torch.testing.assert_close(paper[~own], p[~own])
    if eps == 1.0:
        loss = F.cross_entropy(s, labels, reduction="none") + adaptive_target_loss(t, s, labels)
        torch.testing.assert_close(adaptive_target_loss(t, s, labels, form="paper"), loss)


def test_a_higher_exponent_raises_the_label_and_lowers_the_rest() -> None:
    t, labels = logits(7, 4), torch.arange(7) % 4
    own = F.one_hot(labels, 4).bool()
    low, high = adaptive_targets(t, labels, 1.0), adaptive_targets(t, labels, 1.5)
    assert (high[own] > low[own]).all()
    assert (high[~own] < low[~own]).all()


def test_certain_models_and_half_precision() -> None:
    sure = torch.tensor([[1e4, 0.0, -1e4]])
    for form in ("code", "paper"):
        for label in range(3):
            value = adaptive_target_loss(sure, sure.flip(1), torch.tensor([label]), 3.0, form=form)
            assert value.isfinite().all()
    t, s, labels = logits(5, 4).bfloat16(), logits(5, 4, seed=1).bfloat16(), torch.arange(5) % 4
    found = adaptive_target_loss(t, s, labels, 1.5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, adaptive_target_loss(t.float(), s.float(), labels, 1.5))


def test_a_label_that_the_teacher_thinks_impossible_keeps_its_small_weight() -> None:
    """(1 + p)^eps - 1 is eps p for a small p, of which 1 + p - 1 in float32 would leave nothing."""
    t = torch.tensor([[30.0, 0.0]])
    weight = adaptive_targets(t, torch.tensor([1]), 2.0)[0, 1].item()
    assert weight == pytest.approx(2 * math.exp(-30), rel=1e-4)
