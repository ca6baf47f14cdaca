"""Calibration, ordinary and relative, from logits (B, C); probabilities are softmax in float64, at T = 1.

Ordinary calibration asks whether a model is right as often as it is confident. Relative calibration (Lamb et
al., arXiv 2306.04431) asks whether the student is as confident as its teacher, and needs no labels.

Bins are right-closed, (low, high]: a confidence of 1.0 falls into the last, one of 0.0 into the first. Each
measurement raises InputError for no example, shapes that differ, logits that are not finite, labels out of
range, fewer than one bin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity._inputs import check_labelled, check_pair
from understudy.fidelity.agreement import top1_agreement, top1_correct
from understudy.objectives.divergences import cross_entropy


@dataclass(frozen=True)
class Bin:
    """One right-closed bin (low, high]: how many fell in, their mean confidence, the mean of what was seen.

    `confidence` and `observed` are None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    observed: float | None


def binned(confidence: Float[Tensor, " b"], observed: Float[Tensor, " b"], bins: int = 15) -> list[Bin]:
    """The examples by `confidence` (B,) in [0, 1], in `bins` equal right-closed bins, with means of both."""
    if bins < 1:
        raise InputError(f"the number of bins must be 1 or more, found {bins}")
    if confidence.ndim != 1 or confidence.shape != observed.shape or len(confidence) == 0:
        raise InputError(
            "confidence and observed must have the same shape (B,), B at least 1, "
            f"found {tuple(confidence.shape)} and {tuple(observed.shape)}"
        )
    if not (torch.isfinite(observed).all() and ((confidence >= 0) & (confidence <= 1)).all()):
        raise InputError("confidences must lie in [0, 1] and what was observed must be finite")
    edges = [i / bins for i in range(bins + 1)]
    place = _right_closed(confidence, edges)
    count = torch.bincount(place, minlength=bins)
    mean = [
        torch.bincount(place, values.double(), minlength=bins) / count for values in (confidence, observed)
    ]
    return [
        Bin(low, high, int(n), float(c) if n else None, float(o) if n else None)
        for low, high, n, c, o in zip(edges[:-1], edges[1:], count, *mean, strict=True)
    ]


def expected_gap(bins: Sequence[Bin]) -> float:
    """sum_b n_b / N |mean confidence - mean observed|: the expected calibration error of these bins."""
    total = sum(one.count for one in bins)
    if total == 0:
        raise InputError("every bin is empty: an expected calibration error needs at least one example")
    known = ((one.count, one.confidence, one.observed) for one in bins)
    return sum(n * abs(c - o) for n, c, o in known if c is not None and o is not None) / total


def reliability(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"], bins: int = 15) -> list[Bin]:
    """Reliability diagram (DeGroot and Fienberg, 1983): max_k p_k by bin; `observed` is the accuracy."""
    correct = top1_correct(logits, labels)
    return binned(_softmax(logits).amax(1), correct.double(), bins)


def ece(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"], bins: int = 15) -> float:
    """Expected calibration error (Guo et al., arXiv 1706.04599): sum_b n_b / N |accuracy_b - confidence_b|.

    In [0, 1]. Biased: sampling noise only adds to a bin's gap, so that a perfectly calibrated model has a
    value above 0, of order sqrt(bins / N), while true gaps of opposite sign within a bin cancel. Compare
    models on the same examples and bins only.
    """
    return expected_gap(reliability(logits, labels, bins))


def nll(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> float:
    """Mean -ln p_y, in [0, inf) nats. A proper score (Good, 1952), unbiased for its expectation."""
    check_labelled(logits, labels)
    return abs(float(cross_entropy(logits.detach().double(), labels).mean()))  # abs: never -0.0


def brier(logits: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> float:
    """Mean sum_k (p_k - 1{k = y})^2, in [0, 2] (Brier, 1950: all classes, not halved). Proper, unbiased."""
    check_labelled(logits, labels)
    p = _softmax(logits)
    # (1 - p_y)^2 in place of p_y^2
    at_label = p.gather(1, labels.long().unsqueeze(1)).squeeze(1)
    return float((p.square().sum(1) - 2.0 * at_label + 1.0).mean().clamp_min(0.0))


def relative_reliability(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"], bins: int = 15
) -> list[Bin]:
    """max_k p_s,k, the student's, by bin; `observed` is the teacher's mean confidence in that same class."""
    check_pair(teacher_logits, student_logits)
    confidence, chosen = _softmax(student_logits).max(1)
    return binned(confidence, _at(_softmax(teacher_logits), chosen), bins)


def relative_ece(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"], bins: int = 15
) -> float:
    """ECE with the teacher as reference: sum_b n_b / N |mean p_s,k - mean p_t,k| at k = the student's class.

    In [0, 1], 0 when the models are equal, and free of the sampling noise of labels, since both confidences
    are known for every example. Gaps of opposite sign within a bin still cancel: it is at most the mean of
    |p_s,k - p_t,k|, and 0 does not prove equal models.
    """
    return expected_gap(relative_reliability(teacher_logits, student_logits, bins))


def confidence_differences(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"]
) -> Float[Tensor, " b"]:
    """p_s,k - p_t,k at k = the teacher's class, in [-1, 1]: (B,) float64. Above 0 the student is surer."""
    check_pair(teacher_logits, student_logits)
    confidence, chosen = _softmax(teacher_logits).max(1)
    return _at(_softmax(student_logits), chosen) - confidence


def difference_edges(count: int = 42) -> list[float]:
    """`count` evenly spaced edges from -1 to 1; with an even count a bin is centred on 0."""
    if count < 2:
        raise InputError(f"a histogram needs at least 2 edges, found {count}")
    return [(2 * i - (count - 1)) / (count - 1) for i in range(count)]


def difference_histogram(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"], edges: int = 42
) -> tuple[list[float], list[int]]:
    """(`difference_edges`, counts of `confidence_differences` between them); the counts add up to B.

    Right-closed, with -1 in the first bin. The default of 42 edges has a bin centred on 0.
    """
    at = difference_edges(edges)
    place = _right_closed(confidence_differences(teacher_logits, student_logits), at)
    return at, torch.bincount(place, minlength=edges - 1).tolist()


def agreement_by_confidence(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"], bins: int = 15
) -> list[Bin]:
    """max_k p_t,k, the teacher's, by bin; `observed` is the top-1 agreement: agreement given confidence."""
    agree = top1_agreement(teacher_logits, student_logits)
    return binned(_softmax(teacher_logits).amax(1), agree.double(), bins)


def _softmax(logits: Tensor) -> Tensor:
    # Rounding can put a probability one unit above 1.
    return logits.detach().double().softmax(1).clamp_max(1.0)


def _at(values: Tensor, chosen: Tensor) -> Tensor:
    return values.gather(1, chosen.unsqueeze(1)).squeeze(1)


def _right_closed(values: Tensor, edges: Sequence[float]) -> Tensor:
    """Index of the bin (edges[i], edges[i + 1]] of each value; the lowest edge belongs to the first bin."""
    inner = torch.tensor(edges[1:-1], dtype=torch.float64, device=values.device)
    return torch.bucketize(values.double(), inner, right=False)
