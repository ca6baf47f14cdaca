"""ARD: adversarially robust distillation (Goldblum et al., arXiv 1905.09747, AAAI 2020).

At the point that fools the student most, the student is asked for what the teacher says of the clean input.

    x' = argmax over B(x) of CE(s(x'), y)
    a T^2 KL(t_T(x) || s_T(x')) + (1 - a) CE(s(x), y)          t_T, s_T: (B, C) softmax at temperature T

The released code attacks with the student in train mode and starts outside the valid range; here the student
is in eval mode (`attack_mode` changes it) and every point stays in the range. The released loss divides by the
number of classes as well as by the batch; ours by the batch alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import ATTACKED, CLEAN, Batch
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.objectives.divergences import kl
from understudy.sources.base import Net
from understudy.training.method import AdversarialMethod


@dataclass(frozen=True, kw_only=True)
class ARD(AdversarialMethod):
    """Adversarially robust distillation.

    Attributes:
        temperature: T of the soft term, above 0.
        alpha: a, share of the soft term.
    """

    temperature: float = 30.0
    alpha: float = 1.0

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"soft": "equal views", "hard": "right label"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("alpha", self.alpha, 0.0, 1.0)

    @property
    def needs(self) -> Needs:
        """The teacher on the clean view, the student on the attacked one (and the clean one unless a = 1)."""
        views = (ATTACKED,) if self.alpha == 1 else (ATTACKED, CLEAN)
        return Needs(student=views, labels=True)

    def inner(self, teacher: Net | None, student: Net, point: Tensor, batch: Batch) -> Tensor:
        """CE(s(x'), y): (B,)."""
        return label_loss(student(point), batch)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft", "hard"}: (B,) each; "hard" only if a < 1."""
        soft = kl(teacher.logits, student[ATTACKED].logits, self.temperature)
        terms = {"soft": self.alpha * self.temperature**2 * soft}
        if self.alpha < 1:
            hard = label_loss(student.logits, batch)
            terms["hard"] = (1 - self.alpha) * hard
        return terms
