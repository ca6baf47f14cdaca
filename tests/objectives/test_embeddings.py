"""The distance of embeddings: its worked numbers, and what it does and does not see."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import understudy as us
from understudy.objectives.embeddings import embedding_distance

QUICK = settings(max_examples=25, deadline=None, derandomize=True)

TEACHER = torch.tensor([[3.0, 4.0], [0.0, 2.0]], dtype=torch.float64)
STUDENT = torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_worked_numbers() -> None:
    found = embedding_distance(TEACHER, STUDENT)
    assert found.tolist() == pytest.approx([0.020101, 0.585786], abs=5e-7)
    assert found.mean().item() == pytest.approx(0.302944, abs=5e-7)
    assert found.mean().item() / 2 == pytest.approx(0.151472, abs=5e-7)
    assert embedding_distance(TEACHER, STUDENT, normalize=False).mean().item() == 7.5


@QUICK
@given(st.integers(0, 999), st.integers(1, 6))
def test_of_directions_it_is_two_minus_two_cosines(seed: int, size: int) -> None:
    t, s = drawn(seed, 5, size), drawn(seed + 1, 5, size)
    found = embedding_distance(t, s)
    torch.testing.assert_close(found, 2 - 2 * F.cosine_similarity(t, s))
    assert (found >= 0).all()
    assert (found <= 4 + 1e-12).all()
    torch.testing.assert_close(embedding_distance(7 * t, 0.3 * s), found)
    assert embedding_distance(t, t).max() < 1e-30


def test_its_gradient_is_twice_the_cosines() -> None:
    t, s = drawn(0, 5, 4), drawn(1, 5, 4).requires_grad_()
    (one,) = torch.autograd.grad(embedding_distance(t, s).sum(), s)
    (other,) = torch.autograd.grad(-2 * F.cosine_similarity(t, s).sum(), s)
    torch.testing.assert_close(one, other)


@QUICK
@given(st.integers(0, 999))
def test_a_rotation_changes_it_and_no_score_among_the_students(seed: int) -> None:
    t, s = drawn(seed, 6, 4), drawn(seed + 1, 6, 4)
    turn = torch.linalg.qr(drawn(seed + 2, 4, 4)).Q
    turned = s @ turn
    torch.testing.assert_close(turned @ turned.T, s @ s.T)
    assert (embedding_distance(t, turned) - embedding_distance(t, s)).abs().max() > 1e-3


@QUICK
@given(st.integers(0, 999), st.integers(1, 5))
def test_it_bounds_every_score_and_every_shortened_vector(seed: int, kept: int) -> None:
    t, s, v = drawn(seed, 6, 5), drawn(seed + 1, 6, 5), drawn(seed + 2, 5)
    t, s = F.normalize(t, dim=1), F.normalize(s, dim=1)
    root = embedding_distance(t, s).sqrt()
    assert (((s - t) @ v).abs() <= root * v.norm() + 1e-12).all()
    assert ((s - t)[:, :kept].norm(dim=1) <= root + 1e-12).all()


def test_half_precision_is_computed_in_float32_and_lengths_must_agree() -> None:
    found = embedding_distance(TEACHER.bfloat16(), STUDENT.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), embedding_distance(TEACHER, STUDENT), rtol=1e-5, atol=1e-6)
    with pytest.raises(us.InputError, match="as long as the teacher's, 2, it says 3"):
        embedding_distance(TEACHER, torch.zeros(2, 3, dtype=torch.float64))
