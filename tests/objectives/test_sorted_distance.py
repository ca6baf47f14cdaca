"""The distance of sorted confidences: its numbers, what it cannot see, and its bounds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import Tensor

from understudy.errors import InputError
from understudy.objectives.sorted_distance import gathered, sorted_distance


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_worked_numbers() -> None:
    p = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()
    q = torch.tensor([0.2, 0.6, 0.2], dtype=torch.float64).log()
    assert sorted_distance(p, q).item() == pytest.approx(0.300000, abs=5e-7)
    sure = torch.tensor([0.0, -1e4, -1e4, -1e4], dtype=torch.float64)
    assert sorted_distance(sure, torch.zeros(4, dtype=torch.float64)).item() == pytest.approx(1.5, abs=5e-7)


def test_it_is_the_cheapest_renaming_of_one_into_the_other() -> None:
    """Among all ways to pair the classes, the smallest sum of differences; tried out."""
    p, q = logits(5, seed=1).softmax(0), logits(5, seed=2).softmax(0)
    best = min(sum(abs(p - q[list(order)])).item() for order in itertools.permutations(range(5)))
    assert sorted_distance(p.log(), q.log()).item() == pytest.approx(best)


def test_under_a_cost_of_one_a_move_it_is_twice_the_transport_between_the_sorted_two() -> None:
    p, q = (np.sort(logits(4, seed=seed).softmax(0).numpy())[::-1] for seed in (3, 4))
    cost = (1 - np.eye(4)).ravel()
    rows = np.kron(np.eye(4), np.ones(4))
    columns = np.kron(np.ones(4), np.eye(4))
    plan = linprog(cost, A_eq=np.vstack((rows, columns)), b_eq=np.concatenate((p, q)))
    found = sorted_distance(torch.tensor(p.copy()).log(), torch.tensor(q.copy()).log())
    assert found.item() == pytest.approx(2 * plan.fun)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 1000))
def test_what_it_cannot_see_and_its_bounds(left: int, right: int, seed: int) -> None:
    t, s = logits(3, left, seed=seed), logits(3, right, seed=seed + 1)
    value = sorted_distance(t, s)
    generator = torch.Generator().manual_seed(seed)
    shuffled = (
        t[:, torch.randperm(left, generator=generator)] + 7.0,
        s[:, torch.randperm(right, generator=generator)],
    )
    assert torch.allclose(sorted_distance(*shuffled), value)
    nothing = torch.full((3, 2), -torch.inf, dtype=torch.float64)
    assert torch.allclose(sorted_distance(torch.cat((t, nothing), 1), s), value)
    assert torch.allclose(sorted_distance(s, t), value)
    most = 2 * (1 - 1 / max(left, right))
    assert bool((value >= 0).all())
    assert bool((value <= most + 1e-12).all())
    if left == right:
        assert bool((value <= (t.softmax(1) - s.softmax(1)).abs().sum(1) + 1e-12).all())
        assert float(sorted_distance(t, t[:, torch.randperm(left, generator=generator)]).max()) < 1e-12


def test_temperatures_are_each_sides_own() -> None:
    t, s = logits(2, 4), logits(2, 3, seed=1)
    value = sorted_distance(t, s, teacher_temperature=2.0, student_temperature=0.5)
    assert torch.allclose(value, sorted_distance(t / 2, s * 2))


def test_half_precision_is_computed_in_float32() -> None:
    t, s = logits(4, 6).bfloat16(), logits(4, 5, seed=1).bfloat16()
    found = sorted_distance(t, s)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), sorted_distance(t.double(), s.double()), atol=1e-6)


def test_positions_that_count_come_first_in_their_order() -> None:
    values = torch.arange(12.0).view(2, 6, 1)
    mask = torch.tensor([[0, 1, 0, 1, 1, 0], [1, 0, 0, 0, 0, 1]], dtype=torch.bool)
    found = gathered(values, mask, 3)[..., 0]
    assert found[0].tolist() == [1, 3, 4]
    assert found[1, :2].tolist() == [6, 11]


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="teacher's temperature"):
        sorted_distance(logits(2, 4), logits(2, 4), teacher_temperature=0.0)
