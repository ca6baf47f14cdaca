"""Calibration over temperature, of a teacher, of its student, and of the student against the teacher.

Logits are divided by a temperature T before the softmax. A model that is overconfident has its least ECE and NLL above
T = 1; one temperature for both says whether a student's miscalibration is the teacher's, copied. Batch by batch, at
constant memory: a few numbers a bin and temperature are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.errors import InputError
from understudy.fidelity._inputs import check_labelled, check_pair
from understudy.numbers import check_number

TEMPERATURES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


@dataclass(frozen=True)
class AtTemperature:
    """Calibration at one temperature of both models; see `calibration` for each quantity, its bias and its source.

    ece_teacher, ece_student: in [0, 1]; nll_teacher, nll_student: nats; None without labels.
    relative_ece: of the student's confidence against the teacher's in the same class, in [0, 1].
    kl: mean KL(p_teacher || p_student) at this temperature, nats, without the factor T^2.
    """

    temperature: float
    ece_teacher: float | None
    ece_student: float | None
    nll_teacher: float | None
    nll_student: float | None
    relative_ece: float
    kl: float


class CalibrationOverTemperature:
    """`update` for each batch of logits, then `result`: an `AtTemperature` for each temperature, ascending.

    Raises:
        InputError: no temperature, one that is not above 0, or fewer than one bin.
    """

    def __init__(self, temperatures: Sequence[float] = TEMPERATURES, bins: int = 15) -> None:
        if not temperatures:
            raise InputError("calibration over temperature needs one temperature at least")
        for temperature in temperatures:
            check_number("a temperature", temperature, 0.0, above=True)
        if bins < 1:
            raise InputError(f"the number of bins must be 1 or more, found {bins}")
        self.temperatures = tuple(sorted({float(t) for t in temperatures}))
        self._bins = bins
        self._count = 0
        self._labelled: bool | None = None
        # by temperature and bin: confidence less what was observed, of teacher, student, and student to teacher
        self._gaps = torch.zeros(len(self.temperatures), 3, bins, dtype=torch.float64)
        # by temperature: the teacher's and the student's -ln p_y, and KL, summed
        self._sums = torch.zeros(len(self.temperatures), 3, dtype=torch.float64)

    def update(
        self,
        teacher_logits: Float[Tensor, "b c"],
        student_logits: Float[Tensor, "b c"],
        labels: Int[Tensor, " b"] | None = None,
    ) -> None:
        """Takes in logits (B, C) of both, with labels (B,) always or never.

        Raises:
            InputError: no example, shapes that differ, logits that are not finite, labels out of range, or labels
                with some batches only. Nothing of the batch is then taken in.
        """
        check_pair(teacher_logits, student_logits)
        if labels is not None:
            check_labelled(teacher_logits, labels)
        if self._labelled not in (None, labels is not None):
            raise InputError("either every batch brings labels or none does")
        both = [logits.detach().double().cpu() for logits in (teacher_logits, student_logits)]
        true = None if labels is None else labels.long().cpu()
        found = [self._at(temperature, both, true) for temperature in self.temperatures]
        self._labelled = labels is not None
        self._count += len(both[0])
        self._gaps += torch.stack([gaps for gaps, _ in found])
        self._sums += torch.stack([sums for _, sums in found])

    def _at(self, temperature: float, both: Sequence[Tensor], labels: Tensor | None) -> tuple[Tensor, Tensor]:
        log_p, log_q = ((logits / temperature).log_softmax(1) for logits in both)
        p, q = log_p.exp().clamp_max(1.0), log_q.exp().clamp_max(1.0)
        (surest, answer), (own, chosen) = p.max(1), q.max(1)
        gaps = torch.zeros(3, self._bins, dtype=torch.float64)
        sums = torch.zeros(3, dtype=torch.float64)
        gaps[2] = self._gap(own, p.gather(1, chosen.unsqueeze(1)).squeeze(1))
        sums[2] = (p * (log_p - log_q)).sum().clamp_min(0.0)
        if labels is not None:
            for i, (confidence, top, log) in enumerate(((surest, answer, log_p), (own, chosen, log_q))):
                gaps[i] = self._gap(confidence, (top == labels).double())
                sums[i] = -log.gather(1, labels.unsqueeze(1)).sum()
        return gaps, sums

    def _gap(self, confidence: Tensor, observed: Tensor) -> Tensor:
        edges = torch.arange(1, self._bins, dtype=torch.float64) / self._bins
        return torch.bincount(torch.bucketize(confidence, edges), confidence - observed, minlength=self._bins)

    def result(self) -> list[AtTemperature]:
        """At each temperature, ascending; more may follow. InputError before the first example."""
        if not self._count:
            raise InputError("calibration needs one example at least, and none has been seen")
        errors = (self._gaps.abs().sum(2) / self._count).tolist()
        means = (self._sums / self._count).tolist()
        return [
            AtTemperature(t, ece[0], ece[1], mean[0], mean[1], ece[2], mean[2])
            if self._labelled
            else AtTemperature(t, None, None, None, None, ece[2], mean[2])
            for t, ece, mean in zip(self.temperatures, errors, means, strict=True)
        ]
