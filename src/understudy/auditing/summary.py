"""Summaries over points: means with bootstrap intervals, proportions with exact ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.auditing.examine import AtRadius, Examination
from understudy.auditing.record import CalibrationRecord, Interval, PointRecord, RadiusRecord, SummaryRecord
from understudy.fidelity import calibration
from understudy.fidelity.intervals import bootstrap_mean, clopper_pearson


def summarise(found: Examination, points: Sequence[PointRecord]) -> list[SummaryRecord]:
    """One entry a radius."""
    return [_at(at, [p.radii[i] for p in points if p.counted], points, i) for i, at in enumerate(found.radii)]


def _mean(values: list[float]) -> tuple[float | None, Interval | None]:
    if not values:
        return None, None
    return math.fsum(values) / len(values), bootstrap_mean(values)


def _share(flags: Tensor | None) -> tuple[float | None, Interval | None]:
    if flags is None:
        return None, None
    yes = int(flags.sum())
    return yes / len(flags), clopper_pearson(yes, len(flags))


def _at(
    at: AtRadius, counted: list[RadiusRecord], points: Sequence[PointRecord], radius: int
) -> SummaryRecord:
    lower, lower_interval = _mean([r.lower for r in counted if r.lower is not None])
    uppers = [r.upper for r in counted if r.upper is not None]
    upper, upper_interval = _mean(uppers)
    bounded = [r for r in counted if r.status != "skipped"]
    certified, certified_interval = (
        _share(torch.tensor([r.same_class is True for r in bounded])) if bounded else (None, None)
    )
    agreement, agreement_interval = _share(at.teacher.argmax(1) == at.student.argmax(1))
    right_teacher, right_student = _share(at.right_teacher), _share(at.right_student)
    assert agreement is not None
    assert agreement_interval is not None
    every = [p.radii[radius] for p in points]
    return SummaryRecord(
        eps=at.eps,
        counted=len(counted),
        lower_mean=lower,
        lower_mean_interval=lower_interval,
        upper_mean=upper,
        upper_mean_interval=upper_interval,
        upper_max=max(uppers) if uppers else None,
        closed_fraction=sum(r.status == "exact" for r in bounded) / len(bounded) if bounded else None,
        certified_agreement=certified,
        certified_agreement_interval=certified_interval,
        agreement=agreement,
        agreement_interval=agreement_interval,
        accuracy_teacher=right_teacher[0],
        accuracy_teacher_interval=right_teacher[1],
        accuracy_student=right_student[0],
        accuracy_student_interval=right_student[1],
        kl=sum(r.kl or 0.0 for r in every) / len(every),
        total_variation=sum(r.total_variation or 0.0 for r in every) / len(every),
    )


def calibrate(found: Examination) -> CalibrationRecord:
    """Ordinary and relative calibration on the clean points."""
    clean = found.radii[0]
    teacher, student, labels = clean.teacher, clean.student, found.labels

    def scored(measure: object, logits: Tensor) -> float | None:
        return None if labels is None else float(measure(logits, labels))  # type: ignore[operator]

    edges, counts = calibration.difference_histogram(teacher, student)
    return CalibrationRecord(
        ece_teacher=scored(calibration.ece, teacher),
        ece_student=scored(calibration.ece, student),
        nll_teacher=scored(calibration.nll, teacher),
        nll_student=scored(calibration.nll, student),
        brier_teacher=scored(calibration.brier, teacher),
        brier_student=scored(calibration.brier, student),
        relative_ece=calibration.relative_ece(teacher, student),
        reliability_teacher=[] if labels is None else calibration.reliability(teacher, labels),
        reliability_student=[] if labels is None else calibration.reliability(student, labels),
        relative_reliability=calibration.relative_reliability(teacher, student),
        agreement_by_confidence=calibration.agreement_by_confidence(teacher, student),
        difference_edges=list(edges),
        difference_histogram=list(counts),
    )
