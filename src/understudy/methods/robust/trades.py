"""TRADES (Zhang et al., arXiv 1901.08573, ICML 2019): accuracy on clean inputs, constancy around them.

The student is attacked where it departs most from itself:

    x' = argmax over B(x) of KL(s(x) || s(x'))                  s(x) held fixed
    CE(s(x), y) + beta KL(s(x) || s(x'))                        s: (B, C), y: (B,); beta = 6
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
class TRADES(AdversarialMethod):
    """TRADES.

    Attributes:
        beta: weight of the constancy term, 1 / lambda in the paper.
    """

    beta: float = 6.0
    start: Start = "normal"

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"constancy": "equal views", "hard": "right label"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("beta", self.beta, 0.0)

    @property
    def needs(self) -> Needs:
        """Labels and the student on both views; no teacher."""
        return Needs(student=(ATTACKED, CLEAN), teacher=(), labels=True)

    def inner(self, teacher: Net | None, student: Net, point: Tensor, batch: Batch) -> Tensor:
        """KL(s(x) || s(x')): (B,)."""
        return kl(student(batch.clean), student(point))

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard", "constancy"}: (B,) each; both models' confidences carry gradient."""
        return {
            "hard": label_loss(student.logits, batch),
            "constancy": self.beta * kl(student.logits, student[ATTACKED].logits),
        }
