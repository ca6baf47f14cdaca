"""Calibration over temperature, against the same quantities of divided logits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity.calibration import ece, nll, relative_ece
from understudy.fidelity.tempered import TEMPERATURES, CalibrationOverTemperature
from understudy.objectives.divergences import kl


def drawn(count: int = 700, classes: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    teacher = 4 * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    student = teacher + torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return teacher, student, torch.randint(classes, (count,), generator=generator)


@pytest.mark.parametrize("size", [700, 64])
def test_is_the_calibration_of_divided_logits(size: int) -> None:
    teacher, student, labels = drawn()
    measured = CalibrationOverTemperature()
    for t, s, y in zip(teacher.split(size), student.split(size), labels.split(size), strict=True):
        measured.update(t, s, y)
    found = measured.result()
    assert [one.temperature for one in found] == list(TEMPERATURES)
    for one in found:
        t, s = teacher / one.temperature, student / one.temperature
        assert one.ece_teacher == pytest.approx(ece(t, labels), abs=1e-12)
        assert one.ece_student == pytest.approx(ece(s, labels), abs=1e-12)
        assert one.nll_teacher == pytest.approx(nll(t, labels), abs=1e-12)
        assert one.nll_student == pytest.approx(nll(s, labels), abs=1e-12)
        assert one.relative_ece == pytest.approx(relative_ece(t, s), abs=1e-12)
        assert one.kl == pytest.approx(float(kl(t, s).mean()), abs=1e-10)


def test_without_labels() -> None:
    teacher, student, _ = drawn()
    measured = CalibrationOverTemperature((2.0, 1.0, 2.0))
    measured.update(teacher, student)
    found = measured.result()
    assert [one.temperature for one in found] == [1.0, 2.0]
    assert found[0].ece_teacher is found[0].nll_student is None
    assert found[0].relative_ece == pytest.approx(relative_ece(teacher, student), abs=1e-12)


def test_a_copy_is_calibrated_against_its_teacher_at_every_temperature() -> None:
    teacher, _, labels = drawn()
    measured = CalibrationOverTemperature()
    measured.update(teacher, teacher.clone(), labels)
    for one in measured.result():
        assert (one.relative_ece, one.kl) == (0.0, 0.0)
        assert one.ece_teacher == one.ece_student


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: CalibrationOverTemperature(()), "one temperature"),
        (lambda: CalibrationOverTemperature((0.0,)), "a temperature"),
        (lambda: CalibrationOverTemperature((float("nan"),)), "a temperature"),
        (lambda: CalibrationOverTemperature(bins=0), "number of bins"),
        (lambda: CalibrationOverTemperature().result(), "none has been seen"),
    ],
)
def test_what_is_refused(build: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        build()


def test_a_batch_that_is_refused_leaves_nothing_behind() -> None:
    teacher, student, labels = drawn()
    measured = CalibrationOverTemperature((1.0,))
    measured.update(teacher, student, labels)
    before = measured.result()
    for t, s, y in [
        (teacher, student, labels + 5),
        (teacher, student, None),
        (teacher * float("inf"), student, labels),
    ]:
        with pytest.raises(InputError):
            measured.update(t, s, y)
    assert measured.result() == before
