"""Sparse soft targets: the paper's worked number, exact gradients, and whose mean is the dense gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import config
from scipy import stats
from torch import Tensor

from understudy.errors import InputError
from understudy.objectives.divergences import cross_entropy, kl
from understudy.objectives.sparse_targets import sparse_cross_entropy, sparse_kl
from understudy.teachers import Sampled, SparseTargets, TopK

GENERATOR = torch.Generator().manual_seed(0)
T = torch.tensor([[0.5, 0.3, 0.15, 0.05]], dtype=torch.float64)
X = torch.tensor([[1.0, 0.5, 0.2, 0.0]], dtype=torch.float64)
ALL = torch.arange(4)[None]


def gradient(student: Tensor, indices: Tensor, w: Tensor, temperature: float = 1.0) -> Tensor:
    student = student.clone().requires_grad_(True)
    sparse_cross_entropy(student, indices, w, temperature).sum().backward()
    assert student.grad is not None
    return student.grad


def assert_close(found: Tensor, *expected: float) -> None:
    torch.testing.assert_close(found.flatten(), torch.tensor(expected, dtype=found.dtype), rtol=0, atol=6e-7)


def test_the_worked_number() -> None:
    drawn = (torch.tensor([[0, 1, 2]]), torch.tensor([[0.6, 0.2, 0.2]], dtype=torch.float64))
    assert_close(sparse_cross_entropy(X, *drawn), 1.145311)
    assert_close(sparse_kl(X, *drawn), 0.195041)
    assert_close(sparse_kl(X, ALL, T), 0.063191)
    assert_close(gradient(X, ALL, T), -0.087414, -0.049754, 0.035387, 0.101782)
    assert_close(gradient(X, ALL[:, :2], T[:, :2]), -0.169931, -0.099803, 0.148309, 0.121425)


def test_the_fixed_point_of_top_k_is_the_renormalised_head() -> None:
    student = X.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([student], 0.1)
    for _ in range(600):
        optimizer.zero_grad()
        sparse_cross_entropy(student, ALL[:, :2], T[:, :2]).sum().backward()
        optimizer.step()
    torch.testing.assert_close(
        student.detach().softmax(1),
        torch.tensor([[0.625, 0.375, 0.0, 0.0]], dtype=torch.float64),
        rtol=0,
        atol=2e-3,
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_all_classes_are_the_dense_divergence(temperature: float) -> None:
    t, s = (4 * torch.randn(2, 6, 9, generator=GENERATOR, dtype=torch.float64)).unbind()
    p = (t / temperature).softmax(1)
    indices = torch.stack([torch.randperm(9, generator=GENERATOR) for _ in range(6)])
    torch.testing.assert_close(
        sparse_kl(s, indices, p.gather(1, indices), temperature), kl(t, s, temperature)
    )
    expected = ((s / temperature).softmax(1) - p) / temperature
    torch.testing.assert_close(gradient(s, indices, p.gather(1, indices), temperature), expected)


def test_one_draw_is_cross_entropy_to_it() -> None:
    s = torch.randn(5, 7, generator=GENERATOR)
    labels = torch.tensor([0, 6, 3, 3, 1])
    torch.testing.assert_close(
        sparse_cross_entropy(s, labels[:, None], torch.ones(5, 1)), cross_entropy(s, labels)
    )


def test_gradients_against_finite_differences_also_second_ones() -> None:
    s = torch.randn(3, 5, generator=GENERATOR, dtype=torch.float64, requires_grad=True)
    indices = torch.tensor([[0, 4], [1, 2], [3, 0]])
    w = torch.tensor([[0.5, 0.2], [1.0, 0.0], [0.3, 0.9]], dtype=torch.float64)
    for loss in (sparse_cross_entropy, sparse_kl):
        assert torch.autograd.gradcheck(lambda x, f=loss: f(x, indices, w, 2.0), s)
        assert torch.autograd.gradgradcheck(lambda x, f=loss: f(x, indices, w, 2.0), s)


def test_filling_confident_models_and_half_precision() -> None:
    s = torch.tensor([[1e4, 0.0, -1e4], [0.0, 1.0, 2.0]])
    indices, w = torch.tensor([[2, 0], [1, 0]]), torch.tensor([[0.5, 0.0], [1.0, 0.0]])
    value = sparse_cross_entropy(s, indices, w)
    torch.testing.assert_close(value, torch.tensor([1e4, float(torch.tensor([0.0, 1, 2]).logsumexp(0)) - 1]))
    assert bool(sparse_kl(s, indices, w).isfinite().all())
    assert bool(gradient(s, indices, w).isfinite().all())
    short = sparse_cross_entropy(s[1:].bfloat16(), indices[1:], w[1:])
    assert short.dtype == torch.float32
    torch.testing.assert_close(short, value[1:])
    grad = gradient(s[1:].bfloat16(), indices[1:], w[1:])
    assert grad.dtype == torch.bfloat16


UNITS = 10_000


def mean_gradient(encoding: Sampled, teacher: Tensor, student: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over encodings of the teacher (1, C) of the gradient to the student (1, C), and its standard error.

    The error is the estimator's own, (t^2 / r - t^2) / N a class: the measured one of a rare class may be 0. Where
    the weights do not sum to 1, they also scale the student's part, which the measured error accounts for.
    """
    encoded = encoding.encode(teacher.expand(UNITS, -1), 1.0, np.arange(UNITS))
    found = encoding.decode(encoded.entries, encoded.lengths, teacher.shape[1])
    assert isinstance(found, SparseTargets)
    grads = gradient(student.expand(UNITS, -1), found.indices, found.probabilities)
    t = teacher.softmax(1)[0]
    r = t**encoding.proposal / (t**encoding.proposal).sum()
    stated = ((t**2 / r - t**2) / encoding.draws / UNITS).sqrt()
    return grads.mean(0), torch.maximum(stated, grads.std(0) / UNITS**0.5)


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor, Tensor]:
    """Teacher and student logits (1, 150) with a long tail, and the gradient p - t of all logits."""
    generator = torch.Generator().manual_seed(1)
    teacher = -1.2 * torch.arange(1, 151, dtype=torch.float64).log()[None]
    student = teacher + 0.5 * torch.randn(1, 150, generator=generator, dtype=torch.float64)
    return teacher, student, (student.softmax(1) - teacher.softmax(1))[0]


@pytest.mark.parametrize("encoding", [Sampled(50), Sampled(50, 0.8), Sampled(1), Sampled(50, seed=7)])
def test_the_mean_gradient_of_samples_is_the_dense_one(encoding: Sampled, pair: tuple[Tensor, ...]) -> None:
    """Every class, the tail's too, within its interval: 99 % jointly over 150 classes."""
    teacher, student, dense = pair
    mean, error = mean_gradient(encoding, teacher, student)
    limit = float(stats.norm.ppf(1 - 0.01 / 300))
    assert float(((mean - dense) / error).abs().max()) < limit
    share = float(
        (1 / (4 * encoding.draws * UNITS)) ** 0.5
    )  # largest standard error of a class and of a sum of them
    assert float(mean[12:].sum()) == pytest.approx(float(dense[12:].sum()), abs=4 * share)


@pytest.mark.parametrize("renormalise", [False, True])
def test_the_gradient_of_top_k_is_not(renormalise: bool, pair: tuple[Tensor, ...]) -> None:
    """The same check fails, and by how much is known: the tail's probability, all of one sign."""
    teacher, student, dense = pair
    encoded = TopK(12, "float32").encode(teacher, 1.0, np.arange(1))
    found = TopK(12, "float32").decode(encoded.entries, None, 150)
    found = found.renormalised() if renormalise else found
    biased = gradient(student, found.indices, found.probabilities)[0]
    assert encoded.lost is not None
    lost = float(encoded.lost[0])
    assert lost > 0.3
    weight = 1.0 if renormalise else 1 - lost
    expected = weight * student.softmax(1)[0, 12:].sum()
    torch.testing.assert_close(biased[12:].sum(), expected, rtol=1e-5, atol=0)
    assert float((biased - dense)[12:].sum()) > 0.1
    _, error = mean_gradient(Sampled(50), teacher, student)
    assert float(((biased - dense) / error).abs().max()) > 20


LOGITS = torch.zeros(2, 4)
INDICES = torch.tensor([[0], [3]])
ONES = torch.ones(2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LOGITS.long(), INDICES, ONES), r"logits must be floats \(B, C\)"),
        ((LOGITS[0], INDICES, ONES), r"logits must be floats \(B, C\)"),
        ((LOGITS, INDICES, ONES[:, :0]), "one shape"),
        ((LOGITS, INDICES[:1], ONES[:1]), r"2 units need .* \(2, K\), found"),
        ((LOGITS, INDICES + 1, ONES), r"0\.\.3, found 1\.\.4"),
        ((LOGITS, INDICES - 1, ONES), r"0\.\.3, found -1\.\.2"),
        ((LOGITS, INDICES, -ONES), "finite and at least 0"),
        ((LOGITS, INDICES, ONES * float("nan")), "finite and at least 0"),
        ((LOGITS, INDICES, ONES, 0.0), "temperature must be a finite number above 0, found 0"),
    ],
)
def test_bad_input_is_refused(
    arguments: tuple[Tensor, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "jaxtyping_disable", True)  # users run without the shape checks of the tests
    for loss in (sparse_cross_entropy, sparse_kl):
        with pytest.raises(InputError, match=message):
            loss(*arguments)
