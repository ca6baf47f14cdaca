"""AT: adversarial training on labels (Madry et al., arXiv 1706.06083). A robust teacher, or a student's baseline.

    x' = argmax over B(x) of CE(s(x'), y)
    CE(s(x'), y)                                                s: (B, C) logits, y: (B,)

As a baseline it spends what ARD spends, without a teacher: the undistilled student at equal budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import ATTACKED, Batch
from understudy.models.outputs import Outputs
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.sources.base import Net
from understudy.training.method import AdversarialMethod


@dataclass(frozen=True, kw_only=True)
class AT(AdversarialMethod):
    """PGD adversarial training."""

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    @property
    def needs(self) -> Needs:
        """Labels and the student on the attacked view; no teacher."""
        return Needs(student=(ATTACKED,), teacher=(), labels=True)

    def inner(self, teacher: Net | None, student: Net, point: Tensor, batch: Batch) -> Tensor:
        """CE(s(x'), y): (B,)."""
        return label_loss(student(point), batch)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard": (B,)}."""
        return {"hard": label_loss(student[ATTACKED].logits, batch)}
