"""A control for distillation: a teacher that is as unsure as another, and knows nothing but the label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.methods.logits.label_smoothing import smoothed
from understudy.methods.robust.kd import SD
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.refined_targets import soft_cross_entropy


@dataclass(frozen=True, kw_only=True)
class BlindTeacher(SD):
    """Soft distillation with smoothed labels for the teacher's answers at temperature T; no teacher is asked.

    (1 - a) CE(s, y) + a T^2 H(r, softmax(s / T)), r = (1 - e) onehot(y) + e / C. Gradients are those of `SD` with a
    teacher whose softened answers are r.

    Attributes:
        share: e, from 0 to 1.
    """

    share: float = 0.1

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label", "soft": "elsewhere"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("share", self.share, 0.0, 1.0)

    @property
    def needs(self) -> Needs:
        """Labels alone."""
        return Needs(teacher=(), labels=True)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft", "hard"}: (B,) each; "hard" only if a < 1."""
        wide = student.logits.to(torch.promote_types(student.logits.dtype, torch.float32))
        soft = soft_cross_entropy(self._targets(wide, batch), wide / self.temperature)
        terms = {"soft": self.alpha * self.temperature**2 * soft}
        if self.alpha < 1:
            terms["hard"] = (1 - self.alpha) * label_loss(student.logits, batch)
        return terms

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """The logarithm of the targets, times T."""
        return self.temperature * self._targets(teacher.logits, batch).log()

    def _targets(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.labels is None:
            raise InputError("smoothed answers need labels, and the batch has none")
        return smoothed(batch.labels, logits.shape[1], self.share).to(logits.dtype)
