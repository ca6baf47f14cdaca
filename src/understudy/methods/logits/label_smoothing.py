"""Label smoothing (Szegedy et al., arXiv 1512.00567, CVPR 2016): soft targets that no teacher gave.

A little of the label is spread over all classes alike. A method that distils has to do better than this one to have
taught more than caution; it is in every comparison for that reason.

    CE(s(x), (1 - e) onehot(y) + e / C)                         s: (B, C) logits, y: (B,); e = 0.1

Needs: labels, no teacher. Cost: that of cross-entropy. At e = 0 it is cross-entropy; lowest, at the targets' entropy,
where softmax(s(x)) are the targets. Known failure: every class but the label is the same to it, so a student trained
by it is a worse teacher (Mueller et al., arXiv 1906.02629), and it is under-confident where the labels are right.
Reconstructed: the prior over classes, u in the paper, is uniform, as there.
Measured (benchmarks/catalogue.py, digits, mlp[20], 30 epochs, 3 seeds): accuracy 94.7 %, cross-entropy 94.0 %, which
the intervals do not tell apart; KL from a teacher 0.202 nats against 0.116: further from it, as smoother answers are.
"""

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
from understudy.objectives.base import Needs, ZeroWhen
from understudy.objectives.refined_targets import refined_targets, soft_cross_entropy
from understudy.training.method import Method


def smoothed(labels: Int[Tensor, " b"], classes: int, share: float) -> Float[Tensor, "b c"]:
    """(1 - share) onehot(y) + share / C: rows that sum to 1, in float32."""
    uniform = torch.full((len(labels), classes), 1.0 / classes, device=labels.device)
    return refined_targets(labels, uniform, share)


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing(Method):
    """Label smoothing.

    Attributes:
        share: e, what is spread over all classes, from 0 to 1.
    """

    share: float = 0.1

    needs = Needs(teacher=(), labels=True)
    zero_when: ClassVar[Mapping[str, ZeroWhen]] = {"smooth": "elsewhere"}

    def __post_init__(self) -> None:
        check_number("share", self.share, 0.0, 1.0)

    def terms(self, student: Outputs, teacher: Outputs, batch: Batch) -> Mapping[str, Tensor]:
        """{"smooth": (B,)}."""
        return {"smooth": soft_cross_entropy(self._targets(student.logits, batch), student.logits)}

    def rest(self, term: str, teacher: Outputs, batch: Batch) -> Tensor:
        """The logarithm of the targets."""
        return self._targets(teacher.logits, batch).log()

    def _targets(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.labels is None:
            raise InputError("label smoothing needs labels, and the batch has none")
        wide = torch.promote_types(logits.dtype, torch.float32)
        return smoothed(batch.labels, logits.shape[1], self.share).to(wide)
