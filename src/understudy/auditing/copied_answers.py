"""How alike two models' answers are, with intervals, and how calibrated both are over the temperature."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from understudy.auditing.copied_record import AnswersRecord, Mean
from understudy.fidelity import calibration
from understudy.fidelity.intervals import bootstrap_mean, clopper_pearson
from understudy.fidelity.moments import Estimate
from understudy.fidelity.streaming import Fidelity, per_example
from understudy.fidelity.tempered import CalibrationOverTemperature

BINS = 5  # of the agreement by confidence: more would hold too few examples each
_DISTANCES = ("kl", "total_variation", "jensen_shannon")  # rows of `per_example` behind the agreement


def copied_answers(
    teacher: Float[Tensor, "b c"], student: Float[Tensor, "b c"], labels: Int[Tensor, " b"] | None
) -> AnswersRecord:
    """From both models' logits (B, C), B >= 1, on the same examples.

    Shares have Clopper and Pearson's interval, distances the bootstrap's, or none where there is one example.

    Raises:
        InputError: logits that are not finite or differ in shape, labels that do not fit.
    """
    sums = Fidelity()
    sums.update(teacher, student, labels)
    found = sums.result()
    over = CalibrationOverTemperature()
    over.update(teacher, student, labels)
    values = dict(zip(_DISTANCES, per_example(teacher, student)[1:], strict=False))
    distances = {name: _distance(getattr(found, name), values[name]) for name in _DISTANCES}
    return AnswersRecord(
        agreement=_share(found.agreement),
        **distances,
        accuracy_teacher=_known_share(found.teacher_accuracy),
        accuracy_student=_known_share(found.student_accuracy),
        agreement_where_right=_known_share(found.agreement_where_right),
        agreement_where_wrong=_known_share(found.agreement_where_wrong),
        by_confidence=calibration.agreement_by_confidence(teacher, student, BINS),
        reliability_teacher=[] if labels is None else calibration.reliability(teacher, labels),
        reliability_student=[] if labels is None else calibration.reliability(student, labels),
        temperatures=over.result(),
    )


def _share(found: Estimate) -> Mean:
    return Mean(found.mean, *clopper_pearson(round(found.mean * found.count), found.count), found.count)


def _known_share(found: Estimate | None) -> Mean | None:
    return None if found is None else _share(found)


def _distance(found: Estimate, values: Tensor) -> Mean:
    low, high = bootstrap_mean(values.cpu()) if found.count > 1 else (None, None)
    return Mean(found.mean, low, high, found.count)
