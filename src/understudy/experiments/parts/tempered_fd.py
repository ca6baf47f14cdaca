"""Faithful distillation at a temperature, which the paper's reports leave open.

    x' = argmax over B(x) of KL(t_T(x') || s_T(x'))             gradient through both models' input
    T^2 KL(t_T(x') || s_T(x'))                                  t_T, s_T: (B, C) softmax at temperature T

At T = 1 it is `FaithfulKD`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from understudy.attacks.ascent import Start
from understudy.data.batch import ATTACKED, Batch
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs
from understudy.objectives.divergences import kl
from understudy.sources.base import Net
from understudy.training.method import AdversarialMethod


@dataclass(frozen=True, kw_only=True)
class TemperedFD(AdversarialMethod):
    """FD whose divergence is taken at temperature T, in the attack and in the loss.

    Attributes:
        temperature: T, above 0.
    """

    temperature: float = 1.0
    start: Start = "normal"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, 0.0, above=True)

    @property
    def needs(self) -> Needs:
        """Both models on the attacked view."""
        return Needs(student=(ATTACKED,), teacher=(ATTACKED,))

    def inner(self, teacher: Net | None, student: Net, point: Tensor, batch: Batch) -> Tensor:
        """KL(t_T(x') || s_T(x')): (B,)."""
        assert teacher is not None
        return kl(teacher(point), student(point), self.temperature)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"attacked": (B,)}."""
        apart = kl(teacher[ATTACKED].logits, student[ATTACKED].logits, self.temperature)
        return {"attacked": self.temperature**2 * apart}
