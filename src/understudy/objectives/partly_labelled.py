"""Labels where there are some, the teacher everywhere: CE on labelled examples, soft targets on all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.data.batch import Batch
from understudy.errors import InputError
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs, Objective, ZeroWhen
from understudy.objectives.divergences import cross_entropy, kl


def labelled_and_soft(
    hard_logits: Float[Tensor, "b c"],
    soft_logits: Float[Tensor, "b c"],
    teacher_logits: Float[Tensor, "b c"],
    labels: Int[Tensor, " b"],
    temperature: float,
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """(-ln softmax(a)_y, 0 where y = -1; T^2 KL(softmax(t/T) || softmax(b/T))), each (B,), in nats.

    Args:
        hard_logits, soft_logits: a and b, what the student is held to labels by and to the teacher by; one and
            the same for a student with one head.
        labels: (B,) classes, -1 for an example without.

    Raises:
        InputError: as `cross_entropy` and `kl` do.
    """
    there = labels >= 0
    hard = cross_entropy(hard_logits, labels + (labels == -1).to(labels.dtype))
    soft = temperature**2 * kl(teacher_logits, soft_logits, temperature)
    return torch.where(there, hard, torch.zeros_like(hard)), soft


@dataclass(frozen=True, kw_only=True)
class PartlyLabelled(Objective):
    """-ln softmax(s(x))_y where there is a label, plus w T^2 KL(t_T || s_T) everywhere.

    In a batch of which half is labelled this is, up to the factor 2 of the first, one half each of the mean
    cross-entropy of the labelled and of the sum of the mean soft terms of the labelled and of the unlabelled.

    Attributes:
        temperature: T, above 0.
        weight: w, of the teacher, 0 or more.
    """

    temperature: float = 2.0
    weight: float = 1.0

    needs = Needs(labels=True, unlabelled=True)
    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0.0, above=True)
        check_number("weight", self.weight, 0.0)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard", "soft"}: (B,) each."""
        if batch.labels is None:
            raise InputError("this objective needs labels, -1 for examples without, and the batch has none")
        hard, soft = labelled_and_soft(
            student.logits, student.logits, teacher.logits, batch.labels, self.temperature
        )
        return {"hard": hard, "soft": self.weight * soft}
