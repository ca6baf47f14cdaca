"""How faithful a student is to its teacher, batch by batch, at constant memory.

The statistics are those of Stanton et al. (Does knowledge distillation really work?, arXiv 2106.05945) and Guo et al.
(Why does knowledge distillation work?, arXiv 2405.00739): each the mean over examples of one value an example, at
temperature 1, weighted by examples and not by batches, so that a smaller last batch counts for what it is. With
independent examples every mean is unbiased for its expectation, and comes with its standard error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity._inputs import check_labelled, check_pair
from understudy.fidelity.intervals import clopper_pearson
from understudy.fidelity.moments import Estimate, Moments, moments_of

DISTANCES = ("kl", "total_variation", "jensen_shannon", "wasserstein")
_EXP_LIMIT = 80.0  # beyond it the smaller probability, which multiplies the clamped logarithm, is below 1e-34
_ALWAYS = ("agreement", *DISTANCES)
_LABELLED = ("teacher_accuracy", "student_accuracy", "accuracy_gap")
_SPLIT = ("agreement_where_right", "agreement_where_wrong")


@dataclass(frozen=True)
class FidelityResult:
    """What `Fidelity` has seen: `count` examples of `classes` classes. Those with labels only are None without.

    agreement: share of examples with one top class, in [0, 1]; a tie goes to the lowest class.
    kl: KL(p_teacher || p_student), in [0, inf) nats.
    total_variation: 1/2 sum |p - q|, in [0, 1]; the 1-Wasserstein distance where every move costs 1.
    jensen_shannon: the distance, a square root, in [0, sqrt(ln 2)].
    wasserstein: over the classes in their order, in [0, classes - 1] steps; see `wasserstein`.
    teacher_accuracy, student_accuracy: in [0, 1]; accuracy_gap: student's less teacher's, paired, in [-1, 1].
    agreement_where_right, agreement_where_wrong: agreement where the teacher is right, and where it is wrong (the
        share of the teacher's mistakes that the student makes too); None where there is no such example.
    """

    count: int
    classes: int
    agreement: Estimate
    kl: Estimate
    total_variation: Estimate
    jensen_shannon: Estimate
    wasserstein: Estimate
    teacher_accuracy: Estimate | None
    student_accuracy: Estimate | None
    accuracy_gap: Estimate | None
    agreement_where_right: Estimate | None
    agreement_where_wrong: Estimate | None

    def agreement_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Clopper and Pearson's interval of the agreement; of use near 0 and 1, where the standard error is 0."""
        return clopper_pearson(round(self.agreement.mean * self.count), self.count, confidence)

    def estimates(self) -> dict[str, Estimate]:
        """Every statistic that could be had, by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: one for name, one in found.items() if isinstance(one, Estimate)}


class Fidelity:
    """The fidelity of a student to its teacher over batches of logits: `update` for each, then `result`.

    An ensemble is one teacher: see `ensemble_logits`. What is kept is a few numbers, whatever the number of examples.
    """

    def __init__(self) -> None:
        self.classes: int | None = None
        self._moments = {name: Moments() for name in (*_ALWAYS, *_LABELLED, *_SPLIT)}

    @property
    def count(self) -> int:
        """Examples seen."""
        return self._moments["agreement"].count

    def update(
        self,
        teacher_logits: Float[Tensor, "b c"],
        student_logits: Float[Tensor, "b c"],
        labels: Int[Tensor, " b"] | None = None,
    ) -> None:
        """Takes in a batch: logits (B, C) of both, B >= 1, and labels (B,) in 0..C-1 where there are some.

        Raises:
            InputError: no example, shapes that differ, a logit that is not finite, another C than before, labels that
                do not fit. Nothing of the batch is then taken in.
        """
        values = per_example(teacher_logits, student_logits)
        self.check_classes(teacher_logits.shape[1])
        self.take(teacher_logits.shape[1], summary(values, teacher_logits, student_logits, labels))

    def merge(self, other: Fidelity) -> None:
        """Takes in what `other` has seen (another process, another part of the data); `other` stays as it is.

        Raises:
            InputError: the two have seen logits of different C, or `other` is this object.
        """
        if other is self:
            raise InputError("a measurement cannot be merged with itself: its examples would count twice")
        if other.classes is None:
            return
        self.check_classes(other.classes)
        self.take(other.classes, other._moments)

    def result(self) -> FidelityResult:
        """The statistics of all examples so far; more may follow. InputError before the first."""
        if self.classes is None:
            raise InputError("fidelity needs one example at least, and none has been seen")
        found = {name: one.estimate() if one.count else None for name, one in self._moments.items()}
        return FidelityResult(self.count, self.classes, **found)  # type: ignore[arg-type]  # five are never None

    def check_classes(self, classes: int) -> None:
        """InputError if logits of another number of classes have been seen."""
        if self.classes not in (None, classes):
            raise InputError(f"logits of {self.classes} classes have been seen; found logits of {classes}")

    def take(self, classes: int, found: Mapping[str, Moments]) -> None:
        """Takes in a batch's `summary`, of logits whose number of classes has been checked."""
        self.classes = classes
        for name, moments in found.items():
            self._moments[name].merge(moments)


def summary(
    values: Float[Tensor, "5 b"],
    teacher_logits: Float[Tensor, "b c"],
    student_logits: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"] | None = None,
) -> dict[str, Moments]:
    """What a batch adds to each statistic, of its `per_example` values; InputError for labels that do not fit."""
    found = dict(zip(_ALWAYS, moments_of(values), strict=True))
    if labels is None:
        return found
    check_labelled(teacher_logits, labels)
    right = teacher_logits.argmax(1) == labels
    both = torch.stack([right, student_logits.argmax(1) == labels]).double()
    found |= zip(_LABELLED, moments_of(torch.cat([both, both[1:] - both[:1]])), strict=True)
    for name, where in zip(_SPLIT, (right, ~right), strict=True):
        found[name] = Moments()
        found[name].add(values[0][where])
    return found


def per_example(
    teacher_logits: Float[Tensor, "b c"], student_logits: Float[Tensor, "b c"]
) -> Float[Tensor, "5 b"]:
    """Agreement (1 or 0), KL, total variation, Jensen-Shannon and Wasserstein distance of each example, float64.

    Raises:
        InputError: no example, shapes that differ, a logit that is not finite.
    """
    check_pair(teacher_logits, student_logits)
    # the distances of `divergences` and `distances`, from one softmax each: they are a hundredth of a forward pass
    log_p, log_q = (x.detach().double().log_softmax(1) for x in (teacher_logits, student_logits))
    p, q = log_p.exp(), log_q.exp()
    apart, ratio = p - q, (log_q - log_p).clamp(-_EXP_LIMIT, _EXP_LIMIT)
    to_middle = p * torch.log1p(0.5 * torch.expm1(ratio)) + q * torch.log1p(0.5 * torch.expm1(-ratio))
    rows = [
        (teacher_logits.argmax(1) == student_logits.argmax(1)).double(),
        (p * (log_p - log_q)).sum(1).clamp_min(0.0),
        (0.5 * apart.abs().sum(1)).clamp_max(1.0),
        (-0.5 * to_middle.sum(1)).clamp(0.0, math.log(2)).sqrt(),
        apart[:, :-1].cumsum(1).abs().sum(1).clamp_max(apart.shape[1] - 1.0),
    ]
    found = torch.stack(rows)
    if not math.isfinite(float(found.sum())):
        raise InputError("logits lie too far apart: their differences must be finite")
    return found
