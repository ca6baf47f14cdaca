"""RS-KD: its worked numbers, an unbiased gradient where top-k has a biased one, and its reductions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import understudy as us
from understudy.errors import InputError
from understudy.methods import make_method
from understudy.methods.logits.sparse_logit_sampling import SparseLogitSampling
from understudy.models.outputs import View
from understudy.objectives.divergences import cross_entropy, kl
from understudy.teachers.keeping import CLASSES, PROBABILITIES

T = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
X = torch.tensor([1.0, 0.5, 0.2, 0.0], dtype=torch.float64)


def terms(
    method: us.Objective, s: Tensor, t: Tensor, labels: Tensor | None = None, first: int = 0
) -> dict[str, Tensor]:
    teacher = us.Outputs({"clean": View(t)})
    plain = us.Batch({"clean": torch.zeros(len(s), 1)}, torch.arange(first, first + len(s)), labels)
    notes = method.settle(us.Outputs({"clean": View(s)}), teacher, plain)
    batch = us.Batch(plain.views, plain.index, labels, notes=dict(notes))
    return dict(method.terms(us.Outputs({"clean": View(s)}), teacher, batch))


def gradient(method: us.Objective, s: Tensor, t: Tensor, first: int = 0) -> Tensor:
    asked = s.clone().requires_grad_()
    (found,) = torch.autograd.grad(terms(method, asked, t, first=first)["soft"].sum(), asked)
    return found


def test_the_worked_numbers() -> None:
    s, t = X[None], T.log()[None]
    p = X.softmax(0)
    assert float(kl(t, s)) == pytest.approx(0.063191, abs=1e-6)
    assert (p - T).tolist() == pytest.approx([-0.087414, -0.049754, 0.035387, 0.101782], abs=1e-6)
    top = gradient(SparseLogitSampling(keeping="top-k", k=2), s, t)
    assert top[0].tolist() == pytest.approx(
        [-0.169931, -0.099803, 0.148309, 0.121425], abs=1e-3
    )  # kept as float16
    batch = us.Batch(
        {"clean": s}, torch.zeros(1, dtype=torch.int64),
        notes={CLASSES: torch.tensor([[0, 1, 2]]), PROBABILITIES: torch.tensor([[0.6, 0.2, 0.2]])},
    )  # fmt: skip
    found = SparseLogitSampling().terms(us.Outputs({"clean": View(s)}), us.Outputs({}), batch)
    assert float(found["soft"]) == pytest.approx(0.195041, abs=1e-6)


def test_its_gradient_is_that_of_all_logits_on_average_and_top_k_is_not() -> None:
    draws = 4000
    s, t = X.expand(draws, 4), T.log().expand(draws, 4)
    full = X.softmax(0) - T
    found = gradient(SparseLogitSampling(draws=5), s, t)
    error = (found.mean(0) - full).abs()
    assert (error < 4 * found.std(0) / draws**0.5).all()
    assert (gradient(SparseLogitSampling(keeping="top-k", k=2), s, t).mean(0) - full).abs().max() > 0.04


def test_another_proposal_is_unbiased_too() -> None:
    draws = 4000
    s, t = X.expand(draws, 4), T.log().expand(draws, 4)
    found = gradient(SparseLogitSampling(draws=5, proposal=0.8), s, t)
    assert ((found.mean(0) - (X.softmax(0) - T)).abs() < 4 * found.std(0) / draws**0.5).all()
    assert (terms(SparseLogitSampling(draws=5, proposal=0.8), s, t)["soft"] >= -1e-9).all()


def test_many_draws_are_all_logits() -> None:
    found = terms(SparseLogitSampling(draws=200_000), X[None], T.log()[None])["soft"]
    assert float(found) == pytest.approx(0.063191, abs=2e-3)


def test_a_certain_teacher_gives_cross_entropy() -> None:
    sure = torch.tensor([[0.0, 0.0, 200.0, 0.0]], dtype=torch.float64)
    found = terms(SparseLogitSampling(draws=3), X[None], sure)["soft"]
    assert torch.allclose(found, cross_entropy(X[None], torch.tensor([2])))


def test_the_draws_belong_to_the_example() -> None:
    t = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = torch.zeros(8, 6, dtype=torch.float64)
    whole = terms(SparseLogitSampling(draws=4), s, t)["soft"]
    assert torch.allclose(terms(SparseLogitSampling(draws=4), s[3:], t[3:], first=3)["soft"], whole[3:])
    assert not torch.allclose(terms(SparseLogitSampling(draws=4, seed=1), s, t)["soft"], whole)


def test_labels_have_their_share() -> None:
    found = terms(SparseLogitSampling(alpha=0.25), X[None], T.log()[None], torch.tensor([1]))
    assert torch.allclose(found["hard"], 0.25 * cross_entropy(X[None], torch.tensor([1])))
    assert torch.allclose(found["soft"], 0.75 * terms(SparseLogitSampling(), X[None], T.log()[None])["soft"])


def test_what_cannot_be_is_refused() -> None:
    wrong = {"draws": "0", "proposal": "0", "k": "0", "temperature": "0", "alpha": "2", "keeping": "best"}
    for field, value in wrong.items():
        with pytest.raises(InputError, match=field):
            make_method("sparse_logit_sampling", {field: value})
