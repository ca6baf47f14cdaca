from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy import stats

from understudy.auditing.examine import Examination
from understudy.auditing.rows import point_records
from understudy.auditing.summary import calibrate, summarise

Look = Callable[..., Examination]


def test_bounds_are_over_counted_points_and_shares_over_all(look: Look) -> None:
    found = look()
    points = point_records(found, 0)
    for i, (entry, at) in enumerate(zip(summarise(found, points), found.radii, strict=True)):
        counted = [p.radii[i] for p in points if p.counted]
        assert entry.counted == len(counted) == 6
        assert entry.lower_mean == pytest.approx(sum(r.lower or 0 for r in counted) / 6)
        assert entry.upper_max == max(r.upper or 0 for r in counted)
        same = int((at.teacher.argmax(1) == at.student.argmax(1)).sum())
        assert entry.agreement == pytest.approx(same / 9)
        exact = stats.binomtest(same, 9).proportion_ci(0.95, method="exact")
        assert entry.agreement_interval == pytest.approx((exact.low, exact.high))
        assert entry.accuracy_teacher == pytest.approx(float(at.right_teacher.double().mean()))  # type: ignore[union-attr]
        assert entry.kl == pytest.approx(sum(p.radii[i].kl or 0 for p in points) / 9)
    assert summarise(found, points)[0].accuracy_teacher == pytest.approx(6 / 9)
    assert summarise(found, points)[0].closed_fraction == 1.0


def test_without_bounds_there_is_no_upper_and_no_certificate(look: Look) -> None:
    found = look(certify="none")
    for entry in summarise(found, point_records(found, 0)):
        assert entry.upper_mean is entry.upper_max is entry.upper_mean_interval is None
        assert entry.closed_fraction is entry.certified_agreement is None
        assert entry.lower_mean is not None


def test_without_labels_there_is_no_accuracy(look: Look) -> None:
    from dataclasses import replace

    found = look(certify="none", all_points=True)
    blind = replace(
        found,
        labels=None,
        radii=[replace(at, right_teacher=None, right_student=None) for at in found.radii],
    )
    for entry in summarise(blind, point_records(blind, 0)):
        assert entry.accuracy_teacher is entry.accuracy_student is None
        assert entry.accuracy_teacher_interval is None
    found_calibration, blind_calibration = calibrate(found), calibrate(blind)
    assert blind_calibration.ece_student is blind_calibration.nll_teacher is None
    assert blind_calibration.reliability_student == []
    assert blind_calibration.relative_ece == found_calibration.relative_ece
    assert found_calibration.nll_teacher == pytest.approx(
        float(torch.nn.functional.cross_entropy(found.radii[0].teacher, found.labels))
    )
