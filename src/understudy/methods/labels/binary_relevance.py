"""Binary relevance: several labels an example, each learnt by itself. The teacher and the baseline of such data.

What is minimised, an example:

    - sum_k [ y_k ln sigmoid(s(x)_k) + (1 - y_k) ln sigmoid(-s(x)_k) ]              s, y: (B, C), y of 0 and 1

Needs labels (N, C) and no teacher. Known failure: nothing tells it which labels go together; and labels that are rare
are told "no" almost always, so their scores rank the examples better than their sign at 0 decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.outputs import Outputs
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.multi_label import binary_cross_entropy, several_labels
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class BinaryRelevance(Method):
    """A sigmoid a label, and the cross-entropy of each."""

    needs = Needs(teacher=(), labels=True, multi_label=True)
    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard": (B,)}."""
        return {"hard": binary_cross_entropy(student.logits, several_labels(student.logits, batch))}
