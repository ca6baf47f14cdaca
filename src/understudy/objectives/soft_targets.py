"""Soft targets (Hinton, Vinyals and Dean, arXiv 1503.02531): T^2 KL(teacher || student) at temperature T."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.objectives.base import Objective
from understudy.objectives.divergences import kl


@dataclass(frozen=True)
class SoftTargets(Objective):
    """T^2 KL(softmax(t/T) || softmax(s/T)) an example; the factor keeps gradients of one size over T.

    Attributes:
        temperature: T, above 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise InputError(f"temperature must be above 0, found {self.temperature}")

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft": (B,)}."""
        return {"soft": self.temperature**2 * kl(teacher.logits, student.logits, self.temperature)}
