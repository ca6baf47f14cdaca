"""FD: faithful distillation (Lamb et al., arXiv 2306.04431).

Teacher and student are compared where they differ most: both are evaluated at the point of the ball at which the
student strays furthest from the teacher, and the student is pulled back there.

    x' = argmax over B(x) of KL(t(x') || s(x'))                 gradient through both models' input
    a KL(t(x') || s(x')) + (1 - a) KL(t(x) || s(x)) + lambda CE(s(x), y)     t, s: (B, C) softmax at T = 1

That both models see the attacked point is read off the definition of a faithful imitator; the paper's text of the
loss was not available, nor its value of lambda (0 here). At a = 1, lambda = 0 the update is AdaAD's. Unlike ARD and
RSLAD the loss is zero when student and teacher are the same function, whatever that function does around x.
Cost: the attack runs the teacher backward too, about twice RSLAD's attack for a teacher of the student's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.attacks.ascent import Start
from understudy.data.batch import ATTACKED, CLEAN, Batch
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.divergences import kl
from understudy.sources.base import Net
from understudy.training.method import AdversarialMethod


@dataclass(frozen=True, kw_only=True)
class FaithfulKD(AdversarialMethod):
    """Faithful distillation.

    Attributes:
        alpha: a, share of the attacked term; 1 leaves the clean input out.
        hard_weight: lambda, weight of the true labels on the clean input.
    """

    alpha: float = 1.0
    hard_weight: float = 0.0
    start: Start = "normal"

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0.0, 1.0)
        check_number("hard_weight", self.hard_weight, 0.0)

    @property
    def needs(self) -> Needs:
        """Both models on the attacked view; the clean one only where a term reads it."""
        teacher = (ATTACKED,) if self.alpha == 1 else (ATTACKED, CLEAN)
        student = (ATTACKED,) if self.alpha == 1 and self.hard_weight == 0 else (ATTACKED, CLEAN)
        return Needs(student=student, teacher=teacher, labels=self.hard_weight != 0)

    def inner(self, teacher: Net | None, student: Net, point: Tensor, batch: Batch) -> Tensor:
        """KL(t(x') || s(x')): (B,)."""
        assert teacher is not None
        return kl(teacher(point), student(point))

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"attacked", "clean", "hard"}: (B,) each; those with weight 0 are left out."""
        terms = {"attacked": self.alpha * kl(teacher[ATTACKED].logits, student[ATTACKED].logits)}
        if self.alpha != 1:
            terms["clean"] = (1 - self.alpha) * kl(teacher.logits, student.logits)
        if self.hard_weight:
            hard = label_loss(student.logits, batch)
            terms["hard"] = self.hard_weight * hard
        return terms
