"""RSLAD: robust soft label adversarial distillation (Zi et al., arXiv 2108.07969, ICCV 2021).

The teacher's clean confidences are the label everywhere: for the attack, at the attacked point, at the clean one.

    x' = argmax over B(x) of KL(t(x) || s(x'))
    5/6 KL(t(x) || s(x')) + 1/6 KL(t(x) || s(x))               t, s: (B, C) softmax at T = 1; no labels

The released loss also divides by the number of classes: theirs is ours / C.
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
from understudy.objectives.divergences import kl
from understudy.sources.base import Net
from understudy.training.method import AdversarialMethod


@dataclass(frozen=True, kw_only=True)
class RSLAD(AdversarialMethod):
    """Robust soft label adversarial distillation.

    Attributes:
        alpha: share of the attacked term (5/6 in the paper).
    """

    alpha: float = 5 / 6
    start: Start = "normal"

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"attacked": "equal views"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("alpha", self.alpha, 0.0, 1.0)

    @property
    def needs(self) -> Needs:
        """The teacher on the clean view, the student on both."""
        return Needs(student=(ATTACKED, CLEAN))

    def inner(self, teacher: Net | None, student: Net, point: Tensor, batch: Batch) -> Tensor:
        """KL(t(x) || s(x')): (B,)."""
        assert teacher is not None
        return kl(teacher(batch.clean), student(point))

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"attacked", "clean"}: (B,) each."""
        return {
            "attacked": self.alpha * kl(teacher.logits, student[ATTACKED].logits),
            "clean": (1 - self.alpha) * kl(teacher.logits, student.logits),
        }
