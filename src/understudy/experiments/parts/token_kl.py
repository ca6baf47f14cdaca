"""Word-level distillation: the two divergences that are held against each other on the data's own answers.

    T^2 / L_y sum over n of KL(t_T(y_<n) || s_T(y_<n))          "forward_kl"; the other way round "reverse_kl"

t_T, s_T: (V,) softmax at temperature T. No label is read but the words that the next one is predicted from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.outputs import Outputs
from understudy.numbers import check_number
from understudy.objectives.base import Needs
from understudy.objectives.tokens import mask_of, sequence_divergence
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class TokenKL(Method):
    """T^2 KL between the next words of teacher and student.

    Attributes:
        kind: which of the two is the reference: "forward_kl" the teacher, "reverse_kl" the student.
        temperature: T, above 0.
    """

    kind: Literal["forward_kl", "reverse_kl"] = "forward_kl"
    temperature: float = 1.0

    needs = Needs(tokens=True)

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0.0, above=True)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"soft": (B,)}."""
        values = sequence_divergence(
            teacher.logits, student.logits, mask_of(batch), self.kind, temperature=self.temperature
        )
        return {"soft": self.temperature**2 * values}
