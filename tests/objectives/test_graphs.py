from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from torch import Tensor

from understudy.errors import InputError
from understudy.objectives.divergences import kl
from understudy.objectives.graphs import high_frequency, low_frequency, neighbour_mean

PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
TEACHER = torch.tensor([[2.0, 0], [0, 1], [1, 1]], dtype=torch.float64)
STUDENT = torch.tensor([[1.0, 0], [0, 0], [0, 1]], dtype=torch.float64)


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum()


def divergence(p: np.ndarray, q: np.ndarray) -> float:
    return float((p * np.log(p / q)).sum())


def by_hand(t: Tensor, s: Tensor, edges: Tensor, tau: float) -> tuple[float, float]:
    """Both losses by loops over edges, in numpy."""
    a, b, pairs = t.numpy(), s.numpy(), list(map(tuple, edges.T.tolist()))
    low = [divergence(softmax(a[j]), softmax(b[i])) for i, j in [*pairs, *((n, n) for n in range(len(a)))]]
    high = [divergence(softmax(abs(a[i] - a[j]) / tau), softmax(abs(b[i] - b[j]) / tau)) for i, j in pairs]
    return sum(low) / len(low), sum(high) / max(len(high), 1)


def random_graph(seed: int, nodes: int = 8, classes: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """(teacher's logits, student's logits, edges in both directions) of a graph of about half of all pairs."""
    generator = torch.Generator().manual_seed(seed)
    t, s = 2 * torch.randn(2, nodes, classes, generator=generator, dtype=torch.float64)
    one = (torch.rand(nodes, nodes, generator=generator) < 0.5).triu(1).nonzero().T
    return t, s, torch.cat((one, one.flip(0)), 1)


def test_worked_numbers() -> None:
    """Of three nodes in a path, tau = 1.5."""
    assert low_frequency(TEACHER, STUDENT, PATH).mean().item() == pytest.approx(0.155446, abs=5e-7)
    assert high_frequency(TEACHER, STUDENT, PATH, 1.5).mean().item() == pytest.approx(0.107171, abs=5e-7)
    assert kl(TEACHER, STUDENT).mean().item() == pytest.approx(0.099396, abs=5e-7)
    assert low_frequency(TEACHER, TEACHER, PATH).mean().item() == pytest.approx(0.295232, abs=5e-7)
    best = neighbour_mean(TEACHER, PATH)
    wanted = [[0.574869, 0.425131], [0.549913, 0.450087], [0.384471, 0.615529]]
    assert torch.allclose(best, torch.tensor(wanted, dtype=torch.float64), atol=5e-7)
    assert low_frequency(TEACHER, best.log(), PATH).mean().item() == pytest.approx(0.128158, abs=5e-7)


@given(st.integers(0, 2**20), st.floats(0.3, 4))
def test_the_means_over_nodes_are_those_over_edges(seed: int, tau: float) -> None:
    t, s, edges = random_graph(seed)
    low, high = by_hand(t, s, edges, tau)
    assert low_frequency(t, s, edges).mean().item() == pytest.approx(low, abs=1e-9)
    assert high_frequency(t, s, edges, tau).mean().item() == pytest.approx(high, abs=1e-9)


def test_the_student_is_at_the_source_and_the_teacher_at_the_target() -> None:
    """One directed edge: node 0 hears of node 1, not the other way round."""
    one = torch.tensor([[0], [1]])
    values = low_frequency(TEACHER, STUDENT, one)
    own = kl(TEACHER, STUDENT)
    heard = kl(TEACHER[1:2], STUDENT[:1])
    assert torch.allclose(values, 3 / 4 * (own + torch.tensor([heard.item(), 0, 0])))


def test_without_edges_low_is_plain_distillation_and_high_is_nothing() -> None:
    t, s, _ = random_graph(3)
    none = torch.zeros(2, 0, dtype=torch.int64)
    s.requires_grad_(True)
    assert torch.allclose(low_frequency(t, s, none), kl(t, s))
    high = high_frequency(t, s, none, 1.5)
    assert torch.equal(high, torch.zeros(8, dtype=torch.float64))
    high.sum().backward()
    assert s.grad is not None
    assert not s.grad.any()


@given(st.integers(0, 2**20))
def test_what_each_frequency_does_not_see(seed: int) -> None:
    t, s, edges = random_graph(seed)
    low, high = low_frequency(t, s, edges), high_frequency(t, s, edges, 1.5)
    vector = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    one = torch.zeros(8, 1, dtype=torch.float64)
    one[3] = 2.5
    assert torch.allclose(high_frequency(t, s + vector, edges, 1.5), high)
    assert torch.allclose(high_frequency(t, -s, edges, 1.5), high)
    assert torch.allclose(low_frequency(t, s + one, edges), low)
    assert torch.allclose(low_frequency(t + one, s, edges), low)
    assert torch.allclose(high_frequency(t, s, edges.repeat(1, 2), 1.5), high)
    order = torch.randperm(edges.shape[1], generator=torch.Generator().manual_seed(seed))
    assert torch.allclose(low_frequency(t, s, edges[:, order]), low)
    assert torch.allclose(high_frequency(t, s, edges[:, order], 1.5), high)


def test_a_constant_on_one_nodes_logits_is_seen_by_high_unless_it_is_alone() -> None:
    """Its softmax stays as it was; its differences to its neighbours move, but by one number in all classes."""
    t, s, edges = random_graph(5)
    moved = s.clone()
    moved[int(edges[0, 0])] += 2.5
    assert not torch.allclose(high_frequency(t, moved, edges, 1.5), high_frequency(t, s, edges, 1.5))


def test_at_the_teacher_high_is_nothing_and_low_is_not() -> None:
    t, _, edges = random_graph(6)
    assert not high_frequency(t, t, edges, 1.5).any()
    assert low_frequency(t, t, edges).mean() > 0.1
    flat = t[:1].expand(8, 4).contiguous()
    assert low_frequency(flat, flat, edges).abs().max() < 1e-12


def test_the_neighbours_mean_is_where_descent_ends() -> None:
    t, s, edges = random_graph(7)
    free = s.clone().requires_grad_(True)
    search = torch.optim.LBFGS(
        [free], max_iter=500, line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=1e-16
    )

    def loss() -> Tensor:
        search.zero_grad()
        value = low_frequency(t, free, edges).mean()
        value.backward()
        return value

    search.step(loss)
    assert torch.allclose(free.detach().softmax(1), neighbour_mean(t, edges), atol=1e-5)


def test_half_precision_is_widened_before_neighbours_are_subtracted() -> None:
    t, s, edges = random_graph(8)
    half = (t.bfloat16(), s.bfloat16())
    exact = high_frequency(half[0].double(), half[1].double(), edges, 1.5)
    assert torch.allclose(high_frequency(*half, edges, 1.5).double(), exact, atol=1e-5)


def test_models_of_other_nodes_are_refused() -> None:
    with pytest.raises((InputError, TypeCheckError)):  # the shapes are checked while testing
        low_frequency(TEACHER[:2], STUDENT, PATH)
    with pytest.raises(InputError, match="temperature"):
        high_frequency(TEACHER, STUDENT, PATH, 0.0)
