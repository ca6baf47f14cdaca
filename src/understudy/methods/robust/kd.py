"""SD: soft distillation on clean inputs (Hinton, Vinyals and Dean, arXiv 1503.02531).

The student matches the teacher's softened confidences on the data itself; nothing is attacked.

    (1 - a) CE(s(x), y) + a T^2 KL(t_T(x) || s_T(x))          t_T, s_T: (B, C) softmax at temperature T

Known failure: outside the data the student is free; around the same points it is easily driven away from a
robust teacher, which is what the other methods of this family mend.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.divergences import kl
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class SD(Method):
    """Soft distillation.

    Attributes:
        temperature: T, above 0.
        alpha: a, share of the soft term; at 1 no labels are needed.
    """

    temperature: float = 1.0
    alpha: float = 1.0

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("alpha", self.alpha, 0.0, 1.0)

    @property
    def needs(self) -> Needs:
        """Both models on the clean view; labels unless a = 1."""
        return Needs(labels=self.alpha < 1, graph_labels=True)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft", "hard"}: (B,) each; "hard" only if a < 1."""
        scale = self.alpha * self.temperature**2
        terms = {"soft": scale * kl(teacher.logits, student.logits, self.temperature)}
        if self.alpha < 1:
            hard = label_loss(student.logits, batch)
            terms["hard"] = (1 - self.alpha) * hard
        return terms
