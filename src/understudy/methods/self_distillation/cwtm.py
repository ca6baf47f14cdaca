"""CWTM: labels weighted by the teacher's confidence (Furlanello et al., arXiv 1805.04770, section 3.3).

    sum_i w_i CE(s(x_i), y_i) / sum_i w_i,   w_i = max_j t_j(x_i)              over one batch of B examples

The weights are the batch's: the mean of w_i CE over the examples is another loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from understudy.data.batch import Batch
from understudy.models.outputs import Outputs
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.cross_entropy import label_loss
from understudy.training.method import Method


@dataclass(frozen=True, kw_only=True)
class CWTM(Method):
    """Confidence weighted by teacher max."""

    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"hard": "right label"}

    @property
    def needs(self) -> Needs:
        """Both models on the clean view, labels, and the whole batch for the weights' sum."""
        return Needs(labels=True, whole_batch=True)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"hard"}: (B,), B w_i CE_i / sum w, so that the mean is the loss."""
        hard = label_loss(student.logits, batch)
        weight = teacher.logits.to(hard.dtype).softmax(-1).amax(-1)
        return {"hard": hard * (weight / weight.mean())}
