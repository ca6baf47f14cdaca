"""CE where there are labels and soft targets everywhere: worked numbers, reductions, the battery."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F

import understudy as us
from understudy.models.ensemble import MeanConfidence
from understudy.models.outputs import View
from understudy.objectives.partly_labelled import PartlyLabelled, labelled_and_soft
from understudy.objectives.reduction import reduce_terms
from understudy.testing import CHECKS, check_method

GENERATOR = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (2 * torch.randn(2, 6, 4, generator=GENERATOR, dtype=torch.float64)).unbind()
LABELS = torch.tensor([0, -1, 3, -1, -1, 2])


def said(logits: torch.Tensor) -> us.Outputs:
    return us.Outputs({"clean": View(logits)})


def terms(
    objective: PartlyLabelled, labels: torch.Tensor | None, student: torch.Tensor = STUDENT
) -> Mapping[str, torch.Tensor]:
    batch = us.Batch({"clean": torch.zeros(6, 2)}, torch.arange(6), labels)
    return objective.terms(said(student), said(TEACHER), batch)


def test_the_worked_number_with_two_heads() -> None:
    a, b, t = (
        torch.tensor(rows, dtype=torch.float64)
        for rows in ([[1, 0, 0], [5, -2, 3]], [[0, 1, 0], [0, 0, 0]], [[2, 1, 0], [1, 0, 0]])
    )
    hard, soft = labelled_and_soft(a, b, t, torch.tensor([0, -1]), 2.0)
    assert hard.tolist() == pytest.approx([0.551445, 0.0], abs=1e-6)
    assert soft.tolist() == pytest.approx([0.482350, 0.120668], abs=1e-6)
    loss, _ = reduce_terms({"hard": hard, "soft": soft}, 2)
    assert loss.item() == pytest.approx(0.577231, abs=1e-6)


def test_the_worked_prediction_is_the_mean_of_two_heads_confidences() -> None:
    heads = [torch.nn.Linear(1, 3), torch.nn.Linear(1, 3)]
    with torch.no_grad():
        for head, bias in zip(heads, ([1.0, 0, 0], [0, 1.0, 0]), strict=True):
            head.weight.zero_()
            head.bias.copy_(torch.tensor(bias))
    said = MeanConfidence(heads)(torch.zeros(1, 1)).softmax(1)[0]
    assert said.tolist() == pytest.approx([0.394029, 0.394029, 0.211942], abs=1e-6)


def test_half_a_batch_of_each_is_the_papers_loss() -> None:
    loss, _ = reduce_terms(terms(PartlyLabelled(temperature=2.0), LABELS), 6)
    there = LABELS >= 0
    log_s, t = (STUDENT / 2).log_softmax(1), (TEACHER / 2).softmax(1)
    soft = 4 * F.kl_div(log_s, t, reduction="none").sum(1)
    hard = F.cross_entropy(STUDENT[there], LABELS[there])
    assert loss.item() == pytest.approx(
        (0.5 * hard + 0.5 * (soft[there].mean() + soft[~there].mean())).item(), rel=1e-12
    )


def test_reductions() -> None:
    soft = us.SoftTargets(3.0)
    batch = us.Batch({"clean": torch.zeros(6, 2)}, torch.arange(6))
    expected = soft.terms(said(STUDENT), said(TEACHER), batch)["soft"]
    none = terms(PartlyLabelled(temperature=3.0), torch.full((6,), -1))
    assert torch.equal(none["soft"], expected)
    assert not none["hard"].any()
    every = terms(PartlyLabelled(weight=0.0), LABELS.abs())
    assert torch.equal(every["hard"], F.cross_entropy(STUDENT, LABELS.abs(), reduction="none"))
    assert not every["soft"].any()
    assert not terms(PartlyLabelled(), LABELS, TEACHER)["soft"].any()


def test_an_example_without_label_gives_no_gradient_to_the_labels_term() -> None:
    student = STUDENT.clone().requires_grad_(True)
    terms(PartlyLabelled(), LABELS, student)["hard"].sum().backward()
    assert student.grad is not None
    assert not student.grad[LABELS < 0].any()
    assert student.grad[LABELS >= 0].abs().sum(1).min() > 0


def test_the_battery() -> None:
    assert list(check_method(PartlyLabelled())) == list(CHECKS)


def test_bad_input() -> None:
    with pytest.raises(us.InputError, match="temperature must be a finite number above 0"):
        PartlyLabelled(temperature=0.0)
    with pytest.raises(us.InputError, match="weight must be a finite number of at least 0"):
        PartlyLabelled(weight=-1.0)
    with pytest.raises(us.InputError, match="the batch has none"):
        terms(PartlyLabelled(), None)
    with pytest.raises(us.InputError, match="labels"):
        terms(PartlyLabelled(), torch.tensor([0, -2, 3, -1, -1, 2]))
