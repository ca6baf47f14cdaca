"""The answers of two models, counted by hand, and what must hold at any size."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from understudy.auditing.copied_answers import copied_answers
from understudy.errors import InputError
from understudy.fidelity import calibration
from understudy.fidelity.intervals import clopper_pearson
from understudy.fidelity.tempered import TEMPERATURES


@pytest.fixture(scope="module")
def logits() -> tuple[Tensor, Tensor, Tensor]:
    """(teacher's, student's, labels) of 60 examples and 4 classes."""
    random = torch.Generator().manual_seed(0)
    teacher = 3 * torch.randn(60, 4, generator=random)
    student = teacher + torch.randn(60, 4, generator=random)
    labels = torch.where(torch.rand(60, generator=random) < 0.7, teacher.argmax(1), 0)
    return teacher.double(), student.double(), labels


def test_shares_are_those_counted_by_hand(logits: tuple[Tensor, Tensor, Tensor]) -> None:
    teacher, student, labels = logits
    found = copied_answers(teacher, student, labels)
    said = list(zip(teacher.argmax(1).tolist(), student.argmax(1).tolist(), labels.tolist(), strict=True))
    same = sum(t == s for t, s, _ in said)
    assert found.agreement.mean == pytest.approx(same / 60)
    assert (found.agreement.low, found.agreement.high) == pytest.approx(clopper_pearson(same, 60))
    wrong = [(t, s) for t, s, y in said if t != y]
    assert found.agreement_where_wrong is not None
    assert found.agreement_where_wrong.count == len(wrong) > 0
    assert found.agreement_where_wrong.mean == pytest.approx(sum(t == s for t, s in wrong) / len(wrong))
    assert found.accuracy_student is not None
    assert found.accuracy_student.mean == pytest.approx(sum(s == y for _, s, y in said) / 60)
    assert sum(one.count for one in found.by_confidence) == 60


def test_distances_are_means_inside_their_intervals(logits: tuple[Tensor, Tensor, Tensor]) -> None:
    teacher, student, _ = logits
    found = copied_answers(teacher, student, None)
    p, q = teacher.softmax(1), student.softmax(1)
    assert found.kl.mean == pytest.approx(float((p * (p.log() - q.log())).sum(1).mean()))
    assert found.total_variation.mean == pytest.approx(float((p - q).abs().sum(1).mean() / 2))
    middle = (p + q) / 2
    both = (p * (p / middle).log()).sum(1) / 2 + (q * (q / middle).log()).sum(1) / 2
    assert found.jensen_shannon.mean == pytest.approx(float(both.sqrt().mean()))
    for one in (found.kl, found.total_variation, found.jensen_shannon):
        assert 0 < one.low < one.mean < one.high
        assert one.count == 60


def test_calibration_over_the_temperature_is_that_of_divided_logits(
    logits: tuple[Tensor, Tensor, Tensor],
) -> None:
    teacher, student, labels = logits
    rows = copied_answers(teacher, student, labels).temperatures
    assert [row.temperature for row in rows] == list(TEMPERATURES)
    assert set(TEMPERATURES) >= {0.25, 1.0, 4.0, 8.0}
    for row in rows:
        assert row.ece_teacher == pytest.approx(calibration.ece(teacher / row.temperature, labels))
        assert row.ece_student == pytest.approx(calibration.ece(student / row.temperature, labels))
        relative = calibration.relative_ece(teacher / row.temperature, student / row.temperature)
        assert row.relative_ece == pytest.approx(relative)


def test_a_model_agrees_with_itself_and_without_labels_nothing_is_said_of_them(
    logits: tuple[Tensor, Tensor, Tensor],
) -> None:
    found = copied_answers(logits[0], logits[0], None)
    assert (found.agreement.mean, found.agreement.high) == (1.0, 1.0)
    for one in (found.kl, found.total_variation, found.jensen_shannon):
        assert one.mean == pytest.approx(0.0, abs=1e-12)
    assert {row.relative_ece for row in found.temperatures} == {0.0}
    assert found.accuracy_teacher is found.accuracy_student is found.agreement_where_wrong is None
    assert found.reliability_teacher == found.reliability_student == []
    assert all(row.ece_teacher is None and row.ece_student is None for row in found.temperatures)


def test_logits_that_are_not_finite_are_refused(logits: tuple[Tensor, Tensor, Tensor]) -> None:
    with pytest.raises(InputError, match="finite"):
        copied_answers(logits[0], torch.full_like(logits[0], math.inf), None)
